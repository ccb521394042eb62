//! What is done when a connection has waited in vain.

use std::io;

use tidegate_proto::keepalive::{Expiry, Wait};

use super::connections::Connections;
use super::connections::opening::refuse_proxied;
use super::connections::receiving::is_kept_waiting;
use super::sockets::Sockets;
use super::{EXPIRED_AT_ONCE, Shard, tokens};
use crate::connection::{Overstay, Reading, Stage};
use crate::kernel::{Operation, Ring, Slot};
use crate::protocol::turn::Failing;
use crate::protocol::{self, Overdue};
use crate::transport::proxy::ProxyRefusal;

impl<R: Ring> Shard<R> {
    /// Does what is due, for some: the deadlines of all who came at once pass at once.
    pub(super) fn expire_some(&mut self) -> io::Result<()> {
        tokens::close_due(&mut self.connections)?;
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(slot) = self.connections.sockets.expired.pop() else { break };
            self.expire(slot);
            self.connections.sockets.make_room()?;
        }
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(slot) = self.expired_halves.pop() else { break };
            self.expire_half(slot);
            self.connections.sockets.make_room()?;
        }
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(slot) = self.connections.allotments.next_passed() else { break };
            end_stay(&mut self.connections, slot);
            self.connections.sockets.make_room()?;
        }
        Ok(())
    }

    /// What the connection waited for has not come.
    pub(super) fn expire(&mut self, slot: Slot) {
        let is_kept_waiting = is_kept_waiting(&self.connections, slot);
        let sockets = &mut self.connections.sockets;
        let connection = &mut sockets.table[slot];
        if connection.stage == Stage::Free || connection.stage == Stage::Zombie {
            return;
        }
        if connection.laps > 0 {
            connection.laps -= 1;
            return sockets.deadlines.go_round(slot);
        }
        let (wait, generation) = (connection.wait, connection.generation);
        let is_for_input = matches!(wait, Wait::Activity | Wait::Pong);
        if is_for_input && is_kept_waiting {
            // What it may have said is not read for now.
            return sockets.wait_for(slot, wait);
        }
        // A Pong may always be in what is unread, since any byte is one.
        if (wait == Wait::Pong || sockets.deadlines.are_lenient()) && sockets.is_unread(slot) {
            sockets.table[slot].laps = sockets.deadlines.set(slot, Some(1));
            return;
        }
        match wait.expire() {
            Expiry::ProxyHeaderTimedOut => self.proxy_header_timed_out(slot),
            Expiry::HandshakeTimedOut => self.handshake_timed_out(slot),
            Expiry::RefuseHead => self.head_timed_out(slot),
            Expiry::RefuseUndecided | Expiry::SourceSilent => self.overdue(slot, Overdue::Word),
            Expiry::SendPing => self.ping(slot),
            // Its Ping may stand behind what it has not read yet: what it has acknowledged tells.
            Expiry::PeerGone | Expiry::PeerStalled => {
                sockets.ring.push(Operation::AskUnacknowledged { slot, generation });
            }
            Expiry::CloseTimedOut => {
                sockets.counters.close_timeouts += 1;
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
        let is_half = connection.gathered.is_some()
            || connection.control.is_some()
            || self.connections.sockets.transports.kept.has(slot);
        if connection.stage != Stage::Open || !is_half {
            return self.connections.sockets.halves.end_all(slot);
        }
        if self.connections.sockets.held.contains(slot)
            || (self.connections.sockets.deadlines.are_lenient()
                && self.connections.sockets.is_unread(slot))
        {
            let Sockets { halves, deadlines, .. } = &mut self.connections.sockets;
            return halves.put_off(slot, deadlines.now() + 1);
        }
        // That it is slowed is its own doing: it has as long again, once.
        if is_kept_waiting(&self.connections, slot) {
            let Sockets { halves, deadlines, profiles, table, .. } = &mut self.connections.sockets;
            let message = u64::from(profiles[table[slot].profile].message);
            if halves.extend(slot, deadlines.now(), message) {
                return;
            }
        }
        self.connections.sockets.halves.end_all(slot);
        self.overdue(slot, Overdue::Rest);
    }

    fn proxy_header_timed_out(&mut self, slot: Slot) {
        let sockets = &mut self.connections.sockets;
        if sockets.transports.kept.is_parked(slot) {
            // It waits for others to shake hands, and what its proxy has said is not read: from
            // here on it has as long as a handshake may take.
            return sockets.wait_for(slot, Wait::Handshake);
        }
        if sockets.crowd.contains(slot) {
            // More of it is there, and was not read.
            sockets.table[slot].laps = sockets.deadlines.set(slot, Some(1));
            return;
        }
        refuse_proxied(&mut self.connections, slot, ProxyRefusal::TimedOut);
    }

    fn handshake_timed_out(&mut self, slot: Slot) {
        let sockets = &mut self.connections.sockets;
        if sockets.crowd.contains(slot) {
            // More of it is there, and was not read.
            sockets.table[slot].laps = sockets.deadlines.set(slot, Some(1));
            return;
        }
        sockets.counters.handshakes_timed_out += 1;
        self.connections.tell_failed_handshake(slot, "timed_out");
        self.connections.drop_connection(slot);
    }

    fn head_timed_out(&mut self, slot: Slot) {
        if self.connections.sockets.crowd.contains(slot) {
            // Its request is there, and was not read.
            if self.may_serve_crowd() {
                self.connections.sockets.table[slot].laps =
                    self.connections.sockets.deadlines.set(slot, Some(1));
                return;
            }
            return self.connections.close(slot, Failing::GoesAway);
        }
        self.overdue(slot, Overdue::Word);
    }

    fn overdue(&mut self, slot: Slot, what: Overdue) {
        self.connections.in_turn(slot, None, |turn| protocol::expired(turn, what));
    }

    /// Has what is spoken on the connection move its peer to answer.
    fn ping(&mut self, slot: Slot) {
        self.connections.sockets.wait_for(slot, Wait::Pong);
        let Sockets { batch, table, .. } = &self.connections.sockets;
        // Else what waits may leave with it.
        let (is_alone, sent) = (table[slot].is_flushed(), batch.len());
        self.overdue(slot, Overdue::Word);
        let Sockets { batch, table, profiles, .. } = &mut self.connections.sockets;
        let bytes = batch.bytes_to(slot, sent);
        // One that is not waited for has ended with that, and its profile may have as well. What
        // did not leave whole is more than it seems.
        let is_whole = is_alone && table[slot].backlog.is_none();
        if is_whole && bytes > 0 && table[slot].wait == Wait::Pong {
            let least = &mut profiles[table[slot].profile].probe;
            *least = if *least == 0 { bytes } else { bytes.min(*least) };
        }
    }
}

/// Looks how long a client has stayed, and ends it if that is too long.
pub(super) fn end_stay<R: Ring>(connections: &mut Connections<R>, slot: Slot) {
    let connection = &connections.sockets.table[slot];
    if connection.stage != Stage::Open || connection.is_closing() {
        // It ends.
        return;
    }
    let terms = connections.services[connection.service].offer.terms;
    let Some(overstay) = connections.allotments.overstays(slot, &terms) else { return };
    let is_lenient = connections.sockets.deadlines.are_lenient();
    // Whoever is slowed is so for a while only, but perhaps again and again.
    let waits_in_vain = !connections.sockets.held.contains(slot)
        && connections.allotments.is_long_over(slot, &terms);
    let may_have_spoken = (is_kept_waiting(connections, slot) && !waits_in_vain)
        || connections.sockets.table[slot].states.reading() == Reading::Paused
        || (connections.sockets.is_unread(slot) && is_lenient);
    if overstay != Overstay::Lifetime && may_have_spoken {
        return connections.allotments.look_again(slot);
    }
    connections.close(slot, Failing::Overstays(overstay));
}
