//! What open connections may do, and until when, by what they were let in with.

use std::time::Duration;

use super::taken_back::{MarkedToken, TakenBack, TokenMark};
use super::token_terms::{SharedTerms, TokenTerms};
use super::{Grant, Permissions};
use crate::kernel::Slot;
use crate::memory::Paged;

/// What one connection has by its token.
#[derive(Clone, Debug, Default)]
struct Permit {
    /// What it shares with others.
    terms: u32,
    /// Until when it may be here, in seconds since 1970; 0 for ever.
    until: u32,
    /// When its token was issued, likewise; 0 if that does not say.
    issued: u32,
    /// The mark of its token, of which 48 bits are used.
    user: [u16; 3],
    id: [u16; 3],
}

const _: () = assert!(size_of::<Permit>() == 24);

/// What connections have by their tokens, and when these expire.
pub(super) struct Permits {
    entries: Paged<Permit>,
    /// By group of slots, the least `until` that was there since it was looked at last; 0 for none.
    earliest: Vec<u32>,
    shared: SharedTerms,
    slots: u32,
}

/// There is no room for what a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoomForPermissions;

/// How many slots are looked at together.
const GROUP: u32 = 64;

impl Permits {
    /// For connections in so many slots, whose permissions may hold so many bytes.
    pub(super) fn new(slots: u32, most: usize) -> Self {
        let (entries, shared) = (Paged::new(slots), SharedTerms::new(most));
        Self { entries, earliest: Vec::new(), shared, slots }
    }

    /// The most bytes that it holds for so many slots, without permissions.
    pub(super) const fn bytes(slots: u32) -> u64 {
        Paged::<Permit>::bytes(slots) + slots.div_ceil(GROUP) as u64 * 4
    }

    /// The bytes that it holds now, without permissions; and those of them.
    pub(super) fn held(&self) -> (u64, u64) {
        let bytes = self.shared.bytes() as u64;
        (self.entries.held() + self.earliest.capacity() as u64 * 4, bytes)
    }

    /// Permissions may hold so many bytes from here on. Who has some keeps them.
    pub(super) fn limit(&mut self, most: usize) {
        self.shared.limit(most);
    }

    /// Whether there is room for the permissions of a grant.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn check_room(&self, grant: &Grant) -> Result<(), NoRoomForPermissions> {
        self.shared.check_room(&TokenTerms::of(grant))
    }

    /// A connection has what its token grants, by which it is found, and no longer what it had.
    ///
    /// # Errors
    /// There is no room for its permissions: then all is as it was.
    pub(super) fn give(
        &mut self,
        slot: Slot,
        grant: &Grant,
        mark: TokenMark,
    ) -> Result<(), NoRoomForPermissions> {
        let terms = self.shared.take(TokenTerms::of(grant))?;
        // It stays as long as 32 bits count, which is until 2106.
        let until = grant.until.map_or(0, |until| u32::try_from(until).unwrap_or(u32::MAX).max(1));
        let issued = u32::try_from(grant.issued.unwrap_or_default()).unwrap_or(u32::MAX);
        self.remove(slot);
        let (user, id) = (packed(mark.user), packed(mark.id));
        *self.entries.insert(slot) = Permit { terms, until, issued, user, id };
        if until > 0 {
            if self.earliest.is_empty() {
                self.earliest = vec![0; self.slots.div_ceil(GROUP) as usize];
            }
            let earliest = &mut self.earliest[(slot / GROUP) as usize];
            *earliest = if *earliest == 0 { until } else { until.min(*earliest) };
        }
        Ok(())
    }

    fn terms(&self, slot: Slot) -> Option<&TokenTerms> {
        self.shared.get(self.entries.get(slot)?.terms)
    }

    /// What a connection's token says of topics.
    pub(super) fn permissions(&self, slot: Slot) -> Option<&Permissions> {
        self.terms(slot)?.permissions.as_deref()
    }

    /// Whose token a connection has: what the configuration calls the issuer, and the mark of the
    /// user. `None` if it has none, or one that is known by itself.
    pub(super) fn whose(&self, slot: Slot) -> Option<(&str, u64)> {
        let issuer = self.terms(slot)?.issuer.as_deref()?;
        Some((issuer, unpacked(self.entries.get(slot)?.user)))
    }

    /// Until when a connection may be here by its token, in seconds since 1970, if that ends.
    pub(super) fn until(&self, slot: Slot) -> Option<u64> {
        self.entries.get(slot).map(|permit| permit.until.into()).filter(|until| *until > 0)
    }

    /// The code that a connection is closed with for its token.
    pub(super) fn code(&self, slot: Slot) -> Option<u16> {
        self.terms(slot).map(|terms| terms.expired)
    }

    /// Whether the token of a connection has expired.
    pub(super) fn has_expired(&self, slot: Slot, now: u64) -> bool {
        self.until(slot).is_some_and(|until| now >= until)
    }

    /// Whether it was taken back.
    pub(super) fn is_taken_back(&self, slot: Slot, taken_back: &TakenBack, now: Duration) -> bool {
        let Some(permit) = self.entries.get(slot) else { return false };
        let token = MarkedToken {
            mark: TokenMark { user: unpacked(permit.user), id: unpacked(permit.id) },
            issued: permit.issued.into(),
            issuer: self.shared.get(permit.terms).and_then(|terms| terms.issuer.as_deref()),
        };
        taken_back.has_marked(&token, now)
    }

    /// A connection has ended.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(Permit { terms, .. }) = self.entries.get(slot) else { return };
        self.shared.give_back(*terms);
        self.entries.remove(slot);
    }

    /// Says the slots of connections whose token has expired at `now`, in seconds since 1970, each
    /// time anew while they are there. Where none has, 64 slots take one comparison.
    pub(super) fn find_expired(&mut self, now: u64, mut due: impl FnMut(Slot)) {
        for (group, earliest) in self.earliest.iter_mut().enumerate() {
            if *earliest == 0 || u64::from(*earliest) > now {
                continue;
            }
            let first = group as Slot * GROUP;
            let mut next = 0;
            for slot in first..first + GROUP {
                let Some(Permit { until: until @ 1.., .. }) = self.entries.get(slot) else {
                    continue;
                };
                if u64::from(*until) <= now {
                    due(slot);
                }
                next = if next == 0 { *until } else { next.min(*until) };
            }
            *earliest = next;
        }
    }

    /// Whether nobody has anything.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.shared.is_empty()
    }
}

fn packed(mark: u64) -> [u16; 3] {
    [mark as u16, (mark >> 16) as u16, (mark >> 32) as u16]
}

fn unpacked([low, middle, high]: [u16; 3]) -> u64 {
    u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;

    use super::*;
    use crate::checks::token_terms::SHARED;
    use crate::config::TopicPattern;

    fn permissions(pattern: &str) -> Arc<Permissions> {
        let subscribe = Some(Box::from([TopicPattern::new(pattern).expect("a pattern")]));
        Arc::new(Permissions { subscribe, publish: None })
    }

    fn grant(pattern: Option<&str>, until: Option<u64>) -> Grant {
        let permissions = pattern.map(permissions);
        Grant { permissions, until, expired: 4401, ..Grant::default() }
    }

    /// Without a mark.
    fn give(permits: &mut Permits, slot: Slot, grant: &Grant) -> Result<(), NoRoomForPermissions> {
        permits.give(slot, grant, TokenMark::default())
    }

    #[test]
    fn a_mark_is_what_it_was() {
        for mark in [0, 1, 0xffff, 0x1234_5678_9abc, (1 << 48) - 1] {
            assert_eq!(unpacked(packed(mark)), mark);
        }
    }

    #[test]
    fn what_is_the_same_for_many_is_there_once() {
        let each = SHARED + permissions("a/*").bytes();
        let mut permits = Permits::new(300, 2 * each);
        for slot in 0..300 {
            give(&mut permits, slot, &grant(Some("a/*"), None)).expect("it is shared");
        }
        assert_eq!(permits.held().1, each as u64);
        give(&mut permits, 7, &grant(Some("b/*"), None)).expect("room for two");
        assert_eq!(give(&mut permits, 8, &grant(Some("c/*"), None)), Err(NoRoomForPermissions));
        assert_eq!(permits.permissions(8), Some(&*permissions("a/*")), "it is as it was");
        assert_eq!(permits.permissions(7), Some(&*permissions("b/*")));
        permits.remove(7);
        give(&mut permits, 8, &grant(Some("c/*"), None)).expect("room again");
        (0..300).for_each(|slot| permits.remove(slot));
        assert!(permits.is_empty() && permits.permissions(8).is_none());
    }

    proptest! {
        #[test]
        fn who_has_expired_is_found_and_nobody_else(
            actions in prop::collection::vec((0..200_u32, prop::option::of(1..50_u64)), 1..300),
            times in prop::collection::vec(1..5_u64, 1..20),
        ) {
            let mut permits = Permits::new(200, 0);
            let mut model: Vec<Option<u64>> = vec![None; 200];
            let mut now = 0;
            let mut chunks = actions.chunks(20);
            for step in times {
                for (slot, until) in chunks.next().unwrap_or_default() {
                    match until {
                        Some(until) => {
                            let given = give(&mut permits, *slot, &grant(None, Some(*until)));
                            given.expect("it has no permissions");
                        }
                        None => permits.remove(*slot),
                    }
                    model[*slot as usize] = *until;
                }
                now += step;
                let mut due = Vec::new();
                permits.find_expired(now, |slot| due.push(slot));
                let expected: Vec<Slot> = (0..200)
                    .filter(|slot| model[*slot as usize].is_some_and(|until| until <= now))
                    .collect();
                prop_assert_eq!(&due, &expected);
                for slot in 0..200 {
                    prop_assert_eq!(permits.has_expired(slot, now), expected.contains(&slot));
                }
                // They are closed.
                for slot in due {
                    permits.remove(slot);
                    model[slot as usize] = None;
                }
            }
        }
    }
}
