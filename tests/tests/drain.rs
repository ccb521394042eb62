//! Drains by the admin address: of the whole gateway and of parts of it, at a pace, and taken back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use tidegate_tests::admin::{ask, json_of};
use tidegate_tests::{CLOSE, Frame, Gateway, Launch, Peer, Request, Response, Signal, wait_until};

/// Longer than the time within which two signals are the same.
const APART: Duration = Duration::from_millis(1100);

/// A route beside the defaults, so that there is another one.
const TWO_ROUTES: &str = "[[route]]\npath = \"/echo\"\nhandler = \"echo\"\n\
                          [[route]]\npath = \"/rooms/{room}\"\nhandler = \"hub?topic={room}\"\n";

/// Begins a drain, and returns how it is.
#[track_caller]
fn begin(gateway: &Gateway, request: Value) -> Value {
    let response = ask(gateway, "POST", "/v1/drain", &request);
    let told = json_of(&response);
    assert_eq!(response.status, 200, "{told}");
    told["drain"].clone()
}

#[track_caller]
fn refused(response: &Response, status: u16, code: &str) -> String {
    let told = json_of(response);
    assert_eq!((response.status, told["error"]["code"].as_str()), (status, Some(code)), "{told}");
    told["error"]["message"].as_str().expect("a message").to_owned()
}

/// How the last drain is.
fn told(gateway: &Gateway) -> Value {
    json_of(&ask(gateway, "GET", "/v1/drain", &Value::Null))["drain"].clone()
}

fn take_back(gateway: &Gateway) -> Response {
    ask(gateway, "DELETE", "/v1/drain", &Value::Null)
}

fn readiness(gateway: &Gateway) -> u16 {
    ask(gateway, "GET", "/readyz", &Value::Null).status
}

#[track_caller]
fn is_done(gateway: &Gateway) -> Value {
    wait_until("it is done", || Some(told(gateway)).filter(|told| told["state"] == "done"))
}

/// Whether the peer was told nothing yet.
fn is_left_alone(peer: &mut Peer) {
    peer.echo("still here");
}

#[test]
fn a_gateway_that_stays_refuses_who_comes_and_serves_again_once_it_is_taken_back() {
    let gateway = Gateway::with_admin("");
    assert_eq!(told(&gateway), Value::Null);
    let mut early = Peer::open(&gateway, "/echo");
    let begun = begin(&gateway, json!({"reason": "new machine"}));
    assert_eq!((&begun["then"], &begun["asked_by"]), (&json!("stay"), &json!("api")));
    assert_eq!(early.expect_close(1012), "drain: new machine");
    early.frame(&Frame::close(1012, ""));
    early.expect_eof();
    let done = is_done(&gateway);
    assert_eq!(
        (&done["connections"], &done["closed"], &done["left"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(readiness(&gateway), 503);
    let mut late = Peer::connect(&gateway);
    late.request(&Request::open("/echo"));
    assert!(late.expect_refusal(503).header("Retry-After").is_some());
    assert_eq!(take_back(&gateway).status, 200);
    wait_until("it serves", || (readiness(&gateway) == 200).then_some(()));
    Peer::open(&gateway, "/echo").echo("served again");
    let none = take_back(&gateway);
    assert!(refused(&none, 409, "no_drain").contains("no drain"));
    assert_eq!(told(&gateway)["state"], "taken_back");
    let log = gateway.terminate();
    for words in
        ["draining: connections are closed", "the drain is over", "the drain is taken back"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    for line in ["method=POST path=\"/v1/drain\"", "method=DELETE path=\"/v1/drain\""] {
        assert!(log.contains(line) && log.contains("the whole gateway"), "{line}: {log}");
    }
}

#[test]
fn what_is_taken_back_amid_it_leaves_who_was_not_told() {
    let gateway = Gateway::with_admin("");
    let mut peers: Vec<Peer> = (0..40).map(|_| Peer::open(&gateway, "/echo")).collect();
    begin(&gateway, json!({"rate": 20}));
    let told_some = wait_until("some are told", || {
        Some(told(&gateway)).filter(|told| told["leaving"].as_u64() >= Some(4))
    });
    assert_eq!(told_some["can_be_taken_back"], true);
    let back = json_of(&take_back(&gateway));
    let stay = back["drain"]["left"].as_u64().expect("a number")
        - back["drain"]["leaving"].as_u64().expect("a number");
    assert!(stay > 20, "{back}");
    thread::sleep(Duration::from_millis(500));
    let (mut closed, mut left) = (0, 0);
    for peer in &mut peers {
        peer.text("here");
        let frame = peer.read_frame();
        match frame.opcode {
            CLOSE => {
                assert_eq!(frame.close_reason().0, Some(1012));
                closed += 1;
            }
            _ => {
                assert_eq!(frame, Frame::text("here"));
                left += 1;
            }
        }
    }
    // One may have been told between the two.
    assert!(closed >= 4 && left + 2 >= stay, "{closed} closed, {left} left: {back}");
    Peer::open(&gateway, "/echo").echo("and others come");
}

#[test]
fn a_drain_with_a_delay_is_taken_back_before_anything_happens() {
    let gateway = Gateway::with_admin("");
    let mut peer = Peer::open(&gateway, "/echo");
    let begun = begin(&gateway, json!({"delay": "1h"}));
    assert_eq!(
        (&begun["state"], &begun["delay_left_seconds"]),
        (&json!("announced"), &json!(3600))
    );
    assert_eq!(readiness(&gateway), 503);
    Peer::open(&gateway, "/echo").echo("served meanwhile");
    assert_eq!(take_back(&gateway).status, 200);
    assert_eq!(readiness(&gateway), 200);
    is_left_alone(&mut peer);
}

#[test]
fn the_gateway_ends_if_that_is_asked_for() {
    let gateway = Gateway::with_admin("");
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(&gateway, "/echo")).collect();
    begin(&gateway, json!({"then": "exit", "code": 1001}));
    for peer in &mut peers {
        peer.agree_to_close(1001);
    }
    let exited = gateway.wait();
    assert_eq!(exited.code, Some(0), "{}", exited.stderr);
}

#[test]
fn who_is_left_at_the_deadline_is_cut_off() {
    let gateway = Gateway::with_admin(&Gateway::listener("ws?close=1h!tcp"));
    let mut peer = Peer::open(&gateway, "/echo");
    begin(&gateway, json!({"deadline": "1s"}));
    peer.expect_close(1012);
    // It does not answer.
    peer.expect_end();
    let done = is_done(&gateway);
    assert_eq!((&done["cut_off"], &done["closed"]), (&json!(1), &json!(1)));
    assert_eq!(gateway.fresh_counters().get("drain_cut_off"), 1);
}

#[test]
fn connections_of_a_route_are_closed_and_no_others() {
    let gateway = Gateway::with_admin(TWO_ROUTES);
    let mut meant: Vec<Peer> = (0..5).map(|_| Peer::open(&gateway, "/rooms/a")).collect();
    let mut other = Peer::open(&gateway, "/echo");
    let begun = begin(&gateway, json!({"route": "/rooms/{room}", "code": 4001}));
    assert_eq!(begun["route"], "/rooms/{room}");
    assert_eq!(readiness(&gateway), 200, "a part of it says nothing of the rest");
    for peer in &mut meant {
        peer.agree_to_close(4001);
    }
    let done = is_done(&gateway);
    assert_eq!(done["connections"], 5);
    is_left_alone(&mut other);
    let mut late = Peer::open(&gateway, "/rooms/a");
    late.text("one who comes later stays");
    late.expect_text("one who comes later stays");
    assert_eq!(gateway.fresh_counters().get("connections_open"), 2);
    // It is over, and another one may begin.
    begin(&gateway, json!({"route": "/echo"}));
    other.agree_to_close(1012);
}

#[test]
fn connections_of_a_network_are_closed_and_no_others() {
    let gateway = Gateway::with_admin(TWO_ROUTES);
    let open_from = |from: [u8; 4], path: &str| {
        let mut peer = Peer::try_connect_from(from.into(), gateway.address()).expect("it listens");
        peer.request(&Request::open(path));
        peer.expect_open();
        peer
    };
    let mut meant = open_from([127, 0, 0, 9], "/rooms/a");
    let mut other = open_from([127, 0, 1, 9], "/rooms/a");
    // Its address is kept by nobody.
    let mut unknown = open_from([127, 0, 0, 9], "/echo");
    begin(&gateway, json!({"address": "127.0.0.0/24"}));
    meant.agree_to_close(1012);
    let done = is_done(&gateway);
    assert_eq!((&done["connections"], &done["unknown_address"]), (&json!(1), &json!(1)));
    is_left_alone(&mut unknown);
    other.text("heard");
    other.expect_text("heard");
    begin(&gateway, json!({"address": "127.0.1.9", "route": "/rooms/{room}"}));
    other.agree_to_close(1012);
}

#[test]
fn connections_of_a_listener_are_closed_and_no_others() {
    let more = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"[::1]:0\"\n";
    let config = format!("shards = 1\npin = false\n{more}");
    let gateway = Launch::new().config(&config).admin().start_with_addresses(2);
    let open = |at: usize| Peer::open_at(gateway.addresses()[at], &Request::open("/echo")).0;
    let (mut meant, mut other) = (open(1), open(0));
    begin(&gateway, json!({"listener": gateway.addresses()[1].to_string()}));
    meant.agree_to_close(1012);
    is_done(&gateway);
    is_left_alone(&mut other);
    open(1).echo("and its listener goes on");
}

#[test]
fn there_is_one_at_a_time_but_the_whole_gateway_takes_over() {
    let gateway = Gateway::with_admin(TWO_ROUTES);
    let mut peer = Peer::open(&gateway, "/echo");
    let mut other = Peer::open(&gateway, "/rooms/a");
    begin(&gateway, json!({"route": "/echo", "delay": "1h"}));
    let second = ask(&gateway, "POST", "/v1/drain", &json!({"route": "/rooms/{room}"}));
    let said = refused(&second, 409, "drain_under_way");
    assert!(said.contains("a drain of route /echo begins in 1h"), "{said}");
    begin(&gateway, json!({"code": 4000}));
    peer.agree_to_close(4000);
    other.agree_to_close(4000);
    is_done(&gateway);
    let third = ask(&gateway, "POST", "/v1/drain", &json!({}));
    assert!(refused(&third, 409, "drain_under_way").contains("in force until it is taken back"));
    // A signal takes over from any.
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn what_is_asked_wrongly_is_refused_with_its_reason() {
    let gateway = Gateway::with_admin(TWO_ROUTES);
    for (request, words) in [
        (json!({"code": 1010}), "one that a server may send"),
        (json!({"code": 1006}), "is 1006"),
        (json!({"code": 5000}), "3000 to 4999"),
        (json!({"reason": "x".repeat(117)}), "at most 116 bytes, has 117"),
        (json!({"rate": 0}), "`rate` must be 1 to"),
        (json!({"deadline": "0s"}), "`deadline` must be between 1s and 24h"),
        (json!({"delay": "2h"}), "`delay` must be between 0s and 1h"),
        (json!({"delay": "soon"}), "`delay`"),
        (json!({"route": "/nowhere"}), "configured route"),
        (json!({"listener": "127.0.0.1:1"}), "listened on"),
        (json!({"address": "10.0.0.0/33"}), "such as 10.0.0.0/8"),
        (json!({"route": "/echo", "then": "exit"}), "`then` can only be `exit`"),
        (json!({"user": "ann"}), "user"),
    ] {
        let said = refused(&ask(&gateway, "POST", "/v1/drain", &request), 400, "invalid_request");
        assert!(said.contains(words), "{request}: {said}");
    }
    assert_eq!(told(&gateway), Value::Null);
}

#[test]
fn after_a_signal_it_can_be_taken_back_until_the_delay_is_over() {
    let config = format!("drain_delay = \"1h\"\n{}", Gateway::listener("ws?close=1h!tcp"));
    let gateway = Gateway::with_admin(&config);
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::TERM);
    wait_until("it is announced", || (readiness(&gateway) == 503).then_some(()));
    assert_eq!(told(&gateway)["asked_by"], "signal");
    assert_eq!(take_back(&gateway).status, 200);
    is_left_alone(&mut peer);
    thread::sleep(APART);
    // It is a first one again, and not a second.
    gateway.signal(Signal::TERM);
    wait_until("it is announced again", || (readiness(&gateway) == 503).then_some(()));
    is_left_alone(&mut peer);
    thread::sleep(APART);
    gateway.signal(Signal::TERM);
    let exited = gateway.wait();
    assert!(exited.stderr.contains("stopping at once"), "{}", exited.stderr);
}

#[test]
fn a_signal_is_a_first_one_after_another_was_taken_back_whatever_was_asked_for_since() {
    let config = format!("drain_delay = \"1h\"\n{}", Gateway::listener("ws?close=1h!tcp"));
    let gateway = Gateway::with_admin(&config);
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::TERM);
    wait_until("it is announced", || (readiness(&gateway) == 503).then_some(()));
    assert_eq!(take_back(&gateway).status, 200);
    begin(&gateway, json!({}));
    thread::sleep(APART);
    gateway.signal(Signal::TERM);
    wait_until("it has taken over", || (told(&gateway)["asked_by"] == "signal").then_some(()));
    is_left_alone(&mut peer);
    thread::sleep(APART);
    gateway.signal(Signal::TERM);
    let exited = gateway.wait();
    assert!(exited.stderr.contains("stopping at once"), "{}", exited.stderr);
}

#[test]
fn who_was_refused_meanwhile_is_not_among_those_who_are_cut_off() {
    let gateway = Gateway::with_admin(&Gateway::listener("ws?close=1h!tcp"));
    let mut peer = Peer::open(&gateway, "/echo");
    begin(&gateway, json!({"then": "exit", "deadline": "2s"}));
    peer.expect_close(1012);
    // None of them ends its connection.
    let refused = |_| {
        let mut late = Peer::connect(&gateway);
        late.request(&Request::open("/echo"));
        late.expect_refusal(503);
        thread::sleep(Duration::from_millis(100));
        late
    };
    let _refused: Vec<Peer> = (0..12).map(refused).collect();
    let exited = gateway.wait();
    assert_eq!(exited.code, Some(3), "{}", exited.stderr);
    let over = exited.stderr.lines().find(|line| line.contains("the drain is over"));
    let over = over.unwrap_or_else(|| panic!("{}", exited.stderr));
    assert!(over.contains("connections=1 cut_off=1"), "{over}");
}

#[test]
fn after_a_signal_it_is_too_late_once_listeners_are_closed() {
    let gateway = Gateway::with_admin(&Gateway::listener("ws?close=1h!tcp"));
    let mut peer = Peer::open(&gateway, "/echo");
    gateway.signal(Signal::TERM);
    peer.expect_close(1012);
    let late = take_back(&gateway);
    assert!(refused(&late, 409, "drain_final").contains("listeners"));
    assert_eq!(told(&gateway)["can_be_taken_back"], false);
    peer.frame(&Frame::close(1012, ""));
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn a_drain_is_told_in_the_overview_and_in_metrics() {
    let gateway = Gateway::with_admin(&Gateway::listener("ws?close=1h!tcp"));
    let overview = || json_of(&ask(&gateway, "GET", "/v1/overview", &Value::Null));
    assert_eq!(overview()["drain"], Value::Null);
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::open(&gateway, "/echo")).collect();
    begin(&gateway, json!({}));
    peers.iter_mut().for_each(|peer| drop(peer.expect_close(1012)));
    wait_until("it is told", || (overview()["drain"]["leaving"] == 3).then_some(()));
    assert_eq!(overview()["state"], "draining");
    let metrics = ask(&gateway, "GET", "/metrics", &Value::Null);
    let metrics = String::from_utf8(metrics.body).expect("text");
    for line in ["tidegate_drain_left{shard=\"0\"} 3", "tidegate_drained_total{shard=\"0\"} 3"] {
        assert!(metrics.contains(line), "{line}");
    }
}

/// Many connections, and when each was told of its end.
struct Crowd {
    poll: Poll,
    streams: Vec<Option<TcpStream>>,
}

impl Crowd {
    fn open(address: SocketAddr, count: usize) -> Self {
        let poll = Poll::new().expect("a selector");
        let open = |at: usize| {
            let (peer, _) = Peer::open_at(address, &Request::open("/echo"));
            let socket: OwnedFd = peer.socket().try_clone().expect("a descriptor").into();
            let socket = std::net::TcpStream::from(socket);
            socket.set_nonblocking(true).expect("a socket");
            let mut stream = TcpStream::from_std(socket);
            let registry = poll.registry();
            registry.register(&mut stream, Token(at), Interest::READABLE).expect("it is watched");
            Some(stream)
        };
        let streams = (0..count).map(open).collect();
        Self { poll, streams }
    }

    /// Waits until each was told, and answers by ending its connection.
    fn closed_at(&mut self, longest: Duration) -> Vec<Instant> {
        let (mut events, began) = (Events::with_capacity(1024), Instant::now());
        let mut moments = Vec::new();
        while moments.len() < self.streams.len() && began.elapsed() < longest {
            let patience = Some(Duration::from_millis(100));
            self.poll.poll(&mut events, patience).expect("it can be waited");
            let now = Instant::now();
            for event in &events {
                if self.streams[event.token().0].take().is_some() {
                    moments.push(now);
                }
            }
        }
        moments
    }
}

#[test]
fn connections_are_closed_at_the_asked_pace_spread_over_each_second() {
    const COUNT: usize = 5000;
    const RATE: usize = 1000;
    let config = "shards = 2\npin = false\n";
    let gateway = Launch::new().config(config).listen("127.0.0.1:0").admin().start();
    let mut crowd = Crowd::open(gateway.address(), COUNT);
    let begun = Instant::now();
    begin(&gateway, json!({"rate": RATE, "deadline": "5m"}));
    let moments = crowd.closed_at(Duration::from_secs(60));
    assert_eq!(moments.len(), COUNT, "all are closed");
    let took = moments[COUNT - 1] - begun;
    assert!(took >= Duration::from_millis(4500), "{took:?}");
    assert!(took <= Duration::from_secs(15), "{took:?}");
    // Never more than so many in any second, with a margin for what a busy machine lets wait.
    for (at, moment) in moments.iter().enumerate() {
        let behind = moments.partition_point(|other| *other < *moment + Duration::from_secs(1));
        assert!(behind - at <= RATE * 3 / 2, "{} in a second", behind - at);
    }
    // In bursts at ticks there would be four of these in a second.
    let mut slices = BTreeMap::<u128, usize>::new();
    for moment in &moments {
        *slices.entry((*moment - begun).as_millis() / 50).or_default() += 1;
    }
    let spread = slices.len();
    let whole = (took.as_millis() / 50) as usize;
    assert!(spread * 2 > whole, "closed in {spread} of {whole} slices of 50 ms");
    let most = slices.values().max().expect("some");
    assert!(*most < COUNT / 10, "{most} within 50 ms");
}
