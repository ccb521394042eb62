//! What was published with a key, so that the same again is not published once more.
//!
//! Who has published something and heard no answer cannot know whether it was published, and sends
//! it again. The key says that it is the same. Of a key a hash of 128 bits is kept, whose seed
//! nobody outside knows, and what was answered; for a time, and of a number of keys. When there are
//! so many, who has most of them, of those to whom the oldest belong, loses its own oldest.

use std::time::Duration;

use hashbrown::HashTable;
use slab::Slab;

use crate::hub::Published;

/// The hash of a key, with the topic and whose key it is.
pub(crate) type RepeatKey = u128;

/// A key that is about to be kept.
#[derive(Clone, Copy)]
pub(crate) struct Repeatable {
    pub(crate) key: RepeatKey,
    /// The hash of whose it is.
    pub(crate) whose: u64,
}

/// How many of the oldest keys are looked at to find whose goes.
const LOOKED_AT: usize = 64;

/// No entry.
const NONE: u32 = u32::MAX;

/// What is kept of a key.
struct RepeatEntry {
    key: RepeatKey,
    at: Duration,
    published: Published,
    whose: u64,
    /// The one before it, and the one behind it, of all.
    older: u32,
    newer: u32,
    /// The one behind it of the same publisher.
    next_own: u32,
}

/// Whose keys are kept.
struct KeyHolder {
    whose: u64,
    /// How many: one at least.
    count: u32,
    oldest: u32,
    newest: u32,
}

/// The keys of a home's topics.
pub(crate) struct Repeats {
    entries: Slab<RepeatEntry>,
    by_key: HashTable<u32>,
    holders: HashTable<KeyHolder>,
    /// The ends of the list of all.
    oldest: u32,
    newest: u32,
    most: u32,
    age: Duration,
}

impl Repeats {
    /// Bytes of a key, with its place among the others.
    pub(crate) const KEY_BYTES: usize = size_of::<(RepeatEntry, usize)>();
    /// Bytes of its place in the table.
    pub(crate) const PLACE_BYTES: usize = size_of::<u32>();
    /// Bytes of whoever holds some.
    pub(crate) const HOLDER_BYTES: usize = size_of::<KeyHolder>();

    /// Up to `most` keys are kept, each for so long; none if that is 0.
    pub(crate) fn new(most: u32, age: Duration) -> Self {
        Self {
            entries: Slab::new(),
            by_key: HashTable::new(),
            holders: HashTable::new(),
            oldest: NONE,
            newest: NONE,
            most,
            age,
        }
    }

    /// How long a key is kept; zero if none is.
    pub(crate) fn age(&self) -> Duration {
        if self.most == 0 { Duration::ZERO } else { self.age }
    }

    /// How many keys are kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What was answered to the first message of this key, if that is kept.
    pub(crate) fn find(&mut self, key: RepeatKey, now: Duration) -> Option<Published> {
        self.expire(now);
        let at = *self.by_key.find(key as u64, |at| self.entries[*at as usize].key == key)?;
        let Published { connections, position, .. } = self.entries[at as usize].published;
        Some(Published { connections, position, repeated: true })
    }

    /// A message of a key that is not kept was published. Returns whether an older key has gone for
    /// it, before its time.
    pub(crate) fn keep(&mut self, one: Repeatable, published: Published, now: Duration) -> bool {
        if self.most == 0 {
            return false;
        }
        let is_full = self.entries.len() >= self.most as usize;
        if is_full {
            self.forget(self.yielding());
        }
        let Repeatable { key, whose } = one;
        let (older, newer, next_own) = (self.newest, NONE, NONE);
        let entry = RepeatEntry { key, at: now, published, whose, older, newer, next_own };
        let at = self.entries.insert(entry) as u32;
        match self.entries.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
        let entries = &self.entries;
        self.by_key.insert_unique(key as u64, at, |at| entries[*at as usize].key as u64);
        self.count_for(whose, at);
        is_full
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(oldest) = self.entries.get(self.oldest as usize)
            && now.saturating_sub(oldest.at) > self.age
        {
            self.forget(self.oldest);
        }
        if self.entries.is_empty() && self.entries.capacity() > MOST_IDLE {
            // Nobody publishes with keys: nothing is held.
            *self = Self::new(self.most, self.age);
        }
    }

    /// Which key goes for one more: of the publishers of the oldest ones, the oldest of whoever has
    /// most.
    fn yielding(&self) -> u32 {
        let (mut at, mut found, mut most) = (self.oldest, self.oldest, 0);
        for _ in 0..LOOKED_AT {
            let Some(entry) = self.entries.get(at as usize) else { break };
            let whose = entry.whose;
            if let Some(holder) = self.holders.find(whose, |holder| holder.whose == whose)
                && holder.count > most
            {
                (found, most) = (holder.oldest, holder.count);
            }
            at = entry.newer;
        }
        found
    }

    /// One more key of a publisher.
    fn count_for(&mut self, whose: u64, at: u32) {
        if let Some(holder) = self.holders.find_mut(whose, |holder| holder.whose == whose) {
            self.entries[holder.newest as usize].next_own = at;
            holder.newest = at;
            holder.count += 1;
            return;
        }
        let holder = KeyHolder { whose, count: 1, oldest: at, newest: at };
        self.holders.insert_unique(whose, holder, |holder| holder.whose);
    }

    /// Forgets a key, which is the oldest of its publisher.
    fn forget(&mut self, at: u32) {
        let Some(entry) = self.entries.try_remove(at as usize) else { return };
        match self.entries.get_mut(entry.older as usize) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match self.entries.get_mut(entry.newer as usize) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        if let Ok(found) = self.by_key.find_entry(entry.key as u64, |other| *other == at) {
            found.remove();
        }
        let whose = entry.whose;
        if let Ok(mut found) = self.holders.find_entry(whose, |holder| holder.whose == whose) {
            let holder = found.get_mut();
            holder.count -= 1;
            holder.oldest = entry.next_own;
            if holder.count == 0 {
                found.remove();
            }
        }
    }

    /// Checks that each key is found, that there are no more than may be, and that each is counted
    /// for its publisher.
    ///
    /// # Panics
    /// It is not so.
    pub(crate) fn check(&self) {
        assert_eq!(self.by_key.len(), self.entries.len(), "keys that are found");
        assert!(self.entries.len() <= self.most as usize, "{} keys", self.entries.len());
        let (mut at, mut before, mut count) = (self.oldest, NONE, 0);
        while let Some(entry) = self.entries.get(at as usize) {
            let found = self.by_key.find(entry.key as u64, |other| *other == at);
            assert!(found.is_some() && entry.older == before, "key {at} is not found");
            (before, at, count) = (at, entry.newer, count + 1);
        }
        assert_eq!((before, count), (self.newest, self.entries.len()), "the list of all");
        let mut counted = 0;
        for holder in &self.holders {
            let mut own = holder.oldest;
            for _ in 0..holder.count {
                assert_eq!(self.entries[own as usize].whose, holder.whose, "whose key it is");
                counted += 1;
                own = self.entries[own as usize].next_own;
            }
            assert!(holder.count > 0 && own == NONE, "the keys of one");
        }
        assert_eq!(counted, self.entries.len(), "the keys of all");
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

    fn of(whose: u64, key: RepeatKey) -> Repeatable {
        Repeatable { key, whose }
    }

    #[test]
    fn a_key_is_kept_for_its_time_and_while_there_is_room() {
        let second = Duration::from_secs;
        let mut repeats = Repeats::new(2, second(10));
        assert_eq!(repeats.find(1, second(0)), None);
        assert!(!repeats.keep(of(0, 1), published(7), second(0)));
        assert!(!repeats.keep(of(0, 2), published(8), second(5)));
        let first = Published { repeated: true, ..published(7) };
        assert_eq!(repeats.find(1, second(10)), Some(first), "until its time is over");
        repeats.check();
        assert_eq!(repeats.find(1, second(11)), None);
        assert!(!repeats.keep(of(0, 3), published(9), second(12)), "there was room");
        assert!(repeats.keep(of(0, 4), published(9), second(13)), "the oldest goes");
        repeats.check();
        assert_eq!(repeats.find(2, second(13)), None);
        assert_eq!(repeats.find(3, second(13)), Some(Published { repeated: true, ..published(9) }));
        repeats.expire(second(100));
        assert_eq!((repeats.len(), repeats.oldest, repeats.newest), (0, NONE, NONE));
        repeats.check();
    }

    #[test]
    fn whoever_has_most_loses_its_own() {
        let mut repeats = Repeats::new(100, Duration::from_secs(10));
        let now = Duration::ZERO;
        for key in 0..10 {
            repeats.keep(of(1, key), published(0), now);
        }
        for key in 1000..2000 {
            repeats.keep(of(2, key), published(0), now);
            repeats.check();
        }
        let kept = |repeats: &mut Repeats, keys: std::ops::Range<u128>| {
            keys.filter(|key| repeats.find(*key, now).is_some()).count()
        };
        assert_eq!(kept(&mut repeats, 0..10), 10, "a flood of another");
        assert!(repeats.find(1909, now).is_none() && repeats.find(1910, now).is_some());
        for key in 3000..3020 {
            assert!(repeats.keep(of(3, key), published(0), now));
        }
        assert_eq!(kept(&mut repeats, 0..10), 10, "nor do others' first ones take them");
        assert_eq!(kept(&mut repeats, 1000..2000), 70);
        for key in 4000..4090 {
            repeats.keep(of(key as u64, key), published(0), now);
            repeats.check();
        }
        assert!(kept(&mut repeats, 0..10) > 0, "all have few now");
        assert_eq!(repeats.len(), 100);
    }

    #[test]
    fn two_keys_with_half_a_hash_in_common_are_two() {
        let mut repeats = Repeats::new(4, Duration::from_secs(10));
        repeats.keep(of(0, 1), published(1), Duration::ZERO);
        assert_eq!(repeats.find(1 | 1 << 64, Duration::ZERO), None);
        let mut none = Repeats::new(0, Duration::from_secs(10));
        assert!(!none.keep(of(0, 1), published(1), Duration::ZERO));
        assert_eq!(none.find(1, Duration::ZERO), None);
    }
}
