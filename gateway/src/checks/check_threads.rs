//! Threads beside the shards that find out what a check depends on: what one takes to it is told
//! the request's shard.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};

use crate::hub::{Door, Errand, Finding, Outcome};
use crate::names::Ticket;

/// The stack of such a thread, in bytes.
pub(super) const THREAD_STACK: usize = 256 << 10;

/// After how long what shards had no room for is told again.
const TELL_AGAIN: Duration = Duration::from_millis(1);

/// For how long it is.
const TELL_FOR: Duration = Duration::from_secs(10);

/// What such a thread does for a request. It has its place among what waits until it is dropped.
pub(super) trait CheckWork: Send + 'static {
    /// Whose request it is for.
    fn ticket(&self) -> Ticket;

    /// Does it: what was found out; `None` if nobody waits for that any more.
    fn find_out(&self) -> Option<Finding>;

    /// What is told if that panicked, which it says in the log: a defect.
    fn failed(&self) -> Finding;
}

/// Starts one of the threads, which ends once nobody is left who could send by `ends`.
///
/// # Errors
/// It could not be started.
pub(super) fn start<W: CheckWork>(
    name: String,
    work: Receiver<W>,
    ends: Receiver<()>,
    door: Door,
) -> io::Result<JoinHandle<()>> {
    let spawned = thread::Builder::new().name(name);
    spawned.stack_size(THREAD_STACK).spawn(move || serve(&work, &ends, &door))
}

/// What a shard had no room for; it keeps its place among what waits.
struct Untold<W> {
    work: W,
    finding: Finding,
    until: Instant,
}

/// Does what comes until it is to end.
fn serve<W: CheckWork>(work: &Receiver<W>, ends: &Receiver<()>, door: &Door) {
    let mut untold: Vec<Untold<W>> = Vec::new();
    let mut tell_at = Instant::now();
    loop {
        let due = if untold.is_empty() { never() } else { at(tell_at) };
        select! {
            recv(work) -> work => {
                let Ok(work) = work else { return };
                if let Some(finding) = found(&work) {
                    let until = Instant::now() + TELL_FOR;
                    untold.extend(tell(door, Untold { work, finding, until }));
                }
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

/// What was found out. Others' work is done all the same after a panic.
fn found<W: CheckWork>(work: &W) -> Option<Finding> {
    catch_unwind(AssertUnwindSafe(|| work.find_out())).unwrap_or_else(|_| Some(work.failed()))
}

/// Tells what was found out; it comes back if the shard has no room for it.
fn tell<W: CheckWork>(door: &Door, what: Untold<W>) -> Option<Untold<W>> {
    let Untold { work, finding, until } = what;
    let (back, comes_back) = mpsc::channel();
    door.ask(Errand::Found(work.ticket(), finding), move |outcome| {
        if let Outcome::Untold(finding) = outcome {
            // It is heard on this thread, before the call returns.
            let _ = back.send(finding);
        }
    });
    comes_back.try_recv().ok().map(|finding| Untold { work, finding, until })
}
