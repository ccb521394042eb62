//! Entries that live as long as they are wanted, or somebody uses them.

use std::ops::{Index, IndexMut};

use slab::Slab;

/// Entries by number. One that is wanted no longer is retired, and freed with the last that uses
/// it: so whoever uses one keeps it whatever is wanted meanwhile.
pub(super) struct Counted<T> {
    entries: Slab<Entry<T>>,
    retired: usize,
}

struct Entry<T> {
    value: T,
    users: u32,
    is_retired: bool,
}

impl<T> Counted<T> {
    pub(super) fn new() -> Self {
        Self { entries: Slab::new(), retired: 0 }
    }

    /// One more is wanted; returns its number, the lowest that is free.
    pub(super) fn insert(&mut self, value: T) -> usize {
        self.entries.insert(Entry { value, users: 0, is_retired: false })
    }

    /// An entry is wanted no longer. What nobody uses comes back.
    pub(super) fn retire(&mut self, number: usize) -> Option<T> {
        let entry = &mut self.entries[number];
        debug_assert!(!entry.is_retired, "it is retired once");
        if entry.users == 0 {
            return Some(self.entries.remove(number).value);
        }
        entry.is_retired = true;
        self.retired += 1;
        None
    }

    /// One more uses the entry.
    pub(super) fn enter(&mut self, number: usize) {
        self.entries[number].users += 1;
    }

    /// One of those that use the entry is done.
    pub(super) fn leave(&mut self, number: usize) {
        let entry = &mut self.entries[number];
        entry.users -= 1;
        if entry.users == 0 && entry.is_retired {
            self.entries.remove(number);
            self.retired -= 1;
        }
    }

    /// Whether somebody uses it.
    pub(super) fn is_used(&self, number: usize) -> bool {
        self.entries[number].users > 0
    }

    /// Whether it is wanted no longer.
    pub(super) fn is_retired(&self, number: usize) -> bool {
        self.entries[number].is_retired
    }

    /// How many are wanted no longer, and used.
    pub(super) fn retired(&self) -> usize {
        self.retired
    }

    /// How many use each entry, by number.
    pub(super) fn users(&self) -> impl Iterator<Item = (usize, u32)> {
        self.entries.iter().map(|(number, entry)| (number, entry.users))
    }
}

impl<T> Index<usize> for Counted<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.entries[number].value
    }
}

impl<T> IndexMut<usize> for Counted<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        &mut self.entries[number].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_comes_back_and_its_number_is_given_again() {
        let mut counted = Counted::new();
        let numbers = ["a", "b"].map(|value| counted.insert(value));
        assert_eq!(counted.retire(numbers[0]), Some("a"));
        assert_eq!(counted.insert("c"), numbers[0]);
        assert_eq!((counted[numbers[0]], counted[numbers[1]]), ("c", "b"));
        assert_eq!((counted.users().count(), counted.retired()), (2, 0));
    }

    #[test]
    fn what_is_used_outlives_being_wanted() {
        let mut counted = Counted::new();
        let number = counted.insert("a");
        counted.enter(number);
        counted.enter(number);
        assert_eq!(counted.retire(number), None);
        assert_ne!(counted.insert("b"), number, "its number is taken");
        counted.leave(number);
        assert_eq!((counted[number], counted.is_retired(number)), ("a", true));
        assert_eq!(counted.retired(), 1);
        counted.leave(number);
        assert_eq!((counted.users().count(), counted.retired()), (1, 0));
    }
}
