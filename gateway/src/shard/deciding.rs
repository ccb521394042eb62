//! Requests that are undecided: what becomes of what was found out.

use super::connections::Connections;
use super::renewing;
use super::sockets::Sockets;
use super::sockets::receiving::Arrival;
use crate::checks::is_of_renewal;
use crate::connection::{Reading, Stage};
use crate::hub::{Finding, NotDone, Outcome};
use crate::kernel::{AreaName, Generation, Ring, Slot, Span};
use crate::names::Address;
use crate::protocol;

/// Nothing has come behind the head.
const NOTHING: Span = Span { area: AreaName::Receive, start: 0, length: 0 };

/// What has to do with requests that are undecided.
pub(super) struct Deciding<'c, R> {
    pub(super) connections: &'c mut Connections<R>,
}

impl<R: Ring> Deciding<'_, R> {
    /// Tells the handler of an undecided request what was found out in this round, and does what it
    /// decides. `finding` is taken out then; `None` if that has to wait.
    pub(super) fn found(
        &mut self,
        address: Address,
        round: u32,
        finding: &mut Option<Finding>,
    ) -> Option<Outcome> {
        if is_of_renewal(round) {
            return Some(renewing::found(self.connections, address, round, finding));
        }
        let Some(slot) = self.waiting_at(address, round) else {
            self.connections.sockets.counters.found_in_vain += 1;
            return Some(Outcome::NotDone(NotDone::Gone));
        };
        if !self.may_decide(slot) {
            return None;
        }
        if let Some(finding) = finding.take() {
            self.decide(slot, finding);
        }
        Some(Outcome::Done(1))
    }

    /// The slot of a connection whose request is undecided and waits for what was asked in this
    /// round.
    fn waiting_at(&mut self, address: Address, round: u32) -> Option<Slot> {
        let Address { slot, generation, .. } = address;
        if address != self.connections.hub.address(slot, generation) {
            return None;
        }
        let connection = self.connections.sockets.table.current(slot, generation)?;
        (connection.undecided()?.round == round).then_some(slot)
    }

    /// Whether the request can be decided now: for what came behind its head a receive buffer must
    /// be free, so that it is worked on like anything that has come in.
    fn may_decide(&self, slot: Slot) -> bool {
        let sockets = &self.connections.sockets;
        let could_work_on = sockets.buffers.free() > 0 && sockets.could_answer();
        could_work_on || !sockets.table[slot].keeps_input()
    }

    fn decide(&mut self, slot: Slot, finding: Finding) {
        let generation = self.connections.sockets.table[slot].generation;
        let behind = self.take_up_behind(slot);
        let buffer = behind.map(|Arrival { buffer, .. }| buffer);
        let span = behind.map_or(NOTHING, |Arrival { span, .. }| span);
        self.connections.in_turn(slot, buffer, |turn| protocol::found(turn, finding, span));
        if let Some(buffer) = buffer {
            self.connections.sockets.buffers.release(buffer);
        }
        self.read_on(slot, generation);
    }

    /// What came behind the head, if something did, in a receive buffer.
    fn take_up_behind(&mut self, slot: Slot) -> Option<Arrival> {
        let Sockets { table, blocks, buffers, memory, .. } = &mut self.connections.sockets;
        let connection = &table[slot];
        let undecided = connection.undecided().filter(|undecided| undecided.has_more)?;
        let behind = blocks.content(connection.gathered?).skip(undecided.head);
        let buffer = buffers.take()?;
        let span = buffers.received_in(buffer, behind.length);
        memory.copy(behind, span);
        Some(Arrival { buffer, span })
    }

    /// The request was decided, if it was: who was not read from because something had come behind
    /// the head is read from again.
    fn read_on(&mut self, slot: Slot, generation: Generation) {
        let sockets = &mut self.connections.sockets;
        let Some(connection) = sockets.table.current(slot, generation) else { return };
        let is_over = connection.stage == Stage::Zombie || connection.keeps_input();
        if !is_over && connection.states.reading() == Reading::Paused {
            connection.states.set_reading(Reading::Idle);
            sockets.read_on(slot);
        }
    }
}
