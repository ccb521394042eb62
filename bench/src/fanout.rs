//! Fan-out: one connection publishes, and all that have joined receive; the next message goes out
//! when the last subscriber has the one before.
//!
//! Subscribers that do not read can be among them. Their sockets fill up, and then what the server
//! does about it is seen in its memory, and in whether the others still get everything.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::arguments::{count, seconds, size, some_seconds};
use crate::fleet::{Delivery, Ending, Fleet, Kind};
use crate::latency::{Histogram, Latency, histogram};
use crate::peer::message;
use crate::peers;
use crate::process::{CpuTime, MemoryUse};
use crate::progress;
use crate::runtime;
use crate::server::{Choice, Server};
use crate::target::Target;

/// Where the gateway has rooms by default and when it is started here, and the peers have theirs.
const ROOMS: &str = "/rooms/";

/// One of them.
const ROOM: &str = "/rooms/bench";

/// How long nothing may come of the first message: where that goes to nobody, no other will.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Connections that open at once.
const WINDOW: usize = 256;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to measure.
    #[command(flatten)]
    pub server: Choice,
    /// Subscribers that read, the publisher among them.
    #[arg(long, default_value_t = 1000, value_parser = count)]
    pub subscribers: usize,
    /// Subscribers that never read. A socket takes some hundred KiB before a server notices: with
    /// small messages that is longer than a short measurement (see --size).
    #[arg(long, default_value_t = 0)]
    pub slow: usize,
    /// Payload of a message, in bytes.
    #[arg(long, short, default_value_t = 64, value_parser = size)]
    pub size: usize,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 5.0, value_parser = some_seconds)]
    pub seconds: f64,
    /// Messages at most.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub messages: u64,
    /// How long to do the same before, unmeasured, in seconds.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warm_up: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the server says of itself.
    pub server: String,
    /// Subscribers that read, the publisher among them.
    pub subscribers: usize,
    /// Subscribers that never read.
    pub slow: usize,
    /// Payload of a message, in bytes.
    pub size: usize,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Messages that were published.
    pub messages: u64,
    /// Messages that came to a subscriber that reads.
    pub deliveries: u64,
    /// The same per second.
    pub deliveries_per_second: f64,
    /// Messages that did not come to a subscriber that reads, within half a minute. The measurement
    /// ends with the first message that some have missed.
    pub missing: u64,
    /// Payload that each subscriber was to have, in bytes, the warm-up included: with it the slow
    /// ones were filled.
    pub published_bytes: u64,
    /// From before a message is sent to after the last subscriber has it, for those that came to
    /// all.
    pub to_the_last: Latency,
    /// What the server used, if its process is known.
    pub used: Option<ServerUse>,
    /// CPU that the load generator used, of one core: at 1, the generator is what was measured.
    pub generator_cores: f64,
}

/// What the server used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerUse {
    /// CPU in user mode, in microseconds per delivery to a subscriber that reads.
    pub user_us_per_delivery: f64,
    /// The same in kernel mode.
    pub system_us_per_delivery: f64,
    /// Both together.
    pub us_per_delivery: f64,
    /// CPU of one core.
    pub cores: f64,
    /// Resident memory when all have joined and nothing was published, in bytes.
    pub joined_bytes: u64,
    /// Resident memory at the end, with the slow subscribers still there, in bytes.
    pub resident_bytes: u64,
}

/// Measures.
///
/// # Errors
/// The server has no rooms or did not start, a connection failed, or the first message or one of
/// the warm-up did not come to all.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    has_rooms(&arguments.server)?;
    let server = Server::find(&arguments.server)?;
    let target = match arguments.server.url {
        Some(_) => server.target.clone(),
        None => server.target.at(ROOM),
    };
    let seen = runtime::aside(|| measure(arguments, &target, server.pid))?;
    Ok(Report::new(arguments, &server.description, seen))
}

/// Refuses what could not hand a message on. Of somebody else's server nothing is known.
fn has_rooms(choice: &Choice) -> io::Result<()> {
    let who = match choice.peer {
        _ if choice.url.is_some() => return Ok(()),
        Some(peer) if peer.has_rooms() => return Ok(()),
        Some(peer) => format!("{} has no rooms", peer.name()),
        None => return Ok(()),
    };
    let all = peers::Peer::value_variants().iter().filter(|peer| peer.has_rooms());
    let names = all.map(|peer| peer.name()).collect::<Vec<_>>().join(", ");
    let why = format!("{who}: leave --peer out, say one that has rooms ({names}), or --url");
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// What was seen and used while it was measured.
struct Seen {
    tally: Tally,
    published: u64,
    time: Duration,
    server: Option<Used>,
    generator: CpuTime,
}

/// Of the server.
struct Used {
    cpu: CpuTime,
    joined: MemoryUse,
    memory: MemoryUse,
}

/// Lets all join, warms up, and publishes.
fn measure(arguments: &Arguments, target: &Target, pid: Option<u32>) -> io::Result<Seen> {
    let cpu = || -> io::Result<_> {
        Ok((pid.map(CpuTime::of).transpose()?, CpuTime::of(std::process::id())?))
    };
    // Nobody drives this fleet once it is open: its connections are there and are not read from.
    let mut slow = Fleet::new(target, Kind::WebSocket, Ending::Reset)?;
    slow.open(arguments.slow, WINDOW, &mut |_| ())?;
    let mut fleet = Fleet::new(target, Kind::WebSocket, Ending::Reset)?;
    let mut bar = progress::bar(arguments.subscribers as u64, "subscribers joined");
    fleet.open(arguments.subscribers, WINDOW, &mut |count| bar.advance(count as u64))?;
    drop(bar);
    let joined = pid.map(MemoryUse::of).transpose()?;
    // Two that take turns: a message that comes twice, or late, is not the one that is waited for.
    let messages = [message(arguments.size)?, message(arguments.size)?];
    let mut publisher = Publisher { fleet, messages, published: 0 };
    let warm_up = publisher.publish_for(arguments.warm_up, arguments.messages)?;
    if warm_up.missing > 0 {
        let (missing, number) = (warm_up.missing, warm_up.messages);
        let why = format!("message {number} of the warm-up did not come to {missing} subscribers");
        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
    }
    let (server_before, generator_before) = cpu()?;
    let started = Instant::now();
    let tally = publisher.publish_for(arguments.seconds, arguments.messages)?;
    let time = started.elapsed();
    let (server_after, generator_after) = cpu()?;
    let memory = pid.map(MemoryUse::of).transpose()?;
    let server = match (server_before, server_after, joined, memory) {
        (Some(before), Some(after), Some(joined), Some(memory)) => {
            Some(Used { cpu: after - before, joined, memory })
        }
        _ => None,
    };
    let (published, generator) = (publisher.published, generator_after - generator_before);
    Ok(Seen { tally, published, time, server, generator })
}

/// Publishes one message after the other.
struct Publisher {
    fleet: Fleet,
    messages: [Rc<[u8]>; 2],
    published: u64,
}

impl Publisher {
    /// Publishes for so many seconds, and so many messages at most; ends when one does not come to
    /// all.
    fn publish_for(&mut self, seconds: f64, messages: u64) -> io::Result<Tally> {
        let started = Instant::now();
        let until = started + Duration::from_secs_f64(seconds);
        let (mut tally, mut told) = (Tally::new(), 0);
        let mut bar = progress::bar(seconds.ceil() as u64, "seconds of publishing");
        while tally.messages < messages && Instant::now() < until && tally.missing == 0 {
            let delivery = self.publish()?;
            tally.record(self.fleet.len(), delivery);
            let passed = started.elapsed().as_secs();
            bar.advance(passed - told);
            told = passed;
        }
        Ok(tally)
    }

    /// Publishes the next message.
    ///
    /// # Errors
    /// A connection failed, or this is the first message and it did not come to all.
    fn publish(&mut self) -> io::Result<Delivery> {
        let message = &self.messages[(self.published % 2) as usize];
        if self.published > 0 {
            self.published += 1;
            return self.fleet.publish(message);
        }
        let delivery = self.fleet.publish_within(message, FIRST_PATIENCE)?;
        self.published = 1;
        if delivery.missing == 0 {
            return Ok(delivery);
        }
        let (missing, all) = (delivery.missing, self.fleet.len());
        let why = format!(
            "the first message has not come to {missing} of {all} subscribers: is the path that of \
             a room, where what one sends goes to all? The gateway's default configuration has \
             rooms below {ROOMS}"
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }
}

/// What became of the messages.
struct Tally {
    messages: u64,
    deliveries: u64,
    missing: u64,
    to_the_last_ns: Histogram,
}

impl Tally {
    fn new() -> Self {
        Self { messages: 0, deliveries: 0, missing: 0, to_the_last_ns: histogram() }
    }

    fn record(&mut self, subscribers: usize, delivery: Delivery) {
        self.messages += 1;
        self.deliveries += (subscribers - delivery.missing) as u64;
        self.missing += delivery.missing as u64;
        if delivery.missing == 0 {
            self.to_the_last_ns.saturating_record(delivery.took.as_nanos() as u64);
        }
    }
}

impl Report {
    fn new(arguments: &Arguments, server: &str, seen: Seen) -> Self {
        let Arguments { subscribers, slow, size, .. } = *arguments;
        let Seen { tally, published, time, server: used, generator } = seen;
        let (seconds, deliveries) = (time.as_secs_f64(), tally.deliveries);
        Self {
            server: server.to_owned(),
            subscribers,
            slow,
            size,
            seconds,
            messages: tally.messages,
            deliveries,
            deliveries_per_second: deliveries as f64 / seconds,
            missing: tally.missing,
            published_bytes: published * size as u64,
            to_the_last: Latency::new(&tally.to_the_last_ns),
            used: used.map(|used| ServerUse::new(&used, deliveries, seconds)),
            generator_cores: generator.total().as_secs_f64() / seconds,
        }
    }
}

impl ServerUse {
    fn new(used: &Used, deliveries: u64, seconds: f64) -> Self {
        let each_us = |time: Duration| time.as_secs_f64() * 1e6 / deliveries.max(1) as f64;
        Self {
            user_us_per_delivery: each_us(used.cpu.user()),
            system_us_per_delivery: each_us(used.cpu.system()),
            us_per_delivery: each_us(used.cpu.total()),
            cores: used.cpu.total().as_secs_f64() / seconds,
            joined_bytes: used.joined.resident_bytes,
            resident_bytes: used.memory.resident_bytes,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p90_us, p99_us, p999_us, max_us } = self.to_the_last;
        let Self { server, subscribers, slow, size, seconds, messages, .. } = self;
        write!(out, "fanout: {server}; {subscribers} subscribers and {slow} that do not read, ")?;
        writeln!(out, "{size} B, {seconds:.1} s")?;
        writeln!(out, "  messages              {messages:>12}")?;
        writeln!(out, "  deliveries            {:>12}", self.deliveries)?;
        writeln!(out, "             missing    {:>12}", self.missing)?;
        writeln!(out, "  deliveries per second {:>12.0}", self.deliveries_per_second)?;
        writeln!(out, "  to the last, p50      {p50_us:>12.1} us")?;
        writeln!(out, "               p90      {p90_us:>12.1} us")?;
        writeln!(out, "               p99      {p99_us:>12.1} us")?;
        writeln!(out, "               p99.9    {p999_us:>12.1} us")?;
        writeln!(out, "               max      {max_us:>12.1} us")?;
        match &self.used {
            Some(used) => used.fmt(out)?,
            None => writeln!(out, "  server                     unknown (--pid)")?,
        }
        writeln!(out, "  published             {:>12} KiB", self.published_bytes / 1024)?;
        writeln!(out, "  generator             {:>12.2} cores", self.generator_cores)
    }
}

impl fmt::Display for ServerUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Self { us_per_delivery, user_us_per_delivery, system_us_per_delivery, .. } = self;
        write!(out, "  server, a delivery    {us_per_delivery:>12.2} us of CPU ")?;
        writeln!(out, "({user_us_per_delivery:.2} user, {system_us_per_delivery:.2} system)")?;
        writeln!(out, "  server                {:>12.2} cores", self.cores)?;
        writeln!(out, "  resident, all joined  {:>12.1} MiB", mib(self.joined_bytes))?;
        writeln!(out, "            at the end  {:>12.1} MiB", mib(self.resident_bytes))
    }
}
