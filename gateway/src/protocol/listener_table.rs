//! The listeners of a gateway, as all of its shards have them at one time.

use std::fmt;
use std::sync::Arc;

use crate::census::SeatedListener;
use crate::config::{ListenAddress, Listener};
use crate::kernel::{ListenerId, Sharing};
use crate::transport::tls::{TlsServer, TlsServers};

/// The most addresses that a gateway gets to know as long as it runs: drains and answers name them
/// by their number.
const ADDRESSES_MAX: usize = u16::MAX as usize + 1;

/// The listeners of a configuration, each with what shards call it. It is made once and shared by
/// all shards.
pub struct ListenerTable {
    places: Box<[ListenerPlace]>,
    /// All that there ever were, by number.
    known: Vec<KnownAddress>,
    /// What those are called that were there before this one, and are there no longer: shards may
    /// be about to close them.
    leaving: Vec<ListenerId>,
}

/// A listener, at its place in the configuration.
#[derive(Clone)]
pub struct ListenerPlace {
    /// What the configuration says of it.
    pub listener: Listener,
    /// Its address, with its real port.
    pub address: ListenAddress,
    /// Its number among all that there ever were: one that comes back has the one that it had.
    pub number: u16,
    /// What shards call its sockets. It may be another's once it is there no longer.
    pub id: ListenerId,
    /// Who accepts from its sockets.
    pub sharing: Sharing,
    /// What handshakes are made with, if its stack has the layer `tls`.
    pub tls: Option<Arc<TlsServer>>,
    /// How it was in the table before.
    pub before: ListenerBefore,
}

/// How a listener was in the table before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerBefore {
    /// It was not there.
    Missing,
    /// Its connections had the same.
    Same,
    /// Its connections had something else, and keep it. Whether its sockets had as well.
    Otherwise {
        /// They did.
        sockets: bool,
    },
}

/// An address that was listened on.
#[derive(Clone)]
struct KnownAddress {
    /// As configured, and which of those with the same: several may have port 0.
    configured: (ListenAddress, usize),
    /// With its real port.
    real: ListenAddress,
}

/// What was opened for a listener.
#[derive(Clone, Debug)]
pub struct OpenedListener {
    /// Its address, with its real port.
    pub address: ListenAddress,
    /// Who accepts from its sockets.
    pub sharing: Sharing,
}

/// There have been more addresses than there are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyAddresses;

impl fmt::Display for TooManyAddresses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{ADDRESSES_MAX} different addresses have been listened on since the start, which is \
             as many as may be: start the gateway anew"
        )
    }
}

impl std::error::Error for TooManyAddresses {}

impl ListenerTable {
    /// Of these listeners, each with what was opened for it; what is missing has sockets of each
    /// shard's own, at its address.
    #[must_use]
    pub fn new(listeners: &[Listener], opened: &[OpenedListener], tls: &TlsServers) -> Self {
        let none = Self { places: Box::default(), known: Vec::new(), leaving: Vec::new() };
        let opened = |place: usize, listener: &Listener| {
            let own =
                || OpenedListener { address: listener.address.clone(), sharing: Sharing::Own };
            opened.get(place).cloned().unwrap_or_else(own)
        };
        let opened = listeners.iter().enumerate().map(|(place, one)| opened(place, one)).collect();
        none.followed_by(listeners, opened, tls).expect("a configuration has fewer")
    }

    /// Of the listeners of another configuration, which takes the place of this one. Those that
    /// have an address of this one keep their sockets; for each of the others, in their order,
    /// something was `opened`.
    ///
    /// # Errors
    /// There are no numbers left for them.
    ///
    /// # Panics
    /// Too little was opened.
    pub fn followed_by(
        &self,
        listeners: &[Listener],
        opened: Vec<OpenedListener>,
        tls: &TlsServers,
    ) -> Result<Self, TooManyAddresses> {
        let mut known = self.known.clone();
        let mut taken: Vec<ListenerId> = self.places.iter().map(|place| place.id).collect();
        taken.extend(&self.leaving);
        let (matched, mut opened) = (self.matched(listeners), opened.into_iter());
        let mut places = Vec::with_capacity(listeners.len());
        for (at, listener) in listeners.iter().enumerate() {
            let tls = tls.of(at);
            if let Some(old) = matched[at].map(|place| &self.places[place]) {
                places.push(old.followed_by(listener, tls));
                continue;
            }
            let OpenedListener { address, sharing } = opened.next().expect("it was opened");
            let number = number(&mut known, occurrence(listeners, at), &address)?;
            let id = (0..).find(|id| !taken.contains(id)).expect("there are few");
            taken.push(id);
            let (listener, before) = (listener.clone(), ListenerBefore::Missing);
            places.push(ListenerPlace { listener, address, number, id, sharing, tls, before });
        }
        let stays = |id: &ListenerId| places.iter().any(|place: &ListenerPlace| place.id == *id);
        let leaving = self.places.iter().map(|place| place.id).filter(|id| !stays(id)).collect();
        Ok(Self { places: places.into(), known, leaving })
    }

    /// For each of these the place of the one that it follows: that has its address, and of several
    /// with port 0 in their order.
    #[must_use]
    pub fn matched(&self, listeners: &[Listener]) -> Vec<Option<usize>> {
        let own: Vec<Listener> = self.places.iter().map(|place| place.listener.clone()).collect();
        let own: Vec<_> = (0..own.len()).map(|at| occurrence(&own, at)).collect();
        let find = |at| own.iter().position(|one| *one == occurrence(listeners, at));
        (0..listeners.len()).map(find).collect()
    }

    /// All of them, in the order of the configuration.
    #[must_use]
    pub fn places(&self) -> &[ListenerPlace] {
        &self.places
    }

    /// What the connections of each are limited by.
    #[must_use]
    pub fn seated(&self) -> Vec<SeatedListener> {
        let seated = |place: &ListenerPlace| SeatedListener {
            id: place.id,
            limits: place.listener.limits,
            stays: place.before != ListenerBefore::Missing,
        };
        self.places.iter().map(seated).collect()
    }

    /// The place of the one that shards call so.
    #[must_use]
    pub fn of(&self, id: ListenerId) -> Option<&ListenerPlace> {
        self.places.iter().find(|place| place.id == id)
    }

    /// Their addresses, with their real ports.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.places.iter().map(|place| place.address.clone()).collect()
    }

    /// The number of the one at this address; of those that were there before as well.
    #[must_use]
    pub fn number(&self, is_it: impl Fn(&ListenAddress) -> bool) -> Option<u16> {
        let now = self.places.iter().find(|place| is_it(&place.address)).map(|place| place.number);
        let known = || self.known.iter().rposition(|known| is_it(&known.real));
        now.or_else(|| u16::try_from(known()?).ok())
    }

    /// The address of one that is or was there.
    #[must_use]
    pub fn address(&self, number: u16) -> Option<&ListenAddress> {
        self.known.get(usize::from(number)).map(|known| &known.real)
    }

    /// Those that others have passed and that are none of these: they cannot be let go of while the
    /// gateway runs, because whoever connects there would wait for nobody.
    #[must_use]
    pub fn passed_beside(&self, listeners: &[Listener]) -> Vec<Listener> {
        let followed: Vec<usize> = self.matched(listeners).into_iter().flatten().collect();
        let places = self.places.iter().enumerate();
        let passed =
            places.filter(|(at, place)| place.sharing == Sharing::Others && !followed.contains(at));
        passed.map(|(_, place)| place.listener.clone()).collect()
    }
}

impl ListenerPlace {
    /// Whether the file of its socket is the gateway's own, if it has one.
    #[must_use]
    pub fn has_own_file(&self) -> bool {
        self.sharing == Sharing::Shards
    }

    /// The same with what another configuration says of it.
    fn followed_by(&self, listener: &Listener, tls: Option<Arc<TlsServer>>) -> Self {
        let (old, new) = (&self.listener, listener);
        let is_same = (&old.stack, &old.networks) == (&new.stack, &new.networks);
        let sockets = old.stack.socket != new.stack.socket;
        let before =
            if is_same { ListenerBefore::Same } else { ListenerBefore::Otherwise { sockets } };
        Self { listener: new.clone(), tls, before, ..self.clone() }
    }
}

/// The configured address of a listener, and which of those with the same it is.
fn occurrence(listeners: &[Listener], at: usize) -> (ListenAddress, usize) {
    let address = &listeners[at].address;
    let earlier = listeners[..at].iter().filter(|other| other.address == *address).count();
    (address.clone(), earlier)
}

/// The number of an address, which may be a new one.
fn number(
    known: &mut Vec<KnownAddress>,
    configured: (ListenAddress, usize),
    real: &ListenAddress,
) -> Result<u16, TooManyAddresses> {
    let real = real.clone();
    if let Some(number) = known.iter().position(|one| one.configured == configured) {
        known[number].real = real;
        return Ok(number as u16);
    }
    let number = u16::try_from(known.len()).map_err(|_| TooManyAddresses)?;
    known.push(KnownAddress { configured, real });
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(addresses: &[&str]) -> Vec<Listener> {
        let of = |address: &&str| Listener::new(address.parse::<ListenAddress>().unwrap());
        addresses.iter().map(of).collect()
    }

    fn opened(addresses: &[&str]) -> Vec<OpenedListener> {
        let of = |address: &&str| OpenedListener {
            address: address.parse().unwrap(),
            sharing: Sharing::Own,
        };
        addresses.iter().map(of).collect()
    }

    fn told(table: &ListenerTable) -> Vec<(String, u16, ListenerId)> {
        let of = |place: &ListenerPlace| (place.address.to_string(), place.number, place.id);
        table.places().iter().map(of).collect()
    }

    fn of(addresses: &[&str]) -> ListenerTable {
        ListenerTable::new(&listeners(addresses), &[], &TlsServers::default())
    }

    fn follow(table: &ListenerTable, next: &[&str], new: &[&str]) -> ListenerTable {
        table.followed_by(&listeners(next), opened(new), &TlsServers::default()).unwrap()
    }

    #[test]
    fn who_stays_keeps_its_number_and_what_it_is_called() {
        let [a, b, c] = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
        let table = follow(&of(&[a, b]), &[c, b], &[c]);
        assert_eq!(told(&table), [(c.into(), 2, 2), (b.into(), 1, 1)]);
        assert_eq!(table.leaving, [0]);
        assert_eq!(table.number(|one| one.to_string() == a), Some(0), "it is known");
        // What was called so is about to be closed for one more change.
        let table = follow(&table, &[b, a], &[a]);
        assert_eq!(told(&table), [(b.into(), 1, 1), (a.into(), 0, 3)]);
        assert_eq!(table.leaving, [2]);
        let table = follow(&table, &[b, a, c], &[c]);
        assert_eq!(told(&table)[2], (c.into(), 2, 0));
        assert_eq!(table.address(1).map(ToString::to_string).as_deref(), Some(b));
    }

    #[test]
    fn those_with_port_zero_are_told_apart_by_their_order() {
        let any = "127.0.0.1:0";
        let [one, two, three] = ["127.0.0.1:1001", "127.0.0.1:1002", "127.0.0.1:1003"];
        let none = TlsServers::default();
        let table = ListenerTable::new(&listeners(&[any, any]), &opened(&[one, two]), &none);
        assert_eq!(told(&table), [(one.into(), 0, 0), (two.into(), 1, 1)]);
        let table = follow(&table, &[any], &[]);
        assert_eq!(told(&table), [(one.into(), 0, 0)]);
        let table = follow(&table, &[any, any], &[three]);
        assert_eq!(told(&table), [(one.into(), 0, 0), (three.into(), 1, 2)]);
    }

    #[test]
    fn what_is_otherwise_is_told_and_what_was_passed_stays() {
        let table = of(&["127.0.0.1:1", "127.0.0.1:2"]);
        let mut next = listeners(&["127.0.0.1:1", "127.0.0.1:2"]);
        next[0].limits.connections = Some(3);
        next[1].stack.log_websocket = true;
        let none = TlsServers::default();
        let before = |table: &ListenerTable| -> Vec<_> {
            table.places().iter().map(|place| place.before).collect()
        };
        let table = table.followed_by(&next, Vec::new(), &none).unwrap();
        let otherwise = |sockets| ListenerBefore::Otherwise { sockets };
        assert_eq!(before(&table), [ListenerBefore::Same, otherwise(false)]);
        let backlog = crate::config::stack::TcpLayer { backlog: 7, ..Default::default() };
        next[0].stack.socket = crate::config::stack::SocketLayer::Tcp(backlog);
        let table = table.followed_by(&next, Vec::new(), &none).unwrap();
        assert_eq!(before(&table), [otherwise(true), ListenerBefore::Same]);
        let passed =
            OpenedListener { sharing: Sharing::Others, ..opened(&["127.0.0.1:5"])[0].clone() };
        let table = ListenerTable::new(&listeners(&["127.0.0.1:5"]), &[passed], &none);
        assert_eq!(table.passed_beside(&next).len(), 1);
        assert!(table.passed_beside(&listeners(&["127.0.0.1:5"])).is_empty());
    }
}
