//! Another configuration, taken over while very many connections are there: how long it takes, and
//! how long it keeps shards from all else.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::NamedTempFile;
use tidegate::config::MAX_SHARDS;

use crate::arguments::{count, window};
use crate::bounds::{self, BoundReport};
use crate::fleet::{Ending, Fleet, Kind};
use crate::plain::PATIENCE;
use crate::process::{CpuTime, waited_for_cpu};
use crate::progress;
use crate::scrape::{Scrape, Turns};
use crate::server::Server;

/// How long the gateway is left alone before each change.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the gateway's counters may be behind: a tick of a shard, twice over.
const TICKS: Duration = Duration::from_millis(600);

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long)]
    pub gateway: Option<PathBuf>,
    /// Connections that are there.
    #[arg(long, short, default_value_t = 100_000, value_parser = count)]
    pub connections: usize,
    /// Routes of the hub, all of which each change makes otherwise.
    #[arg(long, default_value_t = 10_000, value_parser = count)]
    pub routes: usize,
    /// Shards of the gateway, among which the kernel deals out the connections: each has room for
    /// 16,384.
    #[arg(long, default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_SHARDS.into()))]
    pub shards: u32,
    /// Changes.
    #[arg(long, default_value_t = 10, value_parser = count)]
    pub reloads: usize,
    /// Connections that open at once.
    #[arg(long, default_value_t = 512, value_parser = window)]
    pub window: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the gateway says of itself.
    pub server: String,
    /// Connections that were there.
    pub connections: usize,
    /// Routes that were changed each time.
    pub routes: usize,
    /// How long each change took, from the request to the answer, in seconds.
    pub seconds: Vec<f64>,
    /// CPU that each took of the gateway, in seconds.
    pub cpu_seconds: Vec<f64>,
    /// A bound that the longest turn of a shard kept meanwhile, in seconds.
    pub longest_turn_seconds: f64,
    /// How long threads of the gateway were ready to run meanwhile and had no core, in seconds.
    pub waited_seconds: f64,
    /// Connections that ended meanwhile.
    pub lost: u64,
    /// What is wanted, and whether it was so.
    pub bounds: Vec<BoundReport>,
}

/// Measures.
///
/// # Errors
/// The gateway did not start, a connection failed, or a change was refused.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let Arguments { connections, routes, shards, reloads, .. } = *arguments;
    let file = tempfile::Builder::new().prefix("tidegate-bench-").suffix(".toml").tempfile()?;
    fs::write(file.path(), configuration(routes, 0))?;
    let (server, admin) =
        Server::start_gateway_from(arguments.gateway.as_deref(), shards, file.path())?;
    let pid = server.known_pid()?;
    let mut fleet = Fleet::new(&server.target, Kind::WebSocket, Ending::Reset)?;
    let mut bar = progress::bar(connections as u64, "opened");
    fleet.open(connections, arguments.window, &mut |done| bar.advance(done as u64))?;
    let there = open(&Scrape::of(admin)?);
    let mut changes = Changes { file, admin, pid, routes, made: 0 };
    let mut made = Vec::new();
    for _ in 0..reloads {
        fleet.hold(SETTLE)?;
        made.push(changes.make()?);
    }
    let lost = there.saturating_sub(open(&Scrape::of(admin)?));
    let mut turns = Turns::default();
    made.iter().for_each(|change| turns.add(&change.turns));
    let seconds: Vec<f64> = made.iter().map(|change| change.took.as_secs_f64()).collect();
    let slowest = seconds.iter().copied().fold(0.0, f64::max);
    let bounds = vec![
        bounds::of_reload(slowest),
        bounds::of_turns(&turns),
        bounds::of_clients(lost as usize),
    ];
    Ok(Report {
        server: server.description.clone(),
        connections,
        routes,
        seconds,
        cpu_seconds: made.iter().map(|change| change.cpu.as_secs_f64()).collect(),
        longest_turn_seconds: turns.longest_ns() as f64 / 1e9,
        waited_seconds: made.iter().map(|change| change.waited.as_secs_f64()).sum(),
        lost,
        bounds,
    })
}

fn open(scrape: &Scrape) -> u64 {
    scrape.sum("tidegate_connections_open") as u64
}

/// The configuration after so many changes: each makes all routes of the hub others.
fn configuration(routes: usize, changes: usize) -> String {
    let own = if changes.is_multiple_of(2) { "on" } else { "off" };
    let head = "[[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"ws?ping=1h!tcp\"\n\
                [[route]]\npath = \"/echo\"\nhandler = \"echo\"\n";
    let hub = (0..routes).map(|route| {
        format!("[[route]]\npath = \"/{route}\"\nhandler = \"hub?topic={route}&own={own}\"\n")
    });
    head.to_owned() + &hub.collect::<String>()
}

/// Who changes the configuration.
struct Changes {
    file: NamedTempFile,
    admin: SocketAddr,
    pid: u32,
    routes: usize,
    made: usize,
}

/// One change.
struct Change {
    took: Duration,
    cpu: Duration,
    waited: Duration,
    turns: Turns,
}

impl Changes {
    fn make(&mut self) -> io::Result<Change> {
        self.made += 1;
        fs::write(self.file.path(), configuration(self.routes, self.made))?;
        let (before, used) = (Scrape::of(self.admin)?, CpuTime::of(self.pid)?);
        let waited = waited_for_cpu(self.pid)?;
        let began = Instant::now();
        reload(self.admin)?;
        let took = began.elapsed();
        let cpu = (CpuTime::of(self.pid)? - used).total();
        let waited = waited_for_cpu(self.pid)?.saturating_sub(waited);
        thread::sleep(TICKS);
        let turns = Scrape::of(self.admin)?.turns_since(&before);
        Ok(Change { took, cpu, waited, turns })
    }
}

/// Tells the gateway to take over what its file says now, and waits until it has.
fn reload(admin: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /v1/reload HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(io::Error::other(format!("/v1/reload was answered with: {answer}")))
}

impl Report {
    /// The bounds that are not known to be reached.
    #[must_use]
    pub fn not_reached(&self) -> Vec<String> {
        let missed = self.bounds.iter().filter(|bound| !bound.is_reached());
        missed.map(ToString::to_string).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, connections, routes, seconds, cpu_seconds, bounds, .. } = self;
        let ms = |values: &[f64]| {
            let texts: Vec<_> = values.iter().map(|value| format!("{:.0}", value * 1e3)).collect();
            texts.join(", ")
        };
        writeln!(out, "reload: {server}; {connections} connections, {routes} routes changed")?;
        writeln!(out, "  took             {} ms", ms(seconds))?;
        writeln!(out, "  CPU              {} ms", ms(cpu_seconds))?;
        let (turn, waited) = (self.longest_turn_seconds * 1e3, self.waited_seconds * 1e3);
        writeln!(out, "  longest turn     up to {turn:.1} ms; without a core for {waited:.0} ms")?;
        bounds.iter().try_for_each(|bound| writeln!(out, "  {bound}"))
    }
}
