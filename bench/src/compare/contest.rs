//! Several servers at the same work, in alternation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::course::Course;
use super::metric::Metric;
use super::sample::Sample;
use super::spread::Bound;
use crate::load::Pace;
use crate::peers::Peer;
use crate::server::Choice;
use tidegate::kernel::{Driver, raise_open_files};

/// Ordinary descriptors that are left for everything that is no connection.
const DESCRIPTORS_KEPT: u64 = 1000;

/// What a contest between two builds may take: more than it does.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// Rounds that there are in any case: fewer have no quartiles worth the name.
pub const ROUNDS_MIN: usize = 5;

/// A server that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// Tidegate.
    Gateway,
    /// The same on epoll.
    ByEpoll,
    /// Another build of it, to see what a change has done.
    Before,
    /// Another one.
    Peer(Peer),
}

/// Where the gateway's programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Of [`Contender::Gateway`].
    pub gateway: PathBuf,
    /// Of [`Contender::Before`], if it takes part.
    pub before: Option<PathBuf>,
}

/// What they all do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Echoes.
    Echo {
        /// How many.
        connections: usize,
        /// Payload of a message, in bytes.
        size: usize,
        /// How long a round is, in seconds.
        seconds: f64,
        /// In a closed loop, or at a rate that all can keep up with.
        pace: Pace,
    },
    /// Connections that do nothing.
    Idle {
        /// N: so many, and twice as many.
        connections: usize,
        /// How long a server is left alone before its memory is read, in seconds.
        settle: f64,
    },
    /// Connections that come at once and go, clients that all come back at once, and over TLS
    /// handshakes beside others who echo.
    Storm {
        /// Connections of a burst.
        burst: usize,
        /// How many bursts.
        bursts: usize,
        /// Connections that come back.
        connections: usize,
        /// Handshakes beside the others, if it is over TLS; 0 for none.
        rush: usize,
        /// How long a server is left alone before its memory is read, in seconds.
        settle: f64,
    },
    /// Handshakes of TLS, in full and resumed.
    Handshakes {
        /// Connections of a burst.
        burst: usize,
        /// How many bursts of each.
        bursts: usize,
    },
    /// Messages to a connection of another shard, of a gateway within this program.
    Push {
        /// How many, one after the other.
        messages: usize,
    },
    /// One publishes, all receive.
    Fanout {
        /// Those who receive.
        subscribers: usize,
        /// Payload of a message, in bytes.
        size: usize,
        /// How long a round is, in seconds.
        seconds: f64,
        /// Shards of the gateway.
        shards: u32,
    },
}

/// Work, who does it, and what is to come of it.
#[derive(Clone, Debug)]
pub struct Contest {
    /// What is done in each round.
    pub work: Work,
    /// Whether it is done over TLS.
    pub tls: bool,
    /// In the order of the report.
    pub contenders: Vec<Contender>,
    /// Whose figures those of the others are divided by.
    pub against: Contender,
    /// How often each of them has its turn: so many times, or five if time is up before that.
    pub rounds: usize,
    /// How long the rounds of those who alternate with each other may take.
    pub time: Duration,
    /// What is wanted of the gateway, by either driver.
    pub wanted: Vec<Wanted>,
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Whose figure.
    pub whom: Contender,
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
    /// Its ratio to that of this one.
    RatioTo(Contender),
}

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

/// What is called when a step of a contest is done.
pub type Progress<'a> = &'a mut dyn FnMut();

impl Contender {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Gateway => "tidegate".into(),
            Self::ByEpoll => format!("tidegate-{}", Driver::Epoll),
            Self::Before => "before".into(),
            Self::Peer(peer) => peer.name(),
        }
    }

    pub(super) fn choice(self, programs: &Programs, tls: bool) -> Choice {
        let (gateway, peer) = match self {
            Self::Gateway | Self::ByEpoll => (Some(programs.gateway.clone()), None),
            Self::Before => (programs.before.clone(), None),
            Self::Peer(peer) => (None, Some(peer)),
        };
        let driver = (self == Self::ByEpoll).then(|| Driver::Epoll.to_string());
        Choice { gateway, peer, driver, tls, ..Choice::default() }
    }
}

impl Work {
    /// Its name in reports.
    fn title(self) -> String {
        match self {
            Self::Echo { connections, size, pace, .. } => {
                let each = match pace {
                    Pace::Closed => String::new(),
                    Pace::Open(rate) => format!(", {rate} per second"),
                };
                format!("echo: {connections} connections, {size} B{each}")
            }
            Self::Idle { connections, .. } => {
                format!("idle: what each of {connections} more connections takes")
            }
            Self::Storm { burst, bursts, connections, rush, .. } => {
                let rush = if rush > 0 { format!(", a rush of {rush}") } else { String::new() };
                format!("storm: {bursts} bursts of {burst}, {connections} that come back{rush}")
            }
            Self::Handshakes { burst, bursts } => {
                format!("handshakes: {bursts} bursts of {burst}, in full and resumed")
            }
            Self::Push { messages } => {
                format!("push: {messages} messages to a connection of another shard")
            }
            Self::Fanout { subscribers, size, shards, .. } => {
                let shards = if shards > 1 { format!(", {shards} shards") } else { String::new() };
                format!("fanout: {subscribers} subscribers, {size} B{shards}")
            }
        }
    }
}

impl Contest {
    /// Its name in reports.
    #[must_use]
    pub fn title(&self) -> String {
        self.work.title() + if self.tls { ", TLS" } else { "" }
    }

    /// Whether another build of the gateway can take part: not where it is within this program.
    #[must_use]
    pub fn is_of_programs(&self) -> bool {
        !matches!(self.work, Work::Push { .. })
    }

    /// Steps that are reported as progress.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.groups().iter().map(Vec::len).sum::<usize>() * self.rounds
    }

    /// The same work for the gateway and another build of it. They are two, so each has all
    /// `rounds`, also where with many others these would take too long.
    #[must_use]
    pub fn with_before(self, rounds: usize) -> Self {
        let contenders = vec![Contender::Gateway, Contender::Before];
        // The floor of memory stays what it is.
        let against = match self.work {
            Work::Idle { .. } => self.against,
            _ => Contender::Before,
        };
        Self { contenders, against, wanted: Vec::new(), rounds, time: AN_HOUR, ..self }
    }

    /// Lets all do the work, round by round. A server that fails drops out.
    #[must_use]
    pub fn run(&self, programs: &Programs, progress: Progress<'_>) -> Results {
        let mut results = Results::default();
        for (index, group) in self.groups().iter().enumerate() {
            let first = index * self.rounds;
            let mut course = Course { programs, contest: self, first, results, progress };
            course.run(group);
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
            _ => usize::MAX,
        }
    }
}
