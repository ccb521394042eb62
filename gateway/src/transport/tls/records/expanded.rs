//! Keys that stay expanded between two bursts, of connections that have many of them.

use aws_lc_rs::aead::LessSafeKey;

use crate::kernel::Slot;

/// What a key has beside its place, in bytes: the library's context, which is on its heap.
const ON_THE_HEAP: u64 = 640;

/// Nobody's slot.
const NOBODY: Slot = Slot::MAX;

/// Expanded keys of one direction, by the remainder of their connections' slots. A place is its
/// owner's until somebody else has asked for a key there twice and the owner not once in between:
/// where very many have bursts in turn, the keys that are here stay, and nothing is made for them
/// but what would be made without this.
pub(super) struct ExpandedKeys {
    places: Vec<KeyPlace>,
    /// How many places there are once somebody has asked.
    most: u32,
    /// How many of them have a key.
    count: u32,
}

struct KeyPlace {
    owner: Slot,
    /// Who has asked last, if that was not the owner.
    last: Slot,
    key: Option<LessSafeKey>,
}

impl ExpandedKeys {
    /// None yet, in as many places as may have one.
    pub(super) fn new(most: u32) -> Self {
        Self { places: Vec::new(), most, count: 0 }
    }

    /// The most bytes that so many take.
    pub(super) const fn bytes(most: u32) -> u64 {
        most as u64 * (size_of::<KeyPlace>() as u64 + ON_THE_HEAP)
    }

    /// The bytes that are held now.
    pub(super) fn held(&self) -> u64 {
        let places = self.places.capacity() * size_of::<KeyPlace>();
        places as u64 + u64::from(self.count) * ON_THE_HEAP
    }

    fn place(&mut self, slot: Slot) -> Option<&mut KeyPlace> {
        let place = slot.checked_rem(self.most)?;
        self.places.get_mut(place as usize)
    }

    /// Takes the key of a connection, if it is here.
    pub(super) fn take(&mut self, slot: Slot) -> Option<LessSafeKey> {
        let place = self.place(slot)?;
        let key = if place.owner == slot { place.key.take() } else { None };
        self.count -= u32::from(key.is_some());
        key
    }

    /// Keeps the key with which a connection goes on, or drops it.
    pub(super) fn keep(&mut self, slot: Slot, key: LessSafeKey) {
        if self.places.is_empty() {
            self.places.reserve_exact(self.most as usize);
            let nobodys = || KeyPlace { owner: NOBODY, last: NOBODY, key: None };
            self.places.resize_with(self.most as usize, nobodys);
        }
        let Some(place) = self.place(slot) else { return };
        if place.owner != slot && place.last != slot {
            place.last = slot;
            return;
        }
        (place.owner, place.last) = (slot, NOBODY);
        let is_new = place.key.replace(key).is_none();
        self.count += u32::from(is_new);
    }

    /// Drops the key of a connection that has ended, or is another.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.take(slot);
        if let Some(place) = self.place(slot) {
            for name in [&mut place.owner, &mut place.last] {
                if *name == slot {
                    *name = NOBODY;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::Suite;
    use super::*;

    fn key() -> LessSafeKey {
        Suite::Aes128Gcm.expand(&[0; 16])
    }

    /// Has a burst; whether its key was here.
    fn burst(keys: &mut ExpandedKeys, slot: Slot) -> bool {
        let kept = keys.take(slot);
        let was_here = kept.is_some();
        keys.keep(slot, kept.unwrap_or_else(key));
        was_here
    }

    /// Whether the key of each burst was here, one after the other.
    fn bursts<const N: usize>(keys: &mut ExpandedKeys, slots: [Slot; N]) -> [bool; N] {
        slots.map(|slot| burst(keys, slot))
    }

    #[test]
    fn a_key_stays_of_whoever_comes_twice() {
        let mut keys = ExpandedKeys::new(4);
        let were_here = bursts(&mut keys, [1, 1, 1, 2, 1, 2]);
        assert_eq!(were_here, [false, false, true, false, true, false]);
    }

    #[test]
    fn many_in_turn_leave_a_key_where_it_is_and_one_who_stays_takes_its_place() {
        let mut keys = ExpandedKeys::new(4);
        bursts(&mut keys, [1, 1]);
        assert!((5..100).step_by(4).all(|slot| !burst(&mut keys, slot)));
        assert!(burst(&mut keys, 1));
        // Between two of another's bursts the owner has one of its own.
        assert_eq!(bursts(&mut keys, [5, 1, 5, 1, 5]), [false, true, false, true, false]);
        assert_eq!(bursts(&mut keys, [5, 5, 1]), [false, true, false]);
    }

    #[test]
    fn who_is_forgotten_has_to_come_twice_again() {
        let mut keys = ExpandedKeys::new(4);
        bursts(&mut keys, [1, 1]);
        keys.forget(5);
        keys.forget(1);
        assert_eq!(bursts(&mut keys, [1, 1, 1]), [false, false, true]);
    }

    #[test]
    fn what_is_held_is_what_is_used() {
        let mut keys = ExpandedKeys::new(4);
        assert_eq!(keys.held(), 0, "whoever has none pays nothing");
        for slot in [0, 1, 2, 3] {
            bursts(&mut keys, [slot; 3]);
        }
        assert_eq!(keys.held(), ExpandedKeys::bytes(4));
        keys.forget(2);
        assert_eq!(keys.held(), ExpandedKeys::bytes(4) - ON_THE_HEAP);
        let mut none = ExpandedKeys::new(0);
        assert_eq!(bursts(&mut none, [7; 3]), [false; 3]);
    }
}
