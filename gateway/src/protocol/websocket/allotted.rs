//! What a client may send, and in how many frames.

use tidegate_proto::message::Part;
use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::OpCode;
use tidegate_proto::websocket::receiver::{Decoded, MessagePiece};

use super::closing;
use crate::connection::{Intake, Spent};
use crate::protocol::turn::{Failing, Fault, Turn};

/// Takes the number of a connection apart, so that neighbours differ: an odd factor, 2^64 over the
/// golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A client has opened whose route limits what it may send, or how long it may stay.
pub(super) fn open(turn: &mut Turn<'_>) {
    let service = turn.connection().service;
    let id = turn.work.id;
    let number = u64::from(id.slot) << 32 | u64::from(id.generation);
    let draw = (number ^ turn.work.now.as_nanos() as u64).wrapping_mul(SPREAD) >> 32;
    turn.allotments.open(id.slot, &turn.services[service].offer.terms, draw as u32);
}

/// Something of so many bytes has come in; whether it is worked on.
pub(super) fn spend(
    turn: &mut Turn<'_>,
    bytes: u32,
    decoded: &Result<Decoded, ProtocolError>,
) -> bool {
    if !closing(turn).may_send() {
        // It is only heard out.
        return true;
    }
    let (is_of_message, begins) = match decoded {
        Ok(Decoded::Piece(piece)) => (true, piece.part.is_first()),
        // Each is answered.
        Ok(Decoded::Control(piece)) => {
            (false, piece.opcode == OpCode::Ping && piece.part.is_first())
        }
        Ok(Decoded::NeedInput) | Err(_) => (false, false),
    };
    let intake = Intake { messages: u32::from(begins), bytes, is_of_message };
    let terms = &turn.services[turn.work.output.connection.service].offer.terms;
    let (slot, now) = (turn.work.id.slot, turn.work.now);
    let was_slowed = turn.allotments.is_slowed(slot);
    match turn.allotments.spend(slot, terms, now, intake) {
        Spent::Paid => {}
        Spent::Owes => turn.counters.clients_slowed += u64::from(!was_slowed),
        Spent::OwesTooMuch => {
            turn.fail(Failing::OverRate);
            return false;
        }
    }
    true
}

/// Counts the frames of a message; whether they are few enough.
pub(super) fn are_few(turn: &mut Turn<'_>, piece: &MessagePiece) -> bool {
    if piece.part == Part::Whole || piece.frame_remaining > 0 {
        return true;
    }
    let slot = turn.work.id.slot;
    if piece.part.is_last() {
        turn.allotments.fragments.end(slot);
        return true;
    }
    // One more is to come.
    if turn.allotments.fragments.count(slot) < turn.limits.max_frames {
        return true;
    }
    turn.allotments.fragments.end(slot);
    turn.fail(Failing::Fault(Fault {
        number: CloseCode::MESSAGE_TOO_BIG.0,
        reason: "the message has more frames than it may",
        is_too_big: true,
    }));
    false
}
