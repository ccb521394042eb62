//! Fan-out: one message for many connections, encoded once for each form in which some want it.
//!
//! What is delivered to many takes several turns of the loop, a portion in each, so that everyone
//! else is served meanwhile; see `deliveries` for what goes before what.

use std::io;
use std::sync::Arc;

use super::Shard;
use super::connections::Connections;
use super::connections::queue::Delivered;
use super::deliveries::{At, Framed, InForm, Job, Lane, Running};
use super::recovery::Recovery;
use crate::connection::{Connection, NO_KEY};
use crate::hub::{Delivery, Direct, Form, Instruction, Outcome, Published, Reply, Subscriber};
use crate::kernel::{Ring, Slot};
use crate::names::ConnectionId;
use crate::protocol::forms;

/// Connections that are told in one portion, and slots that are looked at for them. Less than
/// [`super::OPERATIONS_PER_EVENT`].
const PORTION: usize = 32;
const LOOKED_AT: usize = 1024;

/// What a job is in behind a portion of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JobState {
    /// There is more.
    More,
    /// Nothing more can be done in this turn of the loop.
    Waits,
    Done,
}

/// What is done with many connections.
pub(super) struct Fanout<'c, R> {
    pub(super) connections: &'c mut Connections<R>,
}

impl<R: Ring> Shard<R> {
    /// Goes on with what has its turn of all that is on its way, for a portion; `false` if nothing
    /// can go on in this turn of the loop.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn go_on(&mut self) -> io::Result<bool> {
        let Some(running) = self.deliveries.next(self.connections.sockets.counters.loops) else {
            return Ok(false);
        };
        self.connections.sockets.make_room()?;
        self.has_its_turn(running);
        Ok(true)
    }

    /// What is on its way has its turn: a portion of it is done.
    pub(super) fn has_its_turn(&mut self, mut running: Running) {
        let shortages = self.connections.sockets.shortages;
        let state = Fanout { connections: &mut self.connections }.portion(&mut running);
        running.is_short = self.connections.sockets.shortages > shortages;
        match state {
            JobState::More => self.deliveries.put_back(running, None),
            JobState::Waits => {
                self.deliveries.put_back(running, Some(self.connections.sockets.counters.loops));
            }
            JobState::Done => {
                Fanout { connections: &mut self.connections }.finish_running(&mut running);
                self.deliveries.done(running);
            }
        }
    }
}

impl<R: Ring> Fanout<'_, R> {
    fn portion(&mut self, running: &mut Running) -> JobState {
        let Running { job, in_forms, .. } = running;
        let delivered = match job {
            Job::One(direct, reply) => return self.do_with_one(direct, reply, in_forms),
            Job::Stand(standing) => {
                let standing = Arc::clone(standing);
                Recovery { connections: self.connections }.stand(&standing)
            }
            Job::Recover(recovered) => {
                let recovered = Arc::clone(recovered);
                Recovery { connections: self.connections }.recover(&recovered)
            }
            Job::Ended(ended) => {
                let ended = Arc::clone(ended);
                Recovery { connections: self.connections }.end(&ended)
            }
            Job::Tell(..) | Job::Order(_) | Job::All(..) => return self.reach_some(running),
        };
        if delivered == Delivered::Waits { JobState::Waits } else { JobState::Done }
    }

    fn do_with_one(
        &mut self,
        direct: &mut Direct,
        reply: &mut Option<Reply>,
        in_forms: &mut Vec<InForm>,
    ) -> JobState {
        let Some(answer) = self.direct(direct, in_forms) else { return JobState::Waits };
        if let Some(reply) = reply.take() {
            reply.say(answer);
        }
        JobState::Done
    }

    fn reach_some(&mut self, running: &mut Running) -> JobState {
        if !self.begin_job(running) {
            return JobState::Done;
        }
        let mut told = 0;
        for _ in 0..LOOKED_AT {
            if told == PORTION {
                break;
            }
            let Some(subscriber) = self.next_of(running) else { return JobState::Done };
            match self.reach(running, subscriber) {
                None => {}
                Some(Delivered::Waits) => {
                    self.step_back(running);
                    self.hold_nothing_while_waiting(&mut running.in_forms);
                    return JobState::Waits;
                }
                Some(_) => told += 1,
            }
        }
        JobState::More
    }

    /// Begins a job that has yet to begin; `false` if there is nobody that it is for.
    fn begin_job(&mut self, running: &mut Running) -> bool {
        if let At::Start = running.at {
            running.at = match &running.lane {
                Lane::All => At::Slot(0),
                // It may have lost its last subscriber while this waited.
                Lane::Topic(_, name) => match self.connections.hub.find(name) {
                    Some(topic) => At::Topic(self.connections.hub.local.begin_delivery(topic)),
                    None => return false,
                },
                Lane::One(_) => return false,
            };
        }
        true
    }

    /// The connection that came last has its turn again.
    fn step_back(&mut self, running: &mut Running) {
        match &mut running.at {
            At::Start => {}
            At::Topic(ongoing) => self.connections.hub.local.step_back(*ongoing),
            At::Slot(next) => *next -= 1,
        }
    }

    fn next_of(&mut self, running: &mut Running) -> Option<Subscriber> {
        let next = match &mut running.at {
            At::Start => return None,
            At::Topic(ongoing) => return self.connections.hub.local.next_of_delivery(*ongoing),
            At::Slot(next) => next,
        };
        let slot = *next;
        if slot >= self.connections.sockets.table.used_slots() {
            return None;
        }
        *next += 1;
        Some(Subscriber::new(slot, self.connections.form_of(slot), 0))
    }

    /// Does with one connection what is to be done; `None` if it is none of those that it is for.
    fn reach(&mut self, running: &mut Running, subscriber: Subscriber) -> Option<Delivered> {
        let slot = subscriber.slot();
        let connection = &self.connections.sockets.table[slot];
        let is_reached = match &running.job {
            Job::All(instruction, _) => may_obey(connection, instruction),
            Job::Order(order) => may_obey(connection, &order.what),
            Job::Tell(..) | Job::Stand(_) | Job::Recover(_) | Job::Ended(_) | Job::One(..) => {
                connection.may_be_told()
            }
        };
        if !is_reached {
            return None;
        }
        let delivered = match &running.job {
            Job::Tell(delivery, _) => {
                if self.is_told_later(subscriber, delivery) || self.is_except(slot, delivery) {
                    return None;
                }
                let delivery = Arc::clone(delivery);
                self.tell_in_form(slot, &delivery, subscriber.form(), &mut running.in_forms)
            }
            Job::Order(order) => {
                let (order, at) = (Arc::clone(order), running.at);
                let topic = if let At::Topic(ongoing) = at { Some(ongoing.topic) } else { None };
                self.done(slot, &order.what, topic)
            }
            Job::All(instruction, _) => {
                let instruction = instruction.clone();
                self.done(slot, &instruction, None)
            }
            Job::Stand(_) | Job::Recover(_) | Job::Ended(_) | Job::One(..) => return None,
        };
        running.reached += u64::from(delivered == Delivered::Taken);
        Some(delivered)
    }

    pub(super) fn done(
        &mut self,
        slot: Slot,
        instruction: &Instruction,
        topic: Option<u32>,
    ) -> Delivered {
        self.connections.obey(slot, instruction, topic).unwrap_or(Delivered::Refused)
    }

    /// Whether a subscriber is told this by its topic's home, or was not there yet. Who comes and
    /// who goes while it is told what it missed, it is told at once: the home keeps none of that.
    fn is_told_later(&self, subscriber: Subscriber, delivery: &Delivery) -> bool {
        let is_kept = delivery.publication().is_some();
        let key = (subscriber.slot(), delivery.hash);
        subscriber.is_pending() && (is_kept || !self.connections.hub.recoveries.is_under_way(key))
    }

    fn is_except(&self, slot: Slot, delivery: &Delivery) -> bool {
        let Connections { hub, sockets, .. } = &*self.connections;
        let generation = sockets.table[slot].generation;
        let is_it = |id: ConnectionId| id.slot == slot && id == hub.id(slot, generation);
        delivery.except().is_some_and(is_it)
    }

    fn finish_running(&mut self, running: &mut Running) {
        self.release_forms(&mut running.in_forms);
        let connections = running.reached;
        match &mut running.job {
            Job::Tell(_, reply) => {
                if let Some(reply) = reply.take() {
                    let published = Published { connections, position: None, repeated: false };
                    reply.say(Outcome::Published(published));
                }
            }
            Job::All(_, reply) => {
                if let Some(reply) = reply.take() {
                    reply.say(Outcome::Done(connections));
                }
            }
            Job::Order(_) | Job::Stand(_) | Job::Recover(_) | Job::Ended(_) | Job::One(..) => {}
        }
    }

    /// The frames of a delivery are free once the batch that they are sent in is settled.
    fn release_forms(&mut self, in_forms: &mut Vec<InForm>) {
        let frames = in_forms.drain(..).filter_map(|one| match one.framed {
            Framed::Ready(offer) => Some(offer.frame),
            Framed::TooLarge | Framed::Waits(_) => None,
        });
        self.connections.sockets.batch.done_frames.extend(frames);
    }

    /// Who waits for a block has none meanwhile: of several that each had one, all would wait for
    /// each other.
    fn hold_nothing_while_waiting(&mut self, in_forms: &mut Vec<InForm>) {
        let waits = |one: &InForm| matches!(one.framed, Framed::Waits(_));
        if in_forms.iter().any(waits) {
            let waiting = in_forms.iter().copied().filter(waits).collect();
            self.release_forms(in_forms);
            *in_forms = waiting;
        }
    }

    /// Tells one connection, which may take it or not; `in_forms`: what the delivery has become.
    pub(super) fn tell_in_form(
        &mut self,
        slot: Slot,
        delivery: &Delivery,
        wanted: Form,
        in_forms: &mut Vec<InForm>,
    ) -> Delivered {
        let deflate = self.connections.sockets.profile(slot).deflate;
        let Some(form) = forms::of_delivery(delivery, wanted, deflate) else {
            return Delivered::Taken;
        };
        if self.connections.sockets.table[slot].is_told_alone() {
            return self.connections.tell_alone(slot, delivery);
        }
        let offer = match self.framed(delivery, form, in_forms) {
            Framed::Ready(offer) => offer,
            Framed::Waits(_) => {
                self.connections.sockets.waits_for_block();
                return Delivered::Waits;
            }
            Framed::TooLarge => {
                self.connections.sockets.counters.deliveries_too_large += 1;
                return Delivered::TooLarge;
            }
        };
        let delivered = self.connections.deliver(slot, offer);
        if delivered == Delivered::Taken {
            self.connections.sockets.counters.messages_out += 1;
            self.connections.sockets.counters.bytes_out += delivery.payload_bytes();
        }
        delivered
    }

    /// A delivery in one form. It is encoded once there is room, and when that was not enough, not
    /// anew before there is a block for what it came to.
    fn framed(&mut self, delivery: &Delivery, form: Form, in_forms: &mut Vec<InForm>) -> Framed {
        let at = in_forms.iter().position(|one| one.form == form);
        let needs = match at.map(|at| in_forms[at].framed) {
            None => 0,
            Some(Framed::Waits(length)) => length,
            Some(framed) => return framed,
        };
        let has_block = self.connections.sockets.has_block(needs);
        let framed = if has_block { self.encode(delivery, form) } else { Framed::Waits(needs) };
        match at {
            Some(at) => in_forms[at].framed = framed,
            None => in_forms.push(InForm { form, framed }),
        }
        framed
    }

    /// Puts a delivery into a block, as what is spoken on connections that want this form says.
    fn encode(&mut self, delivery: &Delivery, form: Form) -> Framed {
        let key = self.key_of(delivery);
        let Connections { sockets, compressor, .. } = &mut *self.connections;
        let level = sockets.profiles.shared_deflate().map_or(1, |deflate| deflate.level);
        match forms::delivery(form, delivery, compressor, level) {
            Some(encoding) => self.encoded(&encoding.parts(), key),
            // These are events only.
            None => Framed::TooLarge,
        }
    }

    fn encoded(&mut self, bytes: &[&[u8]], key: u64) -> Framed {
        let length: usize = bytes.iter().map(|part| part.len()).sum();
        if length > self.connections.sockets.largest_frame() {
            return Framed::TooLarge;
        }
        match self.connections.sockets.offer(bytes, key, 1) {
            Some(offer) => Framed::Ready(offer),
            None => Framed::Waits(length),
        }
    }

    /// What conflation goes by.
    fn key_of(&self, delivery: &Delivery) -> u64 {
        match delivery.publication() {
            Some(publication) => {
                self.connections.hub.conflation(delivery.hash, publication.key.as_ref())
            }
            // A join or a leave stands for itself.
            None => NO_KEY,
        }
    }
}

/// Whether a connection can do what it is told to. It may be told to end though nothing else can be
/// told: what is sent may be all that there is to say.
pub(super) fn may_obey(connection: &Connection, instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Close(_) => connection.may_be_ended(),
        Instruction::Subscribe(_) | Instruction::Unsubscribe(_) | Instruction::End => {
            connection.may_be_told()
        }
    }
}
