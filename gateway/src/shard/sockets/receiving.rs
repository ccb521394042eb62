//! Receiving: parked on a poll, then one receive into a buffer that is there.
//!
//! A connection that never says much is parked on polls that complete once, and can be closed as it
//! is when one has. A connection that talks keeps one poll armed, which tells only of what arrives
//! behind its last completion. So nothing may be left to it that was told of: whoever takes such a
//! completion either receives, or there is something that will (see `readable`), and goes on
//! receiving until a receive has emptied the socket.

use tidegate_proto::keepalive::Wait;

use crate::connection::{Poll, Reading, Stage, States};
use crate::kernel::{BufferId, Operation, Ring, Slot, Span};
use crate::memory::Share;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::kept;

/// Received bytes, and the buffer that they are in.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) buffer: BufferId,
    pub(crate) span: Span,
}

impl<R: Ring> Sockets<R> {
    /// Waits for the connection to become readable; its socket is empty, or not known to be
    /// readable if no poll is armed.
    pub(crate) fn listen(&mut self, slot: Slot) {
        let connection = &mut self.table[slot];
        if connection.states.poll() == Poll::Stays {
            return;
        }
        let stays = connection.states.has(States::TALKS);
        connection.states.set_poll(if stays { Poll::Stays } else { Poll::Once });
        connection.check();
        let generation = connection.generation;
        self.ring.push(if stays {
            Operation::PollOn { slot, generation }
        } else {
            Operation::Poll { slot, generation }
        });
    }

    /// Reads again from a connection that was paused. A poll that stayed armed has told of what is
    /// there and will not tell of it again; one that is armed anew will.
    pub(crate) fn read_on(&mut self, slot: Slot) {
        if self.table[slot].states.poll() == Poll::Stays {
            self.ready.insert(slot);
        } else {
            self.listen(slot);
        }
    }

    /// It is readable, and has its turn later.
    pub(crate) fn wait_to_receive(&mut self, slot: Slot) {
        if self.table[slot].opens_or_ends() {
            self.crowd.insert(slot);
        } else {
            self.ready.insert(slot);
        }
    }

    pub(crate) fn has_room_to_receive(&self) -> bool {
        let has_buffer = self.buffers.has_one() && self.could_answer();
        has_buffer && self.ring.room() > super::OPERATIONS_PER_EVENT
    }

    /// Any byte from the peer shows that it lives.
    pub(crate) fn is_active(&mut self, slot: Slot) {
        let wait = self.table[slot].wait;
        if wait.handle_activity() == Wait::Activity {
            if wait == Wait::Pong {
                self.stalled.remove(slot);
            }
            self.wait_for(slot, Wait::Activity);
        }
    }

    /// Receives into a provided buffer, or straight into the block of a large message.
    pub(crate) fn receive(&mut self, slot: Slot) {
        if let Some(span) = self.direct_target(slot) {
            self.has_receives = true;
            let connection = &mut self.table[slot];
            connection.states.set_reading(Reading::ReceivingInto);
            let generation = connection.generation;
            return self.ring.push(Operation::ReceiveInto { slot, generation, span });
        }
        if !self.put_off.admit(&mut self.table[slot]) {
            return self.wait_to_receive(slot);
        }
        let receives = self.could_answer()
            && if self.transports.kept.has(slot) {
                kept::receive_behind(self, slot)
            } else {
                self.receive_into_one_lent(slot)
            };
        if !receives {
            self.put_off.discharge(&mut self.table[slot]);
            self.counters.buffer_waits += 1;
            self.wait_to_receive(slot);
        }
    }

    fn receive_into_one_lent(&mut self, slot: Slot) -> bool {
        if !self.buffers.lend_one(&mut self.ring) {
            return false;
        }
        let connection = &mut self.table[slot];
        connection.states.set_reading(Reading::Receiving);
        connection.check();
        let generation = connection.generation;
        self.has_receives = true;
        self.ring.push(Operation::Receive { slot, generation });
        true
    }

    /// Whether one more answer could wait, should all peers who are being answered not take theirs:
    /// of an echo as much as one receive buffer, of others what the staging memory holds. So a
    /// small pool makes for fewer receives at a time.
    pub(crate) fn could_answer(&self) -> bool {
        let limits = &self.limits;
        let receives = u64::from(self.buffers.receives() + self.buffers.held());
        let answers = (receives + 1) * u64::from(limits.receive_buffer);
        receives == 0
            || answers + u64::from(limits.staging) <= self.blocks.own_free_bytes(Share::Sending)
    }

    /// Where the rest of a large frame belongs, if it is being gathered and would not fit a receive
    /// buffer.
    fn direct_target(&self, slot: Slot) -> Option<Span> {
        let connection = &self.table[slot];
        if self.seals(slot) {
            // What comes in is opened in a receive buffer.
            return None;
        }
        let block = connection.gathered.filter(|_| connection.stage == Stage::Open)?;
        let remaining = connection.remaining_in_place();
        if remaining < u64::from(self.limits.receive_buffer) {
            return None;
        }
        let room = self.blocks.room(block);
        let length = u64::from(room.length).min(remaining) as u32;
        (length > 0).then_some(Span { length, ..room })
    }
}
