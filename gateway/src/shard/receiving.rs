//! Receiving: parked on a poll, then one receive into a buffer that is there.
//!
//! A connection that never says much is parked on polls that complete once, and can be closed as it
//! is when one has. A connection that talks keeps one poll armed, which tells only of what arrives
//! behind its last completion. So nothing may be left to it that was told of: whoever takes such a
//! completion either receives, or there is something that will (see `readable`), and goes on
//! receiving until a receive has emptied the socket.

use tidegate_proto::keepalive::Wait;

use super::Shard;
use super::connections::Connections;
use super::sockets::Sockets;
use crate::config::SlowPeer;
use crate::connection::{Poll, Reading, Stage, States};
use crate::kernel::{BufferId, Errno, Generation, Operation, Ring, Slot, Span};
use crate::memory::{Share, gathered};

/// How many of those that open or end one turn of the loop receives from: a quarter of a
/// millisecond's work.
const CROWD_AT_ONCE: usize = 8;

/// Received bytes, and the buffer that they are in.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) buffer: BufferId,
    pub(super) span: Span,
}

impl<R: Ring> Shard<R> {
    /// A receive into a provided buffer is done.
    pub(super) fn received(
        &mut self,
        (slot, generation): (Slot, Generation),
        buffer: Option<BufferId>,
        result: Result<u32, Errno>,
        more: bool,
    ) {
        self.connections.sockets.buffers.received(buffer);
        let current = self.connections.sockets.table.current(slot, generation);
        let is_wanted = current.is_some_and(|connection| {
            self.connections.sockets.put_off.discharge(connection);
            connection.states.set_reading(Reading::Idle);
            connection.states.clear(States::HEAVY);
            connection.stage != Stage::Zombie
        });
        if let (Ok(count @ 1..), Some(buffer), true) = (result, buffer, is_wanted) {
            self.connections.sockets.counters.bytes_in += u64::from(count);
            let span = self.connections.sockets.buffers.received_in(buffer, count);
            self.arrived(slot, Arrival { buffer, span });
        }
        if let Some(buffer) = buffer {
            self.connections.sockets.buffers.release(buffer);
        }
        if is_wanted {
            self.connections.after_receive(slot, generation, result, more);
        }
    }

    /// A receive into the gathered block is done.
    pub(super) fn received_into(
        &mut self,
        (slot, generation): (Slot, Generation),
        result: Result<u32, Errno>,
        more: bool,
    ) {
        let Some(connection) = self.connections.sockets.table.current(slot, generation) else {
            return;
        };
        connection.states.set_reading(Reading::Idle);
        if connection.stage == Stage::Zombie {
            return self.connections.bury(slot);
        }
        let block = connection.gathered;
        if connection.stage != Stage::Open {
            // It was closing meanwhile, and could not give the block up.
            gathered::release(&mut connection.gathered, &mut self.connections.sockets.blocks);
        } else if let (Ok(count @ 1..), Some(block)) = (result, block) {
            self.connections.sockets.counters.bytes_in += u64::from(count);
            self.connections.sockets.is_active(slot);
            let mut turn = self.connections.turn(slot, None);
            turn.gathered(block, count);
            let finished = turn.finish();
            self.connections.complete(slot, None, finished);
        }
        self.connections.after_receive(slot, generation, result, more);
    }

    /// Bytes have come in.
    fn arrived(&mut self, slot: Slot, arrival: Arrival) {
        self.connections.sockets.is_active(slot);
        let connection = &mut self.connections.sockets.table[slot];
        match connection.stage {
            Stage::Head => self.connections.take_head(slot, arrival),
            Stage::Open => {
                connection.states.put(States::TALKS, connection.states.has(States::SPOKE));
                connection.states.set(States::SPOKE);
                self.take_frames(slot, arrival);
            }
            Stage::Free | Stage::Lingering | Stage::Zombie => {}
        }
    }

    /// Works on frames.
    pub(super) fn take_frames(&mut self, slot: Slot, arrival: Arrival) {
        if self.connections.sockets.waits_for_room(slot) {
            return self.connections.sockets.lay_aside(slot, arrival);
        }
        let mut turn = self.connections.turn(slot, Some(arrival.buffer));
        turn.frames(arrival.span);
        let finished = turn.finish();
        self.connections.complete(slot, Some(arrival.buffer), finished);
    }
}

impl<R: Ring> Connections<R> {
    pub(super) fn readable(
        &mut self,
        (slot, generation): (Slot, Generation),
        armed: bool,
        ended: bool,
    ) {
        let Some(connection) = self.sockets.table.current(slot, generation) else { return };
        if !armed {
            connection.states.set_poll(Poll::Off);
        }
        if ended {
            connection.states.set(States::ENDING);
        }
        // A receive that is in flight has not been carried out when this completion came about:
        // completions of a connection keep their order, and the receive's would have come first. So
        // it takes what is told of here, or says that there is more. The others receive later.
        let is_read_anyway = connection.states.reading() != Reading::Idle;
        if connection.stage == Stage::Zombie || is_read_anyway {
            return;
        }
        if self.sockets.ready.contains(slot) || self.sockets.held.contains(slot) {
            return;
        }
        if self.sockets.opens_or_ends(slot) {
            return self.sockets.crowd.insert(slot);
        }
        self.read(slot);
    }

    /// Receives, unless the connection has to wait.
    fn read(&mut self, slot: Slot) {
        if self.must_pause(slot) {
            self.sockets.counters.slow_peers_paused += 1;
            self.sockets.table[slot].states.set_reading(Reading::Paused);
        } else if !self.must_hold(slot) {
            self.sockets.receive(slot);
        }
    }

    /// Receives from connections that are readable and had to wait, as far as there are buffers.
    pub(super) fn serve_ready(&mut self) {
        // Each at most once: a connection that may not receive yet is put back.
        for _ in 0..self.sockets.ready.len() {
            if !self.sockets.has_room_to_receive() {
                return;
            }
            let Some(slot) = self.sockets.ready.pop() else { return };
            self.read(slot);
        }
    }

    /// Receives from some of those that open or end. Ten thousand may do so at once, and all that
    /// one turn takes in has to wait for each other.
    pub(super) fn serve_crowd(&mut self) {
        for _ in 0..self.sockets.crowd.len().min(CROWD_AT_ONCE) {
            if !self.sockets.has_room_to_receive() {
                return;
            }
            let Some(slot) = self.sockets.crowd.pop() else { return };
            if self.sockets.table[slot].stage == Stage::Head
                && self.services.has_hub()
                && self.hub.is_overfull()
            {
                // Other shards do not keep up with those that have opened.
                self.sockets.counters.openings_held += 1;
                self.sockets.crowd.insert(slot);
                continue;
            }
            let is_read_anyway = self.sockets.table[slot].states.reading() != Reading::Idle;
            if !is_read_anyway && !self.sockets.ready.contains(slot) {
                self.read(slot);
            }
        }
    }

    /// Whether serving those that open or end is work for the next turn.
    pub(super) fn may_serve_crowd(&self) -> bool {
        let waits = self.services.has_hub() && self.hub.is_overfull();
        !self.sockets.crowd.is_empty() && !waits
    }

    /// What comes after a receive.
    pub(super) fn after_receive(
        &mut self,
        slot: Slot,
        generation: Generation,
        result: Result<u32, Errno>,
        more: bool,
    ) {
        let Some(connection) = self.sockets.table.current(slot, generation) else { return };
        if connection.stage == Stage::Zombie {
            return;
        }
        if connection.states.reading() == Reading::PutOff {
            return;
        }
        // Bytes that stand before a reset are received as if nothing came behind them.
        let more = more || connection.states.has(States::ENDING);
        match result {
            Ok(1..) if more => self.sockets.wait_to_receive(slot),
            Ok(1..) | Err(Errno::AGAIN) => self.sockets.listen(slot),
            Err(Errno::NO_BUFFERS) => {
                self.sockets.counters.receives_without_buffer += 1;
                self.sockets.wait_to_receive(slot);
            }
            Ok(0) => self.peer_ended(slot),
            Err(_) => self.peer_failed(slot),
        }
    }

    /// Whether the route's policy is to read nothing from the peer until it has taken what is
    /// queued for it.
    fn must_pause(&self, slot: Slot) -> bool {
        let connection = &self.sockets.table[slot];
        connection.stage == Stage::Open
            && (connection.backlog.is_some() || connection.states.has(States::BLOCKED))
            && self.service(slot).limits.slow_peer == SlowPeer::Pause
    }
}

impl<R: Ring> Sockets<R> {
    /// Waits for the connection to become readable; its socket is empty, or not known to be
    /// readable if no poll is armed.
    pub(super) fn listen(&mut self, slot: Slot) {
        let connection = &mut self.table[slot];
        if connection.states.poll() == Poll::Stays {
            return;
        }
        let stays = connection.states.has(States::TALKS);
        connection.states.set_poll(if stays { Poll::Stays } else { Poll::Once });
        connection.check();
        let generation = connection.generation;
        self.ring.push(if stays {
            Operation::PollOn { slot, generation }
        } else {
            Operation::Poll { slot, generation }
        });
    }

    /// Reads again from a connection that was paused. A poll that stayed armed has told of what is
    /// there and will not tell of it again; one that is armed anew will.
    pub(super) fn read_on(&mut self, slot: Slot) {
        if self.table[slot].states.poll() == Poll::Stays {
            self.ready.insert(slot);
        } else {
            self.listen(slot);
        }
    }

    /// It is readable, and has its turn later.
    fn wait_to_receive(&mut self, slot: Slot) {
        if self.opens_or_ends(slot) {
            self.crowd.insert(slot);
        } else {
            self.ready.insert(slot);
        }
    }

    fn opens_or_ends(&self, slot: Slot) -> bool {
        self.table[slot].stage == Stage::Head || self.table[slot].states.has(States::ENDING)
    }

    fn has_room_to_receive(&self) -> bool {
        let has_buffer = self.buffers.has_one() && self.could_answer();
        has_buffer && self.ring.room() > super::OPERATIONS_PER_EVENT
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
    pub(super) fn receive(&mut self, slot: Slot) {
        if let Some(span) = self.direct_target(slot) {
            self.has_receives = true;
            let connection = &mut self.table[slot];
            connection.states.set_reading(Reading::ReceivingInto);
            let generation = connection.generation;
            return self.ring.push(Operation::ReceiveInto { slot, generation, span });
        }
        if !self.put_off.admit(&mut self.table[slot]) {
            return self.wait_to_receive(slot);
        }
        if !self.could_answer() || !self.buffers.lend_one(&mut self.ring) {
            self.put_off.discharge(&mut self.table[slot]);
            self.counters.buffer_waits += 1;
            return self.wait_to_receive(slot);
        }
        let connection = &mut self.table[slot];
        connection.states.set_reading(Reading::Receiving);
        connection.check();
        let generation = connection.generation;
        self.has_receives = true;
        self.ring.push(Operation::Receive { slot, generation });
    }

    /// Whether one more answer could wait, should all peers who are being answered not take theirs:
    /// of an echo as much as one receive buffer, of others what the staging memory holds. So a
    /// small pool makes for fewer receives at a time.
    fn could_answer(&self) -> bool {
        let limits = &self.limits;
        let receives = u64::from(self.buffers.receives() + self.buffers.held());
        let answers = (receives + 1) * u64::from(limits.receive_buffer);
        receives == 0
            || answers + u64::from(limits.staging) <= self.blocks.own_free_bytes(Share::Sending)
    }

    /// Where the rest of a large frame belongs, if it is being gathered and would not fit a receive
    /// buffer.
    fn direct_target(&self, slot: Slot) -> Option<Span> {
        let connection = &self.table[slot];
        let block = connection.gathered.filter(|_| connection.stage == Stage::Open)?;
        let remaining = connection.websocket.receiver.data_remaining();
        if remaining < u64::from(self.limits.receive_buffer) {
            return None;
        }
        let room = self.blocks.room(block);
        let length = u64::from(room.length).min(remaining) as u32;
        (length > 0).then_some(Span { length, ..room })
    }
}
