//! Entries that live as long as they are wanted, or somebody uses them.

use std::convert::Infallible;
use std::ops::{Index, IndexMut};

use slab::Slab;

/// Entries made of a `K` each, by number. [`Counted::update`] swaps what is wanted: entries that
/// are wanted again stay as they are, with their number; the others are retired, and freed with the
/// last that uses them. So whoever uses one keeps it whatever is wanted meanwhile. A shard wants
/// the same as long as it runs; a configuration that is read again would be another update.
pub(super) struct Counted<K, T> {
    entries: Slab<Entry<K, T>>,
}

struct Entry<K, T> {
    made_of: K,
    value: T,
    users: u32,
    is_retired: bool,
}

impl<K: Clone + PartialEq, T> Counted<K, T> {
    pub(super) fn new() -> Self {
        Self { entries: Slab::new() }
    }

    /// Makes these the entries that are wanted; returns the number of each, in their order.
    pub(super) fn update(&mut self, wanted: &[K], mut make: impl FnMut(&K) -> T) -> Vec<usize> {
        let Ok(numbers) = self.try_update(wanted, |made_of| Ok::<_, Infallible>(make(made_of)));
        numbers
    }

    /// The same where an entry may not come to be.
    ///
    /// # Errors
    /// The first that does not; nothing has changed then.
    pub(super) fn try_update<E>(
        &mut self,
        wanted: &[K],
        mut make: impl FnMut(&K) -> Result<T, E>,
    ) -> Result<Vec<usize>, E> {
        let (mut kept, mut made) = (Vec::with_capacity(wanted.len()), Vec::new());
        for made_of in wanted {
            let is_it = |(number, entry): &(usize, &Entry<K, T>)| {
                !entry.is_retired && entry.made_of == *made_of && !kept.contains(&Some(*number))
            };
            let found = self.entries.iter().find(is_it).map(|(number, _)| number);
            if found.is_none() {
                let (made_of, value) = (made_of.clone(), make(made_of)?);
                made.push(Entry { made_of, value, users: 0, is_retired: false });
            }
            kept.push(found);
        }
        let mut made = made.into_iter();
        let mut insert = || self.entries.insert(made.next().expect("one for each that is new"));
        let numbers: Vec<usize> =
            kept.into_iter().map(|found| found.unwrap_or_else(&mut insert)).collect();
        for (number, entry) in &mut self.entries {
            entry.is_retired = !numbers.contains(&number);
        }
        self.entries.retain(|_, entry| !entry.is_retired || entry.users > 0);
        Ok(numbers)
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
        }
    }

    /// How many use each entry, by number.
    pub(super) fn users(&self) -> impl Iterator<Item = (usize, u32)> {
        self.entries.iter().map(|(number, entry)| (number, entry.users))
    }
}

impl<K, T> Index<usize> for Counted<K, T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.entries[number].value
    }
}

impl<K, T> IndexMut<usize> for Counted<K, T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        &mut self.entries[number].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(wanted: &[&'static str]) -> (Counted<&'static str, String>, Vec<usize>) {
        let mut counted = Counted::new();
        let numbers = counted.update(wanted, |made_of| made_of.to_uppercase());
        (counted, numbers)
    }

    #[test]
    fn what_is_wanted_again_stays_and_the_rest_is_freed() {
        let (mut counted, numbers) = with(&["a", "b"]);
        let again = counted.update(&["b", "c"], |made_of| format!("new {made_of}"));
        assert_eq!(again[0], numbers[1]);
        assert_eq!((&*counted[again[0]], &*counted[again[1]]), ("B", "new c"));
        assert_eq!(counted.users().count(), 2);
    }

    #[test]
    fn what_is_used_outlives_being_wanted() {
        let (mut counted, numbers) = with(&["a"]);
        counted.enter(numbers[0]);
        counted.enter(numbers[0]);
        let again = counted.update(&["b"], |made_of| made_of.to_uppercase());
        assert_ne!(again[0], numbers[0], "its number is taken");
        assert_eq!(counted[numbers[0]], "A");
        counted.leave(numbers[0]);
        assert_eq!(counted[numbers[0]], "A");
        counted.leave(numbers[0]);
        assert_eq!(counted.users().collect::<Vec<_>>(), [(again[0], 0)]);
    }

    #[test]
    fn what_is_retired_is_not_wanted_again() {
        let (mut counted, numbers) = with(&["a"]);
        counted.enter(numbers[0]);
        counted.update(&[], |_| unreachable!("nothing is wanted"));
        let again = counted.update(&["a"], |_| "another".to_owned());
        assert_ne!(again[0], numbers[0], "whoever uses the first is done with it one day");
    }

    #[test]
    fn equal_ones_are_entries_of_their_own() {
        let (mut counted, numbers) = with(&["a", "a"]);
        assert_ne!(numbers[0], numbers[1]);
        let again = counted.update(&["a", "a"], |_| unreachable!("both are there"));
        assert_eq!(again, numbers);
    }
}
