//! What a handler says on a WebSocket connection: messages, and parts of them, into frames.

use tidegate_proto::message::{Kind, Part};
use tidegate_proto::websocket::frame::{Header, MAX_UNMASKED_HEADER};
use tidegate_proto::websocket::sender::OutOfOrder;

use super::encode::{Compressing, Deflating};
use super::state;
use crate::config::stack::Deflate;
use crate::connection::Payload;
use crate::memory::Full;
use crate::protocol::context::WriteError;
use crate::protocol::turn::{Failing, Work};

/// Says a part of a message, or all of it.
pub fn say(
    work: &mut Work<'_>,
    deflate: Option<Deflate>,
    kind: Kind,
    part: Part,
    payload: &Payload<'_>,
) -> Result<(), WriteError> {
    if work.is_ending() {
        return Err(WriteError::Closing);
    }
    let websocket = state(work.output.connection);
    let is_worth_it = websocket.deflate_bits != 0
        && deflate.is_some_and(|deflate| payload.len() >= deflate.min as usize);
    let sent = match websocket.sender.send(part, is_worth_it) {
        Err(OutOfOrder) => return Err(WriteError::OutOfOrder),
        Ok(true) => {
            let level = deflate.map_or(1, |deflate| deflate.level);
            say_compressed(work, level, kind, part, payload)
        }
        Ok(false) => {
            let header = Header::of_message(kind, part, false, payload.len());
            work.output.frame(&header, payload)
        }
    };
    if sent == Err(Full) {
        // It may be cut short: no published frame may follow, only a Close frame.
        state(work.output.connection).sender.cut_short();
        work.failing.get_or_insert(Failing::Slow);
        return Err(WriteError::Full);
    }
    work.said.messages += u64::from(part.is_last());
    work.said.bytes += payload.len() as u64;
    Ok(())
}

/// How many bytes one more message, sent plain, may have before the backlog is full.
pub fn room(work: &Work<'_>) -> u32 {
    work.output.backlog_room().saturating_sub(MAX_UNMASKED_HEADER as u32)
}

/// Compresses piece by piece, each into a fragment of its own.
fn say_compressed(
    work: &mut Work<'_>,
    level: u8,
    kind: Kind,
    part: Part,
    payload: &Payload<'_>,
) -> Result<(), Full> {
    let window = work.output.connection.window();
    let mut pieces = Compressing::new(kind, part, payload.len(), Deflating { level, window });
    while let Some((header, piece)) =
        pieces.next(payload.bytes(work.output.pool.memory), work.compressor)
    {
        work.output.frame(&header, &Payload::Bytes(piece))?;
    }
    Ok(())
}
