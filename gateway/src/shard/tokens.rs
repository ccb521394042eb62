//! Connections whose token has expired, or was taken back: they are closed, some at a turn of the
//! loop.

use std::io;

use super::EXPIRED_AT_ONCE;
use super::connections::Connections;
use crate::checks::TokenEnd;
use crate::hub::Why;
use crate::kernel::Ring;
use crate::protocol::end_reason::EndReason;

/// Finds out whose token has expired, and whether tokens were taken back.
pub(super) fn tick<R: Ring>(connections: &mut Connections<R>) {
    let now = connections.sockets.moment().calendar;
    connections.gatekeeper.find_expired(now);
    connections.gatekeeper.hear_of_revocations();
}

/// Tokens may have been taken back.
pub(super) fn obey<R: Ring>(connections: &mut Connections<R>) {
    connections.gatekeeper.hear_of_revocations();
}

/// Goes on looking for those whose token was taken back, and closes some of those that were found.
///
/// # Errors
/// The ring is beyond use.
pub(super) fn close_due<R: Ring>(connections: &mut Connections<R>) -> io::Result<()> {
    if !connections.gatekeeper.has_work() {
        return Ok(());
    }
    let now = connections.sockets.moment().calendar;
    connections.gatekeeper.find_taken_back(now);
    for _ in 0..EXPIRED_AT_ONCE {
        let Some(slot) = connections.gatekeeper.take_due() else { break };
        // It may have ended meanwhile, or have a fresh token, and somebody else be there.
        let Some(end) = connections.gatekeeper.ends(slot, now) else { continue };
        if !connections.sockets.table[slot].may_be_ended() {
            continue;
        }
        let counters = &mut connections.sockets.counters;
        let (code, reason, text) = match end {
            TokenEnd::Expired(code) => {
                counters.tokens_expired += 1;
                let text = "token_expired: get a new token and connect again";
                (code, EndReason::TokenExpired, text)
            }
            TokenEnd::Revoked(code) => {
                counters.tokens_revoked += 1;
                let text = "token_revoked: the token was taken back";
                (code, EndReason::TokenRevoked, text)
            }
        };
        connections.accounts.ends_for(slot, reason);
        connections.close_told(slot, &Why::wish(code, text));
        connections.sockets.make_room()?;
    }
    Ok(())
}
