//! How other threads steer a shard, and see how it is.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::change::ConfigChange;
use super::drain_order::DrainOrder;
use super::vitals::PublishedVitals;
use crate::counters::PublishedCounters;
use crate::kernel::Waker;

/// What one shard is steered by, and what it shows of itself.
#[derive(Default)]
pub struct Panel {
    stops: AtomicBool,
    /// How often a drain was ordered, or taken back: the shard looks at what was ordered when it is
    /// woken and this has changed, and takes the lock only then.
    drains: AtomicU32,
    drain: Mutex<Option<Arc<DrainOrder>>>,
    /// Likewise how often a change was ordered.
    changes: AtomicU32,
    change: Mutex<Option<Arc<ConfigChange>>>,
    /// How much the process's control group has in use of what it may, in hundredths.
    group_memory: AtomicU32,
    /// What the shard has counted, shown at every tick.
    pub counters: PublishedCounters,
    /// How the shard is, shown with them.
    pub vitals: PublishedVitals,
}

impl Panel {
    /// The shard is to end at once.
    pub fn stop(&self, waker: &Waker) {
        self.stops.store(true, Ordering::Relaxed);
        waker.wake();
    }

    /// Whether it is.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }

    /// The shard is to drain as this says, or no more. The one before is over with that.
    pub fn drain(&self, order: Option<Arc<DrainOrder>>, waker: &Waker) {
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = order;
        self.drains.fetch_add(1, Ordering::Release);
        waker.wake();
    }

    /// The shard is to change as this says, or no more. The one before is over with that.
    pub fn change(&self, change: Option<Arc<ConfigChange>>, waker: &Waker) {
        {
            // Both at once: who sees one of them and not the other would begin twice.
            let mut ordered = self.change.lock().unwrap_or_else(PoisonError::into_inner);
            *ordered = change;
            self.changes.fetch_add(1, Ordering::Release);
        }
        waker.wake();
    }

    /// The process's control group has so much in use of what it may, in hundredths. The shard is
    /// woken if that is not what it was.
    pub fn show_group_memory(&self, hundredths: u64, waker: &Waker) {
        let hundredths = u32::try_from(hundredths).unwrap_or(u32::MAX);
        if self.group_memory.swap(hundredths, Ordering::Relaxed) != hundredths {
            waker.wake();
        }
    }

    /// How much that is.
    #[must_use]
    pub fn group_memory(&self) -> u64 {
        self.group_memory.load(Ordering::Relaxed).into()
    }

    /// How often that was said.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    /// What was said last, and how often that was.
    #[must_use]
    pub fn change_ordered(&self) -> (u32, Option<Arc<ConfigChange>>) {
        let ordered = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        (self.changes(), ordered.clone())
    }

    /// How often a drain was ordered, or taken back.
    #[must_use]
    pub fn drains(&self) -> u32 {
        self.drains.load(Ordering::Acquire)
    }

    /// What was said last.
    #[must_use]
    pub fn ordered(&self) -> Option<Arc<DrainOrder>> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
