//! What a service manager is told, and the sockets that it passes.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};
use tidegate_tests::{Exited, Gateway, Launch, PATIENCE, Peer, Request, Signal, case, wait_until};

/// Passes sockets to what follows.
const PASSING: &str = env!("CARGO_BIN_EXE_pass-sockets");

/// Runs what follows with the calls that the service's unit and containers allow.
const CONFINED: [&str; 3] = [
    env!("CARGO_BIN_EXE_under-seccomp"),
    "--profile",
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/containers/seccomp.json"),
];

/// By what shards ask the kernel.
const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

/// Few things, so that a gateway starts soon.
const SMALL: &str = "pin = false\n[limits]\nconnections = 64\nblocks = \"8MiB\"\n";

/// Where a service manager listens.
struct Listening {
    socket: UnixDatagram,
    folder: PathBuf,
}

impl Listening {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-{name}-{}", process::id()));
        fs::create_dir(&folder).expect("a folder for temporary files");
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        Self { socket, folder }
    }

    /// Starts a gateway that tells this one.
    fn start(&self, launch: Launch) -> Gateway {
        launch.variable("NOTIFY_SOCKET", self.folder.join("notify")).start()
    }

    /// What it is told next, if that is soon enough.
    fn told_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).expect("a timeout");
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    /// Waits until it is told this; yields all that came with it.
    #[track_caller]
    fn expect(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        while Instant::now() < deadline {
            match self.told_within(Duration::from_millis(100)) {
                Some(told) if told.contains(words) => return told,
                told => before.extend(told),
            }
        }
        panic!("{words:?} was not told, but {before:?}");
    }

    /// Whether it is told this for a while.
    fn hears(&self, words: &str, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if self.told_within(left).is_some_and(|told| told.contains(words)) {
                return true;
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn launch(driver: &str, more: &str) -> Launch {
    Launch::new().config(&format!("{more}{SMALL}")).argument("--driver").argument(driver)
}

#[test]
fn a_service_manager_is_told_of_the_start_and_of_the_drain() {
    for driver in DRIVERS {
        for is_confined in [false, true] {
            case(format!("{driver}, confined: {is_confined}"), || {
                let manager = Listening::new("told");
                let launch = launch(driver, "drain = \"20s\"\n").listen("127.0.0.1:0");
                let launch = if is_confined { launch.under(&CONFINED) } else { launch };
                let gateway = manager.start(launch);
                let ready = manager.expect("READY=1\n");
                let address = gateway.address();
                let status = format!("STATUS=serving 0 connections on {address}\n");
                assert!(ready.contains(&status), "{ready}");
                let mut peer = Peer::open(&gateway, "/echo");
                gateway.signal(Signal::TERM);
                let stopping = manager.expect("STOPPING=1\n");
                let (_, longest) = stopping.split_once("EXTEND_TIMEOUT_USEC=").expect("a time");
                let longest: u64 = longest.lines().next().unwrap().parse().unwrap();
                assert!((24_000_000..=25_000_000).contains(&longest), "{longest}");
                peer.agree_to_close(1012);
                assert_eq!(gateway.wait().code, Some(0));
            });
        }
    }
}

#[test]
fn a_shard_that_hangs_is_not_said_to_live() {
    let manager = Listening::new("hangs");
    let launch = Launch::new().config(&format!("shards = 2\n{SMALL}")).listen("127.0.0.1:0");
    // Every half a second, then.
    let gateway = manager.start(launch.variable("WATCHDOG_USEC", "2000000"));
    manager.expect("READY=1\n");
    // Both of shards that sleep and with one that does not.
    for _ in 0..3 {
        manager.expect("WATCHDOG=1\n");
    }
    let mut peer = Peer::open(&gateway, "/echo");
    for _ in 0..3 {
        peer.echo("still there");
        manager.expect("WATCHDOG=1\n");
    }
    let hanging = Pid::from_raw(gateway.process().thread("shard-1"));
    ptrace::seize(hanging, ptrace::Options::empty()).expect("a child may be traced");
    ptrace::interrupt(hanging).expect("it is traced");
    waitpid(hanging, Some(WaitPidFlag::__WALL)).expect("it stops");
    gateway.expect_log(&["ERROR", "shard 1 has had no turn"]);
    // What was told before.
    while manager.told_within(Duration::from_millis(1)).is_some() {}
    assert!(!manager.hears("WATCHDOG=1\n", Duration::from_secs(2)), "a shard hangs");
    ptrace::detach(hanging, None).expect("it is traced");
    manager.expect("WATCHDOG=1\n");
    drop(peer);
    gateway.terminate();
}

/// A manager that starts anew has no socket for a while.
#[test]
fn what_could_not_be_told_is_told_again() {
    let mut manager = Listening::new("again");
    let launch = launch("auto", "").listen("127.0.0.1:0").variable("WATCHDOG_USEC", "2000000");
    let gateway = manager.start(launch);
    manager.expect("READY=1\n");
    fs::remove_file(manager.folder.join("notify")).expect("it is there");
    gateway.expect_log(&["WARN", "the service manager cannot be told", "tried again"]);
    manager.socket = UnixDatagram::bind(manager.folder.join("notify")).expect("a socket");
    manager.expect("WATCHDOG=1\n");
    gateway.terminate();
}

/// Nobody is accepted before the whole gateway is there: who waits is left to the next one.
#[test]
fn who_waits_in_a_passed_socket_does_not_see_a_start_that_fails() {
    for driver in DRIVERS {
        case(driver, || {
            let socket = passed(false);
            let mut waiting = request_at(&socket);
            let taken = passed(false);
            let launch = on(&socket, driver, 2).admin_at(&address(&taken).to_string());
            let Exited { code, stderr, .. } = launch.run();
            assert_eq!(code, Some(1), "{stderr}");
            let gateway = on(&socket, driver, 2).start();
            waiting.expect_open();
            waiting.echo("of the second start");
            drop(waiting);
            gateway.terminate();
        });
    }
}

#[test]
fn without_a_watchdog_nobody_is_told_that_the_gateway_lives() {
    let manager = Listening::new("lives");
    let gateway = manager.start(launch("auto", "").listen("127.0.0.1:0"));
    let ready = manager.expect("READY=1\n");
    assert!(!ready.contains("WATCHDOG"), "{ready}");
    assert!(!manager.hears("WATCHDOG", Duration::from_millis(1200)));
    gateway.terminate();
}

/// A socket that listens on a free port of 127.0.0.1, beside others if that is asked for.
fn passed(reuse_port: bool) -> TcpListener {
    passed_at("127.0.0.1:0".parse().expect("an address"), reuse_port)
}

fn passed_at(address: SocketAddr, reuse_port: bool) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(reuse_port).expect("an option");
    socket.bind(&address.into()).expect("a free port");
    socket.listen(128).expect("it listens");
    socket.into()
}

fn address(socket: &TcpListener) -> SocketAddr {
    socket.local_addr().expect("an address")
}

/// A gateway that listens where this socket does, which is passed to it.
fn on(socket: &TcpListener, driver: &str, shards: u32) -> Launch {
    at(socket, launch(driver, &format!("shards = {shards}\n")))
}

/// As [`on`], with so many connections in each shard that more than one can have are for all of
/// them.
fn on_narrow(socket: &TcpListener, driver: &str, shards: u32) -> Launch {
    let limits = "[limits]\nconnections = 16\nblocks = \"8MiB\"\n";
    let config = format!("shards = {shards}\npin = false\n{limits}");
    at(socket, Launch::new().config(&config).argument("--driver").argument(driver))
}

fn at(socket: &TcpListener, launch: Launch) -> Launch {
    launch.listen(&address(socket).to_string()).passing(PASSING, socket)
}

#[test]
fn a_passed_socket_is_served_by_all_shards() {
    for driver in DRIVERS {
        case(driver, || {
            let socket = passed(false);
            // Three times as many as one shard serves.
            let gateway = on_narrow(&socket, driver, 3).start();
            assert_eq!(gateway.address(), address(&socket));
            let mut peers: Vec<Peer> = (0..48).map(|_| Peer::open(&gateway, "/echo")).collect();
            peers.iter_mut().for_each(|peer| peer.echo("of a passed socket"));
            drop(peers);
            gateway.terminate();
        });
    }
}

/// Whether something was said to it, or it was closed.
fn is_answered(peer: &Peer) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    peer.socket().set_nonblocking(true).expect("an option");
    let seen = peer.socket().peek(&mut byte);
    peer.socket().set_nonblocking(false).expect("an option");
    !matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Whoever comes is told to all shards that share the socket, and one of them takes it.
#[test]
fn who_comes_to_full_shards_has_one_stranger_give_way_and_not_one_in_each() {
    for driver in DRIVERS {
        case(driver, || {
            let socket = passed(false);
            let gateway = on_narrow(&socket, driver, 2).start();
            let mut silent = Vec::new();
            // All slots: the places, and the reserve of each shard. On a busy machine some have to
            // give way before the last one is there.
            wait_until("somebody in every slot", || {
                silent.retain(|peer| !is_answered(peer));
                silent.resize_with(40, || Peer::connect(&gateway));
                (gateway.counters().get("connections") >= 39).then_some(())
            });
            let answered = || silent.iter().filter(|peer| is_answered(peer)).count();
            let (mut opened, before) = (Vec::new(), answered());
            for _ in 0..4 {
                // Nobody gives way before it has had half a second.
                std::thread::sleep(Duration::from_millis(600));
                opened.push(Peer::open(&gateway, "/echo"));
                opened.iter_mut().for_each(|peer| peer.echo("served"));
                let refused = answered() - before;
                assert!(refused <= opened.len(), "{refused} gave way for {}", opened.len());
            }
            let refused = answered() - before;
            assert!(refused >= 3, "{refused} gave way for four");
            drop((silent, opened));
            gateway.terminate();
        });
    }
}

#[test]
fn as_many_passed_sockets_as_shards_are_one_for_each() {
    for driver in DRIVERS {
        case(driver, || {
            let first = passed(true);
            let second = passed_at(address(&first), true);
            let gateway = on_narrow(&first, driver, 2).passing_more(&second).start();
            let mut peers: Vec<Peer> = (0..32).map(|_| Peer::open(&gateway, "/echo")).collect();
            peers.iter_mut().for_each(|peer| peer.echo("of one of both"));
            drop(peers);
            gateway.terminate();
        });
    }
}

#[test]
fn the_admin_address_may_be_passed() {
    for driver in DRIVERS {
        case(driver, || {
            let (socket, admin) = (passed(false), passed(false));
            let launch = on(&socket, driver, 1).passing_more(&admin);
            let at = address(&admin).to_string();
            let gateway = launch.admin_at(&at).start();
            assert_eq!(gateway.admin_address(), address(&admin));
            let mut peer = Peer::try_connect(address(&admin)).expect("the admin address");
            peer.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            assert_eq!(peer.response().status, 200);
            gateway.terminate();
        });
    }
}

#[test]
fn who_comes_while_the_gateway_restarts_is_served_by_the_next_one() {
    for driver in DRIVERS {
        case(driver, || {
            let socket = passed(false);
            let gateway = on(&socket, driver, 2).start();
            let mut early = Peer::open(&gateway, "/echo");
            early.echo("before");
            gateway.signal(Signal::TERM);
            // Each shard has closed its descriptor with the same turn.
            for shard in 0..2 {
                gateway.expect_log(&["draining", &format!("shard={shard}")]);
            }
            let amid = request_at(&socket);
            early.agree_to_close(1012);
            assert_eq!(gateway.wait().code, Some(0));
            let between = request_at(&socket);
            let next = on(&socket, driver, 2).start();
            for mut peer in [amid, between] {
                peer.expect_open();
                peer.echo("behind");
                peer.finish();
            }
            next.terminate();
        });
    }
}

/// Connects where nobody accepts yet, and asks.
#[track_caller]
fn request_at(socket: &TcpListener) -> Peer {
    let mut peer = Peer::try_connect(address(socket)).expect("somebody keeps the socket");
    peer.request(&Request::open("/echo"));
    peer
}

#[test]
fn a_passed_socket_that_nothing_is_configured_for_is_refused() {
    let socket = passed(false);
    let launch = launch("auto", "").listen("127.0.0.1:0").passing(PASSING, &socket);
    let Exited { code, stderr, .. } = launch.run();
    assert_eq!(code, Some(2), "{stderr}");
    let said = format!("a socket of {} was passed", address(&socket));
    assert!(stderr.contains(&said) && stderr.contains("ListenStream="), "{stderr}");
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let launch = self::launch("auto", "").listen("127.0.0.1:0").passing(PASSING, &datagrams);
    let Exited { code, stderr, .. } = launch.run();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("descriptor 3 that was passed is no stream socket"), "{stderr}");
}

#[test]
fn a_check_of_the_machine_knows_what_is_passed_and_leaves_it_alone() {
    for driver in DRIVERS {
        case(driver, || {
            let (socket, admin) = (passed(false), passed(false));
            let at = address(&admin).to_string();
            let mut waiting = request_at(&socket);
            let launch = || on(&socket, driver, 2).passing_more(&admin).admin_at(&at);
            let Exited { code, stderr, stdout } = launch().argument("--check=machine").run();
            assert_eq!((code, &stderr[..]), (Some(0), ""), "{stdout}");
            let elsewhere = launch().admin_at("127.0.0.1:0").argument("--check=machine");
            let Exited { code, stderr, .. } = elsewhere.run();
            assert_eq!(code, Some(2), "{stderr}");
            assert!(stderr.contains(&format!("a socket of {at} was passed")), "{stderr}");
            // Who waited then waits for a start.
            let gateway = launch().start();
            waiting.expect_open();
            waiting.echo("behind the checks");
            drop(waiting);
            gateway.terminate();
        });
    }
}

#[test]
fn sockets_that_are_said_to_be_passed_and_are_not_are_told_of() {
    let script = "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
    let launch = launch("auto", "").listen("127.0.0.1:0");
    let Exited { code, stderr, .. } = launch.clone().under(&["sh", "-c", script, "sh"]).run();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("the sockets that were passed (LISTEN_FDS)"), "{stderr}");
    // Of another process, they are none of the gateway's business.
    let script = "LISTEN_PID=1 LISTEN_FDS=2 exec \"$@\"";
    let gateway = launch.under(&["sh", "-c", script, "sh"]).start();
    Peer::open(&gateway, "/echo").echo("none was passed");
    gateway.terminate();
}

#[test]
fn a_log_that_is_copied_and_cut_goes_on_from_its_beginning() {
    let folder = std::env::temp_dir().join(format!("tidegate-log-{}", process::id()));
    fs::create_dir(&folder).expect("a folder for temporary files");
    let log = folder.join("tidegate.log");
    // As `StandardError=append:` of a unit.
    let script = format!("exec \"$@\" 2>>{}", log.display());
    let launch = launch("auto", "").listen("127.0.0.1:0").under(&["sh", "-c", &script, "sh"]);
    let gateway = launch.start();
    let read = || fs::read_to_string(&log).expect("a log");
    wait_until("the log of the start", || read().contains("listening on").then_some(()));
    // What `copytruncate` of logrotate(8) does, but for the copy.
    fs::OpenOptions::new().write(true).open(&log).expect("a log").set_len(0).expect("it is cut");
    gateway.signal(Signal::HUP);
    let is_told = || read().contains("the configuration was read anew").then_some(());
    wait_until("a line behind the cut", is_told);
    assert!(!read().contains('\0'), "no hole is left where the lines before were");
    assert!(!read().contains("listening on"));
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code, Some(0));
    fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn the_unit_allows_what_the_profile_of_containers_does() {
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools");
    let profile = fs::read(tools.join("containers/seccomp.json")).expect("a profile");
    let profile: serde_json::Value = serde_json::from_slice(&profile).expect("JSON");
    let groups = profile["syscalls"].as_array().expect("groups").iter();
    let names = groups.flat_map(|group| group["names"].as_array().expect("names"));
    let allowed: BTreeSet<&str> = names.filter_map(serde_json::Value::as_str).collect();
    let unit = fs::read_to_string(tools.join("packages/systemd/tidegate.service"));
    let unit = unit.expect("a unit");
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    assert_eq!(lines.flat_map(str::split_whitespace).collect::<BTreeSet<_>>(), allowed);
    assert!(allowed.len() > 80, "{allowed:?}");
}
