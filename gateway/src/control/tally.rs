//! What the control thread counts of itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The counts. Only the control thread changes them, so nobody waits for a lock.
pub(super) struct Tally {
    requests: Mutex<BTreeMap<u16, u64>>,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    connections: AtomicU64,
    gave_way: AtomicU64,
}

/// The counts as of a moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Requests by the status of their answer.
    pub(super) requests: BTreeMap<u16, u64>,
    /// What was not done, by the code of its error.
    pub(super) refusals: BTreeMap<&'static str, u64>,
    /// Connections that are there.
    pub(super) connections: u64,
    /// Idle connections that were ended to make room.
    pub(super) gave_way: u64,
}

/// The code of the error that a response tells, for [`Tally::answered`] to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// A connection that is there, until it is dropped.
pub(super) struct Connected<'t>(&'t Tally);

impl Default for Tally {
    /// Nothing yet. What operators watch is there from the beginning, so that the first of it is
    /// seen as a rise.
    fn default() -> Self {
        let refusals = ["busy", "full", "no_answer", "slow_peer"].map(|code| (code, 0));
        Self {
            requests: Mutex::new([200, 503].map(|status| (status, 0)).into()),
            refusals: Mutex::new(refusals.into()),
            connections: AtomicU64::new(0),
            gave_way: AtomicU64::new(0),
        }
    }
}

impl Tally {
    /// A request was answered with this status.
    pub(super) fn answered(&self, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(status).or_default() += 1;
    }

    /// Something was not done.
    pub(super) fn refused(&self, code: &'static str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(code).or_default() += 1;
    }

    /// An idle connection ends to make room for another.
    pub(super) fn gave_way(&self) {
        self.gave_way.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is there.
    pub(super) fn connected(&self) -> Connected<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(self)
    }

    /// The counts now.
    pub(super) fn counted(&self) -> Snapshot {
        Snapshot {
            requests: self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            refusals: self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            connections: self.connections.load(Ordering::Relaxed),
            gave_way: self.gave_way.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
