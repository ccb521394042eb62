//! What the shards of a gateway say to each other without mail: numbers that all of them see.

use std::sync::atomic::{AtomicU32, Ordering};

use super::door::Common;

/// One shard's part of it.
pub(crate) struct Neighbours {
    common: Common,
    /// Which shard.
    index: usize,
    /// This shard has said that publishers should pause.
    is_pressing: bool,
    /// This shard has said that very much of its mail waits.
    is_overfull: bool,
}

impl Neighbours {
    pub(super) fn new(common: Common, index: usize) -> Self {
        Self { common, index, is_pressing: false, is_overfull: false }
    }

    /// Whether some shard has said that publishers should pause.
    pub(super) fn are_pressing(&self) -> bool {
        self.common.pressing.load(Ordering::Relaxed) > 0
    }

    /// Whether some shard has said that very much of its mail waits.
    pub(super) fn are_overfull(&self) -> bool {
        self.common.overfull.load(Ordering::Relaxed) > 0
    }

    /// Says to all shards whether very much of this one's mail waits.
    pub(super) fn say_overfull(&mut self, is_overfull: bool) {
        say(&self.common.overfull, &mut self.is_overfull, is_overfull);
    }

    /// Says to all shards that so much waits for connections of this one that publishers should
    /// pause, or that it does no longer.
    pub(crate) fn press(&mut self, is_pressing: bool) {
        say(&self.common.pressing, &mut self.is_pressing, is_pressing);
    }

    /// Shows the other shards how many connections more this one could serve.
    pub(crate) fn show_room(&self, room: u32) {
        self.common.room[self.index].store(room, Ordering::Relaxed);
    }

    /// This shard has accepted a connection that waits for a slot, as one that another shard gave
    /// to it would.
    pub(crate) fn keeps_place(&self) {
        self.common.handed[self.index].fetch_add(1, Ordering::AcqRel);
    }

    /// A connection that another shard gave to this one has its slot, and the room that this one
    /// shows is without it.
    pub(crate) fn has_taken_over(&self) {
        self.give_place_back(self.index);
    }

    /// Nobody comes for a place that was claimed in a shard, or it is taken.
    pub(crate) fn give_place_back(&self, shard: usize) {
        // Who sees this sees the room that was shown before.
        self.common.handed[shard].fetch_sub(1, Ordering::Release);
    }

    /// Claims a place in the other shard that has most room, if any has some. Never are more
    /// claimed than it showed; connections that it accepted itself meanwhile may have taken them.
    pub(crate) fn claim_place(&self) -> Option<usize> {
        let Common { room, handed, shards, .. } = &self.common;
        let left = |shard: &usize| {
            let handed = handed[*shard].load(Ordering::Acquire);
            room[*shard].load(Ordering::Relaxed).saturating_sub(handed)
        };
        let others = (0..*shards).filter(|shard| *shard != self.index);
        let shard = others.filter(|shard| left(shard) > 0).max_by_key(left)?;
        let claim = |count| (count < room[shard].load(Ordering::Relaxed)).then_some(count + 1);
        let claimed = handed[shard].fetch_update(Ordering::AcqRel, Ordering::Acquire, claim);
        claimed.is_ok().then_some(shard)
    }
}

/// Counts this shard among those that say something, or no longer.
fn say(count: &AtomicU32, has_said: &mut bool, says: bool) {
    match (std::mem::replace(has_said, says), says) {
        (false, true) => _ = count.fetch_add(1, Ordering::Relaxed),
        (true, false) => _ = count.fetch_sub(1, Ordering::Relaxed),
        _ => {}
    }
}
