//! What is done with connections and topics from outside: subscribing, ending, closing.

use tidegate::hub::{ConnectionFilter, Errand, NotDone, Outcome, Target, Why};
use tidegate::names::{ConnectionId, Node};
use tidegate_proto::message::Kind;
use tidegate_tests::hub::{HubGateway, Member, name, topic, user};
use tidegate_tests::{Frame, Peer, Request as Opening, wait_until};

const CONFIGURATION: &str = r#"
    [[topic]]
    name = "kept/{room}"
    history = 10
    [[route]]
    path = "/rooms/{room}"
    handler = "hub?topic=rooms/{room}&user=query.user"
    [[route]]
    path = "/kept/{room}"
    handler = "hub?topic=kept/{room}"
"#;

fn start() -> HubGateway {
    HubGateway::start(3, CONFIGURATION)
}

fn subscribe(target: Target, topic: &str) -> Errand {
    Errand::Subscribe(target, name(topic))
}

fn unsubscribe(target: Target, topic: &str) -> Errand {
    Errand::Unsubscribe(target, name(topic))
}

#[track_caller]
fn all_get(members: &mut [Member], text: &str) {
    for member in members {
        member.peer.expect_text(text);
    }
}

#[test]
fn a_connection_is_subscribed_and_unsubscribed() {
    let gateway = start();
    let mut members = gateway.open_on_each("/rooms/a");
    for member in &members {
        let target = Target::Connection(member.id);
        assert_eq!(gateway.done(subscribe(target.clone(), "more")), Ok(1));
        assert_eq!(gateway.done(subscribe(target, "more")), Ok(1), "it was already");
    }
    gateway.expect_subscribers("more", 3);
    let listed = gateway.connections(&ConnectionFilter {
        topic: Some(name("more")),
        ..ConnectionFilter::default()
    });
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|one| one.topics.len() == 2), "{listed:?}");
    gateway.publish(topic("more"), "once each");
    all_get(&mut members, "once each");
    for (left, member) in (0..3).rev().zip(&members) {
        let target = Target::Connection(member.id);
        assert_eq!(gateway.done(unsubscribe(target.clone(), "more")), Ok(1));
        let again = gateway.done(unsubscribe(target, "more"));
        assert_eq!(again, Err(NotDone::Unknown));
        gateway.expect_subscribers("more", left);
    }
    gateway.expect_no_topic("more");
    assert_eq!(gateway.publish(topic("more"), "to nobody"), 0);
    gateway.publish(topic("rooms/a"), "still on the other");
    all_get(&mut members, "still on the other");
}

/// When unsubscribing one connection is answered, its shard has ended the subscription: whatever is
/// published from then on does not reach it, though the topic's home may not know yet.
#[test]
fn nothing_is_delivered_behind_the_answer_to_an_unsubscribe() {
    let gateway = start();
    let mut members = gateway.open_on_each("/rooms/a");
    for round in 0..100 {
        for member in &members {
            gateway.done(subscribe(Target::Connection(member.id), "t")).expect("subscribed");
        }
        gateway.expect_subscribers("t", 3);
        gateway.publish(topic("t"), &format!("before {round}"));
        for member in &members {
            gateway.done(unsubscribe(Target::Connection(member.id), "t")).expect("unsubscribed");
        }
        gateway.publish(topic("t"), "behind");
        for member in &mut members {
            gateway.publish(Target::Connection(member.id), "mark");
            // What was published before may have come or not: it raced with the unsubscribe only
            // on its way between shards.
            let (_, mut text) = member.peer.message();
            if text.starts_with(b"before") {
                text = member.peer.message().1;
            }
            assert_eq!(String::from_utf8_lossy(&text), "mark", "round {round}");
        }
    }
}

#[test]
fn a_users_connections_are_subscribed_and_unsubscribed_together() {
    let gateway = start();
    let mut mine = gateway.open_on_each("/rooms/a?user=me");
    let mut yours = gateway.open("/rooms/a?user=you");
    gateway.expect_subscribers("rooms/a", 4);
    assert_eq!(gateway.done(subscribe(user("me"), "mine")), Ok(3));
    gateway.expect_subscribers("mine", 3);
    gateway.publish(topic("mine"), "for me");
    all_get(&mut mine, "for me");
    assert_eq!(gateway.done(unsubscribe(user("me"), "mine")), Ok(3));
    gateway.expect_subscribers("mine", 0);
    assert_eq!(gateway.done(subscribe(user("nobody"), "mine")), Ok(0));
    gateway.publish(Target::All, "the end");
    all_get(&mut mine, "the end");
    yours.peer.expect_text("the end");
}

#[test]
fn a_topic_that_is_destroyed_has_no_subscribers_and_no_history() {
    let gateway = start();
    let mut members = gateway.open_on_each("/kept/a");
    gateway.expect_subscribers("kept/a", 3);
    gateway.publish(topic("kept/a"), "kept");
    all_get(&mut members, "kept");
    let before = gateway.topic("kept/a").expect("a topic");
    assert_eq!((before.kept, before.subscribers), (1, 3));
    assert_eq!(gateway.done(Errand::DestroyTopic(name("kept/a"))), Ok(3));
    gateway.expect_no_topic("kept/a");
    assert_eq!(gateway.done(Errand::DestroyTopic(name("kept/a"))), Err(NotDone::Unknown));
    gateway.publish(Target::All, "still open");
    all_get(&mut members, "still open");
    // They have no topic to publish on any more.
    members[0].peer.text("hello?");
    members[0].peer.agree_to_close(1008);

    assert_eq!(gateway.publish(topic("kept/a"), "anew"), 0);
    let after = gateway.topic("kept/a").expect("a history");
    let (before, after) = (before.position.expect("counted"), after.position.expect("counted"));
    assert_ne!(before.epoch, after.epoch);
    assert_eq!(after.offset, 1);
    assert_eq!(gateway.done(Errand::DestroyTopic(name("kept/a"))), Ok(0));
    gateway.expect_no_topic("kept/a");
    drop(members);
    gateway.expect_rest(0);
}

/// The code and the reason arrive, and whoever is not meant stays.
#[test]
fn code_and_reason_of_a_disconnect_arrive() {
    let gateway = start();
    let mut witness = gateway.open("/rooms/other?user=other");
    let open = || {
        // Of those before nobody is known any more, by their topic or their user.
        gateway.expect_no_topic("rooms/a");
        gateway.expect_counters("only the witness is left", |counters| counters.subscriptions == 2);
        let members = gateway.open_on_each("/rooms/a?user=me");
        gateway.expect_subscribers("rooms/a", 3);
        members
    };
    let reason = "go away, über dort";
    for target in [topic("rooms/a"), user("me")] {
        let members = open();
        let request = Errand::Disconnect(target, Why::wish(4321, reason));
        assert_eq!(gateway.done(request), Ok(3));
        members.into_iter().for_each(|member| expect_closed(&gateway, member, 4321, reason));
    }
    for member in open() {
        let target = Target::Connection(member.id);
        let request = Errand::Disconnect(target, Why::wish(1000, ""));
        assert_eq!(gateway.done(request), Ok(1));
        expect_closed(&gateway, member, 1000, "");
    }
    gateway.publish(Target::Connection(witness.id), "nobody else is left");
    witness.peer.expect_text("nobody else is left");
    let members = open();
    assert_eq!(gateway.done(Errand::Disconnect(Target::All, Why::wish(1012, "all of you"))), Ok(4));
    expect_closed(&gateway, witness, 1012, "all of you");
    members.into_iter().for_each(|member| expect_closed(&gateway, member, 1012, "all of you"));
    gateway.expect_rest(0);
}

#[track_caller]
fn expect_closed(gateway: &HubGateway, mut member: Member, code: u16, reason: &str) {
    assert_eq!(member.peer.expect_close(code), reason);
    member.peer.frame(&Frame::close(code, ""));
    member.peer.expect_eof();
    gateway.expect_gone(member.id);
}

/// RFC 6455 section 5.5: a control frame's body has at most 125 bytes, so a reason at most 123; and
/// section 7.4: some codes must not travel.
#[test]
fn a_reason_that_is_too_long_and_a_code_that_may_not_travel() {
    let gateway = start();
    let mut member = gateway.open("/rooms/a");
    let long = "ä".repeat(200);
    let target = Target::Connection(member.id);
    gateway.done(Errand::Disconnect(target, Why::wish(4000, &long[..]))).expect("closed");
    let reason = member.peer.expect_close(4000);
    assert!(long.starts_with(&reason) && reason.len() <= 123, "{reason}");
    let mut member = gateway.open("/rooms/a");
    let target = Target::Connection(member.id);
    gateway.done(Errand::Disconnect(target, Why::wish(1006, ""))).expect("closed");
    member.peer.expect_close(1011);
}

#[test]
fn who_is_closing_is_not_open_and_who_is_closed_is_gone() {
    let gateway = start();
    let mut witness = gateway.open("/rooms/a");
    let mut member = gateway.open("/rooms/a");
    let target = Target::Connection(member.id);
    let close = Errand::Disconnect(target.clone(), Why::wish(4000, ""));
    assert_eq!(gateway.done(close), Ok(1));
    let refused = gateway.try_publish(target.clone(), Kind::Text, b"too late");
    assert_eq!(refused, Err(NotDone::NotOpen));
    gateway.publish(topic("rooms/a"), "too late");
    witness.peer.expect_text("too late");
    member.peer.agree_to_close(4000);
    gateway.expect_gone(member.id);
    let refused = gateway.try_publish(target, Kind::Text, b"too late");
    assert_eq!(refused, Err(NotDone::Gone));
    gateway.expect_counters("a push to one that is gone", |now| now.pushes_gone == 1);
}

/// An id that names no connection of now is refused, and nobody is told in its place.
#[test]
fn ids_of_others_are_gone() {
    let gateway = start();
    let mut members = gateway.open_on_each("/rooms/a?user=me");
    gateway.expect_subscribers("rooms/a", 3);
    let id = members[0].id;
    let node = id.node;
    let ids = [
        ConnectionId { node: Node { number: node.number + 1, ..node }, ..id },
        ConnectionId { node: Node { start: node.start ^ 1, ..node }, ..id },
        ConnectionId { shard: 3, ..id },
        ConnectionId { shard: 1023, ..id },
        ConnectionId { generation: id.generation ^ 1, ..id },
        ConnectionId { slot: id.slot + 100, ..id },
        ConnectionId { slot: (1 << 24) - 1, ..id },
    ];
    for wrong in ids {
        let target = Target::Connection(wrong);
        let message = || gateway.publication(Kind::Text, b"lost");
        let requests = [
            Errand::Publish(target.clone(), message()),
            subscribe(target.clone(), "b"),
            unsubscribe(target.clone(), "rooms/a"),
            Errand::Disconnect(target.clone(), Why::wish(4000, "")),
            Errand::Connection(wrong),
        ];
        for request in requests {
            let asked = format!("{request:?}");
            let answer = gateway.ask(request);
            assert!(matches!(answer, Outcome::NotDone(NotDone::Gone)), "{asked}: {answer:?}");
        }
    }
    gateway.publish(topic("rooms/a"), "and all are well");
    all_get(&mut members, "and all are well");
}

/// A slot is taken again; the id of who had it before does not name who has it now.
#[test]
fn an_id_is_not_of_the_next_connection_in_its_slot() {
    let gateway = HubGateway::start(1, CONFIGURATION);
    let first = gateway.open("/rooms/a");
    let old = first.id;
    drop(first);
    gateway.expect_gone(old);
    let mut next = gateway.open("/rooms/a");
    assert_eq!((next.id.shard, next.id.slot), (old.shard, old.slot), "the lowest free slot");
    let refused = gateway.try_publish(Target::Connection(old), Kind::Text, b"not for you");
    assert_eq!(refused, Err(NotDone::Gone));
    gateway.publish(Target::Connection(next.id), "for you");
    next.peer.expect_text("for you");
}

#[test]
fn connections_are_listed_by_what_they_are() {
    let gateway = start();
    let mine = gateway.open_on_each("/rooms/a?user=me");
    let kept = gateway.open_on_each("/kept/b");
    let count = |filter: ConnectionFilter| gateway.connections(&filter).len();
    let any = ConnectionFilter::default;
    assert_eq!(count(any()), 6);
    assert_eq!(count(ConnectionFilter { user: Some(name("me")), ..any() }), 3);
    assert_eq!(count(ConnectionFilter { topic: Some(name("kept/b")), ..any() }), 3);
    assert_eq!(count(ConnectionFilter { route: Some(1), ..any() }), 3);
    assert_eq!(count(ConnectionFilter { address: "127.0.0.1".parse().ok(), ..any() }), 6);
    assert_eq!(count(ConnectionFilter { address: "127.0.0.2".parse().ok(), ..any() }), 0);
    let info = match gateway.ask(Errand::Connection(mine[1].id)) {
        Outcome::Connection(info) => info,
        other => panic!("{other:?}"),
    };
    assert_eq!(info.peer, mine[1].peer.address().into());
    assert_eq!((info.user, info.topics), (Some(name("me")), vec![name("rooms/a")]));
    assert!(info.connected_at.is_some_and(|at| at > 1_700_000_000));
    drop((mine, kept));
    gateway.expect_rest(0);
}

#[test]
fn names_that_are_none_are_refused_with_400() {
    let gateway = start();
    let topics = ["%00", "a%0Ab", "%C2%85", &"x".repeat(201), "a%2Fb", "%2f", "..%2Fa"];
    let users = ["=", "", "=%01me", "=%FF", "=%zz", &format!("={}", "x".repeat(201))];
    let topics = topics.iter().map(|room| (format!("/rooms/{room}"), "topic"));
    let users = users.iter().map(|user| (format!("/rooms/a?user{user}"), "user"));
    for (path, what) in topics.chain(users) {
        tidegate_tests::case(&path, || {
            let body = refused(&gateway, &Opening::open(&path));
            assert!(body.contains(&format!("does not name a {what}")), "{body}");
            assert!(body.contains("1 to 200 bytes of UTF-8"), "{body}");
        });
    }
    for path in ["/rooms/%FF", "/rooms/%zz", "/rooms/a%"] {
        let body = refused(&gateway, &Opening::open(path));
        assert!(body.contains("the path cannot be decoded"), "{path}: {body}");
    }
    // What is decoded is a name like any other.
    let mut member = gateway.open("/rooms/a%20%C3%A4%25?user=me+too");
    wait_until("it is subscribed", || gateway.topic("rooms/a ä%"));
    assert_eq!(gateway.publish(user("me too"), "you"), 1);
    member.peer.expect_text("you");
}

/// Asks to be connected, is refused with 400, and yields what is said about it.
#[track_caller]
fn refused(gateway: &HubGateway, request: &Opening) -> String {
    let mut peer = Peer::try_connect(gateway.address()).expect("the gateway listens");
    peer.request(request);
    String::from_utf8(peer.expect_refusal(400).body).expect("text")
}

/// A slash that a segment of the path hides leads to no other topic; where the path has all that is
/// left, it is a slash like any other.
#[test]
fn only_what_is_left_of_a_path_has_slashes() {
    let gateway = HubGateway::start(
        1,
        r#"
        [[route]]
        path = "/rooms/{room}"
        handler = "hub?topic=rooms/{room}"
        [[route]]
        path = "/trees/{tree}/{*branch}"
        handler = "hub?topic={tree}:{branch}"
        "#,
    );
    for path in ["/rooms/a%2Fsecret", "/rooms/a%2fsecret", "/trees/a%2Fb/c"] {
        tidegate_tests::case(path, || _ = refused(&gateway, &Opening::open(path)));
    }
    let _members = [gateway.open("/trees/a/b/c"), gateway.open("/trees/a/b%2Fc")];
    gateway.expect_subscribers("a:b/c", 2);
    gateway.expect_no_topic("rooms/a/secret");
}

#[test]
fn a_request_names_one_user() {
    let gateway = HubGateway::start(
        1,
        r#"
        [[route]]
        path = "/query"
        handler = "hub?user=query.user"
        [[route]]
        path = "/header"
        handler = "hub?user=header.X-User"
        "#,
    );
    let header = Opening::open("/header").with("X-User", "me");
    for request in [
        Opening::open("/query?user=me&user=you"),
        Opening::open("/query?user=me&x=1&user"),
        Opening::open("/query?user=me&%75ser=you"),
        header.clone().with("x-user", "you"),
        header.clone().with("X-User", "me"),
    ] {
        assert_eq!(refused(&gateway, &request), "the request names more than one user\n");
    }
    let _members = [
        gateway.open("/query?user=me&User=you"),
        gateway.open("/query?%75s%65r=me"),
        gateway.open_with(&header),
    ];
    assert_eq!(gateway.publish(user("me"), "you"), 3);
}
