//! Signals: draining, stopping, counters.

use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{CLOSE, Frame, Gateway, Launch, Peer, Request, Signal, Witness, wait_until};

/// Longer than the time within which two signals are the same.
const APART: Duration = Duration::from_millis(1100);

/// Opens so many connections to `/echo`.
fn open_many(gateway: &Gateway, count: usize) -> Vec<Peer> {
    let mut peers: Vec<Peer> = (0..count).map(|_| Peer::connect(gateway)).collect();
    for peer in &mut peers {
        peer.request(&Request::open("/echo"));
    }
    for peer in &mut peers {
        peer.expect_open();
    }
    peers
}

#[test]
fn a_gateway_without_connections_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let gateway = Gateway::start("");
        let begun = Instant::now();
        gateway.signal(signal);
        assert_eq!(gateway.wait().code, Some(0));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

#[test]
fn who_has_connected_before_a_drain_is_answered_though_it_was_not_accepted() {
    let gateway = Gateway::start("");
    gateway.signal(Signal::STOP);
    let mut peers: Vec<Peer> = (0..40).map(|_| Peer::connect(&gateway)).collect();
    for peer in &mut peers {
        peer.request(&Request::open("/echo"));
    }
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::CONT);
    for peer in &mut peers {
        // The listener may have been readable before the signal was seen.
        match peer.response_head().status {
            101 => peer.agree_to_close(1012),
            status => assert_eq!(status, 503),
        }
    }
    drop(peers);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_with_a_delay_serves_on_and_says_that_it_is_not_ready() {
    let gateway = Gateway::with_admin("drain_delay = \"2s\"\n");
    let mut early = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::TERM);
    let begun = Instant::now();
    let admin = gateway.admin_address();
    let said = wait_until("not ready", || {
        let mut peer = Peer::try_connect(admin).expect("the admin address");
        peer.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let response = peer.response();
        let said = String::from_utf8_lossy(&response.body).into_owned();
        (response.status == 503).then_some(said)
    });
    assert!(said.contains("drains in ") && said.contains("takes connections until"), "{said}");
    let mut late = Peer::open(&gateway, "/echo");
    late.echo("served");
    early.echo("served as well");
    assert!(begun.elapsed() < Duration::from_secs(2), "too late to tell");
    for mut peer in [early, late] {
        peer.agree_to_close(1012);
    }
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_route_for_load_balancers_says_when_the_gateway_was_told_to_end() {
    let gateway =
        Gateway::start("drain_delay = \"2s\"\n[[route]]\npath = \"/up\"\nhandler = \"health\"\n");
    let ask = |method: &str| {
        let mut peer = Peer::connect(&gateway);
        peer.send(format!("{method} /up HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = peer.response_head();
        (response.status, response.header("cache-control").map(str::to_owned))
    };
    assert_eq!(ask("GET"), (200, Some("no-store".into())));
    assert_eq!(ask("HEAD").0, 200);
    assert_eq!(ask("POST").0, 405);
    gateway.signal(Signal::TERM);
    wait_until("it wants no more clients", || (ask("GET").0 == 503).then_some(()));
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_closes_every_connection_with_1012() {
    let gateway = Gateway::start("");
    let mut peers = open_many(&gateway, 500);
    gateway.signal(Signal::TERM);
    for peer in &mut peers {
        peer.agree_to_close(1012);
    }
    let exited = gateway.wait();
    assert_eq!(exited.code, Some(0), "{}", exited.stderr);
    assert!(exited.stderr.contains("draining"), "{}", exited.stderr);
}

#[test]
fn a_drain_closes_the_connections_of_all_shards() {
    let gateway = Launch::new()
        .config("shards = 3\npin = false\n[limits]\nblocks = \"8MiB\"\n")
        .listen("127.0.0.1:0")
        .start();
    let mut peers = open_many(&gateway, 100);
    gateway.signal(Signal::INT);
    for peer in &mut peers {
        peer.agree_to_close(1012);
    }
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_goes_on_at_its_rate() {
    let gateway = Gateway::start("drain_rate = 20");
    let mut peers = open_many(&gateway, 40);
    let begun = Instant::now();
    gateway.signal(Signal::TERM);
    for peer in &mut peers {
        peer.agree_to_close(1012);
    }
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn what_was_asked_before_a_drain_is_answered() {
    let gateway = Gateway::start("");
    let mut peers = open_many(&gateway, 20);
    for peer in &mut peers {
        peer.text("before");
    }
    for peer in &mut peers {
        peer.expect_text("before");
    }
    gateway.signal(Signal::TERM);
    for peer in &mut peers {
        // Data of a peer that has not seen our Close frame yet is no fault of its.
        peer.text("crossing");
        loop {
            let frame = peer.read_frame();
            if frame.opcode == CLOSE {
                assert_eq!(frame.close_reason().0, Some(1012));
                break;
            }
            assert_eq!(frame, Frame::text("crossing"));
        }
        peer.frame(&Frame::close(1012, ""));
        peer.expect_eof();
    }
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn peers_that_do_not_answer_hold_a_drain_up_to_their_deadline() {
    let gateway = Gateway::with_stack("ws?close=1s!tcp");
    let mut peers = open_many(&gateway, 50);
    gateway.signal(Signal::TERM);
    let begun = Instant::now();
    for peer in &mut peers {
        peer.expect_close(1012);
    }
    let exited = gateway.wait();
    assert_eq!(exited.code, Some(0), "{}", exited.stderr);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    for peer in &mut peers {
        peer.expect_end();
    }
}

#[test]
fn peers_that_do_not_read_hold_a_drain_up_to_their_deadline() {
    let gateway = Gateway::with_stack("ws?close=1s!tcp");
    let mut peers = open_many(&gateway, 3);
    let frame = Frame::binary(vec![0; 50_000]).masked();
    for peer in &mut peers {
        // Until neither of the two kernels takes any more.
        peer.socket().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while peer.try_send(&frame).is_ok() {}
    }
    assert!(gateway.fresh_counters().get("slow_peers_paused") >= 3);
    gateway.signal(Signal::TERM);
    let begun = Instant::now();
    assert_eq!(gateway.wait().code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_drain_gives_up_at_its_own_deadline() {
    let stack = Gateway::listener("ws?close=1h!tcp");
    let gateway = Gateway::start(&format!("drain = \"1s\"\n{stack}"));
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::TERM);
    peer.expect_close(1012);
    let exited = gateway.wait();
    assert_eq!(exited.code, Some(3), "{}", exited.stderr);
    assert!(exited.stderr.contains("the drain took too long"), "{}", exited.stderr);
    let words = ["1 connections that were left were cut off", "raise `drain` or `drain_rate`"];
    words.iter().for_each(|words| assert!(exited.stderr.contains(words), "{}", exited.stderr));
    peer.expect_end();
}

#[test]
fn a_signal_a_second_after_the_first_ends_at_once() {
    let pairs = [Signal::TERM, Signal::INT, Signal::QUIT].map(|second| (Signal::TERM, second));
    for (first, second) in pairs {
        let gateway = Gateway::with_stack("ws?close=1h!tcp");
        let mut peer = Peer::open(&gateway, "/echo");
        gateway.signal(first);
        peer.expect_close(1012);
        thread::sleep(APART);
        gateway.signal(second);
        let begun = Instant::now();
        let exited = gateway.wait();
        assert_eq!(exited.code, Some(0), "{}", exited.stderr);
        assert!(exited.stderr.contains("cut off, and told nothing"), "{}", exited.stderr);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        peer.expect_end();
    }
}

#[test]
fn two_signals_at_once_are_one() {
    let mut gateway = Gateway::with_stack("ws?close=1h!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(50));
    gateway.signal(Signal::TERM);
    peer.expect_close(1012);
    thread::sleep(APART);
    assert!(!gateway.has_ended(), "the drain goes on");
    gateway.signal(Signal::TERM);
    let exited = gateway.wait();
    assert_eq!(exited.code, Some(0), "{}", exited.stderr);
    assert!(exited.stderr.contains("stopping at once"), "{}", exited.stderr);
    peer.expect_end();
}

/// `timeout` sends its signal to the process, and then to the group that the process is in.
#[test]
fn under_timeout_a_stop_is_a_drain() {
    let config = format!("shards = 1\npin = false\n{}", Gateway::listener("ws?close=1h!tcp"));
    let launch = Launch::new().config(&config).listen("127.0.0.1:0");
    let gateway = launch.under(&["timeout", "600"]).start();
    let mut peers = open_many(&gateway, 20);
    // The kernel may make one of the two.
    gateway.signal(Signal::TERM);
    for peer in &mut peers {
        peer.agree_to_close(1012);
    }
    let exited = gateway.wait();
    assert_eq!(exited.code, Some(0), "{}", exited.stderr);
    assert!(!exited.stderr.contains("stopping at once"), "{}", exited.stderr);
}

#[test]
fn signals_that_mean_nothing_are_ignored_with_a_word() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::USR2);
    gateway.expect_log(&["SIGUSR2", "ignored"]);
    peer.echo("SIGUSR2");
    gateway.signal(Signal::PIPE);
    peer.echo("SIGPIPE");
    assert!(gateway.counters().get("loops") > 0);
}

#[test]
fn a_gateway_that_drains_accepts_nobody() {
    let gateway = Gateway::with_stack("ws?close=1h!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    let mut answered = Peer::connect(&gateway);
    answered.request(&Request::plain("GET", "/"));
    assert_eq!(answered.response().status, 200);
    gateway.signal(Signal::TERM);
    peer.expect_close(1012);
    wait_until("connections are refused", || Peer::try_connect(gateway.address()).err());
    peer.frame(&Frame::close(1012, ""));
    peer.expect_eof();
    drop(answered);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_handshake_that_a_drain_meets_is_told_to_come_back() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut silent = Peer::connect(&gateway);
    let mut half = Peer::connect(&gateway);
    witness.send_apart(&mut half, [&Request::open("/echo").bytes()[..40]]);
    gateway.signal(Signal::TERM);
    for peer in [&mut silent, &mut half] {
        let response = peer.expect_refusal(503);
        assert!(response.header("Retry-After").is_some(), "{response:?}");
    }
    drop((silent, half, witness));
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_does_not_wait_for_those_who_were_answered_and_do_not_close() {
    let gateway = Gateway::with_stack("ws?close=1h!tcp");
    let mut answered: Vec<Peer> = (0..3).map(|_| Peer::connect(&gateway)).collect();
    for peer in &mut answered {
        peer.request(&Request::plain("GET", "/"));
        assert_eq!(peer.response().status, 200);
    }
    // These are answered by the drain itself.
    let mut silent: Vec<Peer> = (0..3).map(|_| Peer::connect(&gateway)).collect();
    gateway.expect_counter("connections", 6);
    gateway.signal(Signal::TERM);
    let begun = Instant::now();
    for peer in &mut silent {
        peer.expect_refusal(503);
    }
    assert_eq!(gateway.wait().code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop((answered, silent));
}

/// What `drain_delay` promises to those who come when it is over.
#[test]
fn after_the_delay_of_a_drain_who_comes_is_refused_by_the_kernel() {
    let stack = Gateway::listener("ws?close=1h!tcp");
    let gateway = Gateway::start(&format!("drain_delay = \"1s\"\n{stack}"));
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::TERM);
    peer.expect_close(1012);
    let error = wait_until("refused", || Peer::try_connect(gateway.address()).err());
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    peer.frame(&Frame::close(1012, ""));
    peer.expect_eof();
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_ends_a_connection_inside_of_a_message() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::text("half").unfinished());
    peer.expect(&Frame::text("half").unfinished());
    gateway.signal(Signal::TERM);
    peer.agree_to_close(1012);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_and_the_close_of_a_peer_may_cross() {
    let gateway = Gateway::start("");
    let mut peers = open_many(&gateway, 200);
    gateway.signal(Signal::TERM);
    for peer in &mut peers {
        // Too late for some of them, if the gateway has already given them up.
        let _ = peer.try_send(Frame::close(1000, "").masked());
    }
    for peer in &mut peers {
        let frame = peer.read_frame();
        let (code, _) = frame.close_reason();
        assert!(matches!(code, Some(1000 | 1012)), "{frame:?}");
        peer.expect_end();
    }
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn counters_are_shown_by_name_and_the_gateway_goes_on() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let counters = gateway.fresh_counters();
    for (name, value) in [
        ("connections", 1),
        ("connections_open", 1),
        ("accepted", 1),
        ("opened", 1),
        ("messages_in", 1),
        ("messages_out", 1),
        ("refused", 0),
        ("protocol_errors", 0),
        ("blocks_used", 0),
    ] {
        assert_eq!(counters.get(name), value, "{name}");
    }
    witness.check();
}
