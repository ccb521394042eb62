//! How other threads steer a shard.

use std::sync::atomic::{AtomicU8, Ordering};

use super::vitals::PublishedVitals;
use crate::counters::Published;
use crate::kernel::Waker;

/// What a shard is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Command {
    /// Serve.
    Run,
    /// Accept nothing more, close all connections, then end.
    Drain,
    /// End at once.
    Stop,
}

/// One shard's end of the control thread's wire.
#[derive(Default)]
pub struct Control {
    command: AtomicU8,
    /// What the shard has counted, shown at every tick.
    pub counters: Published,
    /// How the shard is, shown with them.
    pub vitals: PublishedVitals,
}

impl Control {
    /// Tells the shard; a command is never taken back, only exceeded.
    pub fn tell(&self, command: Command, waker: &Waker) {
        self.command.fetch_max(command as u8, Ordering::Relaxed);
        waker.wake();
    }

    /// What the shard was told last.
    #[must_use]
    pub fn command(&self) -> Command {
        match self.command.load(Ordering::Relaxed) {
            0 => Command::Run,
            1 => Command::Drain,
            _ => Command::Stop,
        }
    }
}
