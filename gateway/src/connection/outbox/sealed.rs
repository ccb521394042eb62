//! Which bytes of backlogs are sealed: those that a transport has made ready for the wire, and that
//! a peer has not taken.

use crate::kernel::{Slot, SlotSet};
use crate::memory::SideTable;

/// How many bytes of each connection's backlog, from its front, leave as they are. Few connections
/// have any.
pub struct SealedBytes {
    by_slot: SideTable<u32>,
    /// Those for whom there was no room to be sealed for, until the batch is settled.
    waiting: SlotSet,
    /// Those whose transport took nothing though there was room: they are dropped once the batch is
    /// settled.
    broken: SlotSet,
}

impl SealedBytes {
    /// The most bytes that this takes for so many slots.
    pub(crate) fn bytes(slots: u32) -> u64 {
        SideTable::<u32>::bytes(slots) + 2 * SlotSet::bytes(slots)
    }

    /// None yet, of so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            by_slot: SideTable::default(),
            waiting: SlotSet::new(slots),
            broken: SlotSet::new(slots),
        }
    }

    /// So many bytes of a connection's backlog.
    #[must_use]
    pub fn ahead(&self, slot: Slot) -> u32 {
        self.by_slot.get(slot).copied().unwrap_or(0)
    }

    /// There was no staging memory to seal anything into, or no block for what its peer may not
    /// take.
    pub fn waits(&mut self, slot: Slot) {
        self.waiting.insert(slot);
    }

    /// Whether the connection goes on once there is staging memory.
    #[must_use]
    pub fn is_waiting(&self, slot: Slot) -> bool {
        self.waiting.contains(slot)
    }

    /// Whether anyone waits.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A transport took nothing though there was room.
    pub fn is_broken(&mut self, slot: Slot) {
        self.broken.insert(slot);
    }

    /// Takes out one of those whose transport takes nothing.
    pub fn next_broken(&mut self) -> Option<Slot> {
        self.broken.pop()
    }

    /// Takes out one of those who waited for staging memory.
    pub fn next_waiting(&mut self) -> Option<Slot> {
        self.waiting.pop()
    }

    /// So many more.
    pub(super) fn add(&mut self, slot: Slot, count: u32) {
        *self.by_slot.get_or_default(slot) += count;
    }

    /// So many have been sent.
    pub(super) fn take(&mut self, slot: Slot, count: u32) {
        self.by_slot.change(slot, |ahead| {
            *ahead -= count;
            *ahead == 0
        });
    }

    /// The connection has ended.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.waiting.remove(slot);
        self.broken.remove(slot);
        self.by_slot.remove(slot);
    }

    /// The bytes that the table of those who have any holds now.
    pub(crate) fn held(&self) -> u64 {
        self.by_slot.held()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty() && self.waiting.is_empty() && self.broken.is_empty()
    }
}
