//! A load of echoes: connections that stay open, and are let loose for a while again and again.
//!
//! Each run begins and ends at rest, with no message under way. So what the server's process has
//! used of the CPU between is for the messages of that run, all of them and nothing else.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::latency::{Histogram, histogram};
use crate::peer::{self, Peer};
use crate::process::CpuTime;
use crate::runtime;
use crate::server::Server;
use crate::target::Target;
use crate::ticks::Ticks;

/// How long the last echoes of a run may take when it is over.
const GRACE: Duration = Duration::from_secs(10);

/// The shortest time between looks at what is due in an open loop: what is due in between is that
/// much late.
const TICK_MIN: Duration = Duration::from_micros(50);

/// The longest: an open loop ends no later than that after its time.
const TICK_MAX: Duration = Duration::from_millis(5);

/// Connections of a thread that are opening at once: over TLS each waits for the server three
/// times.
const WINDOW: usize = 64;

/// What the connections are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many, spread over the threads.
    pub connections: usize,
    /// Payload of a message, in bytes.
    pub size: usize,
    /// Threads, pinned from the last core down.
    pub threads: usize,
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each connection sends as soon as it has the echo of its last message: a closed loop.
    Closed,
    /// So many per second at equal distances, whether or not the server keeps up: an open loop. A
    /// message goes to a connection that has nothing under way, and waits for one if it has to.
    Open(f64),
}

/// Connections to one server, and the threads that drive them. They close with this value.
#[derive(Debug)]
pub struct Load {
    drivers: Vec<Driver>,
    pid: Option<u32>,
}

/// A thread, and the way to it.
#[derive(Debug)]
struct Driver {
    /// Which part of the connections it has.
    part: f64,
    /// Ends the thread when it is dropped.
    orders: Option<Sender<Order>>,
    outcomes: Receiver<io::Result<Tally>>,
    thread: Option<JoinHandle<()>>,
}

/// Run for so long, at such a pace.
type Order = (Duration, Pace);

/// What one run did.
#[derive(Debug)]
pub struct Run {
    /// From the first message to the last echo.
    pub time: Duration,
    /// What was seen.
    pub tally: Tally,
    /// CPU that the server used, if its process is known.
    pub server: Option<CpuTime>,
    /// CPU that this process used.
    pub generator: CpuTime,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Messages that were sent and came back.
    pub messages: u64,
    /// From when a message was to be sent to when its echo was checked: in a closed loop, from
    /// before it is put together.
    pub latency_ns: Histogram,
    /// How long after its time a message was sent that had a connection waiting for it: the load
    /// generator's own delay. Open loop only.
    pub lateness_ns: Histogram,
    /// Messages of an open loop whose time had come, and that were not sent in the end because all
    /// connections were waiting for echoes.
    pub unsent: u64,
}

impl Load {
    /// Opens the connections.
    ///
    /// # Errors
    /// The server is not there or does not want one of them, or there are too many for this
    /// process.
    pub fn open(server: &Server, shape: Shape) -> io::Result<Self> {
        if shape.threads == 0 || shape.threads > shape.connections {
            let Shape { connections, threads, .. } = shape;
            let why = format!("{threads} threads for {connections} connections");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let drivers = (0..shape.threads).map(|index| Driver::start(index, &server.target, shape));
        let drivers: Vec<_> = drivers.collect();
        for driver in &drivers {
            driver.outcome()?;
        }
        Ok(Self { drivers, pid: server.pid })
    }

    /// Lets all connections send messages for `time`, and waits for the last echo.
    ///
    /// # Errors
    /// A connection broke, or its echo was not what was sent or did not come. The load is of no
    /// further use.
    pub fn run(&self, time: Duration, pace: Pace) -> io::Result<Run> {
        let used = || -> io::Result<_> {
            Ok((self.pid.map(CpuTime::of).transpose()?, CpuTime::of(std::process::id())?))
        };
        let (server_before, generator_before) = used()?;
        let started = Instant::now();
        for driver in &self.drivers {
            driver.order((time, pace.of(driver.part)))?;
        }
        let mut tally = Tally::new();
        for driver in &self.drivers {
            tally.add(&driver.outcome()?);
        }
        let time = started.elapsed();
        let (server_after, generator_after) = used()?;
        let server = server_after.zip(server_before).map(|(after, before)| after - before);
        Ok(Run { time, tally, server, generator: generator_after - generator_before })
    }
}

impl Pace {
    /// The pace of so large a part of the connections.
    fn of(self, part: f64) -> Self {
        match self {
            Self::Closed => Self::Closed,
            Self::Open(rate) => Self::Open(rate * part),
        }
    }
}

impl Driver {
    fn start(index: usize, target: &Target, shape: Shape) -> Self {
        let (orders, ordered) = channel();
        let (done, outcomes) = channel();
        let target = target.clone();
        let drive = move || {
            let drive = drive(&target, shape, index, (&ordered, &done));
            if let Err(error) = runtime::run(index, drive) {
                // The receiver is gone only when nobody wants to know any more.
                let _ = done.send(Err(error));
            }
        };
        let part = shape.share(index) as f64 / shape.connections as f64;
        Self { part, orders: Some(orders), outcomes, thread: Some(thread::spawn(drive)) }
    }

    fn order(&self, order: Order) -> io::Result<()> {
        let orders = self.orders.as_ref().expect("it is taken on drop only");
        orders.send(order).map_err(|_| self.ended())
    }

    /// What the thread says next.
    fn outcome(&self) -> io::Result<Tally> {
        self.outcomes.recv().unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> io::Error {
        io::Error::other("a load thread has ended after an error")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already seen as its end.
            let _ = thread.join();
        }
    }
}

/// A load thread: opens its share of the connections, says so, and does as ordered.
async fn drive(
    target: &Target,
    shape: Shape,
    index: usize,
    (orders, outcomes): (&Receiver<Order>, &Sender<io::Result<Tally>>),
) -> io::Result<()> {
    let message = peer::message(shape.size)?;
    let peers = open(target, shape.share(index)).await?;
    let team = Rc::new(Team { message, idle: RefCell::new(peers), tally: Tally::cell() });
    // Nobody listens any more: the load was dropped.
    let _ = outcomes.send(Ok(Tally::new()));
    // Nothing is under way on this thread while it waits here.
    while let Ok((time, pace)) = orders.recv() {
        match pace {
            Pace::Closed => closed_loop(&team, time).await?,
            Pace::Open(rate) => open_loop(&team, time, rate).await?,
        }
        let _ = outcomes.send(Ok(team.tally.replace(Tally::new())));
    }
    Ok(())
}

/// Opens `count` connections.
async fn open(target: &Target, count: usize) -> io::Result<VecDeque<Peer>> {
    let (mut peers, mut opening) = (VecDeque::new(), VecDeque::new());
    for _ in 0..count {
        if opening.len() == WINDOW {
            let first: monoio::task::JoinHandle<_> = opening.pop_front().expect("it is full");
            peers.push_back(first.await?);
        }
        let target = target.clone();
        opening.push_back(monoio::spawn(async move { Peer::open(&target).await }));
    }
    for rest in opening {
        peers.push_back(rest.await?);
    }
    Ok(peers)
}

impl Shape {
    /// How many connections are those of thread `index`.
    fn share(self, index: usize) -> usize {
        let Self { connections, threads, .. } = self;
        connections / threads + usize::from(index < connections % threads)
    }
}

/// The connections of a thread and what they have in common.
struct Team {
    message: Rc<[u8]>,
    /// Those that have nothing under way; the one that has been longest so is in front.
    idle: RefCell<VecDeque<Peer>>,
    tally: RefCell<Tally>,
}

/// Echoes under way.
type Tasks = VecDeque<monoio::task::JoinHandle<io::Result<()>>>;

async fn closed_loop(team: &Rc<Team>, time: Duration) -> io::Result<()> {
    let end = Instant::now() + time;
    let peers = team.idle.take();
    let each = |peer| monoio::spawn(Rc::clone(team).echo_until(peer, end));
    finish(peers.into_iter().map(each).collect(), end).await
}

async fn open_loop(team: &Rc<Team>, time: Duration, rate: f64) -> io::Result<()> {
    let mut ticks = Ticks::every(Duration::from_secs_f64(1.0 / rate).clamp(TICK_MIN, TICK_MAX))?;
    let start = Instant::now();
    let end = start + time;
    let due = |number: u64| start + Duration::from_secs_f64(number as f64 / rate);
    let (mut number, mut tasks) = (0, Tasks::new());
    // Messages before this one had to wait for a connection.
    let mut kept_waiting = 0;
    loop {
        let now = Instant::now();
        while due(number) <= now.min(end) {
            let Some(peer) = team.next_idle() else {
                kept_waiting = number + 1;
                break;
            };
            let has_waited = number < kept_waiting;
            let echo = Rc::clone(team).echo_once(peer, due(number), has_waited);
            tasks.push_back(monoio::spawn(echo));
            number += 1;
        }
        if now >= end {
            break;
        }
        while tasks.front().is_some_and(monoio::task::JoinHandle::is_finished) {
            tasks.pop_front().expect("it was looked at").await?;
        }
        ticks.next().await?;
    }
    let all = (time.as_secs_f64() * rate) as u64;
    team.tally.borrow_mut().unsent += all.saturating_sub(number);
    finish(tasks, end).await
}

/// Waits for the tasks of a run that is over at `end`.
async fn finish(tasks: Tasks, end: Instant) -> io::Result<()> {
    let rest = end.saturating_duration_since(Instant::now());
    let until = monoio::time::Instant::now() + rest + GRACE;
    for task in tasks {
        monoio::time::timeout_at(until, task).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "an echo did not come within ten seconds")
        })??;
    }
    Ok(())
}

impl Team {
    fn next_idle(&self) -> Option<Peer> {
        self.idle.borrow_mut().pop_front()
    }

    async fn echo_until(self: Rc<Self>, mut peer: Peer, end: Instant) -> io::Result<()> {
        let mut started = Instant::now();
        while started < end {
            peer.echo(&self.message).await?;
            let now = Instant::now();
            self.tally.borrow_mut().record(now - started);
            started = now;
        }
        self.idle.borrow_mut().push_back(peer);
        Ok(())
    }

    async fn echo_once(
        self: Rc<Self>,
        mut peer: Peer,
        due: Instant,
        has_waited: bool,
    ) -> io::Result<()> {
        if !has_waited {
            self.tally.borrow_mut().late(due.elapsed());
        }
        peer.echo(&self.message).await?;
        self.tally.borrow_mut().record(due.elapsed());
        self.idle.borrow_mut().push_back(peer);
        Ok(())
    }
}

impl Tally {
    fn new() -> Self {
        Self { messages: 0, latency_ns: histogram(), lateness_ns: histogram(), unsent: 0 }
    }

    fn cell() -> RefCell<Self> {
        RefCell::new(Self::new())
    }

    fn record(&mut self, latency: Duration) {
        self.messages += 1;
        self.latency_ns.saturating_record(latency.as_nanos() as u64);
    }

    fn late(&mut self, by: Duration) {
        self.lateness_ns.saturating_record(by.as_nanos() as u64);
    }

    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.unsent += other.unsent;
        self.latency_ns.add(&other.latency_ns).expect("all have the same bounds");
        self.lateness_ns.add(&other.lateness_ns).expect("all have the same bounds");
    }
}
