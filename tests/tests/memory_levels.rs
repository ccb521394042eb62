//! What happens as the memory runs short that all connections share.

use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::tls::{Authority, Files, relay};
use tidegate_tests::{Frame, Gateway, PATIENCE, Peer, Request};

const ROOM: &str = "[[topic]]\nname = 'room'\nhistory = 100000\nhistory_bytes = '16MiB'\n\
     history_age = '4s'\n[[route]]\npath = '/room'\nhandler = 'hub?topic=room&own=off'\n";

/// Publishes so many messages of a KiB.
fn publish(peer: &mut Peer, count: usize) {
    let message = Frame::text("x".repeat(1024)).masked();
    for _ in 0..count {
        peer.send(&message);
    }
}

fn status(gateway: &Gateway) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(&Request::open("/room"));
    peer.response_head().status
}

#[test]
fn nobody_more_is_let_in_above_the_high_mark_until_it_has_eased() {
    let gateway = Gateway::start(&format!(
        "[limits]\nmemory_high = 30\nmemory_critical = 'off'\n[hub]\nmessages = '2MiB'\n{ROOM}"
    ));
    let mut publisher = Peer::open(&gateway, "/room");
    publish(&mut publisher, 100);
    gateway.expect_counter("published", 100);
    assert_eq!(status(&gateway), 101, "that is below it");
    publish(&mut publisher, 400);
    gateway.expect_counter("published", 500);
    let began = Instant::now();
    while status(&gateway) == 101 {
        assert!(began.elapsed() < Duration::from_secs(3), "it is not above it");
    }
    let mut refused = Peer::connect(&gateway);
    refused.request(&Request::open("/room"));
    let response = refused.response_head();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("5")));
    gateway.expect_log(&["memory is short", "nobody more is let in"]);
    gateway.expect_log(&["tidegate::refused", "reason=\"memory\""]);
    // Who is there goes on.
    publisher.frame(&Frame::ping("still here"));
    publisher.expect(&Frame::pong("still here"));
    // Once the history is too old there is room again.
    while status(&gateway) != 101 {
        assert!(began.elapsed() < PATIENCE, "nobody is let in again");
        thread::sleep(Duration::from_millis(100));
    }
    gateway.expect_log(&["memory is less short", "clients are let in again"]);
}

#[test]
fn nobody_shakes_hands_while_memory_is_short() {
    let (files, authority) = (Files::new(), Authority::new());
    let layer = files.layer(&authority, "");
    let gateway = Gateway::start(&format!(
        "[limits]\nmemory_high = 30\nmemory_critical = 'off'\n[hub]\nmessages = '2MiB'\n\
         [[listener]]\naddress = '127.0.0.1:0'\nstack = 'ws!{layer}!tcp'\n{ROOM}"
    ));
    let relay = relay(gateway.address(), authority.trusting()).expect("a relay");
    let (mut publisher, _) = Peer::open_at(relay, &Request::open("/room"));
    publish(&mut publisher, 500);
    gateway.expect_counter("published", 500);
    let began = Instant::now();
    let refused = "tidegate_refusals_total{reason=\"memory\"}";
    while gateway.fresh_counters().get(refused) == 0 {
        // It says nothing, and is closed all the same.
        drop(Peer::connect(&gateway));
        assert!(began.elapsed() < Duration::from_secs(3), "it may shake hands");
    }
    gateway.expect_log(&["tidegate::refused", "reason=\"memory\""]);
    publisher.frame(&Frame::ping("still here"));
    publisher.expect(&Frame::pong("still here"));
}

/// A gateway with a room, in which somebody does not read what is published.
fn with_a_slow_one(critical: &str) -> (Gateway, Peer, Peer) {
    let gateway = Gateway::start(&format!(
        "[limits]\nblocks = '64MiB'\nreceive_buffers = 8\nstaging = '64KiB'\n\
         memory_high = 'off'\nmemory_critical = {critical}\n[[listener]]\naddress = '127.0.0.1:0'\n\
         stack = 'ws!tcp?sndbuf=16KiB'\n\
         [[route]]\npath = '/room'\nhandler = 'hub?topic=room&own=off'\nbacklog = '8MiB'\n"
    ));
    let slow = Peer::open(&gateway, "/room");
    slow.socket().set_recv_buffer_size(4096).expect("an option of every socket");
    let mut publisher = Peer::open(&gateway, "/room");
    publish(&mut publisher, 5000);
    gateway.expect_counter("published", 5000);
    (gateway, slow, publisher)
}

#[test]
fn who_holds_most_gives_way_above_the_critical_mark() {
    let (gateway, _slow, mut publisher) = with_a_slow_one("12");
    gateway.expect_counter_from("holders_evicted", 1);
    gateway.expect_log(&["memory is short", "those who hold most give way"]);
    let mut reader = Peer::open(&gateway, "/room");
    publisher.text("who reads is told");
    reader.expect_text("who reads is told");
}

#[test]
fn who_holds_much_stays_below_the_critical_mark() {
    let (gateway, mut slow, _publisher) = with_a_slow_one("95");
    thread::sleep(Duration::from_secs(3));
    let counters = gateway.fresh_counters();
    assert_eq!((counters.get("holders_evicted"), counters.get("memory_level")), (0, 0));
    // It is still told what waits for it.
    for _ in 0..200 {
        slow.expect_text(&"x".repeat(1024));
    }
}
