//! What a person at a terminal has a gateway do, by the command.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_tests::{Exited, Gateway, Launch, Peer, binary_path, wait_until};

const TOKEN: &str = "0123456789abcdef";

/// A route of the hub beside the echo.
const ROUTES: &str = "[[route]]\npath = \"/echo\"\nhandler = \"echo\"\n\
                      [[route]]\npath = \"/rooms/{room}\"\nhandler = \"hub?topic={room}\"\n";

/// A file that is there until it is dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("tidegate-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The command with these words.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(binary_path());
    command.args(words).env_remove("TIDEGATE_TOKEN").stdin(Stdio::null());
    command
}

fn exited(output: Output) -> Exited {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Exited { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Asks the gateway; what comes of it.
fn run(gateway: &Gateway, words: &[&str]) -> Exited {
    let admin = gateway.admin_address().to_string();
    let words = [words, &["--admin", &admin]].concat();
    exited(command(&words).output().expect("it runs"))
}

/// The same; what it prints.
#[track_caller]
fn done(gateway: &Gateway, words: &[&str]) -> String {
    let exited = run(gateway, words);
    assert_eq!(exited.code, Some(0), "{words:?}: {}", exited.stderr);
    exited.stdout
}

#[test]
fn connections_are_listed_and_closed() {
    let gateway = Gateway::with_admin(ROUTES);
    let mut echo = Peer::open(&gateway, "/echo");
    let mut room = Peer::open(&gateway, "/rooms/a");
    let table = done(&gateway, &["connections"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines.len() == 3, "{table}");
    let table = done(&gateway, &["connections", "--route", "/rooms/{room}"]);
    assert!(table.contains("/rooms/{room}") && !table.contains("/echo"), "{table}");
    let one = done(&gateway, &["connections", "-n", "1"]);
    assert!(one.lines().count() == 3 && one.contains("there may be more"), "{one}");
    let json: Value =
        serde_json::from_str(&done(&gateway, &["connections", "--topic", "a", "--json"])).unwrap();
    let id = json["connections"][0]["id"].as_str().expect("its id");
    done(&gateway, &["disconnect", id, "--code", "4001", "--reason", "you & me"]);
    assert_eq!(room.expect_close(4001), "you & me");
    let gone = run(&gateway, &["disconnect", "nobody"]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("(400)") && gone.stderr.contains("; take ids"), "{gone:?}");
    echo.echo("still here");
}

#[test]
fn tokens_are_taken_back_and_that_is_listed_and_ended() {
    let route = "[[token]]\nname = \"ada\"\nenv = \"TIDEGATE_TEST_ADA\"\nuser = \"ada\"\n\
                 [[route]]\npath = \"/echo\"\nhandler = \"echo\"\nadmission = [\"token\"]\n";
    let launch = Launch::new().config(route).listen("127.0.0.1:0").admin();
    let gateway = launch.variable("TIDEGATE_TEST_ADA", TOKEN).start();
    let shows = tidegate_tests::Request::open("/echo");
    let shows = shows.with("Authorization", &format!("Bearer {TOKEN}"));
    let (mut peer, _) = Peer::open_with(&gateway, &shows);
    assert_eq!(done(&gateway, &["revoke", "--list"]), "none is in force\n");
    let said = done(&gateway, &["revoke", "--user", "ada", "--for", "8h"]);
    assert!(said.starts_with("revocation 1 is in force until 2"), "{said}");
    assert!(peer.expect_close(4401).starts_with("token_revoked"));
    let table = done(&gateway, &["revoke", "--list"]);
    assert!(table.lines().count() == 2 && table.contains("1   ada"), "{table}");
    assert_eq!(done(&gateway, &["revoke", "--end", "1"]), "revocation 1 has ended\n");
    let gone = run(&gateway, &["revoke", "--end", "1"]);
    assert!(gone.code == Some(1) && gone.stderr.contains("(404)"), "{gone:?}");
    Peer::open_with(&gateway, &shows).0.echo("as good as it was");
}

#[test]
fn a_text_is_published_from_the_command_line_and_from_stdin() {
    let gateway = Gateway::with_admin(ROUTES);
    let mut peer = Peer::open(&gateway, "/rooms/a");
    assert_eq!(done(&gateway, &["publish", "a", "hello"]).lines().count(), 1);
    peer.expect_text("hello");
    let admin = gateway.admin_address().to_string();
    let mut child = command(&["publish", "a", "--admin", &admin])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("a pipe").write_all("from stdin, ä\n".as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
    peer.expect_text("from stdin, ä\n");
}

#[test]
fn a_drain_is_begun_watched_and_taken_back() {
    let gateway = Gateway::with_admin(ROUTES);
    assert_eq!(done(&gateway, &["drain", "--status"]), "there was no drain since the start\n");
    let mut room = Peer::open(&gateway, "/rooms/a");
    let closing = thread::spawn(move || room.agree_to_close(4002));
    let words = ["drain", "--route", "/rooms/{room}", "--rate", "50", "--code", "4002", "--watch"];
    let told = done(&gateway, &words);
    closing.join().expect("it is closed");
    let last = told.lines().last().expect("a line");
    assert!(last.contains("route /rooms/{room}: done, 1 of 1 closed"), "{told}");
    let begun = done(&gateway, &["drain", "--delay", "1h"]);
    assert!(begun.starts_with("drain of the whole gateway: begins in 3600 s"), "{begun}");
    let second = run(&gateway, &["drain"]);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("begins in") && second.stderr.contains("(409)"), "{second:?}");
    let back = done(&gateway, &["drain", "--cancel"]);
    assert!(back.contains("taken back"), "{back}");
    Peer::open(&gateway, "/echo").echo("served");
}

#[test]
fn a_drain_that_cuts_off_or_ends_the_gateway_says_so_by_its_exit_code() {
    let listener = Gateway::listener("ws?close=1h!tcp");
    let gateway = Gateway::with_admin(&format!("{listener}{ROUTES}"));
    let mut peer = Peer::open(&gateway, "/echo");
    let cut = run(&gateway, &["drain", "--route", "/echo", "--deadline", "1s", "--watch"]);
    assert_eq!(cut.code, Some(3), "{cut:?}");
    assert!(cut.stderr.contains("1 connections were cut off"), "{cut:?}");
    peer.expect_close(1012);
    drop(peer);
    let ended = done(&gateway, &["drain", "--exit", "--watch"]);
    assert!(ended.ends_with("the gateway has ended\n"), "{ended}");
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_that_ends_the_gateway_at_its_deadline_says_who_was_cut_off() {
    let gateway = Gateway::with_admin(&Gateway::listener("ws?close=1h!tcp"));
    // It is told, and does not answer.
    let mut peer = Peer::open(&gateway, "/echo");
    let cut = run(&gateway, &["drain", "--exit", "--deadline", "2s", "--watch"]);
    assert_eq!(cut.code, Some(3), "{cut:?}");
    assert!(cut.stderr.contains("1 connections were cut off"), "{cut:?}");
    peer.expect_close(1012);
    assert_eq!(gateway.wait().code, Some(3));
}

#[test]
fn what_a_gateway_does_is_told_in_lines_where_there_is_no_terminal() {
    let gateway = Gateway::with_admin(ROUTES);
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.expect_counter("connections_open", 1);
    peer.echo("counted");
    let begun = Instant::now();
    let is_over = AtomicBool::new(false);
    let told = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                peer.echo("counted");
                thread::sleep(Duration::from_millis(5));
            }
        });
        let told = done(&gateway, &["top", "-n", "2"]);
        is_over.store(true, Ordering::Relaxed);
        told
    });
    assert!(begun.elapsed() >= Duration::from_millis(1900));
    assert_eq!(told.lines().count(), 2, "{told}");
    for line in told.lines() {
        assert!(line.starts_with("state=ready") && line.contains("connections=1 "), "{told}");
        // The first line has rates as well.
        assert!(!line.contains("messages_in=0/s"), "{told}");
    }
    let json = done(&gateway, &["top", "-n", "1", "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["state"], "ready");
}

#[test]
fn a_token_comes_from_a_file_the_environment_or_the_configuration() {
    let config = format!(
        "shards = 1\npin = false\n{ROUTES}[admin]\naddress = \"127.0.0.1:0\"\n\
         tokens = [\"{TOKEN}\"]\n"
    );
    let gateway = Launch::new().config(&config).listen("127.0.0.1:0").admin().start();
    let (right, short) = (File::new("token", &format!("{TOKEN}\n")), File::new("short", "abc"));
    done(&gateway, &["connections", "--token-file", right.path()]);
    let admin = gateway.admin_address().to_string();
    let words = ["connections", "--admin", &admin];
    let with = |token: &str| {
        exited(command(&words).env("TIDEGATE_TOKEN", token).output().expect("it runs"))
    };
    assert_eq!(with(TOKEN).code, Some(0));
    let wrong = with("fedcba9876543210");
    assert_eq!(wrong.code, Some(5), "{wrong:?}");
    assert!(wrong.stderr.contains("does not know this token"), "{wrong:?}");
    let empty = with("");
    assert_eq!((empty.code, empty.stderr.contains("none was given")), (Some(5), true), "{empty:?}");
    let bytes = OsStr::from_bytes(b"0123456789abcde\xff");
    let unreadable = command(&words).env("TIDEGATE_TOKEN", bytes).output().expect("it runs");
    let unreadable = exited(unreadable);
    assert_eq!(unreadable.code, Some(2), "{unreadable:?}");
    assert!(unreadable.stderr.contains("TIDEGATE_TOKEN: the token must have"), "{unreadable:?}");
    let none = run(&gateway, &["connections"]);
    assert_eq!(none.code, Some(5), "{none:?}");
    assert!(none.stderr.contains("none was given") && none.stderr.contains("--token-file"));
    let short = run(&gateway, &["connections", "--token-file", short.path()]);
    assert_eq!(short.code, Some(2), "{short:?}");
    assert!(short.stderr.contains("must have 16 to 256"), "{short:?}");
    let gone = run(&gateway, &["connections", "--token-file", "/nowhere/token"]);
    assert_eq!((gone.code, gone.stderr.contains("/nowhere/token: ")), (Some(2), true));
    // Of the file that names the address.
    let text = config.replace("address = \"127.0.0.1:0\"", &format!("address = \"{admin}\""));
    let file = File::new("config", &text);
    let own = command(&["--config", file.path(), "connections"]).output().expect("it runs");
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
}

#[test]
fn a_unix_socket_is_asked_like_an_address() {
    let path = std::env::temp_dir().join(format!("tidegate-cli-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    let text = format!("shards = 1\npin = false\n{ROUTES}");
    let gateway = Launch::new().config(&text).listen("127.0.0.1:0").admin_at(&address).start();
    let mut peer = Peer::open(&gateway, "/rooms/a");
    let ask = |words: &[&str]| {
        let words = [words, &["--admin", &address]].concat();
        exited(command(&words).output().expect("it runs"))
    };
    assert_eq!(ask(&["publish", "a", "over a file"]).code, Some(0));
    peer.expect_text("over a file");
    let reloaded = ask(&["reload"]);
    assert_eq!(
        (reloaded.code, &*reloaded.stdout),
        (Some(0), "nothing is otherwise; certificates and keys were read anew\n")
    );
    gateway.terminate();
    let gone = ask(&["connections"]);
    assert_eq!(gone.code, Some(4), "{gone:?}");
    assert!(gone.stderr.contains("nothing listens there"), "{gone:?}");
}

#[test]
fn where_no_gateway_answers_it_is_said_what_to_do() {
    let nobody = exited(command(&["drain", "--admin", "127.0.0.1:1"]).output().expect("it runs"));
    assert_eq!(nobody.code, Some(4), "{nobody:?}");
    for words in ["the gateway at 127.0.0.1:1", "nothing listens there", "--admin"] {
        assert!(nobody.stderr.contains(words), "{nobody:?}");
    }
    let off = exited(command(&["drain", "--admin", "off"]).output().expect("it runs"));
    assert_eq!(off.code, Some(2), "{off:?}");
    // Something else listens.
    let gateway = Gateway::with_stack("ws!tcp");
    let other = gateway.address().to_string();
    let other = exited(command(&["top", "-n", "1", "--admin", &other]).output().expect("it runs"));
    assert_ne!(other.code, Some(0), "{other:?}");
}

#[test]
fn serving_checking_and_the_version_have_names() {
    let version = exited(command(&["version"]).output().expect("it runs"));
    assert!(version.stdout.starts_with("tidegate 0."), "{version:?}");
    let [named, option] = [&["check"][..], &["--check"]]
        .map(|words| exited(command(words).output().expect("it runs")));
    assert_eq!((named.code, &named.stdout), (option.code, &option.stdout));
    let gateway = Launch::new().listen("127.0.0.1:0").argument("serve").start();
    Peer::open(&gateway, "/echo").echo("served");
    wait_until("its log", || gateway.log().contains("listening on").then_some(()));
}
