//! Published frames on their way to one connection: at once, or by its outbox, within what its
//! route lets wait.

use super::connections::Connections;
use super::sending::{BatchSend, SentFrom};
use super::services::ServiceLimits;
use super::sockets::Sockets;
use crate::config::SlowPeer;
use crate::connection::{
    Bound, CLOSE_RESERVE, LeftOut, Offer, Offered, Outbox, Outgoing, Overflow, Stage, States,
    Writing,
};
use crate::kernel::{Operation, Ring, Slot, Span};
use crate::memory::{Pool, Share};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
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

impl ServiceLimits {
    /// What may wait for one connection.
    fn bound(&self) -> Bound {
        let overflow = match self.slow_peer {
            SlowPeer::Pause | SlowPeer::Close | SlowPeer::DropNewest => Overflow::Refuse,
            SlowPeer::DropOldest => Overflow::DropOldest,
            SlowPeer::Conflate => Overflow::Conflate,
        };
        Bound { bytes: self.backlog.saturating_sub(CLOSE_RESERVE), overflow }
    }
}

impl<R: Ring> Connections<R> {
    /// Delivers a frame to a connection that may be told.
    pub(super) fn deliver(&mut self, slot: Slot, offer: Offer) -> Delivered {
        let bound = self.service(slot).limits.bound();
        let (offered, LeftOut { oldest, conflated }) =
            self.sockets.outbox(slot).offer(offer, bound);
        self.sockets.counters.slow_dropped_oldest += u64::from(oldest);
        self.sockets.counters.slow_conflated += u64::from(conflated);
        match offered {
            Offered::AtOnce => self.sockets.launch(slot, offer.span, SentFrom::Frame(offer.frame)),
            // What is sent before it may succeed without a word: look again when that is settled.
            Offered::Queued => {
                self.sockets.flush_soon |= self.sockets.table[slot].states.is_in_batch();
            }
            Offered::Refused => {
                self.is_slow(slot, offer.messages);
                return Delivered::Refused;
            }
            Offered::NoPlace => {
                // Others hold all places: they give way before this one is called slow.
                self.sockets.counters.deliveries_without_place += 1;
                self.sockets.flush_soon |= !self.sockets.batch.is_empty();
                self.sockets.shortages += 1;
                return Delivered::Waits;
            }
            Offered::Undecided => {
                self.sockets.flush_soon = true;
                return Delivered::Waits;
            }
        }
        self.sockets.counters.deliveries += u64::from(offer.messages);
        Delivered::Taken
    }

    /// The peer cannot take a message: does what its route says.
    fn is_slow(&mut self, slot: Slot, messages: u32) {
        match self.service(slot).limits.slow_peer {
            SlowPeer::Pause | SlowPeer::Close => self.close_slow(slot),
            SlowPeer::DropNewest | SlowPeer::DropOldest | SlowPeer::Conflate => {
                self.sockets.counters.slow_dropped_newest += u64::from(messages);
            }
        }
    }

    fn close_slow(&mut self, slot: Slot) {
        let mut turn = self.turn(slot, None);
        turn.slow();
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }
}

impl<R: Ring> Sockets<R> {
    /// The way out to a connection.
    pub(super) fn outbox(&mut self, slot: Slot) -> Outbox<'_> {
        Outbox {
            slot,
            connection: &mut self.table[slot],
            frames: &mut self.frames,
            pool: Pool { blocks: &mut self.blocks, memory: &mut self.memory },
            staged: &mut self.staged,
        }
    }

    /// Whether a connection can be told anything. One whose peer has ended only gets what it was
    /// told before.
    pub(super) fn may_be_told(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        connection.stage == Stage::Open
            && connection.websocket.is_open
            && connection.websocket.closing.may_send()
    }

    /// Whether nothing waits for the connection, and it can be told something.
    pub(super) fn is_clear(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        !connection.must_queue()
            && !connection.states.has(States::BLOCKED)
            && connection.websocket.sender.is_between()
    }

    /// Sends what waits of published frames to a connection to which nothing else is being sent.
    pub(super) fn launch_queued(&mut self, slot: Slot) {
        if self.table[slot].stage == Stage::Zombie {
            return;
        }
        let may_cork = self.may_cork();
        let Some(Outgoing { span, frame }) = self.outbox(slot).next(may_cork) else { return };
        self.flush_soon |= self.table[slot].states.has(States::QUEUED);
        self.launch(slot, span, frame.map_or(SentFrom::Staging, SentFrom::Frame));
        // The queue's reference goes over to the batch.
        self.done_frames.extend(frame);
    }

    /// Whether frames may be put together. What falls short of them is a copy for one connection,
    /// where the frames were one for all: not of the blocks that are kept for answers.
    fn may_cork(&self) -> bool {
        self.blocks.own_free_bytes(Share::Sending) >= self.sending_reserve()
    }

    /// Sends bytes in the batch.
    pub(super) fn launch(&mut self, slot: Slot, span: Span, from: SentFrom) {
        let connection = &mut self.table[slot];
        debug_assert!(!connection.states.is_sending(), "two sends at a time: {connection:?}");
        connection.states.set_writing(Writing::InBatch);
        let generation = connection.generation;
        let batch_index = self.batch.len() as u32;
        self.batch.push(BatchSend { slot, generation, span, from });
        self.ring.push(Operation::Send { slot, batch_index, span });
    }
}
