//! The ends of a connection.

use tidegate_proto::keepalive::{Expiry, Wait};
use tidegate_proto::websocket::code::CloseCode;

use super::Shard;
use super::connections::Connections;
use super::sockets::Sockets;
use crate::connection::{AfterFlush, Connection, Poll, Reading, Stage, Writing};
use crate::handler::{End, Refusal};
use crate::kernel::{Operation, Ring, Slot};
use crate::memory::gathered;

/// How a connection ends that its peer just ends.
const ABRUPT: End = End { code: CloseCode::ABNORMAL, by_peer: true };

/// How a connection ends that we just end.
const DROPPED: End = End { code: CloseCode::ABNORMAL, by_peer: false };

impl<R: Ring> Shard<R> {
    /// What the connection waited for has not come.
    pub(super) fn expire(&mut self, slot: Slot) {
        let connection = &mut self.connections.sockets.table[slot];
        if connection.stage == Stage::Free || connection.stage == Stage::Zombie {
            return;
        }
        if connection.laps > 0 {
            connection.laps -= 1;
            return self.connections.sockets.deadlines.go_round(slot);
        }
        let (wait, generation) = (connection.wait, connection.generation);
        let is_for_input = matches!(wait, Wait::Activity | Wait::Pong);
        if is_for_input && self.connections.sockets.held.contains(slot) {
            // What it may have said is not read for now.
            return self.connections.sockets.wait_for(slot, wait);
        }
        // A Pong may always be in what is unread, since any byte is one.
        if (wait == Wait::Pong || self.connections.sockets.is_lenient())
            && self.connections.sockets.is_unread(slot)
        {
            self.connections.sockets.table[slot].laps =
                self.connections.sockets.deadlines.set(slot, Some(1));
            return;
        }
        match wait.expire() {
            Expiry::RefuseHead => self.head_timed_out(slot),
            Expiry::SendPing => self.ping(slot),
            // Its Ping may stand behind what it has not read yet: what it has acknowledged tells.
            Expiry::PeerGone | Expiry::PeerStalled => {
                self.connections
                    .sockets
                    .ring
                    .push(Operation::AskUnacknowledged { slot, generation });
            }
            Expiry::CloseTimedOut => {
                self.connections.sockets.counters.close_timeouts += 1;
                self.connections.drop_connection(slot);
            }
        }
    }

    /// What is half received has not become whole in time.
    pub(super) fn expire_half(&mut self, slot: Slot) {
        if !self.connections.sockets.halves.is_due(slot, self.connections.sockets.deadlines.now()) {
            // It became whole meanwhile.
            return;
        }
        let connection = &self.connections.sockets.table[slot];
        let is_half = connection.gathered.is_some() || connection.control.is_some();
        if connection.stage != Stage::Open || !is_half {
            return self.connections.sockets.halves.end_all(slot);
        }
        if self.connections.sockets.held.contains(slot)
            || (self.connections.sockets.is_lenient() && self.connections.sockets.is_unread(slot))
        {
            return self
                .connections
                .sockets
                .halves
                .put_off(slot, self.connections.sockets.deadlines.now() + 1);
        }
        self.connections.sockets.halves.end_all(slot);
        self.message_timed_out(slot);
    }

    fn head_timed_out(&mut self, slot: Slot) {
        if self.connections.sockets.crowd.contains(slot) {
            // Its request is there, and was not read.
            if self.connections.may_serve_crowd() {
                self.connections.sockets.table[slot].laps =
                    self.connections.sockets.deadlines.set(slot, Some(1));
                return;
            }
            return self.connections.refuse_busy(slot);
        }
        self.connections.sockets.counters.refused_head_timeout += 1;
        self.connections.refuse(slot, Refusal::Timeout);
    }

    fn message_timed_out(&mut self, slot: Slot) {
        let mut turn = self.connections.turn(slot, None);
        turn.too_slow();
        let finished = turn.finish();
        self.connections.complete(slot, None, finished);
    }

    pub(super) fn ping(&mut self, slot: Slot) {
        self.connections.sockets.wait_for(slot, Wait::Pong);
        let mut turn = self.connections.turn(slot, None);
        turn.ping();
        let finished = turn.finish();
        self.connections.complete(slot, None, finished);
    }
}

impl<R: Ring> Connections<R> {
    /// The peer will send nothing more.
    pub(super) fn peer_ended(&mut self, slot: Slot) {
        self.ended_abruptly(slot);
        if self.sockets.table[slot].is_flushed() {
            return self.drop_connection(slot);
        }
        // It may still read: what it asked for before it ended is sent.
        self.sockets.table[slot].states.do_after_flush(AfterFlush::Close);
        self.after_words(slot);
    }

    /// The connection is broken.
    pub(super) fn peer_failed(&mut self, slot: Slot) {
        self.ended_abruptly(slot);
        self.drop_connection(slot);
    }

    /// The peer is gone without a closing handshake, unless its messages have ended before.
    fn ended_abruptly(&mut self, slot: Slot) {
        let is_abrupt = self.sockets.table[slot].websocket.is_open;
        self.sockets.counters.ended_abruptly += u64::from(is_abrupt);
        self.messages_ended(slot, ABRUPT);
    }

    /// The connection's messages have ended: tells the handler, once.
    pub(super) fn messages_ended(&mut self, slot: Slot, end: End) {
        let connection = &mut self.sockets.table[slot];
        if !connection.websocket.is_open {
            return;
        }
        connection.websocket.is_open = false;
        let Connection { service, state, generation, .. } = *connection;
        self.sockets.counters.connections_open -= 1;
        self.hub.ended(self.hub.id(slot, generation), self.sockets.can_inflate(slot));
        self.services.get_mut(service).handler.close(state, end);
        self.log_end(slot, end);
    }

    /// Tells the handlers of all connections that are left of their end, because the shard ends.
    pub(super) fn end_all(&mut self) {
        for slot in 0..self.sockets.table.used_slots() {
            self.messages_ended(slot, End { code: CloseCode::GOING_AWAY, by_peer: false });
        }
    }

    /// Goes on with a closing connection: starts its deadline, and once everything queued is sent,
    /// finishes writing or closes.
    pub(super) fn after_words(&mut self, slot: Slot) {
        if self.sockets.table[slot].is_closing() {
            // What waits is left out, but for a frame that has begun, which must end before the
            // Close frame.
            self.sockets.counters.dropped_closing += self.sockets.outbox(slot).leave_out();
            if self.sockets.held.contains(slot) {
                // It publishes nothing more: its Close frame is to be seen.
                self.sockets.held.remove(slot);
                self.sockets.ready.insert(slot);
            }
        }
        let connection = &mut self.sockets.table[slot];
        let after_flush = connection.states.after_flush();
        let is_last = after_flush != AfterFlush::GoOn;
        if (is_last || connection.is_closing()) && connection.wait != Wait::Close {
            self.sockets.wait_for(slot, Wait::Close);
        }
        if !is_last {
            return;
        }
        let connection = &mut self.sockets.table[slot];
        if !connection.is_flushed() {
            // A send that succeeds completes without a word: look again when it is settled.
            self.sockets.flush_soon |= connection.states.is_in_batch();
            return;
        }
        if after_flush == AfterFlush::Close {
            return self.drop_connection(slot);
        }
        connection.states.has_flushed();
        let generation = connection.generation;
        self.sockets.ring.push(Operation::FinishWrites { slot, generation });
        self.look_again = true;
        if self.is_draining() {
            self.sockets.linger_briefly(slot);
        }
        self.resume_lingering(slot);
    }

    /// Closes the connection now. Its slot is given up at once, unless an operation in flight still
    /// uses its memory: then that operation's own completion gives it up, or the settling of the
    /// batch that it is part of. So no slot is in one batch twice, however often it is taken anew.
    pub(super) fn drop_connection(&mut self, slot: Slot) {
        self.messages_ended(slot, DROPPED);
        self.sockets.ready.remove(slot);
        self.sockets.crowd.remove(slot);
        self.sockets.expired.remove(slot);
        self.sockets.held.remove(slot);
        self.sockets.halves.end_all(slot);
        let _ = self.sockets.deadlines.set(slot, None);
        let connection = &mut self.sockets.table[slot];
        self.sockets.put_off.discharge(connection);
        let generation = connection.generation;
        // Closing alone would not end the connection while its poll holds on to it.
        if connection.states.poll() != Poll::Off {
            connection.states.set_poll(Poll::Off);
            self.sockets.ring.push(Operation::Unpoll { slot, generation });
        }
        let connection = &mut self.sockets.table[slot];
        connection.stage = Stage::Zombie;
        if connection.states.writing() == Writing::Armed {
            self.sockets.ring.push(Operation::CancelSend { slot, generation });
        }
        self.sockets.flush_soon |= connection.states.is_in_batch();
        self.bury(slot);
    }

    /// Gives up the slot of a closed connection, once nothing in flight uses its memory.
    pub(super) fn bury(&mut self, slot: Slot) {
        let connection = &mut self.sockets.table[slot];
        debug_assert!(connection.stage == Stage::Zombie, "{connection:?} is not closed");
        if connection.states.is_in_flight() {
            return;
        }
        gathered::release(&mut connection.gathered, &mut self.sockets.blocks);
        gathered::release(&mut connection.control, &mut self.sockets.blocks);
        self.sockets.stalled.remove(&slot);
        self.sockets.outbox(slot).clear();
        self.details.forget(slot);
        self.sockets.ring.push(Operation::Close { slot });
        self.log_closed(slot);
        let Connection { service, profile, .. } = self.sockets.table[slot];
        self.services.leave(service);
        self.sockets.profiles.leave(profile);
        self.sockets.table.end(slot);
    }

    /// A connection that was paused and now only lingers has to be read from again, or its peer's
    /// end would not be seen.
    fn resume_lingering(&mut self, slot: Slot) {
        let connection = &mut self.sockets.table[slot];
        if connection.states.reading() == Reading::Paused {
            connection.states.set_reading(Reading::Idle);
            self.sockets.read_on(slot);
        }
    }
}

impl<R: Ring> Sockets<R> {
    /// Whether the connection has input that is yet to be read.
    fn is_unread(&self, slot: Slot) -> bool {
        self.table[slot].states.has_input()
            || self.ready.contains(slot)
            || self.crowd.contains(slot)
    }

    /// Whether what is unread is read before a wait is over. After a pause only: who sends all the
    /// time would have all the time otherwise.
    fn is_lenient(&self) -> bool {
        self.deadlines.now() <= self.lenient_until
    }
}
