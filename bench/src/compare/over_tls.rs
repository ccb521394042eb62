//! The contests over TLS.

use super::contest::{Contender, Contest, Of, Wanted, Work};
use super::metric::Metric;
use super::plan::{FEW, MANY, ROUNDS_OF_PROCESSES, SIZES, Suite, of_gateway, with_gateway};
use super::spread::Bound;
use crate::peers::Peer;

/// What an echo may cost, to a bare epoll loop over the same AEAD that keeps its keys.
const ECHO_CPU: f64 = 1.0;

/// User space of an idle connection, in bytes: what a plain one may take, and the keys.
const IDLE_BYTES: f64 = 80.0 + 144.0;

/// Connections of the contests in which nginx has two descriptors for each.
const IDLE: usize = 3000;
const STORM: usize = 5000;

impl Suite {
    /// Its contests over TLS, with `rounds` of each.
    pub(super) fn over_tls(self, rounds: usize) -> Vec<Contest> {
        let mut contests = Vec::new();
        for connections in [FEW, MANY] {
            let echo = |size| Contest {
                contenders: with_gateway(echoing()),
                tls: true,
                wanted: vec![at_most(Metric::CpuPerMessage, Of::Ratio, ECHO_CPU)],
                ..self.echo(connections, size, rounds)
            };
            contests.extend(SIZES.map(echo));
        }
        contests.push(Contest {
            work: Work::Idle { connections: IDLE, settle: 0.3 },
            contenders: with_gateway(echoing()),
            tls: true,
            wanted: [Metric::UserBytes, Metric::UserBytesEchoed]
                .map(|metric| at_most(metric, Of::Value, IDLE_BYTES))
                .into(),
            ..self.idle(rounds)
        });
        contests.push(Contest {
            work: Work::Handshakes { burst: 500, bursts: 4 },
            contenders: with_gateway(echoing()),
            against: Contender::Peer(Peer::Epoll),
            rounds: rounds.min(ROUNDS_OF_PROCESSES),
            tls: true,
            wanted: Vec::new(),
            ..self.storm(rounds)
        });
        contests.push(Contest {
            work: Work::Storm { burst: 1000, bursts: 5, connections: STORM, settle: 0.3 },
            contenders: with_gateway(echoing()),
            against: Contender::Peer(Peer::Epoll),
            tls: true,
            wanted: Vec::new(),
            ..self.storm(rounds)
        });
        contests.push(Contest { tls: true, wanted: Vec::new(), ..self.fanout((1000, 1), rounds) });
        for contest in &mut contests {
            contest.contenders.retain(|it| match it {
                Contender::Peer(peer) => peer.has_tls(),
                _ => true,
            });
        }
        contests
    }
}

/// Those that are over TLS; of libwebsockets, those that differ most.
fn echoing() -> Vec<Peer> {
    vec![Peer::Epoll, Peer::LwsLean, Peer::Lws, Peer::Uwebsockets, Peer::Nginx]
}

fn at_most(metric: Metric, of: Of, most: f64) -> Wanted {
    of_gateway(metric, of, Bound::AtMost(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_measured_has_its_like_over_tls() {
        let contests = Suite::Tls.contests(7);
        let titles: Vec<_> = contests.iter().map(Contest::title).collect();
        let expected = [
            "echo: 100 connections, 64 B, TLS",
            "echo: 100 connections, 1024 B, TLS",
            "echo: 100 connections, 16384 B, TLS",
            "echo: 5000 connections, 64 B, TLS",
            "echo: 5000 connections, 1024 B, TLS",
            "echo: 5000 connections, 16384 B, TLS",
            "idle: what each of 3000 more connections takes, TLS",
            "handshakes: 4 bursts of 500, in full and resumed, TLS",
            "storm: 5 bursts of 1000, 5000 that come back, TLS",
            "fanout: 1000 subscribers, 64 B, TLS",
        ];
        assert_eq!(titles, expected);
        for contest in &contests {
            assert_eq!(contest.contenders[0], Contender::Gateway);
            assert!(contest.tls && contest.contenders.contains(&Contender::Peer(Peer::Epoll)));
            let is_echo = matches!(contest.work, Work::Echo { .. });
            let bounds: Vec<_> = contest.wanted.iter().map(|wanted| wanted.bound).collect();
            assert!(!is_echo || bounds == [Bound::AtMost(1.0)]);
        }
    }
}
