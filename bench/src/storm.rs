//! Storms: very many connections that come at once, and go without a word.
//!
//! Twice on a fresh server, if that is started here. First bursts: so many connect at once and are
//! dropped, again and again; what the server keeps afterwards shows whether it forgets them. Then a
//! reconnect storm: all connections of a server end together, as when a proxy in front of it dies,
//! and come back as fast as they can, while one that was connected before goes on talking.
//!
//! That one has a thread of its own which sleeps for a millisecond between its echoes. How late it
//! wakes up, and how long the server was without a core that it could have used, tell the stalls of
//! this machine from those of the server.
//!
//! Over TLS there is a third part: [`rush`].

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::{count, seconds, window};
use crate::compare::Spread;
use crate::fleet::{Ending, Fleet, Kind};
use crate::latency::{Histogram, LATENCY_MAX_NS, histogram};
use crate::peer::{self, Peer};
use crate::process::{MemoryUse, peak_resident_bytes};
use crate::progress;
use crate::runtime;
use crate::rush::{self, Rush};
use crate::server::{Choice, Server};
use crate::spent::{Spent, per_second, rest};
use crate::target::Target;

/// The burst from which on a server has seen everything, and has no reason to grow.
const WARM: usize = 5;

/// The message of the probe, in bytes.
const MESSAGE: usize = 64;

/// How long the probe sleeps between its echoes.
const PROBE_EVERY: Duration = Duration::from_millis(1);

/// How long an echo of the probe may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to measure.
    #[command(flatten)]
    pub server: Choice,
    /// Connections of a burst, all of which connect at once.
    #[arg(long, default_value_t = 1000, value_parser = window)]
    pub burst: usize,
    /// Bursts, one after the other.
    #[arg(long, default_value_t = 20, value_parser = count)]
    pub bursts: usize,
    /// Connections of the reconnect storm.
    #[arg(long, short, default_value_t = 15_000, value_parser = count)]
    pub connections: usize,
    /// Connections of the reconnect storm that are opening at once.
    #[arg(long, default_value_t = 1000, value_parser = window)]
    pub window: usize,
    /// How a connection ends that is dropped: as a program that dies ends it, or with a reset.
    #[arg(long, value_enum, default_value_t = Ending::Fin)]
    pub ending: Ending,
    /// How long the server is left alone before its memory is read, in seconds; between two bursts
    /// no longer than it takes to come to rest.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub settle: f64,
    /// Handshakes of the rush over TLS that the others are beside, if it is over TLS; 0 for none.
    #[arg(long, default_value_t = 5000)]
    pub rush: usize,
    /// Others that are connected meanwhile and echo, half of them without TLS if the server has
    /// that as well.
    #[arg(long, default_value_t = 500, value_parser = count)]
    pub others: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the server says of itself.
    pub server: String,
    /// How a connection ended that was dropped: `Fin` or `Reset`.
    pub ending: String,
    /// Connections that come at once and go, again and again.
    pub bursts: Bursts,
    /// All connections end and come back.
    pub reconnect: Reconnect,
    /// What those see who are connected while others shake hands over TLS.
    pub rush: Option<Rush>,
}

/// Connections that come at once and go, again and again. Memory is the server's private memory at
/// rest (proc(5), `smaps_rollup`), in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Bursts {
    /// Connections of a burst.
    pub connections: usize,
    /// Opening handshakes of all bursts.
    pub handshakes: u64,
    /// Opening handshakes per second of the server's CPU time, while they are made.
    pub handshakes_per_cpu_second: f64,
    /// CPU time of the server for the end of a connection, in microseconds.
    pub end_us_per_connection: f64,
    /// From the first connect of a burst to the last of its handshakes, in seconds: the median.
    pub median_seconds: f64,
    /// The same: the longest.
    pub max_seconds: f64,
    /// The same for each burst.
    pub seconds: Vec<f64>,
    /// Memory before the first burst.
    pub before_bytes: u64,
    /// Memory after the last.
    pub after_bytes: u64,
    /// Memory after each.
    pub rest_bytes: Vec<u64>,
    /// What was added to the memory from after the fifth burst to after the last; `None` if there
    /// were no more than five.
    pub growth_bytes: Option<i64>,
}

/// All connections end together and come back as fast as they can.
#[derive(Clone, Debug, Serialize)]
pub struct Reconnect {
    /// Connections, without the probe's.
    pub connections: usize,
    /// Those that were opening at once.
    pub window: usize,
    /// Connections that ended and came back per second of the server's CPU time: here, the end of
    /// the old connection and the probe's echoes are part of it.
    pub handshakes_per_cpu_second: f64,
    /// From before the first connection was dropped to after the last was open again, in seconds.
    pub seconds: f64,
    /// From before the first connection was dropped to after the last was, in seconds; the server
    /// may still be busy with that when the first comes back.
    pub drop_seconds: f64,
    /// The longest echo of a client that was connected all the time, in microseconds; the same as
    /// `storm.echo.max_us`.
    pub longest_stall_us: f64,
    /// When that echo began, in seconds from before the first connection was dropped: with
    /// `drop_seconds` it tells whether the ends or the handshakes were in the way.
    pub longest_stall_at_seconds: f64,
    /// How long the server was ready to run in the storm and had to wait for its core, in seconds:
    /// stalls that others on this machine have made. Without others it is near 0.
    pub waited_seconds: f64,
    /// That client before the storm, with all connections open and silent.
    pub calm: Probed,
    /// That client in the storm.
    pub storm: Probed,
    /// Private memory of the server with all connections before the storm, in bytes.
    pub before_bytes: u64,
    /// Private memory of the server with all connections after the storm, in bytes.
    pub rest_bytes: u64,
    /// Resident memory of the server then, in bytes: what compares with the peak.
    pub rest_resident_bytes: u64,
    /// The most that the server had resident since it started, in bytes (proc(5), `VmHWM`).
    pub peak_bytes: u64,
}

/// What a client saw that echoes a small message about every millisecond.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Probed {
    /// Echoes.
    pub echoes: u64,
    /// How long they took. An echo of many milliseconds stands for those that would have been made
    /// meanwhile, too, each shorter by a millisecond than the one before.
    pub echo: Delay,
    /// How late the client woke up from its sleep before each: the load generator's own stalls.
    pub lateness: Delay,
}

/// Percentiles of a delay, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Delay {
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// Measures.
///
/// # Errors
/// The server did not start or its process is not known, a connection failed, or the server let one
/// wait for half a minute.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let (server, bursts) = bursts(arguments)?;
    let reconnect = reconnect(arguments)?;
    let is_over_tls = arguments.server.tls || arguments.server.is_wss();
    let rush = (is_over_tls && arguments.rush > 0)
        .then(|| rush::run(&arguments.server, arguments.rush, arguments.others, arguments.window))
        .transpose()?;
    Ok(Report { server, ending: format!("{:?}", arguments.ending), bursts, reconnect, rush })
}

// ---- bursts ----

/// What was seen of one burst.
struct Burst {
    opening: Spent,
    end: Spent,
    rest_bytes: u64,
}

/// Measures the bursts; yields what the server says of itself with it.
fn bursts(arguments: &Arguments) -> io::Result<(String, Bursts)> {
    let server = Server::find(&arguments.server)?;
    let pid = server.known_pid()?;
    let (before_bytes, seen) = runtime::aside(|| {
        let mut fleet = Fleet::new(&server.target, Kind::WebSocket, arguments.ending)?;
        fleet.reserve(arguments.burst)?;
        let before_bytes = rest(pid, arguments.settle)?;
        let mut bar = progress::bar(arguments.bursts as u64, "bursts have come and gone");
        let each = || {
            let seen = burst(pid, &mut fleet, arguments);
            bar.advance(1);
            seen
        };
        let seen = std::iter::repeat_with(each).take(arguments.bursts);
        Ok((before_bytes, seen.collect::<io::Result<Vec<_>>>()?))
    })?;
    Ok((server.description.clone(), Bursts::new(arguments.burst, before_bytes, &seen)))
}

/// Lets all connect at once, and drops them.
fn burst(pid: u32, fleet: &mut Fleet, arguments: &Arguments) -> io::Result<Burst> {
    let opening = Spent::on(pid, || fleet.open(arguments.burst, arguments.burst, &mut |_| ()))?;
    let mut rest_bytes = 0;
    let end = Spent::on(pid, || {
        fleet.drop_all(&mut |_| ())?;
        rest_bytes = rest(pid, arguments.settle)?;
        Ok(())
    })?;
    Ok(Burst { opening, end, rest_bytes })
}

impl Bursts {
    fn new(connections: usize, before_bytes: u64, seen: &[Burst]) -> Self {
        let handshakes = (connections * seen.len()) as u64;
        let sum = |cpu: fn(&Burst) -> Duration| seen.iter().map(cpu).sum::<Duration>();
        let end_s = sum(|burst| burst.end.cpu).as_secs_f64();
        let seconds: Vec<_> = seen.iter().map(|burst| burst.opening.time.as_secs_f64()).collect();
        let rest_bytes: Vec<_> = seen.iter().map(|burst| burst.rest_bytes).collect();
        let after_bytes = rest_bytes.last().copied().unwrap_or(before_bytes);
        let warm = rest_bytes.get(WARM - 1).filter(|_| rest_bytes.len() > WARM);
        Self {
            connections,
            handshakes,
            handshakes_per_cpu_second: per_second(handshakes, sum(|burst| burst.opening.cpu)),
            end_us_per_connection: end_s * 1e6 / handshakes.max(1) as f64,
            median_seconds: Spread::of(&seconds).map_or(0.0, |spread| spread.median),
            max_seconds: seconds.iter().copied().fold(0.0, f64::max),
            seconds,
            before_bytes,
            after_bytes,
            growth_bytes: warm.map(|&warm| after_bytes as i64 - warm as i64),
            rest_bytes,
        }
    }
}

// ---- the reconnect storm ----

fn reconnect(arguments: &Arguments) -> io::Result<Reconnect> {
    let server = Server::find(&arguments.server)?;
    let pid = server.known_pid()?;
    // It comes first, and is not started from a pinned thread, because it could not leave its core.
    let probe = Probe::start(&server.target);
    runtime::aside(|| storm(&server.target, pid, arguments, probe))
}

/// Opens all, lets them end and come back, and reads what that has left.
fn storm(target: &Target, pid: u32, arguments: &Arguments, probe: Probe) -> io::Result<Reconnect> {
    let Arguments { connections, window, .. } = *arguments;
    let settled = || -> io::Result<MemoryUse> {
        thread::sleep(Duration::from_secs_f64(arguments.settle));
        MemoryUse::of(pid)
    };
    let mut fleet = Fleet::new(target, Kind::WebSocket, arguments.ending)?;
    // Each of them opens, is dropped and comes back.
    let mut bar = progress::bar(3 * connections as u64, "opened, dropped and back");
    let mut advance = |count| bar.advance(count as u64);
    fleet.open(connections, window, &mut advance)?;
    probe.enter(CALM);
    let before_bytes = settled()?.private_bytes;
    let (started, mut dropped) = (Instant::now(), Duration::ZERO);
    probe.enter(STORM);
    let spent = Spent::on(pid, || {
        fleet.drop_all(&mut advance)?;
        dropped = started.elapsed();
        fleet.open(connections, window, &mut advance)
    })?;
    let (calm, storm) = probe.finish()?;
    let began =
        storm.longest.map_or(Duration::ZERO, |(began, _)| began.saturating_duration_since(started));
    let (calm, storm) = (calm.probed(), storm.probed());
    let after = settled()?;
    Ok(Reconnect {
        connections,
        window,
        handshakes_per_cpu_second: per_second(connections as u64, spent.cpu),
        seconds: spent.time.as_secs_f64(),
        drop_seconds: dropped.as_secs_f64(),
        longest_stall_us: storm.echo.max_us,
        longest_stall_at_seconds: began.as_secs_f64(),
        waited_seconds: spent.waited.as_secs_f64(),
        calm,
        storm,
        before_bytes,
        rest_bytes: after.private_bytes,
        rest_resident_bytes: after.resident_bytes,
        peak_bytes: peak_resident_bytes(pid)?,
    })
}

// ---- the probe ----

/// Phases of the probe, in their order.
const OPENING: u8 = 0;
const CALM: u8 = 1;
const STORM: u8 = 2;
const OVER: u8 = 3;

/// A client on a thread of its own that is connected and echoes all the time. The thread ends with
/// this value.
struct Probe {
    phase: Arc<AtomicU8>,
    thread: Option<JoinHandle<io::Result<(Seen, Seen)>>>,
}

impl Probe {
    /// Yields when it is connected, or has failed.
    fn start(target: &Target) -> Self {
        let phase = Arc::new(AtomicU8::new(OPENING));
        let (connected, is_connected) = channel();
        let thread = {
            let (target, phase) = (target.clone(), Arc::clone(&phase));
            let core = runtime::second();
            thread::spawn(move || runtime::run(core, probe(&target, &phase, connected)))
        };
        // The sender goes away with a thread that has failed.
        let _ = is_connected.recv();
        Self { phase, thread: Some(thread) }
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// What was seen in the calm, and in the storm.
    fn finish(mut self) -> io::Result<(Seen, Seen)> {
        self.enter(OVER);
        let thread = self.thread.take().expect("only this takes it");
        let probed = thread.join().map_err(|_| io::Error::other("the probe panicked"))?;
        probed.map_err(|error| {
            io::Error::new(error.kind(), format!("the client that stays connected: {error}"))
        })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.enter(OVER);
    }
}

async fn probe(
    target: &Target,
    phase: &AtomicU8,
    connected: Sender<()>,
) -> io::Result<(Seen, Seen)> {
    let peer = Peer::open(target).await;
    // The receiver waits for it.
    let _ = connected.send(());
    let (mut peer, message) = (peer?, peer::message(MESSAGE)?);
    let (mut calm, mut storm) = (Seen::new(), Seen::new());
    loop {
        let before = phase.load(Ordering::Relaxed);
        if before == OVER {
            return Ok((calm, storm));
        }
        // The thread sleeps, not a timer of its runtime: that counts in whole milliseconds.
        let asleep = Instant::now();
        thread::sleep(PROBE_EVERY);
        let lateness = asleep.elapsed().saturating_sub(PROBE_EVERY);
        let awake = Instant::now();
        let took = echo(&mut peer, &message).await?;
        // What began in the calm or ended after the storm is the storm's.
        match before.max(phase.load(Ordering::Relaxed)) {
            OPENING => {}
            CALM => calm.record(awake, took, lateness),
            _ => storm.record(awake, took, lateness),
        }
    }
}

async fn echo(peer: &mut Peer, message: &Rc<[u8]>) -> io::Result<Duration> {
    let started = Instant::now();
    let echoed = monoio::time::timeout(PATIENCE, peer.echo(message)).await;
    let in_vain = |_| {
        let why = format!("it waited {PATIENCE:?} for its echo in vain");
        io::Error::new(io::ErrorKind::TimedOut, why)
    };
    echoed.map_err(in_vain)??;
    Ok(started.elapsed())
}

/// What the probe has seen.
struct Seen {
    echoes: u64,
    /// When the longest echo began, and how long it took.
    longest: Option<(Instant, Duration)>,
    echo_ns: Histogram,
    lateness_ns: Histogram,
}

impl Seen {
    fn new() -> Self {
        Self { echoes: 0, longest: None, echo_ns: histogram(), lateness_ns: histogram() }
    }

    /// An echo that began at `began`.
    fn record(&mut self, began: Instant, took: Duration, lateness: Duration) {
        let ns = |time: Duration| (time.as_nanos() as u64).min(LATENCY_MAX_NS);
        self.echoes += 1;
        if self.longest.is_none_or(|(_, longest)| longest < took) {
            self.longest = Some((began, took));
        }
        let recorded = self.echo_ns.record_correct(ns(took), ns(PROBE_EVERY));
        recorded.expect("it is no more than the highest that there is");
        self.lateness_ns.saturating_record(ns(lateness));
    }

    fn probed(&self) -> Probed {
        let (echo, lateness) = (Delay::new(&self.echo_ns), Delay::new(&self.lateness_ns));
        Probed { echoes: self.echoes, echo, lateness }
    }
}

impl Delay {
    fn new(histogram_ns: &Histogram) -> Self {
        let at = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e3;
        Self { p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
    }
}

// ---- for people ----

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "storm: {}; connections end with {}", self.server, self.ending)?;
        self.bursts.fmt(out)?;
        self.reconnect.fmt(out)?;
        self.rush.as_ref().map_or(Ok(()), |rush| rush.fmt(out))
    }
}

impl fmt::Display for Bursts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, count) = (|seconds: f64| seconds * 1e3, self.seconds.len());
        writeln!(out, " {count} bursts of {} connections", self.connections)?;
        let Self { handshakes_per_cpu_second, end_us_per_connection, .. } = self;
        writeln!(out, "  handshakes            {handshakes_per_cpu_second:>12.0} per CPU second")?;
        writeln!(out, "  end of a connection   {end_us_per_connection:>12.1} us of CPU")?;
        let (median, max) = (ms(self.median_seconds), ms(self.max_seconds));
        writeln!(out, "  a burst               {median:>12.1} ms median, {max:.1} max")?;
        writeln!(out, "  private, before       {:>12.2} MiB", mib(self.before_bytes))?;
        writeln!(out, "           after        {:>12.2} MiB", mib(self.after_bytes))?;
        match self.growth_bytes {
            Some(bytes) => {
                let kib = bytes / 1024;
                writeln!(out, "           grown        {kib:>12} KiB since burst {WARM}")
            }
            None => writeln!(out, "           grown             unknown (too few bursts)"),
        }
    }
}

impl fmt::Display for Reconnect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, window, seconds, .. } = self;
        writeln!(out, " {connections} connections end and come back, {window} at once")?;
        let rate = self.handshakes_per_cpu_second;
        writeln!(out, "  handshakes            {rate:>12.0} per CPU second, ends included")?;
        let drop_ms = self.drop_seconds * 1e3;
        writeln!(out, "  the storm             {:>12.1} ms, ends {drop_ms:.1}", seconds * 1e3)?;
        writeln!(out, "  private, before       {:>12.2} MiB", mib(self.before_bytes))?;
        writeln!(out, "           after        {:>12.2} MiB", mib(self.rest_bytes))?;
        writeln!(out, "  resident, after       {:>12.2} MiB", mib(self.rest_resident_bytes))?;
        writeln!(out, "            peak        {:>12.2} MiB", mib(self.peak_bytes))?;
        let (longest, at) = (self.longest_stall_us / 1e3, self.longest_stall_at_seconds * 1e3);
        writeln!(
            out,
            "  longest stall         {longest:>12.1} ms of a client, from {at:.1} ms on"
        )?;
        let waited = self.waited_seconds * 1e3;
        writeln!(out, "  server without a core {waited:>12.1} ms of the storm")?;
        writeln!(out, "  echoes, calm          {}", self.calm)?;
        writeln!(out, "          storm         {}", self.storm)
    }
}

impl fmt::Display for Probed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { echoes, echo, lateness } = self;
        write!(out, "{echoes:>12}: {echo}; it woke up late by {lateness}")
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_us, p99_us, max_us } = self;
        write!(out, "{p50_us:.0} us p50, {p99_us:.0} p99, {max_us:.0} max")
    }
}
