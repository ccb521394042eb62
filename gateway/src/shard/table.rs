//! The connections of a shard, by slot.

use crate::connection::{Connection, Stage};
use crate::uring::{GENERATION_MASK, Generation, Slot};

/// The slab. Its memory is reserved at the start and touched only as slots come into use; it never
/// moves.
pub struct Table {
    connections: Vec<Connection>,
    capacity: u32,
    live: u32,
}

impl Table {
    /// Room for `capacity` connections.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { connections: Vec::with_capacity(capacity as usize), capacity, live: 0 }
    }

    /// Starts a connection in `slot`, which the kernel has just given out.
    ///
    /// # Panics
    /// The slot is outside of the table or taken: the kernel gives out free slots only.
    pub fn begin(&mut self, slot: Slot) -> &mut Connection {
        let index = slot as usize;
        assert!(slot < self.capacity, "slot {slot} is outside of the table");
        while self.connections.len() <= index {
            self.connections.push(Connection::free(0));
        }
        let connection = &mut self.connections[index];
        assert!(connection.stage == Stage::Free, "slot {slot} is taken: {connection:?}");
        connection.stage = Stage::Head;
        self.live += 1;
        connection
    }

    /// Ends the connection in `slot`: operations that were pushed for it complete as stale.
    pub fn end(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        debug_assert!(connection.stage != Stage::Free, "slot {slot} is free already");
        *connection = Connection::free((connection.generation + 1) & GENERATION_MASK);
        self.live -= 1;
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

    /// Connections that are there.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Slots that are free.
    #[must_use]
    pub fn vacant(&self) -> u32 {
        self.capacity - self.live
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
        let first = table.begin(3).generation;
        assert!(table.current(3, first).is_some());
        table.end(3);
        assert!(table.current(3, first).is_none());
        let second = table.begin(3).generation;
        assert_ne!(first, second);
        assert!(table.current(3, first).is_none());
        assert_eq!((table.live(), table.vacant()), (1, 7));
    }
}
