//! Published frames on their way to one connection: at once, or by its outbox, within what its
//! route lets wait.

use crate::config::SlowPeer;
use crate::connection::{Bound, CLOSE_RESERVE, LeftOut, Offered, Overflow, SharedFrame};
use crate::kernel::{Ring, Slot};
use crate::protocol::services::ServiceLimits;
use crate::protocol::turn::Failing;
use crate::shard::connections::Connections;
use crate::shard::sockets::batch::SentFrom;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
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
    pub(crate) fn deliver(&mut self, slot: Slot, offer: SharedFrame) -> Delivered {
        let bound = self.service(slot).limits.bound();
        let (offered, LeftOut { oldest, conflated }) =
            self.sockets.outbox(slot).offer(offer, bound);
        self.sockets.counters.slow_dropped_oldest += u64::from(oldest);
        self.sockets.counters.slow_conflated += u64::from(conflated);
        match offered {
            Offered::AtOnce if self.sockets.seals(slot) => {
                self.sockets.launch_sealed_frame(slot, offer.frame, offer.span);
            }
            Offered::AtOnce => {
                self.sockets.launch(slot, offer.span, SentFrom::Frame(offer.frame));
            }
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
        self.accounts.delivered(slot, offer.messages, offer.span.length);
        if let Some(trace) = self.traces.of(slot) {
            trace.delivered(offer.messages, offer.span.length);
        }
        Delivered::Taken
    }

    /// The peer cannot take a message: does what its route says.
    fn is_slow(&mut self, slot: Slot, messages: u32) {
        match self.service(slot).limits.slow_peer {
            SlowPeer::Pause | SlowPeer::Close => self.close(slot, Failing::Slow),
            SlowPeer::DropNewest | SlowPeer::DropOldest | SlowPeer::Conflate => {
                self.sockets.counters.slow_dropped_newest += u64::from(messages);
            }
        }
    }
}
