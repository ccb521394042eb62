//! Who is on a topic: joins, leaves, and those who come back in time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate::hub::{Errand, NotDone, Outcome, Present, Target, Why};
use tidegate_tests::hub::{HubGateway, Member, name, topic};
use tidegate_tests::wait_until;

/// `linger` of the rooms, in the configuration. Long enough to come back in, on a busy machine.
const LINGER: Duration = Duration::from_secs(3);

const CONFIGURATION: &str = r#"
    [[topic]]
    name = "rooms/{room}"
    presence = true
    linger = "3s"
    [[topic]]
    name = "quick/{room}"
    presence = true
    linger = "0s"
    [[topic]]
    name = "crowd/{room}"
    presence = true
    linger = "0s"
    presence_events = 3
    [[topic]]
    name = "kept/{room}"
    presence = true
    linger = "0s"
    history = 10
    [[route]]
    path = "/events/{kind}/{room}"
    handler = "hub?topic={kind}/{room}&events=on&user=query.user"
    [[route]]
    path = "/plain/{kind}/{room}"
    handler = "hub?topic={kind}/{room}&user=query.user"
"#;

fn start() -> HubGateway {
    HubGateway::start(3, CONFIGURATION)
}

/// Opens a connection that wants events, and reads where it stands.
fn watch(gateway: &HubGateway, path: &str) -> Member {
    let mut member = gateway.open(path);
    assert_eq!(event(&mut member)["type"], "subscribed");
    member
}

#[track_caller]
fn event(member: &mut Member) -> Value {
    serde_json::from_slice(&member.peer.message().1).expect("an event is JSON")
}

/// The next event of a member is that this user joined, or left.
#[track_caller]
fn expect(member: &mut Member, what: &str, topic: &str, user: &str) {
    assert_eq!(event(member), json!({"type": what, "topic": topic, "user": user}));
}

/// Who is on a topic, by name, with how many connections.
#[track_caller]
fn present(gateway: &HubGateway, topic: &str) -> Vec<(String, u32)> {
    let request = Errand::Presence { topic: name(topic), limit: 100 };
    let found = match gateway.ask(request) {
        Outcome::Presence(found) => found,
        Outcome::NotDone(NotDone::Unknown) => return Vec::new(),
        other => panic!("{other:?}"),
    };
    assert_eq!(found.total, found.members.len() as u64);
    let names =
        found.members.into_iter().map(|Present { user, connection, connections, .. }| {
            let who =
                user.map_or_else(|| connection.expect("either").to_string(), |u| u.to_string());
            (who, connections)
        });
    names.collect()
}

#[track_caller]
fn expect_present(gateway: &HubGateway, topic: &str, expected: &[(&str, u32)]) {
    wait_until(&format!("{expected:?} on {topic}"), || {
        let found = present(gateway, topic);
        let found = found.iter().map(|(who, count)| (who.as_str(), *count));
        found.eq(expected.iter().copied()).then_some(())
    });
}

/// Says goodbye, so that the gateway knows at once.
fn leave(gateway: &HubGateway, member: Member) {
    drop(member.peer);
    gateway.expect_gone(member.id);
}

#[test]
fn who_subscribes_is_told_who_is_there() {
    let gateway = start();
    let mut first = gateway.open("/events/quick/a?user=ann");
    let standing = event(&mut first);
    assert_eq!(standing["present"], json!({"total": 1, "members": [{"user": "ann"}]}));
    let stranger = gateway.open("/plain/quick/a");
    expect(&mut first, "join", "quick/a", "ann");
    assert_eq!(event(&mut first)["type"], "join");
    let mut second = gateway.open("/events/quick/a?user=bo");
    let connection = stranger.id.to_string();
    assert_eq!(
        event(&mut second)["present"],
        json!({
            "total": 3,
            "members": [{"user": "ann"}, {"user": "bo"}, {"connection": connection}],
        })
    );
    let many: Vec<_> =
        (0..31).map(|number| gateway.open(&format!("/plain/quick/a?user={number}"))).collect();
    let mut late = gateway.open("/events/quick/a?user=late");
    assert_eq!(event(&mut late)["present"], json!({"total": 35}), "too many to be listed");
    drop(many);
    let mut nothing = gateway.open("/events/plain/a?user=ann");
    assert!(event(&mut nothing)["present"].is_null(), "presence is not kept");
}

#[test]
fn who_comes_while_one_is_told_what_it_missed_is_told_as_well() {
    let gateway = start();
    (0..5).for_each(|_| _ = gateway.publish(topic("kept/a"), "missed"));
    let mut back = gateway.open("/events/kept/a?user=back&since=00000000:0");
    assert_eq!(event(&mut back)["replay"], 5);
    let told: Vec<Value> = (0..7).map(|_| event(&mut back)).collect();
    let count = |what: &str| told.iter().filter(|event| event["type"] == what).count();
    assert_eq!((count("message"), count("replayed"), count("join")), (5, 1, 1), "{told:?}");
}

#[test]
fn of_a_crowd_is_told_how_many_came_and_went() {
    let gateway = start();
    let mut watcher = watch(&gateway, "/events/crowd/a?user=watcher");
    expect(&mut watcher, "join", "crowd/a", "watcher");
    let open = |number| gateway.open(&format!("/plain/crowd/a?user={number}"));
    let few: Vec<_> = (1..3).map(open).collect();
    expect(&mut watcher, "join", "crowd/a", "1");
    expect(&mut watcher, "join", "crowd/a", "2");
    let mut all: Vec<_> = few.into_iter().chain((3..13).map(open)).collect();
    leave(&gateway, all.pop().expect("many"));
    // However they fall into seconds.
    let (mut joined, mut left, mut events) = (0, 0, 0);
    let began = Instant::now();
    while (joined, left) != (10, 1) {
        let told = event(&mut watcher);
        assert_eq!((&told["type"], &told["topic"]), (&json!("presence"), &json!("crowd/a")));
        joined += told["joined"].as_u64().expect("a number");
        left += told["left"].as_u64().expect("a number");
        assert_eq!(told["total"], 3 + joined - left, "{told}");
        events += 1;
    }
    let seconds = began.elapsed().as_secs();
    assert!(events <= 2 + seconds, "{events} events in {seconds} seconds");
    assert_eq!(gateway.counters().presence_counted, 11);
    // With few again, each is told by itself.
    all.drain(2..).for_each(|member| leave(&gateway, member));
    while event(&mut watcher)["type"] == "presence" {}
}

#[test]
fn joins_and_leaves_are_told_to_all_on_the_topic() {
    let gateway = start();
    let mut watcher = watch(&gateway, "/events/quick/a?user=watcher");
    expect(&mut watcher, "join", "quick/a", "watcher");
    let first = gateway.open("/plain/quick/a?user=me");
    expect(&mut watcher, "join", "quick/a", "me");
    // Another connection of the same user, on whatever shard, is no other join.
    let second = gateway.open_on_each("/plain/quick/a?user=me");
    expect_present(&gateway, "quick/a", &[("me", 4), ("watcher", 1)]);
    leave(&gateway, first);
    expect_present(&gateway, "quick/a", &[("me", 3), ("watcher", 1)]);
    let stranger = gateway.open("/plain/quick/a");
    let id = stranger.id.to_string();
    assert_eq!(event(&mut watcher), json!({"type": "join", "topic": "quick/a", "connection": &id}));
    leave(&gateway, stranger);
    assert_eq!(
        event(&mut watcher),
        json!({"type": "leave", "topic": "quick/a", "connection": &id})
    );
    drop(second);
    expect(&mut watcher, "leave", "quick/a", "me");
    expect_present(&gateway, "quick/a", &[("watcher", 1)]);
    drop(watcher);
    expect_present(&gateway, "quick/a", &[]);
    gateway.expect_no_topic("quick/a");
    gateway.expect_rest(0);
    gateway.expect_counters("nobody is present", |now| now.present == 0 && now.topics_home == 0);
}

#[test]
fn the_list_says_who_and_since_when() {
    let gateway = start();
    let members: Vec<Member> =
        ["c", "a", "b"].map(|user| gateway.open(&format!("/plain/quick/a?user={user}"))).into();
    expect_present(&gateway, "quick/a", &[("a", 1), ("b", 1), ("c", 1)]);
    let request = Errand::Presence { topic: name("quick/a"), limit: 2 };
    let Outcome::Presence(found) = gateway.ask(request) else { panic!("it is kept") };
    assert_eq!((found.total, found.members.len()), (3, 2));
    assert!(found.members.iter().all(|one| one.since.as_secs() > 1_700_000_000));
    assert_eq!(gateway.topic("quick/a").expect("a topic").present, Some(3));
    let nothing = Errand::Presence { topic: name("none"), limit: 2 };
    assert!(matches!(gateway.ask(nothing), Outcome::NotDone(NotDone::Unknown)));
    drop(members);
}

#[test]
fn who_comes_back_in_time_has_not_left() {
    let gateway = start();
    let mut watcher = watch(&gateway, "/events/rooms/a?user=watcher");
    expect(&mut watcher, "join", "rooms/a", "watcher");
    let mut member = gateway.open("/plain/rooms/a?user=me");
    expect(&mut watcher, "join", "rooms/a", "me");
    for _ in 0..5 {
        leave(&gateway, member);
        expect_present(&gateway, "rooms/a", &[("me", 0), ("watcher", 1)]);
        member = gateway.open("/plain/rooms/a?user=me");
        expect_present(&gateway, "rooms/a", &[("me", 1), ("watcher", 1)]);
    }
    let left_at = Instant::now();
    leave(&gateway, member);
    // Nothing was said between the join and this.
    expect(&mut watcher, "leave", "rooms/a", "me");
    assert!(left_at.elapsed() >= LINGER - Duration::from_millis(250), "{:?}", left_at.elapsed());
    expect_present(&gateway, "rooms/a", &[("watcher", 1)]);
    let _again = gateway.open("/plain/rooms/a?user=me");
    expect(&mut watcher, "join", "rooms/a", "me");
}

/// However a subscription ends, it is a leave.
#[test]
fn every_end_is_a_leave() {
    let gateway = start();
    let mut watcher = watch(&gateway, "/events/quick/a?user=watcher");
    expect(&mut watcher, "join", "quick/a", "watcher");
    let open = |watcher: &mut Member| {
        let member = gateway.open("/plain/quick/a?user=me");
        expect(watcher, "join", "quick/a", "me");
        member
    };
    let member = open(&mut watcher);
    let target = Target::Connection(member.id);
    gateway.done(Errand::Unsubscribe(target.clone(), name("quick/a"))).expect("unsubscribed");
    expect(&mut watcher, "leave", "quick/a", "me");
    gateway.done(Errand::Subscribe(target, name("quick/a"))).expect("subscribed");
    expect(&mut watcher, "join", "quick/a", "me");
    member.peer.reset();
    expect(&mut watcher, "leave", "quick/a", "me");
    let mut member = open(&mut watcher);
    let close = Errand::Disconnect(Target::Connection(member.id), Why::wish(4000, ""));
    gateway.done(close).expect("closed");
    member.peer.agree_to_close(4000);
    expect(&mut watcher, "leave", "quick/a", "me");
    // Who is there is told like anyone else.
    gateway.publish(topic("quick/a"), "hello");
    assert_eq!(event(&mut watcher)["text"], "hello");
}

#[test]
fn no_more_are_listed_than_may_be() {
    const BOUND: usize = 16;
    let gateway = HubGateway::start(1, &format!("[hub]\npresent = {BOUND}\n{CONFIGURATION}"));
    let mut members: Vec<Member> = (0..BOUND + 4).map(|_| gateway.open("/plain/quick/a")).collect();
    gateway.expect_subscribers("quick/a", members.len() as u64);
    gateway
        .expect_counters("4 too many", |now| now.presence_full == 4 && now.present == BOUND as u64);
    // They are on the topic all the same.
    gateway.publish(topic("quick/a"), "all");
    members.iter_mut().for_each(|member| member.peer.expect_text("all"));
    drop(members);
    gateway.expect_no_topic("quick/a");
    gateway.expect_counters("nobody", |now| now.present == 0);
}
