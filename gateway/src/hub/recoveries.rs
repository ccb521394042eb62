//! How far those have got who came back: a cursor for each subscription that gets what it missed,
//! as long as the subscription is there and has not got to the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fetch, Subscribed};
use crate::kernel::{Slot, SlotSet};
use crate::names::Position;

/// Which subscription: by slot and by the topic's hash.
pub(crate) type Key = (Slot, u64);

/// One subscription that gets what it missed.
struct Cursor {
    whose: Subscribed,
    /// The message that it was told last.
    behind: Position,
    /// The next portion was asked for, and has not been told.
    is_asked: bool,
}

/// All of them.
pub(crate) struct Recoveries {
    cursors: BTreeMap<Key, Cursor>,
    /// Slots with cursors for which nothing waits, so that the next portion can be asked for.
    hungry: SlotSet,
    /// Cursors whose next portion was asked for.
    asked: u64,
}

impl Recoveries {
    /// Bytes of a cursor and of its place in the tree, whose nodes are half full at least.
    pub(crate) const CURSOR_BYTES: usize = 2 * (size_of::<Cursor>() + size_of::<Key>());

    pub(super) fn new(slots: u32) -> Self {
        Self { cursors: BTreeMap::new(), hungry: SlotSet::new(slots), asked: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.cursors.len()
    }

    /// How many portions were asked for and have not been told.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    /// How many slots could ask for more.
    pub(crate) fn hungry(&self) -> usize {
        self.hungry.len()
    }

    /// Takes out a slot that could ask for more.
    pub(crate) fn next_hungry(&mut self) -> Option<Slot> {
        self.hungry.pop()
    }

    /// The slot asks for more at the next opportunity, if anything of it recovers.
    pub(crate) fn is_fed(&mut self, slot: Slot) {
        if !self.cursors.is_empty() && self.keys_of(slot).next().is_some() {
            self.hungry.insert(slot);
        }
    }

    /// Whether a subscription was told where it stands, and is told what it missed.
    pub(crate) fn is_under_way(&self, key: Key) -> bool {
        self.cursors.contains_key(&key)
    }

    /// A subscription has yet to be told what is kept behind a message.
    pub(crate) fn begin(&mut self, whose: &Subscribed, behind: Position) {
        let key = whose.key();
        self.remove(key);
        self.cursors.insert(key, Cursor { whose: whose.clone(), behind, is_asked: false });
        self.hungry.insert(key.0);
    }

    /// What a slot could ask for now.
    pub(crate) fn unasked(&self, slot: Slot) -> Vec<Key> {
        let of_slot = self.cursors.range((slot, 0)..=(slot, u64::MAX));
        of_slot.filter(|(_, cursor)| !cursor.is_asked).map(|(key, _)| *key).collect()
    }

    /// What is to be asked for next for a cursor.
    pub(crate) fn get(&self, key: Key) -> Option<Fetch> {
        let Cursor { whose, behind, .. } = self.cursors.get(&key)?;
        Some(Fetch { whose: whose.clone(), behind: *behind })
    }

    /// The next portion is asked for.
    pub(crate) fn ask(&mut self, key: Key) {
        self.set_asked(key, true);
    }

    /// Whether this subscription has asked for a portion. It may have ended since, and another
    /// begun.
    pub(crate) fn awaits(&self, whose: &Subscribed) -> bool {
        let is_its = |cursor: &Cursor| {
            cursor.is_asked
                && cursor.whose.address == whose.address
                && cursor.whose.serial == whose.serial
        };
        self.cursors.get(&whose.key()).is_some_and(is_its)
    }

    /// A portion could not be told: it is asked for once more.
    pub(crate) fn ask_again(&mut self, key: Key) {
        self.set_asked(key, false);
        self.is_fed(key.0);
    }

    /// A portion was told: the next one begins behind this message.
    pub(crate) fn goes_on(&mut self, key: Key, behind: Position) {
        self.set_asked(key, false);
        if let Some(cursor) = self.cursors.get_mut(&key) {
            cursor.behind = behind;
            self.hungry.insert(key.0);
        }
    }

    /// The subscription has got to the end, or has ended.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(cursor) = self.cursors.remove(&key) {
            self.asked -= u64::from(cursor.is_asked);
            if self.keys_of(key.0).next().is_none() {
                self.hungry.remove(key.0);
            }
        }
    }

    fn keys_of(&self, slot: Slot) -> impl Iterator<Item = Key> {
        self.cursors.range((slot, 0)..=(slot, u64::MAX)).map(|(key, _)| *key)
    }

    fn set_asked(&mut self, key: Key, is_asked: bool) {
        if let Some(cursor) = self.cursors.get_mut(&key) {
            self.asked -= u64::from(cursor.is_asked);
            self.asked += u64::from(is_asked);
            cursor.is_asked = is_asked;
        }
    }

    /// Checks that what is asked for is counted, and that each cursor is one of a subscription that
    /// waits for what it missed.
    ///
    /// # Panics
    /// It is not so.
    pub(crate) fn check(&self, waits: impl Fn(&Subscribed) -> bool) {
        let asked = self.cursors.values().filter(|cursor| cursor.is_asked).count();
        assert_eq!(asked as u64, self.asked, "portions that were asked for");
        for (key, cursor) in &self.cursors {
            let name = &cursor.whose.name;
            assert!(waits(&cursor.whose), "slot {} recovers without a subscription: {name}", key.0);
        }
        let slots: BTreeSet<Slot> = self.cursors.keys().map(|key| key.0).collect();
        let hungry = slots.into_iter().filter(|slot| self.hungry.contains(*slot)).count();
        assert_eq!(hungry, self.hungry.len(), "slots that ask for more have something to ask for");
    }
}
