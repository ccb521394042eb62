//! A gateway where io_uring is refused, as in most containers, and one that is told to do without.

use serde_json::Value;
use tidegate::kernel::LockedMemory;
use tidegate_tests::{Exited, Exposition, Gateway, Launch, Peer, Request, case};

/// Runs what follows under a filter.
const UNDER: &str = env!("CARGO_BIN_EXE_under-seccomp");

/// Where io_uring is refused.
const REFUSED: [&str; 2] = [UNDER, "--refuse-io-uring"];

/// What a gateway may call in a container.
const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/containers/seccomp.json");

/// What the admin address answers to a path.
#[track_caller]
fn asked(gateway: &Gateway, path: &str) -> String {
    let mut peer = Peer::try_connect(gateway.admin_address()).expect("the admin address");
    peer.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let response = peer.response();
    assert_eq!(response.status, 200, "{response:?}");
    String::from_utf8(response.body).expect("text")
}

/// It serves its page and its echo, and says by what.
#[track_caller]
fn expect_service_by_epoll(gateway: &Gateway) {
    let mut browser = Peer::connect(gateway);
    browser.request(&Request::plain("GET", "/"));
    assert_eq!(browser.response().status, 200);
    Peer::open(gateway, "/echo").echo("by epoll");
    let metrics = Exposition::read(&asked(gateway, "/metrics")).expect("it is whole");
    assert_eq!(metrics.get("tidegate_driver{kind=\"epoll\"}"), 1.0);
    assert_eq!(metrics.get("tidegate_driver{kind=\"io_uring\"}"), 0.0);
    expect_no_ring(gateway);
}

/// None of its descriptors is a ring.
#[track_caller]
fn expect_no_ring(gateway: &Gateway) {
    let open = gateway.process().open_files();
    assert!(open.iter().any(|file| file.contains("eventpoll")), "{open:?}");
    assert!(!open.iter().any(|file| file.contains("io_uring")), "{open:?}");
}

/// With so many open files at most.
fn with_open_files(count: u32) -> Launch {
    let script = format!("ulimit -n {count}; exec \"$@\"");
    Launch::new().choosing().under(&["sh", "-c", &script, "sh"])
}

#[test]
fn the_default_configuration_serves_where_io_uring_is_refused() {
    let gateway = Launch::new().choosing().under(&REFUSED).listen("127.0.0.1:0").admin().start();
    expect_service_by_epoll(&gateway);
    let line = gateway.expect_log(&["WARN", "shards ask the kernel by epoll", "EPERM", "seccomp"]);
    let overview: Value = serde_json::from_str(&asked(&gateway, "/v1/overview")).expect("JSON");
    assert_eq!(overview["driver"]["kind"], "epoll");
    assert!(line.ends_with(overview["driver"]["why"].as_str().expect("text")), "{overview}");
}

#[test]
fn a_gateway_that_is_to_use_epoll_does_not_try_io_uring() {
    let launch =
        Launch::new().choosing().under(&[UNDER, "--kill-io-uring"]).listen("127.0.0.1:0").admin();
    let gateway = launch.argument("--driver").argument("epoll").start();
    expect_service_by_epoll(&gateway);
    gateway.expect_log(&["INFO", "shards ask the kernel by epoll: it is configured"]);
    gateway.terminate();
}

#[test]
fn a_gateway_that_is_to_use_io_uring_says_why_it_cannot() {
    let launch = Launch::new().choosing().under(&REFUSED).config("driver = \"io_uring\"");
    let Exited { code, stderr, .. } = launch.listen("127.0.0.1:0").run();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("io_uring is refused to this process (EPERM)"), "{stderr}");
}

#[test]
fn few_open_files_are_told_of_and_the_default_is_lowered_to_them() {
    let launch = with_open_files(256).argument("--driver").argument("epoll");
    let gateway = launch.argument("--shards").argument("1").listen("127.0.0.1:0").admin().start();
    expect_service_by_epoll(&gateway);
    gateway.expect_log(&["WARN", "in place of 16384", "LimitNOFILE="]);
    let overview: Value = serde_json::from_str(&asked(&gateway, "/v1/overview")).expect("JSON");
    let connections = overview["limits"]["connections_per_shard"].as_u64().expect("a number");
    assert!((64..256).contains(&connections), "{connections}");
    // All of them fit, and who comes then is told that there is no more room.
    let mut peers: Vec<Peer> = (0..connections).map(|_| Peer::open(&gateway, "/echo")).collect();
    let mut late = Peer::connect(&gateway);
    late.request(&Request::open("/echo"));
    late.expect_refusal(503);
    for peer in &mut peers {
        peer.echo("not disturbed");
    }
}

#[test]
fn more_connections_than_open_files_are_refused_with_the_number_to_set() {
    let config = "shards = 1\ndriver = \"epoll\"\n[limits]\nconnections = 1000\n";
    let Exited { code, stderr, .. } =
        with_open_files(256).config(config).listen("127.0.0.1:0").run();
    assert_eq!(code, Some(1), "{stderr}");
    for words in ["there may be 256", "ulimit -n 1", "limits.connections to"] {
        case(words, || assert!(stderr.contains(words), "{stderr}"));
    }
}

#[test]
fn a_gateway_lives_within_the_profile_for_containers_by_either_driver() {
    for driver in ["io_uring", "epoll"] {
        let launch = Launch::new().choosing().under(&[UNDER, "--profile", PROFILE]);
        let launch = launch.argument("--driver").argument(driver);
        let gateway = launch.listen("127.0.0.1:0").listen("[::1]:0").admin().start();
        let mut peers = [(); 20].map(|()| Peer::open(&gateway, "/rooms/lobby"));
        case(driver, || Peer::open(&gateway, "/echo").echo("within it"));
        peers[0].text("to all");
        peers[1..].iter_mut().for_each(|peer| peer.expect_text("to all"));
        let metrics = Exposition::read(&asked(&gateway, "/metrics")).expect("it is whole");
        assert_eq!(metrics.get(&format!("tidegate_driver{{kind=\"{driver}\"}}")), 1.0);
        asked(&gateway, "/v1/overview");
        gateway.expect_counter_from("opened", 21);
        drop(peers);
        gateway.terminate();
    }
}

/// Rings count as locked memory from Linux 6.14 on, of all but those with a capability.
#[test]
fn the_default_configuration_serves_where_rings_may_not_lock_what_they_take() {
    if LockedMemory::here().kernel.is_none_or(|kernel| kernel < (6, 14)) {
        eprintln!("this kernel does not count rings");
        return;
    }
    let script = "ulimit -l 512 || exit 125; [ $(id -u) -ne 0 ] && exec \"$@\"; \
                  exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let launch = || Launch::new().choosing().under(&["sh", "-c", script, "sh"]);
    let launch = || launch().argument("--shards").argument("1").listen("127.0.0.1:0");
    let gateway = launch().admin().start();
    expect_service_by_epoll(&gateway);
    let words = ["WARN", "by epoll", "1 shard", "bytes of locked memory", "ulimit -l "];
    gateway.expect_log(&words);
    // The doctor knows, and a ring that is asked for is refused.
    let examined = launch().argument("doctor").run();
    assert!(examined.stdout.contains("bytes of locked memory"), "{examined:?}");
    let Exited { code, stderr, .. } = launch().argument("--driver").argument("io_uring").run();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("limit of locked memory"), "{stderr}");
}
