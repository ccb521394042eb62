//! Threads that hash passwords, and how many of these may wait: altogether, and of one address.
//! They are none of those that verify tokens, which take a thousandth of the time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};
use ipnet::IpNet;

use super::basic::Credentials;
use super::check_threads::CheckWork;
use super::password_file::PasswordFile;
use super::{CheckFound, Grant, NotAdmitted};
use crate::config::Config;
use crate::hub::Finding;
use crate::kernel::Peer;
use crate::names::Ticket;

/// What was found out about a password.
#[derive(Clone, Debug)]
pub(crate) struct PasswordVerified {
    pub(super) found: Result<Arc<Grant>, NotAdmitted>,
    /// What it was compared with.
    pub(super) file: Arc<PasswordFile>,
}

/// One password to be hashed.
pub struct PasswordWork {
    file: Arc<PasswordFile>,
    credentials: Credentials,
    ticket: Ticket,
    /// Whoever waits for it has another one of it.
    waits: Arc<()>,
    place: HashPlace,
}

/// Hands passwords to the threads that hash them; cheap to clone.
#[derive(Clone)]
pub struct Hashers {
    queue: Sender<PasswordWork>,
    places: Arc<HashPlaces>,
}

/// How many passwords may wait, and do.
struct HashPlaces {
    most: u32,
    most_of_one: u32,
    /// How many of the first bits of an address are counted as one: of IPv4, and of IPv6.
    prefixes: [u8; 2],
    taken: Mutex<TakenPlaces>,
    given_up: AtomicU64,
}

/// Those that wait: no more than there are places.
#[derive(Default)]
struct TakenPlaces {
    all: u32,
    by_network: HashMap<IpNet, u32>,
}

/// One that waits, or is being hashed.
struct HashPlace {
    places: Arc<HashPlaces>,
    network: Option<IpNet>,
}

/// A place for one password.
pub(super) struct ReservedHash {
    queue: Sender<PasswordWork>,
    place: HashPlace,
}

/// What is told of passwords that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCounts {
    /// Those that wait now, or are being hashed.
    pub waiting: u64,
    /// Those that were not hashed because their clients had left.
    pub given_up: u64,
}

impl Hashers {
    /// As a configuration has it, and where passwords come out.
    #[must_use]
    pub fn new(config: &Config) -> (Self, Receiver<PasswordWork>) {
        let (queue, passwords) = unbounded();
        let places = Arc::new(HashPlaces {
            most: config.hashing.waiting,
            most_of_one: config.hashing.per_address,
            prefixes: [config.clients.prefix_v4, config.clients.prefix_v6],
            taken: Mutex::default(),
            given_up: AtomicU64::new(0),
        });
        (Self { queue, places }, passwords)
    }

    /// A place for one more password, of this client. Those of one network are counted together;
    /// those of clients without an address are not.
    ///
    /// # Errors
    /// [`NotAdmitted::PasswordsBusy`]; [`NotAdmitted::PasswordsOfAddress`].
    pub(super) fn reserve(&self, peer: Peer) -> Result<ReservedHash, NotAdmitted> {
        let network = peer.ip().and_then(|address| self.places.network(address));
        let mut taken = self.places.lock();
        if taken.all >= self.places.most {
            return Err(NotAdmitted::PasswordsBusy);
        }
        if let Some(network) = network {
            let count = taken.by_network.entry(network).or_default();
            if *count >= self.places.most_of_one {
                return Err(NotAdmitted::PasswordsOfAddress);
            }
            *count += 1;
        }
        taken.all += 1;
        let place = HashPlace { places: Arc::clone(&self.places), network };
        Ok(ReservedHash { queue: self.queue.clone(), place })
    }

    /// How many wait, and were given up.
    #[must_use]
    pub fn counts(&self) -> HashCounts {
        let given_up = self.places.given_up.load(Ordering::Relaxed);
        HashCounts { waiting: self.places.lock().all.into(), given_up }
    }
}

impl HashPlaces {
    /// The bytes of one that waits, counted high: with what it has, and an entry in a table that
    /// has just doubled.
    const EACH: usize = size_of::<PasswordWork>() + 2048 + 3 * size_of::<(IpNet, u32)>();

    fn network(&self, address: IpAddr) -> Option<IpNet> {
        let prefix = self.prefixes[usize::from(address.is_ipv6())];
        IpNet::new(address, prefix).ok().map(|network| network.trunc())
    }

    fn lock(&self) -> MutexGuard<'_, TakenPlaces> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most bytes of so many passwords that wait.
pub(super) const fn bytes(waiting: u32) -> u64 {
    waiting as u64 * HashPlaces::EACH as u64
}

impl Drop for HashPlace {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        let Some(network) = self.network else { return };
        if let Entry::Occupied(mut entry) = taken.by_network.entry(network) {
            match entry.get() {
                0 | 1 => _ = entry.remove(),
                _ => *entry.get_mut() -= 1,
            }
        }
    }
}

impl ReservedHash {
    /// Has a password hashed, as long as somebody else has `waits`.
    pub(super) fn submit(
        self,
        file: Arc<PasswordFile>,
        credentials: Credentials,
        waits: Arc<()>,
        ticket: Ticket,
    ) {
        let Self { queue, place } = self;
        // If the threads have ended the gateway does, and with it the request.
        let _ = queue.send(PasswordWork { file, credentials, ticket, waits, place });
    }
}

impl PasswordWork {
    fn told(&self, found: Result<Arc<Grant>, NotAdmitted>) -> Finding {
        let file = Arc::clone(&self.file);
        Finding::new(CheckFound::Password(PasswordVerified { found, file }))
    }
}

impl CheckWork for PasswordWork {
    fn ticket(&self) -> Ticket {
        self.ticket
    }

    fn find_out(&self) -> Option<Finding> {
        if Arc::strong_count(&self.waits) < 2 {
            self.place.places.given_up.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.told(self.file.verify(&self.credentials)))
    }

    fn failed(&self) -> Finding {
        tracing::error!(target: "tidegate::tokens", "a password could not be hashed: a defect");
        self.told(Err(NotAdmitted::WrongPassword))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::Hashing;

    fn peer(text: &str) -> Peer {
        Peer::from(SocketAddr::new(text.parse().expect("an address"), 7))
    }

    #[test]
    fn only_so_many_wait_altogether_and_of_one_network() {
        let hashing = Hashing { waiting: 5, per_address: 2, ..Hashing::default() };
        let (hashers, _) = Hashers::new(&Config { hashing, ..Config::default() });
        let denied = |peer: Peer| hashers.reserve(peer).err();
        let (one, other) = (peer("192.0.2.1"), peer("2001:db8::1"));
        let mut kept: Vec<_> = [one, one, other, peer("2001:db8::2")]
            .map(|peer| hashers.reserve(peer).expect("room"))
            .into();
        assert_eq!(denied(one), Some(NotAdmitted::PasswordsOfAddress));
        assert_eq!(denied(peer("2001:db8::3")), Some(NotAdmitted::PasswordsOfAddress));
        assert_eq!(denied(peer("192.0.2.2")), None);
        kept.push(hashers.reserve(Peer::Unknown).expect("room"));
        assert_eq!(denied(peer("192.0.2.2")), Some(NotAdmitted::PasswordsBusy));
        assert_eq!(hashers.counts().waiting, 5);
        drop(kept);
        assert_eq!(hashers.counts().waiting, 0);
        assert!(hashers.places.lock().by_network.is_empty(), "nothing is left of anybody");
        assert_eq!(denied(one), None);
    }
}
