//! Fan-out: one message for many connections, encoded once for each form in which some want it.
//!
//! What is delivered to many takes several turns of the loop, a portion in each, so that everyone
//! else is served meanwhile. One at a time: the next begins when all have been reached.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use tidegate_proto::frame::{Header, MAX_UNMASKED_HEADER, OpCode};
use tidegate_proto::receiver::Kind;

use super::Shard;
use super::queue::{Fate, Parcel};
use crate::config::Handler;
use crate::config::stack::Deflate;
use crate::connection::{Compressor, FrameId, NO_KEY, PIECE, Pool};
use crate::handler::SHARED_WINDOW;
use crate::hub::{
    Answer, Command, Compressed, ConnectionId, Delivery, Publication, Published, Reply, Subscriber,
    What,
};
use crate::uring::{Ring, Slot};

/// Operations that are pushed between two looks at the room in the queue; less than
/// [`super::OPERATIONS_PER_EVENT`].
const BETWEEN_LOOKS: usize = 32;

/// Something that is done with many connections.
pub(super) struct Running {
    job: Job,
    /// The topic whose subscribers it is for; `None`: all connections, from `next` on.
    topic: Option<u32>,
    next: Slot,
    /// The forms that were asked for so far.
    forms: Vec<(Form, Parcel)>,
    reached: u64,
    reply: Option<Reply>,
}

/// What is done.
pub(super) enum Job {
    Tell(Arc<Delivery>),
    Do(Command),
}

/// How a connection wants messages.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    /// As JSON, with topic and position.
    event: bool,
    /// Compressed, with a window of so many bits; 0 for plain.
    window: u8,
}

impl Running {
    pub(super) fn subscribers(topic: u32, job: Job) -> Self {
        let topic = Some(topic);
        Self { job, topic, next: 0, forms: Vec::new(), reached: 0, reply: None }
    }

    pub(super) fn everyone(job: Job, reply: Reply) -> Self {
        let reply = Some(reply);
        Self { job, topic: None, next: 0, forms: Vec::new(), reached: 0, reply }
    }
}

impl<R: Ring> Shard<R> {
    /// Goes on with what is running, for up to `budget` connections, which count down; returns
    /// whether all have been reached.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn go_on(&mut self, running: &mut Running, budget: &mut usize) -> io::Result<bool> {
        while *budget > 0 {
            if (*budget).is_multiple_of(BETWEEN_LOOKS) {
                self.make_room()?;
            }
            *budget -= 1;
            let Some(subscriber) = self.next_of(running) else {
                self.finish_running(running);
                return Ok(true);
            };
            if self.must_settle_first(subscriber.slot()) {
                self.step_back(running);
                self.flush_soon = true;
                *budget = 0;
                return Ok(false);
            }
            self.reach(running, subscriber);
        }
        Ok(false)
    }

    /// The connection that came last has its turn again.
    fn step_back(&mut self, running: &mut Running) {
        match running.topic {
            Some(topic) => self.hub.local.step_back(topic),
            None => running.next -= 1,
        }
    }

    /// Tells one connection; whether it could take it.
    pub(super) fn tell(&mut self, slot: Slot, delivery: &Delivery, event: bool) -> Fate {
        let mut forms = Vec::new();
        let fate = self.tell_in_form(slot, delivery, event, &mut forms);
        self.release_forms(&mut forms);
        fate
    }

    /// Sends so many messages, in frames that were put together for one connection that may be told.
    pub(super) fn send_frames(&mut self, slot: Slot, frames: &[u8], messages: u32) {
        let Some(parcel) = self.parcel(&[frames], (NO_KEY, messages)) else {
            self.counters.deliveries_without_block += 1;
            return self.is_slow(slot, messages);
        };
        if self.deliver(slot, parcel) == Fate::Taken {
            self.counters.messages_out += u64::from(messages);
            self.counters.bytes_out += frames.len() as u64;
        }
        self.done_frames.push(parcel.frame);
    }

    fn next_of(&mut self, running: &mut Running) -> Option<Subscriber> {
        if let Some(topic) = running.topic {
            return self.hub.local.next_of_delivery(topic);
        }
        let slot = running.next;
        running.next += 1;
        let flags = if self.wants_events(slot) { Subscriber::EVENTS } else { 0 };
        (slot < self.table.used_slots()).then(|| Subscriber::new(slot, flags))
    }

    /// Whether a connection wants events: by its route, or by how a handler subscribed it.
    pub(super) fn wants_events(&self, slot: Slot) -> bool {
        if slot >= self.table.used_slots() {
            return false;
        }
        match &self.config.routes[usize::from(self.table[slot].route)].handler {
            Handler::Hub(route) => route.events,
            Handler::Echo | Handler::Static => self.hub.wants_events(slot),
        }
    }

    fn reach(&mut self, running: &mut Running, subscriber: Subscriber) {
        let slot = subscriber.slot();
        if !self.may_be_told(slot) {
            return;
        }
        match &running.job {
            Job::Tell(delivery) => {
                let is_left_out = subscriber.is_pending() || self.is_except(slot, delivery);
                if !is_left_out {
                    let delivery = Arc::clone(delivery);
                    let event = subscriber.wants_events();
                    let fate = self.tell_in_form(slot, &delivery, event, &mut running.forms);
                    running.reached += u64::from(fate == Fate::Taken);
                }
            }
            Job::Do(command) => {
                let command = command.clone();
                let topic = running.topic;
                running.reached += u64::from(self.obey(slot, &command, topic).is_ok());
            }
        }
    }

    fn is_except(&self, slot: Slot, delivery: &Delivery) -> bool {
        delivery.except().is_some_and(|id: ConnectionId| {
            id.slot == slot && id == self.hub.id(slot, self.table[slot].generation)
        })
    }

    fn finish_running(&mut self, running: &mut Running) {
        self.release_forms(&mut running.forms);
        if let Some(reply) = running.reply.take() {
            reply(match running.job {
                Job::Tell(_) => {
                    Answer::Published(Published { connections: running.reached, position: None })
                }
                Job::Do(_) => Answer::Done(running.reached),
            });
        }
    }

    /// The frames of a delivery are free once the batch that they are sent in is settled.
    fn release_forms(&mut self, forms: &mut Vec<(Form, Parcel)>) {
        self.done_frames.extend(forms.drain(..).map(|(_, parcel)| parcel.frame));
    }

    fn tell_in_form(
        &mut self,
        slot: Slot,
        delivery: &Delivery,
        event: bool,
        forms: &mut Vec<(Form, Parcel)>,
    ) -> Fate {
        if !event && delivery.publication().is_none() {
            return Fate::Taken;
        }
        let form = self.form(slot, delivery, event);
        let parcel = match forms.iter().find(|(other, _)| *other == form) {
            Some((_, parcel)) => Some(*parcel),
            None => {
                let parcel = self.encode(delivery, form);
                forms.extend(parcel.map(|parcel| (form, parcel)));
                parcel
            }
        };
        match parcel {
            Some(parcel) => {
                let fate = self.deliver(slot, parcel);
                if fate == Fate::Taken {
                    self.counters.messages_out += 1;
                    self.counters.bytes_out += delivery.payload_bytes();
                }
                fate
            }
            None => {
                self.counters.deliveries_without_block += 1;
                self.is_slow(slot, 1);
                Fate::Refused
            }
        }
    }

    /// The form in which a connection wants a delivery.
    fn form(&self, slot: Slot, delivery: &Delivery, event: bool) -> Form {
        let connection = &self.table[slot];
        let plain = Form { event, window: 0 };
        if connection.deflate_bits == 0 {
            return plain;
        }
        let listener = &self.config.listeners[usize::from(connection.listener)];
        let length = delivery.publication().map_or(0, |one| one.payload.bytes().len());
        match listener.stack.websocket.deflate {
            Some(deflate) if length >= deflate.min as usize => {
                // One window is compressed for: a peer must not choose what work it makes.
                let is_shared = connection.deflate_bits == SHARED_WINDOW;
                Form { event, window: if is_shared { SHARED_WINDOW } else { 0 } }
            }
            _ => plain,
        }
    }

    /// Puts a delivery into frames; `None` if there is no block for them.
    fn encode(&mut self, delivery: &Delivery, form: Form) -> Option<Parcel> {
        let key = key_of(delivery);
        if form.event {
            let event = delivery.event();
            return self.encode_bytes(Kind::Text, &event, form.window, key);
        }
        match &delivery.what {
            What::Message(_, Some(frames)) if form.window == SHARED_WINDOW => {
                self.parcel(&[frames.frames()], (key, 1))
            }
            What::Message(publication, _) => {
                let payload = Arc::clone(&publication.payload);
                self.encode_bytes(payload.kind, payload.bytes(), form.window, key)
            }
            What::Join(_) | What::Leave(_) => None,
        }
    }

    fn encode_bytes(&mut self, kind: Kind, bytes: &[u8], window: u8, key: u64) -> Option<Parcel> {
        if window == 0 {
            let (head, length) = plain_head(kind, bytes.len());
            return self.parcel(&[&head[..length], bytes], (key, 1));
        }
        let level = self.shared_deflate.map_or(1, |deflate| deflate.level);
        let frames = compressed(&mut self.compressor, (level, window), kind, bytes);
        self.parcel(&[&frames], (key, 1))
    }

    fn parcel(&mut self, bytes: &[&[u8]], (key, messages): (u64, u32)) -> Option<Parcel> {
        let area = self.memory.blocks.bytes_mut();
        let mut pool = Pool { blocks: &mut self.blocks, area };
        let frame: FrameId = self.frames.add(bytes, messages, &mut pool)?;
        Some(Parcel { frame, span: self.frames.span(frame, &self.blocks), key, messages })
    }
}

/// A message in one plain frame.
pub(super) fn plain(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let (head, length) = plain_head(kind, bytes.len());
    [&head[..length], bytes].concat()
}

/// The header of a message in one plain frame, and how long it is.
fn plain_head(kind: Kind, length: usize) -> ([u8; MAX_UNMASKED_HEADER], usize) {
    let mut head = [0; MAX_UNMASKED_HEADER];
    let written = header(kind.opcode(), true, false, length).emit(&mut head);
    (head, written)
}

/// A message compressed once for all who have the largest window, if it is worth it.
pub(super) fn compress_once(
    compressor: &mut Compressor,
    deflate: Option<Deflate>,
    publication: &Publication,
) -> Option<Compressed> {
    let deflate = deflate?;
    let payload = &publication.payload;
    let is_worth_it = payload.bytes().len() >= deflate.min as usize;
    let how = (deflate.level, SHARED_WINDOW);
    if !is_worth_it {
        return None;
    }
    payload.compressed(compressed(compressor, how, payload.kind, payload.bytes()))
}

/// A message compressed piece by piece, each in a fragment of its own.
fn compressed(
    compressor: &mut Compressor,
    (level, window): (u8, u8),
    kind: Kind,
    bytes: &[u8],
) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut from = 0;
    loop {
        let until = bytes.len().min(from + PIECE);
        let (is_first, is_last) = (from == 0, until == bytes.len());
        let piece = compressor.compress(level, window, &bytes[from..until], is_last);
        let opcode = if is_first { kind.opcode() } else { OpCode::Continuation };
        let mut head = [0; MAX_UNMASKED_HEADER];
        let length = header(opcode, is_last, is_first, piece.len()).emit(&mut head);
        frames.extend_from_slice(&head[..length]);
        frames.extend_from_slice(piece);
        if is_last {
            return frames;
        }
        from = until;
    }
}

fn header(opcode: OpCode, fin: bool, compressed: bool, length: usize) -> Header {
    Header { fin, compressed, opcode, mask: None, length: length as u64 }
}

/// What conflation goes by: topic and key.
fn key_of(delivery: &Delivery) -> u64 {
    let mut hasher = DefaultHasher::new();
    delivery.hash.hash(&mut hasher);
    match delivery.publication() {
        Some(publication) => publication.key.hash(&mut hasher),
        // A join or a leave stands for itself.
        None => return NO_KEY,
    }
    hasher.finish()
}
