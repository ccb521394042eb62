//! What runs the control thread's futures. Only this file knows that it is tokio-uring, whose
//! runtime is tokio's for one thread with an io_uring driver beside it; with
//! `tokio::runtime::Builder` and a `LocalSet` in here, nothing else would change.

use std::future::Future;
use std::io;

/// Entries of its ring: the control thread is not where work is done.
const ENTRIES: u32 = 64;

/// Runs `future` on this thread to its end; what it has spawned ends with it.
///
/// # Errors
/// The runtime could not be set up.
pub(super) fn run<F: Future<Output = ()>>(future: F) -> io::Result<()> {
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(ENTRIES))?;
    runtime.block_on(future);
    Ok(())
}

/// Runs `future` beside the others of this thread.
pub(super) fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(tokio_uring::spawn(future));
}
