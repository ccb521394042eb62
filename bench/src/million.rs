//! Very many idle connections in one process: what they cost, and that each of them answers.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate::config::{Limits, MAX_SHARDS, Stack};
use tidegate::kernel::raise_open_files;

use crate::arguments::{count, seconds, some_seconds, window};
use crate::fleet::{Ending, Errand, Fleet, Kind, Progress};
use crate::latency::{Latency, histogram};
use crate::peer::message;
use crate::process::{CpuTime, MemoryUse};
use crate::progress;
use crate::random::Random;
use crate::server::Server;
use crate::slab::{Growth, Slabs};

/// The message of a sample, in bytes.
const MESSAGE: usize = 64;

/// How many standard deviations more than on average a shard must have room for. The kernel deals
/// connections out by a hash of their addresses, so about as dice would.
const DEVIATIONS: f64 = 6.0;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long)]
    pub gateway: Option<PathBuf>,
    /// Connections.
    #[arg(long, short, default_value_t = 1_000_000, value_parser = count)]
    pub connections: usize,
    /// Shards of the gateway. The limit of open files bounds the connections of each, and they do
    /// not come evenly: too few are refused.
    #[arg(long, default_value_t = 72)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_SHARDS.into()))]
    pub shards: u32,
    /// Connections that open, are pinged or close at once.
    #[arg(long, default_value_t = 512, value_parser = window)]
    pub window: usize,
    /// The silence after which the gateway pings a connection, such as 30s, or `off`. What a short
    /// one costs is part of every stage that lasts longer.
    #[arg(long, default_value = "5m", value_parser = ping)]
    pub ping: String,
    /// How long all connections are held, in seconds.
    #[arg(long, default_value_t = 10.0, value_parser = some_seconds)]
    pub hold: f64,
    /// Connections that have a message of 64 bytes echoed, one after the other, each a random one.
    #[arg(long, default_value_t = 2000, value_parser = count)]
    pub samples: usize,
    /// How long the gateway is left alone before its memory is read, in seconds.
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub settle: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Connections.
    pub connections: usize,
    /// Shards.
    pub shards: u32,
    /// The fewest shards that so many connections fit.
    pub shards_needed: u32,
    /// The silence after which the gateway pinged a connection.
    pub ping: String,
    /// Opening all of them.
    pub opening: Stage,
    /// Holding all of them.
    pub holding: Holding,
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
    /// What closing them gave back to the kernel, in bytes.
    pub returned_bytes: u64,
    /// What each connection takes when all are open and silent, in bytes.
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

/// The time in which nothing was asked of the connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Holding {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// CPU that the gateway used, of one core.
    pub server_cores: f64,
    /// CPU that the clients used, likewise.
    pub client_cores: f64,
}

/// Measures.
///
/// # Errors
/// The connections do not fit the shards, the gateway did not start, or a connection failed.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let Arguments { window, shards, .. } = *arguments;
    let room = shard_room()?;
    let shards_needed = shards_needed(arguments.connections, shards, room)?;
    let config = configuration(&arguments.ping, room);
    let server = Server::start_gateway(arguments.gateway.as_deref(), shards, &config)?;
    let watch = Watch::new(arguments, server.known_pid()?);
    let mut fleet = Fleet::new(&server.target, Kind::WebSocket, Ending::Reset)?;
    let empty_bytes = watch.settled(&mut fleet)?;
    let slabs_empty = Slabs::now();
    let opening = watch.stage("opened", |done| fleet.open(arguments.connections, window, done))?;
    let (connections, full_bytes) = (fleet.len(), watch.settled(&mut fleet)?);
    let kernel = slabs_empty.and_then(|empty| Ok(Slabs::now()?.growth(&empty, connections)));
    let holding = watch.spend(|| fleet.hold(Duration::from_secs_f64(arguments.hold)))?.holding();
    let sweep = watch.stage("answered a ping", |done| fleet.each(&Errand::Ping, window, done))?;
    let latency = sample(&mut fleet, arguments.samples)?;
    let used_bytes = watch.settled(&mut fleet)?;
    let closing = watch.stage("closed", |done| fleet.close_all(window, done))?;
    let closed_bytes = watch.settled(&mut fleet)?;
    Ok(Report {
        connections,
        shards,
        shards_needed,
        ping: arguments.ping.clone(),
        opening,
        holding,
        sweep,
        closing,
        latency,
        empty_bytes,
        full_bytes,
        used_bytes,
        closed_bytes,
        returned_bytes: used_bytes.saturating_sub(closed_bytes),
        bytes_per_connection: (full_bytes as f64 - empty_bytes as f64) / connections as f64,
        kernel: kernel.map_err(|error| error.to_string()),
    })
}

/// The connections that each shard has room for: as many as by default, or fewer where the limit
/// of open files says so.
fn shard_room() -> io::Result<u32> {
    let open_files = u32::try_from(raise_open_files()?).unwrap_or(u32::MAX);
    Ok(Limits::default().connections.min(open_files))
}

/// The fewest shards that have room for so many connections.
///
/// # Errors
/// They are more than `shards`.
fn shards_needed(connections: usize, shards: u32, room: u32) -> io::Result<u32> {
    let needed = (1..=u32::from(MAX_SHARDS)).find(|count| fits(connections, *count, room));
    if let Some(needed) = needed.filter(|needed| *needed <= shards) {
        return Ok(needed);
    }
    let advice = match needed {
        Some(needed) => format!("--shards {needed} would do"),
        None => "no number of shards would do: raise that limit, or open fewer".to_owned(),
    };
    Err(io::Error::other(format!(
        "{connections} connections do not fit --shards {shards}: each has room for {room}, by \
         default or by the limit of open files (`ulimit -Hn`), and they do not come evenly: \
         {advice}"
    )))
}

fn fits(connections: usize, shards: u32, room: u32) -> bool {
    let mean = connections as f64 / f64::from(shards);
    // What comes to the only shard is no matter of chance.
    let more = if shards == 1 { 0.0 } else { DEVIATIONS * mean.sqrt() };
    mean + more <= f64::from(room)
}

/// What differs from the gateway's default configuration.
fn configuration(ping: &str, room: u32) -> String {
    // The address is replaced on the command line.
    format!(
        "[limits]\nconnections = {room}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"{}\"\n",
        stack(ping)
    )
}

fn stack(ping: &str) -> String {
    format!("ws?ping={ping}!tcp")
}

/// Reads `--ping`.
fn ping(text: &str) -> Result<String, String> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("must be a duration such as 30s or 5m, or `off`".into());
    }
    let errors = match Stack::parse(&stack(text)) {
        Ok(_) => return Ok(text.into()),
        Err(errors) => errors,
    };
    Err(errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; "))
}

/// Looks at the gateway and at this process while something is done.
struct Watch {
    pid: u32,
    connections: usize,
    settle: Duration,
}

/// What something took.
struct Spent {
    seconds: f64,
    /// CPU time of the gateway.
    server: Duration,
    /// CPU time of this process.
    client: Duration,
}

impl Watch {
    fn new(arguments: &Arguments, pid: u32) -> Self {
        let settle = Duration::from_secs_f64(arguments.settle);
        Self { pid, connections: arguments.connections, settle }
    }

    /// Private memory of the gateway when it has been left alone, in bytes.
    fn settled(&self, fleet: &mut Fleet) -> io::Result<u64> {
        fleet.hold(self.settle)?;
        Ok(MemoryUse::of(self.pid)?.private_bytes)
    }

    /// Does something for each connection, and says how many are `done` with it.
    fn stage(
        &self,
        done: &str,
        work: impl FnOnce(Progress<'_>) -> io::Result<()>,
    ) -> io::Result<Stage> {
        let mut bar = progress::bar(self.connections as u64, done);
        let spent = self.spend(|| work(&mut |count| bar.advance(count as u64)))?;
        Ok(spent.each(self.connections))
    }

    fn spend(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<Spent> {
        // Sums only: which part of them was in kernel mode is known less well.
        let total = |pid| CpuTime::of(pid).map(CpuTime::total);
        let used = || -> io::Result<_> { Ok((total(self.pid)?, total(std::process::id())?)) };
        let (server_before, client_before) = used()?;
        let started = Instant::now();
        work()?;
        let seconds = started.elapsed().as_secs_f64();
        let (server, client) = used()?;
        Ok(Spent {
            seconds,
            server: server.saturating_sub(server_before),
            client: client.saturating_sub(client_before),
        })
    }
}

impl Spent {
    fn each(&self, connections: usize) -> Stage {
        let each_us = |time: Duration| time.as_secs_f64() * 1e6 / connections as f64;
        Stage {
            seconds: self.seconds,
            server_us_per_connection: each_us(self.server),
            client_us_per_connection: each_us(self.client),
        }
    }

    fn holding(&self) -> Holding {
        let cores = |time: Duration| time.as_secs_f64() / self.seconds;
        Holding {
            seconds: self.seconds,
            server_cores: cores(self.server),
            client_cores: cores(self.client),
        }
    }
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

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, shards, shards_needed, ping, .. } = self;
        write!(out, "million: {connections} connections to one process of {shards} shards ")?;
        writeln!(out, "({shards_needed} would do), ping={ping}")?;
        self.write_memory(out)?;
        self.opening.write(out, "opened", *connections)?;
        let Holding { seconds, server_cores, client_cores } = self.holding;
        write!(out, "  held                  {seconds:>12.1} s; CPU {server_cores:.3} cores, ")?;
        writeln!(out, "of the clients {client_cores:.3}")?;
        self.sweep.write(out, "pinged", *connections)?;
        self.closing.write(out, "closed", *connections)?;
        let Latency { p50_us, p99_us, max_us, .. } = self.latency;
        writeln!(
            out,
            "  an echo               {p50_us:>12.1} us p50, {p99_us:.1} p99, {max_us:.1} max"
        )
    }
}

impl Stage {
    fn write(&self, out: &mut fmt::Formatter<'_>, name: &str, connections: usize) -> fmt::Result {
        let Self { seconds, server_us_per_connection, client_us_per_connection } = self;
        let rate = connections as f64 / seconds;
        write!(out, "  {name:<22}{seconds:>12.1} s, {rate:.0} per second; CPU ")?;
        write!(out, "{server_us_per_connection:.1} us each, ")?;
        writeln!(out, "of the clients {client_us_per_connection:.1} us")
    }
}

impl Report {
    fn write_memory(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Self { bytes_per_connection, empty_bytes, used_bytes, .. } = self;
        writeln!(out, "  user space            {bytes_per_connection:>12.1} B per connection")?;
        writeln!(out, "  private, empty        {:>12.1} MiB", mib(*empty_bytes))?;
        writeln!(out, "           full         {:>12.1} MiB", mib(self.full_bytes))?;
        writeln!(out, "           used         {:>12.1} MiB", mib(*used_bytes))?;
        writeln!(out, "           closed       {:>12.1} MiB", mib(self.closed_bytes))?;
        let taken = mib(used_bytes.saturating_sub(*empty_bytes));
        write!(out, "  memory returned       {:>12.1} MiB ", mib(self.returned_bytes))?;
        writeln!(out, "by closing, of {taken:.1} MiB that the connections took")?;
        match &self.kernel {
            Ok(caches) => {
                let bytes: f64 = caches.iter().map(Growth::bytes).sum();
                writeln!(out, "  kernel, both ends     {bytes:>12.1} B per connection")
            }
            Err(why) => writeln!(out, "  kernel                     unknown ({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate::config::Config;

    use super::*;

    #[test]
    fn the_configuration_differs_in_what_it_should() {
        let default = Config::default();
        let config = Config::parse(&configuration("5m", 16_384), "test").unwrap();
        let keepalive = config.listeners[0].stack.websocket.keepalive.unwrap();
        assert_eq!(keepalive.ping, Duration::from_secs(300));
        assert_eq!((config.limits, config.routes), (default.limits, default.routes));
    }

    #[test]
    fn a_ping_is_a_duration_or_off_and_nothing_more() {
        assert_eq!((ping("5m"), ping("off")), (Ok("5m".into()), Ok("off".into())));
        for wrong in ["", "5", "5m&close=1s", "1s\"", "9h", "0s"] {
            assert!(ping(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shards_that_do_not_suffice_are_refused_with_a_number_that_does() {
        assert_eq!(shards_needed(1_000_000, 72, 16_384).unwrap(), 64);
        assert_eq!(shards_needed(16_384, 1, 16_384).unwrap(), 1);
        let error = shards_needed(1_000_000, 63, 16_384).unwrap_err().to_string();
        assert!(error.contains("--shards 64 would do"), "{error}");
        let error = shards_needed(1_000_000, 1024, 256).unwrap_err().to_string();
        assert!(error.contains("raise that limit"), "{error}");
    }
}
