//! Load threads: one per core, each with its own io_uring.

use std::io;

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
    if let Some(core) = core(index) {
        core_affinity::set_for_current(core);
    }
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).enable_timer();
    let mut runtime = builder.build()?;
    runtime.block_on(work)
}

/// The core of load thread `index`: from the last one down, so that the first ones are the
/// server's as long as that goes.
fn core(index: usize) -> Option<CoreId> {
    let cores = core_affinity::get_core_ids()?;
    cores.iter().rev().cycle().nth(index).copied()
}
