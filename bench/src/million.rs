//! Very many idle connections in one process: what they cost, and that each of them answers.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::fleet::{Ending, Errand, Fleet, Kind};
use crate::latency::{Latency, histogram};
use crate::peer::message;
use crate::process::{CpuTime, MemoryUse};
use crate::random::Random;
use crate::server::Server;
use crate::slab::{Growth, Slabs};

/// The message of a sample, in bytes.
const MESSAGE: usize = 64;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long)]
    pub gateway: Option<PathBuf>,
    /// Connections.
    #[arg(long, short, default_value_t = 1_000_000)]
    pub connections: usize,
    /// Shards of the gateway. The limit of open files bounds the connections of each, and they do
    /// not come evenly: leave a few percent of room.
    #[arg(long, default_value_t = 72)]
    pub shards: u32,
    /// Connections that open, are pinged or close at once.
    #[arg(long, default_value_t = 512)]
    pub window: usize,
    /// How long all connections are held, in seconds.
    #[arg(long, default_value_t = 10.0)]
    pub hold: f64,
    /// Connections that have a message of 64 bytes echoed, one after the other, each a random one.
    #[arg(long, default_value_t = 2000)]
    pub samples: usize,
    /// How long the gateway is left alone before its memory is read, in seconds.
    #[arg(long, default_value_t = 3.0)]
    pub settle: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Connections.
    pub connections: usize,
    /// Shards.
    pub shards: u32,
    /// Opening all of them.
    pub opening: Stage,
    /// A Ping to each, and the Pong.
    pub sweep: Stage,
    /// The closing handshake of each.
    pub closing: Stage,
    /// Echoes of random connections, one after the other.
    pub latency: Latency,
    /// Private memory of the gateway without connections, in bytes.
    pub empty_bytes: u64,
    /// The same with all of them.
    pub full_bytes: u64,
    /// The same when all have been pinged and some have had echoes.
    pub used_bytes: u64,
    /// The same when all are closed.
    pub closed_bytes: u64,
    /// What each connection takes of that.
    pub bytes_per_connection: f64,
    /// What the kernel takes for both ends of a connection; why it is not known.
    pub kernel: Result<Vec<Growth>, String>,
}

/// Something that was done for all connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stage {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// CPU time of the gateway, in microseconds per connection.
    pub server_us_per_connection: f64,
    /// CPU time of the clients, likewise.
    pub client_us_per_connection: f64,
}

/// Measures.
///
/// # Errors
/// The gateway did not start, or a connection failed.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let server = Server::start_gateway(arguments.gateway.as_deref(), arguments.shards)?;
    let pid = server.known_pid()?;
    let settled = || -> io::Result<u64> {
        thread::sleep(Duration::from_secs_f64(arguments.settle));
        Ok(MemoryUse::of(pid)?.private_bytes)
    };
    let Arguments { connections, window, .. } = *arguments;
    let empty_bytes = settled()?;
    let slabs_empty = Slabs::now();
    let mut fleet = Fleet::new(&server.target, Kind::WebSocket, Ending::Reset)?;
    let progress = Progress::new(connections);
    let opening =
        stage(pid, connections, || fleet.open(connections, window, &mut progress.of("open")))?;
    let full_bytes = settled()?;
    let kernel = slabs_empty.and_then(|empty| Ok(Slabs::now()?.growth(&empty, connections)));
    fleet.hold(Duration::from_secs_f64(arguments.hold))?;
    let sweep = stage(pid, connections, || {
        fleet.each(&Errand::Ping, window, &mut progress.of("answered a ping"))
    })?;
    let latency = sample(&mut fleet, arguments.samples)?;
    let used_bytes = settled()?;
    let closing = stage(pid, connections, || fleet.close_all(window, &mut progress.of("closed")))?;
    let closed_bytes = settled()?;
    let grown = full_bytes as f64 - empty_bytes as f64;
    Ok(Report {
        connections,
        shards: arguments.shards,
        opening,
        sweep,
        closing,
        latency,
        empty_bytes,
        full_bytes,
        used_bytes,
        closed_bytes,
        bytes_per_connection: grown / connections.max(1) as f64,
        kernel: kernel.map_err(|error| error.to_string()),
    })
}

fn stage(pid: u32, connections: usize, work: impl FnOnce() -> io::Result<()>) -> io::Result<Stage> {
    let used = || -> io::Result<_> { Ok((CpuTime::of(pid)?, CpuTime::of(std::process::id())?)) };
    let (server_before, client_before) = used()?;
    let started = Instant::now();
    work()?;
    let seconds = started.elapsed().as_secs_f64();
    let (server, client) = used()?;
    let each_us = |time: CpuTime| time.total().as_secs_f64() * 1e6 / connections.max(1) as f64;
    Ok(Stage {
        seconds,
        server_us_per_connection: each_us(server - server_before),
        client_us_per_connection: each_us(client - client_before),
    })
}

fn sample(fleet: &mut Fleet, count: usize) -> io::Result<Latency> {
    let errand = Errand::Echo { message: message(MESSAGE)? };
    let mut random = Random::new()?;
    let mut latency_ns = histogram();
    for _ in 0..count {
        let index = (random.next_u64() % fleet.len().max(1) as u64) as usize;
        let took = fleet.one(index, &errand)?;
        latency_ns.saturating_record(took.as_nanos() as u64);
    }
    Ok(Latency::new(&latency_ns))
}

/// Says on standard error how far it is, from time to time.
struct Progress {
    all: usize,
}

impl Progress {
    const EVERY: Duration = Duration::from_secs(2);

    fn new(all: usize) -> Self {
        Self { all }
    }

    fn of<'a>(&self, done: &'a str) -> impl FnMut(usize) + use<'a> {
        let (all, mut so_far, mut said) = (self.all, 0, Instant::now());
        move |count| {
            so_far += count;
            if said.elapsed() >= Self::EVERY {
                eprintln!("{so_far} of {all} {done}");
                said = Instant::now();
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Self { connections, shards, bytes_per_connection, .. } = self;
        writeln!(out, "million: {connections} connections to one process of {shards} shards")?;
        writeln!(out, "  user space            {bytes_per_connection:>12.1} B per connection")?;
        writeln!(out, "  private, empty        {:>12.1} MiB", mib(self.empty_bytes))?;
        writeln!(out, "           full         {:>12.1} MiB", mib(self.full_bytes))?;
        writeln!(out, "           used         {:>12.1} MiB", mib(self.used_bytes))?;
        writeln!(out, "           closed       {:>12.1} MiB", mib(self.closed_bytes))?;
        match &self.kernel {
            Ok(caches) => {
                let bytes: f64 = caches.iter().map(Growth::bytes).sum();
                writeln!(out, "  kernel, both ends     {bytes:>12.1} B per connection")?;
            }
            Err(why) => writeln!(out, "  kernel                     unknown ({why})")?,
        }
        for (name, stage) in
            [("opened", self.opening), ("pinged", self.sweep), ("closed", self.closing)]
        {
            let Stage { seconds, server_us_per_connection, client_us_per_connection } = stage;
            let rate = *connections as f64 / seconds;
            write!(out, "  {name:<22}{seconds:>12.1} s, {rate:.0} per second; CPU ")?;
            write!(out, "{server_us_per_connection:.1} us each, ")?;
            writeln!(out, "of the clients {client_us_per_connection:.1} us")?;
        }
        let Latency { p50_us, p99_us, max_us, .. } = self.latency;
        writeln!(
            out,
            "  an echo               {p50_us:>12.1} us p50, {p99_us:.1} p99, {max_us:.1} max"
        )
    }
}
