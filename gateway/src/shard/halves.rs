//! The deadlines of what is half received: messages that must be whole, and control frames.
//!
//! Each is a deadline of its own beside the one that its connection has anyway, so that nothing else
//! that the connection waits for meanwhile puts it off. Few connections have one at a time, so it costs
//! the others nothing.

use std::collections::HashMap;

use crate::uring::Slot;

/// When what is half received must be whole, in ticks of the shard's deadlines.
#[derive(Default)]
pub(super) struct Halves {
    due: HashMap<Slot, u64>,
}

impl Halves {
    /// The bytes of an entry, for the bill.
    pub(super) const BYTES: usize = size_of::<(Slot, u64)>();

    /// Something is half received, and is due then. It keeps the deadline that it had, if it was
    /// half received before.
    pub(super) fn begin(&mut self, slot: Slot, due: u64) {
        self.due.entry(slot).or_insert(due);
    }

    /// It is whole, or given up.
    pub(super) fn end(&mut self, slot: Slot) {
        if !self.due.is_empty() {
            self.due.remove(&slot);
        }
    }

    /// It is not looked at for now: it is due later.
    pub(super) fn put_off(&mut self, slot: Slot, due: u64) {
        if let Some(at) = self.due.get_mut(&slot) {
            *at = due;
        }
    }

    /// Adds those that are due at `now`.
    pub(super) fn due(&self, now: u64, slots: &mut Vec<Slot>) {
        slots.extend(self.due.iter().filter(|(_, due)| **due <= now).map(|(slot, _)| *slot));
        // The map's order is drawn anew in each run.
        slots.sort_unstable();
    }

    /// How many entries there is memory for.
    pub(super) fn capacity(&self) -> usize {
        self.due.capacity()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_stands_until_it_is_whole() {
        let mut halves = Halves::default();
        let due = |halves: &Halves, now: u64| {
            let mut slots = Vec::new();
            halves.due(now, &mut slots);
            slots
        };
        halves.begin(3, 10);
        halves.begin(1, 12);
        halves.begin(3, 20);
        assert_eq!(due(&halves, 9), [0; 0]);
        assert_eq!(due(&halves, 10), [3], "what comes later does not put it off");
        halves.put_off(3, 15);
        halves.put_off(4, 15);
        assert_eq!(due(&halves, 14), [1]);
        assert_eq!(due(&halves, 15), [1, 3]);
        halves.end(3);
        halves.end(1);
        assert!(halves.is_empty());
    }
}
