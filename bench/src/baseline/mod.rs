//! Echo servers over `tidegate-proto` on other people's io_uring runtimes: what is left of
//! Tidegate when its ring is taken away. And a bare loop on epoll over TLS.
//!
//! The former are written as a competent user of their runtime would: a task per connection,
//! buffers that are lent to a read and come back. [`echo`] is what they have in common.

pub mod echo;
mod epoll;
mod monoio;
mod tokio_uring;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Submission entries of a server's ring.
const ENTRIES: u32 = 4096;

/// A runtime to serve on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    /// monoio, with its io_uring driver.
    Monoio,
    /// tokio-uring.
    TokioUring,
    /// epoll without any runtime, over TLS: the floor for speed over it.
    Epoll,
}

impl Runtime {
    /// What is printed at the start. The versions are those of Cargo.lock; a test holds them to it.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Monoio => "monoio 0.2.4",
            Self::TokioUring => "tokio-uring 0.5.0",
            Self::Epoll => "rustls 0.23.46",
        }
    }
}

/// An echo server to be measured beside Tidegate, on one thread, until it is killed.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The runtime to serve on.
    #[arg(value_enum)]
    pub runtime: Runtime,
    /// Where to listen, on all addresses.
    #[arg(long)]
    pub port: u16,
    /// The certificate of `epoll`, which is over TLS and wants one.
    #[arg(long, required_if_eq("runtime", "epoll"), requires = "key")]
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Serves on this thread, until the process is killed; says the runtime and its version first.
///
/// # Errors
/// The port is not free, there is no certificate for who needs one or one for who does without, or
/// the kernel refused the ring or more open files.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let Arguments { runtime, port, cert, key } = arguments;
    tidegate::kernel::raise_open_files()?;
    let listener = listen(*port)?;
    let mut stdout = io::stdout().lock();
    match runtime {
        Runtime::Epoll => epoll::announce(&mut stdout)?,
        _ => writeln!(stdout, "{} over tidegate-proto", runtime.version())?,
    }
    stdout.flush()?;
    drop(stdout);
    match (runtime, cert.as_deref().zip(key.as_deref())) {
        (Runtime::Monoio, None) => monoio::run(listener),
        (Runtime::TokioUring, None) => tokio_uring::run(listener),
        (Runtime::Epoll, Some((cert, key))) => epoll::run(listener, cert, key),
        (Runtime::Epoll, None) => Err(io::Error::other("it is over TLS: say --cert and --key")),
        (_, Some(_)) => Err(io::Error::other("only epoll is over TLS")),
    }
}

/// Blocking, as both runtimes want it: their rings wait instead.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_the_lock() {
        let lock = include_str!("../../../Cargo.lock");
        for runtime in [Runtime::Monoio, Runtime::TokioUring, Runtime::Epoll] {
            let (name, version) = runtime.version().split_once(' ').unwrap();
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{entry}");
        }
    }
}
