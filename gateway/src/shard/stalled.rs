//! Peers that seem stalled, or gone: what they have yet to acknowledge tells.

use tidegate_proto::keepalive::Wait;

use super::Shard;
use super::connections::closing::drop_for;
use crate::connection::Stage;
use crate::kernel::{Errno, Generation, Ring, Slot};
use crate::protocol::end_reason::EndReason;
use crate::protocol::services::STALL_ROUNDS;

/// What a peer has yet to acknowledge, if the kernel has not said so.
const UNKNOWN: u32 = u32::MAX;

/// What is known of a peer that seems stalled, or gone.
#[derive(Clone, Copy)]
pub(super) struct Stalled {
    /// Bytes that it had yet to acknowledge.
    unacknowledged: u32,
    /// How often in a row that had not become less.
    rounds: u8,
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
        let before = self.connections.sockets.stalled.get(slot).copied();
        // A kernel that does not say leaves the time alone to decide.
        let known = before.map_or(UNKNOWN, |before| before.unacknowledged);
        let count = result.unwrap_or(known);
        match wait {
            Wait::Progress => self.seems_stalled(slot, count, before),
            _ if count == UNKNOWN => self.seems_gone(slot, 0, before),
            _ => self.seems_gone(slot, count, before),
        }
    }

    /// What a silent peer was sent was not answered in time. It may stand behind what the peer has
    /// not read yet: then it has as long as any peer that stalls, and, once it has acknowledged all
    /// of it, as long for its answer as any other. `count`: bytes that it has yet to acknowledge.
    fn seems_gone(&mut self, slot: Slot, count: u32, before: Option<Stalled>) {
        let profile = self.connections.sockets.profile(slot);
        let probe = profile.probe;
        let (pong, round) = (profile.ticks(Wait::Pong), profile.ticks(Wait::Progress));
        let rounds = match before {
            Some(before) if count >= before.unacknowledged => before.rounds + 1,
            _ => 0,
        };
        let (most, ticks) = match count {
            // It was acknowledged just now, or long ago and in vain.
            0 => (0, pong.filter(|_| before.is_some_and(|before| before.unacknowledged > 0))),
            // Nothing else is on its way.
            count if count <= probe => (1, pong.map(|pong| pong.div_ceil(4))),
            _ => (STALL_ROUNDS, round),
        };
        let Some(ticks) = ticks.filter(|_| rounds < most || (count == 0 && rounds == 0)) else {
            self.connections.sockets.counters.peers_gone += 1;
            return drop_for(&mut self.connections, slot, EndReason::PingTimeout);
        };
        self.connections.sockets.stalled.insert(slot, Stalled { unacknowledged: count, rounds });
        self.connections.sockets.table[slot].laps =
            self.connections.sockets.deadlines.set(slot, Some(ticks));
    }

    fn seems_stalled(&mut self, slot: Slot, count: u32, before: Option<Stalled>) {
        let rounds = match before {
            Some(Stalled { unacknowledged, rounds })
                if count >= unacknowledged || unacknowledged == UNKNOWN =>
            {
                rounds + 1
            }
            _ => 0,
        };
        if rounds >= STALL_ROUNDS {
            self.connections.sockets.counters.peers_stalled += 1;
            return drop_for(&mut self.connections, slot, EndReason::Stalled);
        }
        self.connections.sockets.stalled.insert(slot, Stalled { unacknowledged: count, rounds });
        self.connections.sockets.wait_for(slot, Wait::Progress);
    }
}
