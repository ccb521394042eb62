//! What many connections have beside their record, in pages that are there while somebody uses one.

use crate::kernel::Slot;

/// Entries of a page, one bit of a word each.
const ENTRIES: usize = u64::BITS as usize;

/// What many connections have beside their record, by slot. Unlike in a side table an entry has no
/// more than its own bytes, and the lowest slots are given out first, so pages are full or not
/// there. An entry that is taken out is dropped where it lies and never moves.
pub struct Paged<T> {
    pages: Vec<Option<Box<Leaf<T>>>>,
    /// How many pages there may be, once somebody has something, and how many there are.
    most: usize,
    count: usize,
}

/// Entries that lie together.
struct Leaf<T> {
    entries: [T; ENTRIES],
    /// A bit for each entry that somebody has; the others are as by default. Invariant: not 0.
    used: u64,
}

impl<T: Default> Paged<T> {
    /// Without entries, for slots below `slots`.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        let most = (slots as usize).div_ceil(ENTRIES);
        Self { pages: Vec::new(), most, count: 0 }
    }

    /// The most bytes that it holds for slots below `slots`, without what entries own elsewhere.
    #[must_use]
    pub const fn bytes(slots: u32) -> u64 {
        let page = size_of::<Leaf<T>>() + size_of::<Option<Box<Leaf<T>>>>();
        (slots as u64).div_ceil(ENTRIES as u64) * page as u64
    }

    /// The bytes that it holds now, likewise.
    #[must_use]
    pub fn held(&self) -> u64 {
        let list = self.pages.capacity() * size_of::<Option<Box<Leaf<T>>>>();
        (list + self.count * size_of::<Leaf<T>>()) as u64
    }

    /// Whether the connection has something.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        let (page, entry) = place(slot);
        let leaf = self.pages.get(page).and_then(Option::as_deref);
        leaf.is_some_and(|leaf| leaf.used & 1 << entry != 0)
    }

    /// What the connection has.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        let (page, entry) = place(slot);
        let leaf = self.pages.get(page)?.as_deref()?;
        (leaf.used & 1 << entry != 0).then(|| &leaf.entries[entry])
    }

    /// What the connection has, to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (page, entry) = place(slot);
        let leaf = self.pages.get_mut(page)?.as_deref_mut()?;
        (leaf.used & 1 << entry != 0).then(|| &mut leaf.entries[entry])
    }

    /// The connection has what is there by default, and no longer what it had; to change it.
    pub fn insert(&mut self, slot: Slot) -> &mut T {
        self.remove(slot);
        if self.pages.is_empty() {
            // Whoever has none pays nothing.
            self.pages.reserve_exact(self.most);
            self.pages.extend((0..self.most).map(|_| None));
        }
        let (page, entry) = place(slot);
        let leaf = self.pages[page].get_or_insert_with(|| {
            self.count += 1;
            Box::new(Leaf { entries: std::array::from_fn(|_| T::default()), used: 0 })
        });
        leaf.used |= 1 << entry;
        &mut leaf.entries[entry]
    }

    /// Drops what the connection has, if it has anything.
    pub fn remove(&mut self, slot: Slot) {
        let (page, entry) = place(slot);
        let Some(held) = self.pages.get_mut(page) else { return };
        let Some(leaf) = held.as_deref_mut() else { return };
        if leaf.used & 1 << entry == 0 {
            return;
        }
        leaf.entries[entry] = T::default();
        leaf.used &= !(1 << entry);
        if leaf.used == 0 {
            *held = None;
            self.count -= 1;
        }
    }

    /// Whether nobody has anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Page and entry of a slot.
const fn place(slot: Slot) -> (usize, usize) {
    (slot as usize / ENTRIES, slot as usize % ENTRIES)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_as_a_map_and_holds_the_pages_that_are_used(
            actions in prop::collection::vec((0..300u32, any::<bool>(), any::<u32>()), 0..200)
        ) {
            let (mut paged, mut model) = (Paged::<u32>::new(300), HashMap::new());
            let mut list = 0;
            for (slot, is_in, value) in actions {
                if is_in {
                    let entry = paged.insert(slot);
                    assert_eq!(*entry, 0, "nothing is left of who was there before");
                    *entry = value;
                    list = 5 * 8;
                    model.insert(slot, value);
                } else {
                    paged.remove(slot);
                    model.remove(&slot);
                }
                let pages: std::collections::HashSet<_> =
                    model.keys().map(|slot| slot / 64).collect();
                assert_eq!(paged.held(), (list + pages.len() * (64 * 4 + 8)) as u64);
                assert!(paged.held() <= Paged::<u32>::bytes(300));
                assert_eq!(paged.is_empty(), model.is_empty());
                for slot in 0..300 {
                    assert_eq!(paged.get(slot), model.get(&slot));
                    assert_eq!(paged.get_mut(slot).copied(), model.get(&slot).copied());
                }
            }
        }
    }

    #[test]
    fn an_entry_is_dropped_when_it_is_taken_out() {
        let mut paged = Paged::<Option<Rc<()>>>::new(64);
        let held = Rc::new(());
        *paged.insert(3) = Some(Rc::clone(&held));
        *paged.insert(4) = Some(Rc::clone(&held));
        paged.remove(3);
        assert_eq!(Rc::strong_count(&held), 2);
        paged.insert(4);
        assert_eq!(Rc::strong_count(&held), 1, "who had it is gone");
    }

    #[test]
    fn nobody_has_anything_beyond_its_slots() {
        let mut paged = Paged::<u8>::new(64);
        assert_eq!(paged.get_mut(64), None);
        paged.remove(64);
        assert!(paged.is_empty());
    }
}
