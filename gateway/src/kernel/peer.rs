//! Who is at the other end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a connection, as far as the kernel says. Whoever has to know an address asks
/// for it here, so that ends without one are thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address of the internet protocols. One of IPv4 within IPv6 is told as what it is.
    Ip(SocketAddr),
    /// No such address.
    Unknown,
}

impl Peer {
    /// The IP address, if there is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unknown => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unknown => out.write_str("unknown"),
        }
    }
}
