//! Whole shards under a simulated kernel, from one seed each.
//!
//! `TIDEGATE_SEED=n` runs one seed, twice, and compares the traces; `TIDEGATE_SEEDS=n` runs so many,
//! `TIDEGATE_SEEDS=m..n` those from `m` on and below `n`.

mod chances;
mod directed;
mod handlers;
mod hearing;
mod model;
mod peer;
mod random;
mod ring;
mod script;
mod seeds;
mod watch;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tidegate::budget::Bill;
use tidegate::config::Config;
use tidegate::hub::{self, Node, Seed};
use tidegate::shard::{self, Assembly, Command, Control, Counters, Shard};
use tidegate::uring::Waker;

use handlers::{Behaviour, Books};
use random::Random;
use ring::SimRing;
use world::World;

/// Turns of the loop in which all clients come and go.
const STEPS: usize = 3000;

/// Turns after which a drain has to be over.
const DRAIN_STEPS: usize = 200_000;

/// A pool of blocks, in bytes, that is enough for everyone.
const BLOCKS: u32 = 1 << 20;

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The hash of everything that happened.
    trace: u64,
    /// Clients that were promised all of their answers, and got them.
    served: u64,
    /// All clients went, and left the shard as it was at the start.
    emptied: bool,
    counters: Counters,
}

/// A shard, and the world around it.
struct Scene {
    shard: Shard<SimRing>,
    world: Rc<RefCell<World>>,
    control: Arc<Control>,
    waker: Waker,
    books: Arc<Mutex<Books>>,
    bill: Bill,
}

#[test]
fn simulation_of_one_shard() {
    seeds::run_all(run);
}

/// One run: clients come, the shard serves and is drained or stopped.
fn run(seed: u64) -> Outcome {
    let mut random = Random::new(!seed);
    let scene = Scene::new(seed, &mut random);
    let (world, control) = (Rc::clone(&scene.world), Arc::clone(&scene.control));
    let lived = catch_unwind(AssertUnwindSafe(|| scene.play(&mut random)));
    if let Err(panic) = lived {
        // The panic may have come out of the world itself.
        if let Ok(world) = world.try_borrow() {
            eprintln!("seed {seed}: {}", world.describe());
        }
        let counted = control.counters.load().named();
        let counted: Vec<_> = counted.iter().filter(|(_, count)| *count > 0).collect();
        eprintln!("seed {seed}: {counted:?}");
        resume_unwind(panic);
    }
    let world = Rc::into_inner(world).expect("the shard has dropped its end").into_inner();
    let counters = control.counters.load();
    Outcome { trace: world.trace, served: world.served, emptied: world.emptied, counters }
}

impl Scene {
    fn new(seed: u64, random: &mut Random) -> Self {
        let deflate = random.chance(500);
        let config = Arc::new(config(random, deflate));
        let limits = config.limits;
        let mut world =
            World::new(seed, limits.connections, limits.receive_buffer as usize, deflate);
        // Without a block for the rest of a short send, a connection is dropped.
        world.disturbed |= limits.blocks < BLOCKS;
        let world = Rc::new(RefCell::new(world));
        let control = Arc::new(Control::default());
        let waker = Waker::new().expect("a descriptor");
        let books = Arc::new(Mutex::new(Books::default()));
        let bill = Bill::new(&config, 1);
        let recorded = Arc::clone(&books);
        let identity = (Node { number: 0, start: 1 }, Seed([1, 2]));
        let (mut hubs, _) = hub::open(&config, identity, std::slice::from_ref(&waker));
        let assembly = Assembly {
            index: 0,
            hub: hubs.pop().expect("one shard"),
            started_at: 1_700_000_000,
            config,
            listeners: Vec::new(),
            waker: waker.clone(),
            control: Arc::clone(&control),
            handlers: Arc::new(move |route| handlers::recorded(route, &recorded)),
        };
        let memory = shard::memory(&limits).expect("memory");
        let shard = Shard::new(SimRing(Rc::clone(&world)), memory, assembly);
        Self { shard, world, control, waker, books, bill }
    }

    fn play(mut self, random: &mut Random) {
        let clients = random.pick(&[1, 3, 10, 40, 80]);
        self.serve(clients);
        self.world.borrow_mut().disturbed = true;
        if random.chance(900) {
            self.tell(Command::Drain);
            self.drain();
        } else {
            // At once, in the middle of everything.
            self.tell(Command::Stop);
            assert!(!self.step(), "a shard that is stopped goes on");
        }
        self.shard.end();
        let books = self.books.lock().expect("nobody panicked");
        assert_eq!(books.opened, books.closed, "each open has one close");
        assert_eq!(books.opened, self.control.counters.load().opened, "opens that were counted");
    }

    fn tell(&self, command: Command) {
        self.control.tell(command, &self.waker);
        let mut world = self.world.borrow_mut();
        world.drains = true;
        world.woken = true;
    }

    /// One turn of the loop, and all checks behind it.
    fn step(&mut self) -> bool {
        let goes_on = self.shard.step().expect("a ring that works");
        self.shard.check();
        let lent = self.shard.buffers().lent() as usize;
        assert_eq!(lent, self.world.borrow().buffers(), "buffers that the kernel has");
        for (owner, held) in self.shard.holdings() {
            let line = self.bill.lines().iter().find(|line| line.owner == owner);
            let allowed = line.map_or(0, |line| line.bytes);
            assert!(held <= allowed, "{owner}: {held} bytes held, {allowed} on the bill");
        }
        goes_on
    }

    fn serve(&mut self, clients: usize) {
        let mut left = clients;
        for _ in 0..STEPS {
            if left > 0 && self.world.borrow_mut().random.chance(100) {
                self.world.borrow_mut().connect();
                left -= 1;
            }
            assert!(self.step(), "nobody told it to end");
            if left == 0 && self.world.borrow().is_quiet() && self.shard.live() == 0 {
                return self.empties();
            }
        }
    }

    /// After the last client has left, the shard is soon as it was at the start.
    fn empties(&mut self) {
        for _ in 0..1000 {
            if self.shard.is_empty() {
                self.world.borrow_mut().emptied = true;
                return;
            }
            self.step();
        }
        panic!("the shard still holds something of a connection");
    }

    fn drain(&mut self) {
        for _ in 0..DRAIN_STEPS {
            if !self.step() {
                return;
            }
        }
        panic!("the drain does not end");
    }
}

/// Small limits, so that they are met.
fn config(random: &mut Random, deflate: bool) -> Config {
    let connections = random.pick(&[16, 64]);
    let buffers = random.pick(&[8, 16]);
    let buffer = random.pick(&[1024, 4096]);
    let deflate = if deflate { "on" } else { "off" };
    let log = random.pick(&["log!", ""]);
    let mut text = format!(
        "drain = '20s'\nmemory = '1GiB'\n\
         [limits]\nconnections = {connections}\nreceive_buffers = {buffers}\n\
         receive_buffer = {buffer}\nstaging = '16KiB'\nblocks = '1MiB'\nrequest_head = 1024\n\
         [[listener]]\naddress = '127.0.0.1:1'\n\
         stack = '{log}ws?ping=3s&pong=2s&close=2s&head=4s&stall=5s&message=3s\
         &deflate={deflate}!{log}tcp'\n\
"
    );
    let page = ("/", "static");
    for (path, handler) in Behaviour::ALL.map(|one| (one.path(), "echo")).into_iter().chain([page])
    {
        let slow_peer = random.pick(&["pause", "close"]);
        text += &format!(
            "[[route]]\npath = '{path}'\nhandler = '{handler}'\nmax_message = {}\n\
             max_buffered_message = {}\nbacklog = '16KiB'\nslow_peer = '{slow_peer}'\n",
            model::MAX_MESSAGE,
            model::MAX_BUFFERED
        );
    }
    let mut config = Config::parse(&text, "simulation").unwrap_or_else(|errors| panic!("{errors}"));
    // Less than a file may say, so that the pool runs empty.
    config.limits.blocks = random.pick(&[BLOCKS, BLOCKS, BLOCKS, BLOCKS, 64 << 10, 16 << 10]);
    config
}
