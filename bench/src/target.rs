//! What is measured: a `ws://` URL.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A `ws://` URL, resolved (RFC 6455 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// The path and the query.
    pub path: String,
}

impl Target {
    /// `path` at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, path: &str) -> Self {
        Self { address, host: address.to_string(), path: path.into() }
    }
}

impl FromStr for Target {
    type Err = io::Error;

    fn from_str(url: &str) -> io::Result<Self> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {why}"));
        let rest = url.strip_prefix("ws://").ok_or_else(|| invalid("must begin with ws://"))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let mut addresses = with_port.to_socket_addrs()?;
        let address = addresses.next().ok_or_else(|| invalid("the host has no address"))?;
        Ok(Self { address, host: host.into(), path: path.into() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ws://{}{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target: Target = "ws://127.0.0.1:8080/echo?a=b".parse().unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((&*target.host, &*target.path), ("127.0.0.1:8080", "/echo?a=b"));
        let target: Target = "ws://127.0.0.1".parse().unwrap();
        assert_eq!(target.address, "127.0.0.1:80".parse().unwrap());
        assert_eq!((&*target.host, &*target.path), ("127.0.0.1", "/"));
        let target: Target = "ws://[::1]/x".parse().unwrap();
        assert_eq!(target.address, "[::1]:80".parse().unwrap());
        assert!("http://127.0.0.1/".parse::<Target>().is_err());
        assert!("ws://:/".parse::<Target>().is_err());
    }
}
