//! What a handler of an embedding program may decide, and what it is told, over real sockets.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate::config::{Config, Route};
use tidegate::gateway::{Gateway, Program};
use tidegate::handler::{
    self, Admission, Context, Decision, Desk, End, Event, Handler, Piece, Publishing,
};
use tidegate::hub::{Cause, Errand, NotDone, Outcome, Publication, Subscribing, Target, Why};
use tidegate::names::{ConnectionId, Name};
use tidegate_tests::{Frame, Peer, Request, wait_until};

/// What the handlers of all shards have seen.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(u32, End)>>>);

impl Diary {
    fn ends(&self) -> MutexGuard<'_, Vec<(u32, End)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, number: u32, end: End) {
        self.ends().push((number, end));
    }

    /// Waits until so many have ended, and yields how the last one did.
    #[track_caller]
    fn expect_ends(&self, count: usize) -> End {
        wait_until(&format!("{count} ends"), || (self.ends().len() >= count).then_some(()));
        let ends = self.ends();
        assert_eq!(ends.len(), count, "each ends once: {ends:?}");
        ends[count - 1].1
    }
}

/// A gateway of one shard whose only route is `/`, with this handler; `more` is the start of its
/// configuration.
fn start(more: &str, make: impl Fn() -> Box<dyn Handler> + Send + Sync + 'static) -> Gateway {
    let route = "[[route]]\npath = \"/\"\nhandler = \"embedded\"\n";
    let text = format!("shards = 1\npin = false\n{more}\n{route}");
    let config = Config::parse(&text, "handler").expect("a right configuration");
    let config = config.with_listen(&["127.0.0.1:0".parse().expect("an address")]);
    let program = Program::default().handlers(move |_: &Route| Some(make()));
    Gateway::start_with(config.with_admin(None), program).expect("the gateway starts")
}

fn open(gateway: &Gateway, path: &str) -> Peer {
    Peer::open_at(gateway.addresses()[0].ip().expect("it is over TCP"), &Request::open(path)).0
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// Limits of few connections, so that no limit of open files has to be raised.
const FEW: &str = "[limits]\nconnections = 256\n";

/// Is admitted as who and where the query says, and tells where of who has left.
struct Member(Diary, u32);

/// Where it is told who has left.
const LEFT: &str = "left";

impl Handler for Member {
    fn request(&mut self, request: &handler::Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        self.1 += 1;
        let words = request.query().unwrap_or_default();
        let mut names = words.split('&').map(name);
        let admission = Admission::default().of_user(names.next().expect("who it is"));
        let admission = admission.with_state(self.1);
        let join = |admission: Admission, topic| admission.joining(topic, Subscribing::default());
        Decision::Admit(names.fold(admission, join))
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let who = context.user().expect("it was admitted with a user");
        let text = match context.bytes(&piece) {
            b"id" => context.id().to_string(),
            _ => format!("{who} {}", context.state()),
        };
        let _ = context.send_piece(piece.kind, piece.part, text.as_bytes());
    }

    fn event(&mut self, context: &mut Context<'_, '_>, event: Event<'_>) {
        let Event::Told(what) = event else { panic!("another kind: {event:?}") };
        let text = format!("{} {}", context.id(), String::from_utf8_lossy(what));
        context.send_text(&text).expect("there is room");
        if what == b"leave" {
            context.close(Cause::Wish(4009));
        }
    }

    fn ended(&mut self, desk: &mut Desk<'_>, id: ConnectionId, state: u32, end: End) {
        self.0.end(state, end);
        let target = Target::Topic(name(LEFT));
        let text = format!("{state} {id} {}", desk.now() > Duration::ZERO);
        desk.publish(&target, text, Publishing::default()).expect("there is room");
        if end.by_peer && state == 1 {
            desk.disconnect(&target, Why::wish(4008, "the first has left")).expect("there is room");
        }
    }
}

fn start_members(more: &str) -> (Gateway, Diary) {
    let diary = Diary::default();
    let kept = diary.clone();
    let gateway = start(&format!("{FEW}{more}"), move || Box::new(Member(kept.clone(), 0)));
    (gateway, diary)
}

#[test]
fn an_admission_is_what_a_connection_has_as_it_opens() {
    let (gateway, diary) = start_members("");
    let mut first = open(&gateway, "/?ada&news");
    first.text("who am I?");
    first.expect_text("ada 1");
    let publish = |target, text: &'static str| {
        let message = gateway.door().message(text).expect("room");
        let publication = Publication::new(message);
        gateway.door().ask(Errand::Publish(target, publication), |_| {});
    };
    publish(Target::Topic(name("news")), "for all");
    first.expect_text("for all");
    publish(Target::User(name("ada")), "for ada");
    first.expect_text("for ada");
    first.frame(&Frame::close(1000, ""));
    first.expect_close(1000);
    diary.expect_ends(1);
}

#[test]
fn who_cannot_have_what_it_is_admitted_with_is_closed_and_ends_once() {
    let (gateway, diary) = start_members("[hub]\nsubscriptions_per_connection = 3\n");
    // The user's is one of them.
    let mut first = open(&gateway, "/?ada&a&b");
    first.text("who am I?");
    first.expect_text("ada 1");
    let mut peer = open(&gateway, "/?ada&a&b&c");
    peer.agree_to_close(1013);
    assert_eq!(diary.expect_ends(1), End::of_ours(Cause::NoRoom));
}

#[test]
fn an_end_is_told_with_a_desk_that_reaches_others() {
    let (gateway, diary) = start_members("");
    let mut first = open(&gateway, "/?ada");
    let mut other = open(&gateway, "/?bob&left");
    first.frame(&Frame::close(1000, ""));
    first.expect_close(1000);
    let (_, told) = other.message();
    let told = String::from_utf8(told).expect("text");
    assert!(told.starts_with("1 ") && told.ends_with(" true"), "{told}");
    assert_eq!(other.expect_close(4008), "the first has left");
    other.frame(&Frame::close(4008, ""));
    assert_eq!(diary.expect_ends(2), End::of_ours(Cause::Wish(4008)));
}

#[test]
fn another_thread_tells_a_handler_something_in_order_until_the_connection_ends() {
    let (gateway, diary) = start_members("");
    let mut peer = open(&gateway, "/?ada");
    peer.text("id");
    let id: ConnectionId = String::from_utf8(peer.message().1).unwrap().parse().expect("an id");
    let (sender, answers) = sync_channel(200);
    let tell = |what: String| {
        let sender = sender.clone();
        gateway.door().tell(id, what, move |outcome| sender.send(outcome).expect("room"));
        answers.recv_timeout(Duration::from_secs(20)).expect("an answer")
    };
    for number in 0..100 {
        assert!(matches!(tell(number.to_string()), Outcome::Done(1)));
    }
    for number in 0..100 {
        peer.expect_text(&format!("{id} {number}"));
    }
    let large = tell("x".repeat(gateway.door().max_message() as usize + 1));
    assert!(matches!(large, Outcome::NotDone(NotDone::TooLarge)), "{large:?}");
    assert!(matches!(tell("leave".into()), Outcome::Done(1)));
    peer.expect_text(&format!("{id} leave"));
    let closing = tell("too late".into());
    assert!(matches!(closing, Outcome::NotDone(NotDone::NotOpen)), "{closing:?}");
    peer.agree_to_close(4009);
    diary.expect_ends(1);
    let gone = tell("much too late".into());
    assert!(matches!(gone, Outcome::NotDone(NotDone::Gone)), "{gone:?}");
}
