//! Fresh tokens for open connections, and telling what has come of them.

use super::connections::Connections;
use super::connections::told::tell_handler;
use crate::checks::{Bringer, CheckFound, RenewalBegun, Renewed};
use crate::hub::{Finding, FreshToken, NotDone, Outcome, Reply};
use crate::kernel::{Ring, Slot};
use crate::names::{Address, ConnectionId};
use crate::protocol::serve::Event;

/// Somebody outside has brought a fresh token.
pub(super) fn bring<R: Ring>(
    connections: &mut Connections<R>,
    id: ConnectionId,
    token: &FreshToken,
    reply: Reply,
) {
    let Some(slot) = connections.slot_of(id) else {
        return reply.say(Outcome::NotDone(NotDone::Gone));
    };
    if !connections.sockets.table[slot].may_be_ended() {
        return reply.say(Outcome::NotDone(NotDone::NotOpen));
    }
    let moment = connections.sockets.moment();
    match connections.gatekeeper.renew(slot, token.bytes(), moment.calendar) {
        RenewalBegun::Done(renewed) => reply.say(outcome(renewed)),
        RenewalBegun::Later(question) => {
            let bringer = Bringer::Outside(reply);
            connections.gatekeeper.wait_for_renewal(id, question, bringer, moment.now);
        }
    }
}

/// A fresh token was verified elsewhere, in this round. `finding` is taken out.
pub(super) fn found<R: Ring>(
    connections: &mut Connections<R>,
    address: Address,
    round: u32,
    finding: &mut Option<Finding>,
) -> Outcome {
    let now = connections.sockets.moment().calendar;
    let verified = finding.take().and_then(Finding::take::<CheckFound>);
    let verified = verified.and_then(CheckFound::of_token);
    let slot = connections.slot_at(address);
    let finished = slot.zip(verified).and_then(|(slot, verified)| {
        let finished = connections.gatekeeper.finish_renewal(slot, round, verified, now);
        finished.map(|(bringer, renewed)| (slot, bringer, renewed))
    });
    let Some((slot, bringer, renewed)) = finished else {
        connections.sockets.counters.found_in_vain += 1;
        return Outcome::NotDone(NotDone::Gone);
    };
    tell(connections, slot, bringer, renewed);
    Outcome::Done(1)
}

/// Tells those who have waited for too long.
pub(super) fn tick<R: Ring>(connections: &mut Connections<R>) {
    let now = connections.sockets.moment().now;
    while let Some((slot, bringer, renewed)) = connections.gatekeeper.overdue_renewal(now) {
        tell(connections, slot, bringer, renewed);
    }
}

fn tell<R: Ring>(connections: &mut Connections<R>, slot: Slot, bringer: Bringer, renewed: Renewed) {
    match bringer {
        Bringer::Outside(reply) => reply.say(outcome(renewed)),
        Bringer::Handler(tag) if connections.sockets.table[slot].may_be_told() => {
            tell_handler(connections, slot, Event::Renewed { tag, renewed });
        }
        // It ends.
        Bringer::Handler(_) => {}
    }
}

fn outcome(renewed: Renewed) -> Outcome {
    renewed.map_or_else(Outcome::NotRenewed, Outcome::Renewed)
}
