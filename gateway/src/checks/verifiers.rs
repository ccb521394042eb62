//! Threads that verify signatures: one takes as long as many messages of a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use zeroize::Zeroizing;

use super::check_threads::CheckWork;
use super::remembered::{Fingerprint, Remembered};
use super::{CheckFound, Grant, Issuer, NotAdmitted};
use crate::hub::Finding;
use crate::names::Ticket;

/// What was found out about a token.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(super) found: Result<Arc<Grant>, NotAdmitted>,
    /// Whose keys it was verified with.
    pub(super) issuer: Arc<Issuer>,
    /// How often the issuer's keys had changed then.
    pub(super) changes: u64,
    /// What the token goes by.
    pub(super) digest: Fingerprint,
}

impl Verified {
    /// Whether it was verified with the keys that this issuer has now.
    pub(super) fn is_by(&self, issuer: &Arc<Issuer>) -> bool {
        self.changes == issuer.changes() && Arc::ptr_eq(&self.issuer, issuer)
    }
}

/// One token to be verified.
pub struct Verification {
    issuer: Arc<Issuer>,
    token: Zeroizing<Box<[u8]>>,
    /// Whose request has it.
    pub ticket: Ticket,
    /// Its place among those that wait.
    _place: VerifierPlace,
}

/// Hands tokens to the threads that verify them; cheap to clone.
#[derive(Clone)]
pub struct Verifiers {
    queue: Sender<Verification>,
    places: Arc<VerifierPlaces>,
}

/// How many tokens may wait, and how many do.
struct VerifierPlaces {
    most: usize,
    taken: AtomicUsize,
}

/// One that waits, or is being verified.
struct VerifierPlace(Arc<VerifierPlaces>);

impl Drop for VerifierPlace {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place for one token.
pub(super) struct ReservedPlace {
    queue: Sender<Verification>,
    place: VerifierPlace,
}

impl Verifiers {
    /// For so many tokens that wait at once, and where they come out.
    #[must_use]
    pub fn new(most: usize) -> (Self, Receiver<Verification>) {
        let (queue, tokens) = unbounded();
        let places = Arc::new(VerifierPlaces { most, taken: AtomicUsize::new(0) });
        (Self { queue, places }, tokens)
    }

    /// How many may wait.
    pub(super) fn most(&self) -> usize {
        self.places.most
    }

    /// A place for one more, if there is one.
    pub(super) fn reserve(&self) -> Option<ReservedPlace> {
        let VerifierPlaces { most, taken } = &*self.places;
        let more = |count: usize| (count < *most).then_some(count + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(ReservedPlace {
            queue: self.queue.clone(),
            place: VerifierPlace(Arc::clone(&self.places)),
        })
    }
}

impl ReservedPlace {
    /// Has the token of a request verified.
    pub(super) fn submit(self, issuer: Arc<Issuer>, token: &[u8], ticket: Ticket) {
        let token = Zeroizing::new(Box::from(token));
        let Self { queue, place } = self;
        // If the threads have ended the gateway does, and with it the request.
        let _ = queue.send(Verification { issuer, token, ticket, _place: place });
    }
}

impl Verification {
    /// Verifies it: what is to be told with its ticket ([`Door::found`](crate::hub::Door::found)).
    #[must_use]
    pub fn verify(&self) -> Finding {
        let changes = self.issuer.changes();
        self.told(self.issuer.verify(&self.token).map(Arc::new), changes)
    }

    fn told(&self, found: Result<Arc<Grant>, NotAdmitted>, changes: u64) -> Finding {
        let (issuer, digest) = (Arc::clone(&self.issuer), Remembered::digest(&self.token));
        Finding::new(CheckFound::Token(Verified { found, issuer, changes, digest }))
    }
}

impl CheckWork for Verification {
    fn ticket(&self) -> Ticket {
        self.ticket
    }

    fn find_out(&self) -> Option<Finding> {
        Some(self.verify())
    }

    fn failed(&self) -> Finding {
        tracing::error!(target: "tidegate::tokens", "a token could not be verified: a defect");
        self.told(Err(NotAdmitted::Malformed), 0)
    }
}
