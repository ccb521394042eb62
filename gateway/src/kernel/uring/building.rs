//! Making a ring, which the kernel may have no memory for just now.

use std::thread;
use std::time::{Duration, Instant};

use io_uring::{EnterFlags, IoUring};

use crate::kernel::RingError;

/// How long a ring is waited for that the kernel has no memory for. It ends rings in the
/// background, some time after their process is gone: where a gateway has just ended, there is more
/// in a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(20);

/// A ring with so many entries.
///
/// # Errors
/// What the kernel refused, and what to do about it.
pub(super) fn build(submissions: u32, completions: u32) -> Result<IoUring, RingError> {
    let begun = Instant::now();
    loop {
        match build_now(submissions, completions) {
            Err(RingError::NoMemory) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn build_now(submissions: u32, completions: u32) -> Result<IoUring, RingError> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_no_sqarray()
        .setup_cqsize(completions)
        .dontfork()
        .build(submissions)
        .map_err(RingError::of_setup)
}

/// `GETEVENTS` always, because deferred work is only done by an enter that asks for events; no
/// iowait where it can be had, because a parked shard is idle and not waiting for a disk.
pub(super) fn wait_flags(no_iowait: bool) -> EnterFlags {
    if no_iowait { EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT } else { EnterFlags::GETEVENTS }
}
