//! The name of what was asked about a request.

use super::ConnectionId;

/// Names what the handler of a request has asked before it decides: whoever finds that out tells it
/// with this, by `hub::Door::found`. It is good for one answer, and only as long as the request
/// waits for it; nobody else is ever reached with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The connection that the request came on.
    pub connection: ConnectionId,
    /// How much had been asked about the request before.
    pub round: u32,
}
