//! Sending: one send per connection and batch, the backlog when that falls short.
//!
//! A batch is what is sent between two moments at which everything is *settled*: the kernel has
//! taken every operation, and every completion has been seen. A send that does not wait has
//! completed by then, and only those that fell short say so; so at that moment all staging memory
//! and all buffers that were sent from are free again.

use std::io;

use tidegate_proto::keepalive::Wait;

use super::Shard;
use super::connections::Connections;
use super::halves::Half;
use super::receiving::Arrival;
use super::sockets::Sockets;
use super::turn::Finished;
use crate::connection::{FrameId, Place, Reading, Stage, States, Writing};
use crate::kernel::{AreaName, BufferId, Errno, Generation, Operation, Ring, Slot, Span};
use crate::memory::Full;

/// How often in a row a peer has to have acknowledged nothing, each time after that part of the
/// time that it may stall.
pub(super) const STALL_ROUNDS: u8 = 4;

/// The bytes of a Ping of ours (RFC 6455 section 5.2: a header without a payload).
const PING_BYTES: u32 = 2;

/// What a peer has yet to acknowledge, if the kernel has not said so.
const UNKNOWN: u32 = u32::MAX;

/// What is known of a peer that seems stalled, or gone.
pub(super) struct Stalled {
    /// Bytes that it had yet to acknowledge.
    unacknowledged: u32,
    /// How often in a row that had not become less.
    rounds: u8,
}

/// A send of the current batch.
pub(crate) struct BatchSend {
    pub(super) slot: Slot,
    pub(super) generation: Generation,
    pub(super) span: Span,
    pub(super) from: SentFrom,
}

/// What a send of the batch is sent from, and keeps until the batch is settled.
#[derive(Clone, Copy)]
pub(super) enum SentFrom {
    /// Staging memory.
    Staging,
    /// A receive buffer.
    Buffer(BufferId),
    /// A published frame.
    Frame(FrameId),
}

impl BatchSend {
    /// The receive buffer that is sent from.
    pub(super) fn buffer(&self) -> Option<BufferId> {
        match self.from {
            SentFrom::Buffer(buffer) => Some(buffer),
            SentFrom::Staging | SentFrom::Frame(_) => None,
        }
    }
}

impl<R: Ring> Shard<R> {
    /// The answer about a peer that seems stalled. Its socket takes nothing more before a third of
    /// the send buffer is free, so a slow peer may be busy reading and not show: what it has
    /// acknowledged shows.
    pub(super) fn unacknowledged(
        &mut self,
        slot: Slot,
        generation: Generation,
        result: Result<u32, Errno>,
    ) {
        let Some(connection) = self.connections.sockets.table.current(slot, generation) else {
            return;
        };
        let wait = connection.wait;
        if connection.stage == Stage::Zombie || !matches!(wait, Wait::Progress | Wait::Pong) {
            return;
        }
        let before = self
            .connections
            .sockets
            .stalled
            .get(&slot)
            .map(|before| (before.unacknowledged, before.rounds));
        // A kernel that does not say leaves the time alone to decide.
        let known = before.map_or(UNKNOWN, |(before, _)| before);
        let count = result.unwrap_or(known);
        match wait {
            Wait::Progress => self.seems_stalled(slot, count, before),
            _ if count == UNKNOWN => self.seems_gone(slot, 0, before),
            _ => self.seems_gone(slot, count, before),
        }
    }

    /// A Ping was not answered in time. It may stand behind what the peer has not read yet: then it
    /// has as long as any peer that stalls, and, once it has acknowledged our Ping, as long for its
    /// answer as any other. `count`: bytes that it has yet to acknowledge.
    fn seems_gone(&mut self, slot: Slot, count: u32, before: Option<(u32, u8)>) {
        let profile = self.connections.sockets.profile(slot);
        let (pong, round) = (profile.ticks(Wait::Pong), profile.ticks(Wait::Progress));
        let rounds = match before {
            Some((before, rounds)) if count >= before => rounds + 1,
            _ => 0,
        };
        let (most, ticks) = match count {
            // It was acknowledged just now, or long ago and in vain.
            0 => (0, pong.filter(|_| before.is_some_and(|(before, _)| before > 0))),
            // Only our Ping is on its way.
            1..=PING_BYTES => (1, pong.map(|pong| pong.div_ceil(4))),
            _ => (STALL_ROUNDS, round),
        };
        let Some(ticks) = ticks.filter(|_| rounds < most || (count == 0 && rounds == 0)) else {
            self.connections.sockets.counters.peers_gone += 1;
            return self.connections.drop_connection(slot);
        };
        self.connections.sockets.stalled.insert(slot, Stalled { unacknowledged: count, rounds });
        self.connections.sockets.table[slot].laps =
            self.connections.sockets.deadlines.set(slot, Some(ticks));
    }

    fn seems_stalled(&mut self, slot: Slot, count: u32, before: Option<(u32, u8)>) {
        let rounds = match before {
            Some((before, rounds)) if count >= before || before == UNKNOWN => rounds + 1,
            _ => 0,
        };
        if rounds >= STALL_ROUNDS {
            self.connections.sockets.counters.peers_stalled += 1;
            return self.connections.drop_connection(slot);
        }
        self.connections.sockets.stalled.insert(slot, Stalled { unacknowledged: count, rounds });
        self.connections.sockets.wait_for(slot, Wait::Progress);
    }
}

impl<R: Ring> Connections<R> {
    /// Sends what a turn has said, perhaps from `buffer`, and does what else the turn left to do.
    pub(super) fn complete(&mut self, slot: Slot, buffer: Option<BufferId>, finished: Finished) {
        let Finished { place, staged, end, drop, unread, became_whole } = finished;
        self.sockets.staged = staged;
        self.sockets.launch_output(slot, buffer, place);
        if let (Some(buffer), Some(span), false) = (buffer, unread, drop) {
            self.sockets.put_off(slot, Arrival { buffer, span });
        }
        if let Some(end) = end {
            self.messages_ended(slot, end);
        }
        if drop {
            self.drop_connection(slot);
        } else {
            self.sockets.watch_halves(slot, became_whole);
            self.after_words(slot);
        }
    }

    /// Whether `send` of the batch could not send everything: what is left goes to the backlog.
    pub(super) fn fell_short(&mut self, slot: Slot, index: u32, result: Result<u32, Errno>) {
        let Some(send) = self.sockets.batch.get(index as usize) else { return };
        let BatchSend { generation, span, from, .. } = *send;
        let current = self.sockets.table.current(slot, generation);
        if current.is_none_or(|connection| connection.stage == Stage::Zombie) {
            return;
        }
        self.sockets.counters.sends_short += 1;
        let sent = match result {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => {
                // To drop it now would push an operation, and the batch could not be settled: one
                // who resets in each turn would cost everybody copies.
                self.failed.push((slot, generation));
                return;
            }
        };
        if let SentFrom::Frame(frame) = from {
            return self.sockets.frame_fell_short(slot, frame, sent);
        }
        if self.sockets.outbox(slot).fell_short(span.skip(sent)) == Err(Full) {
            // Part of a frame is lost: nothing more can be said to this peer.
            self.sockets.counters.out_of_blocks += 1;
            self.drop_connection(slot);
        }
    }

    /// Everything is settled: the memory of the batch is free again.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.sockets.staged = 0;
        self.sockets.flush_soon = false;
        let mut batch = std::mem::take(&mut self.sockets.batch);
        self.sockets.release_frames();
        for send in batch.drain(..) {
            if let Some(buffer) = send.buffer() {
                self.sockets.buffers.release(buffer);
            }
            let Some(connection) = self.sockets.table.current(send.slot, send.generation) else {
                continue;
            };
            connection.states.set_writing(Writing::Idle);
            if connection.stage == Stage::Zombie {
                self.bury(send.slot);
            } else if connection.backlog.is_some() || connection.states.has(States::BLOCKED) {
                self.sockets.arm_send(send.slot);
            } else if connection.states.has(States::QUEUED) {
                self.unqueued.push(send.slot);
            } else {
                self.hub.recoveries.is_fed(send.slot);
                self.after_words(send.slot);
            }
            self.sockets.make_room()?;
        }
        debug_assert!(self.sockets.batch.is_empty(), "settling sends nothing in batches");
        self.sockets.batch = batch;
        self.go_on_with_queues()
    }

    /// Drops the connections whose sends have failed. Whether the batch is settled is known by now:
    /// what this pushes does not keep it from being.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn drop_failed(&mut self) -> io::Result<()> {
        while let Some((slot, generation)) = self.failed.pop() {
            let current = self.sockets.table.current(slot, generation);
            if current.is_some_and(|connection| connection.stage != Stage::Zombie) {
                self.peer_failed(slot);
                self.sockets.make_room()?;
            }
        }
        Ok(())
    }

    /// Peers that took all that was sent get what was published meanwhile.
    fn go_on_with_queues(&mut self) -> io::Result<()> {
        let mut unqueued = std::mem::take(&mut self.unqueued);
        for slot in unqueued.drain(..) {
            self.sockets.launch_queued(slot);
            self.after_words(slot);
            self.sockets.make_room()?;
        }
        self.unqueued = unqueued;
        Ok(())
    }

    /// An armed send is done.
    pub(super) fn sent(&mut self, slot: Slot, generation: Generation, result: Result<u32, Errno>) {
        let Some(connection) = self.sockets.table.current(slot, generation) else { return };
        connection.states.set_writing(Writing::Idle);
        if connection.stage == Stage::Zombie {
            return self.bury(slot);
        }
        let Ok(count @ 1..) = result else { return self.peer_failed(slot) };
        let wait = connection.wait;
        let mut outbox = self.sockets.outbox(slot);
        outbox.sent(count);
        if outbox.has_more() {
            if wait == Wait::Progress {
                self.sockets.stalled.remove(&slot);
                self.sockets.wait_for(slot, Wait::Progress);
            }
            self.sockets.arm_send(slot);
        } else {
            self.drained(slot);
        }
    }

    /// The peer has taken all that it had no room for.
    fn drained(&mut self, slot: Slot) {
        let connection = &mut self.sockets.table[slot];
        connection.states.clear(States::BLOCKED);
        if connection.wait == Wait::Progress {
            self.sockets.stalled.remove(&slot);
            self.sockets.wait_for(slot, Wait::Activity);
        }
        let connection = &mut self.sockets.table[slot];
        if connection.states.reading() == Reading::Paused {
            connection.states.set_reading(Reading::Idle);
            self.sockets.read_on(slot);
        }
        let connection = &self.sockets.table[slot];
        let tells = connection.websocket.is_open && connection.websocket.closing.may_send();
        if tells {
            let mut turn = self.turn(slot, None);
            turn.writable();
            let finished = turn.finish();
            self.complete(slot, None, finished);
        } else {
            self.after_words(slot);
        }
        if self.sockets.table[slot].stage == Stage::Open {
            self.hub.recoveries.is_fed(slot);
            self.sockets.launch_queued(slot);
        }
    }
}

impl<R: Ring> Sockets<R> {
    /// What is half received takes memory, and has its own deadline; that of what became whole is
    /// no matter for what came behind it.
    fn watch_halves(&mut self, slot: Slot, became_whole: [bool; 2]) {
        let connection = &self.table[slot];
        let is_open = connection.stage == Stage::Open;
        let ticks = self.profile(slot).message;
        let kept = [
            (Half::Message, connection.gathered.is_some()),
            (Half::Control, connection.control.is_some()),
        ];
        for (half, is_kept) in kept {
            let is_half = is_open && is_kept;
            if !is_half || became_whole[half as usize] {
                self.halves.end(slot, half);
            }
            if is_half {
                self.halves.begin(slot, half, self.deadlines.now() + u64::from(ticks));
            }
        }
    }

    /// Nothing that was sent refers to these frames any more.
    fn release_frames(&mut self) {
        let mut frames = std::mem::take(&mut self.done_frames);
        for frame in frames.drain(..) {
            self.frames.release(frame, &mut self.blocks);
        }
        self.done_frames = frames;
    }

    /// A published frame was sent in part, or not at all: it waits at the front of the queue.
    fn frame_fell_short(&mut self, slot: Slot, frame: FrameId, sent: u32) {
        if sent == 0 && self.table[slot].is_closing() {
            // The Close frame is in the backlog, in front of which only what has begun may go.
            self.counters.dropped_closing += u64::from(self.frames.messages(frame));
            self.table[slot].states.set(States::BLOCKED);
            return;
        }
        self.outbox(slot).frame_fell_short(frame, sent);
    }

    /// Sends a turn's output.
    fn launch_output(&mut self, slot: Slot, buffer: Option<BufferId>, place: Place) {
        let span = match place {
            Place::Nothing => {
                // The turn may have ended a message that published frames waited for.
                return self.launch_queued(slot);
            }
            Place::Backlog => return self.arm_send(slot),
            Place::At(span) => span,
        };
        debug_assert!(!self.table[slot].must_queue(), "it does not go before what waits");
        let buffer = buffer.filter(|_| span.area == AreaName::Receive);
        if let Some(buffer) = buffer {
            self.buffers.hold(buffer);
        }
        self.launch(slot, span, buffer.map_or(SentFrom::Staging, SentFrom::Buffer));
    }

    /// Sends the first block of the backlog, unless an earlier send has yet to complete.
    fn arm_send(&mut self, slot: Slot) {
        let connection = &self.table[slot];
        if connection.states.is_sending() {
            return;
        }
        let generation = connection.generation;
        let wait = connection.wait;
        let Some(span) = self.outbox(slot).next_armed() else {
            self.table[slot].states.clear(States::BLOCKED);
            return;
        };
        let connection = &mut self.table[slot];
        connection.states.set_writing(Writing::Armed);
        connection.check();
        self.ring.push(Operation::SendArmed { slot, generation, span });
        if matches!(wait, Wait::Activity | Wait::Pong) {
            self.stalled.remove(&slot);
            self.wait_for(slot, Wait::Progress);
        }
    }
}
