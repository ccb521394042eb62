//! Events: where a subscriber stands, what it missed, and what comes behind that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::hub::{Content, Errand, Outcome, Past, Publication, Target};
use tidegate::names::Position;
use tidegate_proto::message::Kind;
use tidegate_tests::hub::{HubGateway, Member, name, topic};
use tidegate_tests::{Peer, Request as Opening, TEXT, case, wait_until};

const CONFIGURATION: &str = r#"
    [[topic]]
    name = "few/{room}"
    history = 5
    [[topic]]
    name = "bytes/{room}"
    history = 1000
    history_bytes = 100
    [[topic]]
    name = "aged/{room}"
    history = 1000
    history_age = "1s"
    [[topic]]
    name = "all/{room}"
    history = 100000
    history_bytes = "8MiB"
    [[route]]
    path = "/events/{kind}/{room}"
    handler = "hub?topic={kind}/{room}&events=on"
    [[route]]
    path = "/plain/{kind}/{room}"
    handler = "hub?topic={kind}/{room}"
"#;

fn start() -> HubGateway {
    HubGateway::start(3, CONFIGURATION)
}

/// Reads an event.
#[track_caller]
fn event(member: &mut Member) -> Value {
    let (opcode, text) = member.peer.message();
    assert_eq!(opcode, TEXT, "an event is text");
    serde_json::from_slice(&text).expect("an event is JSON")
}

/// Reads the first event: where it stands, and whether there is a gap.
#[track_caller]
fn subscribed(member: &mut Member, topic: &str) -> (Option<Position>, bool) {
    let event = event(member);
    assert_eq!(event["type"], "subscribed", "{event}");
    assert_eq!(event["topic"], topic, "{event}");
    assert_eq!(event["connection"], member.id.to_string(), "{event}");
    (position(&event), event["gap"] == true)
}

fn position(event: &Value) -> Option<Position> {
    let epoch = Position::parse_epoch(event["epoch"].as_str()?).expect("an epoch");
    Some(Position { epoch, offset: event["offset"].as_u64().expect("a number") })
}

/// Reads a message, which may be the first behind a replay: its offset and its text.
#[track_caller]
fn message(member: &mut Member) -> (u64, String) {
    let mut event = event(member);
    if event["type"] == "replayed" {
        event = self::event(member);
    }
    assert_eq!(event["type"], "message", "{event}");
    let offset = event["offset"].as_u64().expect("an offset");
    (offset, event["text"].as_str().expect("text").to_owned())
}

/// Opens a connection that has seen everything up to a position.
#[track_caller]
fn reopen(gateway: &HubGateway, path: &str, since: Position) -> Member {
    let Position { offset, .. } = since;
    gateway.open(&format!("{path}?since={}:{offset}", since.epoch_text()))
}

#[test]
fn first_where_it_stands_then_what_is_published() {
    let gateway = start();
    let mut members = gateway.open_on_each("/events/few/a");
    for member in &mut members {
        let (position, gap) = subscribed(member, "few/a");
        assert_eq!((position.map(|one| one.offset), gap), (Some(0), false));
    }
    for offset in 1..=20 {
        let text = format!("\"{offset}\"\n\u{1f600}");
        gateway.publish(topic("few/a"), &text);
        for member in &mut members {
            assert_eq!(message(member), (offset, text.clone()));
        }
    }
    // One that comes later stands behind them.
    let mut late = gateway.open("/events/few/a");
    let (position, gap) = subscribed(&mut late, "few/a");
    assert_eq!((position.map(|one| one.offset), gap), (Some(20), false));
    late.peer.text("from inside");
    let by = late.id.to_string();
    for member in members.iter_mut().chain([&mut late]) {
        let event = event(member);
        assert_eq!((event["offset"].as_u64(), &event["text"]), (Some(21), &json!("from inside")));
        assert_eq!((&event["connection"], &event["user"]), (&json!(by), &Value::Null));
    }
    gateway.publish(topic("few/a"), "from outside");
    let event = event(&mut late);
    assert_eq!((&event["connection"], &event["user"]), (&Value::Null, &Value::Null));
}

#[test]
fn bytes_are_told_in_base64_and_what_has_no_topic_without() {
    let gateway = start();
    let mut member = gateway.open("/events/none/a");
    assert_eq!(subscribed(&mut member, "none/a"), (None, false));
    gateway.try_publish(topic("none/a"), Kind::Bytes, &[0xFF, 0, 1]).expect("published");
    let found = timeless(event(&mut member));
    assert_eq!(found, json!({"type": "message", "topic": "none/a", "binary": "/wAB"}));
    for (target, to) in [(Target::Connection(member.id), "connection"), (Target::All, "all")] {
        gateway.publish(target, "direct");
        let found = timeless(event(&mut member));
        assert_eq!(found, json!({"type": "push", "to": to, "text": "direct"}));
    }
}

/// An event without its time, which is checked.
#[track_caller]
fn timeless(mut event: Value) -> Value {
    let time = event.as_object_mut().expect("an object").remove("time").expect("a time");
    let time = time.as_str().expect("text");
    assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 24, "{time}");
    event
}

#[test]
fn json_is_told_as_a_value() {
    let gateway = start();
    let mut member = gateway.open("/events/none/a");
    assert_eq!(subscribed(&mut member, "none/a"), (None, false));
    let content = Content::json(r#"{"x": [1, null]}"#).expect("JSON");
    let message = gateway.door.message(content).expect("room");
    let publication = Publication::new(message);
    gateway.ask(Errand::Publish(topic("none/a"), publication));
    let found = timeless(event(&mut member));
    assert_eq!(found, json!({"type": "message", "topic": "none/a", "json": {"x": [1, null]}}));
}

/// As JSON the largest message may have several times its bytes.
#[test]
fn the_largest_message_is_told_as_an_event() {
    let gateway = start();
    let mut member = gateway.open("/events/none/a");
    subscribed(&mut member, "none/a");
    let bytes = vec![7; 1 << 20];
    gateway.try_publish(topic("none/a"), Kind::Bytes, &bytes).expect("published");
    let found = event(&mut member);
    let length = found["binary"].as_str().map(str::len);
    assert_eq!(length, Some((1usize << 20).div_ceil(3) * 4));
}

#[test]
fn who_comes_back_gets_exactly_what_it_missed() {
    let gateway = start();
    let mut first = gateway.open("/events/few/a");
    let at = subscribed(&mut first, "few/a").0.expect("a position");
    let publish = |offset: u64| gateway.publish(topic("few/a"), &offset.to_string());
    (1..=8).for_each(|offset| _ = publish(offset));
    let at = |offset| Position { offset, ..at };
    let other = |offset| Position { epoch: at(0).epoch ^ 1, offset };
    let cases = [
        ("nothing", at(8), 9..9, false),
        ("one", at(7), 8..9, false),
        ("all that is kept", at(3), 4..9, false),
        ("more than is kept", at(2), 4..9, true),
        ("all", at(0), 4..9, true),
        ("from the future", at(9), 4..9, true),
        ("the last offset there is", at(u64::MAX), 4..9, true),
        ("another epoch", other(8), 4..9, true),
        ("another epoch from its start", other(0), 4..9, true),
    ];
    for (what, since, missed, is_gap) in cases {
        case(what, || {
            let mut member = reopen(&gateway, "/events/few/a", since);
            let standing = event(&mut member);
            assert_eq!((position(&standing), standing["gap"] == true), (Some(at(8)), is_gap));
            let count = missed.clone().count() as u64;
            assert_eq!(standing["replay"].as_u64(), (count > 0).then_some(count));
            for offset in missed {
                assert_eq!(message(&mut member), (offset, offset.to_string()));
            }
            if count > 0 {
                let told = event(&mut member);
                assert_eq!((&told["type"], position(&told)), (&json!("replayed"), Some(at(8))));
            }
            gateway.publish(Target::Connection(member.id), "the end");
            assert_eq!(event(&mut member)["text"], "the end");
        });
    }
}

/// A client that keeps its position wrongly is told so, and misses nothing that is still there.
#[test]
fn a_since_that_is_no_position_is_refused() {
    let gateway = start();
    (1..=3).for_each(|offset| _ = gateway.publish(topic("few/a"), &offset.to_string()));
    let at = gateway.topic("few/a").and_then(|topic| topic.position).expect("a position");
    let epoch = at.epoch_text();
    let too_large = format!("?since={epoch}:18446744073709551616");
    let wrong = [
        "?since=",
        "?since",
        "?x=1&since=x",
        "?since=1:1",
        "?since=0000000g:0",
        "?since=%FF",
        "?since=%zz",
    ];
    let negative = format!("?since={epoch}:-1");
    let half =
        [format!("?since={epoch}"), format!("?since={epoch}:"), format!("?since={epoch}:1:1")];
    let wrong = wrong.into_iter().map(str::to_owned).chain([too_large, negative]).chain(half);
    for query in wrong {
        case(&query, || {
            let mut peer = Peer::try_connect(gateway.address()).expect("the gateway listens");
            peer.request(&Opening::open(&format!("/events/few/a{query}")));
            let body = peer.expect_refusal(400).body;
            let said = String::from_utf8_lossy(&body).into_owned();
            assert!(said.starts_with("`since` in the query is no position: write"), "{said}");
        });
    }
}

#[test]
fn a_since_may_be_escaped() {
    let gateway = start();
    (1..=3).for_each(|offset| _ = gateway.publish(topic("few/a"), &offset.to_string()));
    let at = gateway.topic("few/a").and_then(|topic| topic.position).expect("a position");
    for colon in [":", "%3A", "%3a"] {
        let mut member = gateway.open(&format!("/events/few/a?since={}{colon}2", at.epoch_text()));
        assert_eq!(subscribed(&mut member, "few/a"), (Some(at), false), "{colon}");
        assert_eq!(message(&mut member).0, 3, "{colon}");
    }
}

/// Which one is meant is not for the gateway to guess; an escape in the name makes it no other.
#[test]
fn more_than_one_since_is_refused() {
    let gateway = start();
    for query in ["since=x&since=y", "since=&since=", "since=x&%73ince=x", "since&a=1&s%69nce"] {
        let mut peer = Peer::try_connect(gateway.address()).expect("the gateway listens");
        peer.request(&Opening::open(&format!("/events/few/a?{query}")));
        let body = peer.expect_refusal(400).body;
        let said = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(said, "the query has more than one `since`: send one\n", "{query}");
    }
    let mut escaped = gateway.open("/events/few/a?%73inc%65=00000000:1");
    assert!(subscribed(&mut escaped, "few/a").1, "it is heard as `since`");
    let mut plain = gateway.open("/plain/few/a?since=x&since=y");
    gateway.publish(Target::Connection(plain.id), "without events it means nothing");
    plain.peer.expect_text("without events it means nothing");
}

/// Without it nothing is missed, and what asks for no events is not told.
#[test]
fn without_a_since_and_without_events() {
    let gateway = start();
    gateway.publish(topic("few/a"), "kept");
    for query in ["", "?", "?x=1", "?since_=1"] {
        let mut member = gateway.open(&format!("/events/few/a{query}"));
        let (position, gap) = subscribed(&mut member, "few/a");
        assert_eq!((position.map(|one| one.offset), gap), (Some(1), false), "{query}");
        gateway.publish(Target::Connection(member.id), "the end");
        assert_eq!(event(&mut member)["text"], "the end", "{query}");
    }
    let mut plain = gateway.open("/plain/few/a?since=00000000:0");
    gateway.publish(Target::Connection(plain.id), "only this");
    plain.peer.expect_text("only this");
    let mut none = gateway.open("/events/none/a?since=00000000:0");
    assert_eq!(subscribed(&mut none, "none/a"), (None, true), "nothing is kept");
}

#[test]
fn bounds_of_bytes_and_of_age() {
    let gateway = start();
    for offset in 1..=5 {
        gateway.publish(topic("bytes/a"), &format!("{offset}").repeat(40));
    }
    let info = gateway.topic("bytes/a").expect("a topic");
    let at = info.position.expect("a position");
    assert_eq!((info.kept, at.offset), (2, 5));
    let mut member = reopen(&gateway, "/events/bytes/a", Position { offset: 1, ..at });
    assert_eq!(subscribed(&mut member, "bytes/a"), (Some(at), true));
    assert_eq!(message(&mut member).0, 4);
    assert_eq!(message(&mut member).0, 5);

    let mut aged = gateway.open("/events/aged/a");
    subscribed(&mut aged, "aged/a");
    gateway.publish(topic("aged/a"), "old");
    gateway.publish(topic("aged/a"), "");
    wait_until("they are too old", || {
        gateway.topic("aged/a").is_some_and(|topic| topic.kept == 0).then_some(())
    });
    gateway.publish(topic("aged/a"), "new");
    let at = gateway.topic("aged/a").and_then(|topic| topic.position).expect("a position");
    let mut member = reopen(&gateway, "/events/aged/a", Position { offset: 1, ..at });
    assert_eq!(subscribed(&mut member, "aged/a"), (Some(at), true));
    assert_eq!(message(&mut member), (3, "new".into()));
}

#[test]
fn what_is_too_old_leaves_nothing_behind() {
    let gateway = start();
    for text in ["", "of some bytes"] {
        gateway.publish(topic("aged/a"), text);
        assert_eq!(gateway.topic("aged/a").map(|topic| topic.kept), Some(1));
        gateway.expect_no_topic("aged/a");
        gateway.expect_rest(0);
        gateway.expect_counters("no history", |now| now.history_bytes == 0 && now.topics_home == 0);
    }
    // One that is too large to be kept at all, too.
    gateway.publish(topic("bytes/a"), &"x".repeat(101));
    gateway.expect_no_topic("bytes/a");
}

/// Connections come back again and again while messages are published all the time: each one goes
/// on behind the last that it saw, without a gap and without one twice.
#[test]
fn no_message_is_missed_or_doubled_at_the_seam() {
    const READERS: usize = 4;
    let rounds = if std::env::var_os("TIDEGATE_FULL").is_some() { 300 } else { 40 };
    let gateway = start();
    let is_over = AtomicBool::new(false);
    let places: [AtomicU64; READERS] = Default::default();
    thread::scope(|scope| {
        let (gateway, is_over, places) = (&gateway, &is_over, &places);
        let publishing = scope.spawn(move || {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                let places = places.iter().map(|place| place.load(Ordering::Relaxed));
                if number >= places.min().expect("there are readers") + AHEAD {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
                number += 1;
                gateway.publish(topic("all/a"), "outside");
                if number % 50 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let readers: Vec<_> = places
            .iter()
            .map(|place| scope.spawn(move || come_back(gateway, rounds, place)))
            .collect();
        let read: Vec<_> = readers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        publishing.join().expect("it publishes");
        assert!(read.iter().all(Result::is_ok), "a reader failed");
    });
    let Outcome::History(history) =
        gateway.ask(Errand::History { topic: name("all/a"), past: None, limit: usize::MAX })
    else {
        panic!("there is a history");
    };
    let kept = history.messages.len() as u64;
    assert_eq!(history.messages.last().map(|last| last.offset), Some(history.position.offset));
    drop(history);
    let used = gateway.door.memory().used();
    gateway.expect_rest(used);
    // Each message takes 768 bytes beside its own.
    let bytes = kept * ("outside".len() as u64 + 768);
    gateway.expect_counters("the whole history is told", |now| now.history_bytes == bytes);
    assert!(gateway.done(Errand::DestroyTopic(name("all/a"))).is_ok());
    gateway.expect_rest(0);
}

/// How far the slowest reader is left behind: some 10,800 messages are kept, and who is away on a
/// busy machine is to find the next one there.
const AHEAD: u64 = 5_000;

/// Reads some, goes, and comes back. `place` says how far it is.
fn come_back(gateway: &HubGateway, rounds: usize, place: &AtomicU64) {
    let mut member = gateway.open("/events/all/a");
    let (position, _) = subscribed(&mut member, "all/a");
    let mut at = position.expect("a position");
    let mut behind = 0;
    for round in 0..rounds {
        // Far behind, it reads all that it has missed: what is new comes while it does.
        let wanted = if behind > 1000 { behind } else { round as u64 % 7 * 5 };
        for _ in 0..wanted {
            let (offset, _) = message(&mut member);
            assert_eq!(offset, at.offset + 1);
            at.offset = offset;
        }
        place.store(at.offset, Ordering::Relaxed);
        drop(member);
        member = reopen(gateway, "/events/all/a", at);
        let (position, gap) = subscribed(&mut member, "all/a");
        let position = position.expect("a position");
        assert!(!gap && position.epoch == at.epoch && position.offset >= at.offset);
        behind = position.offset - at.offset;
    }
    place.store(u64::MAX - AHEAD, Ordering::Relaxed);
}

/// A connection is subscribed, unsubscribed and subscribed again before its shard has heard from
/// the topic's home: where it stands is where the last of these subscriptions began.
#[test]
fn a_subscription_is_not_taken_for_an_earlier_one() {
    const ROUNDS: usize = 300;
    let gateway = start();
    let mut members = gateway.open_on_each("/events/none/a");
    members.iter_mut().for_each(|member| _ = subscribed(member, "none/a"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // A shard that is not let run for a while has its mailbox full.
                gateway.publish_in_time(&topic("all/a"), Kind::Text, b"text");
            }
        });
        let reading: Vec<_> = members
            .iter_mut()
            .map(|member| scope.spawn(|| (0..ROUNDS).all(|_| subscribes_again(&gateway, member))))
            .collect();
        let done: Vec<_> = reading.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(done.into_iter().all(|done| matches!(done, Ok(true))), "a message was missed");
    });
}

/// Whether no message is missing behind the position that is told first.
fn subscribes_again(gateway: &HubGateway, member: &mut Member) -> bool {
    let id = member.id;
    let target = || Target::Connection(id);
    let subscribe = || Errand::Subscribe(target(), name("all/a"));
    let unsubscribe = || Errand::Unsubscribe(target(), name("all/a"));
    let requests = [subscribe(), unsubscribe(), subscribe()];
    let answers = requests.map(|request| gateway.ask_later(request));
    for answer in answers {
        let answer = answer.recv_timeout(tidegate_tests::PATIENCE);
        assert!(matches!(answer, Ok(Outcome::Done(1))), "{answer:?}");
    }
    let (mut at, mut seen) = (None, 0);
    while seen < 10 {
        let event = event(member);
        if event["type"] == "unsubscribed" {
            assert_eq!((&event["topic"], &event["id"]), (&json!("all/a"), &Value::Null));
            at = None;
            continue;
        }
        let offset = position(&event).expect("a position").offset;
        match (event["type"].as_str(), at) {
            (Some("subscribed"), _) => seen = 0,
            (Some("message"), Some(at)) if offset == at + 1 => seen += 1,
            _ => return false,
        }
        at = Some(offset);
    }
    assert_eq!(gateway.done(unsubscribe()), Ok(1));
    gateway.publish(target(), "mark");
    while event(member)["text"] != "mark" {}
    true
}

#[test]
fn history_is_told_from_outside() {
    let gateway = start();
    for number in 1..=7 {
        gateway.publish(topic("few/a"), &number.to_string());
    }
    let history = |since: Option<Position>, limit| match gateway.ask(Errand::History {
        topic: name("few/a"),
        past: since.map(Past::Since),
        limit,
    }) {
        Outcome::History(found) => {
            let offsets: Vec<u64> = found.messages.iter().map(|one| one.offset).collect();
            (offsets, found.position, found.gap)
        }
        other => panic!("{other:?}"),
    };
    let (offsets, at, gap) = history(None, 100);
    assert_eq!((offsets, at.offset, gap), ((3..=7).collect(), 7, false));
    let since = |offset| Some(Position { offset, ..at });
    assert_eq!(history(since(5), 100), (vec![6, 7], at, false));
    assert_eq!(history(since(1), 2), (vec![3, 4], at, true));
    assert_eq!(history(since(7), 100), (vec![], at, false));
    assert_eq!(history(since(8), 100), ((3..=7).collect(), at, true));
}
