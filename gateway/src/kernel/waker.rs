//! Waking a shard from another thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// Wakes one ring; cheap to clone, usable from any thread (eventfd(2)).
#[derive(Clone)]
pub struct Waker {
    event: Arc<File>,
}

impl Waker {
    /// A waker for a ring that is made later.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: `eventfd` takes no memory of ours.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nothing else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        Ok(Self { event: Arc::new(File::from(event)) })
    }

    /// Makes the ring's current or next enter return.
    pub fn wake(&self) {
        // The only failure is a counter that is full, and a full counter wakes as well.
        let _ = (&*self.event).write(&1u64.to_ne_bytes());
    }

    /// Takes the wake-ups back, which a ring does by itself when it returns; whether there was one.
    pub fn clear(&self) -> bool {
        // The only failure is a counter that is empty, or that another clear has emptied.
        (&*self.event).read(&mut [0; 8]).is_ok()
    }

    /// What becomes readable when it is used.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
