//! Peers that stop reading what is published: what their route's policy leaves of it for them, and
//! that nobody else notices.

use std::thread;

use tidegate::hub::{Errand, Outcome, Publication, Target};
use tidegate::shard::Counters;
use tidegate_proto::message::Kind;
use tidegate_tests::CLOSE;
use tidegate_tests::hub::{HubGateway, Member, name, topic};

/// Bytes that are published, far more than sockets and the slow peer's backlog take together.
const TOTAL: usize = 4 << 20;

/// Bytes of each message.
const LENGTH: usize = 2000;

/// How many messages that is.
const COUNT: usize = TOTAL / LENGTH;

const CONFIGURATION: &str = r#"
    [limits]
    receive_buffer = 4096
    request_head = 4096
    [[listener]]
    address = "127.0.0.1:0"
    stack = "ws!tcp?sndbuf=16KiB"
    [[route]]
    path = "/fast/{room}"
    handler = "hub?topic=rooms/{room}"
    backlog = "16MiB"
"#;

/// A gateway with a route of each policy.
fn start() -> HubGateway {
    let routes = ["pause", "close", "drop_newest", "drop_oldest", "conflate"].map(|policy| {
        format!(
            "[[route]]\npath = \"/{policy}/{{room}}\"\nhandler = \"hub?topic=rooms/{{room}}\"\n\
             max_buffered_message = \"16KiB\"\nbacklog = \"64KiB\"\nslow_peer = \"{policy}\"\n"
        )
    });
    HubGateway::start(2, &format!("{CONFIGURATION}{}", routes.concat()))
}

fn text(number: usize) -> String {
    format!("{number:0LENGTH$}")
}

/// Publishes all messages, each with the key that `key` gives its number.
fn publish_all(gateway: &HubGateway, key: impl Fn(usize) -> Option<String>) {
    for number in 0..COUNT {
        let publication = Publication {
            key: key(number).map(|key| name(&key)),
            ..gateway.publication(Kind::Text, text(number).as_bytes())
        };
        let request = Errand::Publish(topic("rooms/a"), publication);
        assert!(matches!(gateway.ask(request), Outcome::Published(_)), "message {number}");
    }
}

/// Reads all messages, in order.
fn expect_all(member: &mut Member) {
    for number in 0..COUNT {
        member.peer.expect_text(&text(number));
    }
}

/// Publishes while one peer of this policy does not read, and one on each shard does and gets
/// everything. Yields the slow one, once `is_over` says so of the counters.
fn overwhelm(
    gateway: &HubGateway,
    policy: &str,
    key: impl Fn(usize) -> Option<String>,
    is_over: impl Fn(&Counters) -> bool,
) -> (Member, Counters) {
    let slow = gateway.open(&format!("/{policy}/a"));
    let mut fast = gateway.open_on_each("/fast/a");
    gateway.expect_subscribers("rooms/a", 3);
    thread::scope(|scope| {
        for member in &mut fast {
            scope.spawn(|| expect_all(member));
        }
        publish_all(gateway, key);
    });
    let counters = gateway.expect_counters("everyone was told or left out", is_over);
    for member in fast {
        drop(member.peer);
        gateway.expect_gone(member.id);
    }
    (slow, counters)
}

/// How many messages were told to someone, or waited for someone.
const TOLD: u64 = 3 * COUNT as u64;

/// Reads so many messages; yields their numbers, which count up.
#[track_caller]
fn numbers(member: &mut Member, count: usize) -> Vec<usize> {
    let read = |_| {
        let text = String::from_utf8(member.peer.message().1).expect("text");
        assert_eq!(text.len(), LENGTH);
        text.parse().expect("a number")
    };
    let numbers: Vec<usize> = (0..count).map(read).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    numbers
}

/// Nothing waits for the peer any more, and it is served as before.
#[track_caller]
fn expect_served(gateway: &HubGateway, mut member: Member) {
    gateway.publish(Target::Connection(member.id), "the next");
    member.peer.expect_text("the next");
    gateway.publish(topic("rooms/a"), "the one behind");
    member.peer.expect_text("the one behind");
    drop(member);
    gateway.expect_rest(0);
}

/// Where the first of the numbers is missing.
fn prefix(numbers: &[usize]) -> usize {
    numbers.iter().enumerate().take_while(|(at, number)| at == *number).count()
}

fn expect_closed_by(policy: &str) {
    let gateway = start();
    let (mut slow, counters) =
        overwhelm(&gateway, policy, |_| None, |now| now.slow_peers_closed == 1);
    assert_eq!((counters.slow_dropped_newest, counters.slow_dropped_oldest), (0, 0));
    let mut number = 0;
    let (code, reason) = loop {
        let frame = slow.peer.read_frame();
        if frame.opcode == CLOSE {
            break frame.close_reason();
        }
        assert_eq!(String::from_utf8_lossy(&frame.payload), text(number));
        number += 1;
    };
    assert!(number > 0 && number < COUNT, "{number} messages");
    assert_eq!(code, Some(1013));
    assert!(!reason.is_empty());
    drop(slow);
    gateway.expect_rest(0);
}

#[test]
fn with_close_it_is_closed_with_1013_behind_what_was_sent() {
    expect_closed_by("close");
}

/// What is published cannot wait for its peer to be paused: it is not the peer that is read from.
#[test]
fn with_pause_it_is_closed_as_well() {
    expect_closed_by("pause");
}

#[test]
fn with_drop_newest_it_gets_the_first() {
    let gateway = start();
    let is_over = |now: &Counters| now.deliveries + now.slow_dropped_newest == TOLD;
    let (mut slow, counters) = overwhelm(&gateway, "drop_newest", |_| None, is_over);
    let dropped = counters.slow_dropped_newest as usize;
    assert!(dropped > 0 && counters.queued > 0, "{counters:?}");
    let numbers = numbers(&mut slow, COUNT - dropped);
    assert!(prefix(&numbers) > 64 * 1024 / LENGTH / 2, "{numbers:?}");
    expect_served(&gateway, slow);
}

#[test]
fn with_drop_oldest_it_gets_the_last() {
    let gateway = start();
    let is_over = |now: &Counters| now.deliveries == TOLD && now.slow_dropped_oldest > 0;
    let (mut slow, counters) = overwhelm(&gateway, "drop_oldest", |_| None, is_over);
    assert_eq!((counters.slow_dropped_newest, counters.slow_peers_closed), (0, 0));
    let dropped = counters.slow_dropped_oldest as usize;
    let numbers = numbers(&mut slow, COUNT - dropped);
    // What was in the sockets, a gap, and as much as may wait.
    let prefix = prefix(&numbers);
    let last = &numbers[prefix..];
    assert!(prefix > 0 && last.len() > 64 * 1024 / LENGTH / 2, "{numbers:?}");
    assert_eq!(last.last(), Some(&(COUNT - 1)));
    expect_served(&gateway, slow);
}

#[test]
fn with_conflate_it_gets_the_newest_of_each_key() {
    const KEYS: usize = 5;
    let gateway = start();
    let is_over = |now: &Counters| now.deliveries == TOLD && now.slow_conflated > 0;
    let key = |number: usize| Some(format!("key {}", number % KEYS));
    let (mut slow, counters) = overwhelm(&gateway, "conflate", key, is_over);
    assert_eq!((counters.slow_dropped_newest, counters.slow_dropped_oldest), (0, 0));
    // One may have begun, or was tried before the newest of its key came.
    gateway.expect_counters("one of each key waits", |now| now.queued <= KEYS as u64 + 1);
    let conflated = counters.slow_conflated as usize;
    let numbers = numbers(&mut slow, COUNT - conflated);
    let newest: Vec<usize> = (COUNT - KEYS..COUNT).collect();
    assert!(numbers.ends_with(&newest), "{numbers:?}");
    expect_served(&gateway, slow);
}

/// Without keys all messages of a topic count as having the same.
#[test]
fn with_conflate_and_no_keys_it_gets_the_newest_of_the_topic() {
    let gateway = start();
    let is_over = |now: &Counters| now.deliveries == TOLD && now.slow_conflated > 0;
    let (mut slow, counters) = overwhelm(&gateway, "conflate", |_| None, is_over);
    gateway.expect_counters("the newest waits", |now| now.queued <= 2);
    let numbers = numbers(&mut slow, COUNT - counters.slow_conflated as usize);
    assert_eq!(numbers.last(), Some(&(COUNT - 1)));
    expect_served(&gateway, slow);
}
