//! Handshakes of TLS: how many a server is through with per second of its CPU, in full and resumed,
//! beside what rustls takes for them as a server without any sockets.
//!
//! A handshake is counted with all that a connection begins with: TCP is accepted, TLS agreed upon,
//! and WebSocket's own opening handshake answered. A client that resumes waits for the next ticket
//! besides, so that nobody gets on with fewer than there are clients.

mod alone;

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;

pub use self::alone::alone;
use crate::arguments::{count, window};
use crate::fleet::{Ending, Fleet, Kind};
use crate::runtime;
use crate::server::{Choice, Server};
use crate::spent::{Spent, per_second, rest};
use crate::tls::{Dialer, Exchange};

/// How long a server may take to come to rest between two bursts, in seconds.
const REST: f64 = 1.0;

/// Handshakes of rustls alone: fewer than a second's worth.
const ALONE: usize = 1000;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to measure; it is over TLS in any case.
    #[command(flatten)]
    pub server: Choice,
    /// Connections of a burst, all of which connect at once.
    #[arg(long, default_value_t = 500, value_parser = window)]
    pub burst: usize,
    /// Bursts of full handshakes, and as many of those that resume.
    #[arg(long, default_value_t = 10, value_parser = count)]
    pub bursts: usize,
    /// How a key is agreed upon.
    #[arg(long, value_enum, default_value_t = Exchange::default())]
    pub exchange: Exchange,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the server says of itself.
    pub server: String,
    /// How a key was to be agreed upon.
    pub exchange: String,
    /// Handshakes of clients that come for the first time.
    pub full: Handshakes,
    /// Of those that come back with a ticket.
    pub resumed: Handshakes,
}

/// Handshakes of one kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Handshakes {
    /// How many there were.
    pub count: u64,
    /// The same per second of the server's CPU.
    pub per_cpu_second: f64,
    /// What rustls is through with alone per second of CPU.
    pub alone_per_cpu_second: f64,
    /// How much of the server's CPU one takes, to what rustls takes alone.
    pub to_alone: f64,
}

/// Measures.
///
/// # Errors
/// The server did not start, its process is not known, a connection failed, or the server would not
/// resume.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let tls = arguments.server.url.is_none();
    let server = Server::find(&Choice { tls, ..arguments.server.clone() })?;
    if server.target.tls.is_none() {
        let why = "handshakes are those of TLS: the URL must begin with wss://";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let [full, resumed] =
        [false, true].map(|is_resuming| handshakes(arguments, &server, is_resuming));
    Ok(Report {
        server: server.description.clone(),
        exchange: format!("{:?}", arguments.exchange),
        full: full?,
        resumed: resumed?,
    })
}

fn handshakes(arguments: &Arguments, server: &Server, is_resuming: bool) -> io::Result<Handshakes> {
    let Arguments { burst, bursts, exchange, .. } = *arguments;
    let pid = server.known_pid()?;
    let dialer = Dialer::new(exchange, is_resuming)?;
    let target = server.target.clone().over_tls(dialer.clone());
    let (cpu, alone) = runtime::aside(|| {
        let mut fleet = Fleet::new(&target, Kind::WebSocket, Ending::Reset)?;
        fleet.reserve(burst)?;
        let mut cpu = Duration::ZERO;
        // The first burst is full in any case, and is for the tickets of the next.
        for number in 0..=bursts {
            let spent = Spent::on(pid, || fleet.open(burst, burst, &mut |_| ()))?;
            if number > 0 {
                cpu += spent.cpu;
            }
            fleet.drop_all(&mut |_| ())?;
            rest(pid, REST)?;
        }
        Ok((cpu, alone(exchange, is_resuming, ALONE)?))
    })?;
    let count = (burst * bursts) as u64;
    let (full, resumed) = dialer.counts();
    let done = if is_resuming { resumed } else { full - burst as u64 };
    if done != count {
        let why = format!("the server was to resume {count} connections, and has resumed {done}");
        return Err(io::Error::other(why));
    }
    let (per_cpu_second, alone_per_cpu_second) =
        (per_second(count, cpu), per_second(ALONE as u64, alone));
    let to_alone = alone_per_cpu_second / per_cpu_second;
    Ok(Handshakes { count, per_cpu_second, alone_per_cpu_second, to_alone })
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "handshakes: {}; by {}", self.server, self.exchange)?;
        writeln!(out, "  full                  {}", self.full)?;
        writeln!(out, "  resumed               {}", self.resumed)
    }
}

impl fmt::Display for Handshakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_cpu_second, alone_per_cpu_second, to_alone, .. } = self;
        let us = |per_second: &f64| 1e6 / per_second;
        write!(out, "{per_cpu_second:>12.0} per CPU second ({:.0} us each); ", us(per_cpu_second))?;
        write!(
            out,
            "rustls alone {alone_per_cpu_second:.0} ({:.0} us); ",
            us(alone_per_cpu_second)
        )?;
        write!(out, "{to_alone:.2} of that")
    }
}
