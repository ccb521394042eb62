//! What few connections have beside their record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use crate::bill::sizes::{hash_table, hash_table_held};
use crate::kernel::Slot;

/// What few connections have beside their record, by slot, so that the others pay nothing for it:
/// not even an index in their records.
#[derive(Debug)]
pub struct SideTable<T> {
    entries: HashMap<Slot, T, BuildHasherDefault<SlotHasher>>,
}

impl<T> SideTable<T> {
    const ENTRY: usize = size_of::<(Slot, T)>();

    /// The most bytes that a table holds if each of so many slots has an entry, without what
    /// entries own elsewhere.
    pub(crate) fn bytes(slots: u32) -> u64 {
        hash_table(slots, Self::ENTRY)
    }

    /// The bytes that it holds now, likewise.
    pub(crate) fn held(&self) -> u64 {
        hash_table_held(self.entries.capacity(), Self::ENTRY)
    }

    /// What the connection has.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.entries.get(&slot)
    }

    /// What the connection has, to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entries.get_mut(&slot)
    }

    /// The connection has this from now on, and no longer what it had.
    pub fn insert(&mut self, slot: Slot, what: T) {
        self.entries.insert(slot, what);
    }

    /// What the connection has; what nobody has yet, it has from now on.
    pub fn get_or_default(&mut self, slot: Slot) -> &mut T
    where
        T: Default,
    {
        self.entries.entry(slot).or_default()
    }

    /// Takes out what the connection has.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        // Mostly nobody has anything: then nothing is looked up.
        if self.entries.is_empty() { None } else { self.entries.remove(&slot) }
    }

    /// Changes what the connection has, which is taken out if that says so.
    pub fn change(&mut self, slot: Slot, is_over: impl FnOnce(&mut T) -> bool) {
        if self.entries.is_empty() {
            return;
        }
        if let Entry::Occupied(mut entry) = self.entries.entry(slot)
            && is_over(entry.get_mut())
        {
            entry.remove();
        }
    }

    /// All who have something, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.entries.iter().map(|(slot, what)| (*slot, what))
    }

    /// Whether nobody has anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T> Default for SideTable<T> {
    fn default() -> Self {
        Self { entries: HashMap::default() }
    }
}

/// Spreads slots over a table. The shard gives them out, from the lowest on, so nobody can choose
/// ones that collide.
#[derive(Default)]
struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn write_u32(&mut self, slot: u32) {
        // An odd factor, 2^64 over the golden ratio: the low bits, which choose a place, stay as
        // different as those of the slots, and the high ones, which are compared first, get all.
        self.0 = u64::from(slot).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, Hash};

    use super::*;

    #[test]
    fn what_a_connection_has_is_its_own_until_it_is_taken_out() {
        let mut table = SideTable::<u32>::default();
        assert_eq!((table.remove(3), table.held()), (None, 0));
        table.insert(3, 30);
        *table.get_or_default(4) += 1;
        *table.get_or_default(3) += 1;
        assert_eq!((table.get(3), table.get(4), table.get(5)), (Some(&31), Some(&1), None));
        table.change(3, |value| {
            *value += 1;
            false
        });
        table.change(5, |_| unreachable!("it has nothing"));
        assert_eq!(table.remove(3), Some(32));
        table.change(4, |value| *value == 1);
        assert!(table.is_empty());
        assert!(table.held() > 0, "its memory is kept");
    }

    #[test]
    fn slots_are_spread() {
        let hash = |slot: Slot| BuildHasherDefault::<SlotHasher>::default().hash_one(slot);
        let lows: std::collections::HashSet<u64> =
            (0..4096).map(|slot| hash(slot) % 4096).collect();
        assert_eq!(lows.len(), 4096, "each has a place of its own");
        let highs: std::collections::HashSet<u64> =
            (0..4096).map(|slot| hash(slot) >> 57).collect();
        assert_eq!(highs.len(), 128);
        let mut hasher = SlotHasher::default();
        7_u32.hash(&mut hasher);
        assert_eq!(hasher.finish(), hash(7));
    }

    #[test]
    fn a_full_table_holds_no_more_than_is_said() {
        for slots in [16, 841, 1000, 16_384] {
            let mut table = SideTable::<[u32; 3]>::default();
            for round in 0..3 {
                (0..slots).for_each(|slot| table.insert(slot, [round; 3]));
                assert!(table.held() <= SideTable::<[u32; 3]>::bytes(slots), "{slots}");
                assert!((0..slots).all(|slot| table.remove(slot) == Some([round; 3])));
            }
        }
    }
}
