//! The memory of idle connections: what a server and the kernel hold with N and with 2 N of them.
//!
//! The difference is divided by N, so that whatever is there without any connection drops out. It
//! is measured twice, on a fresh server if that is started here: with connections that have never
//! said anything, and with connections that have had messages echoed.
//!
//! The kernel counts the objects of both ends of a connection. A server that only accepts and holds
//! TCP connections, with the same clients, tells them apart: an object that comes twice for each of
//! its connections is once the server's; what comes once is the clients'; and what a server needs
//! beyond that is the difference to it.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use crate::arguments::{count, seconds};
use crate::fleet::{Ending, Errand, Fleet, Kind};
use crate::peer::message;
use crate::peers::Peer;
use crate::process::MemoryUse;
use crate::progress;
use crate::server::{Choice, Server};
use crate::slab::{Growth as CacheGrowth, Slabs};
use crate::target::Target;

/// The message that is echoed, in bytes.
const MESSAGE: usize = 1024;

/// Connections that open, or echo, at once.
const WINDOW: usize = 256;

/// Objects of a cache per connection to the floor, from which on both ends have one.
const BOTH_ENDS: f64 = 1.75;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to measure.
    #[command(flatten)]
    pub server: Choice,
    /// N; twice as many connections are opened in the end.
    #[arg(long, short, default_value_t = 7000, value_parser = count)]
    pub connections: usize,
    /// Messages of 1 KiB that each connection has echoed, in the second part.
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub rounds: usize,
    /// How long the server is left alone before its memory is read, in seconds.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub settle: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// N.
    pub connections: usize,
    /// What the server says of itself.
    pub server: String,
    /// With connections that have never said anything.
    pub silent: Growth,
    /// With connections that have had messages of 1 KiB echoed.
    pub echoed: Growth,
    /// Messages that each of those had echoed.
    pub rounds: usize,
    /// What the kernel holds; why it is not known.
    pub kernel: Result<KernelUse, String>,
}

/// Private memory of the server (proc(5), `smaps_rollup`), in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Growth {
    /// Without connections.
    pub empty_bytes: u64,
    /// With N.
    pub once_bytes: u64,
    /// With 2 N.
    pub twice_bytes: u64,
    /// What each of the second N added.
    pub bytes_per_connection: f64,
}

/// Kernel memory, in bytes of objects per silent connection.
#[derive(Clone, Debug, Serialize)]
pub struct KernelUse {
    /// What a TCP socket takes that a server has accepted and does nothing with.
    pub bare_bytes: f64,
    /// What this server's connections take beyond that.
    pub beyond_bytes: f64,
    /// User space of a server that only accepts and holds.
    pub bare_user_bytes: f64,
    /// All that a connection takes here, user space and kernel, to all that one takes there.
    pub ratio: f64,
    /// The caches of the kernel whose objects both ends of a connection take, and the clients.
    pub caches: Vec<CacheGrowth>,
    /// The same with the server that only accepts and holds.
    pub bare_caches: Vec<CacheGrowth>,
}

/// What one server and the kernel took.
struct Measured {
    description: String,
    user: Growth,
    kernel: Result<Vec<CacheGrowth>, String>,
}

/// What a server takes that only accepts and holds TCP connections.
pub struct Floor(Measured);

impl Floor {
    /// Measures it, with as many connections; the server in `arguments` does not matter.
    ///
    /// # Errors
    /// That server did not start, or a connection failed.
    pub fn measure(arguments: &Arguments) -> io::Result<Self> {
        let bare = Choice { peer: Some(Peer::Hold), ..Choice::default() };
        grow(arguments, &bare, Kind::Bare, None).map(Self)
    }
}

/// Measures, the floor as well.
///
/// # Errors
/// The server did not start or its process is not known, or a connection failed.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let floor = Floor::measure(arguments).map_err(|error| error.to_string());
    run_beside(arguments, &floor)
}

/// Measures; `floor` is why it is not known, if it is not.
///
/// # Errors
/// The server did not start or its process is not known, or a connection failed.
pub fn run_beside(arguments: &Arguments, floor: &Result<Floor, String>) -> io::Result<Report> {
    let silent = grow(arguments, &arguments.server, Kind::WebSocket, None)?;
    let message = message(MESSAGE)?;
    let echoed = grow(arguments, &arguments.server, Kind::WebSocket, Some(&message))?;
    let kernel = silent.kernel.and_then(|caches| {
        let Floor(bare) = floor.as_ref().map_err(Clone::clone)?;
        Ok(KernelUse::new(caches, silent.user, bare.kernel.clone()?, bare.user))
    });
    Ok(Report {
        connections: arguments.connections,
        server: silent.description,
        silent: silent.user,
        echoed: echoed.user,
        rounds: arguments.rounds,
        kernel,
    })
}

/// Measures with connections that have `message` echoed, if there is one.
fn grow(
    arguments: &Arguments,
    server: &Choice,
    kind: Kind,
    message: Option<&Rc<[u8]>>,
) -> io::Result<Measured> {
    let server = Server::find(server)?;
    let pid = server.known_pid()?;
    let settled = |fleet: &mut Fleet| -> io::Result<_> {
        fleet.hold(Duration::from_secs_f64(arguments.settle))?;
        Ok((MemoryUse::of(pid)?.private_bytes, Slabs::now()))
    };
    let mut fleet = fleet(&server.target, kind)?;
    let count = arguments.connections;
    let (empty_bytes, _) = settled(&mut fleet)?;
    add(&mut fleet, arguments, message)?;
    let (once_bytes, once) = settled(&mut fleet)?;
    add(&mut fleet, arguments, message)?;
    let (twice_bytes, twice) = settled(&mut fleet)?;
    let bytes_per_connection = (twice_bytes as f64 - once_bytes as f64) / count as f64;
    let kernel = once.and_then(|once| Ok(twice?.growth(&once, count)));
    Ok(Measured {
        description: server.description.clone(),
        user: Growth { empty_bytes, once_bytes, twice_bytes, bytes_per_connection },
        kernel: kernel.map_err(|error| error.to_string()),
    })
}

fn fleet(target: &Target, kind: Kind) -> io::Result<Fleet> {
    Fleet::new(target, kind, Ending::Reset)
}

/// Opens N connections, and lets all that there are echo.
fn add(fleet: &mut Fleet, arguments: &Arguments, message: Option<&Rc<[u8]>>) -> io::Result<()> {
    let mut bar = progress::bar(arguments.connections as u64, "connections opened");
    fleet.open(arguments.connections, WINDOW, &mut |count| bar.advance(count as u64))?;
    drop(bar);
    let Some(message) = message else { return Ok(()) };
    let errand = Errand::Echo { message: Rc::clone(message) };
    let mut bar = progress::bar((fleet.len() * arguments.rounds) as u64, "messages echoed");
    let mut advance = |count| bar.advance(count as u64);
    (0..arguments.rounds).try_for_each(|_| fleet.each(&errand, WINDOW, &mut advance))
}

impl KernelUse {
    fn new(
        caches: Vec<CacheGrowth>,
        user: Growth,
        bare_caches: Vec<CacheGrowth>,
        bare: Growth,
    ) -> Self {
        let sum = |caches: &[CacheGrowth]| caches.iter().map(CacheGrowth::bytes).sum::<f64>();
        let both = bare_caches.iter().filter(|growth| growth.objects >= BOTH_ENDS);
        let bare_bytes = both.map(CacheGrowth::bytes).sum::<f64>() / 2.0;
        let beyond_bytes = sum(&caches) - sum(&bare_caches);
        let bare_user_bytes = bare.bytes_per_connection;
        let all = bare_bytes + beyond_bytes + user.bytes_per_connection;
        let ratio = all / (bare_bytes + bare_user_bytes);
        Self { bare_bytes, beyond_bytes, bare_user_bytes, ratio, caches, bare_caches }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, rounds, .. } = self;
        writeln!(out, "idle: {connections} and twice as many connections to {}", self.server)?;
        writeln!(out, "  silent, user space    {}", self.silent)?;
        writeln!(out, "  after {rounds} x 1 KiB       {}", self.echoed)?;
        match &self.kernel {
            Ok(kernel) => kernel.fmt(out),
            Err(why) => writeln!(out, "  kernel                     unknown ({why})"),
        }
    }
}

impl fmt::Display for KernelUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bare_bytes, beyond_bytes, ratio, .. } = self;
        writeln!(out, "  kernel, bare socket   {bare_bytes:>12.1} B per connection")?;
        writeln!(out, "  kernel, beyond that   {beyond_bytes:>12.1} B per connection")?;
        writeln!(out, "  all, to bare and held {ratio:>12.3}")?;
        writeln!(out, "  objects per connection, both ends (with a server that only holds)")?;
        for CacheGrowth { cache, objects, object_bytes } in &self.caches {
            let bare = self.bare_caches.iter().find(|bare| bare.cache == *cache);
            let bare = bare.map_or(0.0, |bare| bare.objects);
            writeln!(out, "    {cache:<24} {objects:>6.2} ({bare:.2}) of {object_bytes} B")?;
        }
        Ok(())
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: u64| bytes / 1024;
        let Self { empty_bytes, once_bytes, twice_bytes, bytes_per_connection } = *self;
        write!(out, "{bytes_per_connection:>12.1} B per connection (private: ")?;
        let [empty, once, twice] = [empty_bytes, once_bytes, twice_bytes].map(kib);
        write!(out, "{empty} KiB without any, {once} with N, {twice} with 2 N)")
    }
}
