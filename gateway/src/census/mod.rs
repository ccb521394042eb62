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
use crate::config::{Clients, Config, ListenerLimits};
use crate::kernel::ListenerId;
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

/// How many there are of something. Whoever is counted keeps it, until it is counted no longer.
#[derive(Clone, Debug, Default)]
struct SeatCount(Arc<AtomicU32>);

/// How many may be at once, and are, if that is limited.
#[derive(Debug, Default)]
struct Seats {
    most: Option<u32>,
    taken: SeatCount,
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
        Self(self.0.for_others(Some(most)))
    }
}

/// A listener.
#[derive(Debug)]
struct ListenerSeats {
    room: Seats,
    accepts: Option<Flow>,
    /// When the bucket of accepts would be full again, in nanoseconds.
    paid: Arc<AtomicU64>,
}

/// What a listener's connections are limited by.
#[derive(Clone, Copy, Debug)]
pub struct SeatedListener {
    /// Its number.
    pub id: ListenerId,
    /// What it says.
    pub limits: ListenerLimits,
    /// It is the one that had the number before.
    pub stays: bool,
}

/// The counts of all shards.
pub struct Census {
    all: Seats,
    /// By number.
    listeners: Box<[Option<ListenerSeats>]>,
    /// By address, if that is limited, or was.
    addresses: Option<Arc<Headcount>>,
    per_address: Option<u32>,
    handshakes: Option<Flow>,
    prefix_v4: u8,
    prefix_v6: u8,
    exempt: Box<[IpNet]>,
    /// By user, likewise.
    users: Option<Arc<Headcount>>,
    per_user: Option<u32>,
    /// Seeded anew at each start: nobody can aim at a place.
    hasher: RandomState,
}

impl SeatCount {
    /// One more is counted, be there as many as may be or not.
    fn join(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn leave(&self) {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "nobody was counted");
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

impl Seats {
    fn new(most: Option<u32>) -> Self {
        Self { most, taken: SeatCount::default() }
    }

    /// The same, with those who are there, for so many from now on.
    fn for_others(&self, most: Option<u32>) -> Self {
        Self { most, taken: self.taken.clone() }
    }

    /// Takes a place, if places are limited: what is to be given back.
    ///
    /// # Errors
    /// There is none.
    fn enter(&self, by: Crowd) -> Result<Option<SeatCount>, TurnedAway> {
        let Some(most) = self.most else { return Ok(None) };
        let more = |taken: u32| (taken < most).then_some(taken + 1);
        match self.taken.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Some(self.taken.clone())),
            Err(_) => Err(TurnedAway { by, retry_after_seconds: RETRY_AFTER_SECONDS }),
        }
    }

    /// Counts one who is there already, if places are limited.
    fn join(&self) -> Option<SeatCount> {
        self.most?;
        self.taken.join();
        Some(self.taken.clone())
    }
}

impl ListenerSeats {
    /// As this one says, with those who are there on the one before it.
    fn new(limits: ListenerLimits, before: Option<&Self>) -> Self {
        let most = limits.connections;
        Self {
            room: before.map_or_else(|| Seats::new(most), |one| one.room.for_others(most)),
            accepts: limits.accepts.map(Flow::from),
            paid: before.map(|one| Arc::clone(&one.paid)).unwrap_or_default(),
        }
    }
}

impl Census {
    /// For a gateway of this configuration, whose listeners are numbered in its order.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let listeners = config.listeners.iter().zip(0..);
        let listeners =
            listeners.map(|(one, id)| SeatedListener { id, limits: one.limits, stays: false });
        let none = Self {
            all: Seats::default(),
            listeners: Box::default(),
            addresses: None,
            per_address: None,
            handshakes: None,
            prefix_v4: 32,
            prefix_v6: 128,
            exempt: Box::default(),
            users: None,
            per_user: None,
            hasher: RandomState::new(),
        };
        none.followed_by(&config.clients, listeners)
    }

    /// The same, with those who are there, as this says from now on. Tables that were made once
    /// stay, for as many keys as they have.
    #[must_use]
    pub fn followed_by(
        &self,
        clients: &Clients,
        listeners: impl IntoIterator<Item = SeatedListener>,
    ) -> Self {
        let mut seats: Vec<Option<ListenerSeats>> = Vec::new();
        for SeatedListener { id, limits, stays } in listeners {
            let place = id as usize;
            seats.resize_with(seats.len().max(place + 1), || None);
            let before = self.seats(id).filter(|_| stays);
            seats[place] = Some(ListenerSeats::new(limits, before));
        }
        let table = |before: &Option<Arc<Headcount>>, is_counted: bool, is_paced: bool| {
            let made = before
                .clone()
                .or_else(|| is_counted.then(|| Arc::new(Headcount::new(clients.places, false))));
            if let Some(made) = made.as_ref().filter(|_| is_paced) {
                made.begin_to_pace();
            }
            made
        };
        let is_paced = clients.handshakes.is_some();
        Self {
            all: self.all.for_others(clients.connections),
            listeners: seats.into(),
            addresses: table(&self.addresses, counts_addresses(clients), is_paced),
            per_address: clients.per_address,
            handshakes: clients.handshakes.map(Flow::from),
            prefix_v4: clients.prefix_v4,
            prefix_v6: clients.prefix_v6,
            exempt: clients.exempt.clone().into(),
            users: table(&self.users, clients.per_user.is_some(), false),
            per_user: clients.per_user,
            hasher: self.hasher.clone(),
        }
    }

    /// What the connections of a listener are limited by.
    fn seats(&self, listener: ListenerId) -> Option<&ListenerSeats> {
        self.listeners.get(listener as usize)?.as_ref()
    }

    /// Whether anything is limited for those who come.
    fn limits_sockets(&self) -> bool {
        let limits = |one: &ListenerSeats| one.room.most.is_some() || one.accepts.is_some();
        self.all.most.is_some()
            || self.limits_addresses()
            || self.listeners.iter().flatten().any(limits)
    }

    /// Whether anything is limited by address.
    fn limits_addresses(&self) -> bool {
        self.per_address.is_some() || self.handshakes.is_some()
    }

    /// Where addresses are counted, if they are.
    fn addresses(&self) -> Option<&Headcount> {
        self.addresses.as_deref().filter(|_| self.limits_addresses())
    }

    /// Where users are counted, if they are.
    fn users(&self) -> Option<&Headcount> {
        self.users.as_deref().filter(|_| self.per_user.is_some())
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
        let rooms = self.listeners.iter().flatten().map(|one| &one.room);
        let tables = self.addresses.iter().chain(&self.users);
        rooms.chain([&self.all]).all(|room| room.taken.count() == 0)
            && tables.map(|table| table.total()).sum::<u64>() == 0
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
