//! Floods: what clients see that go on with what they do while others on the same gateway do their
//! worst.
//!
//! Each flood has a gateway of its own. It comes from one thread, the clients that are watched are
//! on another, and what these see is stamped by the kernel ([`others`](crate::others)).

mod mob;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::mob::{Mob, Tally};
use crate::arguments::{count, rate, some_seconds};
use crate::bounds::{self, BoundReport};
use crate::others::{Others, Phase, Seen, Shape};
use crate::process::{CpuTime, waited_for_cpu};
use crate::runtime;
use crate::scrape::Scrape;
use crate::server::Server;

/// What differs from the gateway's default configuration.
const CONFIGURATION: &str = "[[topic]]\nname = \"room\"\npresence = true\n\
     [[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"ws!tcp\"\n\
     [[route]]\npath = \"/topic\"\nhandler = \"hub?topic=topic\"\n\
     [[route]]\npath = \"/room\"\nhandler = \"hub?topic=room&events=on\"\n\
     [[route]]\npath = \"/echo\"\nhandler = \"echo\"\n";

/// How long the others go on before they are watched, and how long the gateway's counters may be
/// behind: a tick of a shard, twice over.
const TICKS: Duration = Duration::from_millis(600);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Flood {
    /// 100 messages a second to a topic with 2,000 subscribers, who read them.
    Topic,
    /// 50 clients send compressed messages of 1 MiB as fast as these are taken, and read the
    /// echoes.
    Bombs,
    /// 50 clients send messages of 65,536 fragments of a byte as fast as these are taken, and read
    /// the echoes.
    Fragments,
    /// 50 clients send messages of a byte as fast as these are taken, and read the echoes.
    Frames,
    /// 50 clients send Pings as fast as these are taken, and read the Pongs.
    Pings,
    /// 50 clients of one address send what is no request, are answered with 400, and connect again.
    Heads,
    /// 9,500 clients join a room with presence at once, and never read.
    Joins,
}

impl Flood {
    const ALL: [Self; 7] = [
        Self::Topic,
        Self::Bombs,
        Self::Fragments,
        Self::Frames,
        Self::Pings,
        Self::Heads,
        Self::Joins,
    ];

    fn what(self) -> &'static str {
        match self {
            Self::Topic => "2,000 subscribers of a topic, 100 messages of 64 B a second",
            Self::Bombs => "50 clients with compressed messages of 1 MiB",
            Self::Fragments => "50 clients with messages of 65,536 fragments",
            Self::Frames => "50 clients with messages of one byte",
            Self::Pings => "50 clients with Pings",
            Self::Heads => "50 clients at a time with heads that are no requests",
            Self::Joins => "9,500 clients that join a room with presence, and never read",
        }
    }
}

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The floods to make, one after the other; all of them if none is given.
    #[arg(value_enum)]
    pub floods: Vec<Flood>,
    /// Shards of the gateway.
    #[arg(long, default_value_t = 1)]
    pub shards: u32,
    /// Clients that are watched, whose messages are echoed.
    #[arg(long, default_value_t = 500, value_parser = count)]
    pub others: usize,
    /// Echoes per second of all of these together.
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub rate: f64,
    /// How long they are watched before the flood, and as long while it lasts, in seconds.
    #[arg(long, default_value_t = 8.0, value_parser = some_seconds)]
    pub seconds: f64,
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long)]
    pub gateway: Option<PathBuf>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the gateway says of itself.
    pub server: String,
    /// Clients that were watched.
    pub others: usize,
    /// In their order.
    pub floods: Vec<Round>,
}

/// What was seen of one flood.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Which it was.
    pub flood: Flood,
    /// How long it lasted, in seconds.
    pub seconds: f64,
    /// What it did.
    pub done: Tally,
    /// Connections that the gateway had open at its end, the others among them: whether those who
    /// never read were let in shows nowhere else.
    pub open: u64,
    /// What the others saw before.
    pub quiet: Seen,
    /// What they saw meanwhile. That none of them was closed is certain: that is an error.
    pub busy: Seen,
    /// What is wanted, and whether it was so.
    pub bound: BoundReport,
    /// CPU that the gateway used meanwhile, in cores.
    pub server_cores: f64,
    /// How long its threads were ready to run meanwhile and had no core, in seconds.
    pub waited_seconds: f64,
}

/// Measures.
///
/// # Errors
/// The gateway did not start, or one of the others was closed or failed.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let chosen = if arguments.floods.is_empty() { &Flood::ALL[..] } else { &arguments.floods };
    let (mut server, mut floods) = (String::new(), Vec::new());
    for flood in chosen {
        let program = arguments.gateway.as_deref();
        let (gateway, admin) =
            Server::start_gateway_with_admin(program, arguments.shards, CONFIGURATION)?;
        server.clone_from(&gateway.description);
        floods.push(round(arguments, *flood, &gateway, admin)?);
    }
    Ok(Report { server, others: arguments.others, floods })
}

/// Makes one flood.
fn round(
    arguments: &Arguments,
    flood: Flood,
    server: &Server,
    admin: SocketAddr,
) -> io::Result<Round> {
    let pid = server.known_pid()?;
    let span = Duration::from_secs_f64(arguments.seconds);
    let address = server.target.address;
    let mut mob = runtime::aside(|| Mob::gather(flood, address))?;
    let shape = Shape { connections: arguments.others, rate: arguments.rate };
    let others = Others::start(&server.target, shape);
    thread::sleep(TICKS);
    others.enter(Phase::Quiet);
    thread::sleep(span);
    let (used, waited) = (CpuTime::of(pid)?, waited_for_cpu(pid)?);
    others.enter(Phase::Busy);
    let began = Instant::now();
    runtime::aside(|| mob.rage(began + span))?;
    others.enter(Phase::Over);
    let took = began.elapsed().as_secs_f64();
    let used = (CpuTime::of(pid)? - used).total();
    let waited = waited_for_cpu(pid)?.saturating_sub(waited);
    thread::sleep(TICKS);
    let open = Scrape::of(admin)?.sum("tidegate_connections_open") as u64;
    let [quiet, busy] = others.finish()?;
    Ok(Round {
        flood,
        seconds: took,
        done: mob.into_tally(),
        open,
        quiet,
        busy,
        bound: bounds::of_others(&quiet, &busy),
        server_cores: used.as_secs_f64() / took,
        waited_seconds: waited.as_secs_f64(),
    })
}

impl Report {
    /// The bounds that are not known to be reached, of all floods.
    #[must_use]
    pub fn not_reached(&self) -> Vec<String> {
        let missed = self.floods.iter().filter(|round| !round.bound.is_reached());
        missed.map(|round| format!("{}: {}", round.flood.what(), round.bound)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, others, floods } = self;
        writeln!(out, "flood: {server}; {others} others echo")?;
        floods.iter().try_for_each(|round| round.fmt(out))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flood, seconds, done, open, quiet, busy, bound, server_cores, .. } = self;
        writeln!(out, "  {}", flood.what())?;
        writeln!(out, "    in {seconds:.1} s        {done}, {open} connections open")?;
        writeln!(out, "    others, quiet   {quiet}")?;
        writeln!(out, "        meanwhile   {busy}")?;
        let waited_ms = self.waited_seconds * 1e3;
        writeln!(
            out,
            "    gateway         {server_cores:>12.2} cores, without one for {waited_ms:.1} ms"
        )?;
        writeln!(out, "    {bound}")
    }
}
