//! What a WebSocket connection makes of one stretch of input: frames, pieces for its handler,
//! answers.

use tidegate_proto::message::{Kind, Part};
use tidegate_proto::utf8::Utf8;
use tidegate_proto::websocket::deflate::{InflateError, Progress};
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{OpCode, Reserved};
use tidegate_proto::websocket::receiver::{self, Control, Event, Rules};

use super::ending::{close_frame, is_listening, say_last_words};
use super::{call, closing, say_control, state};
use crate::connection::{Output, Payload};
use crate::kernel::{AreaName, Span};
use crate::memory::{BlockId, PIECE, Share, gathered as block_of};
use crate::protocol::serve::{Piece, Wants};
use crate::protocol::turn::{Failing, Half, Turn};

/// So many frames of one stretch of input are read whatever is left of the budget, and each that
/// comes behind them counts as so many bytes.
const FREE_FRAMES: u32 = 64;
const FRAME_COST: usize = 128;

/// Where a message is inflated to, piece by piece.
const SCRATCH: Span = Span { area: AreaName::Scratch, start: 0, length: PIECE as u32 };

/// Works on what was received, until the budget is used up for what is compressed, or comes in very
/// many frames.
pub fn input(turn: &mut Turn<'_>, received: Span) {
    let rules = rules(turn);
    let mut at = 0;
    for count in 0.. {
        if !is_listening(turn) {
            return;
        }
        let Output { connection, pool, .. } = &mut turn.work.output;
        let receiver = &mut state(connection).receiver;
        let input = pool.memory.bytes_mut(received);
        let are_many = count >= FREE_FRAMES;
        if *turn.input_budget == 0
            && let Some(next) = input.get(at)
            && (are_many || receiver.expects_compressed(*next))
        {
            turn.left.unread = Some(received.skip(at as u32));
            return;
        }
        if are_many {
            *turn.input_budget = turn.input_budget.saturating_sub(FRAME_COST);
        }
        match receiver.handle_input(input, &mut at, &rules) {
            Ok(Event::NeedInput) => return,
            Ok(Event::Piece(one)) => piece(turn, &one, received),
            Ok(Event::Control(one)) => control(turn, &one, received),
            Err(error) => turn.fail(error.into()),
        }
        // A handler may have begun the closing handshake; the input behind goes on to count,
        // because the peer's Close frame comes in it.
        say_last_words(turn);
    }
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
    match state(connection).receiver.handle_input(input, &mut 0, &rules) {
        // The receive asked for no more than the rest of the frame, so it is one piece.
        Ok(Event::Piece(piece)) => {
            pool.blocks.extend(block, count);
            if piece.part.is_last() {
                finish_gathered(turn, block, &piece);
            }
        }
        Ok(Event::NeedInput | Event::Control(_)) => {}
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
fn wants(turn: &mut Turn<'_>) -> Wants {
    turn.services[turn.work.output.connection.service].handler.wants()
}

fn piece(turn: &mut Turn<'_>, piece: &receiver::Piece, received: Span) {
    let span = received.part(piece.start as u32, piece.end as u32);
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
fn whole(turn: &mut Turn<'_>, piece: &receiver::Piece, span: Span) {
    if piece.compressed {
        return inflate(turn, piece.kind, span);
    }
    deliver(turn, Piece::whole(piece.kind, span));
}

/// Adds a piece to what is gathered.
fn gather(turn: &mut Turn<'_>, piece: &receiver::Piece, span: Span) -> Option<BlockId> {
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

fn finish_gathered(turn: &mut Turn<'_>, block: BlockId, piece: &receiver::Piece) {
    turn.left.became_whole[Half::Message as usize] = true;
    let content = turn.work.output.pool.blocks.content(block);
    whole(turn, piece, content);
    let Output { connection, pool, .. } = &mut turn.work.output;
    block_of::release(&mut connection.gathered, pool.blocks);
}

/// Inflates a whole message, and hands it out in the way that its handler wants.
fn inflate(turn: &mut Turn<'_>, kind: Kind, compressed: Span) {
    turn.inflater.begin();
    let mut whole = None;
    let (mut left, mut produced) = (compressed, 0u64);
    let mut utf8 = Utf8::default();
    while turn.work.failing.is_none() {
        let progress = match inflate_some(turn, left) {
            Ok(progress) => progress,
            Err(_) => return abandon(turn, &mut whole, ProtocolError::InvalidDeflate),
        };
        let part = Part::from_start(produced == 0).to_end(progress.done);
        left = left.skip(progress.consumed as u32);
        let out = inflated(&progress);
        produced += progress.produced as u64;
        *turn.input_budget = turn.input_budget.saturating_sub(progress.produced);
        // RFC 7692 section 8 leaves it to the receiver to bound what a message inflates to.
        if produced > u64::from(turn.limits.max_buffered_message) {
            return abandon(turn, &mut whole, ProtocolError::MessageTooBig);
        }
        if kind == Kind::Text && check_inflated(turn, &mut utf8, &progress).is_err() {
            return abandon(turn, &mut whole, ProtocolError::InvalidUtf8);
        }
        match wants(turn) {
            Wants::Pieces => deliver(turn, Piece::new(kind, part, out)),
            Wants::Whole => gather_inflated(turn, kind, &mut whole, &progress),
        }
        if progress.done {
            break;
        }
    }
    block_of::release(&mut whole, turn.work.output.pool.blocks);
}

fn abandon(turn: &mut Turn<'_>, whole: &mut Option<BlockId>, error: ProtocolError) {
    block_of::release(whole, turn.work.output.pool.blocks);
    turn.fail(error.into());
}

fn inflate_some(turn: &mut Turn<'_>, compressed: Span) -> Result<Progress, InflateError> {
    let (input, out) = turn.work.output.pool.memory.pair(compressed, SCRATCH);
    turn.inflater.inflate(input, true, out)
}

/// What was inflated just now.
fn inflated(progress: &Progress) -> Span {
    SCRATCH.part(0, progress.produced as u32)
}

fn check_inflated(turn: &Turn<'_>, utf8: &mut Utf8, progress: &Progress) -> Result<(), ()> {
    let bytes = turn.work.output.pool.memory.bytes(inflated(progress));
    utf8.push(bytes).map_err(|_| ())?;
    if progress.done { utf8.finish().map_err(|_| ()) } else { Ok(()) }
}

fn gather_inflated(
    turn: &mut Turn<'_>,
    kind: Kind,
    whole: &mut Option<BlockId>,
    progress: &Progress,
) {
    let pool = &mut turn.work.output.pool;
    if block_of::append(whole, Share::Gathered, pool, inflated(progress)).is_err() {
        return turn.fail(Failing::NoMemory);
    }
    if let Some(block) = whole.filter(|_| progress.done) {
        let span = pool.blocks.content(block);
        deliver(turn, Piece::whole(kind, span));
    }
}

fn deliver(turn: &mut Turn<'_>, piece: Piece<'_>) {
    turn.counters.messages_in += u64::from(piece.part.is_last());
    call(turn, |handler, context| handler.message(context, piece));
}

fn control(turn: &mut Turn<'_>, control: &Control, received: Span) {
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
