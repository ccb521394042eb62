//! What arrives in the shard's mailboxes, one after the other.

use std::io;
use std::sync::Arc;

use tidegate_proto::close::{CloseCode, Closing};
use tidegate_proto::frame::MAX_UNMASKED_HEADER;
use tidegate_proto::receiver::Kind;

use super::Shard;
use super::fanout::{self, Job, Running};
use super::queue::Fate;
use crate::connection::Flags;
use crate::hub::{
    Answer, Command, ConnectionId, Delivery, Direct, Publication, Published, Recovered, Refusal,
    Reply, Single, Subscriber, Subscribing, What, Work, subscribed,
};
use crate::uring::{Ring, Slot};

/// Connections that are reached in one turn of the loop: some milliseconds' work.
const REACHED_AT_ONCE: usize = 1024;

/// Mail that is taken in in one turn of the loop.
const MAIL_AT_ONCE: usize = 512;

/// Messages that are compressed in one turn of the loop, in bytes, before no more mail is taken in:
/// some milliseconds' work, and one message more.
const COMPRESSED_AT_ONCE: usize = 256 * 1024;

/// What is sent together to one that comes back, in bytes.
const RECOVERED_AT_ONCE: usize = 32 * 1024;

impl<R: Ring> Shard<R> {
    /// Goes on with what is being delivered, then takes mail in, as far as one turn's budgets go.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn work_on_mail(&mut self) -> io::Result<()> {
        let (mut reach, mut mail) = (REACHED_AT_ONCE, MAIL_AT_ONCE);
        loop {
            if let Some(mut running) = self.running.take()
                && !self.go_on(&mut running, &mut reach)?
            {
                self.running = Some(running);
                return Ok(());
            }
            let Some(work) = self.next_work(&mut mail) else { return Ok(()) };
            if let Work::Direct(direct, _) = &work
                && self.slot_of(direct.id).is_some_and(|slot| self.must_settle_first(slot))
            {
                self.postponed = Some(work);
                self.flush_soon = true;
                return Ok(());
            }
            self.begin_work(work);
            self.make_room()?;
        }
    }

    /// What had to wait for its turn, or else comes in the mail.
    fn next_work(&mut self, mail: &mut usize) -> Option<Work> {
        if let Some(work) = self.postponed.take() {
            return Some(work);
        }
        if !self.hub.post().may_receive() {
            return None;
        }
        let moment = self.moment();
        let Self { hub, compressor, shared_deflate, .. } = self;
        let deflate = *shared_deflate;
        let mut compressed = 0;
        let work = hub.next(moment, mail, &mut |publication: &Publication| {
            compressed += publication.payload.bytes().len();
            fanout::compress_once(compressor, deflate, publication)
        });
        if compressed > COMPRESSED_AT_ONCE {
            // Enough for this turn of the loop; what was taken in is done.
            *mail = 0;
        }
        work
    }

    /// Lets publishers that were held be read from again, once there is room for what they publish.
    pub(super) fn resume_held(&mut self) {
        if self.held.is_empty() || self.hub.is_pressed() {
            return;
        }
        while let Some(slot) = self.held.pop() {
            self.ready.insert(slot);
        }
    }

    /// Whether the connection publishes faster than what it publishes can be delivered: it is not
    /// read from for now.
    pub(super) fn must_hold(&mut self, slot: Slot) -> bool {
        let is_held = self.hub.is_pressed()
            && self.table[slot].closing == Closing::Open
            && self.hub.publishing_topic(slot).is_some();
        if is_held {
            self.counters.publishers_paused += 1;
            self.held.insert(slot);
        }
        is_held
    }

    /// Does what a command says with a connection.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn obey(
        &mut self,
        slot: Slot,
        command: &Command,
        topic: Option<u32>,
    ) -> Result<(), Refusal> {
        let id = self.hub.id(slot, self.table[slot].generation);
        match command {
            Command::Close(code, reason) => self.close_told(slot, *code, reason),
            Command::Subscribe(name) => {
                let connection = &self.table[slot];
                let how = Subscribing {
                    events: self.wants_events(slot),
                    user: self.hub.user(slot),
                    deflates: connection.deflate_bits == crate::handler::SHARED_WINDOW,
                    ..Subscribing::default()
                };
                self.hub.subscribe(id, name, how)?;
            }
            Command::Unsubscribe(name) => {
                if !self.hub.unsubscribe(id, name) {
                    return Err(Refusal::Unknown);
                }
            }
            Command::End => {
                if let Some(topic) = topic {
                    let name = self.hub.local.topic(topic).name.clone();
                    self.hub.unsubscribe(id, &name);
                }
            }
        }
        Ok(())
    }

    /// Shows what the hub holds and has counted among the shard's own counters.
    pub(super) fn count_hub(&mut self) {
        let counters = &mut self.counters;
        let mail = self.hub.mail();
        counters.mail_received = mail.received;
        counters.mail_waited = mail.waited;
        counters.mail_wakes = mail.wakes;
        counters.backlog_bytes = self.blocks.backlog_bytes() + self.frames.waiting_bytes();
        counters.queued = self.frames.waiting().into();
        counters.subscriptions = self.hub.local.subscriptions().into();
        counters.topics = self.hub.local.topics().into();
        counters.topics_home = self.hub.home.topics().into();
        counters.history_bytes = self.hub.home.history_bytes();
        counters.present = self.hub.home.present().into();
        counters.presence_full = self.hub.home.counts.presence_full;
        counters.topics_full = self.hub.home.counts.topics_full;
        counters.published = self.hub.published();
    }

    fn begin_work(&mut self, work: Work) {
        match work {
            Work::Deliver(topic, delivery) => {
                self.hub.local.begin_delivery(topic);
                self.running = Some(Running::subscribers(topic, Job::Tell(delivery)));
            }
            Work::Order(topic, order) => {
                self.hub.local.begin_delivery(topic);
                let job = Job::Do(order.what.clone());
                self.running = Some(Running::subscribers(topic, job));
            }
            Work::PublishToAll(publication, reply) => {
                let what = What::Message(publication, None);
                let delivery = Delivery { topic: None, hash: 0, position: None, what };
                self.running = Some(Running::everyone(Job::Tell(Arc::new(delivery)), reply));
            }
            Work::CloseAll(code, reason, reply) => {
                self.running =
                    Some(Running::everyone(Job::Do(Command::Close(code, reason)), reply));
            }
            Work::Direct(direct, reply) => self.direct(*direct, reply),
            Work::Recovered(recovered) => self.recovered(&recovered),
            Work::Denied(id) => {
                self.counters.topics_denied += 1;
                if let Some(slot) = self.slot_of(id).filter(|slot| self.may_be_told(*slot)) {
                    self.close_told(slot, CloseCode::TRY_AGAIN_LATER, "too many topics");
                }
            }
            Work::Tell(ask) => self.answer_about_connections(*ask),
        }
    }

    /// Something for one connection, which may be gone.
    fn direct(&mut self, direct: Direct, reply: Option<Reply>) {
        let Direct { id, what } = direct;
        let done = match self.slot_of(id) {
            None => Err(Refusal::Gone),
            Some(slot) if !self.may_be_told(slot) => Err(Refusal::NotOpen),
            Some(slot) => match what {
                Single::Publish(publication) => self.push(slot, publication),
                Single::Do(command) => self.obey(slot, &command, None).map(|()| Answer::Done(1)),
            },
        };
        self.counters.pushes_gone += u64::from(done.as_ref().err() == Some(&Refusal::Gone));
        if let Some(reply) = reply {
            reply(done.unwrap_or_else(Answer::Refused));
        }
    }

    fn push(&mut self, slot: Slot, publication: Publication) -> Result<Answer, Refusal> {
        let what = What::Message(publication, None);
        let delivery = Delivery { topic: None, hash: 0, position: None, what };
        let event = self.wants_events(slot);
        match self.tell(slot, &delivery, event) {
            Fate::Taken => Ok(Answer::Published(Published { connections: 1, position: None })),
            Fate::Refused => Err(Refusal::Slow),
        }
    }

    /// A subscriber that wants events is told where it stands and what it missed; from here on it
    /// gets what is published.
    fn recovered(&mut self, recovered: &Recovered) {
        let Some(slot) = self.slot_of(recovered.id) else { return };
        let Some(topic) = self.hub.find(&recovered.name) else { return };
        let waits = |one: Subscriber| one.is_pending() && one.serial() == recovered.serial;
        if !self.hub.local.subscriber(slot, topic).is_some_and(waits) {
            return;
        }
        self.hub.local.settle(slot, topic);
        let Recovered { name, id, position, missed, gap, .. } = recovered;
        // The newest, as far as half of what may wait for the connection goes.
        let room = self.limit(slot) as usize / 2;
        let (mut events, mut length) = (Vec::new(), 0);
        for event in missed.iter().rev().map(|delivery| delivery.event()) {
            length += event.len() + MAX_UNMASKED_HEADER;
            if length > room {
                break;
            }
            events.push(event);
        }
        let left_out = missed.len() - events.len();
        self.counters.recovery_left_out += left_out as u64;
        let gap = *gap || left_out > 0;
        let first = subscribed(name.as_str(), *id, *position, gap);
        let (mut frames, mut messages) = (fanout::plain(Kind::Text, &first), 1);
        for event in events.iter().rev() {
            if frames.len() + event.len() > RECOVERED_AT_ONCE {
                self.send_recovered(slot, &frames, messages);
                (frames, messages) = (Vec::new(), 0);
            }
            frames.extend(fanout::plain(Kind::Text, event));
            messages += 1;
        }
        self.send_recovered(slot, &frames, messages);
    }

    fn send_recovered(&mut self, slot: Slot, frames: &[u8], messages: u32) {
        if self.may_be_told(slot) {
            self.send_frames(slot, frames, messages);
        }
    }

    /// The slot of a connection that is still there.
    pub(super) fn slot_of(&mut self, id: ConnectionId) -> Option<Slot> {
        if id != self.hub.id(id.slot, id.generation) {
            return None;
        }
        let connection = self.table.current(id.slot, id.generation)?;
        connection.flags.has(Flags::OPENED).then_some(id.slot)
    }

    /// Closes a connection; a code that may not travel (RFC 6455 section 7.4) is sent as 1011.
    fn close_told(&mut self, slot: Slot, code: CloseCode, reason: &str) {
        let code = if code.may_travel() { code } else { CloseCode::INTERNAL_ERROR };
        let mut turn = self.turn(slot, None);
        turn.reason = reason;
        turn.close(code);
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }
}
