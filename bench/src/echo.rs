//! Closed-loop echo: every connection sends its next message when it has the last one back.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::peer::{self, Peer};
use crate::process::{CpuTime, MemoryUse};
use crate::runtime;
use crate::server::{Choice, Server};
use crate::target::Target;

/// How long the last echoes may take when all is over.
const GRACE: Duration = Duration::from_secs(10);

/// The longest latency that is told apart from longer ones, in nanoseconds: a minute.
pub(crate) const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Decimal digits of a latency that are kept.
pub(crate) const LATENCY_DIGITS: u8 = 3;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to measure.
    #[command(flatten)]
    pub server: Choice,
    /// Connections, spread over the threads.
    #[arg(long, short, default_value_t = 1000)]
    pub connections: usize,
    /// Payload of a message, in bytes.
    #[arg(long, short, default_value_t = 64)]
    pub size: usize,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// How long to do the same before, unmeasured, in seconds.
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Load threads, pinned from the last core down.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Connections.
    pub connections: usize,
    /// Payload of a message, in bytes.
    pub size: usize,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Messages that were sent and came back.
    pub messages: u64,
    /// The same per second.
    pub messages_per_second: f64,
    /// From before a message is put together to after its echo is checked.
    pub latency: Latency,
    /// What the server used, if its process is known.
    pub server: Option<ServerUse>,
    /// CPU that the load generator used, of one core: at 1 per thread, the generator is what was
    /// measured.
    pub generator_cores: f64,
}

/// Percentiles of latency, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// What the server used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerUse {
    /// CPU in user mode, in seconds per million messages (so microseconds per message).
    pub user_s_per_million: f64,
    /// The same in kernel mode.
    pub system_s_per_million: f64,
    /// CPU of one core.
    pub cores: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: u64,
}

/// Measures.
///
/// # Errors
/// The server did not start, or a connection failed.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let server = Server::find(&arguments.server)?;
    let stage = Arc::new(Stage::new(arguments.threads));
    let loads = (0..arguments.threads).map(|index| Load {
        index,
        connections: share(arguments, index),
        size: arguments.size,
        running: Duration::from_secs_f64(arguments.warm_up + arguments.seconds),
        target: server.target.clone(),
        stage: Arc::clone(&stage),
    });
    let threads: Vec<_> = loads.map(|load| thread::spawn(move || load.run())).collect();
    let spent = measure(arguments, &stage, server.pid);
    let mut tally = Tally::new();
    for thread in threads {
        tally.add(&thread.join().map_err(|_| io::Error::other("a load thread panicked"))??);
    }
    Ok(Report::new(arguments, &tally, &spent?))
}

/// How many connections are those of thread `index`.
fn share(arguments: &Arguments, index: usize) -> usize {
    let Arguments { connections, threads, .. } = arguments;
    connections / threads + usize::from(index < connections % threads)
}

/// What all threads do at the moment.
struct Stage {
    phase: AtomicU8,
    /// All connections of all threads are open, or have failed.
    opened: Barrier,
}

impl Stage {
    const WARMING_UP: u8 = 0;
    const MEASURING: u8 = 1;
    const OVER: u8 = 2;

    fn new(threads: usize) -> Self {
        Self { phase: AtomicU8::new(Self::WARMING_UP), opened: Barrier::new(threads + 1) }
    }

    fn is(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Relaxed) == phase
    }

    fn set(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }
}

/// What was used while it was measured.
struct Spent {
    time: Duration,
    server: Option<(CpuTime, MemoryUse)>,
    generator: CpuTime,
}

/// Leads the threads through the stages. Every way out of here ends them.
fn measure(arguments: &Arguments, stage: &Stage, pid: Option<u32>) -> io::Result<Spent> {
    let cpu = || (pid.map(CpuTime::of).transpose(), CpuTime::of(std::process::id()));
    stage.opened.wait();
    thread::sleep(Duration::from_secs_f64(arguments.warm_up));
    let (server_before, generator_before) = cpu();
    let started = Instant::now();
    stage.set(Stage::MEASURING);
    thread::sleep(Duration::from_secs_f64(arguments.seconds));
    stage.set(Stage::OVER);
    let time = started.elapsed();
    let (server_after, generator_after) = cpu();
    let memory = pid.map(MemoryUse::of).transpose()?;
    let server = match (server_before?, server_after?, memory) {
        (Some(before), Some(after), Some(memory)) => Some((after - before, memory)),
        _ => None,
    };
    Ok(Spent { time, server, generator: generator_after? - generator_before? })
}

/// One load thread.
struct Load {
    index: usize,
    connections: usize,
    /// Payload of a message, in bytes.
    size: usize,
    /// How long the stages take together.
    running: Duration,
    target: Target,
    stage: Arc<Stage>,
}

/// What the connections of a load thread have in common.
struct Shared {
    stage: Arc<Stage>,
    message: Rc<[u8]>,
    tally: RefCell<Tally>,
}

impl Load {
    fn run(self) -> io::Result<Tally> {
        runtime::run(self.index, async {
            let peers = self.open().await;
            // The others wait for this thread, even if it has failed.
            self.stage.opened.wait();
            self.generate(peers?).await
        })
    }

    async fn open(&self) -> io::Result<Vec<Peer>> {
        let mut peers = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            peers.push(Peer::open(&self.target).await?);
        }
        Ok(peers)
    }

    /// Lets all peers echo until it is over.
    async fn generate(&self, peers: Vec<Peer>) -> io::Result<Tally> {
        let shared = Rc::new(Shared {
            stage: Arc::clone(&self.stage),
            message: peer::message(self.size)?,
            tally: RefCell::new(Tally::new()),
        });
        let until = monoio::time::Instant::now() + self.running + GRACE;
        let loops: Vec<_> =
            peers.into_iter().map(|peer| monoio::spawn(echo(peer, Rc::clone(&shared)))).collect();
        for each in loops {
            monoio::time::timeout_at(until, each).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        Ok(shared.tally.replace(Tally::new()))
    }
}

async fn echo(mut peer: Peer, shared: Rc<Shared>) -> io::Result<()> {
    while !shared.stage.is(Stage::OVER) {
        let started = Instant::now();
        peer.echo(&shared.message).await?;
        if shared.stage.is(Stage::MEASURING) {
            shared.tally.borrow_mut().record(started.elapsed());
        }
    }
    Ok(())
}

/// What was seen.
struct Tally {
    messages: u64,
    latency_ns: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        let latency_ns = Histogram::new_with_max(LATENCY_MAX_NS, LATENCY_DIGITS);
        Self { messages: 0, latency_ns: latency_ns.expect("the bounds are valid") }
    }

    fn record(&mut self, latency: Duration) {
        self.messages += 1;
        self.latency_ns.saturating_record(latency.as_nanos() as u64);
    }

    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.latency_ns.add(&other.latency_ns).expect("all have the same bounds");
    }
}

impl Report {
    fn new(arguments: &Arguments, tally: &Tally, spent: &Spent) -> Self {
        let seconds = spent.time.as_secs_f64();
        let server = spent.server.map(|(cpu, memory)| ServerUse {
            user_s_per_million: per_million(cpu.user, tally.messages),
            system_s_per_million: per_million(cpu.system, tally.messages),
            cores: cpu.total().as_secs_f64() / seconds,
            resident_bytes: memory.resident_bytes,
        });
        Self {
            connections: arguments.connections,
            size: arguments.size,
            seconds,
            messages: tally.messages,
            messages_per_second: tally.messages as f64 / seconds,
            latency: Latency::new(&tally.latency_ns),
            server,
            generator_cores: spent.generator.total().as_secs_f64() / seconds,
        }
    }
}

fn per_million(time: Duration, messages: u64) -> f64 {
    time.as_secs_f64() / messages.max(1) as f64 * 1e6
}

impl Latency {
    pub(crate) fn new(histogram_ns: &Histogram<u64>) -> Self {
        let at = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p90_us, p99_us, p999_us, max_us } = self.latency;
        let Self { connections, size, seconds, .. } = self;
        writeln!(out, "echo: {connections} connections, {size} B, {seconds:.1} s")?;
        writeln!(out, "  messages per second   {:>12.0}", self.messages_per_second)?;
        writeln!(out, "  latency p50           {p50_us:>12.1} us")?;
        writeln!(out, "          p90           {p90_us:>12.1} us")?;
        writeln!(out, "          p99           {p99_us:>12.1} us")?;
        writeln!(out, "          p99.9         {p999_us:>12.1} us")?;
        writeln!(out, "          max           {max_us:>12.1} us")?;
        match &self.server {
            Some(server) => server.fmt(out)?,
            None => writeln!(out, "  server                     unknown (--pid)")?,
        }
        writeln!(out, "  generator             {:>12.2} cores", self.generator_cores)
    }
}

impl fmt::Display for ServerUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resident_mib = self.resident_bytes as f64 / f64::from(1 << 20);
        writeln!(out, "  server, user          {:>12.2} s/1M messages", self.user_s_per_million)?;
        writeln!(out, "  server, system        {:>12.2} s/1M messages", self.system_s_per_million)?;
        writeln!(out, "  server                {:>12.2} cores", self.cores)?;
        writeln!(out, "  server, resident      {resident_mib:>12.1} MiB")
    }
}
