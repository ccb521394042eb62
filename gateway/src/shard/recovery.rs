//! Those who come back, and get what they missed: a portion at a time, each when the one before has
//! left.
//!
//! The home of a topic keeps what was published; a subscriber that missed some of it has a cursor
//! in [`Recoveries`](crate::hub::Recoveries), and nothing but that. A portion is asked for when
//! nothing waits for the connection any more, and only while half of the blocks for sending are
//! free, so those who come back, however many, take nothing from those who are there. What is
//! published meanwhile comes from the home as well: a subscriber is told live messages once it has
//! got to the end.

use super::connections::Connections;
use super::connections::queue::Delivered;
use crate::connection::NO_KEY;
use crate::hub::{NotDone, Outcome, Recovered, Standing, Subscribed};
use crate::kernel::{Ring, Slot};
use crate::memory::Share;
use crate::names::Position;
use crate::protocol::forms;

/// Cursors that are looked at in one turn of the loop.
const FETCHED_AT_ONCE: usize = 64;

/// Portions that may be on their way from homes at once, for each MiB of blocks for sending that is
/// free: each is about 32 KiB.
const PORTIONS_PER_MIB: u64 = 16;

/// What a subscriber is told of a portion.
struct Told {
    frames: Vec<u8>,
    /// Of what was published.
    messages: u32,
    /// Of a gap, and of the end.
    notices: u32,
    /// The message behind which there is more.
    next: Option<Position>,
}

/// One who comes back.
struct Returning {
    slot: Slot,
    /// The number of the topic, among those of this shard.
    topic: u32,
}

/// Those who come back, and what they are told.
pub(super) struct Recovery<'c, R> {
    pub(super) connections: &'c mut Connections<R>,
}

impl<R: Ring> Recovery<'_, R> {
    /// A subscriber that wants events is told where it stands. If it missed nothing that is kept,
    /// it gets what is published from here on. Returns whether that has to wait.
    pub(super) fn stand(&mut self, standing: &Standing) -> Delivered {
        let Standing { whose, behind, tag, .. } = standing;
        if standing.again {
            return self.stand_again(standing);
        }
        let Some(Returning { slot, topic }) = self.waiting_subscriber(whose) else {
            // It has ended before it began.
            self.tell_answered(whose, *tag, &Outcome::NotDone(NotDone::Gone));
            return Delivered::Taken;
        };
        let told = self.tell_standing(slot, standing, standing.position);
        if told == Delivered::Waits {
            return told;
        }
        if self.waiting_subscriber(whose).is_none() {
            // There was no room to tell it, so its connection has ended, and its subscription.
            return Delivered::Taken;
        }
        match behind {
            None => self.connections.hub.local.settle(slot, topic),
            Some(behind) => self.connections.hub.recoveries.begin(whose, *behind),
        }
        Delivered::Taken
    }

    /// A portion has come of what a subscriber missed. Returns whether that has to wait.
    pub(super) fn recover(&mut self, recovered: &Recovered) -> Delivered {
        let Recovered { whose, portion, .. } = recovered;
        let key = whose.key();
        if !self.connections.hub.recoveries.awaits(whose) {
            return Delivered::Taken;
        }
        let Some(Returning { slot, topic }) = self.waiting_subscriber(whose) else {
            // Its connection ends: it is told nothing more.
            self.connections.hub.recoveries.remove(key);
            return Delivered::Taken;
        };
        if !self.connections.sockets.table[slot].is_clear() {
            // Something else has come between: it is asked for once more when that has left.
            self.connections.hub.recoveries.ask_again(key);
            return Delivered::Taken;
        }
        let told = self.put_together(recovered);
        let events = told.messages + told.notices;
        let delivered = if told.frames.is_empty() {
            Delivered::Taken
        } else {
            self.connections.send_frames(slot, &told.frames, events, NO_KEY)
        };
        match delivered {
            Delivered::Waits => return Delivered::Waits,
            Delivered::Taken => {
                self.connections.sockets.counters.recovered += u64::from(told.messages);
            }
            // Counted where that was found.
            Delivered::Refused | Delivered::TooLarge => {}
        }
        self.connections.sockets.counters.recovery_left_out += portion.left_out;
        match told.next {
            Some(next) => self.connections.hub.recoveries.goes_on(key, next),
            None => {
                self.connections.hub.recoveries.remove(key);
                self.connections.hub.local.settle(slot, topic);
            }
        }
        Delivered::Taken
    }

    /// The frames of a portion, as far as they fit a block together.
    fn put_together(&mut self, recovered: &Recovered) -> Told {
        let Recovered { whose, position, portion } = recovered;
        let most = self.connections.sockets.largest_frame();
        let id = self.connections.hub.id_at(whose.address);
        let mut told = Told { frames: Vec::new(), messages: 0, notices: 0, next: portion.next };
        if portion.left_out > 0 {
            // Who is cut off behind this goes on in front of what comes next.
            let next = portion.deliveries.first().and_then(|delivery| delivery.position);
            told.frames.extend(forms::gap(&whose.name, next.map(Position::before).or(*position)));
            told.notices += 1;
        }
        let mut before: Option<Position> = None;
        for delivery in &portion.deliveries {
            // What it published itself goes to others only, if its route says so.
            if delivery.except() != Some(id) {
                let event = forms::event(delivery);
                if !told.frames.is_empty() && told.frames.len() + event.len() > most {
                    // The rest is asked for anew; a gap in front was told.
                    told.next = before.or(delivery.position.map(Position::before));
                    break;
                }
                if event.len() > most {
                    self.connections.sockets.counters.deliveries_too_large += 1;
                } else {
                    told.frames.extend(event);
                    told.messages += 1;
                }
            }
            before = delivery.position;
        }
        if told.next.is_none() {
            let event = forms::replayed(&whose.name, *position);
            if !told.frames.is_empty() && told.frames.len() + event.len() > most {
                // It comes by itself, behind whatever is published meanwhile.
                told.next = before.or(*position);
            } else {
                told.frames.extend(event);
                told.notices += 1;
            }
        }
        told
    }

    /// Asks homes for what those can take for whom nothing waits, as far as there is room.
    pub(super) fn feed(&mut self) {
        for _ in 0..FETCHED_AT_ONCE.min(self.connections.hub.recoveries.hungry()) {
            if !self.may_ask() {
                return;
            }
            let Some(slot) = self.connections.hub.recoveries.next_hungry() else { return };
            if self.connections.sockets.table[slot].is_clear() {
                self.ask_for_portions(slot);
            } else if self.connections.sockets.table[slot].states.is_in_batch() {
                self.connections.hub.recoveries.is_fed(slot);
                self.connections.sockets.flush_soon = true;
            }
        }
    }

    /// Whether what those who came back wait for can be asked for.
    pub(super) fn may_feed(&self) -> bool {
        self.connections.hub.recoveries.hungry() > 0
    }

    /// Whether there is room for one portion more.
    fn may_ask(&self) -> bool {
        let free = self.connections.sockets.blocks.free_bytes(Share::Sending);
        let is_short = free < self.connections.sockets.blocks.own_bytes(Share::Sending) / 2;
        let most = (free >> 20).max(1) * PORTIONS_PER_MIB;
        !is_short
            && self.connections.hub.recoveries.asked() < most
            && !self.connections.hub.is_congested()
    }

    fn ask_for_portions(&mut self, slot: Slot) {
        for key in self.connections.hub.recoveries.unasked(slot) {
            if !self.may_ask() {
                // The rest has its turn later.
                return self.connections.hub.recoveries.is_fed(slot);
            }
            let Some(fetch) = self.connections.hub.recoveries.get(key) else { continue };
            if self.waiting_subscriber(&fetch.whose).is_none() {
                self.connections.hub.recoveries.remove(key);
                continue;
            }
            self.connections.hub.recoveries.ask(key);
            self.connections.hub.fetch(fetch);
        }
    }

    /// A subscription, if it still waits to be told what came before.
    fn waiting_subscriber(&mut self, whose: &Subscribed) -> Option<Returning> {
        let slot = self.connections.slot_at(whose.address)?;
        let topic = self.connections.hub.find(&whose.name)?;
        let is_waiting = self.connections.hub.local.waits(slot, topic, whose.serial);
        let may_be_told = is_waiting && self.connections.sockets.may_be_told(slot);
        may_be_told.then_some(Returning { slot, topic })
    }
}
