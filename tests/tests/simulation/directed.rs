//! Interleavings that a seed once found, each played by hand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tidegate::config::Config;
use tidegate::hub::{
    self, Answer, ConnectionFilter, ConnectionInfo, Door, Name, Node, Presence, Publication,
    Published, Request, Seed, Target,
};
use tidegate::shard::{self, Assembly, Control, Shard};
use tidegate::uring::{BufferId, Completion, Errno, Memory, Operation, Ring, Slot, Waker};
use tidegate_proto::receiver::Kind;

use crate::random::Random;
use crate::{script, watch};

const TOO_MANY_FILES: Errno = Errno(23);
const RESET: Errno = Errno(104);
/// `receive_buffer` of the configuration below.
const BUFFER_SIZE: usize = 1024;
/// A Pong that nobody asked for: it is not answered.
const PONG: &[u8] = &[0x8A, 0x80, 0, 0, 0, 0];
/// Longer than a tick.
const A_WHILE: Duration = Duration::from_millis(300);

/// A kernel that does what the test says.
#[derive(Default)]
struct Hand {
    pushed: Vec<Operation>,
    completions: VecDeque<Completion>,
    /// Something of the batch is held back.
    unsettled: bool,
    now: Duration,
    calendar: Duration,
    lent: Vec<BufferId>,
    /// What the next enter writes into the buffer that was lent last.
    input: Vec<u8>,
}

struct HandRing(Rc<RefCell<Hand>>);

impl Ring for HandRing {
    fn push(&mut self, operation: Operation) {
        self.0.borrow_mut().pushed.push(operation);
    }

    fn room(&self) -> usize {
        4096
    }

    fn provide(&mut self, buffer: BufferId) {
        self.0.borrow_mut().lent.push(buffer);
    }

    fn enter(&mut self, memory: &mut Memory, _wait: Duration) -> io::Result<()> {
        let mut hand = self.0.borrow_mut();
        let input = std::mem::take(&mut hand.input);
        if let Some(buffer) = hand.lent.last().filter(|_| !input.is_empty()) {
            let start = watch::start_of(*buffer, BUFFER_SIZE);
            memory.receive.bytes_mut()[start..start + input.len()].copy_from_slice(&input);
        }
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        self.0.borrow_mut().completions.pop_front()
    }

    fn is_settled(&mut self) -> bool {
        !self.0.borrow().unsettled
    }

    fn accept_aside(&mut self, _listener: u32) -> io::Result<(OwnedFd, SocketAddr)> {
        // A socket of a world stays there.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&mut self, _first: Slot, _sockets: Vec<OwnedFd>) -> io::Result<()> {
        unreachable!("nothing is given away here")
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn calendar(&self) -> Duration {
        self.0.borrow().calendar
    }
}

/// A shard of 16 slots, and the hand that plays its kernel.
struct Play {
    shard: Shard<HandRing>,
    hand: Rc<RefCell<Hand>>,
    door: Door,
}

impl Play {
    fn new() -> Self {
        let text = "[limits]\nconnections = 16\nreceive_buffers = 8\nreceive_buffer = 1024\n\
                    request_head = 1024\n\
                    [[route]]\npath = '/room'\nhandler = 'hub?topic=room'\n\
                    [[topic]]\nname = 'room'\npresence = true\n";
        let config = Arc::new(Config::parse(text, "directed").expect("a configuration"));
        let hand = Rc::new(RefCell::new(Hand::default()));
        let memory = shard::memory(&config.limits).expect("memory");
        let waker = Waker::new().expect("a descriptor");
        let identity = (Node { number: 0, start: 1 }, Seed([1, 2]));
        let (mut hubs, door) = hub::open(&config, identity, std::slice::from_ref(&waker));
        let assembly = Assembly {
            index: 0,
            hub: hubs.pop().expect("one shard"),
            config,
            listeners: Vec::new(),
            waker,
            control: Arc::new(Control::default()),
            handlers: Arc::new(|_| None),
        };
        let shard = Shard::new(HandRing(Rc::clone(&hand)), memory, assembly);
        Self { shard, hand, door }
    }

    /// A client connects to slot 0 and says `bytes`; returns what is pushed then.
    fn first_says(&mut self, bytes: &[u8]) -> Vec<Operation> {
        self.turn([Completion::ListenerReady { listener: 0 }]);
        self.turn([accepted(0, Ok(()))]);
        self.turn([readable()]);
        self.hand.borrow_mut().input = bytes.to_vec();
        let buffer = self.hand.borrow().lent.last().copied();
        self.turn([received(buffer, Ok(bytes.len() as u32))])
    }

    /// The client in slot 0 says `bytes`, of which `poll` tells; returns what is pushed then.
    fn says(&mut self, poll: Completion, bytes: &[u8]) -> Vec<Operation> {
        assert_eq!(self.turn([poll]), [receive()]);
        self.hand.borrow_mut().input = bytes.to_vec();
        let buffer = self.hand.borrow().lent.last().copied();
        self.turn([received(buffer, Ok(bytes.len() as u32))])
    }

    /// A client in slot 0 whose poll stays armed.
    fn with_one_that_talks() -> Self {
        let mut play = Self::new();
        play.first_says(&script::opening(&mut Random::new(0), "/room", false));
        assert_eq!(play.says(readable(), PONG), [poll()]);
        assert_eq!(play.says(readable(), PONG), [poll_on()]);
        play
    }

    /// What is answered to `request` within two turns.
    fn asks(&mut self, request: Request) -> Answer {
        let (answers, answer) = mpsc::channel();
        self.door.ask(request, move |answer| answers.send(answer).expect("somebody waits"));
        self.turn([]);
        self.turn([]);
        answer.try_recv().expect("an answer")
    }

    /// The wall clock is set, and so much time goes by.
    fn calendar_shows(&mut self, unix: u64, passed: Duration) {
        let mut hand = self.hand.borrow_mut();
        hand.now += passed;
        hand.calendar = Duration::from_secs(unix);
    }

    /// What is told of the only connection, and of who is on its topic.
    fn told(&mut self) -> (ConnectionInfo, Presence) {
        let filter = ConnectionFilter::default();
        let connections = Request::Connections { from: 0, filter, limit: 9 };
        let Answer::Connections(mut infos, None) = self.asks(connections) else {
            panic!("no list");
        };
        let topic = Name::new("room").expect("a name");
        let Answer::Presence(presence) = self.asks(Request::Presence { topic, limit: 9 }) else {
            panic!("no presence");
        };
        (infos.pop().expect("a connection"), presence)
    }

    /// One turn in which `completions` arrive; returns what was pushed in it.
    fn turn(&mut self, completions: impl IntoIterator<Item = Completion>) -> Vec<Operation> {
        self.hand.borrow_mut().completions.extend(completions);
        self.hand.borrow_mut().pushed.clear();
        assert!(self.shard.step().expect("a ring that works"));
        self.shard.check();
        self.hand.borrow().pushed.clone()
    }
}

fn accepted(slot: Slot, result: Result<(), Errno>) -> Completion {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Completion::Accepted { listener: 0, slot, result: result.map(|()| peer) }
}

fn readable() -> Completion {
    Completion::Readable { slot: 0, generation: 0, armed: false, ended: false }
}

/// A poll that stays armed tells of bytes.
fn still_polled() -> Completion {
    Completion::Readable { slot: 0, generation: 0, armed: true, ended: false }
}

fn poll() -> Operation {
    Operation::Poll { slot: 0, generation: 0 }
}

fn poll_on() -> Operation {
    Operation::PollOn { slot: 0, generation: 0 }
}

fn receive() -> Operation {
    Operation::Receive { slot: 0, generation: 0 }
}

fn received(buffer: Option<BufferId>, result: Result<u32, Errno>) -> Completion {
    Completion::Received { slot: 0, generation: 0, buffer, result, more: false }
}

fn accepts(pushed: &[Operation]) -> usize {
    pushed.iter().filter(|operation| matches!(operation, Operation::Accept { .. })).count()
}

#[test]
fn accepting_goes_on_once_all_of_a_portion_that_failed_is_done() {
    let mut play = Play::new();
    let pushed = play.turn([Completion::ListenerReady { listener: 0 }]);
    assert_eq!(accepts(&pushed), 1);
    let pushed = play.turn([accepted(0, Ok(()))]);
    assert_eq!(accepts(&pushed), 2, "the next portion is twice as large");
    // One of two fails; the completion of the other is late, by more than a tick.
    play.turn([accepted(1, Err(TOO_MANY_FILES))]);
    play.hand.borrow_mut().now += A_WHILE;
    assert_eq!(accepts(&play.turn([])), 0);
    play.turn([accepted(2, Err(TOO_MANY_FILES))]);
    play.hand.borrow_mut().now += A_WHILE;
    assert_eq!(accepts(&play.turn([])), 2);
    play.turn([accepted(1, Err(Errno::AGAIN)), accepted(2, Err(Errno::AGAIN))]);
}

#[test]
fn a_slot_is_given_up_only_when_the_batch_that_it_sends_in_is_settled() {
    let mut play = Play::new();
    let pushed = play.first_says(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(pushed[..], [Operation::Send { slot: 0, .. }, Operation::Poll { .. }]));
    // The connection fails before it is known what became of the send.
    play.hand.borrow_mut().unsettled = true;
    play.turn([readable()]);
    let pushed = play.turn([received(None, Err(RESET))]);
    assert!(!pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    play.hand.borrow_mut().unsettled = false;
    let pushed = play.turn([]);
    assert!(pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    assert!(play.shard.is_empty());
}

#[test]
fn who_has_ended_is_told_no_more_though_the_rest_is_still_being_sent() {
    let mut play = Play::new();
    let request = script::opening(&mut Random::new(0), "/room", false);
    let pushed = play.first_says(&request);
    assert!(matches!(pushed[..], [Operation::Send { slot: 0, .. }, Operation::Poll { .. }]));
    // The peer ends before it is known what became of the response.
    play.hand.borrow_mut().unsettled = true;
    play.turn([readable()]);
    play.turn([received(None, Ok(0))]);
    let payload = play.door.payload(Kind::Text, b"to all").expect("room");
    let publication = Publication { payload, key: None, except: None };
    let (answers, answer) = mpsc::channel();
    play.door.ask(Request::Publish(Target::All, publication), move |answer| {
        answers.send(answer).expect("somebody waits");
    });
    play.turn([]);
    let answer = answer.recv().expect("an answer");
    assert!(matches!(answer, Answer::Published(Published { connections: 0, .. })), "{answer:?}");
    play.hand.borrow_mut().unsettled = false;
    let pushed = play.turn([]);
    assert!(pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    assert!(play.shard.is_empty());
}

#[test]
fn who_talks_stays_polled_and_is_received_from_once_for_all_that_is_told_meanwhile() {
    let mut play = Play::with_one_that_talks();
    assert_eq!(play.says(still_polled(), PONG), []);
    assert_eq!(play.turn([still_polled(), still_polled()]), [receive()]);
    assert_eq!(play.turn([still_polled()]), []);
    play.hand.borrow_mut().input = PONG.to_vec();
    let buffer = play.hand.borrow().lent.last().copied();
    assert_eq!(play.turn([received(buffer, Ok(PONG.len() as u32))]), []);
}

#[test]
fn a_poll_that_ends_while_a_receive_is_in_flight_is_armed_again() {
    let mut play = Play::with_one_that_talks();
    assert_eq!(play.turn([still_polled()]), [receive()]);
    assert_eq!(play.turn([readable()]), []);
    assert_eq!(play.turn([received(None, Err(Errno::AGAIN))]), [poll_on()]);
}

#[test]
fn who_was_told_to_have_ended_is_received_from_until_that_shows() {
    let mut play = Play::with_one_that_talks();
    let ended = Completion::Readable { slot: 0, generation: 0, armed: true, ended: true };
    // What stands before a reset is received as if nothing came behind it.
    assert_eq!(play.says(ended, PONG), [receive()]);
    let pushed = play.turn([received(None, Err(RESET))]);
    let unpoll = Operation::Unpoll { slot: 0, generation: 0 };
    assert_eq!(pushed, [unpoll, Operation::Close { slot: 0 }]);
    assert!(play.shard.is_empty());
}

#[test]
fn when_something_was_is_told_by_the_calendar_of_now() {
    let mut play = Play::new();
    play.calendar_shows(1_700_000_000, Duration::from_secs(50));
    let request = script::opening(&mut Random::new(0), "/room", false);
    play.first_says(&request);
    play.turn([]);
    // The clock was wrong by an hour, either way, or by years; ten seconds go by in each case.
    for (at, unix) in [(10, 1_700_003_600), (20, 1_699_996_400), (30, 1_900_000_000), (40, 5)] {
        play.calendar_shows(unix, Duration::from_secs(10));
        let (info, presence) = play.told();
        let expected = unix.saturating_sub(at);
        assert_eq!(info.connected_at, Some(expected), "{at} s ago, as of {unix}");
        assert_eq!(presence.members[0].since, expected, "{at} s ago, as of {unix}");
        // Ticks that were missed do not count as silence.
        assert!(info.active_at.is_some_and(|active| active <= unix && active >= expected));
    }
}
