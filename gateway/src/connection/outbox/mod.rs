//! What waits to be sent to one connection, and what of it goes first.
//!
//! Two things may wait: the backlog, which are bytes of this connection's own (answers, and the
//! rest of sends that fell short), and published frames, which many connections share and which
//! wait by reference. In this order they are sent:
//!
//! 1. what a transport has sealed, as it is;
//! 2. a frame that has begun, to its end;
//! 3. the backlog;
//! 4. frames that have not begun, unless the handler is in the middle of a message.
//!
//! At most one send of a connection is on its way: in a batch, whose outcome is known once the
//! batch is settled, or armed, which waits for the peer. This type knows nothing of the ring that
//! sends: whoever sends tells it what became of it.
//!
//! Where a transport seals what is sent, it takes from here what goes first, by [`Outbox::first`]
//! and [`Outbox::sent`], and the rest of sealed bytes that a peer did not take comes back into the
//! backlog, in front of all else.

mod backlog;
mod frames;
mod sealed;
#[cfg(test)]
mod tests;

use crate::connection::payload::Payload;
use crate::connection::record::Connection;
use crate::connection::states::States;
use crate::kernel::{AreaName, Slot, Span};
use crate::memory::{Full, Pool};

pub use backlog::{BLOCK_MIN, Backlog};
pub use frames::{FrameId, Frames, KEPT, NO_KEY};
pub use sealed::SealedBytes;

/// What queued frames leave of a backlog's bound, so that a Close frame finds room when the bound
/// is met: the largest one. Only the rest of a send that fell short may use it up.
pub const CLOSE_RESERVE: u32 = 2 + 125;

/// What waits for one connection leaves together up to so many bytes.
const CORK: u32 = 32 * 1024;

/// The way out to one connection.
pub struct Outbox<'a> {
    /// Whose it is.
    pub slot: Slot,
    /// Its record.
    pub connection: &'a mut Connection,
    /// The frames of the shard.
    pub frames: &'a mut Frames,
    /// The pool of the shard.
    pub pool: Pool<'a>,
    /// How much of the staging memory, from the front, is used in this batch. All of it is free
    /// again once the batch is settled.
    pub staged: &'a mut u32,
    /// Which bytes of backlogs are sealed.
    pub sealed: &'a mut SealedBytes,
}

/// A published frame that is offered: which one, where it is, and what its message's key is.
#[derive(Clone, Copy, Debug)]
pub struct SharedFrame {
    /// The frame.
    pub frame: FrameId,
    /// Where it is.
    pub span: Span,
    /// Of messages with the same key the newest may stand for all.
    pub key: u64,
    /// How many messages are in it.
    pub messages: u32,
}

/// What a peer for which too much waits is spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Nothing of what waits: what is offered is refused.
    Refuse,
    /// The oldest.
    DropOldest,
    /// All older ones with the key of what is offered, and the oldest if that does not do.
    Conflate,
}

/// What may wait for one connection.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Bytes of the backlog and of frames together.
    pub bytes: u32,
    /// What happens when that is met.
    pub overflow: Overflow,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Nothing is in its way: it is to be sent now.
    AtOnce,
    /// It waits.
    Queued,
    /// Too much waits.
    Refused,
    /// All places of the shard are taken by others.
    NoPlace,
    /// Too much waits, but the peer may have taken it: what became of the batch is not known yet.
    Undecided,
}

/// How many messages were left out to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The oldest that waited.
    pub oldest: u32,
    /// Older ones with the same key.
    pub conflated: u32,
}

/// Bytes to be sent in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextSend {
    /// Where they are.
    pub span: Span,
    /// The frame that they are, which is referred to until the batch is settled; `None` if they are
    /// staged.
    pub frame: Option<FrameId>,
}

impl Outbox<'_> {
    /// The connection's own bytes that wait.
    pub fn backlog(&mut self) -> Backlog<'_> {
        let Pool { blocks, memory } = &mut self.pool;
        Backlog { connection: self.connection, pool: Pool { blocks, memory } }
    }

    /// Bytes that wait: of the backlog, and of frames.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        u64::from(self.connection.backlog_bytes) + u64::from(self.frames.bytes(self.slot))
    }

    /// Offers a published frame.
    pub fn offer(&mut self, offer: SharedFrame, bound: Bound) -> (Offered, LeftOut) {
        let mut left_out = LeftOut::default();
        let states = self.connection.states;
        if !self.connection.must_queue() && self.is_between() {
            return (Offered::AtOnce, left_out);
        }
        let length = offer.span.length;
        let is_much = self.frames.bytes(self.slot) >= CORK || !self.has_room(length, bound);
        if is_much && self.is_outcome_open() {
            return (Offered::Undecided, left_out);
        }
        if bound.overflow == Overflow::Conflate && offer.key < KEPT && states.is_blocked() {
            left_out.conflated = self.frames.drop_key(self.slot, offer.key, self.pool.blocks);
        }
        let offered = self.queue(offer, bound, &mut left_out);
        self.connection.states.put(States::QUEUED, !self.frames.is_empty(self.slot));
        (offered, left_out)
    }

    fn queue(&mut self, offer: SharedFrame, bound: Bound, left_out: &mut LeftOut) -> Offered {
        let length = offer.span.length;
        let may_make_room = bound.overflow != Overflow::Refuse && length <= bound.bytes;
        while !self.has_room(length, bound) {
            let dropped = match may_make_room {
                true => self.frames.drop_oldest(self.slot, self.pool.blocks),
                false => 0,
            };
            if dropped == 0 {
                return Offered::Refused;
            }
            left_out.oldest += dropped;
        }
        if !self.frames.push_back(self.slot, offer.frame, offer.key, self.pool.blocks) {
            return Offered::NoPlace;
        }
        // What is in front of it goes on by itself: a send, a backlog that is about to be sent, or
        // the message that the handler is sending.
        debug_assert!(
            self.connection.states.is_sending()
                || self.connection.backlog.is_some()
                || self.sealed.is_waiting(self.slot)
                || !self.is_between(),
            "nothing will send what waits: {:?}",
            self.connection
        );
        Offered::Queued
    }

    /// Whether the handler is not in the middle of a message.
    fn is_between(&self) -> bool {
        self.connection.is_between_messages()
    }

    fn has_room(&self, length: u32, bound: Bound) -> bool {
        self.waiting() + u64::from(length) <= u64::from(bound.bytes)
    }

    /// Whether it is not known yet if the peer has taken all that was sent: until then it is not
    /// slow.
    fn is_outcome_open(&self) -> bool {
        let waits_to_be_sealed = self.sealed.is_waiting(self.slot);
        waits_to_be_sealed
            || (self.connection.states.is_in_batch()
                && !self.connection.states.is_blocked()
                && self.connection.backlog.is_none())
    }

    /// What is to be sent in this batch of the frames that wait, if nothing is on its way. Several
    /// leave together, put together in staging memory, if they `may_cork`.
    pub fn next(&mut self, may_cork: bool) -> Option<NextSend> {
        let states = self.connection.states;
        let is_busy =
            states.is_sending() || !self.is_between() || self.connection.backlog.is_some();
        if is_busy || !states.has(States::QUEUED) || self.frames.is_begun(self.slot) {
            return None;
        }
        let first = self.frames.front(self.slot, self.pool.blocks).map_or(0, |span| span.length);
        let are_several = self.frames.bytes(self.slot) > first;
        let corked = if are_several && may_cork { self.cork() } else { None };
        let outgoing = corked.or_else(|| {
            let frame = self.frames.pop_front(self.slot, self.pool.blocks)?;
            // The queue's reference goes over to the batch.
            Some(NextSend { span: self.frames.span(frame, self.pool.blocks), frame: Some(frame) })
        });
        self.connection.states.put(States::QUEUED, !self.frames.is_empty(self.slot));
        outgoing
    }

    /// Puts what waits together in staging memory; `None` if there is no room for the first.
    fn cork(&mut self) -> Option<NextSend> {
        let Pool { blocks, memory } = &mut self.pool;
        let mut corked = Span { area: AreaName::Staging, start: *self.staged, length: 0 };
        let room = memory.area(AreaName::Staging).len() as u32 - corked.start;
        while let Some(span) = self.frames.front(self.slot, blocks) {
            if corked.length + span.length > room.min(CORK) {
                break;
            }
            memory.copy(span, Span { start: corked.end(), length: span.length, ..corked });
            corked.length += span.length;
            if let Some(frame) = self.frames.pop_front(self.slot, blocks) {
                self.frames.release(frame, blocks);
            }
        }
        *self.staged = corked.end();
        (corked.length > 0).then_some(NextSend { span: corked, frame: None })
    }

    /// What is to be sent next by a send that waits for the peer, or sealed next. A frame has begun
    /// from here on.
    pub fn first(&mut self) -> Option<Span> {
        let ahead = self.sealed.ahead(self.slot);
        if ahead > 0 {
            return self.backlog().front().map(|span| span.part(0, span.length.min(ahead)));
        }
        if !self.frames.is_begun(self.slot) {
            if let Some(span) = self.backlog().front() {
                return Some(span);
            }
            let states = self.connection.states;
            // Behind a Close frame nothing goes.
            let may_begin = self.is_between() && !self.connection.is_closing();
            if !states.has(States::QUEUED) || !may_begin {
                return None;
            }
            self.frames.begin(self.slot);
        }
        self.frames.front(self.slot, self.pool.blocks)
    }

    /// So many bytes of what goes first were sent, or sealed.
    pub fn sent(&mut self, count: u32) {
        if self.sealed.ahead(self.slot) > 0 {
            self.sealed.take(self.slot, count);
            return self.backlog().consume(count);
        }
        if !self.frames.is_begun(self.slot) {
            return self.backlog().consume(count);
        }
        self.frames.consume(self.slot, count, self.pool.blocks);
        self.connection.states.put(States::QUEUED, !self.frames.is_empty(self.slot));
    }

    /// Whether something waits that the peer had no room for. Frames that have not begun are tried
    /// anew, all together, or wait for the end of a message, which comes only if the peer is read
    /// from again.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.connection.backlog.is_some() || self.frames.is_begun(self.slot)
    }

    /// A send of the batch fell short: the rest of it goes first.
    ///
    /// # Errors
    /// There is no block for it: part of a frame is lost.
    pub fn fell_short(&mut self, rest: Span) -> Result<(), Full> {
        self.connection.states.set(States::BLOCKED);
        self.backlog().push_front(rest)
    }

    /// A send of sealed bytes fell short: the rest goes first, and as it is.
    ///
    /// # Errors
    /// There is no block for it: part of a frame is lost.
    pub fn sealed_fell_short(&mut self, rest: Span) -> Result<(), Full> {
        self.fell_short(rest)?;
        self.sealed.add(self.slot, rest.length);
        Ok(())
    }

    /// What a transport says itself waits, as it is. Nothing waits that is yet to be sealed.
    ///
    /// # Errors
    /// There is no block for it.
    pub fn words_wait(&mut self, words: &[u8]) -> Result<(), Full> {
        debug_assert_eq!(self.sealed.ahead(self.slot), self.connection.backlog_bytes, "in order");
        self.backlog().push_back(&[Payload::Bytes(words)], u32::MAX)?;
        self.sealed.add(self.slot, words.len() as u32);
        Ok(())
    }

    /// A frame to which nothing was in the way was sealed in part, or not at all: what is left of
    /// it waits.
    pub fn frame_waits(&mut self, frame: FrameId, sealed: u32) {
        self.connection.states.set(States::QUEUED);
        self.frames.push_front(self.slot, frame, sealed, self.pool.blocks);
    }

    /// A frame was sent in part, or not at all: it waits at the front.
    pub fn frame_fell_short(&mut self, frame: FrameId, sent: u32) {
        self.connection.states.set(States::BLOCKED | States::QUEUED);
        self.frames.push_front(self.slot, frame, sent, self.pool.blocks);
    }

    /// Leaves out what waits, but for a frame that has begun and for the backlog; how many messages
    /// that were.
    pub fn leave_out(&mut self) -> u64 {
        if !self.connection.states.has(States::QUEUED) {
            return 0;
        }
        let dropped = self.frames.drop_waiting(self.slot, self.pool.blocks);
        self.connection.states.put(States::QUEUED, !self.frames.is_empty(self.slot));
        dropped
    }

    /// Leaves out what was published and waits, but for a frame that has begun: answers stay, and
    /// the backlog does; how many messages that were.
    pub fn leave_out_published(&mut self) -> u64 {
        if !self.connection.states.has(States::QUEUED) {
            return 0;
        }
        let dropped = self.frames.drop_published(self.slot, self.pool.blocks);
        self.connection.states.put(States::QUEUED, !self.frames.is_empty(self.slot));
        dropped
    }

    /// Gives everything up: the connection has ended.
    pub fn clear(&mut self) {
        self.backlog().clear();
        self.sealed.forget(self.slot);
        self.frames.clear(self.slot, self.pool.blocks);
    }
}
