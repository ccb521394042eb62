//! What one connection is told to do, and what it is told.

use crate::connection::KEPT;
use crate::hub::{Delivery, Form, Instruction, NotDone, Subscribing, Why};
use crate::kernel::{Ring, Slot};
use crate::memory::Share;
use crate::names::{Address, ConnectionId, Name};
use crate::protocol::end_reason::EndReason;
use crate::protocol::serve::Event;
use crate::protocol::{self, Failing, forms};
use crate::shard::connections::Connections;
use crate::shard::connections::queue::Delivered;
use crate::shard::sockets::Sockets;

impl<R: Ring> Connections<R> {
    /// Does what an instruction says with a connection; returns whether that has to wait.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn obey(
        &mut self,
        slot: Slot,
        instruction: &Instruction,
        topic: Option<u32>,
    ) -> Result<Delivered, NotDone> {
        let id = self.hub.id(slot, self.sockets.table[slot].generation);
        match instruction {
            Instruction::Close(why) => {
                if self.sockets.table[slot].may_be_ended() {
                    self.accounts.ends_for(slot, EndReason::Admin);
                }
                self.close_told(slot, why);
            }
            Instruction::Subscribe(name) => {
                let user = self.hub.user(slot);
                let how = Subscribing {
                    events: self.wants_events(slot),
                    resume: resume_token(self, slot, name, user.as_ref()),
                    user,
                    form: self.form_of(slot),
                    ..Subscribing::default()
                };
                match topic {
                    // Of all that a user has it was said before that this is done.
                    Some(_) => self.hub.subscribe_admitted(id, name, how)?,
                    None => self.hub.subscribe(id, name, how)?,
                }
            }
            Instruction::Unsubscribe(name) => return end_subscription(self, slot, id, name),
            Instruction::End => {
                if let Some(topic) = topic {
                    let name = self.hub.local.topic(topic).name.clone();
                    return end_subscription(self, slot, id, &name);
                }
            }
        }
        Ok(Delivered::Taken)
    }

    /// The slot of a connection that is still there, by its name.
    pub(crate) fn slot_of(&mut self, id: ConnectionId) -> Option<Slot> {
        let address = self.hub.locate(id)?;
        self.slot_at(address)
    }

    /// The slot of a connection that is still there, by where it lives.
    pub(crate) fn slot_at(&mut self, address: Address) -> Option<Slot> {
        let Address { slot, generation, .. } = address;
        if address != self.hub.address(slot, generation) {
            return None;
        }
        let connection = self.sockets.table.current(slot, generation)?;
        connection.is_open().then_some(slot)
    }

    /// Closes a connection.
    pub(crate) fn close_told(&mut self, slot: Slot, why: &Why) {
        let mut turn = self.turn(slot, None);
        protocol::close(&mut turn, Failing::Instructed(why.clone()));
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }

    /// Tells a connection whose protocol makes of it what it will, by itself.
    pub(crate) fn tell_alone(&mut self, slot: Slot, delivery: &Delivery) -> Delivered {
        let Some(publication) = delivery.publication() else { return Delivered::Taken };
        let length = publication.message.bytes().len();
        if length > self.sockets.largest_frame() {
            // No block will ever be there for it.
            self.sockets.counters.deliveries_too_large += 1;
            return Delivered::TooLarge;
        }
        if !has_block_alone(&mut self.sockets, length) {
            self.sockets.waits_for_block();
            return Delivered::Waits;
        }
        let connection = &self.sockets.table[slot];
        let is_open = connection.states.is_in_batch() || self.sockets.sealed.is_waiting(slot);
        if is_open && connection.backlog.is_some() {
            // It may take all of that: nobody is called slow before that is known.
            self.sockets.flush_soon = true;
            return Delivered::Waits;
        }
        let mut turn = self.turn(slot, None);
        protocol::told(&mut turn, delivery.topic.as_ref(), publication.message.bytes());
        let finished = turn.finish();
        let is_slow = finished.drop;
        self.complete(slot, None, finished);
        if is_slow {
            return Delivered::Refused;
        }
        self.sockets.counters.deliveries += 1;
        self.sockets.counters.messages_out += 1;
        Delivered::Taken
    }

    /// Sends so many messages, in frames that were put together for one connection that may be
    /// told. With `KEPT` as their key they are not left out for others.
    pub(crate) fn send_frames(
        &mut self,
        slot: Slot,
        frames: &[u8],
        messages: u32,
        key: u64,
    ) -> Delivered {
        if frames.len() > self.sockets.largest_frame() {
            self.sockets.counters.deliveries_too_large += 1;
            return Delivered::TooLarge;
        }
        let Some(offer) = self.sockets.offer(&[frames], key, messages) else {
            self.sockets.waits_for_block();
            return Delivered::Waits;
        };
        let delivered = self.deliver(slot, offer);
        if delivered == Delivered::Taken {
            self.sockets.counters.messages_out += u64::from(messages);
            self.sockets.counters.bytes_out += frames.len() as u64;
        }
        self.sockets.batch.done_frames.push(offer.frame);
        delivered
    }

    /// The form in which a connection is sent what concerns all, or itself, and what it is
    /// subscribed to from outside.
    pub(crate) fn form_of(&self, slot: Slot) -> Form {
        forms::of(&self.sockets.table[slot], self.wants_events(slot))
    }

    /// Whether a connection wants events: by its route, or by how a handler subscribed it.
    pub(crate) fn wants_events(&self, slot: Slot) -> bool {
        self.sockets.table[slot].has_commands()
            || self.service(slot).offer.hub_events.unwrap_or_else(|| self.hub.wants_events(slot))
    }
}

/// Ends a subscription for somebody outside. A peer that wants events is told first, so nothing
/// of the topic comes behind that; returns whether that has to wait.
///
/// # Errors
/// [`NotDone::Unknown`]: there is none.
fn end_subscription<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    id: ConnectionId,
    name: &Name,
) -> Result<Delivered, NotDone> {
    let Connections { hub, sockets, .. } = &*connections;
    let topic = hub.find(name).ok_or(NotDone::Unknown)?;
    let subscriber = hub.local.subscriber(slot, topic).ok_or(NotDone::Unknown)?;
    let is_told = subscriber.wants_events() && !sockets.table[slot].is_told_alone();
    if is_told {
        // It has its place among what is published, and is not left out for a slow peer.
        let event = forms::unsubscribed(name, None);
        if connections.send_frames(slot, &event, 1, KEPT) == Delivered::Waits {
            return Ok(Delivered::Waits);
        }
    }
    connections.hub.unsubscribe(id, name, None);
    Ok(Delivered::Taken)
}

/// Tells the handler of a connection that may be told something; `false` if it has none.
pub(crate) fn tell_handler<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    event: Event<'_>,
) -> bool {
    connections.in_turn(slot, None, |turn| protocol::event(turn, event))
}

/// What a client that speaks commands needs to take up a new subscription again that it has not
/// asked for.
fn resume_token<R: Ring>(
    connections: &Connections<R>,
    slot: Slot,
    topic: &Name,
    user: Option<&Name>,
) -> Option<Box<str>> {
    let Connections { hub, sockets, .. } = connections;
    let is_asked_for = hub.is_subscribed(slot, topic) || !sockets.table[slot].has_commands();
    (!is_asked_for).then(|| hub.resumes.token(topic, user, sockets.moment().calendar))
}

/// Whether there is a block for a message to one connection alone. However little of it its peer
/// leaves, that has a block of its own, and so has what is left of each such send of the batch:
/// were all of these to fall short at once, what is kept for answers would still be there.
fn has_block_alone<R: Ring>(sockets: &mut Sockets<R>, length: usize) -> bool {
    let owed = sockets.batch.needed();
    let blocks = &sockets.blocks;
    // Its own block is there beyond what is kept.
    let needed = owed + length as u64;
    let has_room = blocks.free_bytes(Share::Sending) >= sockets.sending_reserve() + needed;
    sockets.has_block(length) && (has_room || owed == 0)
}
