//! Where the sockets of a fleet come from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::Ending;

/// Sockets that go out from one address before it is the next one's turn: of the 28,232 ephemeral
/// ports of an address (ip(7), `ip_local_port_range`), few enough that a free one is found fast.
const SOCKETS_PER_ADDRESS: u32 = 4096;

/// How long connecting may block. On loopback it is done at once unless the server's queue is full;
/// then the socket goes on connecting by itself.
const CONNECT_BLOCKS: Duration = Duration::from_micros(1);

/// Makes connected sockets.
pub(crate) struct Sources {
    target: SockAddr,
    /// Whether the target is in 127.0.0.0/8, so that any address of it can be a source.
    loopback: bool,
    ending: Ending,
    /// Sockets made so far.
    made: u32,
}

impl Sources {
    pub(crate) fn new(target: SocketAddr, ending: Ending) -> io::Result<Self> {
        let loopback = matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        // A number of its own for each process, so that the ports that the last one left in
        // TIME_WAIT are not in the way.
        let made = getrandom::u32().map_err(io::Error::other)? % (1 << 20);
        Ok(Self { target: target.into(), loopback, ending, made })
    }

    /// A socket that is connected, or is about to be.
    pub(crate) fn connect(&mut self) -> io::Result<OwnedFd> {
        let socket = Socket::new(Domain::for_address(self.address()), Type::STREAM, None)?;
        if self.loopback {
            socket.bind(&SocketAddrV4::new(self.source(), 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        if self.ending == Ending::Reset {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        // Not O_NONBLOCK: io_uring would then not wait for room either.
        socket.set_write_timeout(Some(CONNECT_BLOCKS))?;
        self.made = self.made.wrapping_add(1);
        match socket.connect(&self.target) {
            Err(error) if !goes_on(&error) => Err(error),
            _ => Ok(socket.into()),
        }
    }

    fn address(&self) -> SocketAddr {
        self.target.as_socket().expect("it was made of a socket address")
    }

    /// 127.1.0.1 and up; the last byte is never 0 or 255.
    fn source(&self) -> Ipv4Addr {
        let number = self.made / SOCKETS_PER_ADDRESS;
        let (high, low) = (number / 254, number % 254);
        Ipv4Addr::new(127, 1 + (high / 256 % 250) as u8, (high % 256) as u8, 1 + low as u8)
    }
}

/// Whether a socket goes on connecting by itself after this error of connect(2): the time is up, or
/// a signal came, which is also how the kernel tells a thread of what its rings have done.
fn goes_on(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        || error.raw_os_error() == Some(libc::EINPROGRESS)
}
