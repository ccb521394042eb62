//! Bodies of responses whose sources wait for room: for a block, or because what they have said has
//! yet to be sealed.

use std::io;

use super::connections::Connections;
use crate::connection::BLOCK_MIN;
use crate::kernel::Ring;
use crate::protocol;

/// Sources that are asked for more in one turn of the loop: each says 64 KiB at most.
const ASKED_AT_ONCE: usize = 4;

/// Asks those for more that wait for room, as far as there is some. Where there is none they hold
/// nothing, and whoever holds what is missing gives way as to any delivery.
///
/// # Errors
/// The ring is beyond use.
pub(super) fn go_on<R: Ring>(connections: &mut Connections<R>) -> io::Result<()> {
    let waiting = connections.services.sources.waiting();
    for _ in 0..ASKED_AT_ONCE.min(waiting) {
        let Some(slot) = connections.services.sources.next_waiting() else { break };
        let connection = &connections.sockets.table[slot];
        if connection.states.is_blocked() {
            // It is asked once its peer has taken what waits.
            continue;
        }
        if connection.must_queue() {
            connections.services.sources.waits(slot);
            connections.sockets.flush_soon |= connections.sockets.table[slot].states.is_in_batch();
            continue;
        }
        if !connections.sockets.has_block(BLOCK_MIN as usize) {
            connections.services.sources.waits(slot);
            connections.sockets.waits_for_block();
            return Ok(());
        }
        connections.in_turn(slot, None, protocol::writable);
        connections.sockets.make_room()?;
    }
    // The others have their turn before anyone sleeps.
    connections.sockets.flush_soon |= waiting > ASKED_AT_ONCE;
    Ok(())
}
