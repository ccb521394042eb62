//! The ends of a WebSocket connection: Close frames, and what they say.

use std::borrow::Cow;

use tidegate_proto::websocket::close::{CloseReason, Closing};
use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{Header, OpCode};

use super::{closing, say_control, state};
use crate::connection::{AfterFlush, Connection, Overstay, Payload, Stage, Takes};
use crate::hub::{Cause, Why};
use crate::kernel::Span;
use crate::memory::Full;
use crate::protocol::Ended;
use crate::protocol::desk::Desk;
use crate::protocol::serve::End;
use crate::protocol::services::Services;
use crate::protocol::turn::{Failing, Fault, Turn};

impl From<ProtocolError> for Failing {
    fn from(error: ProtocolError) -> Self {
        Self::Fault(Fault {
            number: error.close_code().0,
            reason: error.reason(),
            is_too_big: error == ProtocolError::MessageTooBig,
        })
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
    state(connection).takes = Takes::Nothing;
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
    turn.left.end = Some(End { by_peer: must_answer, cause: Some(cause(code)) });
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
    let cause = failing.cause();
    let mut body = [0; 125];
    let text = last_words(&failing);
    let length = close_reason(&failing, &text).emit(&mut body);
    turn.left.reason.get_or_insert(failing.reason());
    let connection = turn.connection();
    let first = state(connection).closing.close();
    if !failing.is_orderly() {
        state(connection).closing = Closing::Closed;
        connection.stage = Stage::Lingering;
        connection.states.do_after_flush(AfterFlush::Finish);
        turn.left.end.get_or_insert(End::of_ours(cause));
        turn.forget_input();
    }
    if !first {
        return Ok(());
    }
    let header = Header::of_control(OpCode::Close, length);
    turn.work.output.frame(&header, &Payload::Bytes(&body[..length]))
}

/// What a Close frame says.
fn close_reason<'w>(failing: &Failing, reason: &'w str) -> CloseReason<'w> {
    let cause = match failing {
        Failing::Drains(why) => why.cause,
        _ => failing.cause(),
    };
    let code = Some(code(cause)).filter(|code| code.may_travel());
    CloseReason { code, reason }
}

/// The words in a Close frame: one for programs, and behind a colon those for people. What an
/// application says stands as it is.
fn last_words(failing: &Failing) -> Cow<'_, str> {
    let word = failing.reason().name();
    let for_people = match failing {
        Failing::Fault(fault) => fault.reason,
        Failing::Slow => "the backlog is full",
        Failing::GivesWay => "memory is short",
        Failing::NoMemory => "there is none for the message",
        Failing::TooLate => "the message took too long to arrive",
        Failing::OverRate => "it sends more than it may",
        Failing::Overstays(Overstay::Lifetime) => "it was open for as long as it may be",
        Failing::Overstays(Overstay::Idle) => "it has sent no message for too long",
        Failing::Overstays(Overstay::Silent) => "its first message did not come in time",
        Failing::GoesAway => return word.into(),
        Failing::Drains(why) => return (&*why.text).into(),
        Failing::Instructed(Why {
            cause: Cause::Wish(_) | Cause::Unsaid | Cause::Fault(_),
            text,
        }) => {
            return (&**text).into();
        }
        Failing::Instructed(why) if why.text.is_empty() => return word.into(),
        Failing::Instructed(why) => return (&*why.text).into(),
    };
    format!("{word}: {for_people}").into()
}

/// What a cause is to WebSocket. Of those that may not travel there is one, for what nobody says.
fn code(cause: Cause) -> CloseCode {
    match cause {
        Cause::Done => CloseCode::NORMAL,
        Cause::GoesAway => CloseCode::GOING_AWAY,
        Cause::Forbidden => CloseCode::POLICY_VIOLATION,
        Cause::Failed => CloseCode::INTERNAL_ERROR,
        Cause::NoRoom => CloseCode::TRY_AGAIN_LATER,
        Cause::Unsaid => CloseCode::NO_STATUS,
        Cause::Fault(number) | Cause::Wish(number) => match CloseCode(number) {
            code if code.may_travel() => code,
            // RFC 6455 section 7.4: some codes may not travel.
            _ => CloseCode::INTERNAL_ERROR,
        },
    }
}

/// What is behind a Close frame with this code.
fn cause(code: Option<CloseCode>) -> Cause {
    let Some(code) = code else { return Cause::Unsaid };
    match code {
        CloseCode::NORMAL => Cause::Done,
        CloseCode::GOING_AWAY => Cause::GoesAway,
        CloseCode::POLICY_VIOLATION => Cause::Forbidden,
        CloseCode::INTERNAL_ERROR => Cause::Failed,
        CloseCode::TRY_AGAIN_LATER => Cause::NoRoom,
        CloseCode::PROTOCOL_ERROR
        | CloseCode::UNSUPPORTED
        | CloseCode::INVALID_PAYLOAD
        | CloseCode::MESSAGE_TOO_BIG
        | CloseCode::EXTENSION_REQUIRED => Cause::Fault(code.0),
        CloseCode(number) => Cause::Wish(number),
    }
}

impl End {
    /// The close code that says this over WebSocket (RFC 6455 section 7.1.5): the one that came or
    /// was told, 1005 for a Close frame without one, and 1006 where none came.
    #[must_use]
    pub fn close_code(self) -> u16 {
        self.cause.map_or(CloseCode::ABNORMAL, code).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_to_end_is_told_with_a_code_that_may_travel() {
        let told = |why: Why| close_reason(&Failing::Instructed(why), "").code.map(|code| code.0);
        for number in 0..=u16::MAX {
            let may_travel = CloseCode(number).may_travel();
            let expected = if may_travel { number } else { CloseCode::INTERNAL_ERROR.0 };
            for cause in [Cause::Wish(number), Cause::Fault(number)] {
                assert_eq!(told(cause.into()), Some(expected), "{cause:?}");
            }
        }
        assert_eq!(told(Why::no_room()), Some(1013));
        let drains = Failing::Drains(Why::wish(1012, "drain: a new version"));
        let reason = last_words(&drains).into_owned();
        assert_eq!(close_reason(&drains, "").code.map(|code| code.0), Some(1012));
        assert_eq!((reason.as_str(), drains.cause()), ("drain: a new version", Cause::GoesAway));
        assert_eq!(told(Cause::Unsaid.into()), None);
    }

    #[test]
    fn a_word_for_programs_stands_in_front_and_an_application_s_words_alone() {
        let fault = Failing::from(ProtocolError::MessageTooBig);
        assert_eq!(last_words(&fault), "too_big: the message is over the limit");
        assert_eq!(last_words(&Failing::Slow), "slow_peer: the backlog is full");
        assert_eq!(last_words(&Failing::GoesAway), "drain");
        let told = |why: Why| last_words(&Failing::Instructed(why)).into_owned();
        assert_eq!(told(Cause::Forbidden.into()), "not_allowed");
        assert_eq!(told(Cause::Forbidden.saying("rooms only")), "rooms only");
        assert_eq!(told(Why::no_room()), "no_room: too many topics");
        assert_eq!((told(Why::wish(4000, "")), told(Cause::Unsaid.into())), ("".into(), "".into()));
    }

    #[test]
    fn a_cause_has_the_code_that_was_seen() {
        let seen = |code| End::of_peer(cause(code)).close_code();
        let may_travel = |number: &u16| CloseCode(*number).may_travel();
        for number in (0..=u16::MAX).filter(may_travel) {
            assert_eq!(seen(Some(CloseCode(number))), number);
        }
        assert_eq!((seen(None), End::ABRUPT.close_code()), (1005, 1006));
    }

    #[test]
    fn each_cause_is_told_as_itself() {
        let plain = [Cause::Done, Cause::GoesAway, Cause::Forbidden, Cause::Failed, Cause::NoRoom];
        let numbered =
            [Cause::Fault(1002), Cause::Fault(1009), Cause::Wish(3000), Cause::Wish(4999)];
        for told in plain.into_iter().chain(numbered) {
            assert_eq!(cause(Some(code(told))), told);
        }
    }
}
