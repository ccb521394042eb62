//! Messages of one publisher to one topic arrive in order, and each of them once.

use std::thread;

use tidegate::hub::{Errand, NotDone, Outcome};
use tidegate_tests::hub::{HubGateway, Member, topic};

const CONFIGURATION: &str = r#"
    [[route]]
    path = "/rooms/{room}"
    handler = "hub?topic=rooms/{room}"
"#;

/// Messages of each publisher.
fn count() -> usize {
    if std::env::var_os("TIDEGATE_FULL").is_some() { 20_000 } else { 1000 }
}

/// Sends `PUBLISHER NUMBER`, counting up.
fn publish(member: &Member, publisher: usize) -> thread::JoinHandle<()> {
    let frames: Vec<Vec<u8>> = (0..count())
        .map(|number| tidegate_tests::Frame::text(format!("{publisher} {number}")).masked())
        .collect();
    member.peer.send_meanwhile(frames.concat())
}

/// Publishes the same from outside, again whenever there is no room; yields how often there was
/// none.
fn publish_from_outside(gateway: &HubGateway, publisher: usize) -> usize {
    let mut refused = 0;
    for number in 0..count() {
        loop {
            let text = format!("{publisher} {number}");
            let Ok(message) = gateway.door.message(text.as_str()) else {
                refused += 1;
                thread::yield_now();
                continue;
            };
            let publication = tidegate::hub::Publication::new(message);
            match gateway.ask(Errand::Publish(topic("rooms/a"), publication)) {
                Outcome::Published(_) => break,
                Outcome::NotDone(NotDone::Busy) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    refused
}

/// Reads what all publishers publish: each one's numbers in order, none left out, none twice.
fn expect_all(member: &mut Member, publishers: usize) {
    let mut next = vec![0; publishers];
    for _ in 0..publishers * count() {
        let (_, text) = member.peer.message();
        let text = String::from_utf8(text).expect("text");
        let (publisher, number) = text.split_once(' ').expect("two numbers");
        let publisher: usize = publisher.parse().expect("a number");
        assert_eq!(number.parse(), Ok(next[publisher]), "of publisher {publisher}");
        next[publisher] += 1;
    }
}

/// Three publishers on each of the shards and two threads from outside, and as many subscribers as
/// connections.
fn publishers_on_every_shard(shards: usize, more: &str) -> HubGateway {
    let gateway = HubGateway::start(shards, &format!("{more}{CONFIGURATION}"));
    let mut members: Vec<Member> = (0..3).flat_map(|_| gateway.open_on_each("/rooms/a")).collect();
    let inside = members.len();
    gateway.expect_subscribers("rooms/a", inside as u64);
    thread::scope(|scope| {
        let gateway = &gateway;
        for (publisher, member) in members.iter().enumerate() {
            publish(member, publisher);
        }
        for publisher in inside..inside + 2 {
            scope.spawn(move || publish_from_outside(gateway, publisher));
        }
        for member in &mut members {
            scope.spawn(move || expect_all(member, inside + 2));
        }
    });
    // Nothing comes behind the last.
    gateway.publish(topic("rooms/a"), "the end");
    for member in &mut members {
        member.peer.expect_text("the end");
    }
    let messages = (inside + 2) * count() + 1;
    let deliveries = (messages * inside) as u64;
    gateway.expect_counters("all deliveries", |now| now.deliveries == deliveries);
    assert_eq!(gateway.counters().published, (inside * count()) as u64);
    drop(members);
    gateway.expect_rest(0);
    gateway
}

#[test]
fn each_publishers_messages_in_order_with_two_shards() {
    publishers_on_every_shard(2, "");
}

#[test]
fn each_publishers_messages_in_order_with_three_shards() {
    publishers_on_every_shard(3, "");
}

/// Mailboxes of the least size: mail waits, publishers are held, and nothing is lost for it.
#[test]
fn full_mailboxes_lose_and_double_nothing() {
    let gateway = publishers_on_every_shard(3, "[hub]\nmailbox = 16\n");
    let counters = gateway.counters();
    assert!(counters.mail_received > 0 && counters.mail_wakes > 0, "{counters:?}");
}
