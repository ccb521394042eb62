//! A handler of an embedding program, and what the hub does for it.

use tidegate::config::Route;
use tidegate::gateway::Program;
use tidegate::handler::{
    self, Admission, Context, Decision, Desk, Handler, Piece, Publishing, Wants,
};
use tidegate::hub::{ConnectionFilter, NotDone, Subscribing, Target, Why};
use tidegate_tests::hub::{HubGateway, Member, name, topic};
use tidegate_tests::{Frame, Peer, Request};

const CONFIGURATION: &str = r#"
    [hub]
    subscriptions_per_connection = 4
    [[route]]
    path = "/commands"
    handler = "embedded"
"#;

/// Does what a connection says, a word and its object, and answers.
struct Commands;

impl Commands {
    fn obey(context: &mut Context<'_, '_>, word: &str, object: &str) -> String {
        let (first, rest) = object.split_once(' ').unwrap_or((object, ""));
        let done = match word {
            "id" => return context.id().to_string(),
            "user" => return context.user().map_or("nobody".into(), |user| user.to_string()),
            "subscribe" => context.subscribe(&name(object), Subscribing::default()),
            "unsubscribe" => match context.unsubscribe(&name(object)) {
                true => Ok(()),
                false => Err(NotDone::Unknown),
            },
            "to" => Self::publish(context, topic(first), rest, false),
            "to-others" => Self::publish(context, topic(first), rest, true),
            "to-user" => Self::publish(context, Target::User(name(first)), rest, false),
            "to-id" => Self::publish(context, target(first), rest, false),
            "to-all" => Self::publish(context, Target::All, object, true),
            "close-id" => Self::disconnect(context, &target(first), rest),
            "close-user" => Self::disconnect(context, &Target::User(name(first)), rest),
            "close-topic" => Self::disconnect(context, &topic(first), rest),
            "close-all" => Self::disconnect(context, &Target::All, object),
            _ => panic!("no such word: {word}"),
        };
        done.map_or_else(|refusal| format!("{refusal:?}"), |()| "done".into())
    }

    fn publish(
        context: &mut Context<'_, '_>,
        target: Target,
        text: &str,
        not_to_self: bool,
    ) -> Result<(), NotDone> {
        let how = Publishing { key: None, not_to_self };
        context.publish(&target, text, how)
    }

    fn disconnect(
        context: &mut Context<'_, '_>,
        target: &Target,
        reason: &str,
    ) -> Result<(), NotDone> {
        context.disconnect(target, Why::wish(4000, reason))
    }
}

impl Handler for Commands {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn request(&mut self, request: &handler::Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        let user = request.query().map(name);
        Decision::Admit(Admission { user, ..Admission::default() })
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let text = String::from_utf8(context.bytes(&piece).to_vec()).expect("text");
        let (word, object) = text.split_once(' ').unwrap_or((&text, ""));
        let answer = Self::obey(context, word, object);
        context.send_text(&answer).expect("there is room");
    }
}

fn target(id: &str) -> Target {
    Target::Connection(id.parse().expect("an id"))
}

fn start() -> HubGateway {
    let handlers = |route: &Route| -> Option<Box<dyn Handler>> {
        (route.path == "/commands").then(|| Box::new(Commands) as Box<dyn Handler>)
    };
    HubGateway::start_with(3, CONFIGURATION, Program::default().handlers(handlers))
}

/// Opens a connection, which says itself who it is.
#[track_caller]
fn open(gateway: &HubGateway, user: &str) -> Member {
    let path = if user.is_empty() { "/commands".into() } else { format!("/commands?{user}") };
    let mut peer = Peer::open_at(gateway.address(), &Request::open(&path)).0;
    peer.text("id");
    let id = String::from_utf8(peer.message().1).expect("text");
    Member { peer, id: id.parse().expect("an id") }
}

#[track_caller]
fn say(member: &mut Member, text: &str, answer: &str) {
    member.peer.text(text);
    member.peer.expect_text(answer);
}

/// Connections enough that they are on several shards.
fn crowd(gateway: &HubGateway, user: &str) -> Vec<Member> {
    let mut members = vec![open(gateway, user)];
    while members.len() < 8 || members.iter().all(|one| one.id.shard == members[0].id.shard) {
        assert!(members.len() < 100, "every connection comes to the same shard");
        members.push(open(gateway, user));
    }
    members
}

#[test]
fn a_connection_subscribes_publishes_and_unsubscribes() {
    let gateway = start();
    let mut members = crowd(&gateway, "");
    members.iter_mut().for_each(|member| say(member, "subscribe t", "done"));
    gateway.expect_subscribers("t", members.len() as u64);
    for sender in 0..members.len() {
        members[sender].peer.text("to-others t hello");
        members[sender].peer.expect_text("done");
        for (_, other) in members.iter_mut().enumerate().filter(|(at, _)| *at != sender) {
            other.peer.expect_text("hello");
        }
    }
    let (first, others) = members.split_first_mut().expect("there are some");
    say(first, "unsubscribe t", "done");
    say(first, "unsubscribe t", "Unknown");
    say(first, "to t from without", "done");
    others.iter_mut().for_each(|other| other.peer.expect_text("from without"));
    say(first, "user", "nobody");
    let others = members.len() as u64 - 1;
    gateway.expect_subscribers("t", others);
    gateway.expect_counters("published", |now| now.published == others + 2);
    drop(members);
    gateway.expect_rest(0);
    gateway.expect_no_topic("t");
}

#[test]
fn it_publishes_to_users_connections_and_all() {
    let gateway = start();
    let mut mine = crowd(&gateway, "me");
    let mut other = open(&gateway, "you");
    say(&mut other, "user", "you");
    let listed = gateway
        .connections(&ConnectionFilter { user: Some(name("me")), ..ConnectionFilter::default() });
    assert_eq!(listed.len(), mine.len());
    say(&mut other, "to-user me for you", "done");
    mine.iter_mut().for_each(|member| member.peer.expect_text("for you"));
    for member in &mut mine {
        say(&mut other, &format!("to-id {} alone", member.id), "done");
        member.peer.expect_text("alone");
    }
    say(&mut other, "to-all everyone", "done");
    mine.iter_mut().for_each(|member| member.peer.expect_text("everyone"));
    let id = mine.pop().expect("there are some").id;
    gateway.expect_gone(id);
    say(&mut other, &format!("to-id {id} nobody"), "done");
    gateway.expect_counters("it was gone", |now| now.pushes_gone == 1);
}

#[test]
fn it_closes_others_and_itself() {
    let gateway = start();
    let mut boss = open(&gateway, "boss");
    let closed = |members: Vec<Member>, reason: &str| {
        for mut member in members {
            assert_eq!(member.peer.expect_close(4000), reason);
            drop(member.peer);
            gateway.expect_gone(member.id);
        }
    };
    let members = crowd(&gateway, "me");
    say(&mut boss, "close-user me by user", "done");
    closed(members, "by user");
    let mut members = crowd(&gateway, "me");
    members.iter_mut().for_each(|member| say(member, "subscribe t", "done"));
    gateway.expect_subscribers("t", members.len() as u64);
    say(&mut boss, "close-topic t by topic", "done");
    closed(members, "by topic");
    let members = crowd(&gateway, "me");
    for member in &members {
        say(&mut boss, &format!("close-id {} by id", member.id), "done");
    }
    closed(members, "by id");
    let mut members = crowd(&gateway, "me");
    say(&mut boss, "close-all over", "done");
    members.push(boss);
    closed(members, "over");
    gateway.expect_rest(0);
}

#[test]
fn subscriptions_of_a_connection_are_bounded() {
    let gateway = start();
    let mut member = open(&gateway, "me");
    // One is the user's.
    for number in 0..3 {
        say(&mut member, &format!("subscribe {number}"), "done");
    }
    say(&mut member, "subscribe 0", "done");
    say(&mut member, "subscribe 3", "TooManySubscriptions");
    say(&mut member, "unsubscribe 0", "done");
    say(&mut member, "subscribe 3", "done");
    gateway.expect_subscribers("3", 1);
}

/// Publishes each piece as it comes, and says what became of that.
struct Passes;

impl Handler for Passes {
    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let how = Publishing::default();
        let done = context.publish_piece(&topic("pieces"), &piece, how);
        context.send_text(&format!("{done:?}")).expect("there is room");
    }
}

#[test]
fn a_piece_that_ends_within_a_letter_is_no_text_to_be_published() {
    let program = Program::default().handlers(|_| Some(Box::new(Passes) as Box<dyn Handler>));
    let gateway = HubGateway::start_with(1, CONFIGURATION, program);
    let mut peer = Peer::open_at(gateway.address(), &Request::open("/commands")).0;
    let letter = "\u{20ac}".as_bytes();
    for (frame, answer) in [
        (Frame::text(letter), "Ok(())"),
        (Frame::text(&letter[..1]).unfinished(), "Err(NotUtf8)"),
        (Frame::continuation(&letter[1..]), "Err(NotUtf8)"),
    ] {
        peer.frame(&frame);
        peer.expect_text(answer);
    }
}
