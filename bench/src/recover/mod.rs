//! All who come back at once: very many clients that say where they stood, and get what was
//! published meanwhile, while others on the same gateway go on with what they do.
//!
//! Each round has a gateway of its own, with a history in each topic. The clients come on one
//! thread, the others on another, and what the others see is stamped by the kernel (`others.rs`):
//! so it is the gateway that is measured where the load generator has less than a core for all of
//! it.

mod crowd;
mod hearing;
mod stage;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use self::crowd::{Crowd, Outcome, Plan};
use self::stage::Stage;
use crate::arguments::{count, event_text, rate, some_seconds, window};
use crate::bounds::{self, BoundReport, TURN_MAX_NS};
use crate::others::{Others, Phase, Seen, Shape};
use crate::process::{CpuTime, peak_resident_bytes, waited_for_cpu};
use crate::progress::{self, Bar};
use crate::runtime;
use crate::scrape::Scrape;

/// How long the gateway's counters may be behind: a tick of a shard, twice over.
const TICKS: Duration = Duration::from_millis(600);

const MIB: u64 = 1 << 20;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Clients that come back. They come evenly to all topics.
    #[arg(long, short, default_value_t = 15_000, value_parser = count)]
    pub clients: usize,
    /// Topics with a history.
    #[arg(long, default_value_t = 15, value_parser = count)]
    pub topics: usize,
    /// Messages in the history of each topic, all of which each of its clients has missed.
    #[arg(long, default_value_t = 1000, value_parser = count)]
    pub history: usize,
    /// Text of each message, in bytes.
    #[arg(long, short, default_value_t = 1024, value_parser = event_text)]
    pub size: usize,
    /// Shards of the gateway.
    #[arg(long, default_value_t = 1)]
    pub shards: u32,
    /// How often all come back, each time to a gateway that was started for it.
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub rounds: usize,
    /// Clients that are opening at once.
    #[arg(long, default_value_t = 1000, value_parser = window)]
    pub window: usize,
    /// Other clients of the same gateway, whose messages are echoed.
    #[arg(long, default_value_t = 200, value_parser = count)]
    pub others: usize,
    /// Echoes per second of all others together.
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub rate: f64,
    /// How long the others are watched before the clients come, in seconds.
    #[arg(long, default_value_t = 4.0, value_parser = some_seconds)]
    pub quiet: f64,
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long)]
    pub gateway: Option<PathBuf>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the gateway says of itself.
    pub server: String,
    /// Clients that came back.
    pub clients: usize,
    /// Topics that they came back to.
    pub topics: usize,
    /// Messages that each of them had missed.
    pub history: usize,
    /// Text of each, in bytes.
    pub size: usize,
    /// Other clients.
    pub others: usize,
    /// In their order.
    pub rounds: Vec<Round>,
}

/// What was seen when all came back once.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Clients that got all that they missed, without a gap.
    pub whole: usize,
    /// Clients that were told of a gap, and got all that was kept.
    pub gaps: usize,
    /// Clients that were closed, dropped or refused, or heard something else than they should, by
    /// what happened. None is wanted.
    pub lost: BTreeMap<String, usize>,
    /// Bytes that came to all of them, with frame headers.
    pub bytes: u64,
    /// From the first connect until the last client was open, in seconds.
    pub open_seconds: f64,
    /// From the first connect until each had all, in seconds.
    pub seconds: f64,
    /// From a client's own connect until it had all.
    pub each: Each,
    /// Turns of the loops of all shards meanwhile.
    pub turns: u64,
    /// A bound that the longest of them kept, in milliseconds: the gateway counts them in buckets
    /// that double.
    pub longest_turn_ms: f64,
    /// Turns in buckets that reach beyond five milliseconds. None is wanted.
    pub long_turns: u64,
    /// What the others saw before.
    pub quiet: Seen,
    /// What they saw while the clients came back.
    pub busy: Seen,
    /// The p99 of their echoes, to that before. At most 3 is wanted.
    pub p99_ratio: f64,
    /// What is wanted, and whether it was so.
    pub bounds: Vec<BoundReport>,
    /// Messages that the gateway told clients of what they had missed.
    pub recovered: u64,
    /// Messages that it had to leave out.
    pub left_out: u64,
    /// CPU that the gateway used, in cores.
    pub server_cores: f64,
    /// How long its threads were ready to run and had no core, in seconds: the longest turn and the
    /// others' echoes may be longer by that.
    pub waited_seconds: f64,
    /// CPU that the load generator used, in cores.
    pub generator_cores: f64,
    /// The most memory that the gateway had resident, in bytes.
    pub peak_bytes: u64,
}

/// Percentiles of times in seconds; zeros if there are none.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Each {
    pub p50_seconds: f64,
    pub p99_seconds: f64,
    pub max_seconds: f64,
}

impl Each {
    /// Of times with the shortest first.
    fn new(sorted: &[Duration]) -> Self {
        let at = |quantile: f64| {
            let index = (sorted.len() as f64 * quantile).ceil() as usize;
            sorted.get(index.saturating_sub(1)).map_or(0.0, Duration::as_secs_f64)
        };
        Self { p50_seconds: at(0.5), p99_seconds: at(0.99), max_seconds: at(1.0) }
    }
}

/// Measures.
///
/// # Errors
/// The gateway did not start or did not take the histories, or one of the others failed. That
/// clients are lost is in the report.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let mut server = String::new();
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        let stage = Stage::set(arguments)?;
        server.clone_from(&stage.server.description);
        rounds.push(round(arguments, &stage)?);
    }
    let Arguments { clients, topics, history, size, others, .. } = *arguments;
    Ok(Report { server, clients, topics, history, size, others, rounds })
}

/// Lets all come back once.
fn round(arguments: &Arguments, stage: &Stage) -> io::Result<Round> {
    let plan = Plan {
        address: stage.server.target.address,
        paths: stage.paths.clone(),
        clients: arguments.clients,
        window: arguments.window,
    };
    let shape = Shape { connections: arguments.others, rate: arguments.rate };
    let others = Others::start(&stage.server.target, shape);
    thread::sleep(TICKS);
    others.enter(Phase::Quiet);
    thread::sleep(Duration::from_secs_f64(arguments.quiet));
    let (pid, admin) = (stage.server.known_pid()?, stage.admin);
    let before = Look { scrape: Scrape::of(admin)?, used: Used::of(pid)? };
    others.enter(Phase::Busy);
    let mut come = Come::new(arguments);
    let (outcome, after) = runtime::aside(|| {
        let mut crowd = Crowd::new(&plan)?;
        crowd.come_back(&mut |bytes| come.advance(bytes))?;
        others.enter(Phase::Over);
        let used = Used::of(pid)?;
        // The clients are still there: their ends are not part of it.
        thread::sleep(TICKS);
        Ok((crowd.into_outcome(), Look { used, scrape: Scrape::of(admin)? }))
    })?;
    let [quiet, busy] = others.finish()?;
    let mut round = Round::new(&outcome, &before, &after, [quiet, busy]);
    round.peak_bytes = peak_resident_bytes(pid)?;
    Ok(round)
}

/// Shows how much has come to all. They have what they missed at about the same time, so how many
/// do says little.
struct Come {
    bar: Bar,
    bytes: u64,
}

impl Come {
    fn new(arguments: &Arguments) -> Self {
        let Arguments { clients, history, size, .. } = *arguments;
        let all = clients as u64 * history as u64 * size as u64 / MIB;
        Self { bar: progress::bar(all, "MiB have come"), bytes: 0 }
    }

    fn advance(&mut self, bytes: u64) {
        let before = self.bytes / MIB;
        self.bytes += bytes;
        self.bar.advance(self.bytes / MIB - before);
    }
}

/// What the gateway and this process have used so far.
#[derive(Clone, Copy, Debug)]
struct Used {
    server: CpuTime,
    generator: CpuTime,
    /// What the gateway waited for a core.
    waited: Duration,
}

impl Used {
    fn of(pid: u32) -> io::Result<Self> {
        let generator = CpuTime::of(std::process::id())?;
        Ok(Self { server: CpuTime::of(pid)?, generator, waited: waited_for_cpu(pid)? })
    }
}

/// A look at the gateway.
struct Look {
    used: Used,
    scrape: Scrape,
}

impl Round {
    /// What was seen between two looks; the peak of the memory is not known yet.
    fn new(outcome: &Outcome, before: &Look, after: &Look, [quiet, busy]: [Seen; 2]) -> Self {
        let seconds = outcome.took.as_secs_f64();
        let cores = |time: CpuTime| time.total().as_secs_f64() / seconds;
        let grown = |name: &str| (after.scrape.sum(name) - before.scrape.sum(name)) as u64;
        let turns = after.scrape.turns_since(&before.scrape);
        let (now, earlier) = (after.used, before.used);
        Self {
            whole: outcome.whole,
            gaps: outcome.gaps,
            lost: outcome.lost.clone(),
            bytes: outcome.bytes,
            open_seconds: outcome.opened_in.as_secs_f64(),
            seconds,
            each: Each::new(&outcome.each),
            turns: turns.count(),
            longest_turn_ms: turns.longest_ns() as f64 / 1e6,
            long_turns: turns.beyond(TURN_MAX_NS),
            quiet,
            busy,
            p99_ratio: busy.echo.p99_us / quiet.echo.p99_us,
            bounds: vec![
                bounds::of_clients(outcome.lost.values().sum()),
                bounds::of_turns(&turns),
                bounds::of_others(&quiet, &busy),
            ],
            recovered: grown("tidegate_recovered_total"),
            left_out: grown("tidegate_recovery_left_out_total"),
            server_cores: cores(now.server - earlier.server),
            waited_seconds: now.waited.saturating_sub(earlier.waited).as_secs_f64(),
            generator_cores: cores(now.generator - earlier.generator),
            peak_bytes: 0,
        }
    }

    /// Clients that are lost.
    fn lost(&self) -> usize {
        self.lost.values().sum()
    }
}

impl Report {
    /// The bounds that are not known to be reached, of all rounds.
    #[must_use]
    pub fn not_reached(&self) -> Vec<String> {
        let bounds = self.rounds.iter().flat_map(|round| &round.bounds);
        bounds.filter(|bound| !bound.is_reached()).map(ToString::to_string).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, clients, topics, history, size, .. } = self;
        writeln!(out, "recover: {server}; {clients} clients come back to {topics} topics at once")?;
        writeln!(out, "  each has missed {history} messages of {size} B")?;
        self.rounds.iter().try_for_each(|round| round.fmt(out))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Self { whole, gaps, seconds, open_seconds, each, .. } = self;
        writeln!(out, "  got all of it         {whole:>12}; told of a gap: {gaps}")?;
        writeln!(out, "  lost                  {:>12}", self.lost())?;
        for (why, count) in &self.lost {
            writeln!(out, "    {count:>10} x {why}")?;
        }
        writeln!(out, "  came to them          {:>12.0} MiB", mib(self.bytes))?;
        writeln!(
            out,
            "  all had it after      {seconds:>12.1} s, all were open {open_seconds:.1}"
        )?;
        let Each { p50_seconds, p99_seconds, max_seconds } = each;
        write!(out, "  each after            {p50_seconds:>12.1} s p50, ")?;
        writeln!(out, "{p99_seconds:.1} p99, {max_seconds:.1} max")?;
        let (longest, long, turns) = (self.longest_turn_ms, self.long_turns, self.turns);
        write!(out, "  longest turn up to    {longest:>12.1} ms; of {turns}, ")?;
        writeln!(out, "{long} may have been above 5")?;
        writeln!(out, "  others, quiet         {}", self.quiet)?;
        writeln!(out, "          meanwhile     {}", self.busy)?;
        let ratio = self.p99_ratio;
        writeln!(out, "          p99, ratio    {ratio:>12.2}")?;
        let (recovered, left_out) = (self.recovered, self.left_out);
        writeln!(out, "  gateway told          {recovered:>12} messages, left out {left_out}")?;
        let waited_ms = self.waited_seconds * 1e3;
        writeln!(
            out,
            "  gateway               {:>12.2} cores, without one for {waited_ms:.1} ms",
            self.server_cores
        )?;
        writeln!(out, "           peak         {:>12.1} MiB", mib(self.peak_bytes))?;
        writeln!(out, "  generator             {:>12.2} cores", self.generator_cores)?;
        self.bounds.iter().try_for_each(|bound| writeln!(out, "  {bound}"))
    }
}
