//! The contests over TLS.

use super::contest::{Contender, Contest, Of, Wanted, Work};
use super::metric::Metric;
use super::plan::{FEW, MANY, ROUNDS_OF_PROCESSES, SIZES, Suite, of_gateway, with_gateway};
use super::spread::Bound;
use crate::bounds::P99_RATIO_MAX;
use crate::peers::Peer;

/// What an echo may cost, to a bare epoll loop over the same AEAD that keeps its keys. With so many
/// in turn that all keys are cold, 1.25 would do; no more is wanted there either.
const ECHO_CPU: f64 = 1.0;

/// User space of an idle connection, in bytes: what a plain one may take, and the keys. Up to 280
/// would do.
const IDLE_BYTES: f64 = 80.0 + 144.0;

/// Handshakes per second of CPU, to those of rustls alone in a loop without sockets, and to those
/// of rustls in the bare epoll loop, which opens connections as the gateway does.
const HANDSHAKES: f64 = 0.95;

/// Connections of the contests in which nginx has two descriptors for each.
const IDLE: usize = 3000;
const STORM: usize = 5000;

/// Handshakes of the rush beside those who echo.
const RUSH: usize = 5000;

impl Suite {
    /// Its contests over TLS, with `rounds` of each.
    pub(super) fn over_tls(self, rounds: usize) -> Vec<Contest> {
        let mut contests = Vec::new();
        for connections in [FEW, MANY] {
            let echo = |size| Contest {
                contenders: with_gateway(echoing()),
                tls: true,
                wanted: wanted_of_echo(connections),
                ..self.echo(connections, size, rounds)
            };
            contests.extend(SIZES.map(echo));
        }
        contests.push(Contest {
            work: Work::Idle { connections: IDLE, settle: 0.3 },
            contenders: with_gateway(echoing()),
            tls: true,
            wanted: [Metric::UserBytes, Metric::UserBytesEchoed]
                .map(|metric| at_most(metric, IDLE_BYTES))
                .into(),
            ..self.idle(rounds)
        });
        contests.push(Contest {
            work: Work::Handshakes { burst: 500, bursts: 4 },
            contenders: with_gateway(echoing()),
            against: Contender::Peer(Peer::Epoll),
            rounds: rounds.min(ROUNDS_OF_PROCESSES),
            tls: true,
            wanted: wanted_of_handshakes(),
            ..self.storm(rounds)
        });
        let connections = STORM;
        contests.push(Contest {
            work: Work::Storm { burst: 1000, bursts: 5, connections, settle: 0.3, rush: RUSH },
            contenders: with_gateway(echoing()),
            against: Contender::Peer(Peer::Epoll),
            tls: true,
            wanted: [Metric::OthersOverTls, Metric::OthersPlain]
                .map(|metric| at_most(metric, P99_RATIO_MAX))
                .into(),
            ..self.storm(rounds)
        });
        // What it costs is shown; it is held to nothing.
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

/// CPU per message, and where keys are warm less of it than others take who do as much.
fn wanted_of_echo(connections: usize) -> Vec<Wanted> {
    let cpu = |of, bound| of_gateway(Metric::CpuPerMessage, of, bound);
    let mut wanted = vec![cpu(Of::Ratio, Bound::AtMost(ECHO_CPU))];
    if connections != MANY {
        let others = [Peer::Nginx, Peer::Uwebsockets].map(Contender::Peer);
        wanted.extend(others.map(|other| cpu(Of::RatioTo(other), Bound::LessThan(1.0))));
    }
    wanted
}

/// In full and resumed.
fn wanted_of_handshakes() -> Vec<Wanted> {
    let bounds = [
        (Metric::FullToRustls, Of::Value),
        (Metric::ResumedToRustls, Of::Value),
        (Metric::FullHandshakes, Of::Ratio),
        (Metric::ResumedHandshakes, Of::Ratio),
    ];
    bounds.map(|(metric, of)| of_gateway(metric, of, Bound::AtLeast(HANDSHAKES))).into()
}

fn at_most(metric: Metric, most: f64) -> Wanted {
    of_gateway(metric, Of::Value, Bound::AtMost(most))
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
            "storm: 5 bursts of 1000, 5000 that come back, a rush of 5000, TLS",
            "fanout: 1000 subscribers, 64 B, TLS",
        ];
        assert_eq!(titles, expected);
        for contest in &contests {
            assert_eq!(contest.contenders[0], Contender::Gateway);
            assert!(contest.tls && contest.contenders.contains(&Contender::Peer(Peer::Epoll)));
        }
    }

    /// The bounds of the contests whose titles begin so, which are the same.
    #[track_caller]
    fn bounds(start: &str) -> Vec<(Metric, Of, Bound)> {
        let contests = Suite::Tls.contests(5);
        let them = contests.iter().filter(|contest| contest.title().starts_with(start));
        let mut them = them.map(|contest| {
            let wanted = contest.wanted.iter();
            assert!(wanted.clone().all(|it| it.whom == Contender::Gateway));
            wanted.map(|it| (it.metric, it.of, it.bound)).collect::<Vec<_>>()
        });
        let first = them.next().expect("there is one");
        assert!(them.all(|other| other == first), "{start}");
        first
    }

    #[test]
    fn an_echo_is_to_cost_no_more_than_in_a_bare_loop_and_less_than_at_others() {
        let cpu = |of, bound| (Metric::CpuPerMessage, of, bound);
        let less = |peer| cpu(Of::RatioTo(Contender::Peer(peer)), Bound::LessThan(1.0));
        let bare = cpu(Of::Ratio, Bound::AtMost(1.0));
        let expected = [bare, less(Peer::Nginx), less(Peer::Uwebsockets)];
        assert_eq!(bounds("echo: 100 connections, "), expected);
        assert_eq!(bounds("echo: 5000 connections, "), [bare]);
    }

    #[test]
    fn handshakes_and_who_is_beside_them_have_bounds_too() {
        let least = |metric, of| (metric, of, Bound::AtLeast(0.95));
        let expected = [
            least(Metric::FullToRustls, Of::Value),
            least(Metric::ResumedToRustls, Of::Value),
            least(Metric::FullHandshakes, Of::Ratio),
            least(Metric::ResumedHandshakes, Of::Ratio),
        ];
        assert_eq!(bounds("handshakes: "), expected);
        let most = |metric, most| (metric, Of::Value, Bound::AtMost(most));
        let expected = [Metric::OthersOverTls, Metric::OthersPlain].map(|metric| most(metric, 3.0));
        assert_eq!(bounds("storm: "), expected);
        let expected = [Metric::UserBytes, Metric::UserBytesEchoed];
        assert_eq!(bounds("idle: "), expected.map(|metric| most(metric, 224.0)));
    }
}
