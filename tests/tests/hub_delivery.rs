//! Messages to each kind of target, across shards: who gets them, and in what form.

use tidegate::hub::{Errand, Outcome, Target};
use tidegate_proto::message::Kind;
use tidegate_tests::hub::{HubGateway, Member, name, topic, user};
use tidegate_tests::{
    BINARY, Codec, Frame, Peer, RSV1, Request as Opening, TEXT, case, inflate, noise,
};

const CONFIGURATION: &str = r#"
    [[route]]
    path = "/rooms/{room}"
    handler = "hub?topic=rooms/{room}&user=query.user"
    [[route]]
    path = "/own/{room}"
    handler = "hub?topic=rooms/{room}&own=off"
    [[route]]
    path = "/users/{room}"
    handler = "hub?topic=rooms/{room}&publish=users&user=header.X-User"
    [[route]]
    path = "/nobody/{room}"
    handler = "hub?topic=rooms/{room}&publish=nobody"
    [[route]]
    path = "/bare"
    handler = "hub"
"#;

fn start() -> HubGateway {
    HubGateway::start(3, CONFIGURATION)
}

/// A request that offers compression.
fn compressed(path: &str) -> Opening {
    Opening::open(path).with("Sec-WebSocket-Extensions", "permessage-deflate")
}

/// Each gets this text next.
#[track_caller]
fn all_get<'m>(members: impl IntoIterator<Item = &'m mut Member>, text: &str) {
    for member in members {
        member.peer.expect_text(text);
    }
}

/// Reads a message of a peer that has agreed to compression: whether it came compressed, its opcode
/// and what it says.
fn read_compressed(peer: &mut Peer) -> (bool, u8, Vec<u8>) {
    let Frame { mut fin, rsv, opcode, mut payload } = peer.read_frame();
    while !fin {
        let next = peer.read_frame();
        payload.extend(next.payload);
        fin = next.fin;
    }
    let message = if rsv == RSV1 { inflate(&payload) } else { payload };
    (rsv == RSV1, opcode, message)
}

#[test]
fn each_target_gets_what_is_for_it_and_nobody_else() {
    let gateway = start();
    let mut here = gateway.open_on_each("/rooms/here?user=me");
    let mut there = gateway.open_on_each("/rooms/there?user=you");
    gateway.expect_subscribers("rooms/here", 3);
    gateway.expect_subscribers("rooms/there", 3);

    assert_eq!(gateway.publish(topic("rooms/here"), "a topic"), 3);
    all_get(&mut here, "a topic");
    assert_eq!(gateway.publish(user("you"), "a user"), 3);
    all_get(&mut there, "a user");
    for member in here.iter_mut().chain(&mut there) {
        assert_eq!(gateway.publish(Target::Connection(member.id), "a connection"), 1);
        member.peer.expect_text("a connection");
    }
    assert_eq!(gateway.publish(topic("rooms/nowhere"), "nobody"), 0);
    assert_eq!(gateway.publish(user("nobody"), "nobody"), 0);
    assert_eq!(gateway.publish(Target::All, "all"), 6);
    all_get(here.iter_mut().chain(&mut there), "all");
    // Whatever was wrongly delivered would have come before this.
    for member in here.iter_mut().chain(&mut there) {
        gateway.publish(Target::Connection(member.id), "the end");
        member.peer.expect_text("the end");
    }
}

#[test]
fn many_targets_in_a_row_are_all_answered_and_served() {
    const COUNT: usize = 300;
    let gateway = start();
    let mut members = gateway.open_on_each("/rooms/a?user=me");
    gateway.expect_subscribers("rooms/a", 3);
    let mut answers = Vec::new();
    for number in 0..COUNT {
        let targets =
            [topic("rooms/a"), user("me"), Target::All, Target::Connection(members[number % 3].id)];
        for target in targets {
            let message = gateway.publication(Kind::Text, number.to_string().as_bytes());
            answers.push(gateway.ask_later(Errand::Publish(target, message)));
        }
        // So many that no mailbox is full.
        if number % 50 == 49 {
            for answer in answers.drain(..) {
                let answer = answer.recv_timeout(tidegate_tests::PATIENCE);
                assert!(matches!(answer, Ok(Outcome::Published(_))), "{answer:?}");
            }
        }
    }
    for (index, member) in members.iter_mut().enumerate() {
        let mut counts = vec![0; COUNT];
        let direct = (0..COUNT).filter(|number| number % 3 == index).count();
        for _ in 0..3 * COUNT + direct {
            let (_, text) = member.peer.message();
            let text = String::from_utf8(text).expect("text");
            counts[text.parse::<usize>().expect("a number")] += 1;
        }
        for (number, count) in counts.into_iter().enumerate() {
            assert_eq!(count, 3 + usize::from(number % 3 == index), "{number} at {index}");
        }
    }
}

#[test]
fn text_stays_text_and_bytes_bytes_of_every_length() {
    let gateway = start();
    let mut members = gateway.open_on_each("/rooms/a");
    gateway.expect_subscribers("rooms/a", 3);
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let text = "ä".repeat(length / 2);
        let bytes = noise(length, 7);
        for target in [topic("rooms/a"), Target::All] {
            gateway.try_publish(target.clone(), Kind::Text, text.as_bytes()).expect("published");
            gateway.try_publish(target, Kind::Bytes, &bytes).expect("published");
            for member in &mut members {
                case(length, || {
                    assert_eq!(member.peer.message(), (TEXT, text.clone().into_bytes()));
                    member.peer.expect_binary(&bytes);
                });
            }
        }
    }
}

#[test]
fn compressed_peers_get_compressed_frames_that_say_the_same() {
    let gateway = start();
    let mut plain = gateway.open_on_each("/rooms/a");
    let mut deflated: Vec<Member> =
        (0..3).map(|shard| gateway.open_on(shard, &compressed("/rooms/a"))).collect();
    let small = compressed("/rooms/a").set(
        "Sec-WebSocket-Extensions",
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
    );
    deflated.extend((0..3).map(|shard| gateway.open_on(shard, &small)));
    gateway.expect_subscribers("rooms/a", 9);
    let long = "round and round it goes, ".repeat(20_000);
    let messages = [
        (Kind::Text, b"short".to_vec()),
        (Kind::Text, long[..1000].into()),
        (Kind::Bytes, vec![7; 4096]),
    ];
    let messages = messages.into_iter().chain([(Kind::Text, long.into())]);
    for (kind, message) in messages.chain([(Kind::Bytes, noise(100_000, 3)), (Kind::Text, vec![])])
    {
        let opcode = if kind == Kind::Text { TEXT } else { BINARY };
        let targets = [topic("rooms/a"), Target::All];
        for target in targets {
            gateway.try_publish(target, kind, &message).expect("it is published");
            for member in &mut plain {
                assert_eq!(member.peer.message(), (opcode, message.clone()));
            }
            for (index, member) in deflated.iter_mut().enumerate() {
                let (is_compressed, found, said) = read_compressed(&mut member.peer);
                assert_eq!((found, said.len()), (opcode, message.len()));
                assert!(said == message, "the same {} bytes", message.len());
                // What goes to many is compressed for one window, the largest: the first three's.
                let expected = message.len() >= 256 && index < 3;
                assert_eq!(is_compressed, expected, "{} bytes", message.len());
            }
        }
    }
    // What a peer sends compressed reaches the others as it was.
    let message = vec![b'x'; 2000];
    let frame = Frame::text(Codec::new(6).deflate(&message)).with_rsv(RSV1);
    deflated[0].peer.frame(&frame);
    for member in &mut plain {
        assert_eq!(member.peer.message(), (TEXT, message.clone()));
    }
    for (index, member) in deflated.iter_mut().enumerate() {
        let expected = (index < 3, TEXT, message.clone());
        assert!(read_compressed(&mut member.peer) == expected, "member {index}");
    }
}

#[test]
fn what_a_connection_sends_reaches_its_topic() {
    let gateway = start();
    let mut members = gateway.open_on_each("/rooms/a");
    let mut quiet = gateway.open_on_each("/own/a");
    gateway.expect_subscribers("rooms/a", 6);
    for sender in 0..3 {
        let text = format!("from {sender}");
        members[sender].peer.text(&text);
        all_get(members.iter_mut().chain(&mut quiet), &text);
    }
    members[0].peer.frame(&Frame::binary([0xFF, 0]));
    for member in members.iter_mut().chain(&mut quiet) {
        member.peer.expect_binary(&[0xFF, 0]);
    }
    for sender in 0..3 {
        let text = format!("from quiet {sender}");
        quiet[sender].peer.text(&text);
        let others = quiet.iter_mut().enumerate().filter(|(at, _)| *at != sender);
        all_get(members.iter_mut().chain(others.map(|(_, member)| member)), &text);
    }
    gateway.publish(topic("rooms/a"), "and from outside");
    all_get(members.iter_mut().chain(&mut quiet), "and from outside");
    gateway.expect_counters("7 published", |now| now.published == 7);
}

#[test]
fn except_leaves_one_connection_out() {
    let gateway = start();
    let mut members = gateway.open_on_each("/rooms/a?user=me");
    gateway.expect_subscribers("rooms/a", 3);
    for left_out in 0..3 {
        for target in [topic("rooms/a"), user("me"), Target::All] {
            let except = Some(members[left_out].id);
            let publication = gateway.publication(Kind::Text, b"not to one");
            let request =
                Errand::Publish(target, tidegate::hub::Publication { except, ..publication });
            assert!(matches!(gateway.ask(request), Outcome::Published(_)));
            let others = members.iter_mut().enumerate().filter(|(at, _)| *at != left_out);
            all_get(others.map(|(_, member)| member), "not to one");
        }
        gateway.publish(topic("rooms/a"), "to all again");
        all_get(&mut members, "to all again");
    }
}

#[test]
fn who_may_not_publish_is_closed_with_1008() {
    let gateway = start();
    let mut listener = gateway.open("/rooms/a");
    let mut nobody = gateway.open("/nobody/a");
    let mut stranger = gateway.open("/users/a");
    let mut known = gateway.open_with(&Opening::open("/users/a").with("X-User", "me"));
    gateway.expect_subscribers("rooms/a", 4);
    known.peer.text("I may");
    all_get([&mut listener, &mut nobody, &mut stranger, &mut known], "I may");
    for (member, left) in [(&mut nobody, 3), (&mut stranger, 2)] {
        member.peer.text("I may not");
        member.peer.agree_to_close(1008);
        gateway.expect_subscribers("rooms/a", left);
    }
    known.peer.text("the next");
    all_get([&mut listener, &mut known], "the next");
}

#[test]
fn without_a_topic_a_connection_is_on_those_that_it_is_subscribed_to() {
    let gateway = start();
    let mut members = gateway.open_on_each("/bare");
    for member in &members {
        let request = Errand::Subscribe(Target::Connection(member.id), name("given"));
        assert_eq!(gateway.done(request), Ok(1));
    }
    gateway.expect_subscribers("given", 3);
    assert_eq!(gateway.publish(topic("given"), "to those that were subscribed"), 3);
    all_get(&mut members, "to those that were subscribed");
    // It has no topic to publish on.
    members[0].peer.text("where to?");
    members[0].peer.agree_to_close(1008);
    gateway.expect_subscribers("given", 2);
    drop(members);
    gateway.expect_rest(0);
    gateway.expect_no_topic("given");
}
