//! How other threads steer a shard, and see how it is.

use std::sync::atomic::{AtomicU8, Ordering};

use super::vitals::PublishedVitals;
use crate::counters::PublishedCounters;
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

/// What one shard is steered by, and what it shows of itself.
#[derive(Default)]
pub struct Panel {
    command: AtomicU8,
    /// What the shard has counted, shown at every tick.
    pub counters: PublishedCounters,
    /// How the shard is, shown with them.
    pub vitals: PublishedVitals,
}

impl Panel {
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
