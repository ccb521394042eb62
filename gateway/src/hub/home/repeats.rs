//! What was published with a key, so that the same again is not published once more.
//!
//! Who has published something and heard no answer cannot know whether it was published, and sends
//! it again. The key says that it is the same. Of a key a hash of 128 bits is kept, whose seed
//! nobody outside knows, and what was answered; for a time, and of a number of keys.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;

use crate::hub::Published;

/// The hash of a key, with the topic and whose key it is.
pub(crate) type RepeatKey = u128;

/// What is kept of a key.
struct RepeatEntry {
    key: RepeatKey,
    at: Duration,
    published: Published,
}

/// The keys of a home's topics.
pub(crate) struct Repeats {
    /// The oldest first.
    entries: VecDeque<RepeatEntry>,
    /// Their numbers, by key: what comes first has the number `first`.
    by_key: HashTable<u32>,
    /// Counts up, and around.
    first: u32,
    most: u32,
    age: Duration,
}

impl Repeats {
    /// Bytes of a key, with its place among the others.
    pub(crate) const KEY_BYTES: usize = size_of::<RepeatEntry>();
    /// Bytes of its place in the table.
    pub(crate) const PLACE_BYTES: usize = size_of::<u32>();

    /// Up to `most` keys are kept, each for so long; none if that is 0.
    pub(crate) fn new(most: u32, age: Duration) -> Self {
        Self { entries: VecDeque::new(), by_key: HashTable::new(), first: 0, most, age }
    }

    /// How long a key is kept.
    pub(crate) fn age(&self) -> Duration {
        self.age
    }

    /// How many keys are kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What was answered to the first message of this key, if that is kept.
    pub(crate) fn find(&mut self, key: RepeatKey, now: Duration) -> Option<Published> {
        self.expire(now);
        let number = *self.by_key.find(key as u64, |number| self.entry(*number).key == key)?;
        let Published { connections, position, .. } = self.entry(number).published;
        Some(Published { connections, position, repeated: true })
    }

    /// A message of a key that is not kept was published. Returns whether an older key has gone for
    /// it, before its time.
    pub(crate) fn keep(&mut self, key: RepeatKey, published: Published, now: Duration) -> bool {
        if self.most == 0 {
            return false;
        }
        let is_full = self.entries.len() >= self.most as usize;
        if is_full {
            self.forget_oldest();
        }
        let number = self.first.wrapping_add(self.entries.len() as u32);
        self.entries.push_back(RepeatEntry { key, at: now, published });
        let (entries, first) = (&self.entries, self.first);
        self.by_key.insert_unique(key as u64, number, |number| {
            entries[number.wrapping_sub(first) as usize].key as u64
        });
        is_full
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Duration) {
        let age = self.age;
        let is_old = |entry: &RepeatEntry| now.saturating_sub(entry.at) > age;
        while self.entries.front().is_some_and(is_old) {
            self.forget_oldest();
        }
    }

    fn entry(&self, number: u32) -> &RepeatEntry {
        &self.entries[number.wrapping_sub(self.first) as usize]
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        let number = self.first;
        if let Ok(found) = self.by_key.find_entry(oldest.key as u64, |other| *other == number) {
            found.remove();
        }
        self.first = self.first.wrapping_add(1);
        if self.entries.is_empty() {
            // Nobody publishes with keys: nothing is held.
            self.entries.shrink_to(MOST_IDLE);
        }
    }

    /// Checks that each key is found, and that there are no more than may be.
    ///
    /// # Panics
    /// It is not so.
    pub(crate) fn check(&self) {
        assert_eq!(self.by_key.len(), self.entries.len(), "keys that are found");
        assert!(self.entries.len() <= self.most as usize, "{} keys", self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let number = self.first.wrapping_add(at as u32);
            let found = self.by_key.find(entry.key as u64, |other| *other == number);
            assert!(found.is_some(), "key {at} is not found");
        }
    }
}

/// Places for keys that stay while there are none.
const MOST_IDLE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn published(connections: u64) -> Published {
        Published { connections, position: None, repeated: false }
    }

    #[test]
    fn a_key_is_kept_for_its_time_and_while_there_is_room() {
        let second = Duration::from_secs;
        let mut repeats = Repeats::new(2, second(10));
        repeats.first = u32::MAX;
        assert_eq!(repeats.find(1, second(0)), None);
        assert!(!repeats.keep(1, published(7), second(0)));
        assert!(!repeats.keep(2, published(8), second(5)));
        let first = Published { repeated: true, ..published(7) };
        assert_eq!(repeats.find(1, second(10)), Some(first), "until its time is over");
        repeats.check();
        assert_eq!(repeats.find(1, second(11)), None);
        assert!(!repeats.keep(3, published(9), second(12)), "there was room");
        assert!(repeats.keep(4, published(9), second(13)), "the oldest goes");
        repeats.check();
        assert_eq!(repeats.find(2, second(13)), None);
        assert_eq!(repeats.find(3, second(13)), Some(Published { repeated: true, ..published(9) }));
        repeats.expire(second(100));
        assert_eq!(repeats.len(), 0);
        repeats.check();
    }

    #[test]
    fn two_keys_with_half_a_hash_in_common_are_two() {
        let mut repeats = Repeats::new(4, Duration::from_secs(10));
        repeats.keep(1, published(1), Duration::ZERO);
        assert_eq!(repeats.find(1 | 1 << 64, Duration::ZERO), None);
        let mut none = Repeats::new(0, Duration::from_secs(10));
        assert!(!none.keep(1, published(1), Duration::ZERO));
        assert_eq!(none.find(1, Duration::ZERO), None);
    }
}
