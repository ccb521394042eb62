//! Several servers at the same work, in alternation.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::metric::Metric;
use super::spread::Bound;
use crate::idle;
use crate::latency::Latency;
use crate::load::{Load, Pace, Run, Shape};
use crate::peers::Peer;
use crate::process::CpuTime;
use crate::server::{Choice, Server};
use tidegate::uring::raise_open_files;

/// Ordinary descriptors that are left for everything that is no connection.
const DESCRIPTORS_KEPT: u64 = 1000;

/// A server that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// Tidegate.
    Gateway,
    /// Another one.
    Peer(Peer),
}

/// What they all do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Closed loops of echoes.
    Echo {
        /// How many.
        connections: usize,
        /// Payload of a message, in bytes.
        size: usize,
        /// How long a round is, in seconds.
        seconds: f64,
    },
    /// Connections that do nothing.
    Idle {
        /// N: so many, and twice as many.
        connections: usize,
        /// How long a server is left alone before its memory is read, in seconds.
        settle: f64,
    },
}

/// Work, who does it, and what is to come of it.
#[derive(Clone, Debug)]
pub struct Contest {
    /// What is done in each round.
    pub work: Work,
    /// In the order of the report.
    pub contenders: Vec<Contender>,
    /// Whose figures those of the others are divided by.
    pub against: Contender,
    /// How often each of them has its turn.
    pub rounds: usize,
    /// What is wanted of the gateway.
    pub wanted: Vec<Wanted>,
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The figure.
    pub metric: Metric,
    /// Itself, or its ratio.
    pub of: Of,
    /// What is wanted.
    pub bound: Bound,
}

/// Which number a bound is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The figure itself.
    Value,
    /// Its ratio to that of the server it is compared with.
    Ratio,
}

/// The figures of one round of one server.
pub type Sample = BTreeMap<Metric, f64>;

/// What came of a contest.
#[derive(Debug, Default)]
pub struct Results {
    /// The figures by round. Rounds of the same number followed upon each other.
    pub samples: BTreeMap<Contender, BTreeMap<usize, Sample>>,
    /// Who had to be left out in the course of it, and why.
    pub failures: BTreeMap<Contender, String>,
    /// How the servers describe themselves.
    pub descriptions: BTreeMap<Contender, String>,
}

/// What happens at each step of a contest.
pub type Progress<'a> = &'a mut dyn FnMut();

impl Contender {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Gateway => "tidegate".into(),
            Self::Peer(peer) => peer.name(),
        }
    }

    fn choice(self, gateway: &Path) -> Choice {
        match self {
            Self::Gateway => Choice { gateway: Some(gateway.to_owned()), ..Choice::default() },
            Self::Peer(peer) => Choice { peer: Some(peer), ..Choice::default() },
        }
    }
}

impl Work {
    /// Its name in reports.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Echo { connections, size, .. } => {
                format!("echo: {connections} connections, {size} B")
            }
            Self::Idle { connections, .. } => {
                format!("idle: what each of {connections} more connections takes")
            }
        }
    }
}

impl Contest {
    /// Steps that are reported as progress.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.groups().iter().map(Vec::len).sum::<usize>() * self.rounds
    }

    /// Lets all do the work, round by round; `gateway` is Tidegate's program. A server that fails
    /// drops out.
    #[must_use]
    pub fn run(&self, gateway: &Path, progress: Progress<'_>) -> Results {
        let mut results = Results::default();
        for (index, group) in self.groups().iter().enumerate() {
            let mut course =
                Course { contest: self, gateway, first: index * self.rounds, results, progress };
            match self.work {
                Work::Echo { connections, size, seconds } => {
                    let shape = Shape { connections, size, threads: 1 };
                    course.echo(group, shape, Duration::from_secs_f64(seconds));
                }
                Work::Idle { connections, settle } => course.idle(group, connections, settle),
            }
            results = course.results;
        }
        results
    }

    /// Those who alternate with each other: everybody, if this process may have as many open files.
    /// Else the gateway and the one it is measured against take part in every group.
    fn groups(&self) -> Vec<Vec<Contender>> {
        let always = [self.against, Contender::Gateway];
        let always: Vec<_> =
            self.contenders.iter().copied().filter(|it| always.contains(it)).collect();
        let others: Vec<_> =
            self.contenders.iter().copied().filter(|it| !always.contains(it)).collect();
        let room = self.room().saturating_sub(always.len()).max(1);
        if others.is_empty() {
            return vec![always];
        }
        others.chunks(room).map(|some| [&always, some].concat()).collect()
    }

    /// How many servers can be open at once.
    fn room(&self) -> usize {
        match self.work {
            Work::Echo { connections, .. } => {
                let files = raise_open_files().unwrap_or(0).saturating_sub(DESCRIPTORS_KEPT);
                files as usize / connections.max(1)
            }
            // One after the other, each anew in each round.
            Work::Idle { .. } => usize::MAX,
        }
    }
}

/// A contest of one group that goes on.
struct Course<'a, 'b> {
    contest: &'a Contest,
    gateway: &'a Path,
    /// The number of this group's first round.
    first: usize,
    results: Results,
    progress: Progress<'b>,
}

/// A server with its load.
struct Seat {
    contender: Contender,
    // Dropped, so closed, before its server is.
    load: Load,
    _server: Server,
}

impl Course<'_, '_> {
    fn echo(&mut self, group: &[Contender], shape: Shape, time: Duration) {
        let mut seats = Vec::new();
        for &contender in group {
            match self.seat(contender, shape, time) {
                Ok(seat) => seats.push(seat),
                Err(error) => self.fail(contender, &error),
            }
        }
        for round in 0..self.contest.rounds {
            for turn in 0..seats.len() {
                let seat = &seats[(round + turn) % seats.len()];
                match seat.load.run(time, Pace::Closed) {
                    Ok(run) => self.record(seat.contender, round, echo_sample(&run)),
                    Err(error) => self.fail(seat.contender, &error),
                }
                (self.progress)();
            }
            seats.retain(|seat| !self.results.failures.contains_key(&seat.contender));
        }
    }

    /// Starts a server, opens all connections to it and runs once unmeasured.
    fn seat(&mut self, contender: Contender, shape: Shape, time: Duration) -> io::Result<Seat> {
        let server = Server::find(&contender.choice(self.gateway))?;
        self.results.descriptions.insert(contender, server.description.clone());
        let load = Load::open(&server, shape)?;
        load.run(time, Pace::Closed)?;
        Ok(Seat { contender, load, _server: server })
    }

    fn idle(&mut self, group: &[Contender], connections: usize, settle: f64) {
        let arguments = |contender: Contender| idle::Arguments {
            server: contender.choice(self.gateway),
            connections,
            rounds: 1,
            settle,
        };
        for round in 0..self.contest.rounds {
            let floor = idle::Floor::measure(&arguments(self.contest.against));
            let floor = floor.map_err(|error| error.to_string());
            for turn in 0..group.len() {
                let contender = group[(round + turn) % group.len()];
                if self.results.failures.contains_key(&contender) {
                    continue;
                }
                match idle::run_beside(&arguments(contender), &floor) {
                    Ok(report) => {
                        self.results.descriptions.insert(contender, report.server.clone());
                        self.record(contender, round, idle_sample(&report));
                    }
                    Err(error) => self.fail(contender, &error),
                }
                (self.progress)();
            }
        }
    }

    fn record(&mut self, contender: Contender, round: usize, sample: Sample) {
        self.results.samples.entry(contender).or_default().insert(self.first + round, sample);
    }

    fn fail(&mut self, contender: Contender, error: &io::Error) {
        self.results.failures.insert(contender, error.to_string());
    }
}

fn echo_sample(run: &Run) -> Sample {
    let (seconds, messages) = (run.time.as_secs_f64(), run.tally.messages as f64);
    let cores = |cpu: CpuTime| cpu.total().as_secs_f64() / seconds;
    let mut sample = Sample::from([
        (Metric::P99, Latency::new(&run.tally.latency_ns).p99_us),
        (Metric::MessagesPerSecond, messages / seconds),
        (Metric::GeneratorCores, cores(run.generator)),
    ]);
    if let Some(cpu) = run.server {
        sample.insert(Metric::CpuPerMessage, cpu.total().as_secs_f64() * 1e6 / messages);
        sample.insert(Metric::ServerCores, cores(cpu));
    }
    sample
}

fn idle_sample(report: &idle::Report) -> Sample {
    let mut sample = Sample::from([
        (Metric::UserBytes, report.silent.bytes_per_connection),
        (Metric::UserBytesEchoed, report.echoed.bytes_per_connection),
    ]);
    if let Ok(kernel) = &report.kernel {
        sample.insert(Metric::KernelBytes, kernel.beyond_bytes);
        sample.insert(Metric::Whole, kernel.ratio);
    }
    sample
}
