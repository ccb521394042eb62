//! Unix sockets: listeners and the admin address at the path of a file or at an abstract name.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use serde_json::Value;
use tidegate_tests::{Gateway, Launch, Peer, Request, Signal, wait_until};

/// Starts what it is given as a program that passes sockets on.
const PASSING: &str = env!("CARGO_BIN_EXE_pass-sockets");

/// Runs what follows with the calls that containers and the service's unit allow.
const CONFINED: [&str; 3] = [
    env!("CARGO_BIN_EXE_under-seccomp"),
    "--profile",
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/containers/seccomp.json"),
];

/// How often connections are opened until each shard has one.
const ROUNDS: usize = 20;

/// A folder for the sockets of one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir();
        let folder = folder.join(format!("tidegate-sockets-{test}-{}", std::process::id()));
        fs::create_dir(&folder).expect("it is not there yet");
        Self(folder)
    }

    /// A path in it, as people write it.
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a text").to_owned()
    }

    /// The names in it.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it is there");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A listener at this address, behind one of TCP, which says that all are there.
fn listeners(address: &str, stack: &str) -> String {
    let stack = if stack.is_empty() { String::new() } else { format!("stack = \"{stack}\"\n") };
    format!("{}[[listener]]\naddress = \"{address}\"\n{stack}", Gateway::listener("ws!tcp"))
}

/// Starts two shards with these listeners.
fn launch(listeners: &str) -> Launch {
    Launch::new().config(&format!("shards = 2\npin = false\n{listeners}"))
}

fn connect(address: &str) -> UnixStream {
    let stream = match address.strip_prefix("unix:@") {
        Some(name) => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).expect("it is short"))
        }
        None => UnixStream::connect(address.trim_start_matches("unix:")),
    };
    stream.expect("the gateway listens")
}

/// A WebSocket connection there.
fn open(address: &str, path: &str) -> Peer {
    let mut peer = Peer::over(connect(address));
    peer.request(&Request::open(path));
    peer.expect_open();
    peer
}

/// How many connections each shard has accepted, as of its last tick or look.
fn accepted(gateway: &Gateway) -> Vec<u64> {
    let told = ask(gateway, "/v1/overview");
    let shards = told["shards"].as_array().expect("a list");
    assert_eq!(shards.len(), 2);
    shards.iter().map(|shard| shard["counters"]["accepted"].as_u64().expect("a count")).collect()
}

/// What the admin address tells.
fn ask(gateway: &Gateway, path: &str) -> Value {
    let mut stream = TcpStream::connect(gateway.admin_address()).expect("it listens");
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).expect("JSON")
}

fn abstract_name(test: &str) -> String {
    format!("unix:@tidegate-{test}-{}", std::process::id())
}

#[test]
fn echoes_and_rooms_are_there_by_path_and_by_name() {
    let folder = Folder::new("echo");
    for address in [format!("unix:{}", folder.path("x.sock")), abstract_name("echo")] {
        let gateway = launch(&listeners(&address, "")).start();
        let mut echo = open(&address, "/echo");
        for length in [5, 200_000] {
            let text = "a".repeat(length);
            echo.text(&text);
            echo.expect_text(&text);
        }
        let (mut near, mut far) = (open(&address, "/rooms/a"), Peer::open(&gateway, "/rooms/a"));
        near.text("over");
        far.expect_text("over");
        near.expect_text("over");
        gateway.signal(Signal::TERM);
        [echo, near, far].iter_mut().for_each(|peer| peer.agree_to_close(1012));
        gateway.wait();
    }
    assert_eq!(folder.names(), [""; 0], "what is over leaves nothing");
}

#[test]
fn all_shards_serve_one_socket() {
    let folder = Folder::new("shards");
    let address = format!("unix:{}", folder.path("x.sock"));
    let gateway = launch(&listeners(&address, "")).admin().start();
    let mut peers: Vec<Peer> = Vec::new();
    // Which shard accepts first is up to the scheduler.
    for round in 1..=ROUNDS {
        peers.extend((0..16).map(|_| open(&address, "/echo")));
        let counts = wait_until("all are counted", || {
            let counts = accepted(&gateway);
            (counts.iter().sum::<u64>() >= peers.len() as u64).then_some(counts)
        });
        if counts.iter().all(|count| *count > 0) {
            break;
        }
        assert!(round < ROUNDS, "one shard has them all: {counts:?}");
    }
    peers.iter_mut().for_each(|peer| peer.echo("here"));
}

#[test]
fn a_file_has_its_mode_and_goes_with_the_gateway() {
    let folder = Folder::new("mode");
    let path = folder.path("x.sock");
    drop(UnixListener::bind(&path).expect("it is free"));
    let group = fs::metadata(&folder.0).expect("it is there").gid();
    let stack = format!("ws!unix?mode=604&owner=:{group}");
    let gateway = launch(&listeners(&format!("unix:{path}"), &stack)).start();
    let found = fs::symlink_metadata(&path).expect("it is there");
    assert!(found.file_type().is_socket());
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o604, group));
    let mut peer = open(&format!("unix:{path}"), "/echo");
    gateway.signal(Signal::TERM);
    peer.agree_to_close(1012);
    gateway.terminate();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn what_is_in_use_or_no_socket_is_refused() {
    let folder = Folder::new("use");
    let path = folder.path("x.sock");
    let listener = UnixListener::bind(&path).expect("it is free");
    let error = launch(&listeners(&format!("unix:{path}"), "")).try_start().unwrap_err();
    assert_eq!(error.code, Some(1));
    assert!(error.stderr.contains("x.sock is in use"), "{}", error.stderr);
    drop(listener);
    fs::remove_file(&path).expect("it is there");
    fs::write(&path, "a text").expect("there is room");
    let error = launch(&listeners(&format!("unix:{path}"), "")).try_start().unwrap_err();
    assert!(error.stderr.contains("is no socket"), "{}", error.stderr);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "a text");
}

/// What has a file made, changed and removed is called by nothing else.
#[test]
fn a_file_is_had_with_the_calls_that_containers_and_the_service_allow() {
    let folder = Folder::new("confined");
    let path = folder.path("x.sock");
    let found = fs::metadata(&folder.0).expect("it is there");
    for owner in [format!("{}:{}", found.uid(), found.gid()), format!("{}:root", found.uid())] {
        // Only who may give it away can have another group.
        if owner.ends_with(":root") && found.uid() != 0 {
            continue;
        }
        for driver in ["io_uring", "epoll"] {
            // As a crash leaves it.
            drop(UnixListener::bind(&path).expect("it is free"));
            let stack = format!("ws!unix?mode=606&owner={owner}");
            let launch = launch(&listeners(&format!("unix:{path}"), &stack)).under(&CONFINED);
            let gateway = launch.choosing().argument("--driver").argument(driver).start();
            let mode = fs::symlink_metadata(&path).expect("it is there").mode();
            assert_eq!(mode & 0o7777, 0o606);
            let mut peer = open(&format!("unix:{path}"), "/echo");
            peer.echo("by few calls");
            gateway.signal(Signal::TERM);
            peer.agree_to_close(1012);
            gateway.terminate();
            assert_eq!(folder.names(), [""; 0]);
        }
    }
}

/// Each looks whether somebody listens before the others do.
#[test]
fn of_gateways_that_start_in_one_moment_one_has_the_path() {
    let folder = Folder::new("moment");
    let address = format!("unix:{}", folder.path("x.sock"));
    let start = || launch(&listeners(&address, "")).try_start();
    let results: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().expect("it does not panic")).collect()
    });
    let (mut gateways, errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    for error in errors.into_iter().filter_map(Result::err) {
        assert_eq!(error.code, Some(1));
        assert!(error.stderr.contains("x.sock is in use"), "{}", error.stderr);
    }
    assert_eq!(gateways.len(), 1);
    open(&address, "/echo").echo("of the one");
    gateways.remove(0).expect("it serves").terminate();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn what_a_crash_leaves_is_replaced() {
    let folder = Folder::new("crash");
    let address = format!("unix:{}", folder.path("x.sock"));
    let gateway = launch(&listeners(&address, "")).start();
    gateway.signal(Signal::KILL);
    gateway.wait();
    let mut names = folder.names();
    names.sort();
    assert_eq!(names, ["x.sock", "x.sock.lock"]);
    let gateway = launch(&listeners(&address, "")).start();
    open(&address, "/echo").echo("of the next");
    gateway.terminate();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn who_waits_when_a_drain_begins_is_told() {
    let address = abstract_name("drain");
    let gateway = launch(&listeners(&address, "")).start();
    let ends: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = connect(&address);
            thread::spawn(move || {
                let mut text = Vec::new();
                // Written to who has ended it is an error; what was said before is there.
                let _ = stream.write_all(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
                let _ = stream.read_to_end(&mut text);
                text
            })
        })
        .collect();
    gateway.signal(Signal::TERM);
    for end in ends {
        let text = end.join().expect("it does not panic");
        assert!(text.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn peers_are_told_by_their_process() {
    let folder = Folder::new("peers");
    let address = format!("unix:{}", folder.path("x.sock"));
    let gateway = launch(&listeners(&address, "log!ws!log!unix")).admin().start();
    let mut peer = open(&address, "/rooms/b");
    let pid = std::process::id();
    let process = format!("unix:pid={pid},uid=");
    gateway.expect_log(&["tidegate::transport", "accepted", &process]);
    gateway.expect_log(&["tidegate::websocket", "opened", &process]);
    let told = ask(&gateway, "/v1/connections");
    let address = told["connections"][0]["address"].as_str().expect("it is known");
    assert!(address.starts_with(&process), "{address}");
    peer.echo("here");
}

#[test]
fn the_admin_address_may_be_one() {
    let folder = Folder::new("admin");
    let path = folder.path("admin.sock");
    let admin = format!("unix:{path}");
    let gateway = launch(&Gateway::listener("ws!tcp")).admin_at(&admin).start();
    let mode = fs::symlink_metadata(&path).expect("it is there").mode();
    assert_eq!(mode & 0o7777, 0o660);
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it ends");
        answer
    };
    let answer = ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let body = r#"{"topic":"a","text":"b"}"#;
    let head = "POST /v1/disconnect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let kind = "Content-Type: application/json\r\n";
    let answer = ask(&format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len()));
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    let process = format!("unix:pid={},uid=", std::process::id());
    gateway.expect_log(&["tidegate::admin", "/v1/disconnect", &process]);
    gateway.terminate();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn one_that_was_passed_is_served() {
    let folder = Folder::new("passed");
    let path = folder.path("x.sock");
    let socket = UnixListener::bind(&path).expect("it is free");
    let keeper = socket.try_clone().expect("a descriptor is left");
    let text = listeners(&format!("unix:{path}"), "");
    let gateway = launch(&text).passing(PASSING, socket).start();
    let mut peer = open(&format!("unix:{path}"), "/echo");
    peer.echo("here");
    gateway.signal(Signal::TERM);
    peer.agree_to_close(1012);
    gateway.terminate();
    let _waits = UnixStream::connect(&path).expect("whoever has passed it has it");
    keeper.accept().expect("it waits for the next gateway");
}
