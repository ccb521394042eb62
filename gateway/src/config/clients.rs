//! The table `[clients]`: how many connections there may be of whom, on all shards together, and
//! how many may come each second.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::client_limits::{ClientRate, or_off, rate};
use super::reader::{TableReader, expected};
use super::value;

/// How many connections there may be of whom, on all shards together. Whoever comes beyond that is
/// answered with 429 or 503, and told when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Connections altogether, 1 to 4294967295; `None`, the default, for as many as shards have.
    pub connections: Option<u32>,
    /// Connections of one address, 1 to 16777215; `None`, the default, for any number.
    pub per_address: Option<u32>,
    /// Connections of one user of the hub, 1 to 16777215; `None`, the default, for any number.
    pub per_user: Option<u32>,
    /// Connections that come from one address each second; `None`, the default, for any number.
    pub handshakes: Option<ClientRate>,
    /// How many of the first bits of an IPv4 address are counted as one, 8 to 32. Default 32.
    pub prefix_v4: u8,
    /// Likewise of IPv6, 16 to 128. Default 64.
    pub prefix_v6: u8,
    /// The networks whose addresses are not counted, at most 256.
    pub exempt: Vec<IpNet>,
    /// Addresses, and users, that are counted at once, each 1024 to 4194304. Default 65536.
    pub places: u32,
}

const CONNECTIONS: RangeInclusive<u32> = 1..=u32::MAX;
const OF_ONE: RangeInclusive<u32> = 1..=(1 << 24) - 1;
const HANDSHAKES: RangeInclusive<u32> = 1..=1_000_000;
const PREFIX_V4: RangeInclusive<u8> = 8..=32;
const PREFIX_V6: RangeInclusive<u8> = 16..=128;
const PLACES: RangeInclusive<u32> = 1024..=1 << 22;
const EXEMPT_MAX: usize = 256;

impl Default for Clients {
    fn default() -> Self {
        Self {
            connections: None,
            per_address: None,
            per_user: None,
            handshakes: None,
            prefix_v4: 32,
            prefix_v6: 64,
            exempt: Vec::new(),
            places: 65_536,
        }
    }
}

impl Clients {
    /// Checks what a program has put together.
    pub(super) fn check(&self) -> Result<(), BuiltWrong> {
        let numbers = [
            ("connections", self.connections, CONNECTIONS),
            ("per_address", self.per_address, OF_ONE),
            ("per_user", self.per_user, OF_ONE),
            ("handshakes.per_second", self.handshakes.map(|rate| rate.per_second), HANDSHAKES),
            ("handshakes.burst", self.handshakes.map(|rate| rate.burst), HANDSHAKES),
            ("places", Some(self.places), PLACES),
        ];
        for (key, number, range) in numbers {
            let Some(number) = number else { continue };
            built::number(format!("clients.{key}"), number, &range)?;
        }
        built::number("clients.prefix_v4", self.prefix_v4, &PREFIX_V4)?;
        built::number("clients.prefix_v6", self.prefix_v6, &PREFIX_V6)?;
        built::number("clients.exempt", self.exempt.len(), &(0..=EXEMPT_MAX))
    }

    /// Each key as the file has it, with its value, of a text without its quotes.
    #[must_use]
    pub fn written(&self) -> [(&'static str, String); 9] {
        let number = |value: Option<u32>| value.map_or("off".into(), |value| value.to_string());
        let exempt: Vec<_> = self.exempt.iter().map(|network| format!("\"{network}\"")).collect();
        [
            ("clients.connections", number(self.connections)),
            ("clients.connections_per_address", number(self.per_address)),
            ("clients.connections_per_user", number(self.per_user)),
            ("clients.handshake_rate", number(self.handshakes.map(|rate| rate.per_second))),
            ("clients.handshake_burst", number(self.handshakes.map(|rate| rate.burst))),
            ("clients.prefix_v4", self.prefix_v4.to_string()),
            ("clients.prefix_v6", self.prefix_v6.to_string()),
            ("clients.exempt", format!("[{}]", exempt.join(", "))),
            ("clients.places", self.places.to_string()),
        ]
    }
}

/// Reads the table.
pub(super) fn read(mut table: TableReader<'_, '_>) -> Clients {
    let default = Clients::default();
    let of_one = |value: &DeValue<'_>| or_off(value, |value| value::integer(value, &OF_ONE));
    let all = |value: &DeValue<'_>| or_off(value, |value| value::integer(value, &CONNECTIONS));
    let clients = Clients {
        connections: table.read("connections", None, all).value,
        per_address: table.read("connections_per_address", None, of_one).value,
        per_user: table.read("connections_per_user", None, of_one).value,
        handshakes: rate(&mut table, ["handshake_rate", "handshake_burst"], |value| {
            value::integer(value, &HANDSHAKES)
        }),
        prefix_v4: prefix(&mut table, "prefix_v4", default.prefix_v4, &PREFIX_V4),
        prefix_v6: prefix(&mut table, "prefix_v6", default.prefix_v6, &PREFIX_V6),
        exempt: table.read("exempt", default.exempt, networks).value,
        places: table.read("places", default.places, |value| value::integer(value, &PLACES)).value,
    };
    table.finish();
    clients
}

fn prefix(
    table: &mut TableReader<'_, '_>,
    key: &'static str,
    default: u8,
    range: &RangeInclusive<u8>,
) -> u8 {
    table.read(key, default, |value| value::integer(value, range)).value
}

/// Reads a list of networks, or of single addresses.
fn networks(value: &DeValue<'_>) -> Result<Vec<IpNet>, String> {
    let DeValue::Array(written) = value else {
        return Err(expected("an array of networks such as [\"10.0.0.0/8\"]", value));
    };
    if written.len() > EXEMPT_MAX {
        return Err(format!("has {} networks, and may have {EXEMPT_MAX}", written.len()));
    }
    let network = |one: &Spanned<DeValue<'_>>| {
        let text = value::text(one.get_ref())?;
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = text.parse().ok().or_else(address);
        network.ok_or_else(|| expected("networks such as \"10.0.0.0/8\"", one.get_ref()))
    };
    written.iter().map(network).collect()
}
