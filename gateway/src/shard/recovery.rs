//! Those who come back, and get what they missed: a portion at a time, each when the one before has
//! left.
//!
//! The home of a topic keeps what was published; a subscriber that missed some of it has a cursor
//! here, and nothing but that. A portion is asked for when nothing waits for the connection any
//! more, and only while half of the blocks for sending are free, so those who come back, however
//! many, take nothing from those who are there. What is published meanwhile comes from the home as
//! well: a subscriber is told live messages once it has got to the end.

use std::collections::BTreeMap;

use tidegate_proto::frame::MAX_UNMASKED_HEADER;
use tidegate_proto::receiver::Kind;

use super::queue::Fate;
use super::slot_set::SlotSet;
use super::{Shard, fanout};
use crate::connection::{Flags, Share};
use crate::hub::{Position, Recovered, Standing, Subscribed, Subscriber, subscribed};
use crate::uring::{Ring, Slot};

/// Cursors that are looked at in one turn of the loop.
const FETCHED_AT_ONCE: usize = 64;

/// Portions that may be on their way from homes at once, for each MiB of blocks for sending that is
/// free: each is about 32 KiB.
const PORTIONS_PER_MIB: u64 = 16;

/// One subscription that gets what it missed.
struct Cursor {
    whose: Subscribed,
    /// The message that it was told last.
    behind: Position,
    /// The next portion was asked for.
    is_asked: bool,
}

/// What a subscriber is told of a portion.
struct Told {
    frames: Vec<u8>,
    messages: u32,
    /// The message behind which there is more.
    next: Option<Position>,
}

/// All of them.
pub(crate) struct Recoveries {
    /// By slot and by the topic's hash.
    cursors: BTreeMap<(Slot, u64), Cursor>,
    /// Slots for which nothing waits, so that the next portion can be asked for.
    hungry: SlotSet,
    /// Portions that were asked for and have not come.
    asked: u64,
}

impl Recoveries {
    /// Bytes of a cursor and of its place in the tree, whose nodes are half full at least.
    pub(crate) const CURSOR_BYTES: usize = 2 * (size_of::<Cursor>() + size_of::<(Slot, u64)>());

    pub(super) fn new(connections: u32) -> Self {
        Self { cursors: BTreeMap::new(), hungry: SlotSet::new(connections), asked: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.cursors.len()
    }

    /// The connection has ended.
    pub(super) fn forget(&mut self, slot: Slot) {
        if self.cursors.is_empty() {
            return;
        }
        self.hungry.remove(slot);
        let keys: Vec<_> = self.keys_of(slot).collect();
        keys.into_iter().for_each(|key| self.remove(key));
    }

    /// Nothing waits for the connection any more: it can take the next portion.
    pub(super) fn is_fed(&mut self, slot: Slot) {
        if !self.cursors.is_empty() && self.keys_of(slot).next().is_some() {
            self.hungry.insert(slot);
        }
    }

    fn keys_of(&self, slot: Slot) -> impl Iterator<Item = (Slot, u64)> {
        self.cursors.range((slot, 0)..=(slot, u64::MAX)).map(|(key, _)| *key)
    }

    fn remove(&mut self, key: (Slot, u64)) {
        if let Some(cursor) = self.cursors.remove(&key) {
            self.asked -= u64::from(cursor.is_asked);
        }
    }
}

impl<R: Ring> Shard<R> {
    /// A subscriber that wants events is told where it stands. If it missed nothing that is kept,
    /// it gets what is published from here on. Returns whether that has to wait.
    pub(super) fn stand(&mut self, standing: &Standing) -> Fate {
        let Standing { whose, position, gap, behind } = standing;
        let Some((slot, topic)) = self.waiting_subscriber(whose) else { return Fate::Taken };
        let told = self.tell_position(slot, whose, *position, *gap);
        if told == Fate::Waits {
            return told;
        }
        match behind {
            None => self.hub.local.settle(slot, topic),
            Some(behind) => {
                let cursor = Cursor { whose: whose.clone(), behind: *behind, is_asked: false };
                self.recoveries.remove((slot, whose.hash));
                self.recoveries.cursors.insert((slot, whose.hash), cursor);
                self.recoveries.hungry.insert(slot);
            }
        }
        Fate::Taken
    }

    /// A portion has come of what a subscriber missed. Returns whether that has to wait.
    pub(super) fn recover(&mut self, recovered: &Recovered) -> Fate {
        let Recovered { whose, portion, .. } = recovered;
        let (slot, key) = (whose.id.slot, (whose.id.slot, whose.hash));
        let Some((_, topic)) = self.waiting_subscriber(whose) else { return Fate::Taken };
        if !self.recoveries.cursors.get(&key).is_some_and(|cursor| cursor.is_asked) {
            return Fate::Taken;
        }
        if !self.is_clear(slot) {
            // Something else has come between: it is asked for once more when that has left.
            self.recoveries.is_asked(key, false);
            self.recoveries.hungry.insert(slot);
            return Fate::Taken;
        }
        let told = self.put_together(recovered);
        let messages = told.messages;
        if messages > 0 && self.send_frames(slot, &told.frames, messages) == Fate::Waits {
            return Fate::Waits;
        }
        self.counters.recovered += u64::from(messages);
        self.counters.recovery_left_out += portion.left_out;
        self.recoveries.is_asked(key, false);
        match told.next {
            Some(next) => self.recoveries.goes_on(key, next),
            None => {
                self.recoveries.remove(key);
                self.hub.local.settle(slot, topic);
            }
        }
        Fate::Taken
    }

    /// The frames of a portion, as far as they fit a block together.
    fn put_together(&mut self, recovered: &Recovered) -> Told {
        let Recovered { whose, position, portion } = recovered;
        let most = self.largest_frame();
        let mut told = Told { frames: Vec::new(), messages: 0, next: portion.next };
        if portion.left_out > 0 {
            let text = subscribed(whose.name.as_str(), whose.id, Some(*position), true);
            told.add(&text);
        }
        let mut before: Option<Position> = None;
        for delivery in &portion.deliveries {
            // What it published itself goes to others only, if its route says so.
            if delivery.except() != Some(whose.id) {
                let event = delivery.event();
                let length = event.len() + MAX_UNMASKED_HEADER;
                if told.messages > 0 && told.frames.len() + length > most {
                    // The rest is asked for anew; a gap in front was told.
                    told.next = before.or(delivery.position.map(Position::before));
                    break;
                }
                if length > most {
                    self.counters.deliveries_too_large += 1;
                } else {
                    told.add(&event);
                }
            }
            before = delivery.position;
        }
        told
    }

    /// Asks homes for what those can take for whom nothing waits, as far as there is room.
    pub(super) fn feed(&mut self) {
        if self.recoveries.hungry.is_empty() {
            return;
        }
        for _ in 0..FETCHED_AT_ONCE.min(self.recoveries.hungry.len()) {
            let free = self.blocks.free_bytes(Share::Sending);
            let is_short = free < self.blocks.own_bytes(Share::Sending) / 2;
            let most = (free >> 20).max(1) * PORTIONS_PER_MIB;
            if is_short || self.recoveries.asked >= most || self.hub.is_congested() {
                return;
            }
            let Some(slot) = self.recoveries.hungry.pop() else { return };
            if self.is_clear(slot) {
                self.ask_for_portions(slot);
            } else if self.table[slot].flags.has(Flags::IN_BATCH) {
                self.recoveries.hungry.insert(slot);
                self.flush_soon = true;
            }
        }
    }

    /// Whether what those who came back wait for can be asked for.
    pub(super) fn may_feed(&self) -> bool {
        !self.recoveries.hungry.is_empty()
    }

    fn ask_for_portions(&mut self, slot: Slot) {
        let keys: Vec<_> = self.recoveries.keys_of(slot).collect();
        for key in keys {
            let Some(cursor) = self.recoveries.cursors.get(&key) else { continue };
            if cursor.is_asked {
                continue;
            }
            let (whose, behind) = (cursor.whose.clone(), cursor.behind);
            if self.waiting_subscriber(&whose).is_none() {
                self.recoveries.remove(key);
                continue;
            }
            self.recoveries.is_asked(key, true);
            self.hub.fetch(whose, behind);
        }
    }

    /// The slot and the topic of a subscription that still waits to be told what came before.
    fn waiting_subscriber(&mut self, whose: &Subscribed) -> Option<(Slot, u32)> {
        let slot = self.slot_of(whose.id)?;
        let topic = self.hub.find(&whose.name)?;
        let waits = |one: Subscriber| one.is_pending() && one.serial() == whose.serial;
        let is_waiting = self.hub.local.subscriber(slot, topic).is_some_and(waits);
        (is_waiting && self.may_be_told(slot)).then_some((slot, topic))
    }

    fn tell_position(
        &mut self,
        slot: Slot,
        whose: &Subscribed,
        position: Option<Position>,
        gap: bool,
    ) -> Fate {
        let text = subscribed(whose.name.as_str(), whose.id, position, gap);
        self.send_frames(slot, &fanout::plain(Kind::Text, &text), 1)
    }
}

impl Told {
    fn add(&mut self, event: &[u8]) {
        self.frames.extend(fanout::plain(Kind::Text, event));
        self.messages += 1;
    }
}

impl Recoveries {
    fn is_asked(&mut self, key: (Slot, u64), is_asked: bool) {
        if let Some(cursor) = self.cursors.get_mut(&key)
            && cursor.is_asked != is_asked
        {
            cursor.is_asked = is_asked;
            if is_asked {
                self.asked += 1;
            } else {
                self.asked -= 1;
            }
        }
    }

    /// A portion was told: the next one begins behind this message.
    fn goes_on(&mut self, key: (Slot, u64), behind: Position) {
        if let Some(cursor) = self.cursors.get_mut(&key) {
            cursor.behind = behind;
            self.hungry.insert(key.0);
        }
    }
}
