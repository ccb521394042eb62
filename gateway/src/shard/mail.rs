//! What arrives in the shard's mailboxes, one after the other.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use super::connections::Connections;
use super::connections::queue::Delivered;
use super::connections::told::tell_handler;
use super::deciding::Deciding;
use super::deliveries::{InForm, Job};
use super::fanout::{Fanout, may_obey};
use super::recovery::Recovery;
use super::sockets::Sockets;
use super::telling::Telling;
use crate::counters::Counters;
use crate::hub::{
    Delivery, Direct, Duty, Hub, Instruction, Issue, NotDone, Outcome, Publication, Published,
    Single, What,
};
use crate::kernel::{Ring, Slot};
use crate::protocol::forms;
use crate::protocol::serve::Event;

/// How long a turn of the loop works on mail and on what is delivered to many, while others wait.
/// What the kernel takes for the sends of it counts.
const SLICE: Duration = Duration::from_micros(125);

/// Mail that is taken in between two looks at the clock, which comes behind each message that is
/// compressed as well.
const MAIL_AT_ONCE: usize = 16;

/// Messages that are compressed in one turn of the loop, in bytes, before no more mail is taken in,
/// whatever the clock says. So a turn takes [`SLICE`] and one message more: one of a MiB takes
/// about ten milliseconds.
const COMPRESSED_AT_ONCE: usize = 256 * 1024;

/// What a turn of the loop may do.
struct Stint {
    /// When it has to end.
    until: Duration,
    /// Bytes that were compressed in it.
    compressed: usize,
}

impl<R: Ring> Shard<R> {
    /// Takes mail in, and goes on with what is being delivered, each in turn, as long as one turn
    /// of the loop may take.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn work_on_mail(&mut self) -> io::Result<()> {
        if !self.has_mail_work() {
            return Ok(());
        }
        let until = self.connections.sockets.ring.now() + SLICE;
        if self.connections.hub.recoveries.len() > 0 && !self.connections.sockets.batch.is_empty() {
            // Those who come back fill slice upon slice: an answer leaves before, not behind.
            self.connections.sockets.enter(Duration::ZERO)?;
        }
        let mut carried_out = self.connections.sockets.batch.len();
        let mut stint = Stint { until, compressed: 0 };
        Recovery { connections: &mut self.connections }.feed();
        loop {
            let took = stint.compressed <= COMPRESSED_AT_ONCE && self.take_mail(&mut stint)?;
            let went = self.go_on()?;
            if !took && !went {
                return Ok(());
            }
            if self.connections.sockets.batch.is_much(carried_out) {
                carried_out = self.connections.sockets.batch.len();
                self.connections.sockets.enter(Duration::ZERO)?;
            }
            if self.connections.sockets.ring.now() >= until {
                return Ok(());
            }
        }
    }

    fn has_mail_work(&mut self) -> bool {
        !self.deliveries.is_empty()
            || Recovery { connections: &mut self.connections }.may_feed()
            || self.connections.hub.post.may_receive()
    }

    /// Whether more mail may be taken in: not while as much is on its way to connections as a
    /// mailbox holds.
    pub(super) fn may_take_mail(&self) -> bool {
        self.deliveries.jobs() < self.connections.config.hub.mailbox as usize
    }

    /// Takes some mail in, up to something that is to be done with connections; `false` if there is
    /// none, or none may be taken in.
    fn take_mail(&mut self, stint: &mut Stint) -> io::Result<bool> {
        if !self.may_take_mail() || !self.connections.hub.post.may_receive() {
            return Ok(false);
        }
        let Some(duty) = self.next_duty(stint) else {
            return Ok(self.connections.hub.post.may_receive());
        };
        self.begin_duty(duty);
        self.connections.sockets.make_room()?;
        Ok(true)
    }

    fn next_duty(&mut self, stint: &mut Stint) -> Option<Duty> {
        let moment = self.connections.sockets.moment();
        let budget = Cell::new(MAIL_AT_ONCE);
        let Connections { hub, compressor, sockets, .. } = &mut self.connections;
        let Sockets { profiles, ring, .. } = sockets;
        let deflate = profiles.shared_deflate();
        hub.next(moment, &budget, &mut |form, publication: &Publication| {
            if !forms::is_once(form) {
                return None;
            }
            let encoded = forms::once(form, publication, compressor, deflate);
            stint.compressed += publication.message.bytes().len();
            if stint.compressed > COMPRESSED_AT_ONCE || ring.now() >= stint.until {
                budget.set(0);
            }
            encoded
        })
    }

    /// Does what arrived, or lets it take its place among what is being delivered.
    fn begin_duty(&mut self, duty: Duty) {
        match duty {
            Duty::Deliver(delivery) => self.deliveries.add(Job::Tell(delivery, None)),
            Duty::Order(order) => self.deliveries.add(Job::Order(order)),
            Duty::PublishToAll(publication, reply) => {
                let time = self.connections.sockets.moment().calendar;
                let encoded = Vec::new();
                let what = What::Message(Issue { publication, time, to_all: true, encoded });
                let delivery = Delivery { topic: None, hash: 0, position: None, what };
                self.deliveries.add(Job::Tell(Arc::new(delivery), Some(reply)));
            }
            Duty::CloseAll(why, reply) => {
                self.deliveries.add(Job::All(Instruction::Close(why), Some(reply)));
            }
            Duty::Direct(direct, reply) => self.begin_with_one(Job::One(direct, reply)),
            Duty::Standing(standing) => self.deliveries.add(Job::Stand(Arc::from(standing))),
            Duty::Recovered(recovered) => self.deliveries.add(Job::Recover(Arc::from(recovered))),
            Duty::Denied(denied) => {
                self.connections.sockets.counters.topics_denied += 1;
                Recovery { connections: &mut self.connections }.deny(&denied);
            }
            Duty::Ended(ended) => self.deliveries.add(Job::Ended(Arc::from(ended))),
            Duty::Tell(ask) => {
                Telling { connections: &mut self.connections }.answer_about_connections(*ask);
            }
            Duty::TakeOver(handed) => self.accepting.take_over(&mut self.connections, *handed),
        }
    }

    /// Does at once what is for one connection, unless something for it waits already; what has to
    /// wait has its place from then on, and keeps no other mail waiting.
    fn begin_with_one(&mut self, job: Job) {
        if let Some(running) = self.deliveries.begin(job) {
            self.has_its_turn(running);
        }
    }
}

impl<R: Ring> Fanout<'_, R> {
    /// Does something with one connection, which may be gone; `None` if it has to wait.
    pub(super) fn direct(
        &mut self,
        direct: &mut Direct,
        in_forms: &mut Vec<InForm>,
    ) -> Option<Outcome> {
        if let Single::Found(round, finding) = &mut direct.what {
            let mut deciding = Deciding { connections: self.connections };
            return deciding.found(direct.address, *round, finding);
        }
        let done = match self.connections.slot_at(direct.address) {
            None => Err(NotDone::Gone),
            Some(slot) if !is_reached(&self.connections.sockets, slot, &direct.what) => {
                Err(NotDone::NotOpen)
            }
            Some(slot) => match &direct.what {
                Single::Publish(publication) => match self.push(slot, publication, in_forms) {
                    Delivered::Taken => Ok(Outcome::Published(Published {
                        connections: 1,
                        position: None,
                        repeated: false,
                    })),
                    Delivered::Refused => Err(NotDone::Slow),
                    Delivered::TooLarge => Err(NotDone::TooLarge),
                    Delivered::Waits => return None,
                },
                Single::Do(instruction) => match self.connections.obey(slot, instruction, None) {
                    Ok(Delivered::Waits) => return None,
                    done => done.map(|_| Outcome::Done(1)),
                },
                Single::Tell(what) => self.tell_handler(slot, Event::Told(what.bytes())),
                Single::Answered { tag, topic, outcome } => {
                    self.tell_handler(slot, Event::Answered { tag: *tag, topic, outcome })
                }
                // That is for those that are not open yet, and was looked at before.
                Single::Found(..) => Err(NotDone::Unknown),
            },
        };
        self.connections.sockets.counters.pushes_gone +=
            u64::from(done.as_ref().err() == Some(&NotDone::Gone));
        Some(done.unwrap_or_else(Outcome::NotDone))
    }

    /// Tells the handler of a connection that may be told something.
    fn tell_handler(&mut self, slot: Slot, event: Event<'_>) -> Result<Outcome, NotDone> {
        if tell_handler(self.connections, slot, event) {
            Ok(Outcome::Done(1))
        } else {
            Err(NotDone::Unknown)
        }
    }

    pub(super) fn push(
        &mut self,
        slot: Slot,
        publication: &Publication,
        in_forms: &mut Vec<InForm>,
    ) -> Delivered {
        let time = self.connections.sockets.moment().calendar;
        let what = What::said(publication.clone(), time);
        let delivery = Delivery { topic: None, hash: 0, position: None, what };
        let form = self.connections.form_of(slot);
        self.tell_in_form(slot, &delivery, form, in_forms)
    }
}

/// Whether a connection can be told this, or do it.
fn is_reached<R: Ring>(sockets: &Sockets<R>, slot: Slot, what: &Single) -> bool {
    let connection = &sockets.table[slot];
    match what {
        Single::Do(instruction) => may_obey(connection, instruction),
        Single::Publish(_) | Single::Tell(_) | Single::Answered { .. } | Single::Found(..) => {
            connection.may_be_told()
        }
    }
}

/// Counts what the hub holds, and what it has counted itself.
pub(super) fn count_hub(counters: &mut Counters, hub: &mut Hub) {
    let mail = hub.post.counts();
    counters.mail_received = mail.received;
    counters.mail_waited = mail.waited;
    counters.mail_wakes = mail.wakes;
    counters.mail_waiting = hub.post.waiting() as u64;
    counters.subscriptions = hub.local.subscriptions().into();
    counters.topics = hub.local.topics().into();
    counters.topics_home = hub.home.topics().into();
    counters.history_bytes = hub.home.history_bytes();
    counters.present = hub.home.present().into();
    counters.presence_full = hub.home.counts.presence_full;
    counters.presence_counted = hub.home.counts.presence_counted;
    counters.repeats = hub.home.counts.repeats;
    counters.repeats_forgotten = hub.home.counts.repeats_forgotten;
    counters.topics_full = hub.home.counts.topics_full;
    counters.topics_forgotten = hub.home.counts.topics_forgotten;
    counters.published = hub.published;
}
