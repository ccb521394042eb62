//! What happens when memory or places run short that all connections share: whoever holds most is
//! harmed first, never whoever keeps up.
//!
//! A turn that finds no block, or no place in the queues, waits; nobody is called slow for it.
//! Before the pool is empty, and when something has waited for long, those are looked for who hold
//! some of it: first those whose peers have taken nothing for a second, the one that holds most
//! among some thousands that are looked at in a turn, and after two seconds those who take it
//! slowly. What becomes of it is its route's policy for slow peers.

use std::time::Duration;

use tidegate_proto::keepalive::Wait;

use super::Shard;
use super::deadlines::TICK;
use crate::config::SlowPeer;
use crate::connection::Stage;
use crate::kernel::{AreaName, Ring, Slot};
use crate::memory::Share;

/// Slots that are looked at in one turn of the loop.
const LOOKED_AT: u32 = 4096;

/// Whose peer has taken nothing for so long does not read.
const STUCK: Duration = Duration::from_secs(1);

/// When something has waited, or publishers have paused, for so many ticks, and nobody is stuck,
/// the one who holds most has to give way though its peer takes some of it. Ticks do not count
/// while the whole shard is paused.
const PATIENCE_TICKS: u64 = 8;

/// What is known of the shortage.
#[derive(Default)]
pub(super) struct Relief {
    /// How often something found no block, or no place, in this turn of the loop.
    shortages: u32,
    /// Since which tick something has waited for one, whether it had its turn in each turn of the
    /// loop or not, or publishers have paused because there was hardly any.
    since: Option<u64>,
    /// Blocks, or places, are so few that publishers pause.
    presses: Few,
    /// Where to look next.
    cursor: Slot,
    /// The largest half message that was found so far, and where to look next for a larger one.
    largest_half: Option<(u64, Slot)>,
    half_cursor: Slot,
}

/// What there is little of.
#[derive(Clone, Copy, Default)]
struct Few {
    blocks: bool,
    places: bool,
}

/// Who is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// One for which much waits, and whose peer does not read.
    Stuck,
    /// One for which much waits.
    Any,
}

impl Relief {
    /// Something found no block, or no place, and waits.
    pub(super) fn is_needed(&mut self) {
        self.shortages += 1;
    }

    /// How often that was so in this turn of the loop.
    pub(super) fn shortages(&self) -> u32 {
        self.shortages
    }
}

impl<R: Ring> Shard<R> {
    /// Looks whether anything runs short, and has the one give way who holds most of it.
    pub(super) fn relieve(&mut self) {
        // What waits may have had no turn in this turn of the loop, while others had theirs.
        let is_short = self.deliveries.are_short();
        let was_short = std::mem::take(&mut self.relief.shortages) > 0;
        let few_places = self.frames.waiting() > self.frames.places() / 2;
        let few_own = self.sending_left() < self.sending_reserve() / 8 * 9;
        let pressing = self.runs_short();
        self.relief.presses = pressing;
        let is_pressing = is_short || pressing.blocks || pressing.places;
        self.hub.press(is_pressing);
        let gathered = self.blocks.own_bytes(Share::Gathered);
        if self.blocks.free_bytes(Share::Gathered) < gathered / 4 {
            self.look_for_largest_half();
        } else {
            // What was found so far is of no use for another shortage.
            (self.relief.largest_half, self.relief.half_cursor) = (None, 0);
        }
        let now = self.deadlines.now();
        let lacks = is_pressing || self.sending_left() < self.sending_reserve();
        self.relief.since = lacks.then(|| self.relief.since.unwrap_or(now));
        let is_urgent = self.relief.since.is_some_and(|since| now - since >= PATIENCE_TICKS);
        if was_short || is_urgent || few_own || pressing.blocks || few_places {
            let has_one = self.evict(Holder::Stuck) || (is_urgent && self.evict(Holder::Any));
            if has_one && lacks {
                // What that frees may do.
                self.relief.since = Some(now);
            }
        }
    }

    /// Whether blocks, or places, are so few that publishers pause. They go on only once a good
    /// part more is free: were it the next block, those who take one after the other, however
    /// slowly, would seem to leave enough, and everybody would publish as slowly as they read.
    fn runs_short(&self) -> Few {
        let before = self.relief.presses;
        let (free, reserve) = (self.blocks.free_bytes(Share::Sending), self.sending_reserve());
        // Others may hold what is for all: it is not waited for once hardly any of this is in use.
        let own = self.blocks.own_bytes(Share::Sending);
        let is_in_use = self.blocks.used_by(Share::Sending) > own / 8;
        let waits_for_blocks = before.blocks && is_in_use && free < reserve / 2 * 5;
        let (waiting, places) = (self.frames.waiting(), self.frames.places());
        Few {
            blocks: free < 2 * reserve || waits_for_blocks,
            places: waiting > places / 4 * 3 || (before.places && waiting > places / 8 * 5),
        }
    }

    /// What is free of the blocks for sending that nothing else can take.
    fn sending_left(&self) -> u64 {
        self.blocks.own_free_bytes(Share::Sending)
    }

    /// What one turn's sends may leave behind, were all of them to fall short: so much is kept
    /// free.
    pub(super) fn sending_reserve(&self) -> u64 {
        let area = |name| self.memory.area(name).len();
        let turn = area(AreaName::Staging) + area(AreaName::Receive);
        (turn as u64).min(self.blocks.own_bytes(Share::Sending) / 2)
    }

    /// Has the one give way that holds most among those that are looked at; whether there was one.
    fn evict(&mut self, holder: Holder) -> bool {
        let end = self.table.used_slots();
        let start = if self.relief.cursor < end { self.relief.cursor } else { 0 };
        let until = end.min(start.saturating_add(LOOKED_AT));
        self.relief.cursor = until;
        let held = |slot: &Slot| (self.holds(*slot, holder), *slot);
        let most = (start..until).map(|slot| held(&slot)).max();
        let Some((1.., slot)) = most else { return false };
        self.counters.holders_evicted += 1;
        self.give_way(slot);
        true
    }

    /// Has the largest half message given up, once all slots were looked at.
    fn look_for_largest_half(&mut self) {
        let end = self.table.used_slots();
        let start = self.relief.half_cursor.min(end);
        let until = end.min(start.saturating_add(LOOKED_AT));
        let found = (start..until).map(|slot| (self.half_bytes(slot), slot)).max();
        self.relief.largest_half = self.relief.largest_half.max(found);
        if until < end {
            self.relief.half_cursor = until;
            // The others are looked at before anyone sleeps.
            self.flush_soon = true;
            return;
        }
        self.relief.half_cursor = 0;
        let Some((bytes @ 1.., slot)) = self.relief.largest_half.take() else { return };
        // If it has become less meanwhile, or is another's, they are looked at anew.
        if self.half_bytes(slot) >= bytes {
            self.counters.holders_evicted += 1;
            self.give_up_gathered(slot);
        }
    }

    /// Bytes of the blocks of what a connection has half sent, a message and a control frame; 0 if it
    /// has none.
    fn half_bytes(&self, slot: Slot) -> u64 {
        let connection = &self.table[slot];
        if connection.stage != Stage::Open {
            return 0;
        }
        let halves = [connection.gathered, connection.control];
        halves.into_iter().flatten().map(|block| u64::from(self.blocks.size(block))).sum()
    }

    /// Bytes that a connection holds; 0 if it is none of those that are looked for.
    fn holds(&self, slot: Slot, holder: Holder) -> u64 {
        let connection = &self.table[slot];
        if matches!(connection.stage, Stage::Free | Stage::Zombie) {
            return 0;
        }
        let waiting = u64::from(connection.backlog_bytes) + u64::from(self.frames.bytes(slot));
        match holder {
            Holder::Any if !connection.is_closing() && connection.states.is_blocked() => waiting,
            Holder::Stuck if waiting > 0 && self.is_stuck(slot) => waiting,
            Holder::Any | Holder::Stuck => 0,
        }
    }

    /// Whether the peer has taken nothing of what waits for it for a while.
    fn is_stuck(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        if !connection.states.is_blocked() {
            return false;
        }
        if self.stalled.contains_key(&slot) {
            return true;
        }
        // A closing one has the time as well that its Close frame needs to get out.
        let wait = connection.wait;
        if !matches!(wait, Wait::Progress | Wait::Close) {
            return false;
        }
        let whole = self.profile(slot).ticks(wait);
        let left = self.deadlines.left(slot, connection.laps);
        let waited = whole.zip(left).map_or(0, |(whole, left)| whole.saturating_sub(left));
        TICK * waited >= STUCK
    }

    /// A peer that does not take what waits for it gives way: as its route says, and at once if it
    /// is closing already.
    fn give_way(&mut self, slot: Slot) {
        let connection = &self.table[slot];
        if connection.stage != Stage::Open || connection.is_closing() {
            return self.drop_connection(slot);
        }
        let queued = u64::from(self.frames.bytes(slot));
        let keeps_it =
            !matches!(self.service(slot).limits.slow_peer, SlowPeer::Pause | SlowPeer::Close);
        if keeps_it && queued > u64::from(connection.backlog_bytes) {
            let dropped = self.outbox(slot).leave_out();
            self.counters.slow_dropped_oldest += dropped;
            if dropped > 0 {
                return;
            }
        }
        let mut turn = self.turn(slot, None);
        turn.gives_way();
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }

    fn give_up_gathered(&mut self, slot: Slot) {
        let mut turn = self.turn(slot, None);
        turn.no_memory();
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }
}
