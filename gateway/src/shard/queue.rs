//! Published frames on their way to one connection: at once, or by its queue, within what its route
//! lets wait.

use super::Shard;
use super::sending::{BatchSend, SentFrom};
use crate::config::SlowPeer;
use crate::connection::{CLOSE_RESERVE, Flags, FrameId, NO_KEY, Share, Stage};
use crate::uring::{AreaName, Memory, Operation, Ring, Slot, Span};

/// What waits for one connection leaves together up to so many bytes.
const CORK: u32 = 32 * 1024;

/// A frame that is delivered: which one, where it is, and what its message's key is.
#[derive(Clone, Copy)]
pub(super) struct Parcel {
    pub(super) frame: FrameId,
    pub(super) span: Span,
    pub(super) key: u64,
    /// How many messages are in it.
    pub(super) messages: u32,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is on its way, or waits.
    Taken,
    /// The peer is slow, and its route's policy said no.
    Refused,
    /// There is no block for it, or no place, or it is not known yet whether the peer took what was
    /// sent before: it has to be tried again in another turn of the loop.
    Waits,
    /// No block is large enough for it.
    TooLarge,
}

impl<R: Ring> Shard<R> {
    /// Whether a connection can be told anything. One whose peer has ended only gets what it was
    /// told before.
    pub(super) fn may_be_told(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        connection.stage == Stage::Open
            && connection.flags.has(Flags::OPENED)
            && connection.closing.may_send()
    }

    /// Delivers a frame to a connection that may be told.
    pub(super) fn deliver(&mut self, slot: Slot, parcel: Parcel) -> Fate {
        let connection = &self.table[slot];
        if connection.must_queue() || connection.flags.has(Flags::SENDING_MESSAGE) {
            return self.enqueue(slot, parcel);
        }
        self.launch_frame(slot, parcel.frame, parcel.span);
        self.counters.deliveries += u64::from(parcel.messages);
        Fate::Taken
    }

    /// The peer cannot take a message: does what its route says.
    fn is_slow(&mut self, slot: Slot, messages: u32) {
        match self.policy(slot) {
            SlowPeer::Pause | SlowPeer::Close => self.close_slow(slot),
            SlowPeer::DropNewest | SlowPeer::DropOldest | SlowPeer::Conflate => {
                self.counters.slow_dropped_newest += u64::from(messages);
            }
        }
    }

    /// Whether nothing waits for the connection, and it can be told something.
    pub(super) fn is_clear(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        !connection.must_queue() && !connection.flags.has(Flags::SENDING_MESSAGE | Flags::BLOCKED)
    }

    /// Sends the next queued frame of a connection to which nothing else is being sent.
    pub(super) fn launch_queued(&mut self, slot: Slot) {
        let connection = &self.table[slot];
        let is_busy = connection.flags.has(Flags::IN_BATCH | Flags::SEND_ARMED)
            || connection.backlog.is_some()
            || connection.flags.has(Flags::SENDING_MESSAGE)
            || connection.stage == Stage::Zombie;
        if is_busy || !connection.flags.has(Flags::QUEUED) || self.frames.is_begun(slot) {
            return;
        }
        let first = self.frames.front(slot, &self.blocks).map_or(0, |span| span.length);
        if self.frames.bytes(slot) > first && self.may_cork() && self.cork(slot) {
            return;
        }
        if let Some(frame) = self.frames.pop_front(slot, &self.blocks) {
            let is_last = self.frames.is_empty(slot);
            self.table[slot].flags.put(Flags::QUEUED, !is_last);
            self.flush_soon |= !is_last;
            let span = self.frames.span(frame, &self.blocks);
            self.launch_frame(slot, frame, span);
            // The queue's reference goes over to the batch.
            self.done_frames.push(frame);
        }
    }

    /// A closing connection is told nothing more: what waits is left out, but for a frame that has
    /// begun, which must end before the Close frame.
    pub(super) fn leave_out_queued(&mut self, slot: Slot) {
        if !self.table[slot].flags.has(Flags::QUEUED) {
            return;
        }
        self.counters.dropped_closing += self.frames.drop_waiting(slot, &mut self.blocks);
        let is_empty = self.frames.is_empty(slot);
        self.table[slot].flags.put(Flags::QUEUED, !is_empty);
    }

    /// Whether frames may be put together. What falls short of them is a copy for one connection,
    /// where the frames were one for all: not of the blocks that are kept for answers.
    fn may_cork(&self) -> bool {
        self.blocks.own_free_bytes(Share::Sending) >= self.sending_reserve()
    }

    /// Puts what waits together in staging memory, so that it leaves in one send; `false` if there
    /// is no room for the first.
    fn cork(&mut self, slot: Slot) -> bool {
        let start = self.staging_used;
        let end = self.memory.staging.bytes().len().min(start + CORK as usize);
        let mut at = start;
        while let Some(span) = self.frames.front(slot, &self.blocks) {
            let until = at + span.length as usize;
            if until > end {
                break;
            }
            let Memory { staging, blocks, .. } = &mut self.memory;
            staging.bytes_mut()[at..until].copy_from_slice(&blocks.bytes()[span.range()]);
            at = until;
            if let Some(frame) = self.frames.pop_front(slot, &self.blocks) {
                self.frames.release(frame, &mut self.blocks);
            }
        }
        let is_last = self.frames.is_empty(slot);
        if at > start {
            self.staging_used = at;
            self.table[slot].flags.put(Flags::QUEUED, !is_last);
            self.flush_soon |= !is_last;
            let (start, length) = (start as u32, (at - start) as u32);
            self.launch_span(
                slot,
                Span { area: AreaName::Staging, start, length },
                SentFrom::Staging,
            );
        }
        at > start
    }

    /// Whether it is not known yet if the peer has taken all that was sent: until then it is not
    /// slow.
    fn is_outcome_open(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        connection.flags.has(Flags::IN_BATCH)
            && !connection.flags.has(Flags::BLOCKED | Flags::SEND_ARMED)
            && connection.backlog.is_none()
    }

    fn launch_frame(&mut self, slot: Slot, frame: FrameId, span: Span) {
        self.launch_span(slot, span, SentFrom::Frame(frame));
    }

    fn launch_span(&mut self, slot: Slot, span: Span, from: SentFrom) {
        let connection = &mut self.table[slot];
        connection.flags.set(Flags::IN_BATCH);
        let generation = connection.generation;
        let batch_index = self.batch.len() as u32;
        self.batch.push(BatchSend { slot, generation, span, from });
        self.ring.push(Operation::Send { slot, batch_index, span });
    }

    /// Lets a frame wait, if the connection's bound and its route's policy allow.
    fn enqueue(&mut self, slot: Slot, parcel: Parcel) -> Fate {
        let policy = self.policy(slot);
        let flags = self.table[slot].flags;
        let is_much = self.frames.bytes(slot) >= CORK || !self.has_room(slot, parcel.span.length);
        if is_much && self.is_outcome_open(slot) {
            self.flush_soon = true;
            return Fate::Waits;
        }
        if policy == SlowPeer::Conflate
            && parcel.key != NO_KEY
            && flags.has(Flags::BLOCKED | Flags::SEND_ARMED)
        {
            let dropped = self.frames.drop_key(slot, parcel.key, &mut self.blocks);
            self.counters.slow_conflated += u64::from(dropped);
        }
        while !self.has_room(slot, parcel.span.length) {
            let makes_room = matches!(policy, SlowPeer::DropOldest | SlowPeer::Conflate)
                && parcel.span.length <= self.limit(slot);
            let dropped =
                if makes_room { self.frames.drop_oldest(slot, &mut self.blocks) } else { 0 };
            if dropped == 0 {
                self.is_slow(slot, parcel.messages);
                let is_empty = self.frames.is_empty(slot);
                self.table[slot].flags.put(Flags::QUEUED, !is_empty);
                return Fate::Refused;
            }
            self.counters.slow_dropped_oldest += u64::from(dropped);
        }
        if !self.frames.push_back(slot, parcel.frame, parcel.key, &self.blocks) {
            // Others hold all places: they give way before this one is called slow.
            self.counters.deliveries_without_place += 1;
            self.flush_soon |= !self.batch.is_empty();
            self.relief.is_needed();
            let is_empty = self.frames.is_empty(slot);
            self.table[slot].flags.put(Flags::QUEUED, !is_empty);
            return Fate::Waits;
        }
        self.table[slot].flags.set(Flags::QUEUED);
        self.counters.deliveries += u64::from(parcel.messages);
        // What is sent before it may succeed without a word: look again when that is settled.
        self.flush_soon |= self.table[slot].flags.has(Flags::IN_BATCH);
        if !self.table[slot].flags.has(Flags::IN_BATCH | Flags::SEND_ARMED) {
            // It waits for the end of a message that the handler is sending, or for a backlog that
            // is about to be sent: both go on by themselves.
            debug_assert!(
                self.table[slot].flags.has(Flags::SENDING_MESSAGE)
                    || self.table[slot].backlog.is_some(),
                "nothing will send what waits: {:?}",
                self.table[slot]
            );
        }
        Fate::Taken
    }

    /// Whether so many bytes more may wait for the connection.
    fn has_room(&self, slot: Slot, length: u32) -> bool {
        let connection = &self.table[slot];
        let waiting = u64::from(connection.backlog_bytes) + u64::from(self.frames.bytes(slot));
        waiting + u64::from(length) <= u64::from(self.limit(slot))
    }

    /// The most bytes that may wait for the connection.
    pub(super) fn limit(&self, slot: Slot) -> u32 {
        let route = &self.config.routes[usize::from(self.table[slot].route)];
        route.backlog.saturating_sub(CLOSE_RESERVE)
    }

    pub(super) fn policy(&self, slot: Slot) -> SlowPeer {
        self.config.routes[usize::from(self.table[slot].route)].slow_peer
    }

    fn close_slow(&mut self, slot: Slot) {
        let mut turn = self.turn(slot, None);
        turn.slow();
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }
}
