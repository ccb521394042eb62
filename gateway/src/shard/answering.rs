//! Answers to commands that have their place among what is published: where one stands who has
//! subscribed, and that a subscription has ended.

use super::connections::queue::Delivered;
use super::connections::told::tell_handler;
use super::recovery::Recovery;
use crate::connection::{KEPT, NO_KEY};
use crate::hub::{Denied, NotDone, Outcome, Standing, Subscribed, Unsubscribed, Why};
use crate::kernel::{Ring, Slot};
use crate::names::Position;
use crate::protocol::Failing;
use crate::protocol::forms;
use crate::protocol::serve::Event;

impl<R: Ring> Recovery<'_, R> {
    /// Says where a subscriber stands: at this position. Returns whether that has to wait.
    pub(super) fn tell_standing(
        &mut self,
        slot: Slot,
        standing: &Standing,
        position: Option<Position>,
    ) -> Delivered {
        let id = self.connections.hub.id_at(standing.whose.address);
        let event = forms::subscribed(id, standing, position);
        if standing.tag.is_none() {
            return self.connections.send_frames(slot, &event, 1, NO_KEY);
        }
        let told = self.send_answer(slot, &event);
        if told == Delivered::Taken {
            self.tell_answered(&standing.whose, standing.tag, &Outcome::Done(1));
        }
        told
    }

    /// One who was subscribed before is told where it stands now: of what it has yet to be told it
    /// has not seen anything.
    pub(super) fn stand_again(&mut self, standing: &Standing) -> Delivered {
        let whose = &standing.whose;
        let Some(slot) = self.subscriber(whose) else {
            self.tell_answered(whose, standing.tag, &Outcome::NotDone(NotDone::Gone));
            return Delivered::Taken;
        };
        let missing = self.connections.hub.recoveries.get(whose.key());
        let position = missing.map_or(standing.position, |fetch| Some(fetch.behind));
        self.tell_standing(slot, standing, position)
    }

    /// A subscription has ended because its connection asked for that: it is told so behind all
    /// that was on its way. Returns whether that has to wait.
    pub(super) fn end(&mut self, ended: &Unsubscribed) -> Delivered {
        let Unsubscribed { whose, tag } = ended;
        let Some(slot) = self.connections.slot_at(whose.address) else { return Delivered::Taken };
        if !self.connections.sockets.may_be_told(slot) {
            return Delivered::Taken;
        }
        let event = forms::unsubscribed(&whose.name, Some(*tag));
        let told = self.send_answer(slot, &event);
        if told == Delivered::Taken {
            self.tell_answered(whose, Some(*tag), &Outcome::Done(1));
        }
        told
    }

    /// The topic of a subscription has no room at its home. Who speaks commands is told so, unless
    /// it is what it was let in with: that connection ends, and so does one that speaks none.
    pub(super) fn deny(&mut self, denied: &Denied) {
        let Denied { whose, tag } = denied;
        let Some(slot) = self.connections.slot_at(whose.address) else { return };
        if !self.connections.sockets.may_be_told(slot) {
            return;
        }
        let has_commands = self.connections.sockets.table[slot].has_commands();
        let is_own = self.connections.hub.publishing_topic(slot).as_ref() == Some(&whose.name);
        if tag.is_none() && (!has_commands || is_own || whose.name.user().is_some()) {
            return self.connections.close_told(slot, &Why::no_room());
        }
        if self.subscriber(whose).is_some() {
            let id = self.connections.hub.id_at(whose.address);
            self.connections.hub.unsubscribe(id, &whose.name, None);
        }
        self.tell_outcome(whose, *tag, &Outcome::NotDone(NotDone::Full));
    }

    /// Sends an answer that has its place among what is published. It is not left out for a peer
    /// that is slow: if there is no room for it, the connection ends.
    fn send_answer(&mut self, slot: Slot, frame: &[u8]) -> Delivered {
        let sent = self.connections.send_frames(slot, frame, 1, KEPT);
        if sent == Delivered::Refused && self.connections.sockets.may_be_told(slot) {
            self.connections.close(slot, Failing::Slow);
        }
        sent
    }

    /// The handler of a command that asked for something hears what came of it.
    pub(super) fn tell_answered(
        &mut self,
        whose: &Subscribed,
        tag: Option<u32>,
        outcome: &Outcome,
    ) {
        if tag.is_some() {
            self.tell_outcome(whose, tag, outcome);
        }
    }

    /// The same for one without a number as well.
    fn tell_outcome(&mut self, whose: &Subscribed, tag: Option<u32>, outcome: &Outcome) {
        let Some(slot) = self.connections.slot_at(whose.address) else { return };
        if self.connections.sockets.may_be_told(slot) {
            let answered = Event::Answered { tag, topic: &whose.name, outcome };
            tell_handler(self.connections, slot, answered);
        }
    }

    /// The slot of a subscription that has not ended, and may be told something.
    fn subscriber(&mut self, whose: &Subscribed) -> Option<Slot> {
        let slot = self.connections.slot_at(whose.address)?;
        let topic = self.connections.hub.find(&whose.name)?;
        let serial = self.connections.hub.local.serial(slot, topic)?;
        let is_there = serial == whose.serial && self.connections.sockets.may_be_told(slot);
        is_there.then_some(slot)
    }
}
