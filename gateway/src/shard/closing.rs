//! The ends of a connection.

use tidegate_proto::keepalive::{Expiry, Wait};
use tidegate_proto::websocket::code::CloseCode;

use super::Shard;
use crate::connection::{AfterFlush, Connection, Poll, Reading, Stage, Writing};
use crate::handler::{End, Refusal};
use crate::kernel::{Operation, Ring, Slot};
use crate::memory::gathered;

/// How a connection ends that its peer just ends.
const ABRUPT: End = End { code: CloseCode::ABNORMAL, by_peer: true };

/// How a connection ends that we just end.
const DROPPED: End = End { code: CloseCode::ABNORMAL, by_peer: false };

impl<R: Ring> Shard<R> {
    /// The peer will send nothing more.
    pub(super) fn peer_ended(&mut self, slot: Slot) {
        self.ended_abruptly(slot);
        if self.table[slot].is_flushed() {
            return self.drop_connection(slot);
        }
        // It may still read: what it asked for before it ended is sent.
        self.table[slot].states.do_after_flush(AfterFlush::Close);
        self.after_words(slot);
    }

    /// The connection is broken.
    pub(super) fn peer_failed(&mut self, slot: Slot) {
        self.ended_abruptly(slot);
        self.drop_connection(slot);
    }

    /// The peer is gone without a closing handshake, unless its messages have ended before.
    fn ended_abruptly(&mut self, slot: Slot) {
        let is_abrupt = self.table[slot].websocket.is_open;
        self.counters.ended_abruptly += u64::from(is_abrupt);
        self.messages_ended(slot, ABRUPT);
    }

    /// The connection's messages have ended: tells the handler, once.
    pub(super) fn messages_ended(&mut self, slot: Slot, end: End) {
        let connection = &mut self.table[slot];
        if !connection.websocket.is_open {
            return;
        }
        connection.websocket.is_open = false;
        let Connection { service, state, generation, .. } = *connection;
        self.counters.connections_open -= 1;
        self.hub.ended(self.hub.id(slot, generation), self.can_inflate(slot));
        self.services.get_mut(service).handler.close(state, end);
        self.log_end(slot, end);
    }

    /// Tells the handlers of all connections that are left of their end, because the shard ends.
    pub(super) fn end_all(&mut self) {
        for slot in 0..self.table.used_slots() {
            self.messages_ended(slot, End { code: CloseCode::GOING_AWAY, by_peer: false });
        }
    }

    /// Goes on with a closing connection: starts its deadline, and once everything queued is sent,
    /// finishes writing or closes.
    pub(super) fn after_words(&mut self, slot: Slot) {
        if self.table[slot].is_closing() {
            // What waits is left out, but for a frame that has begun, which must end before the
            // Close frame.
            self.counters.dropped_closing += self.outbox(slot).leave_out();
            if self.held.contains(slot) {
                // It publishes nothing more: its Close frame is to be seen.
                self.held.remove(slot);
                self.ready.insert(slot);
            }
        }
        let connection = &mut self.table[slot];
        let after_flush = connection.states.after_flush();
        let is_last = after_flush != AfterFlush::GoOn;
        if (is_last || connection.is_closing()) && connection.wait != Wait::Close {
            self.wait_for(slot, Wait::Close);
        }
        if !is_last {
            return;
        }
        let connection = &mut self.table[slot];
        if !connection.is_flushed() {
            // A send that succeeds completes without a word: look again when it is settled.
            self.flush_soon |= connection.states.is_in_batch();
            return;
        }
        if after_flush == AfterFlush::Close {
            return self.drop_connection(slot);
        }
        connection.states.has_flushed();
        let generation = connection.generation;
        self.ring.push(Operation::FinishWrites { slot, generation });
        self.newcomers.look_again();
        if self.is_draining() {
            self.linger_briefly(slot);
        }
        self.resume_lingering(slot);
    }

    /// What the connection waited for has not come.
    pub(super) fn expire(&mut self, slot: Slot) {
        let connection = &mut self.table[slot];
        if connection.stage == Stage::Free || connection.stage == Stage::Zombie {
            return;
        }
        if connection.laps > 0 {
            connection.laps -= 1;
            return self.deadlines.go_round(slot);
        }
        let (wait, generation) = (connection.wait, connection.generation);
        let is_for_input = matches!(wait, Wait::Activity | Wait::Pong);
        if is_for_input && self.held.contains(slot) {
            // What it may have said is not read for now.
            return self.wait_for(slot, wait);
        }
        // A Pong may always be in what is unread, since any byte is one.
        if (wait == Wait::Pong || self.is_lenient()) && self.is_unread(slot) {
            self.table[slot].laps = self.deadlines.set(slot, Some(1));
            return;
        }
        match wait.expire() {
            Expiry::RefuseHead => self.head_timed_out(slot),
            Expiry::SendPing => self.ping(slot),
            // Its Ping may stand behind what it has not read yet: what it has acknowledged tells.
            Expiry::PeerGone | Expiry::PeerStalled => {
                self.ring.push(Operation::AskUnacknowledged { slot, generation });
            }
            Expiry::CloseTimedOut => {
                self.counters.close_timeouts += 1;
                self.drop_connection(slot);
            }
        }
    }

    /// What is half received has not become whole in time.
    pub(super) fn expire_half(&mut self, slot: Slot) {
        if !self.halves.is_due(slot, self.deadlines.now()) {
            // It became whole meanwhile.
            return;
        }
        let connection = &self.table[slot];
        let is_half = connection.gathered.is_some() || connection.control.is_some();
        if connection.stage != Stage::Open || !is_half {
            return self.halves.end_all(slot);
        }
        if self.held.contains(slot) || (self.is_lenient() && self.is_unread(slot)) {
            return self.halves.put_off(slot, self.deadlines.now() + 1);
        }
        self.halves.end_all(slot);
        self.message_timed_out(slot);
    }

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

    /// Closes the connection now. Its slot is given up at once, unless an operation in flight still
    /// uses its memory: then that operation's own completion gives it up, or the settling of the
    /// batch that it is part of. So no slot is in one batch twice, however often it is taken anew.
    pub(super) fn drop_connection(&mut self, slot: Slot) {
        self.messages_ended(slot, DROPPED);
        self.ready.remove(slot);
        self.crowd.remove(slot);
        self.expired.remove(slot);
        self.held.remove(slot);
        self.halves.end_all(slot);
        let _ = self.deadlines.set(slot, None);
        let connection = &mut self.table[slot];
        self.put_off.discharge(connection);
        let generation = connection.generation;
        // Closing alone would not end the connection while its poll holds on to it.
        if connection.states.poll() != Poll::Off {
            connection.states.set_poll(Poll::Off);
            self.ring.push(Operation::Unpoll { slot, generation });
        }
        let connection = &mut self.table[slot];
        connection.stage = Stage::Zombie;
        if connection.states.writing() == Writing::Armed {
            self.ring.push(Operation::CancelSend { slot, generation });
        }
        self.flush_soon |= connection.states.is_in_batch();
        self.bury(slot);
    }

    /// Gives up the slot of a closed connection, once nothing in flight uses its memory.
    pub(super) fn bury(&mut self, slot: Slot) {
        let connection = &mut self.table[slot];
        debug_assert!(connection.stage == Stage::Zombie, "{connection:?} is not closed");
        if connection.states.is_in_flight() {
            return;
        }
        gathered::release(&mut connection.gathered, &mut self.blocks);
        gathered::release(&mut connection.control, &mut self.blocks);
        self.stalled.remove(&slot);
        self.outbox(slot).clear();
        self.details.forget(slot);
        self.ring.push(Operation::Close { slot });
        self.log_closed(slot);
        let Connection { service, profile, .. } = self.table[slot];
        self.services.leave(service);
        self.profiles.leave(profile);
        self.table.end(slot);
    }

    fn head_timed_out(&mut self, slot: Slot) {
        if self.crowd.contains(slot) {
            // Its request is there, and was not read.
            if self.may_serve_crowd() {
                self.table[slot].laps = self.deadlines.set(slot, Some(1));
                return;
            }
            return self.refuse_busy(slot);
        }
        self.counters.refused_head_timeout += 1;
        self.refuse(slot, Refusal::Timeout);
    }

    fn message_timed_out(&mut self, slot: Slot) {
        let mut turn = self.turn(slot, None);
        turn.too_slow();
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }

    fn ping(&mut self, slot: Slot) {
        self.wait_for(slot, Wait::Pong);
        let mut turn = self.turn(slot, None);
        turn.ping();
        let finished = turn.finish();
        self.complete(slot, None, finished);
    }

    /// A connection that was paused and now only lingers has to be read from again, or its peer's
    /// end would not be seen.
    fn resume_lingering(&mut self, slot: Slot) {
        let connection = &mut self.table[slot];
        if connection.states.reading() == Reading::Paused {
            connection.states.set_reading(Reading::Idle);
            self.read_on(slot);
        }
    }
}
