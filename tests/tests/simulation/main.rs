//! Whole shards under a simulated kernel, from one seed each.
//!
//! `TIDEGATE_SEED=n` runs one seed, twice, and compares the traces; `TIDEGATE_SEEDS=n` runs so
//! many, `TIDEGATE_SEEDS=m..n` those from `m` on and below `n`.

mod bearer;
mod bearing;
mod bodies;
mod body_peer;
mod chances;
mod client;
mod commander;
mod decider;
mod directed;
mod drainer;
mod few_blocks;
mod handlers;
mod hearing;
mod heavy;
mod labels;
mod ledger;
mod line_peer;
mod lines;
mod listener;
mod member;
mod model;
mod peer;
mod play;
mod policies;
mod proxied;
mod publisher;
mod random;
mod relistening;
mod reloader;
mod renewer;
mod revoker;
mod ring;
mod rooms;
mod script;
mod seeds;
mod several;
mod speech;
mod talk;
mod trickler;
mod watch;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::census::Census;
use tidegate::checks::Revocations;
use tidegate::config::stack::TlsLayer;
use tidegate::config::{Config, Limits};
use tidegate::gateway::{self, Program, hub_settings};
use tidegate::handler::{EndReason, Ground};
use tidegate::hub::{self, Identity, Seed};
use tidegate::kernel::{Driver, Waker};
use tidegate::names::Node;
use tidegate::shard::{
    self, AfterDrain, Assembly, Counters, DrainOrder, DrainPlan, ListenerTable, RouteTable, Shard,
};
use tidegate::transport::tls::TlsServers;
use tidegate_tests::xor::Xor;

use bearer::VerifierStandIn;
use decider::Decider;
use drainer::Drainer;
use handlers::{Behaviour, Books, CountedLines};
use lines::LineReader;
use publisher::{Publisher, Sights};
use random::Random;
use reloader::Reloader;
use renewer::Renewer;
use revoker::Revoker;
use ring::SimRing;
use rooms::{Plan, Transport};
use several::{Meanwhile, Outside, Several};
use world::{Server, World};

/// Turns of all shards in which all clients come and go.
const STEPS: usize = 5000;

/// Turns after which a drain has to be over, unless bodies are being sent.
const DRAIN_STEPS: usize = 200_000;

/// Longer than a drain lasts while bodies are being sent.
const DRAIN: Duration = Duration::from_secs(21);

/// The port of the listener on which lines are echoed.
const LINES_PORT: u16 = 2;

/// A pool of blocks, in bytes, that is enough for everyone.
const BLOCKS: u32 = 1 << 20;

/// Longer than all deadlines of a connection that does nothing any more, one after the other.
const DEADLINES: Duration = Duration::from_secs(60);
/// The same for what histories keep, for up to a minute each from when it came, and for who
/// lingers.
const HISTORIES: Duration = Duration::from_secs(180);

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The hash of everything that happened.
    trace: u64,
    /// Clients that were promised all of their answers, and got them.
    served: u64,
    /// All clients went, and left every shard as it was at the start.
    emptied: bool,
    counters: Counters,
}

/// Turns after which nobody publishes any more.
const HUSHED_AT: usize = STEPS * 6 / 10;

/// Turns after which everybody leaves.
const OVER_AT: usize = STEPS * 8 / 10;

/// So many turns without mail, and everything has arrived.
const REST: usize = 60;

/// Since when nothing has been on its way.
#[derive(Default)]
struct Rest {
    mail: Option<u64>,
    since: usize,
}

/// Several shards, and all that is around them.
struct Scene {
    several: Rc<Several>,
    books: Arc<Mutex<Books>>,
    plan: Plan,
    publisher: Publisher,
    decider: Decider,
    verifier: VerifierStandIn,
    drainer: Drainer,
    reloader: Reloader,
    revoker: Revoker,
    renewer: Renewer,
    lines: Option<LineReader>,
    config: Arc<Config>,
    random: Random,
    emptied: bool,
    /// Whether some route has each of [`SCANT`].
    scants: [bool; SCANT.len()],
    /// Whether so few connections may be there that clients are refused.
    is_crowded: bool,
}

#[test]
fn simulation_of_shards() {
    seeds::run_all(run);
}

/// One run: clients come, the shards serve and are drained or stopped.
fn run(seed: u64) -> Outcome {
    let mut scene = Scene::new(seed, Random::new(!seed));
    let lived = catch_unwind(AssertUnwindSafe(|| scene.play()));
    let counters = scene.several.counters();
    if let Err(panic) = lived {
        for outside in &scene.several.outsides {
            // The panic may have come out of the world itself.
            if let Ok(world) = outside.world.try_borrow() {
                eprintln!("seed {seed}: {}", world.describe());
            }
        }
        let counted = counters.named();
        let counted: Vec<_> = counted.iter().filter(|(_, count)| *count > 0).collect();
        eprintln!("seed {seed}: {counted:?}");
        resume_unwind(panic);
    }
    let (trace, served) = scene.several.told();
    Outcome { trace, served, emptied: scene.emptied, counters }
}

/// What the run brings along: what its handlers and its protocol see is recorded.
fn program(plan: &Plan, books: &Arc<Mutex<Books>>) -> Program {
    let (recorded, spoken, allowance) = (Arc::clone(books), Arc::clone(books), plan.allowance);
    let program = Program::default()
        .handlers(move |route| handlers::recorded(route, &recorded))
        .protocols(move |listener| {
            let lines = || CountedLines::new(allowance, Arc::clone(&spoken));
            (listener.address.port() == Some(LINES_PORT)).then(|| Box::new(lines()) as _)
        });
    match plan.transport {
        Transport::Xor => program.layers(|_| Some(Box::new(Xor::default()))),
        _ => program,
    }
}

impl Scene {
    fn new(seed: u64, mut random: Random) -> Self {
        let deflate = random.chance(500);
        let plan = Plan::draw(&mut random);
        plan.ledger.borrow_mut().keeps_keys = plan.keeps_keys();
        let mut config = config(&mut random, deflate, &plan);
        if plan.trickles {
            // Nothing runs short, so that nobody has to give way.
            config.limits.blocks = BLOCKS;
            config.hub.queued = Some(4096);
        }
        let is_crowded = is_crowded(&config);
        let (access_log, feed, lines) = match lines::draw(&random) {
            Some((log, feed, lines)) => (Some(log), Some(feed), Some(lines)),
            None => (None, None, None),
        };
        config.access_log = access_log;
        let scants = SCANT.map(|scant| has_limits(&config, scant));
        let config = Arc::new(config);
        let count = random.pick(&[1, 1, 2, 3]);
        let wakers: Vec<_> = (0..count).map(|_| Waker::new().expect("a descriptor")).collect();
        let identity = Identity {
            node: Node { number: 0, start: random.bits() as u32 },
            seed: Seed([random.bits(), random.bits()]),
        };
        let (hubs, door) = hub::open(&hub_settings(&config), identity, &wakers);
        let books = Arc::new(Mutex::new(Books::default()));
        let meanwhile = Meanwhile::default();
        let places = Random::new(!seed).pick(&[1, 3, 1000]);
        let revocations = Revocations::new(revoker::MOST);
        let (checks, tokens) = bearer::checks(&config, places, &revocations);
        let census = Arc::new(Census::new(&config));
        let routes = Arc::new(RouteTable::new(&config.routes));
        let servers = tls_servers(&plan.transport);
        let listening = Arc::new(ListenerTable::new(&config.listeners, &[], &servers));
        let program = program(&plan, &books);
        let shards = hubs.into_iter().zip(wakers).enumerate().map(|(index, (hub, waker))| {
            let seed = seed.wrapping_add((index as u64) << 48);
            let outside = outside(seed, &config, waker.clone(), plan.of(index));
            let assembly = Assembly {
                index,
                checks: checks.clone(),
                access_log: feed.clone(),
                hub,
                config: Arc::clone(&config),
                routes: Arc::clone(&routes),
                listeners: Vec::new(),
                waker,
                panel: Arc::clone(&outside.panel),
                program: program.clone(),
                listening: Arc::clone(&listening),
                census: Arc::clone(&census),
            };
            let memory = shard::memory(&config.limits).expect("memory");
            let world = Rc::clone(&outside.world);
            let ring = SimRing { world, meanwhile: meanwhile.clone() };
            let shard = Shard::new(ring, memory, assembly).expect("each route has a handler");
            (shard, outside)
        });
        let bill = gateway::bill_with(&counting(&config), &program, count, Driver::IoUring);
        let inner = Random::new(random.bits());
        let several = Several::new(shards.collect(), bill, &meanwhile, inner);
        let publisher = Publisher::new(door.clone(), &plan, Random::new(random.bits()));
        let verifier = VerifierStandIn::new(tokens, door.clone(), Random::new(!random.bits()));
        let renewer = Renewer::draw(&mut random, door.clone(), &plan.takings);
        let decider = Decider::new(door, Arc::clone(&books), Random::new(random.bits()));
        let drainer = Drainer::draw(&mut random, &config);
        let mut reloader =
            Reloader::draw(&mut random, &config, &routes, (&listening, servers, &census, &checks));
        reloader.access_log = feed;
        let revoker = Revoker::draw(&mut random, &revocations, &plan.takings);
        let emptied = false;
        Self {
            several,
            books,
            plan,
            publisher,
            decider,
            verifier,
            drainer,
            reloader,
            revoker,
            renewer,
            lines,
            config,
            random,
            emptied,
            scants,
            is_crowded,
        }
    }

    fn play(&mut self) {
        // With few of them, memory is not short.
        let few = self.plan.trickles;
        let clients = self.random.pick(if few { &[3, 10] } else { &[1, 3, 10, 40, 80] });
        self.serve(clients);
        for outside in &self.several.outsides {
            outside.world.borrow_mut().disturbed = true;
        }
        if self.random.chance(900) {
            // Some have just connected.
            for _ in 0..self.random.pick(&[0, 1, 5]) {
                self.any_world().borrow_mut().connect();
            }
            let after = self.random.pick(&[AfterDrain::Leave, AfterDrain::Leave, AfterDrain::End]);
            let plan = DrainPlan::configured(&self.config, after);
            let order = DrainOrder::new(plan, self.several.outsides.len(), 9);
            self.several.is_to_end(Some(&Arc::new(order)));
            self.drain();
        } else {
            // At once, in the middle of everything.
            self.several.is_to_end(None);
            self.several.step();
        }
        self.several.end();
        self.check_missed();
        self.check_limits();
        self.check_lines();
        let books = self.books.lock().expect("nobody panicked");
        assert_eq!(books.opened, books.closed, "each open has one close");
        assert_eq!(books.sources, books.given_up, "each source is given up once");
        // Not each source is begun: some are for a head alone, or find no room.
        let opened = books.opened..=books.opened + books.sources;
        let counted = self.several.counters().opened;
        assert!(opened.contains(&counted), "{counted} opens were counted, {opened:?} seen");
    }

    /// What clients missed though they read was left out by a policy, and counted.
    fn check_missed(&self) {
        let ledger = self.plan.ledger.borrow();
        ledger.check_repeats();
        for (shard, missed) in &ledger.missed {
            let counted = self.several.outsides[*shard].counters();
            let left_out = counted.slow_dropped_newest
                + counted.slow_dropped_oldest
                + counted.slow_conflated
                + counted.recovery_left_out;
            assert!(*missed <= left_out, "{missed} were missed, {left_out} left out");
        }
    }

    /// Nobody was slowed or let go who stayed below what its route allows.
    fn check_limits(&self) {
        let [few_messages, few_bytes, short] = self.scants;
        let slowed = self.several.counters().clients_slowed;
        assert!(slowed == 0 || few_messages || few_bytes, "{slowed} were slowed below all limits");
        for outside in &self.several.outsides {
            let vitals = outside.panel.vitals.load();
            let ends = |reason: EndReason| vitals.ends[reason as usize];
            assert_eq!(ends(EndReason::OverRate) + ends(EndReason::Silent), 0);
            let refused = |ground: &Ground| vitals.refusals[*ground as usize];
            let crowds = [Ground::GatewayFull, Ground::RouteFull, Ground::AddressFull];
            let refused: u64 = crowds.iter().chain([&Ground::UserFull]).map(refused).sum();
            assert!(refused == 0 || self.is_crowded, "{refused} were refused though there is room");
            let gone = ends(EndReason::Lifetime) + ends(EndReason::Idle);
            assert!(gone == 0 || short, "{gone} were let go though they may stay");
        }
    }

    /// The access log says what was counted.
    fn check_lines(&mut self) {
        let Some(lines) = &mut self.lines else { return };
        let refusals = self.several.outsides.iter().map(|outside| {
            let vitals = outside.panel.vitals.load();
            vitals.refusals.iter().chain(&vitals.proxy_refusals).sum::<u64>()
        });
        lines.check(&self.several.counters(), refusals.sum());
    }

    fn serve(&mut self, clients: usize) {
        let mut left = clients;
        let mut rest = Rest::default();
        while self.several.turns() < STEPS {
            if left > 0 && self.random.chance(100) {
                self.any_world().borrow_mut().connect();
                left -= 1;
            }
            self.turn();
            self.come_to_rest(&mut rest);
            if left == 0 && self.several.is_quiet() && self.several.is_deserted() {
                return self.empties();
            }
        }
    }

    /// A turn of one shard, and a moment of the outside.
    fn turn(&mut self) {
        self.several.step();
        self.crowds_come();
        self.publisher.act(&Sights(&self.several.outsides));
        self.decider.act(self.several.turns());
        self.verifier.act(self.several.turns());
        self.drainer.act(&self.several);
        self.reloader.act(&self.several);
        self.revoker.act(&self.several);
        let rests = self.plan.ledger.borrow().hushed;
        self.renewer.act(&self.several, rests);
        self.lines.iter_mut().for_each(LineReader::act);
    }

    /// What many do at once.
    fn crowds_come(&mut self) {
        let turns = self.several.turns();
        let is_now = |at: &mut usize| *at <= turns;
        let worlds = || self.several.outsides.iter().map(|outside| outside.world.borrow_mut());
        if self.plan.reconnect_at.take_if(is_now).is_some() {
            worlds().for_each(|mut world| world.reconnect());
        }
        if self.plan.half_heads_at.take_if(is_now).is_some() {
            let count = self.random.between(1, 30);
            worlds().for_each(|mut world| world.half_heads(count));
        }
    }

    /// After a while nobody publishes any more. Once all of it has arrived, everybody looks whether
    /// they have heard it all, and leaves.
    fn come_to_rest(&mut self, rest: &mut Rest) {
        let turns = self.several.turns();
        if turns > HUSHED_AT && !self.plan.ledger.borrow().hushed {
            self.plan.ledger.borrow_mut().hushed = true;
            self.several.attend_to_all();
        }
        let is_over = self.plan.ledger.borrow().over;
        if turns <= HUSHED_AT || is_over {
            return;
        }
        let now = self
            .several
            .rest()
            .filter(|_| self.publisher.is_answered(&Sights(&self.several.outsides)))
            .filter(|_| self.renewer.is_answered());
        if now.is_none() || rest.mail != now {
            *rest = Rest { mail: now, since: turns };
        }
        if turns - rest.since > REST {
            self.several.outsides.iter().for_each(|one| one.world.borrow_mut().check_complete());
        }
        let is_over = turns - rest.since > REST || turns > OVER_AT;
        self.plan.ledger.borrow_mut().over = is_over;
    }

    fn any_world(&mut self) -> Rc<RefCell<World>> {
        let outsides = &self.several.outsides;
        Rc::clone(&outsides[self.random.below(outsides.len())].world)
    }

    /// After the last client has left, the shards are soon as they were at the start.
    fn empties(&mut self) {
        let (from, began) = (self.several.turns(), self.several.at_work());
        while self.is_soon(from, &began, DEADLINES) {
            if self.several.is_empty()
                && self.publisher.is_answered(&Sights(&self.several.outsides))
            {
                self.emptied = true;
                assert!(self.reloader.census.is_empty(), "somebody is counted though all are gone");
                return self.is_forgotten();
            }
            self.turn();
        }
        panic!("a shard still holds something of a connection");
    }

    /// Whether it is soon after so many turns, when the shards' clocks stood so. A shard that is
    /// disturbed all the time, or sleeps while others do not, has short turns or few of them: there
    /// is time until each has been at work for as long as it may wait for.
    fn is_soon(&self, from: usize, began: &[Duration], longest: Duration) -> bool {
        let turns = self.several.turns() - from;
        let clocks = self.several.at_work();
        let had_time = clocks.iter().zip(began).all(|(now, began)| *now - *began > longest);
        turns < 20_000 || (!had_time && turns < 1_000_000)
    }

    /// Once histories are too old and nobody may come back, nothing is left of what was published.
    fn is_forgotten(&mut self) {
        self.plan.ledger.borrow_mut().hushed = true;
        self.several.attend_to_all();
        let (from, began) = (self.several.turns(), self.several.at_work());
        let mut left = Vec::new();
        while self.is_soon(from, &began, HISTORIES) {
            left = self.several.counters().named().to_vec();
            left.retain(|(name, count)| seeds::is_of_the_hub_now(name) && *count > 0);
            left.extend([("memory", self.publisher.door.memory().used())]);
            left.retain(|(_, count)| *count > 0);
            if left.is_empty() {
                assert!(self.several.knows_nobody(), "somebody is known though all are gone");
                return;
            }
            self.turn();
        }
        panic!("left though all are gone: {left:?}");
    }

    fn drain(&mut self) {
        let began = self.several.at_work();
        for step in 0.. {
            if self.several.has_ended() {
                return;
            }
            let may_last = self.several.sends_bodies() && self.several.has_time(&began, DRAIN);
            assert!(step < DRAIN_STEPS || may_last, "the drain does not end");
            self.several.step();
        }
    }
}

/// The same where clients are counted by all that there is: they may come to be.
fn counting(config: &Config) -> Config {
    let some = Some(100_000);
    let mut config = config.clone();
    (config.clients.connections, config.clients.per_address) = (some, some);
    config
}

/// Whether some route has such limits of its clients.
fn has_limits(config: &Config, limits: &str) -> bool {
    let text = format!("[[route]]\npath = '/'\nhandler = 'echo'\n{limits}");
    let limited = Config::parse(&text, "limits").expect("right").routes[0].client;
    config.routes.iter().any(|route| route.client == limited)
}

fn outside(seed: u64, config: &Config, waker: Waker, plan: Plan) -> Outside {
    let limits = &config.limits;
    let server = Server {
        slots: limits.slots(),
        buffer_size: limits.receive_buffer as usize,
        compresses: config.listeners[0].stack.websocket.deflate.is_some(),
        waker: waker.clone(),
        plan,
    };
    let mut world = World::new(seed, server);
    // Only a pool that cannot hold what one turn sends may cost those something who read.
    world.disturbed |= !holds_a_turn(limits);
    // With few places for handshakes, whoever holds one and does not go on gives way.
    world.disturbed |= limits.handshakes < Limits::default().handshakes;
    Outside::new(world, Arc::default(), waker)
}

/// Whether the blocks that are reserved for sending hold all that one turn of a shard may send.
fn holds_a_turn(limits: &Limits) -> bool {
    let turn = limits.staging + u32::from(limits.receive_buffers) * limits.receive_buffer;
    limits.blocks / 16 * 3 >= turn
}

/// What both listeners shake hands with.
fn tls_servers(transport: &Transport) -> TlsServers {
    let Transport::Tls(tls) = transport else { return TlsServers::default() };
    TlsServers::new(vec![Some(Arc::clone(&tls.server)); 3])
}

/// More than anybody sends, and longer than any run lasts: who sends more would be closed.
const AMPLE: &str = "message_rate = 1000000\nbyte_rate = '1GiB'\nover_rate = 'close'\n\
     max_frames = 100000\nlifetime = '720h'\nfirst_message = '720h'\nidle = '720h'\n";

/// So little that clients wait, or are let go.
const SCANT: [&str; 3] = [
    "message_rate = 300\nmessage_burst = 5\n",
    "byte_rate = '32KiB'\nbyte_burst = '4KiB'\n",
    "lifetime = '4s'\nidle = '3s'\n",
];

/// So few connections on a route, or altogether, that clients are refused.
const CROWDED: [&str; 2] = ["connections = 3\n", "[clients]\nconnections = 8\n"];

/// More than there are.
const ROOMY: &str = "[clients]\nconnections = 100000\nconnections_per_address = 100000\n\
     connections_per_user = 100000\n";

/// How many connections there may be of whom, and whether these are few.
fn crowds(random: &mut Random, plan: &Plan) -> &'static str {
    let limits = random.pick(&["", ROOMY, ROOMY, CROWDED[1]]);
    if plan.trickles && limits == CROWDED[1] { ROOMY } else { limits }
}

/// Whether so few connections may be there that clients are refused.
fn is_crowded(config: &Config) -> bool {
    config.clients.connections == Some(8)
        || config.routes.iter().any(|route| route.client.connections == Some(3))
}

/// What clients of a route may send, and how long they may stay. Who does all as late as may be is
/// not kept waiting besides.
fn client_limits(random: &mut Random, plan: &Plan) -> &'static str {
    let limits = random.pick(&["", "", AMPLE, SCANT[0], SCANT[1], SCANT[2], CROWDED[0]]);
    if plan.trickles && !limits.is_empty() { AMPLE } else { limits }
}

/// Small limits, so that they are met.
fn config(random: &mut Random, deflate: bool, plan: &Plan) -> Config {
    let connections = random.pick(&[16, 64]);
    let buffers = random.pick(&[8, 16]);
    let buffer = random.pick(&[1024, 4096]);
    let deflate = if deflate { "on" } else { "off" };
    let log = random.pick(&["log!", ""]);
    let mut text = format!(
        "drain = '20s'\nmemory = '1GiB'\n\
         [limits]\nconnections = {connections}\nreceive_buffers = {buffers}\n\
         receive_buffer = {buffer}\nstaging = '16KiB'\nblocks = '1MiB'\nrequest_head = 1024\n"
    );
    for port in [1, LINES_PORT] {
        text += &format!(
            "[[listener]]\naddress = '127.0.0.1:{port}'\n\
             stack = '{log}ws?ping=3s&pong=2s&close=2s&head=4s&decision=2s&stall=5s&message=3s\
             &deflate={deflate}!{log}tcp'\n"
        );
    }
    text += crowds(random, plan);
    text += &format!("[hub]\nmailbox = {}\n", random.pick(&[16, 16, 1024]));
    let others = [("/", "static"), (bodies::PATH, "echo")];
    for (path, handler) in Behaviour::ALL.map(|one| (one.path(), "echo")).into_iter().chain(others)
    {
        let slow_peer = random.pick(&["pause", "close"]);
        let undecided = random.pick(&[1000, 1000, 2]);
        text += &format!(
            "[[route]]\npath = '{path}'\nhandler = '{handler}'\nmax_message = {}\n\
             max_buffered_message = {}\nbacklog = '16KiB'\nslow_peer = '{slow_peer}'\n\
             undecided = {undecided}\n{}",
            model::MAX_MESSAGE,
            model::MAX_BUFFERED,
            client_limits(random, plan)
        );
    }
    text += &bearer::config(&format!(
        "max_message = {}\nmax_buffered_message = {}\nbacklog = '16KiB'\n",
        model::MAX_MESSAGE,
        model::MAX_BUFFERED
    ));
    text += &plan.config(random);
    let mut config = Config::parse(&text, "simulation").unwrap_or_else(|errors| panic!("{errors}"));
    // Less than a file may say, so that bounds are met.
    config.limits.blocks =
        random.pick(&[BLOCKS, BLOCKS, 512 << 10, 224 << 10, 160 << 10, 64 << 10, 16 << 10]);
    config.limits.heavy_input = random.pick(&[256 << 10, 256 << 10, 3000, 1]);
    if let Transport::Tls(_) = plan.transport {
        // A record has to fit.
        config.limits.receive_buffer = Limits::default().receive_buffer;
        config.limits.handshakes = random.pick(&[1, 3, 1000]);
        for listener in &mut config.listeners {
            let handshake = Duration::from_secs(4);
            listener.stack.tls = Some(TlsLayer { handshake, ..TlsLayer::default() });
        }
    }
    if plan.is_proxied {
        for listener in &mut config.listeners {
            listener.stack.proxy = Some(proxied::layer());
        }
    }
    (config.limits.tokens, config.limits.permissions) = plan.token_bytes;
    config.hub.topics = random.pick(&[64, 64, 64, 3, 2]);
    config.hub.subscriptions = random.pick(&[1000, 1000, 1000, 20]);
    config.hub.present = random.pick(&[64, 64, 1]);
    config.hub.queued = Some(random.pick(&[4096, 4096, 10]));
    config.hub.messages = random.pick(&[4 << 20, 4 << 20, 4 << 20, 20_000]);
    (config.hub.idempotency_keys, config.hub.idempotency_age) = plan.keys;
    config
}
