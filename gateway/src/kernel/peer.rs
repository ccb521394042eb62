//! Who is at the other end.

use std::fmt;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

/// The other end of a connection, as far as the kernel says. Whoever has to know an address asks
/// for it here, so that ends without one are thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address of the internet protocols. One of IPv4 within IPv6 is told as what it is. Its
    /// port is 0 where it is not known, and then not displayed.
    Ip(SocketAddr),
    /// A process of this machine, as it was when it connected (`SO_PEERCRED`, unix(7)).
    Unix {
        /// The process; 0 if it is none that this one can see.
        pid: u32,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// No such address.
    Unknown,
}

impl Peer {
    /// The IP address, if there is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix { .. } | Self::Unknown => None,
        }
    }

    /// Who it is, if that is known.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        if self == Self::Unknown { None } else { Some(self) }
    }

    /// The process at the other end of a Unix socket.
    #[must_use]
    pub fn of_unix(socket: impl AsFd) -> Self {
        let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel writes at
        // most `length` bytes to `found`, which is so long and may have any value.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut found).cast(),
                &raw mut length,
            )
        };
        match result {
            0 => Self::Unix {
                pid: u32::try_from(found.pid).unwrap_or(0),
                uid: found.uid,
                gid: found.gid,
            },
            _ => Self::Unknown,
        }
    }
}

/// Which peers are meant. It is read from an IP address or a network of them, from `unix` for all
/// processes of this machine, or from one of these as it is displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PeerFilter {
    /// Those from this network, which may be a single address.
    Ip(IpNet),
    /// Those over Unix sockets.
    Unix,
    /// This process.
    Process(Peer),
}

impl PeerFilter {
    /// Whether it is one of them.
    #[must_use]
    pub fn fits(&self, peer: Peer) -> bool {
        match self {
            Self::Ip(network) => peer.ip().is_some_and(|address| network.contains(&address)),
            Self::Unix => matches!(peer, Peer::Unix { .. }),
            Self::Process(process) => peer == *process,
        }
    }
}

impl FromStr for PeerFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        if let Some(numbers) = text.strip_prefix("unix:") {
            let process = process(numbers);
            return process.map(Self::Process).ok_or_else(|| {
                "must be `unix`, or `unix:pid=1,uid=2,gid=3` with the numbers of a process".into()
            });
        }
        let address = text.parse::<IpAddr>().map(|address| address.to_canonical().into());
        address
            .or_else(|_| text.parse())
            .map(Self::Ip)
            .map_err(|_| "must be an IP address, a network such as 10.0.0.0/8, or `unix`".into())
    }
}

impl TryFrom<String> for PeerFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The process of these numbers.
fn process(text: &str) -> Option<Peer> {
    let mut parts = text.splitn(3, ',');
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.parse().ok();
    Some(Peer::Unix { pid: number("pid=")?, uid: number("uid=")?, gid: number("gid=")? })
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) if address.port() == 0 => address.ip().fmt(out),
            Self::Ip(address) => address.fmt(out),
            Self::Unix { pid, uid, gid } => write!(out, "unix:pid={pid},uid={uid},gid={gid}"),
            Self::Unknown => out.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_fits_those_who_are_meant() {
        let [one, other] = [1, 2].map(|pid| Peer::Unix { pid, uid: 3, gid: 4 });
        let ip = Peer::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        let peers = [one, other, ip, Peer::Unknown];
        for (text, fits) in [
            ("unix", [true, true, false, false]),
            (&one.to_string(), [true, false, false, false]),
            ("127.0.0.1", [false, false, true, false]),
            ("::ffff:127.0.0.1", [false, false, true, false]),
            ("127.0.0.0/8", [false, false, true, false]),
            ("127.1.2.3/8", [false, false, true, false]),
            ("128.0.0.0/1", [false; 4]),
            ("::1", [false; 4]),
        ] {
            let filter: PeerFilter = text.parse().unwrap();
            assert_eq!(peers.map(|peer| filter.fits(peer)), fits, "{text}");
        }
        for text in
            ["", "unix:", "unix:pid=1", "unix:pid=1,uid=2,gid=x", "127.0.0.1:80", "::/129", "Unix"]
        {
            assert!(text.parse::<PeerFilter>().is_err(), "{text}");
        }
    }
}
