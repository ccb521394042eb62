//! The rounds of a contest.

use std::io;
use std::time::{Duration, Instant};

use super::contest::{Contender, Contest, Programs, Progress, ROUNDS_MIN, Results, Work};
use super::sample::{self, Sample};
use crate::fleet::Ending;
use crate::load::{Load, Pace, Shape};
use crate::server::{Choice, Server};
use crate::tls::Exchange;
use crate::{fanout, handshakes, hub, idle, storm};

/// Connections of a storm that are opening at once.
const WINDOW: usize = 1000;

/// Clients that echo beside a rush.
const OTHERS: usize = 500;

/// A contest of one group that goes on.
pub(super) struct Course<'a, 'b> {
    pub(super) programs: &'a Programs,
    pub(super) contest: &'a Contest,
    /// The number of this group's first round.
    pub(super) first: usize,
    pub(super) results: Results,
    pub(super) progress: Progress<'b>,
}

/// A server with its load.
struct Seat {
    contender: Contender,
    // Dropped, so closed, before its server is.
    load: Load,
    _server: Server,
}

/// The numbers of the rounds.
struct Rounds {
    next: usize,
    most: usize,
    until: Instant,
}

impl Rounds {
    /// The time begins now.
    fn of(contest: &Contest) -> Self {
        Self { next: 0, most: contest.rounds, until: Instant::now() + contest.time }
    }
}

impl Iterator for Rounds {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let is_over = self.next >= ROUNDS_MIN && Instant::now() > self.until;
        if self.next == self.most || is_over {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

impl Course<'_, '_> {
    /// All rounds with those of `group`.
    pub(super) fn run(&mut self, group: &[Contender]) {
        match self.contest.work {
            Work::Echo { connections, size, seconds, pace } => {
                let shape = Shape { connections, size, threads: 1 };
                self.echo(group, shape, (Duration::from_secs_f64(seconds), pace));
            }
            Work::Idle { connections, settle } => self.idle(group, connections, settle),
            Work::Storm { burst, bursts, connections, settle, rush } => {
                self.each(group, |server| {
                    let (window, ending, others) = (WINDOW, Ending::Fin, OTHERS);
                    let arguments = storm::Arguments {
                        server,
                        burst,
                        bursts,
                        connections,
                        window,
                        ending,
                        settle,
                        rush,
                        others,
                    };
                    let report = storm::run(&arguments)?;
                    Ok((report.server.clone(), sample::of_storm(&report)))
                });
            }
            Work::Handshakes { burst, bursts } => self.each(group, |server| {
                let exchange = Exchange::default();
                let report =
                    handshakes::run(&handshakes::Arguments { server, burst, bursts, exchange })?;
                Ok((report.server.clone(), sample::of_handshakes(&report)))
            }),
            Work::Push { messages } => self.each(group, |_| {
                let latency = hub::push(messages)?;
                let version = env!("CARGO_PKG_VERSION");
                let description = format!("tidegate {version}, 2 shards, within tidegate-bench");
                Ok((description, sample::of_push(latency)))
            }),
            Work::Fanout { subscribers, size, seconds, shards } => self.each(group, |server| {
                let (slow, messages, warm_up) = (0, u64::MAX, seconds / 2.0);
                let shards = server.peer.is_none().then_some(shards);
                let arguments = fanout::Arguments {
                    server: Choice { shards, ..server },
                    subscribers,
                    slow,
                    size,
                    seconds,
                    messages,
                    warm_up,
                };
                let report = fanout::run(&arguments)?;
                Ok((report.server.clone(), sample::of_fanout(&report)))
            }),
        }
    }

    /// All servers and their connections are there all the time; loads take turns.
    fn echo(&mut self, group: &[Contender], shape: Shape, turn: (Duration, Pace)) {
        let mut seats = Vec::new();
        for &contender in group {
            if self.results.failures.contains_key(&contender) {
                continue;
            }
            match self.seat(contender, shape, turn) {
                Ok(seat) => seats.push(seat),
                Err(error) => self.fail(contender, &error),
            }
        }
        for round in Rounds::of(self.contest) {
            for next in 0..seats.len() {
                let seat = &seats[(round + next) % seats.len()];
                match seat.load.run(turn.0, turn.1).and_then(|run| sample::of_echo(&run)) {
                    Ok(sample) => self.record(seat.contender, round, sample),
                    Err(error) => self.fail(seat.contender, &error),
                }
                (self.progress)();
            }
            seats.retain(|seat| !self.results.failures.contains_key(&seat.contender));
        }
    }

    /// Starts a server, opens all connections to it and runs once unmeasured.
    fn seat(
        &mut self,
        contender: Contender,
        shape: Shape,
        turn: (Duration, Pace),
    ) -> io::Result<Seat> {
        let server = Server::find(&contender.choice(self.programs, self.contest.tls))?;
        self.results.descriptions.insert(contender, server.description.clone());
        let load = Load::open(&server, shape)?;
        load.run(turn.0, turn.1)?;
        Ok(Seat { contender, load, _server: server })
    }

    /// The floor is measured once: it hardly differs from round to round.
    fn idle(&mut self, group: &[Contender], connections: usize, settle: f64) {
        let arguments = |server| idle::Arguments { server, connections, rounds: 1, settle };
        let floor = idle::Floor::measure(&arguments(Choice::default()));
        let floor = floor.map_err(|error| error.to_string());
        self.each(group, |server| {
            let report = idle::run_beside(&arguments(server), &floor)?;
            Ok((report.server.clone(), sample::of_idle(&report)))
        });
    }

    /// A server that is started anew for each of its turns: `work` says what it says of itself, and
    /// what was measured.
    fn each(&mut self, group: &[Contender], work: impl Fn(Choice) -> io::Result<(String, Sample)>) {
        for round in Rounds::of(self.contest) {
            for turn in 0..group.len() {
                let contender = group[(round + turn) % group.len()];
                if self.results.failures.contains_key(&contender) {
                    continue;
                }
                match work(contender.choice(self.programs, self.contest.tls)) {
                    Ok((description, sample)) => {
                        self.results.descriptions.insert(contender, description);
                        self.record(contender, round, sample);
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
