//! The connections of a shard, by slot.

use crate::connection::{Connection, Stage};
use crate::kernel::{GENERATION_MASK, Generation, Slot, SlotSet};

/// The slab. Its memory is reserved at the start and touched only as slots come into use; it never
/// moves.
pub struct Table {
    connections: Vec<Connection>,
    /// The slots below `connections.len()` that hold no connection and are not reserved.
    vacant: SlotSet,
    /// The slots of those who have yet to open, and of those who linger.
    pub(super) strangers: SlotSet,
    /// Slots that are promised to an accept in flight.
    reserved: u32,
    capacity: u32,
    live: u32,
}

impl Table {
    /// Room for `capacity` connections.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self {
            connections: Vec::with_capacity(capacity as usize),
            vacant: SlotSet::new(capacity),
            strangers: SlotSet::new(capacity),
            reserved: 0,
            capacity,
            live: 0,
        }
    }

    /// Promises a slot to an accept: the lowest free one, so that the records in use lie together.
    pub fn reserve(&mut self) -> Option<Slot> {
        let slot = match self.vacant.pop_lowest() {
            Some(slot) => slot,
            None if self.used_slots() < self.capacity => {
                self.connections.push(Connection::free(0));
                self.used_slots() - 1
            }
            None => return None,
        };
        self.reserved += 1;
        Some(slot)
    }

    /// The accept that `slot` was promised to found nothing.
    pub fn give_up(&mut self, slot: Slot) {
        self.reserved -= 1;
        self.vacant.insert(slot);
    }

    /// Starts a connection in `slot`, which was reserved for it.
    pub fn begin(&mut self, slot: Slot) -> &mut Connection {
        let connection = &mut self.connections[slot as usize];
        debug_assert!(connection.stage == Stage::Free, "slot {slot} is taken: {connection:?}");
        connection.stage = Stage::Head;
        self.strangers.insert(slot);
        self.reserved -= 1;
        self.live += 1;
        connection
    }

    /// Ends the connection in `slot`: operations that were pushed for it complete as stale.
    pub fn end(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        debug_assert!(connection.stage != Stage::Free, "slot {slot} is free already");
        *connection = Connection::free((connection.generation + 1) & GENERATION_MASK);
        self.live -= 1;
        self.vacant.insert(slot);
    }

    /// The connection in `slot`, if it is still the one of `generation`.
    pub fn current(&mut self, slot: Slot, generation: Generation) -> Option<&mut Connection> {
        self.connections.get_mut(slot as usize).filter(|connection| {
            connection.stage != Stage::Free && connection.generation == generation
        })
    }

    /// The slots that have ever been used: all below this one.
    #[must_use]
    pub fn used_slots(&self) -> Slot {
        self.connections.len() as Slot
    }

    /// The bytes of all records that were ever used: those of the others are reserved, and not
    /// touched.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.connections.len() * size_of::<Connection>()) as u64
    }

    /// Connections that are there.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Slots that are neither taken nor reserved.
    #[must_use]
    pub fn vacant(&self) -> u32 {
        self.capacity - self.live - self.reserved
    }
}

impl std::ops::Index<Slot> for Table {
    type Output = Connection;

    fn index(&self, slot: Slot) -> &Connection {
        &self.connections[slot as usize]
    }
}

impl std::ops::IndexMut<Slot> for Table {
    fn index_mut(&mut self, slot: Slot) -> &mut Connection {
        &mut self.connections[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_used_again_has_another_generation() {
        let mut table = Table::new(8);
        let slot = table.reserve().expect("an empty table");
        let first = table.begin(slot).generation;
        assert!(table.current(slot, first).is_some());
        table.end(slot);
        assert!(table.current(slot, first).is_none());
        assert_eq!(table.reserve(), Some(slot));
        let second = table.begin(slot).generation;
        assert_ne!(first, second);
        assert!(table.current(slot, first).is_none());
        assert_eq!((table.live(), table.vacant()), (1, 7));
    }

    #[test]
    fn the_lowest_free_slot_is_next_and_a_full_table_has_none() {
        let mut table = Table::new(4);
        for expected in 0..4 {
            assert_eq!(table.reserve(), Some(expected));
            table.begin(expected);
        }
        assert_eq!((table.reserve(), table.vacant()), (None, 0));
        table.end(2);
        table.end(1);
        assert_eq!(table.reserve(), Some(1));
        table.give_up(1);
        assert_eq!(table.reserve(), Some(1));
        assert_eq!((table.reserve(), table.reserve()), (Some(2), None));
    }
}
