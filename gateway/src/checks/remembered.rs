//! Tokens and passwords that were verified, so that who comes back is not verified anew.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use siphasher::sip::SipHasher13;

use super::Grant;

/// What a token goes by: its SHA-256 in part, which nobody can choose to be that of another.
pub(super) type Fingerprint = [u8; 16];

/// Tokens, or passwords, that were verified, and what they grant: as many as there are bytes for.
/// The one that was verified first is forgotten first.
///
/// It holds what was found out alone; whether the grant holds at the time is asked anew.
pub(super) struct Remembered {
    grants: HashMap<Fingerprint, KnownGrant, BuildHasherDefault<SipHasher13>>,
    order: VecDeque<Fingerprint>,
    bytes: usize,
    most: usize,
}

/// What one of them grants.
struct KnownGrant {
    grant: Arc<Grant>,
    /// Until when that is remembered, in seconds since 1970.
    until: u64,
}

/// What an entry takes beside its grant, counted high: in a table that has just doubled, in the
/// order, and what belongs to an `Arc`.
const ENTRY: usize = 3 * (size_of::<Fingerprint>() + 16) + 2 * size_of::<Fingerprint>() + 16;

impl Remembered {
    /// None yet, and never more than so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { grants: HashMap::default(), order: VecDeque::new(), bytes: 0, most }
    }

    /// What a token goes by, of the issuer that is at this place.
    pub(super) fn fingerprint(issuer: usize, token: &[u8]) -> Fingerprint {
        Self::of_issuer(issuer, Self::digest(token))
    }

    /// What a token goes by whosoever it is.
    pub(super) fn digest(token: &[u8]) -> Fingerprint {
        let mut name = [0; 16];
        name.copy_from_slice(&digest(&SHA256, token).as_ref()[..16]);
        name
    }

    /// The same of the issuer that is at this place: another one may not take it.
    pub(super) fn of_issuer(issuer: usize, mut name: Fingerprint) -> Fingerprint {
        name[0] ^= issuer as u8;
        name
    }

    /// What it grants, if it was verified and is remembered at this time, in seconds since 1970.
    pub(super) fn get(&self, name: &Fingerprint, now: u64) -> Option<&Arc<Grant>> {
        let known = self.grants.get(name).filter(|known| now < known.until)?;
        Some(&known.grant)
    }

    /// It was verified, and may be remembered until then.
    pub(super) fn insert(&mut self, name: Fingerprint, grant: &Arc<Grant>, until: u64) {
        let added = ENTRY + grant.bytes();
        if let Some(known) = self.grants.get_mut(&name) {
            // Its place among the others stays, and what it takes: it grants what it did.
            if known.grant.bytes() == grant.bytes() {
                *known = KnownGrant { grant: Arc::clone(grant), until };
            }
            return;
        }
        if added > self.most {
            return;
        }
        self.make_room(added);
        self.bytes += added;
        self.order.push_back(name);
        self.grants.insert(name, KnownGrant { grant: Arc::clone(grant), until });
    }

    /// Never more than so many bytes from here on.
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
        self.make_room(0);
    }

    /// Forgets some, until there is room for so many bytes.
    fn make_room(&mut self, added: usize) {
        while self.bytes + added > self.most {
            let Some(first) = self.order.pop_front() else { break };
            if let Some(gone) = self.grants.remove(&first) {
                self.bytes -= ENTRY + gone.grant.bytes();
            }
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.grants.clear();
        self.order.clear();
        self.bytes = 0;
    }

    /// The bytes that it holds, counted high.
    pub(super) fn held(&self) -> u64 {
        self.bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Name;

    fn grant(user: &str) -> Arc<Grant> {
        Arc::new(Grant { user: Name::new(user).ok(), ..Grant::default() })
    }

    #[test]
    fn the_first_is_forgotten_first() {
        let each = ENTRY + grant("a").bytes();
        let mut remembered = Remembered::new(3 * each);
        let token = |name: &str| Remembered::fingerprint(0, name.as_bytes());
        for name in ["a", "b", "c", "a", "d"] {
            remembered.insert(token(name), &grant(name), u64::MAX);
            assert!(remembered.held() <= 3 * each as u64);
        }
        assert!(remembered.get(&token("a"), 7).is_none(), "it was first, however often it came");
        for name in ["b", "c", "d"] {
            assert_eq!(remembered.get(&token(name), 7), Some(&grant(name)));
        }
        remembered.insert(token("long"), &grant(&"x".repeat(200)), u64::MAX);
        assert!(remembered.get(&token("long"), 7).is_some());
        assert!(remembered.held() <= 3 * each as u64);
        remembered.limit(each);
        assert!(remembered.held() <= each as u64);
        remembered.limit(3 * each);
        remembered.insert(token("e"), &grant("e"), u64::MAX);
        assert!(remembered.get(&token("e"), 7).is_some());
    }

    #[test]
    fn what_is_old_is_not_remembered_until_it_was_verified_anew() {
        let mut remembered = Remembered::new(1 << 10);
        let token = Remembered::fingerprint(0, b"a");
        remembered.insert(token, &grant("a"), 10);
        let held = remembered.held();
        assert!(remembered.get(&token, 9).is_some() && remembered.get(&token, 10).is_none());
        remembered.insert(token, &grant("a"), 20);
        assert!(remembered.get(&token, 19).is_some() && remembered.get(&token, 20).is_none());
        assert_eq!(remembered.held(), held, "it is there once");
    }

    #[test]
    fn without_bytes_nothing_is_kept() {
        let mut remembered = Remembered::new(0);
        let token = Remembered::fingerprint(0, b"a");
        remembered.insert(token, &grant("a"), u64::MAX);
        assert!(remembered.get(&token, 7).is_none());
        assert_eq!(remembered.held(), 0);
    }

    #[test]
    fn what_one_issuer_takes_another_may_not() {
        assert_ne!(Remembered::fingerprint(0, b"a"), Remembered::fingerprint(1, b"a"));
    }
}
