//! Connections whose token has expired: they are closed, some at a turn of the loop.

use std::io;

use super::EXPIRED_AT_ONCE;
use super::connections::Connections;
use crate::hub::Why;
use crate::kernel::Ring;
use crate::protocol::end_reason::EndReason;

/// Finds out whose token has expired.
pub(super) fn find_expired<R: Ring>(connections: &mut Connections<R>) {
    let now = connections.sockets.moment().calendar;
    connections.gatekeeper.find_expired(now);
}

/// Closes some of those.
///
/// # Errors
/// The ring is beyond use.
pub(super) fn close_expired<R: Ring>(connections: &mut Connections<R>) -> io::Result<()> {
    if !connections.gatekeeper.has_expired() {
        return Ok(());
    }
    let now = connections.sockets.moment().calendar;
    for _ in 0..EXPIRED_AT_ONCE {
        let Some(slot) = connections.gatekeeper.take_expired() else { break };
        // It may have ended meanwhile, and somebody else be there.
        let Some(code) = connections.gatekeeper.expired(slot, now) else { continue };
        if !connections.sockets.table[slot].may_be_ended() {
            continue;
        }
        connections.sockets.counters.tokens_expired += 1;
        connections.accounts.ends_for(slot, EndReason::TokenExpired);
        let why = Why::wish(code, "token_expired: get a new token and connect again");
        connections.close_told(slot, &why);
        connections.sockets.make_room()?;
    }
    Ok(())
}
