//! The memory of idle connections: what a server holds with N and with 2 N of them.
//!
//! The difference is divided by N, so that whatever a server holds without any connection drops
//! out. It is measured twice, on a fresh server if that is started here: with connections that
//! have never said anything, and with connections that have had a message echoed.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::peer::{self, Peer};
use crate::process::MemoryUse;
use crate::runtime;
use crate::server::{Choice, Server};
use crate::target::Target;

/// The message that is echoed, in bytes.
const MESSAGE: usize = 1024;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to measure.
    #[command(flatten)]
    pub server: Choice,
    /// N; twice as many connections are opened in the end, each of which takes a file descriptor.
    #[arg(long, short, default_value_t = 7000)]
    pub connections: usize,
    /// How long the server is left alone before its memory is read, in seconds.
    #[arg(long, default_value_t = 1.0)]
    pub settle: f64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Report {
    /// N.
    pub connections: usize,
    /// With connections that have never said anything.
    pub silent: Growth,
    /// With connections that have had a message of 1 KiB echoed.
    pub echoed: Growth,
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

/// Measures.
///
/// # Errors
/// The server did not start or its process is not known, or a connection failed.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    Ok(Report {
        connections: arguments.connections,
        silent: grow(arguments, None)?,
        echoed: grow(arguments, Some(peer::message(MESSAGE)?))?,
    })
}

/// Measures with connections that have `message` echoed, if there is one.
fn grow(arguments: &Arguments, message: Option<Rc<[u8]>>) -> io::Result<Growth> {
    let server = Server::find(&arguments.server)?;
    let pid = server.pid.ok_or_else(|| io::Error::other("--pid is needed for its memory"))?;
    let count = arguments.connections;
    let settled = || {
        thread::sleep(Duration::from_secs_f64(arguments.settle));
        MemoryUse::of(pid).map(|memory| memory.private_bytes)
    };
    runtime::run(0, async {
        let mut peers = Vec::with_capacity(2 * count);
        let empty_bytes = settled()?;
        add(&mut peers, count, &server.target, message.as_ref()).await?;
        let once_bytes = settled()?;
        add(&mut peers, count, &server.target, message.as_ref()).await?;
        let twice_bytes = settled()?;
        let bytes_per_connection = (twice_bytes as f64 - once_bytes as f64) / count as f64;
        Ok(Growth { empty_bytes, once_bytes, twice_bytes, bytes_per_connection })
    })
}

/// Opens `count` connections one after the other, and lets each echo.
async fn add(
    peers: &mut Vec<Peer>,
    count: usize,
    target: &Target,
    message: Option<&Rc<[u8]>>,
) -> io::Result<()> {
    for _ in 0..count {
        let mut peer = Peer::open(target).await?;
        if let Some(message) = message {
            peer.echo(message).await?;
            peer.forget_buffers();
        }
        peers.push(peer);
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "idle: {} and twice as many connections", self.connections)?;
        writeln!(out, "  silent                {}", self.silent)?;
        writeln!(out, "  after an echo of 1 KiB{}", self.echoed)
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
