//! Floods: what clients see that go on with what they do while others on the same gateway do their
//! worst.
//!
//! Each flood has a gateway of its own. It comes from one thread, the clients that are watched are
//! on another, and what these see is stamped by the kernel ([`others`](crate::others)).

mod kind;
mod mob;
mod words;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::NamedTempFile;

pub use self::kind::Flood;
use self::mob::{Mob, Tally};
use crate::arguments::{count, rate, some_seconds};
use crate::bounds::{self, BoundReport};
use crate::others::{Others, Phase, Seen, Shape};
use crate::peers::Peer;
use crate::process::{CpuTime, waited_for_cpu};
use crate::runtime;
use crate::scrape::Scrape;
use crate::server::{Choice, Server};
use crate::tls::Certificate;

/// What differs from the gateway's default configuration.
const CONFIGURATION: &str = "[[topic]]\nname = \"room\"\npresence = true\n\
     [[route]]\npath = \"/topic\"\nhandler = \"hub?topic=topic\"\n\
     [[route]]\npath = \"/room\"\nhandler = \"hub?topic=room&events=on\"\n\
     [[route]]\npath = \"/echo\"\nhandler = \"echo\"\n";

/// How long the others go on before they are watched, and how long the gateway's counters may be
/// behind: a tick of a shard, twice over.
const TICKS: Duration = Duration::from_millis(600);

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
    /// Another server to build and start in its place. Floods that want more of it than an echo are
    /// left out.
    #[arg(long, conflicts_with = "gateway")]
    pub peer: Option<Peer>,
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
    /// never read were let in shows nowhere else. Another server does not tell.
    pub open: Option<u64>,
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
    let is_possible = |flood: &Flood| arguments.peer.is_none() || flood.is_of_any_echo();
    let (mut server, mut floods) = (String::new(), Vec::new());
    for flood in chosen.iter().copied().filter(is_possible) {
        let flooded = Flooded::start(arguments, flood)?;
        server.clone_from(&flooded.server.description);
        floods.push(round(arguments, flood, &flooded)?);
    }
    Ok(Report { server, others: arguments.others, floods })
}

/// The server of one flood.
struct Flooded {
    server: Server,
    /// Where a gateway tells of itself.
    admin: Option<SocketAddr>,
    /// By which its tokens are to be signed.
    _key: Option<NamedTempFile>,
}

impl Flooded {
    fn start(arguments: &Arguments, flood: Flood) -> io::Result<Self> {
        let is_over_tls = flood == Flood::Handshakes;
        if let Some(peer) = arguments.peer {
            let choice = Choice { peer: Some(peer), tls: is_over_tls, ..Choice::default() };
            return Ok(Self { server: Server::find(&choice)?, admin: None, _key: None });
        }
        let key = (flood == Flood::Tokens).then(public_key).transpose()?;
        let tokens = key.as_ref().map(|key| with_tokens(key.path())).unwrap_or_default();
        let certificate = is_over_tls.then(Certificate::new).transpose()?;
        let (server, admin) = Server::start_gateway_with_admin(
            arguments.gateway.as_deref(),
            arguments.shards,
            &(tokens + CONFIGURATION),
            certificate,
        )?;
        Ok(Self { server, admin: Some(admin), _key: key })
    }
}

/// A file with a key on P-256 by which no token is signed.
fn public_key() -> io::Result<NamedTempFile> {
    let key = rcgen::KeyPair::generate().map_err(io::Error::other)?.public_key_pem();
    let mut file = tempfile::Builder::new().prefix("tidegate-bench-").suffix(".pem").tempfile()?;
    file.write_all(key.as_bytes())?;
    Ok(file)
}

/// What the configuration has for a route that wants a token by this key.
fn with_tokens(key: &Path) -> String {
    format!(
        "[[jwt]]\nkeys = [\"{}\"]\n[[route]]\npath = \"/token\"\nhandler = \"echo\"\n\
         admission = [\"jwt\"]\n",
        key.display()
    )
}

/// Makes one flood.
fn round(arguments: &Arguments, flood: Flood, flooded: &Flooded) -> io::Result<Round> {
    let Flooded { server, admin, .. } = flooded;
    let pid = server.known_pid()?;
    let span = Duration::from_secs_f64(arguments.seconds);
    let target = &server.target;
    let mut mob = runtime::aside(|| Mob::gather(flood, target))?;
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
    let open =
        |admin| Ok::<_, io::Error>(Scrape::of(admin)?.sum("tidegate_connections_open") as u64);
    let open = admin.map(open).transpose()?;
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
        write!(out, "    in {seconds:.1} s        {done}")?;
        if let Some(open) = open {
            write!(out, ", {open} connections open")?;
        }
        writeln!(out)?;
        writeln!(out, "    others, quiet   {quiet}")?;
        writeln!(out, "        meanwhile   {busy}")?;
        let waited_ms = self.waited_seconds * 1e3;
        writeln!(
            out,
            "    server          {server_cores:>12.2} cores, without one for {waited_ms:.1} ms"
        )?;
        writeln!(out, "    {bound}")
    }
}
