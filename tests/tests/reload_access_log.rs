//! Another access log while the gateway runs: a new one takes over, the one before writes what it
//! was told, and no shard waits for either.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};
use tidegate_tests::admin::ask;
use tidegate_tests::reload::{echo, refused, reload, reload_with, start, status};
use tidegate_tests::{Gateway, Peer, wait_until};

/// A folder that goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-reload-access-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    /// The configuration of an access log to a file in here, and of a route.
    fn log(&self, name: &str, more: &str) -> String {
        let path = self.0.join(name);
        format!("[access_log]\nto = 'file:{}'\n{more}\n{}", path.display(), echo("/a", ""))
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text}");
        text.lines().map(str::to_owned).collect()
    }

    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(&self.0).expect("a folder").map(|one| one.expect("a file"));
        let mut names: Vec<_> =
            all.map(|one| one.file_name().into_string().expect("text")).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn counted(gateway: &Gateway, name: &str) -> u64 {
    let metrics = ask(gateway, "GET", "/metrics", &Value::Null);
    let text = String::from_utf8(metrics.body).expect("text");
    let start = format!("tidegate_access_log_{name}_total ");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&start));
    lines.next().map_or(0, |count| count.parse().expect("a number"))
}

/// How many threads of the gateway write an access log.
fn writers(gateway: &Gateway) -> usize {
    gateway.process().threads_called("access-log")
}

fn served(gateway: &Gateway, times: usize) {
    (0..times).for_each(|_| assert_eq!(status(gateway, "/nothing"), 404));
}

#[test]
fn it_is_turned_on_otherwise_and_off() {
    let folder = Folder::new();
    let gateway = start(&echo("/a", ""));
    let mut early = Peer::open(&gateway, "/a");
    served(&gateway, 3);
    let [changed, left] = reload_with(&gateway, &folder.log("a", ""), &json!({}));
    assert!(changed.contains(&"access_log.to".into()) && left.is_empty(), "{changed:?} {left:?}");
    let mut stays = Peer::open(&gateway, "/a");
    served(&gateway, 5);
    wait_until("five lines", || (folder.lines("a").len() == 5).then_some(()));
    // Elsewhere, and otherwise: who has opened before has its line there.
    let combined = folder.log("b", "format = 'combined'");
    reload(&gateway, &combined);
    served(&gateway, 7);
    stays.echo("still here");
    stays.finish();
    wait_until("eight lines", || (folder.lines("b").len() == 8).then_some(()));
    assert_eq!((folder.lines("a").len(), writers(&gateway)), (5, 1));
    assert!(folder.lines("b").iter().all(|line| line.starts_with("127.0.0.1 ")));
    assert_eq!(counted(&gateway, "lines"), 13, "they are counted on");
    reload(&gateway, &echo("/a", ""));
    wait_until("its thread has ended", || (writers(&gateway) == 0).then_some(()));
    served(&gateway, 2);
    early.echo("still here");
    drop(early);
    assert_eq!((folder.lines("a").len(), folder.lines("b").len()), (5, 8));
    assert_eq!(counted(&gateway, "lines"), 13);
}

#[test]
fn who_was_there_before_has_no_line() {
    let folder = Folder::new();
    let gateway = start(&echo("/a", ""));
    let early = Peer::open(&gateway, "/a");
    reload(&gateway, &folder.log("a", ""));
    early.reset();
    gateway.expect_counter("connections_open", 0);
    let mut later = Peer::open(&gateway, "/a");
    later.finish();
    wait_until("the line of the second", || (!folder.lines("a").is_empty()).then_some(()));
    assert_eq!(folder.lines("a").len(), 1);
}

#[test]
fn what_cannot_be_opened_changes_nothing_and_leaves_nothing() {
    let folder = Folder::new();
    let gateway = start(&folder.log("a", ""));
    let elsewhere = folder.log("none/b", "");
    let said = refused(&gateway, &elsewhere);
    assert!(said.contains("none/b cannot be opened"), "{said}");
    // Something else is wrong: the file is not made for that.
    let wrong = folder.log("b", "") + "admission = ['jwt']\n";
    let token = "[[jwt]]\nname = 'a'\nkeys = ['/nowhere/key.pem']\n";
    let said = refused(&gateway, &format!("{token}{wrong}"));
    assert!(said.contains("/nowhere/key.pem"), "{said}");
    let dry = reload_with(&gateway, &folder.log("b", ""), &json!({"dry_run": true}));
    assert_eq!(dry[0], ["access_log.to"]);
    assert_eq!((folder.names(), writers(&gateway)), (vec!["a".into()], 1));
    served(&gateway, 1);
    wait_until("the line of the refusal", || (folder.lines("a").len() == 1).then_some(()));
}

#[test]
fn lines_of_one_file_stand_in_order_and_none_is_lost() {
    let folder = Folder::new();
    let gateway = start(&folder.log("a", "queue = 100000\nrefusals_per_second = 1000000"));
    let is_over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        served(&gateway, 1);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for number in 0..12 {
            let more = format!("queue = {}\nrefusals_per_second = 1000000", 100_000 + number);
            reload(&gateway, &folder.log("a", &more));
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("it was served")).sum::<usize>()
    });
    wait_until("all are written", || (folder.lines("a").len() == asked).then_some(()));
    assert_eq!((counted(&gateway, "dropped"), writers(&gateway)), (0, 1));
    println!("{asked} lines through 12 reloads");
}

#[test]
fn whoever_does_not_read_holds_up_neither_shards_nor_the_change() {
    let folder = Folder::new();
    let fifo = folder.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("it runs").success());
    // Held open, and never read.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("a FIFO");
    let gateway = start(&folder.log("fifo", "refusals_per_second = 1000000"));
    let mut peer = Peer::open(&gateway, "/a");
    served(&gateway, 600);
    reload(&gateway, &folder.log("b", ""));
    peer.echo("still here");
    served(&gateway, 1);
    wait_until("it is written elsewhere", || (folder.lines("b").len() == 1).then_some(()));
    wait_until("the one before has ended", || (writers(&gateway) == 1).then_some(()));
    drop(reader);
}
