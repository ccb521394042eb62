//! A gateway in a control group: its bill and its shards are what the group may have.
//!
//! The groups are made here, of version 1 or of version 2, whichever can be. Where none can, which
//! takes root and a hierarchy that can be written, it is said on stderr; what is in such files is
//! read by the tests of the library in any case.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tidegate_tests::{Exited, Launch, Peer, Request, case, wait_until};

/// A limit, as both versions of control groups have it (cgroups(7)).
struct Bound {
    controller: &'static str,
    /// The files of either version, and what is written into them.
    old: (&'static str, String),
    new: (&'static str, String),
}

impl Bound {
    fn memory(bytes: u64) -> Self {
        let text = bytes.to_string();
        Self {
            controller: "memory",
            old: ("memory.limit_in_bytes", text.clone()),
            new: ("memory.max", text),
        }
    }

    /// So many thousandths of a core.
    fn cores(thousandths: u64) -> Self {
        let quota = thousandths * 100;
        Self {
            controller: "cpu",
            old: ("cpu.cfs_quota_us", quota.to_string()),
            new: ("cpu.max", format!("{quota} 100000")),
        }
    }
}

/// Groups with a limit each, which are taken away again.
struct Groups {
    folders: Vec<PathBuf>,
}

impl Groups {
    /// `None`, and why on stderr, where none can be made.
    fn with(bounds: &[Bound]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-tests-{}-{count}", process::id());
        let mut groups = Self { folders: Vec::new() };
        for bound in bounds {
            let old = PathBuf::from(format!("/sys/fs/cgroup/{}", bound.controller)).join(&name);
            let new = PathBuf::from("/sys/fs/cgroup").join(&name);
            let made = groups.make(old, &bound.old);
            let made = made.or_else(|old| match groups.make(new, &bound.new) {
                Ok(()) => Ok(()),
                Err(new) => Err(format!("version 1: {old}; version 2: {new}")),
            });
            if let Err(why) = made {
                eprintln!(
                    "not tested: no control group with {} can be made: {why}",
                    bound.controller
                );
                return None;
            }
        }
        Some(groups)
    }

    fn make(&mut self, folder: PathBuf, (file, text): &(&str, String)) -> Result<(), String> {
        let said = |error| format!("{}: {error}", folder.display());
        if !self.folders.contains(&folder) {
            // Of version 2 itself there is one folder for all, and no folder for a controller.
            fs::create_dir(&folder).map_err(said)?;
            self.folders.push(folder.clone());
        }
        fs::write(folder.join(file), text).map_err(said)
    }

    /// The gateway that is launched is in the groups.
    fn launch(&self, launch: Launch) -> Launch {
        launch.under(&["sh", "-c", &self.script("exec \"$@\""), "sh"])
    }

    /// A script of sh that does `what` in the groups.
    fn script(&self, what: &str) -> String {
        let enter =
            self.folders.iter().map(|it| format!("echo $$ > {}/cgroup.procs", it.display()));
        enter.chain([what.to_owned()]).collect::<Vec<_>>().join(" && ")
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // Who was in there may take a moment to be gone.
        for folder in &self.folders {
            wait_until("the group is empty", || fs::remove_dir(folder).ok());
        }
    }
}

/// The first number behind `words`.
#[track_caller]
fn number(text: &str, words: &str) -> u64 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("{words} is missing:\n{text}"));
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(rest.len());
    rest[..end].replace(',', "").parse().expect("a number")
}

#[test]
fn a_quota_of_one_core_is_one_shard_that_has_no_core_of_its_own() {
    let Some(groups) = Groups::with(&[Bound::cores(1000)]) else { return };
    let launch = || Launch::new().config("shards = \"auto\"\n").listen("127.0.0.1:0");
    let all = launch().config("shards = 1\npin = false\n").start();
    let cores = all.process().allowed_cores("shard-0");
    let gateway = groups.launch(launch()).start();
    gateway.expect_log(&["shards=1"]);
    assert_eq!(gateway.process().allowed_cores("shard-0"), cores);
}

#[test]
fn what_is_held_is_bounded_by_what_the_control_group_may_have() {
    let Some(groups) = Groups::with(&[Bound::memory(384 << 20)]) else { return };
    let check = || groups.launch(Launch::new().argument("--check"));
    let exited = check().config("shards = 2\n").run();
    assert_eq!(exited.code, Some(1), "{}", exited.stderr);
    for word in ["301,989,888", "402,653,184 that the control group", "memory = \""] {
        assert!(exited.stderr.contains(word), "{word} is missing:\n{}", exited.stderr);
    }
    let passed = check().config("shards = 1\n[limits]\nblocks = \"8MiB\"\n").run();
    assert_eq!(passed.code, Some(0), "{passed:?}");
}

#[test]
fn a_quota_is_rounded_down_to_whole_cores_but_to_one_at_least() {
    const MEMORY: u64 = 768 << 20;
    for (thousandths, said) in [(500, "0.50"), (1500, "1.50")] {
        let bounds = [Bound::memory(MEMORY), Bound::cores(thousandths)];
        let Some(groups) = Groups::with(&bounds) else { return };
        let launch = || groups.launch(Launch::new()).listen("127.0.0.1:0");
        case(said, || {
            let gateway = launch().start();
            // It has as many shards as whole cores, and they fit what the group may have.
            let summary = gateway.expect_log(&["1 shard may hold"]);
            let bill = number(&summary, "may hold");
            assert!(bill <= MEMORY / 4 * 3, "{summary}");
            let Exited { stdout, .. } = launch().argument("doctor").run();
            let found = ["in 1 shard of", "memory of the control group", "805,306,368"];
            for words in found.map(str::to_owned).into_iter().chain([format!("quota {said}")]) {
                assert!(stdout.contains(&words), "{words} is missing:\n{stdout}");
            }
            assert_eq!(number(&stdout, "`memory`"), MEMORY / 4 * 3, "{stdout}");
        });
    }
}

/// Holds so many bytes in the groups until its input ends.
fn hold(groups: &Groups, bytes: u64) -> Child {
    let holder =
        "import sys\nheld = bytearray(int(sys.argv[1]))\nprint(flush=True)\nsys.stdin.read()";
    let script = groups.script("exec \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &script, "sh", "python3", "-c", holder, &bytes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh can be started");
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("it says when it holds them");
    child
}

#[test]
fn nobody_is_let_in_while_others_fill_the_control_group() {
    const MIB: u64 = 1 << 20;
    let Some(groups) = Groups::with(&[Bound::memory(512 * MIB)]) else { return };
    let config = "shards = 1\n[limits]\nblocks = '8MiB'\nmemory_high = 60\n\
                  memory_critical = 'off'\n[[route]]\npath = '/'\nhandler = 'echo'\n";
    let launch = Launch::new().config(config).listen("127.0.0.1:0");
    let gateway = groups.launch(launch).start();
    let status = || {
        let mut peer = Peer::connect(&gateway);
        peer.request(&Request::open("/"));
        peer.response_head().status
    };
    let mut here = Peer::open(&gateway, "/");
    // Pages of files are no reason: the kernel takes them back.
    let file = tempfile_in_group(&groups, 400 * MIB);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(status(), 101);
    drop(file);
    let mut holder = hold(&groups, 320 * MIB);
    wait_until("nobody is let in", || (status() == 503).then_some(()));
    gateway.expect_log(&["memory is short", "group="]);
    here.text("who is there goes on");
    here.expect_text("who is there goes on");
    drop(holder.stdin.take());
    holder.wait().expect("it ends with its input");
    wait_until("clients are let in again", || (status() == 101).then_some(()));
    gateway.expect_log(&["memory is less short", "clients are let in again"]);
}

/// A file of so many bytes whose pages are the groups'.
fn tempfile_in_group(groups: &Groups, bytes: u64) -> Removed {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{}", process::id()));
    let write = format!("exec head -c {bytes} /dev/zero > {}", path.display());
    let status = Command::new("sh")
        .args(["-c", &groups.script(&write)])
        .status()
        .expect("sh can be started");
    assert!(status.success());
    Removed(path)
}

/// A file that is taken away again.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // A test that fails before has said why.
        let _ = fs::remove_file(&self.0);
    }
}
