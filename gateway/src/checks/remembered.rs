//! Tokens that were verified, so that who comes back is not verified anew.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use siphasher::sip::SipHasher13;

use super::Grant;

/// What a token goes by: its SHA-256 in part, which nobody can choose to be that of another.
type Fingerprint = [u8; 16];

/// Tokens that were verified, and what they grant: as many as there are bytes for. The one that was
/// verified first is forgotten first.
///
/// It holds what was found out of the token alone; whether the grant holds at the time is asked
/// anew.
pub(super) struct Remembered {
    grants: HashMap<Fingerprint, Arc<Grant>, BuildHasherDefault<SipHasher13>>,
    order: VecDeque<Fingerprint>,
    bytes: usize,
    most: usize,
}

/// What an entry takes beside its grant, counted high: in a table that has just doubled, in the
/// order, and what belongs to an `Arc`.
const ENTRY: usize = 3 * (size_of::<Fingerprint>() + 8) + 2 * size_of::<Fingerprint>() + 16;

impl Remembered {
    /// None yet, and never more than so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { grants: HashMap::default(), order: VecDeque::new(), bytes: 0, most }
    }

    /// What a token goes by, of the issuer that is at this place.
    pub(super) fn fingerprint(issuer: usize, token: &[u8]) -> Fingerprint {
        let mut name = [0; 16];
        name.copy_from_slice(&digest(&SHA256, token).as_ref()[..16]);
        // Another issuer may not take it.
        name[0] ^= issuer as u8;
        name
    }

    /// What the token grants, if it was verified.
    pub(super) fn get(&self, token: &Fingerprint) -> Option<&Arc<Grant>> {
        self.grants.get(token)
    }

    /// The token was verified.
    pub(super) fn insert(&mut self, token: Fingerprint, grant: &Arc<Grant>) {
        let added = ENTRY + grant.bytes();
        if added > self.most || self.grants.contains_key(&token) {
            return;
        }
        while self.bytes + added > self.most {
            let Some(first) = self.order.pop_front() else { break };
            if let Some(gone) = self.grants.remove(&first) {
                self.bytes -= ENTRY + gone.bytes();
            }
        }
        self.bytes += added;
        self.order.push_back(token);
        self.grants.insert(token, Arc::clone(grant));
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
            remembered.insert(token(name), &grant(name));
            assert!(remembered.held() <= 3 * each as u64);
        }
        assert!(remembered.get(&token("a")).is_none(), "it was first, however often it came");
        for name in ["b", "c", "d"] {
            assert_eq!(remembered.get(&token(name)), Some(&grant(name)));
        }
        remembered.insert(token("long"), &grant(&"x".repeat(200)));
        assert!(remembered.get(&token("long")).is_some());
        assert!(remembered.held() <= 3 * each as u64);
    }

    #[test]
    fn without_bytes_nothing_is_kept() {
        let mut remembered = Remembered::new(0);
        let token = Remembered::fingerprint(0, b"a");
        remembered.insert(token, &grant("a"));
        assert!(remembered.get(&token).is_none());
        assert_eq!(remembered.held(), 0);
    }

    #[test]
    fn what_one_issuer_takes_another_may_not() {
        assert_ne!(Remembered::fingerprint(0, b"a"), Remembered::fingerprint(1, b"a"));
    }
}
