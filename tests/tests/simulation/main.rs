//! Whole shards under a simulated kernel, from one seed each.
//!
//! `TIDEGATE_SEED=n` runs one seed, twice, and compares the traces; `TIDEGATE_SEEDS=n` runs so many.

mod peer;
mod random;
mod reference;
mod ring;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use tidegate::config::Config;
use tidegate::shard::{self, Assembly, Command, Control, Shard};
use tidegate::uring::Waker;

use ring::{SimRing, World};

/// How many seeds run if nothing else is asked for.
const SEEDS: u64 = 2000;

/// Turns of the loop in which all clients come and go.
const STEPS: usize = 3000;

/// Turns after which a drain has to be over.
const DRAIN_STEPS: usize = 200_000;

#[test]
fn simulation_of_one_shard() {
    if let Some(seed) = number("TIDEGATE_SEED") {
        let first = run(seed);
        let again = run(seed);
        println!("seed {seed}: trace {first:016x}");
        assert_eq!(first, again, "seed {seed} does not replay");
        return;
    }
    for seed in 0..number("TIDEGATE_SEEDS").unwrap_or(SEEDS) {
        if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
            panic!("seed {seed} failed: TIDEGATE_SEED={seed} replays it");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One run: clients come, the shard serves and is drained; returns the hash of the trace.
fn run(seed: u64) -> u64 {
    let mut random = random::Random::new(!seed);
    let config = Arc::new(config(&mut random));
    let limits = config.limits;
    let world = World::new(seed, limits.connections, limits.receive_buffer as usize);
    let world = Rc::new(RefCell::new(world));
    let control = Arc::new(Control::default());
    let waker = Waker::new().expect("a descriptor");
    let assembly = Assembly {
        index: 0,
        config,
        listeners: Vec::new(),
        waker: waker.clone(),
        control: Arc::clone(&control),
        handlers: Arc::new(|_| None),
    };
    let memory = shard::memory(&limits).expect("memory");
    let mut shard = Shard::new(SimRing(Rc::clone(&world)), memory, &assembly);
    let clients = random.pick(&[1, 3, 10, 40]);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        serve(&mut shard, &world, clients);
        control.tell(Command::Drain, &waker);
        world.borrow_mut().woken = true;
        // A client that is too slow for the closing handshake's deadline is cut off.
        world.borrow_mut().disturbed = true;
        drain(&mut shard, &world);
    }));
    if let Err(panic) = lived {
        // The panic may have come out of the world itself.
        if let Ok(world) = world.try_borrow() {
            eprintln!("{}", world.describe());
        }
        let counted = control.counters.load().named();
        let counted: Vec<_> = counted.iter().filter(|(_, count)| *count > 0).collect();
        eprintln!("{counted:?}");
        resume_unwind(panic);
    }
    drop(shard);
    Rc::into_inner(world).expect("the shard has dropped its end").into_inner().trace
}

fn serve(shard: &mut Shard<SimRing>, world: &RefCell<World>, clients: usize) {
    let mut left = clients;
    for _ in 0..STEPS {
        if left > 0 && world.borrow_mut().random.chance(100) {
            world.borrow_mut().connect();
            left -= 1;
        }
        assert!(shard.step().expect("a ring that works"), "nobody told it to end");
        shard.check();
        if left == 0 && world.borrow().is_quiet() && shard.live() == 0 {
            return empties(shard);
        }
    }
}

/// After the last client has left, the shard is soon as it was at the start.
fn empties(shard: &mut Shard<SimRing>) {
    for _ in 0..1000 {
        if shard.is_empty() {
            return;
        }
        shard.step().expect("a ring that works");
    }
    panic!("the shard still holds something of a connection");
}

fn drain(shard: &mut Shard<SimRing>, world: &RefCell<World>) {
    for _ in 0..DRAIN_STEPS {
        let goes_on = shard.step().expect("a ring that works");
        shard.check();
        if !goes_on {
            return;
        }
    }
    panic!("the drain does not end: {}", world.borrow().describe());
}

/// Small limits, so that they are met.
fn config(random: &mut random::Random) -> Config {
    let connections = random.pick(&[16, 64]);
    let buffers = random.pick(&[8, 16]);
    let buffer = random.pick(&[1024, 4096]);
    let slow_peer = random.pick(&["pause", "close"]);
    let deflate = random.pick(&["on", "off"]);
    let text = format!(
        "drain = '20s'\nmemory = '1GiB'\n\
         [limits]\nconnections = {connections}\nreceive_buffers = {buffers}\n\
         receive_buffer = {buffer}\nstaging = '16KiB'\nblocks = '1MiB'\nrequest_head = 1024\n\
         [[listener]]\naddress = '127.0.0.1:1'\n\
         stack = 'ws?ping=3s&pong=2s&close=2s&head=4s&stall=5s&deflate={deflate}!tcp'\n\
         [[route]]\npath = '/echo'\nhandler = 'echo'\nmax_message = {}\n\
         max_buffered_message = 4096\nbacklog = '16KiB'\nslow_peer = '{slow_peer}'\n",
        peer::MAX_MESSAGE
    );
    Config::parse(&text, "simulation").unwrap_or_else(|errors| panic!("{errors}"))
}
