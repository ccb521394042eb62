//! Taking tokens back: the table of those that are, and waking whoever has connections by them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Handle;
use crate::checks::{
    Revocation, RevocationCounts, RevocationOrder, Revocations, TakenIn, TooManyRevocations,
};

impl Handle {
    /// Takes tokens back, until a moment: whoever shows one is refused from now on, and connections
    /// that were let in by one are closed at once, with the code of its issuer. What was said
    /// before ends later, if that is said now.
    ///
    /// It is kept in memory: a gateway that is started anew knows of none.
    ///
    /// # Errors
    /// As many are in force as may be ([`Config::revocations`](crate::config::Config)).
    pub fn revoke(&self, order: RevocationOrder) -> Result<TakenIn, TooManyRevocations> {
        let taken = self.revocations.take_back(order, now())?;
        self.wires().iter().for_each(|wire| wire.waker.wake());
        Ok(taken)
    }

    /// What the revocation of this number says holds no longer; `None` if there is none. Who was
    /// closed for it may come back.
    pub fn withdraw_revocation(&self, number: u64) -> Option<Arc<Revocation>> {
        self.revocations.withdraw(number, now())
    }

    /// The revocation of this number, if it is in force.
    #[must_use]
    pub fn revocation(&self, number: u64) -> Option<Arc<Revocation>> {
        self.revocations.get(number, now())
    }

    /// The revocations that are in force, behind the one of this number (0 for all), so many at
    /// most.
    #[must_use]
    pub fn revocations_in_force(&self, behind: u64, limit: usize) -> Vec<Arc<Revocation>> {
        self.revocations.list(behind, limit, now())
    }

    /// What is counted of revocations.
    #[must_use]
    pub fn revocation_counts(&self) -> RevocationCounts {
        self.revocations.counts(now())
    }

    /// The table, for those who check tokens.
    pub(crate) fn revocations(&self) -> Revocations {
        self.revocations.clone()
    }
}

/// Since 1970. A clock that stands before that is not set at all.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
