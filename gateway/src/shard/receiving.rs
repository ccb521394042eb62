//! Receiving: parked on a poll, then one receive into a buffer that is there.

use tidegate_proto::keepalive::Wait;

use super::Shard;
use crate::config::SlowPeer;
use crate::connection::{self, Flags, Stage};
use crate::uring::{BufferId, Errno, Generation, HEADROOM, Operation, Ring, Slot, Span};

/// Received bytes: `HEADROOM..end` of a buffer.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) buffer: BufferId,
    pub(super) end: usize,
}

impl<R: Ring> Shard<R> {
    /// Waits for the connection to become readable.
    pub(super) fn listen(&mut self, slot: Slot) {
        let connection = &mut self.table[slot];
        connection.flags.set(Flags::POLLED);
        connection.check();
        let generation = connection.generation;
        self.ring.push(Operation::Poll { slot, generation });
    }

    pub(super) fn readable(&mut self, slot: Slot, generation: Generation) {
        let Some(connection) = self.table.current(slot, generation) else { return };
        connection.flags.clear(Flags::POLLED);
        if connection.stage == Stage::Zombie {
            return;
        }
        if self.must_pause(slot) {
            self.counters.slow_peers_paused += 1;
            self.table[slot].flags.set(Flags::PAUSED);
            return;
        }
        if !self.must_hold(slot) {
            self.receive(slot);
        }
    }

    /// Receives from connections that are readable and had to wait, as far as there are buffers.
    pub(super) fn serve_ready(&mut self) {
        // Each at most once: a connection that may not receive yet is put back.
        for _ in 0..self.ready.len() {
            if !self.buffers.has_one() || self.ring.room() <= super::OPERATIONS_PER_EVENT {
                return;
            }
            let Some(slot) = self.ready.pop() else { return };
            if self.must_pause(slot) {
                self.counters.slow_peers_paused += 1;
                self.table[slot].flags.set(Flags::PAUSED);
            } else if !self.must_hold(slot) {
                self.receive(slot);
            }
        }
    }

    /// A receive into a provided buffer is done.
    pub(super) fn received(
        &mut self,
        (slot, generation): (Slot, Generation),
        buffer: Option<BufferId>,
        result: Result<u32, Errno>,
        more: bool,
    ) {
        self.buffers.received(buffer);
        let current = self.table.current(slot, generation);
        let is_wanted = current.is_some_and(|connection| {
            self.put_off.discharge(connection);
            connection.flags.clear(Flags::RECEIVING | Flags::HEAVY);
            connection.stage != Stage::Zombie
        });
        let held = match (result, buffer) {
            (Ok(count), Some(buffer)) if is_wanted && count > 0 => {
                self.counters.bytes_in += u64::from(count);
                let end = HEADROOM + count as usize;
                self.arrived(slot, Arrival { buffer, end })
            }
            _ => false,
        };
        if let Some(buffer) = buffer.filter(|_| !held) {
            self.buffers.give_back(buffer);
        }
        if is_wanted {
            self.after_receive(slot, generation, result, more);
        }
    }

    /// A receive into the gathered block is done.
    pub(super) fn received_into(
        &mut self,
        (slot, generation): (Slot, Generation),
        result: Result<u32, Errno>,
        more: bool,
    ) {
        let Some(connection) = self.table.current(slot, generation) else { return };
        connection.flags.clear(Flags::RECEIVING | Flags::RECEIVING_INTO);
        if connection.stage == Stage::Zombie {
            return self.bury(slot);
        }
        let block = connection.gathered;
        if connection.stage != Stage::Open {
            // It was closing meanwhile, and could not give the block up.
            connection::release(&mut connection.gathered, &mut self.blocks);
        } else if let (Ok(count @ 1..), Some(block)) = (result, block) {
            self.counters.bytes_in += u64::from(count);
            self.is_active(slot);
            let mut turn = self.turn(slot, None);
            turn.gathered(block, count);
            let finished = turn.finish();
            self.complete(slot, None, finished);
        }
        self.after_receive(slot, generation, result, more);
    }

    /// Bytes have come in; returns whether their buffer is held.
    fn arrived(&mut self, slot: Slot, arrival: Arrival) -> bool {
        self.is_active(slot);
        match self.table[slot].stage {
            Stage::Head => self.take_head(slot, arrival),
            Stage::Open => self.take_frames(slot, arrival, HEADROOM),
            Stage::Free | Stage::Lingering | Stage::Zombie => false,
        }
    }

    /// Works on frames from `start` on; returns whether their buffer is held.
    pub(super) fn take_frames(&mut self, slot: Slot, arrival: Arrival, start: usize) -> bool {
        let mut turn = self.turn(slot, Some(arrival.buffer));
        turn.frames(start..arrival.end);
        let finished = turn.finish();
        self.complete(slot, Some(arrival.buffer), finished)
    }

    /// What comes after a receive.
    pub(super) fn after_receive(
        &mut self,
        slot: Slot,
        generation: Generation,
        result: Result<u32, Errno>,
        more: bool,
    ) {
        let Some(connection) = self.table.current(slot, generation) else { return };
        if connection.stage == Stage::Zombie {
            return;
        }
        if connection.flags.has(Flags::PUT_OFF) {
            return;
        }
        match result {
            Ok(1..) if more => self.ready.insert(slot),
            Ok(1..) | Err(Errno::AGAIN) => self.listen(slot),
            Err(Errno::NO_BUFFERS) => {
                self.counters.receives_without_buffer += 1;
                self.ready.insert(slot);
            }
            Ok(0) => self.peer_ended(slot),
            Err(_) => self.peer_failed(slot),
        }
    }

    /// Any byte from the peer shows that it lives.
    fn is_active(&mut self, slot: Slot) {
        let wait = self.table[slot].wait;
        if wait.handle_activity() == Wait::Activity {
            if wait == Wait::Pong {
                self.stalled.remove(&slot);
            }
            self.wait_for(slot, Wait::Activity);
        }
    }

    /// Receives into a provided buffer, or straight into the block of a large message.
    fn receive(&mut self, slot: Slot) {
        if let Some(span) = self.direct_target(slot) {
            let connection = &mut self.table[slot];
            connection.flags.set(Flags::RECEIVING | Flags::RECEIVING_INTO);
            let generation = connection.generation;
            return self.ring.push(Operation::ReceiveInto { slot, generation, span });
        }
        if !self.put_off.admit(&mut self.table[slot]) {
            return self.ready.insert(slot);
        }
        if !self.buffers.lend_one(&mut self.ring) {
            self.put_off.discharge(&mut self.table[slot]);
            self.counters.buffer_waits += 1;
            return self.ready.insert(slot);
        }
        let connection = &mut self.table[slot];
        connection.flags.set(Flags::RECEIVING);
        connection.check();
        let generation = connection.generation;
        self.ring.push(Operation::Receive { slot, generation });
    }

    /// Where the rest of a large frame belongs, if it is being gathered and would not fit a receive
    /// buffer.
    fn direct_target(&self, slot: Slot) -> Option<Span> {
        let connection = &self.table[slot];
        let block = connection.gathered.filter(|_| connection.stage == Stage::Open)?;
        let remaining = connection.receiver.data_remaining();
        if remaining < u64::from(self.config.limits.receive_buffer) {
            return None;
        }
        let room = self.blocks.room(block);
        let length = u64::from(room.length).min(remaining) as u32;
        (length > 0).then_some(Span { length, ..room })
    }

    /// Whether the route's policy is to read nothing from the peer until it has taken what is
    /// queued for it.
    fn must_pause(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        connection.stage == Stage::Open
            && (connection.backlog.is_some() || connection.flags.has(Flags::BLOCKED))
            && self.config.routes[usize::from(connection.route)].slow_peer == SlowPeer::Pause
    }
}
