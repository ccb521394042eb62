//! What a WebSocket connection makes of one stretch of input: frames, pieces for its handler,
//! answers.

use tidegate_proto::message::Part;
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{OpCode, Reserved};
use tidegate_proto::websocket::receiver::{ControlPiece, Decoded, MessagePiece, Rules};

use super::ending::{close_frame, is_listening, say_last_words};
use super::{allotted, call, closing, inflating, say_control, state};
use crate::connection::{Output, Payload};
use crate::kernel::Span;
use crate::memory::{BlockId, gathered as block_of};
use crate::protocol::serve::{Piece, Wants};
use crate::protocol::turn::{Half, Turn};

/// So many frames of one stretch of input are read whatever is left of the budget, and each that
/// comes behind them counts as so many bytes.
const FREE_FRAMES: u32 = 64;
const FRAME_COST: usize = 128;

/// Works on what was received, and before it on the rest of a message that waited, until the budget
/// is used up for what is compressed, or comes in very many frames.
pub fn input(turn: &mut Turn<'_>, received: Span) {
    let rules = rules(turn);
    let mut at = 0;
    if turn.inflating.is_amid(turn.work.id) && is_listening(turn) {
        inflating::go_on(turn);
        say_last_words(turn);
    }
    for count in 0.. {
        if !is_listening(turn) {
            // Whoever ended it in the middle of a message wants none of the rest.
            return turn.inflating.forget(turn.work.id);
        }
        let are_many = count >= FREE_FRAMES;
        if must_wait(turn, received.skip(at as u32), are_many) {
            turn.left.unread = Some(received.skip(at as u32));
            return;
        }
        if are_many {
            *turn.input_budget = turn.input_budget.saturating_sub(FRAME_COST);
        }
        let Output { connection, pool, .. } = &mut turn.work.output;
        let receiver = &mut state(connection).receiver;
        let input = pool.memory.bytes_mut(received);
        let before = at;
        let decoded = receiver.handle_input(input, &mut at, &rules);
        if turn.limits.is_allotted && !allotted::spend(turn, (at - before) as u32, &decoded) {
            say_last_words(turn);
            continue;
        }
        match decoded {
            Ok(Decoded::NeedInput) => return,
            Ok(Decoded::Piece(one)) => piece(turn, &one, received),
            Ok(Decoded::Control(one)) => control(turn, &one, received),
            Err(error) => turn.fail(error.into()),
        }
        // A handler may have begun the closing handshake; the input behind goes on to count,
        // because the peer's Close frame comes in it.
        say_last_words(turn);
    }
}

/// Whether what is left of the input, behind few or many frames, has to wait for the next turn.
fn must_wait(turn: &mut Turn<'_>, left: Span, are_many: bool) -> bool {
    let is_used_up = *turn.input_budget == 0;
    let whose = turn.inflating.whose();
    if !is_used_up && whose.is_none() {
        return false;
    }
    let is_amid = whose == Some(turn.work.id);
    let Output { connection, pool, .. } = &mut turn.work.output;
    let next = pool.memory.bytes(left).first();
    let is_heavy = |next: &u8| {
        (is_used_up && are_many) || state(connection).receiver.expects_compressed(*next)
    };
    is_amid || next.is_some_and(is_heavy)
}

/// Works on `count` bytes that were received straight into the gathered block.
pub fn gathered(turn: &mut Turn<'_>, block: BlockId, count: u32) {
    if !is_listening(turn) {
        return;
    }
    let rules = rules(turn);
    let Output { connection, pool, .. } = &mut turn.work.output;
    let received = pool.blocks.room(block).part(0, count);
    let input = pool.memory.bytes_mut(received);
    let decoded = state(connection).receiver.handle_input(input, &mut 0, &rules);
    if turn.limits.is_allotted && !allotted::spend(turn, count, &decoded) {
        return say_last_words(turn);
    }
    let Output { pool, trace, .. } = &mut turn.work.output;
    match decoded {
        // The receive asked for no more than the rest of the frame, so it is one piece.
        Ok(Decoded::Piece(piece)) => {
            if let Some(trace) = trace {
                trace.heard(piece.kind, piece.part, piece.compressed, count);
            }
            pool.blocks.extend(block, count);
            if allotted::are_few(turn, &piece) && piece.part.is_last() {
                finish_gathered(turn, block, &piece);
            }
        }
        Ok(Decoded::NeedInput | Decoded::Control(_)) => {}
        Err(error) => turn.fail(error.into()),
    }
    say_last_words(turn);
}

fn rules(turn: &mut Turn<'_>) -> Rules {
    let reserved = match state(turn.connection()).deflate_bits {
        0 => Reserved::Clear,
        _ => Reserved::Compression,
    };
    Rules { role: turn.profile().role, reserved, max_message: turn.limits.max_message }
}

/// How the handler wants its messages.
pub(super) fn wants(turn: &mut Turn<'_>) -> Wants {
    turn.services[turn.work.output.connection.service].handler.wants()
}

fn piece(turn: &mut Turn<'_>, piece: &MessagePiece, received: Span) {
    let span = received.part(piece.start as u32, piece.end as u32);
    if let Some(trace) = turn.work.output.trace {
        trace.heard(piece.kind, piece.part, piece.compressed, span.length);
    }
    if !allotted::are_few(turn, piece) {
        return;
    }
    if !piece.compressed && wants(turn) == Wants::Pieces {
        return deliver(turn, Piece::new(piece.kind, piece.part, span));
    }
    if piece.part == Part::Whole && span.length <= turn.limits.max_buffered_message {
        return whole(turn, piece, span);
    }
    if let Some(block) = gather(turn, piece, span)
        && piece.part.is_last()
    {
        finish_gathered(turn, block, piece);
    }
}

/// A message is whole, and there.
fn whole(turn: &mut Turn<'_>, piece: &MessagePiece, span: Span) {
    if piece.compressed {
        return inflating::begin(turn, piece.kind, span);
    }
    deliver(turn, Piece::whole(piece.kind, span));
    forget_gathered(turn);
}

/// Adds a piece to what is gathered.
fn gather(turn: &mut Turn<'_>, piece: &MessagePiece, span: Span) -> Option<BlockId> {
    let Output { connection, pool, .. } = &turn.work.output;
    let so_far = connection.gathered.map_or(0, |block| pool.blocks.content(block).length);
    let total = u64::from(so_far) + u64::from(span.length) + piece.frame_remaining;
    if total > u64::from(turn.limits.max_buffered_message) {
        turn.fail(ProtocolError::MessageTooBig.into());
        return None;
    }
    turn.gather(Half::Message, span).ok()?;
    turn.connection().gathered
}

fn finish_gathered(turn: &mut Turn<'_>, block: BlockId, piece: &MessagePiece) {
    turn.left.became_whole[Half::Message as usize] = true;
    let content = turn.work.output.pool.blocks.content(block);
    whole(turn, piece, content);
}

/// Gives up what was gathered, if there is anything: it was handed out.
pub(super) fn forget_gathered(turn: &mut Turn<'_>) {
    let Output { connection, pool, .. } = &mut turn.work.output;
    block_of::release(&mut connection.gathered, pool.blocks);
}

pub(super) fn deliver(turn: &mut Turn<'_>, piece: Piece<'_>) {
    turn.counters.messages_in += u64::from(piece.part.is_last());
    call(turn, |handler, context| handler.message(context, piece));
}

fn control(turn: &mut Turn<'_>, control: &ControlPiece, received: Span) {
    let span = received.part(control.start as u32, control.end as u32);
    if control.part == Part::Whole {
        return whole_control(turn, control.opcode, span);
    }
    if turn.gather(Half::Control, span).is_err() {
        return;
    }
    if let Some(block) = turn.connection().control.filter(|_| control.part.is_last()) {
        turn.left.became_whole[Half::Control as usize] = true;
        let whole = turn.work.output.pool.blocks.content(block);
        whole_control(turn, control.opcode, whole);
        let Output { connection, pool, .. } = &mut turn.work.output;
        block_of::release(&mut connection.control, pool.blocks);
    }
}

fn whole_control(turn: &mut Turn<'_>, opcode: OpCode, payload: Span) {
    if let Some(trace) = turn.work.output.trace {
        trace.heard_control(opcode, payload.length);
    }
    match opcode {
        // RFC 6455 section 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong
        // frame in response, unless it already received a Close frame." Section 5.5.3: it
        // "must have identical "Application data"".
        OpCode::Ping if closing(turn).may_send() => {
            say_control(turn, OpCode::Pong, &Payload::Span(payload));
        }
        OpCode::Close => close_frame(turn, payload),
        _ => {}
    }
}
