//! What those owners hold whose bytes grow on the way.

use super::Owner;

/// How many owners grow.
pub(crate) const GROWING_COUNT: usize = 20;

/// The owners that grow.
const GROWING: [Owner; GROWING_COUNT] = [
    Owner::Records,
    Owner::Stalled,
    Owner::Sources,
    Owner::Halves,
    Owner::Fragments,
    Owner::Allotments,
    Owner::Turnstiles,
    Owner::Sealed,
    Owner::Kept,
    Owner::TlsKeys,
    Owner::ClientCertificates,
    Owner::Blocks,
    Owner::Batch,
    Owner::ProxyFacts,
    Owner::PeerAddresses,
    Owner::Accounts,
    Owner::Permits,
    Owner::Permissions,
    Owner::Tokens,
    Owner::Passwords,
];

/// The bytes that each owner holds whose bytes grow on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// In the order of [`GROWING`].
    pub(crate) bytes: [u64; GROWING_COUNT],
}

impl Holdings {
    /// What an owner holds; `None` if it does not grow.
    #[must_use]
    pub fn of(&self, owner: Owner) -> Option<u64> {
        self.iter().find(|(other, _)| *other == owner).map(|(_, bytes)| bytes)
    }

    /// Each owner that grows, and what it holds.
    pub fn iter(&self) -> impl Iterator<Item = (Owner, u64)> {
        GROWING.into_iter().zip(self.bytes)
    }
}

impl From<[(Owner, u64); GROWING_COUNT]> for Holdings {
    /// What each owner says that it holds. All that grow are among them, in any order.
    fn from(held: [(Owner, u64); GROWING_COUNT]) -> Self {
        let of = |owner| held.iter().find(|(other, _)| *other == owner);
        debug_assert!(GROWING.iter().all(|owner| of(*owner).is_some()), "{held:?}");
        Self { bytes: GROWING.map(|owner| of(owner).map_or(0, |(_, bytes)| *bytes)) }
    }
}
