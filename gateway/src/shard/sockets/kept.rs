//! Input that a transport cannot open before more comes, such as a part of a record.
//!
//! It waits in a block. Once there is more to receive, it is copied to the front of a receive
//! buffer, and what comes is received behind it: so a transport is handed all of it in one stretch,
//! and what it opens lies where all input does.

use crate::connection::{Reading, Stage};
use crate::kernel::{Operation, Ring, Slot, Span};
use crate::memory::{Full, Pool, Share, gathered};
use crate::shard::sockets::Sockets;
use crate::shard::sockets::receiving::Arrival;
use crate::transport::KeptRest;

/// Keeps what could not be opened yet.
///
/// # Errors
/// There is no block for it, or no receive buffer would have room for more behind it.
pub(crate) fn keep_rest<R: Ring>(
    sockets: &mut Sockets<R>,
    slot: Slot,
    rest: Span,
) -> Result<(), Full> {
    debug_assert!(!sockets.transports.kept.has(slot), "what waited was handed in with it");
    if rest.length >= sockets.limits.receive_buffer {
        return Err(Full);
    }
    let is_head = sockets.table[slot].stage == Stage::Head;
    let share = if is_head { Share::Heads } else { Share::Gathered };
    let mut block = None;
    let mut pool = Pool { blocks: &mut sockets.blocks, memory: &mut sockets.memory };
    gathered::append(&mut block, share, &mut pool, rest)?;
    if let Some(block) = block {
        sockets.transports.kept.rests.insert(slot, KeptRest { block, share, buffer: None });
    }
    Ok(())
}

/// Receives behind what waits of the connection; `false` if no buffer is free.
pub(crate) fn receive_behind<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) -> bool {
    let Some(rest) = sockets.transports.kept.rests.get_mut(slot) else { return false };
    let Some(buffer) = sockets.buffers.take() else { return false };
    rest.buffer = Some(buffer);
    let content = sockets.blocks.content(rest.block);
    let whole = sockets.buffers.received_in(buffer, sockets.limits.receive_buffer);
    sockets.memory.copy(content, whole.part(0, content.length));
    let connection = &mut sockets.table[slot];
    connection.states.set_reading(Reading::ReceivingBehind);
    connection.check();
    let generation = connection.generation;
    let span = whole.skip(content.length);
    sockets.has_receives = true;
    sockets.ring.push(Operation::ReceiveInto { slot, generation, span });
    true
}

/// So many bytes were received behind what waited: all of it is input from here on, in a buffer
/// that is held once for it. Without any, all is as it was.
pub(crate) fn received_behind<R: Ring>(
    sockets: &mut Sockets<R>,
    slot: Slot,
    count: u32,
) -> Option<Arrival> {
    let rest = sockets.transports.kept.rests.get_mut(slot)?;
    let buffer = rest.buffer.take()?;
    if count == 0 {
        sockets.buffers.release(buffer);
        return None;
    }
    let length = sockets.blocks.content(rest.block).length;
    forget_rest(sockets, slot);
    Some(Arrival { buffer, span: sockets.buffers.received_in(buffer, length + count) })
}

/// Nothing of the connection waits any more.
fn forget_rest<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) {
    let Some(KeptRest { block, buffer, .. }) = sockets.transports.kept.rests.remove(slot) else {
        return;
    };
    sockets.blocks.give_back(block);
    if let Some(buffer) = buffer {
        sockets.buffers.release(buffer);
    }
}

/// The connection is closed, and nothing in flight uses its memory.
pub(crate) fn forget_kept<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) {
    forget_rest(sockets, slot);
    sockets.transports.kept.forget(slot);
}
