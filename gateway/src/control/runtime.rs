//! What runs the control thread's futures: tokio, for one thread. Where shards are carried by
//! io_uring it is tokio-uring, whose runtime is that with a ring; by epoll it is tokio alone. Only
//! this file knows.

use std::future::Future;
use std::io;

use tokio::task::{LocalSet, spawn_local};

use crate::kernel::Driver;

/// Entries of its ring: the control thread is not where work is done.
const ENTRIES: u32 = 64;

/// Runs `future` on this thread to its end; what it has spawned ends with it.
///
/// # Errors
/// The runtime could not be set up.
pub(super) fn run<F: Future<Output = ()>>(driver: Driver, future: F) -> io::Result<()> {
    match driver {
        Driver::IoUring => {
            let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(ENTRIES))?;
            runtime.block_on(future);
        }
        Driver::Epoll => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, future);
        }
    }
    Ok(())
}

/// Runs `future` beside the others of this thread.
pub(super) fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(spawn_local(future));
}
