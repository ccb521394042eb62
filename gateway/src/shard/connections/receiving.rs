//! Who is read from, in which turn, and who has to wait.

use crate::config::SlowPeer;
use crate::connection::{Poll, Reading, Stage, States};
use crate::kernel::{Errno, Generation, Ring, Slot, SlotRef};
use crate::shard::connections::Connections;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::sealing;

impl<R: Ring> Connections<R> {
    pub(crate) fn readable(&mut self, whose: SlotRef, armed: bool, ended: bool) {
        let SlotRef { slot, generation } = whose;
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
        let waits_already = self.sockets.ready.contains(slot)
            || self.sockets.held.contains(slot)
            || self.sockets.transports.kept.is_parked(slot);
        if waits_already {
            return;
        }
        if self.sockets.table[slot].opens_or_ends() {
            return self.sockets.crowd.insert(slot);
        }
        self.read(slot);
    }

    /// Receives, unless the connection has to wait.
    pub(crate) fn read(&mut self, slot: Slot) {
        if sealing::must_wait(&mut self.sockets, slot) {
            self.sockets.counters.handshakes_parked += 1;
            self.sockets.transports.kept.park(slot);
        } else if self.must_pause(slot) {
            self.sockets.counters.slow_peers_paused += 1;
            self.sockets.table[slot].states.set_reading(Reading::Paused);
        } else if waits_to_be_sealed(&self.sockets, slot) {
            self.sockets.table[slot].states.set_reading(Reading::Paused);
        } else if self.allotments.is_slowed(slot) {
            // It is read from once it may send again.
            self.allotments.has_input(slot);
        } else if !self.must_hold(slot) {
            self.sockets.receive(slot);
        }
    }

    /// What comes after a receive.
    pub(crate) fn after_receive(
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
            // Nothing more is read before its request is decided, so no poll is armed either.
            Ok(1..) if connection.keeps_input() => connection.states.set_reading(Reading::Paused),
            Ok(1..) | Err(Errno::AGAIN) if self.sockets.transports.kept.has_ended(slot) => {
                self.peer_ended(slot);
            }
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

    /// Whether the connection publishes faster than what it publishes can be delivered, or may have
    /// others come and go while very much mail waits: it is not read from for now.
    pub(crate) fn must_hold(&mut self, slot: Slot) -> bool {
        let is_held = has_cause_to_hold(self, slot);
        if is_held {
            self.sockets.counters.publishers_paused += 1;
            self.sockets.held.insert(slot);
        }
        is_held
    }
}

/// Whether the connection is one that is held as mail and messages stand now, for those who are and
/// those who are not.
pub(in crate::shard) fn has_cause_to_hold<R: Ring>(
    connections: &Connections<R>,
    slot: Slot,
) -> bool {
    let Connections { sockets, hub, .. } = connections;
    sockets.table[slot].stage != Stage::Head
        && hub.is_pressed()
        && !sockets.table[slot].is_closing()
        && (hub.publishes(slot)
            || sockets.table[slot].makes_mail()
            || (calls_what_is_brought(connections, slot) && hub.is_overfull()))
}

/// Whether a handler is called for what comes in that the program brings along. What that publishes
/// is counted; of what else it does nothing is known before.
fn calls_what_is_brought<R: Ring>(connections: &Connections<R>, slot: Slot) -> bool {
    connections.service(slot).is_brought && connections.sockets.table[slot].may_be_told()
}

/// Whether the connection is not read from for now, whatever it sends: what it has said may be
/// among what is unread.
pub(in crate::shard) fn is_kept_waiting<R: Ring>(connections: &Connections<R>, slot: Slot) -> bool {
    connections.sockets.held.contains(slot) || connections.allotments.is_slowed(slot)
}

/// What was sealed leaves as the peer takes it: from here on its route's policy says whether it is
/// read from.
pub(super) fn go_by_policy<R: Ring>(connections: &mut Connections<R>, slot: Slot) {
    let connection = &connections.sockets.table[slot];
    let is_paused =
        connection.stage == Stage::Open && connection.states.reading() == Reading::Paused;
    let must_wait = connections.must_pause(slot) || waits_to_be_sealed(&connections.sockets, slot);
    if is_paused && !must_wait {
        connections.sockets.table[slot].states.set_reading(Reading::Idle);
        connections.sockets.read_on(slot);
    }
}

/// Whether something waits for the peer, but only to be sealed. It leaves shortly, and further
/// answers must not find it in their way: nothing is read until then, whatever the policy for slow
/// peers is.
fn waits_to_be_sealed<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> bool {
    let connection = &sockets.table[slot];
    connection.stage == Stage::Open
        && connection.backlog.is_some()
        && !connection.states.is_blocked()
        && sockets.seals(slot)
}
