//! What open connections may do, and until when, by what they were let in with.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Grant, Permissions};
use crate::kernel::Slot;
use crate::memory::Paged;

/// What one connection has by its token.
#[derive(Clone, Debug, Default)]
struct Permit {
    permissions: Option<Arc<Permissions>>,
    /// Until when it may be here, in seconds since 1970; 0 for ever.
    until: u32,
    /// The code that it is closed with then.
    expired: u16,
}

const _: () = assert!(size_of::<Permit>() == 16);

/// What connections have by their tokens, and when these expire.
pub(super) struct Permits {
    entries: Paged<Permit>,
    /// By group of slots, the least `until` that was there since it was looked at last; 0 for none.
    earliest: Vec<u32>,
    /// Permissions that some connection has: those that are the same for many are there once.
    shared: HashSet<Arc<Permissions>>,
    /// The bytes of these, and the most that they may have.
    bytes: usize,
    most: usize,
    slots: u32,
}

/// There is no room for what a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoomForPermissions;

/// How many slots are looked at together.
const GROUP: u32 = 64;

/// What one of the permissions that are shared takes beside itself, counted high.
const SHARED: usize = 3 * (size_of::<Arc<Permissions>>() + 1);

impl Permits {
    /// For connections in so many slots, whose permissions may hold so many bytes.
    pub(super) fn new(slots: u32, most: usize) -> Self {
        Self {
            entries: Paged::new(slots),
            earliest: Vec::new(),
            shared: HashSet::default(),
            bytes: 0,
            most,
            slots,
        }
    }

    /// The most bytes that it holds for so many slots, without permissions.
    pub(super) const fn bytes(slots: u32) -> u64 {
        Paged::<Permit>::bytes(slots) + slots.div_ceil(GROUP) as u64 * 4
    }

    /// The bytes that it holds now, without permissions; and those of them.
    pub(super) fn held(&self) -> (u64, u64) {
        (self.entries.held() + self.earliest.capacity() as u64 * 4, self.bytes as u64)
    }

    /// Permissions may hold so many bytes from here on. Who has some keeps them.
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Whether there is room for the permissions of a grant.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn check_room(&self, grant: &Grant) -> Result<(), NoRoomForPermissions> {
        match &grant.permissions {
            Some(permissions) if !self.shared.contains(permissions) => {
                let added = SHARED + permissions.bytes();
                if self.bytes + added > self.most { Err(NoRoomForPermissions) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// A connection has what its token grants, and no longer what it had.
    ///
    /// # Errors
    /// There is no room for its permissions: then all is as it was.
    pub(super) fn give(&mut self, slot: Slot, grant: &Grant) -> Result<(), NoRoomForPermissions> {
        self.check_room(grant)?;
        let permissions = grant.permissions.as_ref().map(|wanted| self.share(wanted));
        // It stays as long as 32 bits count, which is until 2106.
        let until = grant.until.map_or(0, |until| u32::try_from(until).unwrap_or(u32::MAX).max(1));
        self.remove(slot);
        *self.entries.insert(slot) = Permit { permissions, until, expired: grant.expired };
        if until > 0 {
            if self.earliest.is_empty() {
                self.earliest = vec![0; self.slots.div_ceil(GROUP) as usize];
            }
            let earliest = &mut self.earliest[(slot / GROUP) as usize];
            *earliest = if *earliest == 0 { until } else { until.min(*earliest) };
        }
        Ok(())
    }

    fn share(&mut self, wanted: &Arc<Permissions>) -> Arc<Permissions> {
        if let Some(shared) = self.shared.get(wanted) {
            return Arc::clone(shared);
        }
        // One of its own: the grant may be remembered elsewhere, and is counted there.
        let shared = Arc::new(Permissions::clone(wanted));
        self.bytes += SHARED + shared.bytes();
        self.shared.insert(Arc::clone(&shared));
        shared
    }

    /// What a connection's token says of topics.
    pub(super) fn permissions(&self, slot: Slot) -> Option<&Permissions> {
        self.entries.get(slot)?.permissions.as_deref()
    }

    /// The code that a connection is closed with whose token has expired.
    pub(super) fn expired(&self, slot: Slot, now: u64) -> Option<u16> {
        let permit = self.entries.get(slot)?;
        (permit.until > 0 && now >= permit.until.into()).then_some(permit.expired)
    }

    /// A connection has ended.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(permit) = self.entries.get_mut(slot) else { return };
        let permissions = permit.permissions.take();
        self.entries.remove(slot);
        // It, and the one in the set, are the last two.
        if let Some(permissions) = permissions
            && Arc::strong_count(&permissions) == 2
        {
            self.shared.remove(&permissions);
            self.bytes -= SHARED + permissions.bytes();
        }
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
        self.entries.is_empty() && self.shared.is_empty() && self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::TopicPattern;

    fn permissions(pattern: &str) -> Arc<Permissions> {
        let subscribe = Some(Box::from([TopicPattern::new(pattern).expect("a pattern")]));
        Arc::new(Permissions { subscribe, publish: None })
    }

    fn grant(pattern: Option<&str>, until: Option<u64>) -> Grant {
        let permissions = pattern.map(permissions);
        Grant { permissions, until, expired: 4401, ..Grant::default() }
    }

    #[test]
    fn what_is_the_same_for_many_is_there_once() {
        let each = SHARED + permissions("a/*").bytes();
        let mut permits = Permits::new(300, 2 * each);
        for slot in 0..300 {
            permits.give(slot, &grant(Some("a/*"), None)).expect("it is shared");
        }
        assert_eq!(permits.held().1, each as u64);
        permits.give(7, &grant(Some("b/*"), None)).expect("room for two");
        assert_eq!(permits.give(8, &grant(Some("c/*"), None)), Err(NoRoomForPermissions));
        assert_eq!(permits.permissions(8), Some(&*permissions("a/*")), "it is as it was");
        assert_eq!(permits.permissions(7), Some(&*permissions("b/*")));
        permits.remove(7);
        permits.give(8, &grant(Some("c/*"), None)).expect("room again");
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
                            let given = permits.give(*slot, &grant(None, Some(*until)));
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
                    let is_due = expected.contains(&slot).then_some(4401);
                    prop_assert_eq!(permits.expired(slot, now), is_due);
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
