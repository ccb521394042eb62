//! Load threads: one per core, each with its own io_uring.

use std::io;
use std::thread;

use core_affinity::CoreId;
use monoio::{IoUringDriver, RuntimeBuilder};

/// Submission entries of a load thread's ring.
const ENTRIES: u32 = 4096;

/// Pins the calling thread to the core of load thread `index`, and runs `work` on a ring of its
/// own.
///
/// # Errors
/// The kernel refused the ring, or `work` failed.
pub fn run<T>(index: usize, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    pin(index);
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).enable_timer();
    let mut runtime = builder.build()?;
    runtime.block_on(work)
}

/// Pins the calling thread to the core of load thread `index`.
pub(crate) fn pin(index: usize) {
    if let Some(core) = core(index) {
        core_affinity::set_for_current(core);
    }
}

/// Runs `work` on a thread of its own, pinned to the core of load thread 0. The calling thread
/// keeps its cores, and whatever it starts later as well.
///
/// # Errors
/// `work` failed, or panicked.
pub fn aside<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let pinned = || {
        pin(0);
        work()
    };
    let panicked = |_| io::Error::other("a load thread panicked");
    thread::scope(|scope| scope.spawn(pinned).join().map_err(panicked)?)
}

/// The load thread beside thread 0 that leaves the first core to the server: the same one if there
/// are but two cores.
#[must_use]
pub fn second() -> usize {
    usize::from(core_affinity::get_core_ids().is_some_and(|cores| cores.len() > 2))
}

/// The core of load thread `index`: from the last one down, so that the first ones are the
/// server's as long as that goes.
fn core(index: usize) -> Option<CoreId> {
    let cores = core_affinity::get_core_ids()?;
    cores.iter().rev().cycle().nth(index).copied()
}
