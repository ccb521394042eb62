//! The ends of a WebSocket connection: Close frames, and what they say.

use tidegate_proto::websocket::close::{CloseReason, Closing};
use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{Header, OpCode};

use super::{closing, say_control, state};
use crate::connection::{AfterFlush, Connection, Payload, Stage};
use crate::kernel::Span;
use crate::memory::Full;
use crate::protocol::Ended;
use crate::protocol::desk::Desk;
use crate::protocol::serve::End;
use crate::protocol::services::Services;
use crate::protocol::turn::{Failing, Fault, Turn};

impl From<ProtocolError> for Failing {
    fn from(error: ProtocolError) -> Self {
        Self::Fault(Fault { number: error.close_code().0, reason: error.reason() })
    }
}

/// Ends the connection, if it is not ending already.
pub fn close(turn: &mut Turn<'_>, failing: Failing) {
    turn.fail(failing);
    say_last_words(turn);
}

/// Says the last words, if there are any.
pub fn say_last_words(turn: &mut Turn<'_>) {
    if let Some(failing) = turn.work.failing.take() {
        turn.left.drop |= say_close(turn, failing).is_err();
    }
}

/// The connection's messages have ended: tells the handler.
pub fn tell_end(
    services: &mut Services,
    connection: &mut Connection,
    desk: &mut Desk<'_>,
    Ended { id, end }: Ended,
) {
    state(connection).is_open = false;
    services.get_mut(connection.service).handler.ended(desk, id, connection.state, end);
}

/// A Close frame has come from the peer.
pub(super) fn close_frame(turn: &mut Turn<'_>, payload: Span) {
    let body = turn.work.output.pool.memory.bytes(payload);
    let code = match CloseReason::parse(body) {
        Ok(reason) => reason.code,
        Err(error) => return turn.fail(error.into()),
    };
    let must_answer = state(turn.connection()).closing.handle_close();
    turn.left.end = Some(End { code: code.unwrap_or(CloseCode::NO_STATUS), by_peer: must_answer });
    if must_answer && state(turn.connection()).closing.close() {
        // RFC 6455 section 5.5.1: "When sending a Close frame in response, the endpoint typically
        // echos the status code it received." The reason goes back with it.
        say_control(turn, OpCode::Close, &Payload::Span(payload));
    }
    // Section 7.1.1: the server closes the TCP connection first.
    turn.connection().states.do_after_flush(AfterFlush::Close);
}

/// Whether frames of the peer are still looked at.
pub(super) fn is_listening(turn: &mut Turn<'_>) -> bool {
    !turn.left.drop && closing(turn).may_receive()
}

/// Fails or closes the connection: a Close frame if none was sent, and the state after it.
fn say_close(turn: &mut Turn<'_>, failing: Failing) -> Result<(), Full> {
    failing.count(turn.counters);
    let (code, reason) = words(failing, turn.reason);
    let mut body = [0; 125];
    let length = CloseReason { code: Some(code), reason }.emit(&mut body);
    let connection = turn.connection();
    let first = state(connection).closing.close();
    if !failing.is_orderly() {
        state(connection).closing = Closing::Closed;
        connection.stage = Stage::Lingering;
        connection.states.do_after_flush(AfterFlush::Finish);
        turn.left.end.get_or_insert(End { code, by_peer: false });
        turn.forget_input();
    }
    if !first {
        return Ok(());
    }
    let header = Header::of_control(OpCode::Close, length);
    turn.work.output.frame(&header, &Payload::Bytes(&body[..length]))
}

/// What a Close frame says. `wished` are the words of whose wish it is, or of the hub.
fn words(failing: Failing, wished: &str) -> (CloseCode, &str) {
    match failing {
        Failing::Fault(Fault { number, reason }) => (CloseCode(number), reason),
        Failing::Slow => (CloseCode::TRY_AGAIN_LATER, "too slow: the backlog is full"),
        Failing::GivesWay => (CloseCode::TRY_AGAIN_LATER, "too slow, and memory is short"),
        Failing::NoMemory => (CloseCode::TRY_AGAIN_LATER, "no memory for the message"),
        Failing::TooLate => (CloseCode::POLICY_VIOLATION, "the message takes too long to arrive"),
        Failing::GoesAway => (CloseCode::GOING_AWAY, ""),
        // RFC 6455 section 7.4: some codes may not travel.
        Failing::Wish(number) if !CloseCode(number).may_travel() => {
            (CloseCode::INTERNAL_ERROR, wished)
        }
        Failing::Wish(number) => (CloseCode(number), wished),
        Failing::NoRoom => (CloseCode::TRY_AGAIN_LATER, wished),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Cause;

    #[test]
    fn what_the_hub_closes_is_told_with_a_code_that_may_travel() {
        let told = |cause: Cause| words(cause.into(), "why").0;
        assert_eq!(told(Cause::Wish(4321)), CloseCode(4321));
        assert_eq!(told(Cause::Wish(1006)), CloseCode::INTERNAL_ERROR);
        assert_eq!(told(Cause::NoRoom), CloseCode::TRY_AGAIN_LATER);
    }
}
