//! Other limits of clients and of work while the gateway runs: who is there stays.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use serde_json::json;
use tidegate_tests::reload::{echo, refused, reload, reload_with, start, status};
use tidegate_tests::{Frame, Gateway, PATIENCE, Peer, Request, wait_until};

fn clients(more: &str) -> String {
    format!("[clients]\n{more}\n{}", echo("/a", ""))
}

/// A connection from 127.0.0.`last` that has asked for a WebSocket, and the status of the answer.
fn asks(gateway: &Gateway, last: u8) -> (Peer, u16) {
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    let mut peer = Peer::try_connect_from(from, gateway.address()).expect("it listens");
    peer.request(&Request::open("/a"));
    let status = peer.response_head().status;
    (peer, status)
}

/// Asks until one is served: that another has ended, or is counted, may take a moment to be seen.
#[track_caller]
fn until_it_is(gateway: &Gateway, last: u8, expected: u16) -> Peer {
    let began = Instant::now();
    loop {
        let (peer, status) = asks(gateway, last);
        if status == expected {
            return peer;
        }
        assert!(began.elapsed() < PATIENCE, "it is {status}");
    }
}

#[test]
fn who_is_there_counts_among_all_and_by_its_address_only_who_comes() {
    let gateway = start(&echo("/a", ""));
    let mut early: Vec<Peer> = (0..6).map(|_| Peer::open(&gateway, "/a")).collect();
    reload(&gateway, &clients("connections = 7"));
    // Shards count them bit by bit.
    drop(until_it_is(&gateway, 1, 101));
    let _seventh = until_it_is(&gateway, 1, 101);
    drop(until_it_is(&gateway, 1, 503));
    reload(&gateway, &clients("connections_per_address = 2"));
    let mut two = [until_it_is(&gateway, 1, 101), until_it_is(&gateway, 1, 101)];
    assert_eq!((asks(&gateway, 1).1, asks(&gateway, 2).1), (429, 101), "by address");
    // One more may come; those who are there count on.
    reload(&gateway, &clients("connections_per_address = 3"));
    let _third = until_it_is(&gateway, 1, 101);
    assert_eq!(asks(&gateway, 1).1, 429);
    // Off and on again they are those who were counted.
    reload(&gateway, &echo("/a", ""));
    let (_more, status) = asks(&gateway, 1);
    assert_eq!(status, 101);
    reload(&gateway, &clients("connections_per_address = 3"));
    assert_eq!(asks(&gateway, 1).1, 429);
    for peer in early.iter_mut().chain(&mut two) {
        peer.echo("still here");
    }
    gateway.expect_counter_from("tidegate_refusals_total{reason=\"address_full\"}", 3);
}

#[test]
fn fewer_may_be_there_than_are() {
    let gateway = start(&clients("connections = 100"));
    let mut peers: Vec<Peer> = (0..10).map(|_| Peer::open(&gateway, "/a")).collect();
    reload(&gateway, &clients("connections = 5"));
    assert_eq!(status(&gateway, "/a"), 503);
    for peer in &mut peers {
        peer.echo("nobody is sent away for it");
    }
    peers.drain(..5).for_each(Peer::reset);
    assert_eq!(peers.len(), 5);
    wait_until("five have gone", || {
        (gateway.fresh_counters().get("connections_open") == 5).then_some(())
    });
    assert_eq!(status(&gateway, "/a"), 503, "there are five");
    peers.pop().expect("one").reset();
    drop(until_it_is(&gateway, 1, 101));
}

#[test]
fn a_lower_rate_keeps_nobody_out_for_what_was_taken_before() {
    let many = "handshake_rate = 1\nhandshake_burst = 1000";
    let gateway = start(&clients(many));
    let peers: Vec<Peer> = (0..200).map(|_| asks(&gateway, 1).0).collect();
    // What these owe is paid in 200 seconds.
    reload(&gateway, &clients("handshake_rate = 2\nhandshake_burst = 4"));
    let began = Instant::now();
    drop(until_it_is(&gateway, 1, 101));
    assert!(began.elapsed().as_secs() < 10, "it was kept out");
    drop(peers);
}

#[test]
fn users_are_counted_who_were_there() {
    let hub = "[[route]]\npath = '/u'\nhandler = 'hub?topic=t&user=query.user'\n";
    let gateway = start(hub);
    let mut ada = [Peer::open(&gateway, "/u?user=ada"), Peer::open(&gateway, "/u?user=ada")];
    reload(&gateway, &format!("[clients]\nconnections_per_user = 2\n{hub}"));
    let began = Instant::now();
    while status(&gateway, "/u?user=ada") != 429 {
        assert!(began.elapsed() < PATIENCE, "the two are not counted");
    }
    assert_eq!(status(&gateway, "/u?user=bob"), 101);
    ada[0].text("hello");
    ada[1].expect_text("hello");
    let [_, gone] = ada;
    gone.reset();
    let began = Instant::now();
    while status(&gateway, "/u?user=ada") != 101 {
        assert!(began.elapsed() < PATIENCE, "its place was not given back");
    }
}

#[test]
fn what_is_looked_at_changes_and_what_sizes_something_is_named() {
    let gateway = start(&echo("/a", ""));
    let mut peer = Peer::open(&gateway, "/a");
    let text = "[limits]\nmemory_high = 40\nmemory_critical = 50\nheavy_input = '1MiB'\n\
                handshakes = 7\ntokens = '2MiB'\npasswords = '2MiB'\n\
                permissions = '2MiB'\nstaging = '2MiB'\nexpanded_keys = 3\n";
    let [changed, left] = reload_with(&gateway, &format!("{text}{}", echo("/a", "")), &json!({}));
    let keys = [
        "handshakes",
        "heavy_input",
        "memory_critical",
        "memory_high",
        "passwords",
        "permissions",
        "tokens",
    ];
    assert_eq!(changed, keys.map(|key| format!("limits.{key}")));
    assert_eq!(left, ["limits.expanded_keys", "limits.staging"]);
    peer.echo("still here");
    let said = refused(&gateway, &format!("[limits]\nmemory_high = 101\n{}", echo("/a", "")));
    assert!(said.contains("limits.memory_high"), "{said}");
}

#[test]
fn a_lower_mark_keeps_out_who_comes_while_memory_is_short() {
    let room = "[hub]\nmessages = '2MiB'\n[[topic]]\nname = 'room'\nhistory = 100000\n\
                history_bytes = '16MiB'\n[[route]]\npath = '/room'\n\
                handler = 'hub?topic=room&own=off'\n";
    let gateway = start(room);
    let mut publisher = Peer::open(&gateway, "/room");
    let message = Frame::text("x".repeat(1024)).masked();
    (0..400).for_each(|_| publisher.send(&message));
    gateway.expect_counter("published", 400);
    assert_eq!(status(&gateway, "/room"), 101);
    let marks = |high: &str| format!("[limits]\nmemory_high = {high}\nmemory_critical = 'off'\n");
    reload(&gateway, &(marks("10") + room));
    wait_until("nobody more is let in", || (status(&gateway, "/room") == 503).then_some(()));
    publisher.frame(&Frame::ping("still here"));
    publisher.expect(&Frame::pong("still here"));
    reload(&gateway, &(marks("'off'") + room));
    wait_until("who comes is let in", || (status(&gateway, "/room") == 101).then_some(()));
}
