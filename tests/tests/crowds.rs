//! How many connections there may be of whom, and how many may come, whatever shard they are on.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tidegate_proto::proxy::{Endpoints, write_v1};
use tidegate_tests::tls::{Authority, Files, relay};
use tidegate_tests::{Frame, Gateway, Launch, PATIENCE, Peer, Request, Response};

const ECHO: &str = "[[route]]\npath = '/echo'\nhandler = 'echo'\n";

/// A gateway of two shards, among which the kernel deals connections out.
fn start(text: &str) -> Gateway {
    let text = format!("shards = 2\npin = false\n{text}{ECHO}");
    Launch::new().config(&text).listen("127.0.0.1:0").start()
}

/// A connection from 127.0.0.`last` that has asked for a WebSocket, and what it was answered.
fn ask(gateway: &Gateway, last: u8, path: &str) -> (Peer, Response) {
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    let mut peer = Peer::try_connect_from(from, gateway.address()).expect("it listens");
    peer.request(&Request::open(path));
    let response = peer.response_head();
    (peer, response)
}

/// The same of one that is served, and stays so.
#[track_caller]
fn served(gateway: &Gateway, last: u8, path: &str) -> Peer {
    let (mut peer, response) = ask(gateway, last, path);
    assert_eq!(response.status, 101, "{path} from {last}");
    peer.echo("served");
    peer
}

/// The same of one that is refused, and told when to come back.
#[track_caller]
fn refused(gateway: &Gateway, last: u8, path: &str, status: u16) -> u32 {
    let (_, response) = ask(gateway, last, path);
    assert_eq!(response.status, status, "{path} from {last}");
    let after = response.header("Retry-After").expect("it is told when");
    after.parse().expect("seconds")
}

/// Asks until one is served: that another has ended may take a moment to be seen.
fn served_at_last(gateway: &Gateway, last: u8, path: &str) -> Peer {
    let began = Instant::now();
    loop {
        let (mut peer, response) = ask(gateway, last, path);
        if response.status == 101 {
            peer.echo("served");
            return peer;
        }
        assert!(began.elapsed() < PATIENCE, "its place was not given back: {}", response.status);
    }
}

fn count(gateway: &Gateway, reason: &str) -> u64 {
    gateway.fresh_counters().get(&counter(reason))
}

/// Waits until so many were refused for `reason`: shards show what they count one by one.
#[track_caller]
fn expect_count(gateway: &Gateway, reason: &str, expected: u64) {
    gateway.expect_counter(&counter(reason), expected);
}

fn counter(reason: &str) -> String {
    format!("tidegate_refusals_total{{reason=\"{reason}\"}}")
}

#[test]
fn an_address_has_as_many_as_it_may_whatever_shard_they_are_on() {
    let gateway = start("[clients]\nconnections_per_address = 10\n");
    let mut peers: Vec<Peer> = (0..10).map(|_| served(&gateway, 1, "/echo")).collect();
    assert_eq!(count(&gateway, "address_full"), 0, "that is within the bound");
    for _ in 0..5 {
        assert_eq!(refused(&gateway, 1, "/echo", 429), 5);
    }
    expect_count(&gateway, "address_full", 5);
    gateway.expect_log(&["tidegate::refused", "peer=127.0.0.1", "address_full", "status=429"]);
    // Another address has its own, and those who are there go on.
    let _other = served(&gateway, 2, "/echo");
    for peer in &mut peers {
        peer.echo("still here");
    }
    // However they go, their places are given back, and no more than that.
    peers.pop().expect("one").reset();
    let mut polite = peers.pop().expect("another");
    polite.frame(&Frame::close(1000, ""));
    polite.expect_close(1000);
    drop(peers.pop());
    let again: Vec<Peer> = (0..3).map(|_| served_at_last(&gateway, 1, "/echo")).collect();
    refused(&gateway, 1, "/echo", 429);
    assert_eq!(again.len() + peers.len(), 10);
    assert_eq!(gateway.fresh_counters().get("clients_uncounted"), 0);
}

#[test]
fn neighbours_are_one_address_where_the_prefix_says_so_and_some_do_not_count() {
    let gateway = start(
        "[clients]\nconnections_per_address = 2\nprefix_v4 = 31\nexempt = ['127.0.0.4/31']\n",
    );
    let _peers = [served(&gateway, 2, "/echo"), served(&gateway, 3, "/echo")];
    refused(&gateway, 2, "/echo", 429);
    refused(&gateway, 3, "/echo", 429);
    let _others: Vec<Peer> = (0..4).map(|_| served(&gateway, 5, "/echo")).collect();
}

#[test]
fn who_asks_nothing_counts_as_well() {
    let gateway = start("[clients]\nconnections_per_address = 2\n");
    let silent = [Peer::connect(&gateway), Peer::connect(&gateway)];
    let began = Instant::now();
    // Both were accepted a moment later, perhaps.
    while ask(&gateway, 1, "/echo").1.status == 101 {
        assert!(began.elapsed() < PATIENCE, "those who ask nothing are not counted");
    }
    drop(silent);
    drop(served_at_last(&gateway, 1, "/echo"));
}

#[test]
fn a_user_has_as_many_as_it_may_on_all_routes_together() {
    let gateway = start(
        "[clients]\nconnections_per_user = 2\n\
         [[route]]\npath = '/a'\nhandler = 'hub?user=query.user&publish=nobody'\n\
         [[route]]\npath = '/b'\nhandler = 'hub?user=query.user&publish=nobody'\n",
    );
    let open = |path: &str| {
        let (peer, response) = ask(&gateway, 1, path);
        (response.status == 101).then_some(peer).ok_or(response.status)
    };
    let first = open("/a?user=ada").expect("it is served");
    let _second = open("/b?user=ada").expect("it is served");
    assert_eq!(open("/a?user=ada").err(), Some(429));
    let _bob = open("/a?user=bob").expect("another user");
    let _nobody: Vec<_> = (0..4).map(|_| open("/a").expect("of no user")).collect();
    expect_count(&gateway, "user_full", 1);
    first.reset();
    let began = Instant::now();
    while open("/a?user=ada").is_err() {
        assert!(began.elapsed() < PATIENCE, "its place was not given back");
    }
}

#[test]
fn a_route_a_listener_and_the_gateway_have_as_many_as_they_may() {
    let gateway = start(
        "[clients]\nconnections = 5\n\
         [[listener]]\naddress = '127.0.0.1:0'\nconnections = 4\n\
         [[route]]\npath = '/few'\nhandler = 'echo'\nconnections = 2\n",
    );
    let few = [served(&gateway, 1, "/few"), served(&gateway, 1, "/few")];
    assert_eq!(refused(&gateway, 1, "/few", 503), 5);
    let more = [served_at_last(&gateway, 1, "/echo"), served_at_last(&gateway, 1, "/echo")];
    refused(&gateway, 1, "/echo", 503);
    for reason in ["route_full", "listener_full"] {
        gateway.expect_counter_from(&counter(reason), 1);
    }
    drop((few, more));
    let again: Vec<Peer> = (0..4).map(|_| served_at_last(&gateway, 1, "/echo")).collect();
    assert_eq!(again.len(), 4);

    let gateway = start("[clients]\nconnections = 2\n");
    let _all = [served(&gateway, 1, "/echo"), served(&gateway, 2, "/echo")];
    refused(&gateway, 3, "/echo", 503);
    expect_count(&gateway, "gateway_full", 1);
}

#[test]
fn so_many_may_come_from_an_address_each_second() {
    let gateway = start("[clients]\nhandshake_rate = 1\nhandshake_burst = 5\n");
    for _ in 0..5 {
        drop(served(&gateway, 1, "/echo"));
    }
    assert_eq!(count(&gateway, "address_rate"), 0);
    let began = Instant::now();
    let after = (0..3).map(|_| ask(&gateway, 1, "/echo").1);
    let after: Vec<Response> = after.filter(|response| response.status == 429).collect();
    let waits = after.iter().map(|response| response.header("Retry-After").expect("when"));
    assert!(waits.map(|wait| wait.parse::<u32>().expect("seconds")).all(|wait| wait <= 2));
    // Less than a second's worth has come meanwhile, unless the machine was busy.
    assert!(after.len() >= 2 || began.elapsed() > Duration::from_secs(1), "{}", after.len());
    drop(served(&gateway, 2, "/echo"));
    drop(served_at_last(&gateway, 1, "/echo"));
}

#[test]
fn too_many_who_would_shake_hands_are_closed_before() {
    let files = Files::new();
    let layer = files.layer(&Authority::new(), "");
    let gateway = start(&format!(
        "[[listener]]\naddress = '127.0.0.1:0'\nstack = 'ws!{layer}!tcp'\n\
         accept_rate = 1\naccept_burst = 1\n"
    ));
    let _first = Peer::connect(&gateway);
    let began = Instant::now();
    while count(&gateway, "listener_rate") == 0 {
        drop(Peer::connect(&gateway));
        assert!(began.elapsed() < PATIENCE, "any number may come");
    }
    gateway.expect_log(&["tidegate::refused", "listener_rate"]);
}

#[test]
fn so_many_who_are_turned_away_shake_hands_to_be_told() {
    let (files, authority) = (Files::new(), Authority::new());
    let layer = files.layer(&authority, "&handshake=1m");
    let text = format!(
        "[clients]\nconnections = 1\n\
         [[listener]]\naddress = '127.0.0.1:0'\nstack = 'ws!{layer}!tcp'\n{ECHO}"
    );
    let gateway = Gateway::start(&text);
    let relay = relay(gateway.address(), authority.trusting()).expect("a relay");
    let _served = Peer::open_at(relay, &Request::open("/echo"));
    // These come, and take their time: none of them was told yet.
    let slow: Vec<Peer> = (0..64).map(|_| Peer::connect(&gateway)).collect();
    gateway.expect_counter("accepted", 65);
    assert_eq!(count(&gateway, "gateway_full"), 0);
    let mut one_more = Peer::connect(&gateway);
    one_more.expect_eof();
    expect_count(&gateway, "gateway_full", 1);
    gateway.expect_log(&["tidegate::refused", "gateway_full"]);
    // Once some have gone, there is room to tell others.
    drop(slow);
    let began = Instant::now();
    loop {
        let mut peer = Peer::try_connect(relay).expect("it listens");
        peer.request(&Request::open("/echo"));
        if peer.try_peek().is_ok() {
            assert_eq!(peer.response_head().status, 503);
            break;
        }
        assert!(began.elapsed() < PATIENCE, "nobody is told any more");
    }
}

#[test]
fn behind_a_proxy_the_address_is_the_client_s() {
    let gateway = start(
        "[clients]\nconnections_per_address = 1\n\
         [[listener]]\naddress = '127.0.0.1:0'\nstack = 'ws!proxy?from=127.0.0.1!tcp'\n",
    );
    let ask = |client: &str| {
        let source = format!("{client}:4711").parse().expect("an address");
        let destination = "192.0.2.1:443".parse().expect("an address");
        let mut header = vec![0; 107];
        let length = write_v1(&mut header, &Endpoints::Tcp { source, destination }).expect("room");
        let mut peer = Peer::connect(&gateway);
        peer.send(&header[..length]);
        peer.request(&Request::open("/echo"));
        let status = peer.response_head().status;
        (peer, status)
    };
    let (_first, status) = ask("192.0.2.7");
    assert_eq!(status, 101);
    assert_eq!(ask("192.0.2.7").1, 429);
    let (_second, status) = ask("192.0.2.8");
    assert_eq!(status, 101);
    gateway.expect_log(&["tidegate::refused", "peer=192.0.2.7:4711", "address_full"]);
}
