//! What is measured: a `ws://` or `wss://` URL.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::tls::{Dialer, Exchange};

/// A `ws://` or `wss://` URL, resolved (RFC 6455 section 3).
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// The path and the query.
    pub path: String,
    /// How clients shake hands, if it is over TLS.
    pub tls: Option<Dialer>,
}

impl Target {
    /// `path` at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, path: &str) -> Self {
        Self { address, host: address.to_string(), path: path.into(), tls: None }
    }

    /// The same over TLS, by such handshakes.
    #[must_use]
    pub fn over_tls(self, dialer: Dialer) -> Self {
        Self { tls: Some(dialer), ..self }
    }

    /// Another path of the same server.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { path: path.into(), ..self.clone() }
    }
}

impl FromStr for Target {
    type Err = io::Error;

    fn from_str(url: &str) -> io::Result<Self> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {why}"));
        let (rest, is_over_tls) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(invalid("must begin with ws:// or wss://")),
        };
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port {
            host.to_owned()
        } else {
            format!("{host}:{}", if is_over_tls { 443 } else { 80 })
        };
        let mut addresses = with_port.to_socket_addrs()?;
        let address = addresses.next().ok_or_else(|| invalid("the host has no address"))?;
        let tls = is_over_tls.then(|| Dialer::new(Exchange::default(), false)).transpose()?;
        Ok(Self { address, host: host.into(), path: path.into(), tls })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        write!(out, "{scheme}://{}{}", self.host, self.path)
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
        assert!(target.tls.is_none());
        let target: Target = "wss://127.0.0.1/echo".parse().unwrap();
        assert_eq!(target.address, "127.0.0.1:443".parse().unwrap());
        assert!(target.tls.is_some() && target.to_string() == "wss://127.0.0.1/echo");
        assert!("http://127.0.0.1/".parse::<Target>().is_err());
        assert!("ws://:/".parse::<Target>().is_err());
    }
}
