//! The command `tidegate-bench`.

use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use tidegate_bench::machine::Machine;
use tidegate_bench::{
    baseline, children, compare, echo, fanout, flood, handshakes, hub, idle, million, recover,
    reload, storm, tokens,
};

/// What the exit codes mean, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  It was measured, and `recover`, `flood`, `reload` or `tokens` has reached all of its bounds.
  1  It could not be measured. Or, after the report: a bound of one of these is not known to be
     reached, or the gateway dropped out of a contest of `compare`. Whether the bounds of `compare`
     are reached is in its report alone.
  2  The arguments are wrong.";

/// Measurements of Tidegate. Without --url, `tidegate` from beside this program is started for the
/// length of the measurement, with one shard on core 0.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    measurement: Measurement,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Measurement {
    /// Several servers beside each other: CPU per message, latency, memory, with their ratios.
    Compare(compare::Arguments),
    /// Connections that send a message as soon as they have the echo of the last one.
    Echo(echo::Arguments),
    /// Serve: an echo server on another runtime, over the same protocol code, or a bare loop over
    /// TLS, to measure beside.
    Baseline(baseline::Arguments),
    /// The memory that the gateway takes for connections that do nothing.
    Idle(idle::Arguments),
    /// A million idle connections in one process.
    Million(million::Arguments),
    /// A message of one connection that goes to all. The path of a --url is to be that of a room,
    /// such as ws://127.0.0.1:8080/rooms/bench.
    Fanout(fanout::Arguments),
    /// What clients see while others on the same gateway do their worst.
    Flood(flood::Arguments),
    /// Handshakes of TLS, in full and resumed, beside what rustls alone takes for them.
    Handshakes(handshakes::Arguments),
    /// A message to a connection of another shard, and the memory of topics.
    Hub(hub::Arguments),
    /// Very many clients that come back at once, and get what they missed.
    Recover(recover::Arguments),
    /// Another configuration, taken over while very many connections are there.
    Reload(reload::Arguments),
    /// Bursts of connections, and all of them ending and coming back at once.
    Storm(storm::Arguments),
    /// Who is let in by a token, beside what the crypto library alone takes for its signature.
    Tokens(tokens::Arguments),
}

fn main() -> ExitCode {
    let Arguments { measurement, json } = Arguments::parse();
    if let Err(error) = children::end_with_signals() {
        eprintln!("tidegate-bench: what it starts may outlive it: {error}");
    }
    let printed = match measurement {
        Measurement::Compare(arguments) => compare(&arguments, json),
        Measurement::Echo(arguments) => echo::run(&arguments).and_then(|it| print_here(it, json)),
        Measurement::Baseline(it) => baseline::run(&it),
        Measurement::Idle(arguments) => idle::run(&arguments).and_then(|it| print_here(it, json)),
        Measurement::Million(arguments) => {
            million::run(&arguments).and_then(|it| print_here(it, json))
        }
        Measurement::Fanout(arguments) => {
            fanout::run(&arguments).and_then(|it| print_here(it, json))
        }
        Measurement::Handshakes(arguments) => {
            handshakes::run(&arguments).and_then(|it| print_here(it, json))
        }
        Measurement::Flood(arguments) => flood(&arguments, json),
        Measurement::Hub(arguments) => hub::run(&arguments).and_then(|it| print_here(it, json)),
        Measurement::Recover(arguments) => recover(&arguments, json),
        Measurement::Reload(arguments) => reload(&arguments, json),
        Measurement::Storm(arguments) => storm::run(&arguments).and_then(|it| print_here(it, json)),
        Measurement::Tokens(arguments) => tokens(&arguments, json),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Compares; that the gateway failed somewhere is an error, after the report.
fn compare(arguments: &compare::Arguments, json: bool) -> io::Result<()> {
    let report = compare::run(arguments)?;
    print(&report, json)?;
    none_of(&report.gateway_failures())
}

/// Lets all come back; that a bound is not reached is an error, after the report.
fn recover(arguments: &recover::Arguments, json: bool) -> io::Result<()> {
    let report = recover::run(arguments)?;
    let not_reached = report.not_reached();
    print_here(report, json)?;
    none_of(&not_reached)
}

/// Changes the configuration; that a bound is not reached is an error, after the report.
fn reload(arguments: &reload::Arguments, json: bool) -> io::Result<()> {
    let report = reload::run(arguments)?;
    let not_reached = report.not_reached();
    print_here(report, json)?;
    none_of(&not_reached)
}

/// Lets in by tokens; that a bound is not reached is an error, after the report.
fn tokens(arguments: &tokens::Arguments, json: bool) -> io::Result<()> {
    let report = tokens::run(arguments)?;
    let not_reached = report.not_reached();
    print_here(report, json)?;
    none_of(&not_reached)
}

/// Makes floods; that a bound is not reached is an error, after the report.
fn flood(arguments: &flood::Arguments, json: bool) -> io::Result<()> {
    let report = flood::run(arguments)?;
    let not_reached = report.not_reached();
    print_here(report, json)?;
    none_of(&not_reached)
}

/// An error with all of these, if there are any.
fn none_of(failures: &[String]) -> io::Result<()> {
    if failures.is_empty() { Ok(()) } else { Err(io::Error::other(failures.join("; "))) }
}

/// A report, and where it was made.
#[derive(Serialize)]
struct Here<T> {
    machine: Machine,
    #[serde(flatten)]
    report: T,
}

impl<T: Display> Display for Here<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}{}", self.report, self.machine)
    }
}

fn print_here(report: impl Display + Serialize, json: bool) -> io::Result<()> {
    print(&Here { machine: Machine::here(), report }, json)
}

fn print(report: &(impl Display + Serialize), json: bool) -> io::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
