//! A set of slots in one bit each, handed out in turn.

use super::Slot;

/// Slots that wait for something. [`SlotSet::pop`] goes round, so that each slot has its turn
/// before any has a second one.
pub struct SlotSet {
    words: Vec<u64>,
    /// How many bits are set.
    length: usize,
    /// The slot at which the next search of `pop` begins.
    cursor: usize,
    /// Invariant: no word below this one has a bit.
    floor: usize,
}

impl SlotSet {
    /// An empty set for slots below `slots`.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self { words: vec![0; (slots as usize).div_ceil(64)], length: 0, cursor: 0, floor: 0 }
    }

    /// What a set for slots below `slots` takes, in bytes.
    #[must_use]
    pub const fn bytes(slots: u32) -> u64 {
        8 * (slots as u64).div_ceil(64)
    }

    /// Adds `slot`.
    pub fn insert(&mut self, slot: Slot) {
        let (word, bit) = place(slot);
        self.length += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
        self.floor = self.floor.min(word);
    }

    /// Removes `slot`, whether it was there or not.
    pub fn remove(&mut self, slot: Slot) {
        let (word, bit) = place(slot);
        self.length -= usize::from(self.words[word] & bit != 0);
        self.words[word] &= !bit;
    }

    /// Whether `slot` is in it.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.words[word] & bit != 0
    }

    /// Takes the next slot out.
    pub fn pop(&mut self) -> Option<Slot> {
        if self.length == 0 {
            return None;
        }
        let slot = self.pop_from(self.cursor);
        self.cursor = slot as usize + 1;
        Some(slot)
    }

    /// Takes the lowest slot out.
    pub fn pop_lowest(&mut self) -> Option<Slot> {
        if self.length == 0 {
            return None;
        }
        let slot = self.pop_from(self.floor * 64);
        self.floor = slot as usize / 64;
        Some(slot)
    }

    /// Takes the first slot from `start` on out, going round; there is one.
    fn pop_from(&mut self, start: usize) -> Slot {
        let slot = self.first_from(start);
        self.remove(slot);
        slot
    }

    /// The first slot from `start` on, going round, which stays in it.
    #[must_use]
    pub fn next(&self, start: Slot) -> Option<Slot> {
        (self.length > 0).then(|| self.first_from(start as usize))
    }

    /// The same, if there is one.
    fn first_from(&self, start: usize) -> Slot {
        let mut word = start / 64 % self.words.len();
        let mut candidates = self.words[word] & u64::MAX << (start % 64);
        while candidates == 0 {
            word = (word + 1) % self.words.len();
            candidates = self.words[word];
        }
        (word * 64) as Slot + candidates.trailing_zeros()
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

fn place(slot: Slot) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_comes_out_once() {
        let mut set = SlotSet::new(300);
        for slot in [299, 0, 64, 5, 5, 128] {
            set.insert(slot);
        }
        set.remove(64);
        set.remove(65);
        assert_eq!(set.len(), 4);
        let popped: Vec<Slot> = std::iter::from_fn(|| set.pop()).collect();
        assert_eq!(popped, [0, 5, 128, 299]);
        assert!(set.is_empty());
    }

    #[test]
    fn the_lowest_comes_first() {
        let mut set = SlotSet::new(300);
        for slot in [200, 70, 100] {
            set.insert(slot);
        }
        assert_eq!(set.pop_lowest(), Some(70));
        assert_eq!(set.pop_lowest(), Some(100));
        set.insert(3);
        assert_eq!(set.pop_lowest(), Some(3));
        assert_eq!((set.pop_lowest(), set.pop_lowest()), (Some(200), None));
    }

    #[test]
    fn who_is_next_stays_and_is_found_going_round() {
        let mut set = SlotSet::new(300);
        assert_eq!(set.next(0), None);
        [5, 64, 299].iter().for_each(|slot| set.insert(*slot));
        let found = [0, 5, 6, 65, 299, 300].map(|start| set.next(start));
        assert_eq!(found, [5, 5, 64, 299, 299, 5].map(Some));
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn a_slot_that_returns_at_once_does_not_starve_the_others() {
        let mut set = SlotSet::new(1000);
        set.insert(10);
        set.insert(900);
        let mut served = Vec::new();
        for _ in 0..200 {
            let slot = set.pop().expect("both return at once");
            served.push(slot);
            set.insert(slot);
        }
        assert!(served.contains(&900));
    }
}
