//! Threads that verify signatures: one takes as long as many messages of a shard.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select, unbounded};
use zeroize::Zeroizing;

use super::{Grant, Issuer, NotAdmitted};
use crate::hub::{Door, Errand, Finding, Outcome};
use crate::names::Ticket;

/// The stack of a thread that verifies, in bytes.
const THREAD_STACK: usize = 256 << 10;

/// After how long what shards had no room for is told again.
const TELL_AGAIN: Duration = Duration::from_millis(1);

/// For how long it is.
const TELL_FOR: Duration = Duration::from_secs(10);

/// What was found out about a token.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(super) found: Result<Arc<Grant>, NotAdmitted>,
    /// Whose keys it was verified with.
    pub(super) issuer: Arc<Issuer>,
    /// How often the issuer's keys had changed then.
    pub(super) changes: u64,
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
    /// Verifies it: what is to be told with its ticket ([`Door::found`]).
    #[must_use]
    pub fn verify(&self) -> Finding {
        let changes = self.issuer.changes();
        let found = self.issuer.verify(&self.token).map(Arc::new);
        Finding::new(Verified { found, issuer: Arc::clone(&self.issuer), changes })
    }
}

/// Starts one of the threads, which ends once nobody is left who could send by `ends`.
///
/// # Errors
/// It could not be started.
pub(super) fn start(
    index: usize,
    tokens: Receiver<Verification>,
    ends: Receiver<()>,
    door: Door,
) -> io::Result<JoinHandle<()>> {
    let spawned = thread::Builder::new().name(format!("verifier-{index}"));
    spawned.stack_size(THREAD_STACK).spawn(move || serve(&tokens, &ends, &door))
}

/// What a shard had no room for; it keeps its place among those that wait.
struct Untold {
    token: Verification,
    finding: Finding,
    until: Instant,
}

/// Verifies tokens until it is to end.
fn serve(tokens: &Receiver<Verification>, ends: &Receiver<()>, door: &Door) {
    let mut untold: Vec<Untold> = Vec::new();
    let mut tell_at = Instant::now();
    loop {
        let due = if untold.is_empty() { never() } else { at(tell_at) };
        select! {
            recv(tokens) -> token => {
                let Ok(token) = token else { return };
                let (finding, until) = (found(&token), Instant::now() + TELL_FOR);
                untold.extend(tell(door, Untold { token, finding, until }));
            }
            recv(ends) -> _ => return,
            recv(due) -> _ => {}
        }
        let now = Instant::now();
        if now >= tell_at {
            let again = std::mem::take(&mut untold).into_iter().filter(|one| one.until > now);
            untold.extend(again.filter_map(|one| tell(door, one)));
            tell_at = now + TELL_AGAIN;
        }
    }
}

/// What was found out about a token. With a panic nothing is known of it: that is a defect, and
/// others' tokens are verified all the same.
fn found(token: &Verification) -> Finding {
    catch_unwind(AssertUnwindSafe(|| token.verify())).unwrap_or_else(|_| {
        tracing::error!(target: "tidegate::tokens", "a token could not be verified: a defect");
        let found = Err(NotAdmitted::Malformed);
        Finding::new(Verified { found, issuer: Arc::clone(&token.issuer), changes: 0 })
    })
}

/// Tells what was found out; it comes back if the shard has no room for it.
fn tell(door: &Door, what: Untold) -> Option<Untold> {
    let Untold { token, finding, until } = what;
    let (back, comes_back) = mpsc::channel();
    door.ask(Errand::Found(token.ticket, finding), move |outcome| {
        if let Outcome::Untold(finding) = outcome {
            // It is heard on this thread, before the call returns.
            let _ = back.send(finding);
        }
    });
    comes_back.try_recv().ok().map(|finding| Untold { token, finding, until })
}
