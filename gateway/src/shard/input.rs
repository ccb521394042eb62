//! What has come in goes to what is spoken on its connection.

use super::connections::opening::open_received;
use super::connections::receiving::has_cause_to_hold;
use super::connections::{Connections, is_amid_message};
use super::sockets::Sockets;
use super::sockets::put_off::LaidAside;
use super::sockets::receiving::Arrival;
use super::{OPERATIONS_PER_EVENT, Shard};
use crate::connection::{Reading, Stage, States};
use crate::kernel::{BufferId, Errno, Generation, Ring, Slot, SlotRef};
use crate::memory::gathered;
use crate::protocol;
use crate::shard::sockets::kept;
use crate::shard::sockets::sealing;

/// From how many of those that open or end one turn of the loop receives: a quarter of a
/// millisecond's work. Who shakes hands first counts as [`HANDSHAKE`] of them.
const CROWD_AT_ONCE: usize = 8;

/// A signature and a key exchange take as long as so many openings without them.
const HANDSHAKE: usize = 4;

/// Of how many that are held one turn of the loop asks whether they still have to be, while others
/// do.
const HELD_AT_ONCE: usize = 64;

impl<R: Ring> Shard<R> {
    /// Receives from connections that are readable and had to wait, as far as there are buffers.
    pub(super) fn serve_ready(&mut self) {
        // Each at most once: a connection that may not receive yet is put back.
        for _ in 0..self.connections.sockets.ready.len() {
            if !self.connections.sockets.has_room_to_receive() {
                return;
            }
            let Some(slot) = self.connections.sockets.ready.pop() else { return };
            self.connections.read(slot);
        }
    }

    /// Receives from some of those that open or end. Ten thousand may do so at once, and all that
    /// one turn takes in has to wait for each other.
    pub(super) fn serve_crowd(&mut self) {
        admit_parked(&mut self.connections.sockets);
        let mut work = 0;
        for _ in 0..self.connections.sockets.crowd.len().min(CROWD_AT_ONCE) {
            if work >= CROWD_AT_ONCE || !self.connections.sockets.has_room_to_receive() {
                return;
            }
            let Some(slot) = self.connections.sockets.crowd.pop() else { return };
            if self.connections.sockets.table[slot].stage == Stage::Head
                && self.connections.hub.is_overfull()
            {
                // Other shards do not keep up with those that have opened.
                self.connections.sockets.counters.openings_held += 1;
                self.connections.sockets.crowd.insert(slot);
                continue;
            }
            let is_read_anyway =
                self.connections.sockets.table[slot].states.reading() != Reading::Idle;
            if !is_read_anyway && !self.connections.sockets.ready.contains(slot) {
                let shakes_hands = sealing::shakes_hands(&self.connections.sockets, slot);
                work += if shakes_hands { HANDSHAKE } else { 1 };
                self.connections.read(slot);
            }
        }
    }

    /// Whether serving those that open or end is work for the next turn.
    pub(super) fn may_serve_crowd(&self) -> bool {
        !self.connections.sockets.crowd.is_empty() && !self.connections.hub.is_overfull()
    }

    /// Lets those that were held be read from again: all once there is room for what is published,
    /// and before that, of some in each turn, who would not be held now.
    pub(super) fn resume_held(&mut self) {
        let count = self.connections.sockets.held.len();
        let is_pressed = self.connections.hub.is_pressed();
        for _ in 0..if is_pressed { count.min(HELD_AT_ONCE) } else { count } {
            let Some(slot) = self.connections.sockets.held.pop() else { return };
            if is_pressed && has_cause_to_hold(&self.connections, slot) {
                // The next turn begins behind it.
                self.connections.sockets.held.insert(slot);
            } else {
                self.connections.sockets.ready.insert(slot);
            }
        }
    }

    /// A receive into a provided buffer is done.
    pub(super) fn received(
        &mut self,
        whose: SlotRef,
        buffer: Option<BufferId>,
        result: Result<u32, Errno>,
        more: bool,
    ) {
        let SlotRef { slot, generation } = whose;
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
            self.connections.accounts.received(slot, count);
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

    /// A receive into a buffer behind what could not be opened yet is done.
    fn received_behind(&mut self, whose: SlotRef, result: Result<u32, Errno>, more: bool) {
        let SlotRef { slot, generation } = whose;
        let sockets = &mut self.connections.sockets;
        let connection = &mut sockets.table[slot];
        sockets.put_off.discharge(connection);
        connection.states.set_reading(Reading::Idle);
        connection.states.clear(States::HEAVY);
        let count = result.unwrap_or(0);
        let arrival = kept::received_behind(sockets, slot, count);
        if sockets.table[slot].stage == Stage::Zombie {
            if let Some(Arrival { buffer, .. }) = arrival {
                sockets.buffers.release(buffer);
            }
            return self.connections.bury(slot);
        }
        if let Some(arrival) = arrival {
            sockets.counters.bytes_in += u64::from(count);
            self.connections.accounts.received(slot, count);
            self.arrived(slot, arrival);
            self.connections.sockets.buffers.release(arrival.buffer);
        }
        self.connections.after_receive(slot, generation, result, more);
    }

    /// A receive into memory of the connection is done: into the gathered block, or behind what its
    /// transport could not open.
    pub(super) fn received_into(&mut self, whose: SlotRef, result: Result<u32, Errno>, more: bool) {
        let SlotRef { slot, generation } = whose;
        let Some(connection) = self.connections.sockets.table.current(slot, generation) else {
            return;
        };
        if connection.states.reading() == Reading::ReceivingBehind {
            return self.received_behind(whose, result, more);
        }
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
            self.connections.accounts.received(slot, count);
            self.connections.sockets.is_active(slot);
            self.connections.in_turn(slot, None, |turn| protocol::gathered(turn, block, count));
        }
        self.connections.after_receive(slot, generation, result, more);
    }

    /// Bytes have come in.
    fn arrived(&mut self, slot: Slot, arrival: Arrival) {
        let stage = self.connections.sockets.table[slot].stage;
        if matches!(stage, Stage::Free | Stage::Lingering | Stage::Zombie) {
            return;
        }
        self.connections.sockets.is_active(slot);
        let Some(span) = open_received(&mut self.connections, slot, arrival.span) else { return };
        let arrival = Arrival { span, ..arrival };
        if span.length == 0 {
            // Its transport waits for more.
            return;
        }
        let connection = &mut self.connections.sockets.table[slot];
        match connection.stage {
            Stage::Head => {}
            Stage::Open => {
                connection.states.put(States::TALKS, connection.states.has(States::SPOKE));
                connection.states.set(States::SPOKE);
            }
            Stage::Free | Stage::Lingering | Stage::Zombie => return,
        }
        self.take_input(slot, arrival);
    }

    /// Works on what was received.
    pub(super) fn take_input(&mut self, slot: Slot, arrival: Arrival) {
        if self.connections.sockets.waits_for_room(slot)
            && !is_amid_message(&self.connections, slot)
        {
            return self.connections.sockets.lay_aside(slot, arrival, false);
        }
        let Arrival { buffer, span } = arrival;
        self.connections.in_turn(slot, Some(buffer), |turn| protocol::input(turn, span));
    }

    /// The connection, which may be gone, takes nothing in any more.
    fn forget_message(&mut self, slot: Slot, generation: Generation) {
        let id = self.connections.hub.id(slot, generation);
        self.connections.inflating.forget(id);
    }

    /// Goes on with input that had to wait, as far as this turn's budget goes. Only when settled:
    /// answers to the input's beginning may be sent from the same buffer.
    pub(super) fn resume_put_off(&mut self) {
        // Each at most once: some have to wait again.
        for _ in 0..self.connections.sockets.put_off.len() {
            if self.connections.sockets.put_off.budget == 0
                || self.connections.sockets.ring.room() <= OPERATIONS_PER_EVENT
            {
                break;
            }
            let Some(laid_aside) = self.connections.sockets.put_off.next() else { break };
            self.resume_input(&laid_aside);
            self.connections.sockets.buffers.release(laid_aside.arrival.buffer);
        }
        self.connections.sockets.put_off.has_resumed();
    }

    /// Goes on with one connection's input.
    fn resume_input(&mut self, laid_aside: &LaidAside) {
        let LaidAside { slot, generation, arrival } = *laid_aside;
        let Some(connection) = self.connections.sockets.table.current(slot, generation) else {
            return self.forget_message(slot, generation);
        };
        connection.states.set_reading(Reading::Idle);
        match connection.stage {
            Stage::Zombie => return self.forget_message(slot, generation),
            // Behind a handshake a request may have to wait as well.
            Stage::Head | Stage::Open => self.take_input(slot, arrival),
            Stage::Free | Stage::Lingering => self.forget_message(slot, generation),
        }
        // There may be more to receive; the receive will tell.
        self.connections.after_receive(slot, generation, Ok(1), true);
    }
}

/// Lets those be read from again who were slowed, once they may send again.
pub(super) fn resume_slowed<R: Ring>(connections: &mut Connections<R>) {
    let now = connections.sockets.ring.now();
    while let Some((slot, has_input)) = connections.allotments.next_to_read(now) {
        if has_input {
            connections.sockets.ready.insert(slot);
        }
    }
}

/// Lets those begin their handshakes who had to wait, as far as there is room.
fn admit_parked<R: Ring>(sockets: &mut Sockets<R>) {
    while let Some(slot) = sockets.transports.kept.unpark_one() {
        if sealing::must_wait(sockets, slot) {
            return sockets.transports.kept.park(slot);
        }
        sockets.crowd.insert(slot);
    }
}
