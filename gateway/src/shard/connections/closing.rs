//! The ends of a connection.

use tidegate_proto::keepalive::Wait;

use crate::connection::{AfterFlush, Connection, Poll, Reading, Stage, Writing};
use crate::kernel::{Operation, Ring, Slot};
use crate::memory::gathered;
use crate::protocol::desk::Desk;
use crate::protocol::end_reason::EndReason;
use crate::protocol::serve::End;
use crate::protocol::turn::Failing;
use crate::protocol::{self, Ended};
use crate::shard::connections::Connections;
use crate::shard::connections::log::{self, HowEnded};
use crate::shard::sockets::Sockets;
use crate::shard::sockets::kept;
use crate::shard::sockets::sealing;

impl<R: Ring> Connections<R> {
    /// The peer will send nothing more.
    pub(crate) fn peer_ended(&mut self, slot: Slot) {
        // What has last words of its own was cut off where they did not come.
        let is_cut = sealing::is_cut(&self.sockets, slot);
        let reason = if is_cut { EndReason::Lost } else { EndReason::PeerLeft };
        self.sockets.counters.cut_off += u64::from(is_cut && self.sockets.table[slot].is_open());
        self.ended_abruptly(slot, reason);
        let connection = &self.sockets.table[slot];
        let has_said_nothing = connection.stage == Stage::Head || !self.sockets.seals(slot);
        // Of who waits for a decision nothing but a handshake can be on its way.
        let is_undecided = connection.undecided().is_some();
        if is_undecided || connection.is_flushed() && has_said_nothing {
            return self.drop_connection(slot);
        }
        // It may still read: what it asked for before it ended is sent.
        self.sockets.table[slot].states.do_after_flush(AfterFlush::Close);
        self.after_words(slot);
    }

    /// The connection is broken.
    pub(crate) fn peer_failed(&mut self, slot: Slot) {
        self.ended_abruptly(slot, EndReason::Lost);
        self.drop_connection(slot);
    }

    /// The peer is gone without a closing handshake, unless its messages have ended before.
    fn ended_abruptly(&mut self, slot: Slot, reason: EndReason) {
        let connection = &self.sockets.table[slot];
        let is_abrupt = connection.is_open() && connection.has_farewell();
        self.sockets.counters.ended_abruptly += u64::from(is_abrupt);
        self.messages_ended(slot, End::ABRUPT, reason);
    }

    /// The connection's messages have ended: tells the handler, once. `reason` is why, if nothing
    /// was found to end it before.
    pub(crate) fn messages_ended(&mut self, slot: Slot, end: End, reason: EndReason) {
        let connection = &mut self.sockets.table[slot];
        if !connection.is_open() {
            return;
        }
        let address = self.hub.address(slot, connection.generation);
        let id = self.hub.id_at(address);
        let reason = self.accounts.take_reason(slot).unwrap_or(reason);
        self.vitals.ended(reason);
        let how = HowEnded { end, reason };
        log::keep(self, slot, id, &how);
        log::ended(self, slot, id, how);
        self.sockets.counters.connections_open -= 1;
        self.hub.ended(address);
        let now = self.sockets.ring.now();
        let mut desk = Desk::of_end(&mut self.hub, now);
        let Sockets { table, profiles, .. } = &mut self.sockets;
        let ended = Ended { id, end };
        protocol::tell_end(&mut self.services, profiles, &mut table[slot], &mut desk, ended);
    }

    /// A connection has come.
    pub(crate) fn begin(&mut self, slot: Slot) {
        self.in_turn(slot, None, protocol::begin);
    }

    /// Ends a connection in the way of what is spoken on it: one whose request is yet to come is
    /// refused.
    pub(crate) fn close(&mut self, slot: Slot, failing: Failing) {
        if !sealing::is_ready(&self.sockets, slot) {
            // There is no way to say so yet.
            return self.drop_connection(slot);
        }
        self.in_turn(slot, None, |turn| protocol::close(turn, failing));
    }

    /// Tells the handlers of all connections that are left of their end, because the shard ends.
    pub(crate) fn end_all(&mut self) {
        for slot in 0..self.sockets.table.used_slots() {
            self.messages_ended(slot, End::STOPPED, EndReason::Drain);
        }
    }

    /// Goes on with a closing connection: starts its deadline, and once everything queued is sent,
    /// finishes writing or closes.
    pub(crate) fn after_words(&mut self, slot: Slot) {
        if self.sockets.table[slot].is_closing() {
            // What waits is left out, but for a frame that has begun, which must end before the
            // Close frame.
            self.sockets.counters.dropped_closing += self.sockets.outbox(slot).leave_out();
            if self.sockets.held.contains(slot) {
                // It publishes nothing more: its Close frame is to be seen.
                self.sockets.held.remove(slot);
                self.sockets.ready.insert(slot);
            }
            if self.allotments.is_slowed(slot) && self.allotments.is_read(slot) {
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
        if sealing::has_last_words(&mut self.sockets, slot)
            && sealing::say_words(&mut self.sockets, slot).is_ok()
        {
            // What is left to do is done once they have left.
            self.sockets.flush_soon = true;
            return;
        }
        if after_flush == AfterFlush::Close {
            return self.drop_connection(slot);
        }
        let connection = &mut self.sockets.table[slot];
        connection.states.has_flushed();
        let generation = connection.generation;
        self.sockets.ring.push(Operation::FinishWrites { slot, generation });
        self.look_again = true;
        if self.is_draining() {
            self.sockets.linger_briefly(slot);
        }
        resume_lingering(&mut self.sockets, slot);
    }

    /// Closes the connection now. Its slot is given up at once, unless an operation in flight still
    /// uses its memory: then that operation's own completion gives it up, or the settling of the
    /// batch that it is part of. So no slot is in one batch twice, however often it is taken anew.
    pub(crate) fn drop_connection(&mut self, slot: Slot) {
        // Whoever drops one for a reason of its own says so before: of the others there was no
        // memory for what their peers did not take.
        self.messages_ended(slot, End::DROPPED, EndReason::NoMemory);
        let Sockets { table, counters, .. } = &mut self.sockets;
        protocol::give_up(&mut self.services, &mut table[slot], counters);
        self.sockets.ready.remove(slot);
        self.sockets.crowd.remove(slot);
        self.sockets.expired.remove(slot);
        self.sockets.held.remove(slot);
        self.drain.has_gone(slot);
        self.reloading.has_gone(slot);
        self.allotments.close(slot);
        self.turnstile.leaves(slot);
        self.sockets.transports.kept.unpark(slot);
        self.sockets.table.strangers.remove(slot);
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
        // Nothing in flight uses half a head, or half a message that is not received into.
        if connection.states.reading() != Reading::ReceivingInto {
            gathered::release(&mut connection.gathered, &mut self.sockets.blocks);
            gathered::release(&mut connection.control, &mut self.sockets.blocks);
        }
        self.bury(slot);
    }

    /// Gives up the slot of a closed connection, once nothing in flight uses its memory.
    pub(crate) fn bury(&mut self, slot: Slot) {
        let connection = &mut self.sockets.table[slot];
        debug_assert!(connection.stage == Stage::Zombie, "{connection:?} is not closed");
        if connection.states.is_in_flight() {
            return;
        }
        gathered::release(&mut connection.gathered, &mut self.sockets.blocks);
        gathered::release(&mut connection.control, &mut self.sockets.blocks);
        self.sockets.stalled.remove(slot);
        kept::forget_kept(&mut self.sockets, slot);
        self.sockets.watched.lets_go(slot);
        self.sockets.outbox(slot).clear();
        self.details.forget(slot);
        self.accounts.forget(slot);
        self.traces.end(slot);
        self.gatekeeper.forget(slot);
        self.sockets.ring.push(Operation::Close { slot });
        self.peers.has_closed(slot, self.sockets.profile(slot));
        let Connection { service, profile, .. } = self.sockets.table[slot];
        self.services.leave(service);
        let Sockets { profiles, transports, .. } = &mut self.sockets;
        profiles[profile].transport.end(transports, slot);
        sealing::has_room_for_parked(&mut self.sockets);
        self.sockets.profiles.leave(profile);
        self.sockets.table.end(slot);
    }
}

/// A connection that was paused and now only lingers has to be read from again, or its peer's
/// end would not be seen.
fn resume_lingering<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) {
    let connection = &mut sockets.table[slot];
    if connection.states.reading() == Reading::Paused {
        connection.states.set_reading(Reading::Idle);
        sockets.read_on(slot);
    }
}

/// Drops a connection for a reason, if it does not end for another already.
pub(crate) fn drop_for<R: Ring>(connections: &mut Connections<R>, slot: Slot, reason: EndReason) {
    if connections.sockets.table[slot].is_open() {
        connections.accounts.ends_for(slot, reason);
    }
    connections.drop_connection(slot);
}
