//! A rush: very many shake hands over TLS at once, and others who are connected echo meanwhile,
//! some over TLS and some without it if the server has both.
//!
//! A handshake takes a server as long as twenty echoes. What is seen is whether those who are
//! connected have to wait for all of them.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::fleet::{Ending, Fleet, Kind};
use crate::others::{Others, Phase, Seen, Shape};
use crate::runtime;
use crate::server::{Choice, Server};
use crate::spent::{Spent, per_second};
use crate::target::Target;

/// Echoes per second of all others together.
const RATE: f64 = 1000.0;

/// How long the others echo before anything is measured, and with nobody else.
const WARM_UP: Duration = Duration::from_millis(500);
const QUIET: Duration = Duration::from_secs(2);

/// What the others saw.
#[derive(Clone, Debug, Serialize)]
pub struct Rush {
    /// Handshakes.
    pub handshakes: usize,
    /// From the first connect to the last handshake's end, in seconds.
    pub seconds: f64,
    /// Handshakes per second of the server's CPU, the others' echoes included.
    pub handshakes_per_cpu_second: f64,
    /// How long the server was ready to run, and had no core, in seconds.
    pub waited_seconds: f64,
    /// The others, by how they are connected.
    pub others: Vec<Beside>,
}

/// Others of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    /// Whether they are connected over TLS.
    pub tls: bool,
    /// How many there are.
    pub connections: usize,
    /// With nobody else.
    pub quiet: Seen,
    /// In the rush.
    pub rush: Seen,
}

/// Lets `handshakes` connect over TLS, up to `window` at once.
///
/// # Errors
/// The server did not start, its process is not known, or a connection failed.
pub(crate) fn run(
    choice: &Choice,
    handshakes: usize,
    others: usize,
    window: usize,
) -> io::Result<Rush> {
    let server = Server::find(choice)?;
    let pid = server.known_pid()?;
    let targets: Vec<&Target> = server.plain.iter().chain([&server.target]).collect();
    let shape =
        Shape { connections: others.div_ceil(targets.len()), rate: RATE / targets.len() as f64 };
    let beside: Vec<_> = targets.iter().map(|target| Others::start(target, shape)).collect();
    let enter = |phase| beside.iter().for_each(|others| others.enter(phase));
    thread::sleep(WARM_UP);
    enter(Phase::Quiet);
    thread::sleep(QUIET);
    let spent = runtime::aside(|| {
        let mut fleet = Fleet::new(&server.target, Kind::WebSocket, Ending::Reset)?;
        fleet.reserve(handshakes)?;
        enter(Phase::Busy);
        let spent = Spent::on(pid, || fleet.open(handshakes, window, &mut |_| ()));
        enter(Phase::Over);
        spent
    })?;
    let seen = beside.into_iter().map(Others::finish).collect::<io::Result<Vec<_>>>()?;
    let others = targets.iter().zip(seen).map(|(target, [quiet, rush])| Beside {
        tls: target.tls.is_some(),
        connections: shape.connections,
        quiet,
        rush,
    });
    Ok(Rush {
        handshakes,
        seconds: spent.time.as_secs_f64(),
        handshakes_per_cpu_second: per_second(handshakes as u64, spent.cpu),
        waited_seconds: spent.waited.as_secs_f64(),
        others: others.collect(),
    })
}

impl fmt::Display for Rush {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, " a rush of {} handshakes over TLS", self.handshakes)?;
        let (rate, seconds) = (self.handshakes_per_cpu_second, self.seconds);
        writeln!(out, "  handshakes            {rate:>12.0} per CPU second, echoes included")?;
        writeln!(out, "  the rush              {:>12.1} ms", seconds * 1e3)?;
        let waited_ms = self.waited_seconds * 1e3;
        writeln!(out, "  server without a core {waited_ms:>12.1} ms of it")?;
        for Beside { tls, connections, quiet, rush } in &self.others {
            let kind = if *tls { "over TLS" } else { "without TLS" };
            writeln!(out, "  {connections} others {kind}, quiet\n                        {quiet}")?;
            writeln!(out, "   in the rush          {rush}")?;
        }
        Ok(())
    }
}
