//! Requests that their handlers decide later, over real sockets.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::config::Route;
use tidegate::gateway::Program;
use tidegate::handler::{
    self, Admission, Body, Context, Decision, Desk, End, Finding, Handler, Piece, Refusal,
    Response, Ticket,
};
use tidegate::hub::{NotDone, Outcome, Subscribing, Target};
use tidegate::names::ConnectionId;
use tidegate_tests::hub::{HubGateway, name, topic};
use tidegate_tests::{Frame, PATIENCE, Peer, Request, case};

/// How long a request may be undecided here.
const DECISION: Duration = Duration::from_secs(2);

/// What is found out about a request.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Admit,
    Refuse,
    Respond,
    AskAgain,
}

/// What was asked about a request, by its query.
struct Asked {
    ticket: Ticket,
    query: String,
}

/// Asks others about each request, by its query.
struct Asking {
    asks: Sender<Asked>,
    /// The queries of those that were decided.
    decided: Arc<Mutex<Vec<String>>>,
}

impl Asking {
    fn later(&self, request: &handler::Request<'_>) -> Decision {
        let (asks, query) = (self.asks.clone(), request.query().unwrap_or_default().to_owned());
        Decision::later(move |ticket| asks.send(Asked { ticket, query }).expect("somebody listens"))
    }
}

impl Handler for Asking {
    fn request(&mut self, request: &handler::Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        match request.query() {
            Some("now") => Decision::Admit(Admission::default().with_note("now".to_owned())),
            _ => self.later(request),
        }
    }

    fn decided(
        &mut self,
        request: &handler::Request<'_>,
        found: Finding,
        _: &mut Desk<'_>,
    ) -> Decision {
        let query = request.query().unwrap_or_default().to_owned();
        self.decided.lock().expect("nobody panicked").push(query.clone());
        match found.take() {
            Some(Verdict::Admit) => {
                let admission = Admission::default().joining(name("all"), Subscribing::default());
                Decision::Admit(admission.of_user(name("ada")).with_note(query))
            }
            Some(Verdict::Refuse) => Decision::Refuse(Refusal::Forbidden),
            Some(Verdict::Respond) => {
                let response = Response::new(203, Body::Shared(b"later"[..].into()));
                Decision::Respond(response.expect("a response"))
            }
            Some(Verdict::AskAgain) => self.later(request),
            None => panic!("something else was found"),
        }
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, admission: Admission) {
        let query: &String = admission.note().expect("each has one");
        context.send_text(&format!("hello, {query}")).expect("there is room");
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        context.echo(piece).expect("there is room");
    }

    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, _state: u32, _end: End) {}
}

/// A gateway whose handler asks, and those who are asked.
struct Stage {
    gateway: HubGateway,
    questions: Receiver<Asked>,
    decided: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn start(stack: &str, route: &str) -> Self {
        Self::with_limits("", stack, route)
    }

    fn with_limits(limits: &str, stack: &str, route: &str) -> Self {
        let (asks, questions) = mpsc::channel();
        let decided = Arc::new(Mutex::new(Vec::new()));
        let listener = tidegate_tests::Gateway::listener(stack);
        let text =
            format!("{limits}{listener}[[route]]\npath = \"/\"\nhandler = \"embedded\"\n{route}");
        let (asks, kept) = (Mutex::new(asks), Arc::clone(&decided));
        let program = Program::default().handlers(move |_: &Route| {
            let asks = asks.lock().expect("nobody panicked").clone();
            Some(Box::new(Asking { asks, decided: Arc::clone(&kept) }) as Box<dyn Handler>)
        });
        Self { gateway: HubGateway::start_with(1, &text, program), questions, decided }
    }

    fn usual() -> Self {
        Self::start("ws?decision=2s!tcp", "")
    }

    /// Connects and asks for this, by its query.
    fn asks_for(&self, query: &str) -> Peer {
        let mut peer = Peer::try_connect(self.gateway.address()).expect("it listens");
        peer.request(&Request::open(&format!("/?{query}")));
        peer
    }

    /// What was asked about the request with this query, which is the next.
    #[track_caller]
    fn asked(&self, query: &str) -> Ticket {
        let asked = self.questions.recv_timeout(PATIENCE).expect("a question");
        assert_eq!(asked.query, query);
        asked.ticket
    }

    /// Tells what was found out, and yields what came of it.
    fn found(&self, ticket: Ticket, verdict: Verdict) -> Result<u64, NotDone> {
        let (outcomes, outcome) = mpsc::channel();
        self.gateway.door.found(ticket, verdict, move |it| outcomes.send(it).expect("it is read"));
        match outcome.recv_timeout(PATIENCE).expect("an outcome") {
            Outcome::Done(count) => Ok(count),
            Outcome::NotDone(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn decided(&self) -> Vec<String> {
        self.decided.lock().expect("nobody panicked").clone()
    }

    /// Nothing is left of requests that were undecided.
    #[track_caller]
    fn expect_nobody(&self) {
        self.gateway.expect_counters("nobody is undecided", |counters| {
            (counters.undecided, counters.connections, counters.blocks_used) == (0, 0, 0)
        });
    }
}

#[test]
fn a_request_is_admitted_later_as_if_it_had_been_at_once() {
    let stage = Stage::usual();
    let mut peer = stage.asks_for("one");
    let ticket = stage.asked("one");
    stage.gateway.expect_counters("one is undecided", |counters| counters.undecided == 1);
    assert_eq!(stage.found(ticket, Verdict::Admit), Ok(1));
    peer.expect_open();
    peer.expect_text("hello, one");
    peer.echo("and back");
    // It has the user and the topics that it was admitted with.
    for target in [topic("all"), tidegate_tests::hub::user("ada"), Target::All] {
        stage.gateway.publish(target, "published");
        peer.expect_text("published");
    }
    let info = stage.gateway.connections(&Default::default()).pop().expect("one");
    assert_eq!(info.id, ticket.connection, "the ticket has the connection's id");
    peer.frame(&Frame::close(1000, ""));
    peer.expect_close(1000);
    peer.expect_eof();
    stage.expect_nobody();
    let counters = stage.gateway.counters();
    assert_eq!((counters.decided_later, counters.opened, counters.refused), (1, 1, 0));
}

#[test]
fn a_request_is_refused_or_answered_later() {
    let stage = Stage::usual();
    let mut peer = stage.asks_for("refused");
    assert_eq!(stage.found(stage.asked("refused"), Verdict::Refuse), Ok(1));
    peer.expect_refusal(403);
    peer = Peer::try_connect(stage.gateway.address()).expect("it listens");
    peer.request(&Request::plain("GET", "/?page"));
    assert_eq!(stage.found(stage.asked("page"), Verdict::Respond), Ok(1));
    assert_eq!(peer.expect_refusal(203).body, b"later");
    // What asks for no WebSocket is told so.
    peer = Peer::try_connect(stage.gateway.address()).expect("it listens");
    peer.request(&Request::plain("GET", "/?plain"));
    assert_eq!(stage.found(stage.asked("plain"), Verdict::Admit), Ok(1));
    peer.expect_refusal(426);
    drop(peer);
    stage.expect_nobody();
}

#[test]
fn a_request_may_depend_on_several_things_one_after_the_other() {
    let stage = Stage::usual();
    let mut peer = stage.asks_for("one");
    let first = stage.asked("one");
    assert_eq!(stage.found(first, Verdict::AskAgain), Ok(1));
    let second = stage.asked("one");
    assert_eq!((second.connection, second.round), (first.connection, first.round + 1));
    assert_eq!(stage.found(first, Verdict::Refuse), Err(NotDone::Gone), "that was answered");
    assert_eq!(stage.found(second, Verdict::Admit), Ok(1));
    peer.expect_open();
    peer.expect_text("hello, one");
    assert_eq!(stage.decided(), ["one", "one"]);
    stage.gateway.expect_counters("it is one request", |counters| counters.decided_later == 1);
}

#[test]
fn what_is_told_twice_or_too_late_has_no_effect() {
    let stage = Stage::usual();
    let mut peer = stage.asks_for("one");
    let ticket = stage.asked("one");
    assert_eq!(stage.found(ticket, Verdict::Admit), Ok(1));
    peer.expect_open();
    peer.expect_text("hello, one");
    assert_eq!(stage.found(ticket, Verdict::Refuse), Err(NotDone::Gone));
    peer.echo("still there");
    peer.reset();
    stage.expect_nobody();
    // The next one has its slot, and is another.
    let mut peer = stage.asks_for("two");
    let next = stage.asked("two");
    assert_eq!(next.connection.slot, ticket.connection.slot);
    assert_eq!(stage.found(ticket, Verdict::Refuse), Err(NotDone::Gone));
    let never_given = Ticket { round: 7, ..next };
    assert_eq!(stage.found(never_given, Verdict::Refuse), Err(NotDone::Gone));
    assert_eq!(stage.found(next, Verdict::Admit), Ok(1));
    peer.expect_open();
    peer.expect_text("hello, two");
    stage.gateway.expect_counters("it is counted", |counters| counters.found_in_vain == 3);
    assert_eq!(stage.decided(), ["one", "two"]);
}

#[test]
fn a_request_that_nobody_decides_is_answered_with_504() {
    let stage = Stage::usual();
    let mut peer = stage.asks_for("one");
    let first = stage.asked("one");
    let began = Instant::now();
    // However much is asked, the time is the same.
    thread::sleep(DECISION / 2);
    assert_eq!(stage.found(first, Verdict::AskAgain), Ok(1));
    let ticket = stage.asked("one");
    peer.expect_refusal(504);
    let took = began.elapsed();
    assert!(took > DECISION - Duration::from_millis(100), "{took:?}");
    assert!(took < DECISION + PATIENCE / 2, "{took:?}");
    assert_eq!(stage.found(ticket, Verdict::Admit), Err(NotDone::Gone));
    drop(peer);
    stage.expect_nobody();
    let counters = stage.gateway.counters();
    assert_eq!((counters.refused_decision_timeout, counters.refused), (1, 1));
    // Who is decided in time is not held to it afterwards.
    let mut peer = stage.asks_for("two");
    assert_eq!(stage.found(stage.asked("two"), Verdict::Admit), Ok(1));
    peer.expect_open();
    peer.expect_text("hello, two");
    thread::sleep(DECISION + Duration::from_millis(600));
    peer.echo("still there");
}

#[test]
fn more_than_may_be_undecided_are_answered_with_503() {
    let stage = Stage::start("ws!tcp", "undecided = 2\n");
    let mut peers: Vec<Peer> = ["one", "two"].map(|query| stage.asks_for(query)).into();
    // Two connections may be heard in either order.
    let mut both: Vec<_> =
        (0..2).map(|_| stage.questions.recv_timeout(PATIENCE).expect("a question")).collect();
    both.sort_by(|one, other| one.query.cmp(&other.query));
    let refusal = stage.asks_for("three").expect_refusal(503);
    assert_eq!(refusal.header("Retry-After"), Some("5"));
    assert!(stage.questions.try_recv().is_err(), "nobody was asked");
    // Those that are decided at once are let in.
    let mut now = stage.asks_for("now");
    now.expect_open();
    now.expect_text("hello, now");
    // With one decided there is room for one.
    assert_eq!(stage.found(both[0].ticket, Verdict::Admit), Ok(1));
    peers[0].expect_open();
    let mut peer = stage.asks_for("four");
    assert_eq!(stage.found(stage.asked("four"), Verdict::Admit), Ok(1));
    peer.expect_open();
    stage.gateway.expect_counters("one was one too many", |counters| {
        (counters.refused_undecided, counters.undecided, counters.decided_later) == (1, 1, 3)
    });
}

#[test]
fn those_that_are_undecided_take_the_places_that_there_are_and_no_more() {
    let stage = Stage::with_limits("[limits]\nconnections = 16\n", "ws!tcp", "");
    let _peers: Vec<Peer> = (0..16).map(|_| stage.asks_for("each")).collect();
    let tickets: Vec<_> = (0..16).map(|_| stage.asked("each")).collect();
    stage.asks_for("more").expect_refusal(503);
    stage.asks_for("now").expect_refusal(503);
    // Each has the place that was kept for it.
    for ticket in tickets {
        assert_eq!(stage.found(ticket, Verdict::Admit), Ok(1));
    }
    stage.gateway.expect_counters("all are let in", |counters| counters.connections_open == 16);
}

#[test]
fn a_peer_that_goes_away_meanwhile_leaves_nothing_behind() {
    let stage = Stage::usual();
    type Leave = fn(Peer);
    let cases: [(&str, Leave); 2] = [("a reset", Peer::reset), ("an end", drop)];
    for (how, leave) in cases {
        case(how, || {
            let peer = stage.asks_for("gone");
            let ticket = stage.asked("gone");
            stage.gateway.expect_counters("it is there", |counters| counters.undecided == 1);
            leave(peer);
            stage.expect_nobody();
            assert_eq!(stage.found(ticket, Verdict::Admit), Err(NotDone::Gone));
        });
    }
    assert!(stage.decided().is_empty(), "nobody was there to be decided about");
    let counters = stage.gateway.counters();
    assert_eq!((counters.opened, counters.ended_abruptly, counters.refused), (0, 0, 0));
}

#[test]
fn frames_that_come_before_the_response_are_answered_behind_it() {
    let stage = Stage::usual();
    let head = Request::open("/?early").bytes();
    let frames = [Frame::text("at once").masked(), Frame::ping("too").masked()].concat();
    let all = [&head[..], &frames].concat();
    // With the head, behind it, and in the middle of it.
    for cut in [0, 1, head.len() - 1, head.len(), head.len() + 3, all.len() - 1] {
        case(format!("cut at {cut}"), || {
            let mut peer = Peer::try_connect(stage.gateway.address()).expect("it listens");
            peer.send(&all[..cut]);
            thread::sleep(Duration::from_millis(20));
            peer.send(&all[cut..]);
            let ticket = stage.asked("early");
            thread::sleep(Duration::from_millis(20));
            // More comes while something is kept.
            peer.text("behind");
            assert_eq!(stage.found(ticket, Verdict::AskAgain), Ok(1));
            assert_eq!(stage.found(stage.asked("early"), Verdict::Admit), Ok(1));
            peer.expect_open();
            peer.expect_text("hello, early");
            peer.expect_text("at once");
            peer.expect(&Frame::pong("too"));
            peer.expect_text("behind");
            peer.echo("and back");
        });
    }
    stage.expect_nobody();
}

#[test]
fn who_says_very_much_before_the_response_is_read_from_behind_it() {
    let stage = Stage::usual();
    let mut peer = Peer::try_connect(stage.gateway.address()).expect("it listens");
    let message = tidegate_tests::noise(1 << 20, 1);
    let early = [Request::open("/?much").bytes(), Frame::binary(&message).masked()].concat();
    let sending = peer.send_meanwhile(early);
    let ticket = stage.asked("much");
    thread::sleep(Duration::from_millis(100));
    let kept = stage.gateway.counters().blocks_heads;
    assert!(kept <= 64 << 10, "{kept} bytes are kept");
    assert_eq!(stage.found(ticket, Verdict::Admit), Ok(1));
    peer.expect_open();
    peer.expect_text("hello, much");
    // It comes back in frames, as it came in.
    let mut back = Vec::new();
    while back.len() < message.len() {
        back.extend(peer.read_frame().payload);
    }
    assert!(back == message);
    sending.join().expect("all was taken");
    peer.echo("and back");
}

#[test]
fn a_drain_refuses_those_that_are_undecided() {
    let stage = Stage::usual();
    let mut peer = stage.asks_for("one");
    let ticket = stage.asked("one");
    stage.gateway.drain();
    peer.expect_refusal(503);
    // The shard lives as long as this peer stays.
    assert_eq!(stage.found(ticket, Verdict::Admit), Err(NotDone::Gone));
    drop(peer);
    assert!(stage.decided().is_empty());
}

#[test]
fn a_thread_decides_about_many_at_once() {
    const PEERS: usize = 100;
    let Stage { gateway, questions, decided } = Stage::usual();
    let door = gateway.door.clone();
    let clerk = thread::spawn(move || {
        for _ in 0..PEERS {
            let Asked { ticket, query } = questions.recv_timeout(PATIENCE).expect("a question");
            let is_even = query.parse::<usize>().expect("a number").is_multiple_of(2);
            let verdict = if is_even { Verdict::Admit } else { Verdict::Refuse };
            door.found(ticket, verdict, |outcome| assert!(matches!(outcome, Outcome::Done(1))));
        }
    });
    let ask = |number: usize| {
        let mut peer = Peer::try_connect(gateway.address()).expect("it listens");
        peer.request(&Request::open(&format!("/?{number}")));
        peer
    };
    let mut peers: Vec<Peer> = (0..PEERS).map(ask).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        if number % 2 == 0 {
            peer.expect_open();
            peer.expect_text(&format!("hello, {number}"));
        } else {
            peer.expect_refusal(403);
        }
    }
    clerk.join().expect("all were decided");
    let mut decided: Vec<usize> = decided
        .lock()
        .expect("nobody panicked")
        .iter()
        .map(|query| query.parse().expect("a number"))
        .collect();
    decided.sort_unstable();
    assert_eq!(decided, (0..PEERS).collect::<Vec<_>>(), "each once");
}
