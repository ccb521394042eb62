//! What is spoken on a connection.
//!
//! A shard receives, sends, waits and closes, and knows no protocol. What has come in, what has been
//! sent, what is over and what is to end goes to the functions here, each over the [`Turn`] of one
//! connection: one `match` over what is spoken on it. What a turn leaves to do for the shard it
//! says when it is over ([`turn::Finished`]).

pub mod context;
mod counted;
mod opening;
pub mod program;
pub mod refusal;
mod router;
pub mod serve;
pub mod services;
pub mod turn;
mod websocket;

use crate::connection::{Connection, Protocol};
use crate::kernel::Span;
use crate::memory::BlockId;
use serve::End;
use services::Services;
use turn::{Failing, Turn};

/// What has not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Anything at all, or the end of the request.
    Word,
    /// The rest of what is half received.
    Rest,
}

/// Works on what was received.
pub fn input(turn: &mut Turn<'_>, received: Span) {
    match turn.connection().protocol {
        Protocol::Opening => opening::input(turn, received),
        Protocol::WebSocket(_) => websocket::input(turn, received),
    }
}

/// Works on `count` bytes that were received straight into the gathered block.
pub fn gathered(turn: &mut Turn<'_>, block: BlockId, count: u32) {
    match turn.connection().protocol {
        // What is half there of a head is small, and never received in place.
        Protocol::Opening => {}
        Protocol::WebSocket(_) => websocket::gathered(turn, block, count),
    }
}

/// Everything queued was sent.
pub fn writable(turn: &mut Turn<'_>) {
    match turn.connection().protocol {
        Protocol::Opening => {}
        Protocol::WebSocket(_) => websocket::writable(turn),
    }
}

/// Something has not come in time.
pub fn expired(turn: &mut Turn<'_>, what: Overdue) {
    match (turn.connection().protocol, what) {
        (Protocol::Opening, _) => opening::too_late(turn),
        (Protocol::WebSocket(_), Overdue::Word) => websocket::ping(turn),
        (Protocol::WebSocket(_), Overdue::Rest) => websocket::close(turn, Failing::TooLate),
    }
}

/// Ends the connection, if it is not ending already.
pub fn close(turn: &mut Turn<'_>, why: Failing) {
    match turn.connection().protocol {
        Protocol::Opening => opening::refuse_busy(turn),
        Protocol::WebSocket(_) => websocket::close(turn, why),
    }
}

/// The connection's messages have ended: whoever was told of their beginning is told, once.
pub fn tell_end(services: &mut Services, connection: &mut Connection, end: End) {
    match connection.protocol {
        Protocol::Opening => {}
        Protocol::WebSocket(_) => websocket::tell_end(services, connection, end),
    }
}
