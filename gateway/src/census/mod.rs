//! How many connections there are of whom, on all shards: of each address, each user, each route,
//! each listener, and altogether; and how many come each second.
//!
//! Shards share the [`Census`], which has nothing but atomic numbers in it; each has a
//! [`Turnstile`], which knows what its own connections are counted by, so that it is given back
//! when they end.

mod headcount;
mod turnstile;

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ipnet::IpNet;

use crate::bill::{Line, Owner};
use crate::config::{Clients, Config};
use crate::memory::Flow;
use crate::names::Name;
pub use headcount::{Counting, Headcount, ShelfPlace};
pub use turnstile::Turnstile;

/// After how many seconds those are to come back who are too many.
const RETRY_AFTER_SECONDS: u32 = 5;

/// What there are too many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Connections, altogether.
    Gateway,
    /// Connections of a listener.
    Listener,
    /// Connections of an address.
    Address,
    /// Connections of a user.
    User,
    /// Connections of a route.
    Route,
    /// Connections that come to a listener in a second.
    ListenerRate,
    /// Connections that come from an address in a second.
    AddressRate,
    /// Bytes: memory is short.
    Memory,
}

impl Crowd {
    /// The HTTP status of whoever is turned away for it. RFC 6585 section 4: 429 "indicates that
    /// the user has sent too many requests in a given amount of time".
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Address | Self::User | Self::AddressRate => 429,
            Self::Gateway | Self::Listener | Self::Route | Self::ListenerRate | Self::Memory => 503,
        }
    }

    /// What is wrong and what to do, as a sentence without its full stop.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Gateway => "as many connections are open as may be; try again later",
            Self::Listener => {
                "as many connections are open here as may be; try again later, or elsewhere"
            }
            Self::Route => "as many connections are open at this path as may be; try again later",
            Self::Address => {
                "as many connections are open from your address as may be: close one first"
            }
            Self::User => "as many connections are open of this user as may be: close one first",
            Self::ListenerRate => "too many connect here at once; try again later",
            Self::Memory => "memory is short; try again later",
            Self::AddressRate => "too many connect from your address at once; try again later",
        }
    }
}

/// One who is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// Because there are too many of these.
    pub by: Crowd,
    /// When to come back, in seconds.
    pub retry_after_seconds: u32,
}

/// How many may be at once, and are, if that is limited.
#[derive(Debug, Default)]
struct Seats {
    most: Option<u32>,
    taken: Arc<AtomicU32>,
}

/// How many connections a route may have at once, and has, on all shards.
#[derive(Debug)]
pub struct RouteSeats(Seats);

impl RouteSeats {
    /// For so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self(Seats::new(Some(most)))
    }

    /// The same, with those who are there, for so many from now on.
    #[must_use]
    pub fn for_others(&self, most: u32) -> Self {
        Self(Seats { most: Some(most), taken: Arc::clone(&self.0.taken) })
    }
}

/// A listener.
#[derive(Debug)]
struct ListenerSeats {
    room: Seats,
    accepts: Option<Flow>,
    /// When the bucket of accepts would be full again, in nanoseconds.
    paid: AtomicU64,
}

/// The counts of all shards.
pub struct Census {
    all: Seats,
    listeners: Box<[ListenerSeats]>,
    /// By address, if that is limited.
    addresses: Option<Headcount>,
    per_address: Option<u32>,
    handshakes: Option<Flow>,
    prefix_v4: u8,
    prefix_v6: u8,
    exempt: Box<[IpNet]>,
    /// By user, likewise.
    users: Option<Headcount>,
    per_user: Option<u32>,
    /// Seeded anew at each start: nobody can aim at a place.
    hasher: RandomState,
}

impl Seats {
    fn new(most: Option<u32>) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// Takes a place, if places are limited; whether there is one, and it has to be given back.
    ///
    /// # Errors
    /// There is none.
    fn enter(&self, by: Crowd) -> Result<bool, TurnedAway> {
        let Some(most) = self.most else { return Ok(false) };
        let more = |taken: u32| (taken < most).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(true),
            Err(_) => Err(TurnedAway { by, retry_after_seconds: RETRY_AFTER_SECONDS }),
        }
    }

    fn leave(&self) {
        let before = self.taken.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "nobody was counted");
    }
}

impl Census {
    /// For a gateway of this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let clients = &config.clients;
        let listeners = config.listeners.iter().map(|listener| ListenerSeats {
            room: Seats::new(listener.limits.connections),
            accepts: listener.limits.accepts.map(Flow::from),
            paid: AtomicU64::new(0),
        });
        let addresses = counts_addresses(clients);
        Self {
            all: Seats::new(clients.connections),
            listeners: listeners.collect(),
            addresses: addresses
                .then(|| Headcount::new(clients.places, clients.handshakes.is_some())),
            per_address: clients.per_address,
            handshakes: clients.handshakes.map(Flow::from),
            prefix_v4: clients.prefix_v4,
            prefix_v6: clients.prefix_v6,
            exempt: clients.exempt.clone().into(),
            users: clients.per_user.map(|_| Headcount::new(clients.places, false)),
            per_user: clients.per_user,
            hasher: RandomState::new(),
        }
    }

    /// Whether anything is limited for those who come.
    fn limits_sockets(&self) -> bool {
        let limits = |one: &ListenerSeats| one.room.most.is_some() || one.accepts.is_some();
        self.all.most.is_some() || self.limits_addresses() || self.listeners.iter().any(limits)
    }

    /// Whether anything is limited by address.
    fn limits_addresses(&self) -> bool {
        self.addresses.is_some()
    }

    /// The hash of the network that an address is counted with; `None` if it is not counted.
    fn hash_of(&self, address: IpAddr) -> Option<u64> {
        if self.exempt.iter().any(|network| network.contains(&address)) {
            return None;
        }
        Some(self.hasher.hash_one(network(address, self.prefix_v4, self.prefix_v6)))
    }

    fn hash_of_user(&self, user: &Name) -> u64 {
        self.hasher.hash_one(user.as_str())
    }

    /// Whether nobody is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let rooms = self.listeners.iter().map(|one| &one.room);
        let tables = self.addresses.iter().chain(&self.users);
        rooms.chain([&self.all]).all(|room| room.taken.load(Ordering::Acquire) == 0)
            && tables.map(Headcount::total).sum::<u64>() == 0
    }
}

/// Whether anything is limited by address.
fn counts_addresses(clients: &Clients) -> bool {
    clients.per_address.is_some() || clients.handshakes.is_some()
}

/// The network of an address: its first bits.
fn network(address: IpAddr, prefix_v4: u8, prefix_v6: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let rest = 32 - u32::from(prefix_v4);
            let bits = address.to_bits().checked_shr(rest).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(bits.checked_shl(rest).unwrap_or(0)))
        }
        IpAddr::V6(address) => {
            let rest = 128 - u32::from(prefix_v6);
            let bits = address.to_bits().checked_shr(rest).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(bits.checked_shl(rest).unwrap_or(0)))
        }
    }
}

/// What counting takes, for the bill.
pub(crate) fn lines(config: &Config) -> Vec<Line> {
    let clients = &config.clients;
    let mut lines = Vec::new();
    let addresses = if counts_addresses(clients) {
        Headcount::bytes(clients.places, clients.handshakes.is_some())
    } else {
        0
    };
    let users = clients.per_user.map_or(0, |_| Headcount::bytes(clients.places, false));
    if addresses + users > 0 {
        lines.push(Line::new(Owner::Headcounts, addresses + users, &["clients.places"]));
    }
    let census = Census::new(&Config {
        clients: Clients { places: 1, ..clients.clone() },
        ..config.clone()
    });
    let is_short = config.limits.memory_high.is_some();
    let is_open_limited = clients.per_user.is_some()
        || config.routes.iter().any(|route| route.client.connections.is_some());
    if is_short || census.limits_sockets() || is_open_limited {
        let bytes = Turnstile::bytes(config.limits.slots());
        lines.push(Line::new(Owner::Turnstiles, bytes, &["limits.connections"]));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_with_its_network() {
        let of = |address: &str, v4, v6| network(address.parse().unwrap(), v4, v6).to_string();
        assert_eq!(of("192.0.2.77", 32, 64), "192.0.2.77");
        assert_eq!(of("192.0.2.77", 24, 64), "192.0.2.0");
        assert_eq!(of("192.0.2.77", 0, 64), "0.0.0.0");
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 32, 64), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 32, 128), "2001:db8:1:2:3:4:5:6");
        assert_eq!(of("2001:db8:1:2:3:4:5:6", 32, 0), "::");
    }

    #[test]
    fn who_is_exempt_is_not_counted() {
        let mut config = Config::default();
        config.clients.per_address = Some(1);
        config.clients.exempt = vec!["10.0.0.0/8".parse().unwrap()];
        let census = Census::new(&config);
        assert_eq!(census.hash_of("10.1.2.3".parse().unwrap()), None);
        assert!(census.hash_of("11.1.2.3".parse().unwrap()).is_some());
    }
}
