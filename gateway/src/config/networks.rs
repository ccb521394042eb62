//! The keys `allow` and `deny` of a listener and of a route: from which networks clients may come.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::reader::{Origin, TableReader, expected};
use super::value;
use crate::kernel::Peer;
use crate::units::quote;

/// From which networks clients may come. By default from all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Who is in one of these may come, and nobody else; `None`, the default, for everybody. At
    /// most 256, and one at least.
    pub allow: Option<Vec<ClientNetwork>>,
    /// Who is in one of these may not, whatever `allow` says; at most 256.
    pub deny: Vec<ClientNetwork>,
}

/// Some clients, by where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientNetwork {
    /// Those of these addresses; it has no bits behind its prefix. Those of IPv4 are written as
    /// such: nobody comes from one within IPv6.
    Ip(IpNet),
    /// `unix`: those that come by a Unix socket and have no address.
    Unix,
}

/// The most networks of a list: each client is looked up in all of them.
const NETWORKS_MAX: usize = 256;

impl ClientNetwork {
    /// What it may be.
    const FORMS: &'static str = "a network such as \"10.0.0.0/8\", an address, or \"unix\"";

    fn has(self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Ip(network), Peer::Ip(address)) => network.contains(&address.ip()),
            (Self::Unix, Peer::Unix { .. }) => true,
            _ => false,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Ip(network) => check_network(network),
            Self::Unix => Ok(()),
        }
    }
}

impl Networks {
    /// Whether somebody may be refused.
    #[must_use]
    pub fn say_something(&self) -> bool {
        self.allow.is_some() || !self.deny.is_empty()
    }

    /// Whether a client may come. Of whom it is not known where it comes from, nobody knows whether
    /// it is denied.
    #[must_use]
    pub fn let_in(&self, peer: Peer) -> bool {
        if !self.say_something() {
            return true;
        }
        let is_in = |list: &[ClientNetwork]| list.iter().any(|one| one.has(peer));
        let is_allowed = self.allow.as_deref().is_none_or(is_in);
        is_allowed && !is_in(&self.deny) && peer != Peer::Unknown
    }

    /// Checks what a program has put together, of `field` of the configuration.
    pub(super) fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        let lists = [("allow", self.allow.as_ref(), 1), ("deny", Some(&self.deny), 0)];
        for (key, list, least) in lists {
            let Some(list) = list else { continue };
            built::number(format!("{field}.{key}"), list.len(), &(least..=NETWORKS_MAX))?;
            let wrong = list.iter().find_map(|one| one.check().err());
            if let Some(wrong) = wrong {
                return Err(BuiltWrong(format!("{field}.{key}: {wrong}")));
            }
        }
        Ok(())
    }

    /// Each key as the file has it, with its value.
    #[must_use]
    pub fn written(&self) -> [(&'static str, String); 2] {
        let list = |list: &[ClientNetwork]| {
            let texts: Vec<_> = list.iter().map(|one| format!("\"{one}\"")).collect();
            format!("[{}]", texts.join(", "))
        };
        let allow = self.allow.as_deref().map_or("off".into(), list);
        [("allow", allow), ("deny", list(&self.deny))]
    }
}

/// Reads `allow` and `deny`; `None` if one of them is refused. Where `idle` says why, they mean
/// nothing.
pub(super) fn read(table: &mut TableReader<'_, '_>, idle: Option<&str>) -> Option<Networks> {
    let allow = table.read_unless("allow", idle, None, |value| match value.as_str() {
        Some("off") => Ok(None),
        _ => allowed(value).map(Some),
    });
    let deny = table.read_unless("deny", idle, Vec::new(), list);
    let is_refused = [allow.origin, deny.origin].contains(&Origin::Refused);
    (!is_refused).then_some(Networks { allow: allow.value, deny: deny.value })
}

fn allowed(value: &DeValue<'_>) -> Result<Vec<ClientNetwork>, String> {
    match list(value)? {
        none if none.is_empty() => {
            Err("is empty, so that nobody could come: name networks, or leave it out".into())
        }
        some => Ok(some),
    }
}

fn list(value: &DeValue<'_>) -> Result<Vec<ClientNetwork>, String> {
    let DeValue::Array(written) = value else {
        return Err(expected("an array of networks such as [\"10.0.0.0/8\"]", value));
    };
    if written.len() > NETWORKS_MAX {
        return Err(format!("has {} networks, and may have {NETWORKS_MAX}", written.len()));
    }
    let each = |(index, one): (usize, &Spanned<DeValue<'_>>)| {
        network(one.get_ref()).map_err(|wrong| format!("[{index}] {wrong}"))
    };
    written.iter().enumerate().map(each).collect()
}

fn network(value: &DeValue<'_>) -> Result<ClientNetwork, String> {
    let text = value::text(value)?;
    if text == "unix" {
        return Ok(ClientNetwork::Unix);
    }
    let wrong = || format!("must be {}, is {}", ClientNetwork::FORMS, quote(text));
    let network = parse_network(text).ok_or_else(wrong)?;
    check_network(&network).map(|()| ClientNetwork::Ip(network))
}

/// Reads a network; a single address is a network of one.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().ok().map(IpNet::from);
    address.or_else(|| text.parse().ok())
}

/// Checks that a network says what it seems to.
pub(super) fn check_network(network: &IpNet) -> Result<(), String> {
    let whole = network.trunc();
    if whole != *network {
        let address = network.addr();
        return Err(format!(
            "has {network}, an address within {whole}: write {whole}, or {address} for it alone"
        ));
    }
    match network.addr() {
        // Peers of a socket for both are told by their address of version 4.
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Err(format!("has {network}: write it as an address of IPv4"))
        }
        _ => Ok(()),
    }
}

/// A network as it is written: one of a single address without its prefix.
pub(super) struct WrittenNetwork<'n>(pub(super) &'n IpNet);

impl fmt::Display for WrittenNetwork<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(network) = self;
        if network.prefix_len() == network.max_prefix_len() {
            return write!(out, "{}", network.addr());
        }
        write!(out, "{network}")
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(network) => WrittenNetwork(network).fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::Config;
    use super::*;

    fn parse(keys: &str) -> Result<Networks, String> {
        let text = format!("[[route]]\npath = \"/\"\nhandler = \"echo\"\n{keys}");
        let parsed = Config::parse(&text, "t.toml");
        parsed.map(|config| config.routes[0].networks.clone()).map_err(|errors| errors.to_string())
    }

    fn peer(text: &str) -> Peer {
        match text {
            "unix" => Peer::Unix { pid: 1, uid: 2, gid: 3 },
            "unknown" => Peer::Unknown,
            text => SocketAddr::new(text.parse().expect("an address"), 80).into(),
        }
    }

    #[test]
    fn who_is_denied_may_not_come_and_of_others_who_is_allowed() {
        let both = "allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\ndeny = [\"10.9.0.0/16\"]";
        let denied = "deny = [\"192.0.2.7\", \"2001:db8::1\", \"unix\"]";
        for (keys, address, is_let_in) in [
            ("", "192.0.2.1", true),
            ("", "unknown", true),
            (both, "10.8.255.255", true),
            (both, "::ffff:10.8.0.1", true),
            (both, "10.9.0.1", false),
            (both, "11.0.0.0", false),
            (both, "9.255.255.255", false),
            (both, "2001:db8:ffff::1", true),
            (both, "2001:db9::1", false),
            (both, "unix", false),
            (both, "unknown", false),
            (denied, "192.0.2.7", false),
            (denied, "::ffff:192.0.2.7", false),
            (denied, "192.0.2.8", true),
            (denied, "2001:db8::1", false),
            (denied, "unix", false),
            (denied, "unknown", false),
            ("deny = [\"0.0.0.0/0\"]", "::1", true),
            ("deny = [\"0.0.0.0/0\"]", "1.2.3.4", false),
            ("deny = [\"0.0.0.0/0\"]", "unix", true),
            ("allow = [\"unix\"]", "unix", true),
            ("allow = [\"unix\"]", "127.0.0.1", false),
            ("allow = \"off\"", "127.0.0.1", true),
        ] {
            let networks = parse(keys).expect(keys);
            assert_eq!(networks.let_in(peer(address)), is_let_in, "{keys} {address}");
        }
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (keys, wrong) in [
            ("allow = []", "is empty, so that nobody could come"),
            ("allow = \"10.0.0.0/8\"", "must be an array of networks such as"),
            ("deny = [\"10.0.0.1/8\"]", "[0] has 10.0.0.1/8, an address within 10.0.0.0/8: write"),
            ("deny = [\"::1\", \"x\"]", "[1] must be a network such as \"10.0.0.0/8\", an address"),
            ("deny = [\"10.0.0.0/33\"]", "[0] must be a network such as"),
            ("allow = [\"::ffff:10.0.0.0/104\"]", "[0] has ::ffff:10.0.0.0/104: write it as"),
            ("allow = [7]", "[0] must be a string"),
        ] {
            let error = parse(keys).expect_err(keys);
            assert!(error.contains(wrong) && error.contains("t.toml:4"), "{keys}: {error}");
        }
        let many = format!("deny = [{}]", "\"::1\",".repeat(257));
        assert!(parse(&many).expect_err("many").contains("has 257 networks, and may have 256"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let keys = "allow = [\"10.0.0.0/8\", \"::1\", \"unix\"]\ndeny = [\"10.1.0.0/16\"]";
        let [allow, deny] = parse(keys).expect("right").written();
        assert_eq!(format!("{} = {}\n{} = {}", allow.0, allow.1, deny.0, deny.1), keys);
    }
}
