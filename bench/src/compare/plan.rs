//! Which contests a suite has.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::contest::{Contender, Contest, Of, Wanted, Work};
use super::metric::Metric;
use super::spread::Bound;
use crate::load::Pace;
use crate::peers::Peer;

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// What people ask first, in about ten minutes on two cores.
    Quick,
    /// The same over TLS, in about a quarter of an hour.
    Tls,
    /// Everything, with every server.
    Full,
}

/// Connections of the echo contests.
pub(super) const FEW: usize = 100;
pub(super) const MANY: usize = 5000;

/// Messages per second of the open loops: a fraction of what the slowest can, and so few that a
/// server sleeps before nearly each.
const RATES: [f64; 2] = [10_000.0, 1000.0];

/// Payloads of the echo contests, in bytes.
pub(super) const SIZES: [usize; 3] = [64, 1024, 16 << 10];

impl Suite {
    /// Its contests, with `rounds` of each.
    #[must_use]
    pub fn contests(self, rounds: usize) -> Vec<Contest> {
        if self == Self::Tls {
            return self.over_tls(rounds);
        }
        let mut contests = Vec::new();
        for connections in [FEW, MANY] {
            contests.extend(SIZES.map(|size| self.echo(connections, size, rounds)));
        }
        contests.extend(RATES.map(|rate| self.at_a_rate(rate, rounds)));
        contests.push(self.idle(rounds));
        contests.push(self.storm(rounds));
        contests.push(self.push(rounds));
        let fanouts: &[_] = match self {
            Self::Quick | Self::Tls => &[(1000, 1)],
            Self::Full => &[(1000, 1), (10_000, 1), (10_000, 2)],
        };
        contests.extend(fanouts.iter().map(|&it| self.fanout(it, rounds)));
        if self == Self::Full {
            contests.extend(self.over_tls(rounds));
        }
        contests
    }

    /// What a contest may take.
    pub(super) fn time(self) -> Duration {
        match self {
            Self::Quick | Self::Tls => Duration::from_secs(35),
            Self::Full => Duration::from_secs(60),
        }
    }

    pub(super) fn echo(self, connections: usize, size: usize, rounds: usize) -> Contest {
        let everybody = self == Self::Full || (connections, size) == (FEW, SIZES[0]);
        let peers = if everybody { echoing() } else { vec![Peer::Epoll, Peer::LwsLean, Peer::Lws] };
        Contest {
            work: Work::Echo { connections, size, seconds: 0.5, pace: Pace::Closed },
            contenders: with_gateway(peers),
            against: Contender::Peer(Peer::Epoll),
            rounds,
            time: self.time(),
            tls: false,
            wanted: wanted_of_echo(connections, size),
        }
    }

    /// Latency where neither the server nor the load generator is busy all the time.
    fn at_a_rate(self, rate: f64, rounds: usize) -> Contest {
        let (connections, size, pace) = (FEW, SIZES[0], Pace::Open(rate));
        Contest {
            work: Work::Echo { connections, size, seconds: 0.5, pace },
            wanted: wanted_at_a_rate(),
            ..self.echo(connections, size, rounds)
        }
    }

    pub(super) fn idle(self, rounds: usize) -> Contest {
        let (peers, connections) = match self {
            Self::Quick | Self::Tls => (vec![Peer::LwsLean, Peer::Lws], 3000),
            Self::Full => (echoing().into_iter().filter(|&it| it != Peer::Epoll).collect(), 5000),
        };
        Contest {
            work: Work::Idle { connections, settle: 0.3 },
            contenders: with_gateway(peers),
            against: Contender::Peer(Peer::Hold),
            rounds: rounds.min(ROUNDS_OF_PROCESSES),
            time: self.time(),
            tls: false,
            wanted: wanted_of_idle(),
        }
    }

    pub(super) fn storm(self, rounds: usize) -> Contest {
        let (peers, bursts, connections) = match self {
            Self::Quick | Self::Tls => (vec![Peer::Epoll, Peer::LwsLean, Peer::Lws], 5, 5000),
            Self::Full => (storming(), 20, 15_000),
        };
        let handshakes = |metric| of_gateway(metric, Of::Ratio, Bound::AtLeast(3.0));
        Contest {
            work: Work::Storm { burst: 1000, bursts, connections, settle: 0.3, rush: 0 },
            contenders: with_gateway(peers),
            // As it comes: lean, no more than 64 can be opening at once.
            against: Contender::Peer(Peer::Lws),
            rounds: rounds.min(ROUNDS_OF_PROCESSES),
            time: self.time(),
            tls: false,
            wanted: vec![handshakes(Metric::BurstHandshakes), handshakes(Metric::Handshakes)],
        }
    }

    /// Nobody else has shards to push across.
    fn push(self, rounds: usize) -> Contest {
        let bound = Bound::AtMost(PUSH_P99_US);
        Contest {
            work: Work::Push { messages: 5000 },
            contenders: vec![Contender::Gateway],
            against: Contender::Gateway,
            rounds: rounds.min(ROUNDS_OF_PROCESSES),
            time: self.time(),
            tls: false,
            wanted: vec![of_gateway(Metric::PushP99, Of::Value, bound)],
        }
    }

    /// Those who hand a message on; in the quick suite and beside several shards, only the floor: a
    /// loop of `send()`.
    pub(super) fn fanout(self, (subscribers, shards): (usize, u32), rounds: usize) -> Contest {
        let everybody = self == Self::Full && shards == 1;
        let has_rooms = |peer: &Peer| peer.has_rooms() && (everybody || *peer == Peer::Epoll);
        let peers = Peer::value_variants().iter().copied().filter(has_rooms);
        let most = if shards == 1 { FANOUT_CPU } else { FANOUT_CPU_OF_TWO };
        let at_most = |whom, most| {
            let bound = Bound::AtMost(most);
            Wanted { whom, metric: Metric::CpuPerDelivery, of: Of::Ratio, bound }
        };
        let mut wanted = vec![at_most(Contender::Gateway, most)];
        if shards == 1 {
            wanted.push(at_most(Contender::ByEpoll, FANOUT_CPU_BY_EPOLL));
        }
        Contest {
            work: Work::Fanout { subscribers, size: 64, seconds: 1.0, shards },
            contenders: with_gateway(peers.collect()),
            against: Contender::Peer(Peer::Epoll),
            rounds: rounds.min(ROUNDS_OF_PROCESSES),
            time: self.time(),
            tls: false,
            wanted,
        }
    }
}

/// What a push to a connection of another shard may take, in microseconds: its p99.
const PUSH_P99_US: f64 = 100.0;

/// What a delivery may cost, to a bare loop of `send()`: of one shard, and of two, which have to
/// tell each other.
const FANOUT_CPU: f64 = 0.85;
const FANOUT_CPU_OF_TWO: f64 = 1.05;

/// And by epoll, which is a loop of `send()` that looks at what it sends.
const FANOUT_CPU_BY_EPOLL: f64 = 1.05;

/// What an echo may cost by epoll, to a bare loop of the same calls that checks nothing.
const ECHO_CPU_BY_EPOLL: f64 = 1.03;

/// Rounds of a contest in which every round starts every server anew: each takes seconds.
pub(super) const ROUNDS_OF_PROCESSES: usize = 5;

/// Every peer that echoes by itself.
fn echoing() -> Vec<Peer> {
    let others = [Peer::Hold, Peer::Nginx, Peer::Haproxy];
    Peer::value_variants().iter().copied().filter(|peer| !others.contains(peer)).collect()
}

/// Of those that differ in their buffers or their loop, the one that comes first to mind.
fn storming() -> Vec<Peer> {
    let others =
        [Peer::LwsUvLean, Peer::LwsEvLean, Peer::TungsteniteLean, Peer::FastwebsocketsLean];
    echoing().into_iter().filter(|peer| !others.contains(peer)).collect()
}

pub(super) fn with_gateway(peers: Vec<Peer>) -> Vec<Contender> {
    let peers = peers.into_iter().map(Contender::Peer);
    [Contender::Gateway, Contender::ByEpoll].into_iter().chain(peers).collect()
}

/// CPU per message, and a p99 that is no longer than that of who checks nothing.
fn wanted_of_echo(connections: usize, size: usize) -> Vec<Wanted> {
    let cpu = match (connections, size) {
        (MANY, _) => 0.92,
        (_, 0..=1024) => 0.95,
        // Unmasking, which the bare loop does as well, is more of the whole here.
        _ => 1.0,
    };
    let mut wanted = cpu_and_p99(cpu);
    wanted.push(Wanted {
        whom: Contender::ByEpoll,
        metric: Metric::CpuPerMessage,
        of: Of::Ratio,
        bound: Bound::AtMost(ECHO_CPU_BY_EPOLL),
    });
    wanted
}

/// A server that sleeps before each message cannot share calls into the kernel between messages.
fn wanted_at_a_rate() -> Vec<Wanted> {
    cpu_and_p99(1.05)
}

fn cpu_and_p99(cpu: f64) -> Vec<Wanted> {
    let at_most = |metric, most| of_gateway(metric, Of::Ratio, Bound::AtMost(most));
    vec![at_most(Metric::CpuPerMessage, cpu), at_most(Metric::P99, 1.0)]
}

pub(super) fn of_gateway(metric: Metric, of: Of, bound: Bound) -> Wanted {
    Wanted { whom: Contender::Gateway, metric, of, bound }
}

fn wanted_of_idle() -> Vec<Wanted> {
    let (gateway, by_epoll) = (Contender::Gateway, Contender::ByEpoll);
    let bounds = [
        (gateway, Metric::UserBytes, 80.0),
        (gateway, Metric::UserBytesEchoed, 80.0),
        (gateway, Metric::KernelBytes, 300.0),
        (gateway, Metric::Whole, 1.1),
        (by_epoll, Metric::UserBytes, 90.0),
        (by_epoll, Metric::UserBytesEchoed, 90.0),
        (by_epoll, Metric::KernelBytes, 260.0),
    ];
    let wanted = bounds.map(|(whom, metric, most)| {
        let bound = Bound::AtMost(most);
        Wanted { whom, metric, of: Of::Value, bound }
    });
    wanted.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds of the contest with this title.
    fn bounds(suite: Suite, title: &str) -> Vec<(Metric, Bound)> {
        let contests = suite.contests(5);
        let contest = contests.iter().find(|it| it.title() == title);
        let contest = contest.unwrap_or_else(|| panic!("no contest is called {title}"));
        let own = contest.wanted.iter().filter(|wanted| wanted.whom == Contender::Gateway);
        own.map(|wanted| (wanted.metric, wanted.bound)).collect()
    }

    #[test]
    fn by_epoll_an_echo_may_cost_little_more_than_a_bare_loop() {
        for contest in Suite::Full.contests(5) {
            let own = contest.wanted.iter().find(|wanted| wanted.whom == Contender::ByEpoll);
            let closed = matches!(contest.work, Work::Echo { pace: Pace::Closed, .. });
            // Over TLS it is not held to anything of its own.
            assert!(
                !closed || contest.tls || own.is_some_and(|own| own.bound == Bound::AtMost(1.03))
            );
        }
    }

    #[test]
    fn every_echo_wants_something_of_cpu_and_p99() {
        for (title, cpu) in [
            ("echo: 100 connections, 64 B", 0.95),
            ("echo: 100 connections, 1024 B", 0.95),
            ("echo: 100 connections, 16384 B", 1.0),
            ("echo: 5000 connections, 64 B", 0.92),
            ("echo: 5000 connections, 16384 B", 0.92),
            ("echo: 100 connections, 64 B, 10000 per second", 1.05),
            ("echo: 100 connections, 64 B, 1000 per second", 1.05),
        ] {
            let expected = vec![
                (Metric::CpuPerMessage, Bound::AtMost(cpu)),
                (Metric::P99, Bound::AtMost(1.0)),
            ];
            for suite in [Suite::Quick, Suite::Full] {
                assert_eq!(bounds(suite, title), expected, "{title}");
            }
        }
    }

    #[test]
    fn the_full_suite_has_all_of_this_with_every_server() {
        let contests = Suite::Full.contests(7);
        let titles: Vec<_> = contests.iter().map(Contest::title).collect();
        let expected = [
            "echo: 100 connections, 64 B",
            "echo: 100 connections, 1024 B",
            "echo: 100 connections, 16384 B",
            "echo: 5000 connections, 64 B",
            "echo: 5000 connections, 1024 B",
            "echo: 5000 connections, 16384 B",
            "echo: 100 connections, 64 B, 10000 per second",
            "echo: 100 connections, 64 B, 1000 per second",
            "idle: what each of 5000 more connections takes",
            "storm: 20 bursts of 1000, 15000 that come back",
            "push: 5000 messages to a connection of another shard",
            "fanout: 1000 subscribers, 64 B",
            "fanout: 10000 subscribers, 64 B",
            "fanout: 10000 subscribers, 64 B, 2 shards",
        ];
        assert_eq!(titles[..expected.len()], expected);
        // What is over TLS is held in its own place.
        assert!(titles[expected.len()..].iter().all(|title| title.ends_with(", TLS")));
        for contest in &contests[..expected.len()] {
            let names: Vec<_> = contest.contenders.iter().map(|it| it.name()).collect();
            let is_alone = contest.title().starts_with("push");
            let is_of_two = contest.title().ends_with("2 shards");
            let everybody = !is_alone && !is_of_two;
            // The native one, and the one under Python, which is not named like it.
            for name in ["uwebsockets", "uwebsockets-python"] {
                assert_eq!(names.iter().any(|it| it == name), everybody, "{names:?}");
            }
            assert!(!contest.wanted.is_empty() && names[0] == "tidegate", "{names:?}");
        }
    }

    #[test]
    fn fan_out_of_one_shard_is_to_cost_less_than_a_loop_of_sends() {
        let expected = vec![(Metric::CpuPerDelivery, Bound::AtMost(0.85))];
        for suite in [Suite::Quick, Suite::Full] {
            assert_eq!(bounds(suite, "fanout: 1000 subscribers, 64 B"), expected);
        }
    }

    #[test]
    fn a_push_across_shards_has_a_bound_in_both_suites() {
        let title = "push: 5000 messages to a connection of another shard";
        for suite in [Suite::Quick, Suite::Full] {
            assert_eq!(bounds(suite, title), [(Metric::PushP99, Bound::AtMost(100.0))]);
        }
        // It is within this program, so another build of the gateway cannot take its place.
        let contests = Suite::Full.contests(5);
        assert!(contests.iter().any(|it| it.title() == title && !it.is_of_programs()));
    }
}
