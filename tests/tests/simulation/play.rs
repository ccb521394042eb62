//! A shard whose kernel is played by hand.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tidegate::census::Census;
use tidegate::checks::GatekeeperParts;
use tidegate::config::{Config, Listener};
use tidegate::gateway::{Program, hub_settings};
use tidegate::hub::{
    self, ConnectionFilter, ConnectionInfo, Door, Errand, Identity, Outcome, Presence, Seed,
};
use tidegate::kernel::{
    AreaName, BufferId, Completion, Errno, ListeningSocket, Memory, Operation, Peer, Ring, Slot,
    Waker,
};
use tidegate::names::{Name, Node};
use tidegate::shard::{
    self, AfterDrain, Assembly, ChangeParts, ConfigChange, Counters, DrainOrder, DrainPlan,
    ListenerTable, Panel, RouteTable, Shard,
};
use tidegate::transport::tls::TlsServers;
use tidegate::transport::{Broken, Layer, OpenedInput, Sealed};

use crate::random::Random;
use crate::{script, watch};

/// `receive_buffer` of the configuration below.
const BUFFER_SIZE: usize = 1024;
/// A Pong that nobody asked for: it is not answered.
pub const PONG: &[u8] = &[0x8A, 0x80, 0, 0, 0, 0];
/// The time between two ticks.
pub const TICK: Duration = Duration::from_millis(250);
/// Longer than a tick.
pub const A_WHILE: Duration = Duration::from_millis(300);

/// A kernel that does what the test says.
#[derive(Default)]
pub struct Hand {
    pub pushed: Vec<Operation>,
    /// What was pushed and not seen on entering, and the sends that were, with their bytes.
    queued: Vec<Operation>,
    pub seen: Vec<(Operation, Vec<u8>)>,
    pub completions: VecDeque<Completion>,
    /// Something of the batch is held back.
    pub unsettled: bool,
    pub now: Duration,
    /// For how long the last enter could have waited.
    pub wait: Duration,
    pub calendar: Duration,
    pub lent: Vec<BufferId>,
    /// What the next enter writes into the buffer that was lent last.
    pub input: Vec<u8>,
    /// What it writes into others.
    inputs: Vec<(BufferId, Vec<u8>)>,
}

/// A transport with which nobody is ever done shaking hands. It says so many bytes to whoever
/// begins.
pub struct Shaking {
    pub words: usize,
}

impl Layer for Shaking {
    fn open(
        &mut self,
        _slot: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        words.resize(self.words, b'w');
        Ok(OpenedInput { used: received.len(), ..OpenedInput::default() })
    }

    fn is_ready(&self, _slot: Slot) -> bool {
        false
    }

    fn seal(&mut self, _slot: Slot, _plain: &[u8], _wire: &mut [u8]) -> Sealed {
        Sealed { taken: 0, written: 0 }
    }
}

/// What clients have said, and was not received.
pub type Unread = BTreeMap<Slot, Vec<u8>>;

pub struct HandRing(Rc<RefCell<Hand>>);

impl Ring for HandRing {
    fn push(&mut self, operation: Operation) {
        let mut hand = self.0.borrow_mut();
        hand.pushed.push(operation);
        hand.queued.push(operation);
    }

    fn room(&self) -> usize {
        4096
    }

    fn provide(&mut self, buffer: BufferId) {
        self.0.borrow_mut().lent.push(buffer);
    }

    fn enter(&mut self, memory: &mut Memory, wait: Duration) -> io::Result<()> {
        let mut hand = self.0.borrow_mut();
        hand.wait = wait;
        let input = std::mem::take(&mut hand.input);
        let mut inputs = std::mem::take(&mut hand.inputs);
        inputs.extend(hand.lent.last().map(|buffer| (*buffer, input)));
        for (buffer, input) in inputs {
            let start = watch::start_of(buffer, BUFFER_SIZE);
            memory.area_mut(AreaName::Receive)[start..start + input.len()].copy_from_slice(&input);
        }
        for operation in std::mem::take(&mut hand.queued) {
            if let Operation::Send { span, .. } | Operation::SendArmed { span, .. } = operation {
                hand.seen.push((operation, memory.bytes(span).to_vec()));
            }
        }
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        self.0.borrow_mut().completions.pop_front()
    }

    fn is_settled(&mut self) -> bool {
        // What was pushed since the last enter was not taken.
        let hand = self.0.borrow();
        !hand.unsettled && hand.queued.is_empty()
    }

    fn open_listener(&mut self, _: u32, _: ListeningSocket) -> io::Result<()> {
        // A socket of a world is there as soon as it is polled.
        Ok(())
    }

    fn listener(&self, _: u32) -> Option<&ListeningSocket> {
        None
    }

    fn accept_aside(&mut self, _listener: u32) -> io::Result<(OwnedFd, Peer)> {
        // A socket of a world stays there.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&mut self, _: &mut Memory, _: Slot, _: Vec<OwnedFd>) -> io::Result<()> {
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
pub struct Play {
    pub shard: Shard<HandRing>,
    pub hand: Rc<RefCell<Hand>>,
    pub door: Door,
    panel: Arc<Panel>,
    /// What it began with, and the listeners that are in force.
    config: Arc<Config>,
    pub listening: Arc<ListenerTable>,
}

impl Play {
    pub fn new() -> Self {
        Self::with(
            "[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\n\
             [[topic]]\nname = 'room'\npresence = true\n",
        )
    }

    /// With this configuration behind its limits.
    pub fn with(more: &str) -> Self {
        Self::of(more, Program::default())
    }

    /// The same, and what a program brings along.
    pub fn of(more: &str, program: Program) -> Self {
        let text = "[limits]\nconnections = 16\nreceive_buffers = 8\nreceive_buffer = 1024\n\
                    request_head = 1024\n"
            .to_owned();
        let config = Config::parse(&(text + more), "directed").unwrap_or_else(|e| panic!("{e}"));
        let config = Arc::new(config);
        let panel = Arc::new(Panel::default());
        let hand = Rc::new(RefCell::new(Hand::default()));
        let memory = shard::memory(&config.limits).expect("memory");
        let waker = Waker::new().expect("a descriptor");
        let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
        let (mut hubs, door) =
            hub::open(&hub_settings(&config), identity, std::slice::from_ref(&waker));
        let census = Arc::new(Census::new(&config));
        let listening =
            Arc::new(ListenerTable::new(&config.listeners, &[], &TlsServers::default()));
        let assembly = Assembly {
            index: 0,
            checks: GatekeeperParts::none(),
            access_log: None,
            hub: hubs.pop().expect("one shard"),
            routes: RouteTable::new(&config.routes).into(),
            config: Arc::clone(&config),
            listeners: Vec::new(),
            waker,
            panel: Arc::clone(&panel),
            listening: Arc::clone(&listening),
            census,
            program,
        };
        let shard = Shard::new(HandRing(Rc::clone(&hand)), memory, assembly);
        let shard = shard.expect("each route has a handler");
        Self { shard, hand, door, panel, config, listening }
    }

    /// A client connects to slot 0 and says `bytes`; returns what is pushed then.
    pub fn first_says(&mut self, bytes: &[u8]) -> Vec<Operation> {
        self.turn([Completion::ListenerReady { listener: 0 }]);
        self.turn([accepted(0, Ok(()))]);
        self.hears(0, bytes)
    }

    /// So many clients connect to a listener; returns their slots.
    pub fn come(&mut self, listener: u32, count: usize) -> Vec<Slot> {
        let mut slots = Vec::new();
        let mut pushed = self.turn([Completion::ListenerReady { listener }]);
        while slots.len() < count {
            let accepts = pushed.iter().filter_map(|one| match *one {
                Operation::Accept { listener: at, slot } if at == listener => Some(slot),
                _ => None,
            });
            let accepts: Vec<_> = accepts.collect();
            assert!(!accepts.is_empty(), "{} have come, and no more may", slots.len());
            let completions = accepts.iter().enumerate().map(|(at, slot)| {
                let is_there = slots.len() + at < count;
                accepted_by(listener, *slot, is_there.then_some(()).ok_or(Errno::AGAIN))
            });
            pushed = self.turn(completions.collect::<Vec<_>>());
            slots.extend(accepts);
        }
        slots.truncate(count);
        slots
    }

    /// Clients connect to the first slots, one for each of `paths`, and ask for that.
    pub fn each_asks_for(&mut self, paths: &[&str]) {
        self.turn([Completion::ListenerReady { listener: 0 }]);
        (0..).zip(paths).for_each(|(slot, _)| _ = self.turn([accepted(slot, Ok(()))]));
        for (slot, path) in (0..).zip(paths) {
            self.hears(slot, &script::opening(&mut Random::new(0), path, false));
        }
    }

    /// The client in `slot`, which is polled once, says `bytes`; returns what is pushed then.
    pub fn hears(&mut self, slot: Slot, bytes: &[u8]) -> Vec<Operation> {
        let pushed = self.turn([readable_in(slot)]);
        self.receives(&pushed, &mut Unread::from([(slot, bytes.to_vec())]))
    }

    /// The receives among `pushed`, the operations of the last turn, find what is unread, each in a
    /// turn of its own; returns what is pushed then.
    pub fn receives(&mut self, pushed: &[Operation], unread: &mut Unread) -> Vec<Operation> {
        let mut then = Vec::new();
        for (slot, buffer) in self.lent_for(pushed) {
            self.hand.borrow_mut().lent.push(buffer);
            let bytes = unread.remove(&slot).unwrap_or_default();
            let count = bytes.len() as u32;
            self.hand.borrow_mut().input = bytes;
            let (buffer, result) =
                if count > 0 { (Some(buffer), Ok(count)) } else { (None, Err(Errno::AGAIN)) };
            then.extend(self.turn([received_in(slot, buffer, result)]));
        }
        then
    }

    /// The same, all in one turn.
    pub fn receives_at_once(&mut self, pushed: &[Operation], unread: &Unread) -> Vec<Operation> {
        let received = self.lent_for(pushed).into_iter().map(|(slot, buffer)| {
            let mut hand = self.hand.borrow_mut();
            hand.inputs.push((buffer, unread[&slot].clone()));
            received_in(slot, Some(buffer), Ok(unread[&slot].len() as u32))
        });
        let received: Vec<_> = received.collect();
        self.turn(received)
    }

    /// Takes out the buffers that were lent for the receives among `pushed`; for whom each is.
    fn lent_for(&mut self, pushed: &[Operation]) -> Vec<(Slot, BufferId)> {
        let slot = |operation: &Operation| match *operation {
            Operation::Receive { slot, generation: 0 } => Some(slot),
            _ => None,
        };
        let slots: Vec<Slot> = pushed.iter().filter_map(slot).collect();
        let mut hand = self.hand.borrow_mut();
        let count = hand.lent.len() - slots.len();
        slots.into_iter().zip(hand.lent.split_off(count)).collect()
    }

    /// All that a client was sent and the kernel has seen, as if it had taken all of it.
    pub fn heard(&self, whom: Slot) -> Vec<u8> {
        let of_whom = |(operation, bytes): &(Operation, Vec<u8>)| match operation {
            Operation::Send { slot, .. } | Operation::SendArmed { slot, .. } if *slot == whom => {
                bytes.clone()
            }
            _ => Vec::new(),
        };
        self.hand.borrow().seen.iter().flat_map(of_whom).collect()
    }

    /// The client in slot 0 says `bytes`, of which `poll` tells; returns what is pushed then.
    pub fn says(&mut self, poll: Completion, bytes: &[u8]) -> Vec<Operation> {
        assert_eq!(self.turn([poll]), [receive()]);
        self.hand.borrow_mut().input = bytes.to_vec();
        let buffer = self.hand.borrow().lent.last().copied();
        self.turn([received(buffer, Ok(bytes.len() as u32))])
    }

    /// A client in slot 0 whose poll stays armed.
    pub fn with_one_that_talks() -> Self {
        let mut play = Self::new();
        play.first_says(&script::opening(&mut Random::new(0), "/room", false));
        assert_eq!(play.says(readable(), PONG), [poll()]);
        assert_eq!(play.says(readable(), PONG), [poll_on()]);
        play
    }

    /// What is answered to `request` within two turns.
    pub fn asks(&mut self, request: Errand) -> Outcome {
        let (answers, answer) = mpsc::channel();
        self.door.ask(request, move |answer| answers.send(answer).expect("somebody waits"));
        self.turn([]);
        self.turn([]);
        answer.try_recv().expect("an answer")
    }

    /// So much time goes by that the next tick comes; returns what is pushed then.
    pub fn tick(&mut self) -> Vec<Operation> {
        self.hand.borrow_mut().now += TICK;
        self.turn([])
    }

    /// The shard is told to drain.
    pub fn drains(&mut self) {
        self.is_ordered(DrainPlan::configured(&Config::default(), AfterDrain::Leave));
    }

    /// The shard is to drain so.
    pub fn is_ordered(&mut self, plan: DrainPlan) -> Arc<DrainOrder> {
        let order = Arc::new(DrainOrder::new(plan, 1, 1));
        self.sees(Some(&order));
        order
    }

    /// The drain is taken back.
    pub fn takes_back(&mut self, order: &DrainOrder) {
        assert!(order.take_back(), "it may be taken back");
        self.sees(None);
    }

    /// A change has these in place of its listeners, and is in force; returns what is pushed then.
    pub fn listens(&mut self, listeners: &[Listener]) -> Vec<Operation> {
        let listeners = listeners.to_vec();
        let config = Arc::new(Config { listeners, ..(*self.config).clone() });
        let tls = TlsServers::default();
        let listening = self.listening.followed_by(&config.listeners, Vec::new(), &tls);
        self.listening = Arc::new(listening.expect("there are few"));
        let routes = RouteTable::new(&self.config.routes).followed_by(&config.routes);
        let change = Arc::new(ConfigChange::new(ChangeParts {
            routes: Arc::new(routes.expect("there are few")),
            listening: Arc::clone(&self.listening),
            checks: GatekeeperParts::none(),
            census: Arc::new(Census::new(&config)),
            access_log: None,
            rules: hub_settings(&config).rules,
            closes: None,
            config,
        }));
        let waker = Waker::new().expect("a descriptor");
        self.panel.change(Some(Arc::clone(&change)), &waker);
        self.turn([Completion::Woken]);
        assert_eq!(change.ready(), 1);
        change.put_in_force();
        let pushed = self.turn([]);
        assert_eq!(change.done(), 1);
        pushed
    }

    /// The shard is woken, and this is on its panel.
    pub fn sees(&mut self, order: Option<&Arc<DrainOrder>>) {
        self.panel.drain(order.cloned(), &Waker::new().expect("a descriptor"));
        self.turn([Completion::Woken]);
    }

    /// What the shard has counted, as it shows at the next tick.
    pub fn counters(&mut self) -> Counters {
        self.hand.borrow_mut().now += A_WHILE;
        self.turn([]);
        self.panel.counters.load()
    }

    /// The wall clock is set, and so much time goes by.
    pub fn calendar_shows(&mut self, unix: u64, passed: Duration) {
        let mut hand = self.hand.borrow_mut();
        hand.now += passed;
        hand.calendar = Duration::from_secs(unix);
    }

    /// What is told of the only connection, and of who is on its topic.
    pub fn told(&mut self) -> (ConnectionInfo, Presence) {
        let filter = ConnectionFilter::default();
        let connections = Errand::Connections { from: 0, filter, limit: 9 };
        let Outcome::Connections(mut infos, None) = self.asks(connections) else {
            panic!("no list");
        };
        let topic = Name::new("room").expect("a name");
        let Outcome::Presence(presence) = self.asks(Errand::Presence { topic, limit: 9 }) else {
            panic!("no presence");
        };
        (infos.pop().expect("a connection"), presence)
    }

    /// One turn in which `completions` arrive; returns what was pushed in it.
    pub fn turn(&mut self, completions: impl IntoIterator<Item = Completion>) -> Vec<Operation> {
        self.hand.borrow_mut().completions.extend(completions);
        self.hand.borrow_mut().pushed.clear();
        assert!(self.shard.step().expect("a ring that works"));
        self.shard.check();
        self.hand.borrow().pushed.clone()
    }
}

pub fn accepted(slot: Slot, result: Result<(), Errno>) -> Completion {
    accepted_by(0, slot, result)
}

pub fn accepted_by(listener: u32, slot: Slot, result: Result<(), Errno>) -> Completion {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Completion::Accepted { listener, slot, result: result.map(|()| peer.into()) }
}

pub fn readable() -> Completion {
    readable_in(0)
}

pub fn readable_in(slot: Slot) -> Completion {
    Completion::Readable { slot, generation: 0, armed: false, ended: false }
}

/// A poll that stays armed tells of bytes.
pub fn still_polled() -> Completion {
    still_polled_in(0)
}

pub fn still_polled_in(slot: Slot) -> Completion {
    Completion::Readable { slot, generation: 0, armed: true, ended: false }
}

pub fn poll() -> Operation {
    Operation::Poll { slot: 0, generation: 0 }
}

pub fn poll_on() -> Operation {
    Operation::PollOn { slot: 0, generation: 0 }
}

pub fn receive() -> Operation {
    Operation::Receive { slot: 0, generation: 0 }
}

pub fn received(buffer: Option<BufferId>, result: Result<u32, Errno>) -> Completion {
    received_in(0, buffer, result)
}

pub fn received_in(slot: Slot, buffer: Option<BufferId>, result: Result<u32, Errno>) -> Completion {
    Completion::Received { slot, generation: 0, buffer, result, more: false }
}
