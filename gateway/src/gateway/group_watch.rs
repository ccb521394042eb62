//! The thread that looks how much memory the process's control group has in use.
//!
//! What is told of that is in files which the kernel writes as they are read, and it may take locks
//! for it: nothing for a shard.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::machine;
use crate::steering::{Handle, Reloader};

/// How often it looks: memory that comes in at a gigabyte a second is seen within one.
const PERIOD: Duration = Duration::from_secs(1);

/// Its stack, in bytes.
const THREAD_STACK: usize = 128 << 10;

/// The thread. Dropped, it ends.
#[derive(Debug)]
pub(super) struct GroupWatch {
    /// Nothing is sent by it: the thread ends when it is gone.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GroupWatch {
    /// Starts it; it shows the shards behind `handle` what it finds, as long as the configuration
    /// wants to know. A bound that is set later is seen as well. A gateway does without, and says
    /// so, if no thread can be started.
    pub(super) fn start(handle: Handle, reloader: Reloader) -> Option<Self> {
        let (running, ends) = channel::<()>();
        let spawned = thread::Builder::new().name("memory".into()).stack_size(THREAD_STACK);
        let thread = spawned.spawn(move || {
            loop {
                let limits = reloader.in_force().config.limits;
                let is_wanted = limits.memory_high.or(limits.memory_critical).is_some();
                let share = is_wanted.then(machine::group_memory_share).flatten();
                // Without a bound, or where nothing can be read, nothing of it is in use.
                handle.show_group_memory(share.unwrap_or(0));
                if ends.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        let warn = |error: io::Error| {
            tracing::warn!(
                %error,
                "the thread that looks at the memory of the control group could not be started: \
                 `memory_high` and `memory_critical` know nothing of it"
            );
        };
        let thread = thread.map_err(warn).ok()?;
        Some(Self { running: Some(running), thread: Some(thread) })
    }
}

impl Drop for GroupWatch {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
