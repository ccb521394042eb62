//! The command `tidegate`: arguments, configuration, gateway, signals.

mod arguments;
mod client;
mod manager;
mod manual;
mod signals;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use tidegate::config::{Config, ListenAddress, Listener, RouteHandler};
use tidegate::doctor;
use tidegate::gateway::{self, Gateway, Program, StartError};
use tidegate::kernel;
use tidegate::logging::{self, LogFilter};
use tidegate::steering::ConfigSource;

use arguments::{Arguments, DryRun, Task};
use client::{Client, CommandFailure};
use manager::Manager;
use signals::Signals;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What ends the program early: what is said on stderr, and the exit code.
struct Failure(u8, String);

fn main() -> ExitCode {
    // The log ends inside, so what is said here comes last.
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, message)) => {
            // Without a stderr there is still the exit code.
            let _ = writeln!(io::stderr(), "{message}");
            code.into()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(what) = arguments.print {
        return heard(manual::print(what, &mut io::stdout()));
    }
    let dry_run = arguments.dry_run().map_err(wrong)?;
    if let Some(Task::Version) = arguments.task {
        return tell(format_args!("tidegate {VERSION}\n"));
    }
    if let Some(done) = ask(arguments) {
        return done;
    }
    // While there is no other thread.
    let passed = kernel::take_passed()
        .map_err(|error| wrong(format!("the sockets that were passed (LISTEN_FDS): {error}")))?;
    let config = arguments.configuration().map_err(wrong)?;
    if let Some(Task::Doctor { connections }) = arguments.task {
        return examine(&config, connections);
    }
    check_routes(&config)?;
    if dry_run.is_some() {
        if let Err(error) = kernel::raise_open_files() {
            // As in the log of a start; what becomes of it is found out below.
            let _ = writeln!(io::stderr(), "the limit of open files stays as it is: {error}");
        }
        warn(&config);
    }
    match dry_run {
        Some(DryRun::Configuration) => return check(config),
        Some(DryRun::Machine) => return check_machine(config, passed),
        None => {}
    }
    // Before all else: a signal that comes early is a drain too.
    let signals = Signals::catch().map_err(failed)?;
    let log = logging::start(&config.log, config.log_format).map_err(wrong)?;
    if let Err(error) = kernel::raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    for doubt in config.doubts() {
        tracing::warn!("{doubt}");
    }
    let schemes = schemes(&config);
    let gateway = Gateway::start_on(config, Program::default(), passed).map_err(not_started)?;
    gateway.reloader().have_source(source(arguments.clone(), log.filter()));
    announce(&gateway, &schemes);
    let manager = Manager::serving(&gateway);
    serve(gateway, signals, &manager)
}

/// Checks that a file can be read once more: a pipe has been read at the start, and one that is
/// being written has nothing in it yet, which would be a right configuration.
fn check_file(path: &Path) -> Result<(), String> {
    let told = path.display();
    let facts = fs::metadata(path).map_err(|error| format!("{told}: {error}"))?;
    match facts.len() {
        _ if !facts.is_file() => Err(format!(
            "{told} is no file that can be read anew: start the gateway with one, or anew"
        )),
        0 => Err(format!("{told} is empty: write it beside, and rename it when it is whole")),
        _ => Ok(()),
    }
}

/// Where a gateway that runs has its configuration: where these arguments say.
fn source(arguments: Arguments, filter: LogFilter) -> ConfigSource {
    let read = move || {
        arguments.config.as_deref().map_or(Ok(()), check_file)?;
        let config = arguments.configuration()?;
        check_routes(&config).map_err(|Failure(_, message)| message)?;
        Ok(config)
    };
    let taken_over = move |config: &Config| {
        if let Err(error) = filter.set(&config.log) {
            tracing::warn!("the log's filter stays as it is: {error}");
        }
    };
    ConfigSource { read: Box::new(read), taken_over: Box::new(taken_over) }
}

/// Has the gateway do something that runs already; `None` if that is not asked for.
fn ask(arguments: &Arguments) -> Option<Result<(), Failure>> {
    let task = arguments.task.as_ref()?;
    let (Task::Drain { asking, .. }
    | Task::Top { asking, .. }
    | Task::Connections { asking, .. }
    | Task::Disconnect { asking, .. }
    | Task::Publish { asking, .. }
    | Task::Reload { asking, .. }
    | Task::Revoke { asking, .. }) = task
    else {
        return None;
    };
    let of = |client: &Client| match task {
        Task::Drain { arguments, .. } => arguments.run(client),
        Task::Top { arguments, .. } => arguments.run(client),
        Task::Connections { arguments, .. } => arguments.run(client),
        Task::Disconnect { arguments, .. } => arguments.run(client),
        Task::Publish { arguments, .. } => arguments.run(client),
        Task::Reload { arguments, .. } => arguments.run(client),
        Task::Revoke { arguments, .. } => arguments.run(client),
        _ => Ok(()),
    };
    let config = match arguments.asked() {
        Ok(config) => config,
        Err(error) => return Some(Err(wrong(error))),
    };
    let done = Client::new(asking, &config).and_then(|client| of(&client));
    Some(done.map_err(|CommandFailure(code, message)| Failure(code, message)))
}

/// Says it on stdout.
fn tell(what: fmt::Arguments<'_>) -> Result<(), Failure> {
    heard(io::stdout().write_fmt(what))
}

/// What came of saying something on stdout. Who has closed its other end, as `head` does, has heard
/// enough, and the exit code is for what was found.
fn heard(said: io::Result<()>) -> Result<(), Failure> {
    match said {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Refuses routes that wait for a handler of an embedding program.
fn check_routes(config: &Config) -> Result<(), Failure> {
    let embedded = config.routes.iter().filter(|route| route.handler == RouteHandler::Embedded);
    let told: Vec<String> = embedded
        .map(|route| {
            format!(
                "route {}: handler `embedded` is answered by a program that embeds Tidegate; this \
                 program brings none: name another handler, or remove the route",
                route.path
            )
        })
        .collect();
    if told.is_empty() { Ok(()) } else { Err(wrong(told.join("\n"))) }
}

/// Says what the log of a start would warn of.
fn warn(config: &Config) {
    for doubt in config.doubts().into_iter().chain(gateway::doubts_here(config.clone())) {
        // Without a stderr there is still what is checked.
        let _ = writeln!(io::stderr(), "warning: {doubt}");
    }
}

/// What of the configuration is understood, a line for each subject.
fn understood(config: &Config) -> String {
    config.understood().into_iter().map(|line| line + "\n").collect()
}

fn check(config: Config) -> Result<(), Failure> {
    gateway::check_files(&config).map_err(not_started)?;
    let limit = config.memory.limit();
    tell(format_args!("{}\n", understood(&config)))?;
    let bill = gateway::bill_here(config).map_err(failed)?;
    tell(format_args!("{bill}"))?;
    bill.check(limit).map_err(failed)
}

/// Does what a start does, but for serving, and ends as it would.
fn check_machine(config: Config, passed: Vec<OwnedFd>) -> Result<(), Failure> {
    let (understood, driver) = (understood(&config), gateway::driver_here(&config));
    let bill = Gateway::rehearse_on(config, Program::default(), passed).map_err(not_started)?;
    let summary = bill.summary();
    tell(format_args!("{understood}driver: {driver}\n\n{bill}\nit would start: {summary}\n"))
}

/// Says what of the machine is in the way of so many connections.
fn examine(config: &Config, connections: Option<u64>) -> Result<(), Failure> {
    let diagnosis = doctor::examine(config, connections).map_err(wrong)?;
    tell(format_args!("{diagnosis}"))?;
    match diagnosis.short() {
        0 => tell(format_args!("{}\n", diagnosis.verdict())),
        _ => Err(failed(diagnosis.verdict())),
    }
}

/// What a browser calls each listener's way to be reached.
fn schemes(config: &Config) -> Vec<&'static str> {
    let of = |listener: &Listener| if listener.stack.tls.is_some() { "https" } else { "http" };
    config.listeners.iter().map(of).collect()
}

/// Says where it listens: to people in the log, to scripts on stdout.
fn announce(gateway: &Gateway, schemes: &[&str]) {
    let mut stdout = io::stdout().lock();
    for (address, scheme) in gateway.addresses().iter().zip(schemes) {
        tracing::info!("listening on {}", shown(address, scheme));
        // A script that has closed its end does not want to know.
        let _ = writeln!(stdout, "listening on {address}");
    }
    if let Some(address) = gateway.admin_address() {
        tracing::info!("admin on {}", shown(&address, "http"));
        let _ = writeln!(stdout, "admin on {address}");
    }
    let _ = stdout.flush();
    tracing::info!("{}", gateway.bill().summary());
}

/// An address as people open it.
fn shown(address: &ListenAddress, scheme: &str) -> String {
    match address {
        ListenAddress::Ip(address) => format!("{scheme}://{address}/"),
        ListenAddress::Unix(_) => address.to_string(),
    }
}

/// Does what signals ask for, until the gateway has ended.
fn serve(gateway: Gateway, signals: Signals, manager: &Manager) -> Result<(), Failure> {
    let (handle, closer) = (gateway.handle(), signals.closer());
    let reloader = gateway.reloader();
    let ended = thread::spawn(move || {
        let result = gateway.join();
        closer.close();
        result
    });
    // Ends when it is closed, so also when a shard fails.
    let was_stopped = signals.serve(&handle, &reloader, manager);
    let result = ended.join().expect("waiting for the shards does not panic").map_err(failed);
    match handle.counters().connections {
        0 => tracing::info!("ended, with no connection left"),
        left => {
            tracing::warn!("ended; {left} connections that were left were cut off");
            if result.is_ok() && !was_stopped {
                return Err(cut_off(left));
            }
        }
    }
    result
}

/// A drain ran out of time.
fn cut_off(connections: u64) -> Failure {
    let message = format!(
        "the drain took longer than `drain` allows, and {connections} connections were cut off: \
         raise `drain` or `drain_rate`, or lower `close` of the layer `ws`"
    );
    Failure(3, message)
}

/// The gateway did not start.
fn not_started(error: StartError) -> Failure {
    match error {
        // Another try would find the same.
        StartError::Passed(_)
        | StartError::Tls(_)
        | StartError::Keys(_)
        | StartError::AccessLog(_) => wrong(error),
        _ => failed(error),
    }
}

/// The command line or the configuration is wrong.
fn wrong(message: impl ToString) -> Failure {
    Failure(2, message.to_string())
}

/// The gateway could not start, or did not end well.
fn failed(message: impl ToString) -> Failure {
    Failure(1, message.to_string())
}
