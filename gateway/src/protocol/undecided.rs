//! Requests that their handlers do not decide at once: each keeps its head until it is found out
//! what it depends on, and what came behind the head as well.

use tidegate_proto::http::{Status, parse_request};
use tidegate_proto::keepalive::Wait;

use super::entry;
use super::opening;
use super::refusal::Refusal;
use super::serve::{Decision, Question};
use super::services::Services;
use super::turn::Turn;
use crate::connection::{Connection, Spoken, Undecided};
use crate::counters::Counters;
use crate::hub::Finding;
use crate::kernel::Span;
use crate::names::Ticket;

/// The handler decides later about a request whose head has `head` bytes. With the end of it so
/// many bytes were received that are none of its own.
pub(super) fn begin(
    turn: &mut Turn<'_>,
    question: Question,
    received: Span,
    head: u32,
    behind: u32,
) -> Result<(), Refusal> {
    if turn.is_full {
        turn.left.found_full = true;
        return Err(opening::BUSY);
    }
    let service = turn.connection().service;
    if turn.services[service].undecided >= turn.limits.undecided {
        turn.counters.refused_undecided += 1;
        return Err(opening::BUSY);
    }
    if !opening::keep_head(turn, received) {
        return Ok(());
    }
    turn.services.get_mut(service).undecided += 1;
    turn.counters.undecided += 1;
    turn.counters.decided_later += 1;
    turn.connection().spoken =
        Spoken::Undecided(Undecided { head, round: 0, has_more: behind > 0 });
    turn.left.wait = Some(Wait::Decision);
    question.ask(Ticket { connection: turn.work.id, round: 0 });
    Ok(())
}

/// Bytes have come in behind the head. RFC 6455 section 4.1: "Once the client's opening handshake
/// has been sent, the client MUST wait for a response from the server before sending any further
/// data." What comes all the same is kept once, and then nothing more is read.
pub(super) fn input(turn: &mut Turn<'_>, received: Span) {
    if opening::keep_head(turn, received)
        && let Spoken::Undecided(undecided) = &mut turn.connection().spoken
    {
        undecided.has_more = true;
    }
}

/// It was found out what the handler has asked.
pub(super) fn found(turn: &mut Turn<'_>, finding: Finding, behind: Span) {
    let Some(Undecided { head, .. }) = turn.connection().undecided() else { return };
    // Lent to the head; nothing else of the turn asks for it.
    let scratch = std::mem::take(&mut turn.head);
    let kept = opening::kept(turn);
    let Some(kept) = kept.get(..head as usize) else {
        debug_assert!(false, "a head that was kept is not there");
        return opening::refuse_busy(turn);
    };
    let copy = &mut scratch[..kept.len()];
    copy.copy_from_slice(kept);
    let Ok(Status::Complete(head)) = parse_request(copy, turn.head_max) else {
        debug_assert!(false, "a head that was whole is not");
        return opening::refuse_busy(turn);
    };
    match entry::found(turn, &head, finding).unwrap_or_else(Decision::Refuse) {
        Decision::Later(question) => ask_again(turn, question),
        decision => opening::carry_out(turn, &head, decision, behind),
    }
}

/// The handler depends on something else again. The deadline stays as it is.
fn ask_again(turn: &mut Turn<'_>, question: Question) {
    let connection = turn.work.id;
    if let Spoken::Undecided(undecided) = &mut turn.connection().spoken {
        undecided.round = undecided.round.wrapping_add(1);
        let round = undecided.round;
        question.ask(Ticket { connection, round });
    }
}

/// It was not decided in time.
pub(super) fn too_late(turn: &mut Turn<'_>) {
    turn.counters.refused_decision_timeout += 1;
    opening::refuse(turn, Refusal::DecisionTimeout);
}

/// Nobody waits for a decision about the connection any more, if somebody did.
pub(super) fn end(services: &mut Services, connection: &mut Connection, counters: &mut Counters) {
    if connection.undecided().is_some() {
        connection.spoken = Spoken::Opening;
        services.get_mut(connection.service).undecided -= 1;
        counters.undecided -= 1;
    }
}
