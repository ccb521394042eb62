//! Bounds of the hub: what is refused when they are met, and that nothing is lost for it.

use std::sync::mpsc::channel;
use std::thread;

use tidegate::hub::{Errand, NotDone, Outcome, Target};
use tidegate_proto::message::Kind;
use tidegate_tests::hub::{HubGateway, Member, content, name, topic};
use tidegate_tests::{Frame, PATIENCE, Peer, Request as Opening};

const ROUTES: &str = r#"
    [[topic]]
    name = "kept/{room}"
    history = 10
    [[topic]]
    name = "lingering/{room}"
    presence = true
    linger = "1h"
    [[route]]
    path = "/rooms/{room}"
    handler = "hub?topic=rooms/{room}"
    max_message = 5000
    [[route]]
    path = "/lingering/{room}"
    handler = "hub?topic=lingering/{room}&user=query.user"
"#;

fn start(shards: usize, hub: &str) -> HubGateway {
    HubGateway::start(shards, &format!("[hub]\n{hub}\n{ROUTES}"))
}

fn subscribe(gateway: &HubGateway, member: &Member, topic: &str) -> Result<u64, NotDone> {
    gateway.done(Errand::Subscribe(Target::Connection(member.id), name(topic)))
}

#[test]
fn a_connection_has_so_many_subscriptions() {
    let gateway = start(2, "subscriptions_per_connection = 3");
    let member = gateway.open("/rooms/a");
    assert_eq!(subscribe(&gateway, &member, "b"), Ok(1));
    assert_eq!(subscribe(&gateway, &member, "c"), Ok(1));
    assert_eq!(subscribe(&gateway, &member, "d"), Err(NotDone::TooManySubscriptions));
    assert_eq!(subscribe(&gateway, &member, "a"), Err(NotDone::TooManySubscriptions));
    assert_eq!(subscribe(&gateway, &member, "c"), Ok(1), "it has that one");
    gateway.expect_subscribers("c", 1);
    gateway.expect_no_topic("d");
}

#[test]
fn a_shard_has_so_many_subscriptions() {
    let gateway = start(1, "subscriptions = 16");
    let members: Vec<Member> = (0..16).map(|_| gateway.open("/rooms/a")).collect();
    gateway.expect_subscribers("rooms/a", 16);
    assert_eq!(subscribe(&gateway, &members[0], "b"), Err(NotDone::Full));
    let (mut peer, _) = Peer::open_at(gateway.address(), &Opening::open("/rooms/a"));
    peer.agree_to_close(1013);
    gateway.expect_subscribers("rooms/a", 16);
    gateway.expect_counters("16", |now| now.subscriptions == 16 && now.topics == 1);
    drop(members);
    gateway.expect_rest(0);
}

#[test]
fn a_shard_has_so_many_topics() {
    let gateway = start(1, "topics = 16");
    let members: Vec<Member> =
        (0..16).map(|number| gateway.open(&format!("/rooms/{number}"))).collect();
    gateway.expect_subscribers("rooms/15", 1);
    let (mut peer, _) = Peer::open_at(gateway.address(), &Opening::open("/rooms/16"));
    peer.agree_to_close(1013);
    assert_eq!(subscribe(&gateway, &members[0], "b"), Err(NotDone::Full));
    gateway.expect_no_topic("rooms/16");
    // Another one on a topic that is there has room.
    let other = gateway.open("/rooms/15");
    gateway.expect_subscribers("rooms/15", 2);
    drop((members, other));
    gateway.expect_rest(0);
}

/// Topics that nobody is on give way to others, those first on which nothing was said for longest;
/// topics that somebody is on do not.
#[test]
fn a_home_has_so_many_topics() {
    let gateway = start(1, "topics = 16");
    for number in 0..16 {
        gateway.publish(topic(&format!("kept/{number}")), "kept");
    }
    gateway.publish(topic("kept/0"), "again");
    gateway.publish(topic("kept/16"), "one more");
    gateway.expect_no_topic("kept/1");
    let mut members = vec![gateway.open("/rooms/0")];
    gateway.expect_subscribers("rooms/0", 1);
    gateway.expect_no_topic("kept/2");
    gateway.expect_counters("two are forgotten", |now| {
        now.topics_full == 0 && now.topics_forgotten == 2 && now.topics_home == 16
    });
    assert_eq!(subscribe(&gateway, &members[0], "kept/3"), Ok(1));
    members.extend((1..15).map(|number| gateway.open(&format!("/rooms/{number}"))));
    gateway.expect_subscribers("rooms/14", 1);
    let heard = gateway.topic("kept/3").expect("somebody is on it");
    assert_eq!((heard.subscribers, heard.kept), (1, 1));
    let refused = gateway.try_publish(topic("kept/17"), Kind::Text, b"no room");
    assert_eq!(refused, Err(NotDone::Full));
    gateway.expect_counters("of the others none", |now| {
        now.topics_forgotten == 16 && now.topics_full == 1 && now.topics_home == 16
    });
    drop(members.pop());
    gateway.expect_no_topic("rooms/14");
    let mut member = gateway.open("/rooms/a");
    gateway.expect_subscribers("rooms/a", 1);
    gateway.publish(topic("rooms/a"), "room");
    member.peer.expect_text("room");
}

/// However many topics are in use, those that are not are found.
#[test]
fn of_many_topics_those_give_way_that_nobody_is_on() {
    let gateway = start(1, "topics = 256\nsubscriptions_per_connection = 300");
    let member = gateway.open("/rooms/a");
    for number in 0..200 {
        assert_eq!(subscribe(&gateway, &member, &format!("heard/{number}")), Ok(1));
    }
    for number in 0..300 {
        gateway.publish(topic(&format!("kept/{number}")), "kept");
    }
    gateway.expect_counters("of 300 as many are forgotten as have no place", |now| {
        now.topics_full == 0 && now.topics_forgotten == 245 && now.topics_home == 256
    });
    for number in 0..55 {
        assert_eq!(subscribe(&gateway, &member, &format!("late/{number}")), Ok(1));
    }
    let refused = gateway.try_publish(topic("kept/300"), Kind::Text, b"no room");
    assert_eq!(refused, Err(NotDone::Full));
    assert_eq!(gateway.topic("heard/0").map(|topic| topic.subscribers), Some(1));
}

/// Who may come back is on a topic still, and that keeps its place.
#[test]
fn a_home_whose_topics_are_all_in_use_has_no_room() {
    let gateway = start(1, "topics = 16");
    // Who has a user has a topic for that as well, while it is there.
    for number in 0..15 {
        let member = gateway.open(&format!("/lingering/{number}?user=ann"));
        gateway.expect_subscribers(&format!("lingering/{number}"), 1);
        drop(member);
    }
    gateway.expect_rest(0);
    let _member = gateway.open("/rooms/b");
    gateway.expect_subscribers("rooms/b", 1);
    let (mut peer, _) = Peer::open_at(gateway.address(), &Opening::open("/rooms/a"));
    assert_eq!(peer.expect_close(1013), "no_room: too many topics");
    gateway.expect_counters("full once, denied once", |now| {
        now.topics_full == 1 && now.topics_denied == 1 && now.topics_forgotten == 0
    });
    drop(peer);
    gateway.done(Errand::DestroyTopic(name("lingering/3"))).expect("it is there");
}

#[test]
fn what_is_no_message_is_refused_at_the_door() {
    let gateway = start(1, "max_message = 1000");
    let refusal = |kind, bytes: &[u8]| {
        content(kind, bytes).and_then(|content| gateway.door.message(content)).err()
    };
    assert_eq!(refusal(Kind::Text, b"\xFF"), Some(NotDone::NotUtf8));
    assert_eq!(refusal(Kind::Text, b"\xED\xA0\x80"), Some(NotDone::NotUtf8));
    assert_eq!(refusal(Kind::Bytes, b"\xFF"), None);
    assert_eq!(refusal(Kind::Bytes, &[0; 1001]), Some(NotDone::TooLarge));
    assert_eq!(refusal(Kind::Bytes, &[0; 1000]), None);
    assert_eq!(gateway.door.memory().used(), 0, "nothing is left of them");
}

#[test]
fn what_a_connection_publishes_is_bounded_by_its_route() {
    let gateway = start(2, "max_message = 10");
    let mut listener = gateway.open("/rooms/a");
    let mut members = gateway.open_on_each("/rooms/a");
    gateway.expect_subscribers("rooms/a", 3);
    let largest = "x".repeat(5000);
    members[0].peer.text(&largest);
    listener.peer.expect_text(&largest);
    members.iter_mut().for_each(|member| member.peer.expect_text(&largest));
    members[0].peer.text(&"x".repeat(5001));
    members[0].peer.expect_close(1009);
    members[1].peer.frame(&Frame::text(b"\xFF"));
    members[1].peer.expect_close(1007);
    gateway.publish(topic("rooms/a"), "well");
    listener.peer.expect_text("well");
}

/// Publishing from outside is refused; connections that publish are not read from for so long.
#[test]
fn when_messages_hold_all_their_memory_publishing_waits() {
    let gateway = start(2, "messages = \"1MiB\"");
    let mut members = gateway.open_on_each("/rooms/a");
    gateway.expect_subscribers("rooms/a", 2);
    let mut held = Vec::new();
    while let Ok(message) = gateway.door.message(vec![0; 1000]) {
        held.push(message);
    }
    assert_eq!(gateway.door.message(vec![0; 1000]).err(), Some(NotDone::Busy));
    assert!(gateway.door.memory().used() <= gateway.door.memory().limit());
    members[0].peer.text("in time");
    gateway.expect_counters("it is not read from", |now| now.publishers_paused > 0);
    assert_eq!(gateway.counters().published, 0);
    drop(held);
    members.iter_mut().for_each(|member| member.peer.expect_text("in time"));
    drop(members);
    gateway.expect_rest(0);
}

/// Histories take half of the memory at most, all of them together.
#[test]
fn histories_leave_half_of_the_memory() {
    let gateway = start(1, "messages = \"1MiB\"");
    for number in 0..100 {
        let target = topic(&format!("kept/{}", number % 20));
        gateway.try_publish(target, Kind::Bytes, &[0; 10_000]).expect("there is room");
    }
    gateway.expect_counters("half", |now| {
        now.history_bytes > (512 << 10) - 10_000 && now.history_bytes <= 512 << 10
    });
}

/// Several threads ask all at once, without waiting. Whoever is refused is told so, and is not
/// heard; all others are, once each and in order.
#[test]
fn a_full_mailbox_refuses_and_loses_nothing() {
    const THREADS: usize = 4;
    let each = if std::env::var_os("TIDEGATE_FULL").is_some() { 20_000 } else { 3000 };
    let gateway = start(3, "mailbox = 16");
    let mut members = gateway.open_on_each("/rooms/a");
    gateway.expect_subscribers("rooms/a", 3);
    let accepted: Vec<Vec<usize>> = thread::scope(|scope| {
        let gateway = &gateway;
        let ask = |thread| scope.spawn(move || ask_without_waiting(gateway, thread, each));
        let asking: Vec<_> = (0..THREADS).map(ask).collect();
        asking.into_iter().map(|thread| thread.join().expect("it is answered")).collect()
    });
    let count: usize = accepted.iter().map(Vec::len).sum();
    assert!(count > 0 && count < THREADS * each, "{count} of {} accepted", THREADS * each);
    for member in &mut members {
        let mut heard = vec![Vec::<usize>::new(); THREADS];
        for _ in 0..count {
            let text = String::from_utf8(member.peer.message().1).expect("text");
            let (thread, number) = text.split_once(' ').expect("two numbers");
            let thread: usize = thread.parse().expect("a number");
            heard[thread].push(number.parse().expect("a number"));
        }
        assert!(heard == accepted, "what was accepted is what is heard");
    }
    gateway.publish(topic("rooms/a"), "the end");
    members.iter_mut().for_each(|member| member.peer.expect_text("the end"));
    drop(members);
    gateway.expect_rest(0);
}

/// Publishes `THREAD NUMBER`, counting up; yields the numbers that were accepted.
fn ask_without_waiting(gateway: &HubGateway, thread: usize, count: usize) -> Vec<usize> {
    let (sender, answers) = channel();
    for number in 0..count {
        let publication = gateway.publication(Kind::Text, format!("{thread} {number}").as_bytes());
        let sender = sender.clone();
        gateway.door.ask(Errand::Publish(topic("rooms/a"), publication), move |answer| {
            let _ = sender.send((number, answer));
        });
    }
    let mut accepted = Vec::new();
    for _ in 0..count {
        match answers.recv_timeout(PATIENCE).expect("every request is answered") {
            (number, Outcome::Published(published)) => {
                assert_eq!(published.connections, 3);
                accepted.push(number);
            }
            (_, Outcome::NotDone(NotDone::Busy)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    accepted.sort_unstable();
    accepted
}
