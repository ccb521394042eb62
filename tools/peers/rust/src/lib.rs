//! What both programs have in common: the command line, the listener, the accept loop.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The longest message that is echoed, in bytes.
pub const MESSAGE_MAX: usize = 16 << 20;

/// What was asked for on the command line: `--port N [--lean]`.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    /// Where to listen, on all addresses.
    pub port: u16,
    /// As little memory for each connection as the crate recommends.
    pub lean: bool,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// An argument is not known, or there is no port.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let (mut port, mut lean) = (None, false);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--port" => port = arguments.next().and_then(|value| value.parse().ok()),
                "--lean" => lean = true,
                other => return Err(io::Error::other(format!("{other}: not known; {USAGE}"))),
            }
        }
        Ok(Self { port: port.ok_or_else(|| io::Error::other(USAGE))?, lean })
    }
}

const USAGE: &str = "usage: --port N [--lean]";

/// Says `version` on stdout, then gives every connection to `serve`, on this thread, until killed.
///
/// # Errors
/// It cannot listen, or the process may not open more files.
pub fn run(
    port: u16,
    version: &str,
    serve: impl AsyncFn(TcpStream) + Copy + 'static,
) -> io::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = listen(port)?;
        writeln!(io::stdout(), "{version}")?;
        io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move { serve(stream).await });
        }
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}
