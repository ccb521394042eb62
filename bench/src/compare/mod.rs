//! Several servers beside each other in one run.
//!
//! An absolute time means little on a machine that others use as well. So the servers take turns in
//! short rounds, A B C, B C A and so on, and each figure of a server is divided by the one that the
//! server it is compared with had in the same round. The report has the median of these ratios and
//! their quartiles, and there is no verdict where these are further apart than the median is from
//! 1.

mod contest;
mod course;
mod metric;
mod over_tls;
mod plan;
mod plot;
mod report;
mod results;
mod sample;
mod spread;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use clap::builder::RangedI64ValueParser;

use self::contest::ROUNDS_MIN;
pub use self::contest::{Contender, Contest, Of, Programs, Wanted, Work};
pub use self::metric::Metric;
pub use self::plan::Suite;
pub use self::report::{BoundReport, Comparison, Figure, LeftOut, Report, Row};
pub use self::results::write as write_results;
pub use self::spread::{Bound, Outcome, Spread, Verdict};
use crate::machine::Machine;
use crate::peers::{Missing, Peer, Place};
use crate::progress;
use crate::server::gateway_program;
use crate::tls::Certificate;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How much is compared.
    #[arg(long, value_enum, default_value_t = Suite::Quick)]
    pub suite: Suite,
    /// Rounds of each server, at least five; fewer than this, but five, if time is up before that,
    /// unless there is only another build to compare with.
    #[arg(long, default_value_t = 15, value_parser = rounds())]
    pub rounds: u16,
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long)]
    pub gateway: Option<PathBuf>,
    /// Those contests only whose title has this in it, such as `echo` or `16384 B`.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Another build of the gateway: it alone is compared with, so that it is seen what a change
    /// has done.
    #[arg(long, value_name = "PROGRAM")]
    pub before: Option<PathBuf>,
    /// A folder for RESULTS.md and its plots; with `--suite full`, that of these sources if not
    /// given.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// What may be said as the number of rounds.
fn rounds() -> RangedI64ValueParser<u16> {
    RangedI64ValueParser::new().range(ROUNDS_MIN as i64..)
}

/// Compares.
///
/// # Errors
/// The gateway is not there, there is no such contest, or the page could not be written. That a
/// server failed in a contest is in the report.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let report = compare(arguments, arguments.contests()?)?;
    if let Some(folder) = arguments.folder() {
        write_results(&report, &folder)?;
    }
    Ok(report)
}

impl Arguments {
    fn contests(&self) -> io::Result<Vec<Contest>> {
        let mut contests = self.suite.contests(self.rounds.into());
        let titles: Vec<_> = contests.iter().map(Contest::title).collect();
        if let Some(only) = &self.only {
            contests.retain(|contest| contest.title().contains(only));
        }
        if self.before.is_some() {
            contests.retain(|contest| contest.contenders.contains(&Contender::Gateway));
            contests.retain(Contest::is_of_programs);
            let with_before = |contest: Contest| contest.with_before(self.rounds.into());
            contests = contests.into_iter().map(with_before).collect();
        }
        if contests.is_empty() {
            let why = format!("no contest is left; there are: {}", titles.join("; "));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(contests)
    }

    /// Where the results are written to, if they are.
    fn folder(&self) -> Option<PathBuf> {
        let is_whole = self.suite == Suite::Full && self.before.is_none() && self.only.is_none();
        let sources = || is_whole.then(|| env!("CARGO_MANIFEST_DIR").into());
        self.out.clone().or_else(sources)
    }
}

/// Lets `contests` happen, without those servers that are not on this machine.
///
/// # Errors
/// The gateway is not there.
pub fn compare(arguments: &Arguments, contests: Vec<Contest>) -> io::Result<Report> {
    let gateway = arguments.gateway.clone().map_or_else(gateway_program, Ok)?;
    let programs = Programs { gateway, before: arguments.before.clone() };
    let started = Instant::now();
    let missing = missing(&contests);
    let mut comparisons = Vec::new();
    for mut contest in contests {
        contest.contenders.retain(|it| {
            !missing
                .iter()
                .any(|(peer, tls, _)| *it == Contender::Peer(*peer) && *tls == contest.tls)
        });
        let title = contest.title();
        let mut bar = progress::bar(contest.steps() as u64, &format!("rounds of {title}"));
        let results = contest.run(&programs, &mut || bar.advance(1));
        comparisons.push(Comparison::new(&contest, &results));
    }
    Ok(Report {
        machine: Machine::here(),
        suite: arguments.suite,
        rounds: arguments.rounds,
        seconds: started.elapsed().as_secs_f64(),
        missing: missing.into_iter().map(LeftOut::from).collect(),
        comparisons,
    })
}

/// The servers that are not on this machine, over TLS or without it.
fn missing(contests: &[Contest]) -> Vec<(Peer, bool, Missing)> {
    let mut peers: Vec<(Peer, bool)> = Vec::new();
    for contest in contests {
        for contender in &contest.contenders {
            match *contender {
                Contender::Peer(peer) if !peers.contains(&(peer, contest.tls)) => {
                    peers.push((peer, contest.tls));
                }
                _ => {}
            }
        }
    }
    let certificate = Certificate::new();
    // The port is of no account: nothing is started.
    let missing = |(peer, tls): (Peer, bool)| {
        let certificate = if tls { certificate.as_ref().ok() } else { None };
        let place = Place { port: 0, certificate, upstream: None };
        Some((peer, tls, peer.prepare(place).err()?))
    };
    peers.into_iter().filter_map(missing).collect()
}
