//! WebSocket (RFC 6455), of a connection whose opening handshake is done.

mod allotted;
pub(crate) mod encode;
mod ending;
mod inflating;
mod input;
mod output;

use tidegate_proto::websocket::close::Closing;
use tidegate_proto::websocket::frame::{Header, OpCode};

use super::admission::Admission;
use super::context::Context;
use super::serve::{Event, Handler};
use super::turn::{Failing, Turn};
use crate::connection::{Connection, Payload, Spoken, Stage, Takes, WebSocket};
use crate::hub::Cause;

pub(super) use ending::{close, tell_end};
pub use inflating::Inflating;
pub(super) use input::{gathered, input};
pub(super) use output::{room, say};

/// The state of the WebSocket connection that a turn or a handler is at work on.
pub(super) const fn state(connection: &mut Connection) -> &mut WebSocket {
    connection.websocket().expect("it was looked what is spoken, and that stays as it is")
}

/// The connection is open, and its response is said: gives it what it was admitted with, and tells
/// the handler. `window` is that of what is compressed for it, in bits; 0 without compression.
pub(super) fn open(turn: &mut Turn<'_>, admission: Admission, window: u8) {
    let connection = turn.connection();
    connection.stage = Stage::Open;
    connection.spoken = Spoken::WebSocket(WebSocket {
        deflate_bits: window,
        takes: if admission.subprotocol.is_some() { Takes::Commands } else { Takes::Messages },
        ..WebSocket::default()
    });
    turn.counters.opened += 1;
    turn.counters.connections_open += 1;
    let has_room = turn.work.gatekeeper.open(turn.work.id.slot).is_ok();
    turn.counters.permissions_refused += u64::from(!has_room);
    if turn.limits.is_allotted {
        allotted::open(turn);
    }
    call(turn, |handler, context| {
        if !has_room {
            context.close(Cause::NoRoom);
        }
        context.admit(&admission);
        handler.opened(context, admission);
    });
    ending::say_last_words(turn);
}

/// Something has happened that the handler wants to know.
pub(super) fn event(turn: &mut Turn<'_>, event: Event<'_>) {
    call(turn, |handler, context| handler.event(context, event));
    ending::say_last_words(turn);
}

/// Everything queued was sent.
pub(super) fn writable(turn: &mut Turn<'_>) {
    call(turn, |handler, context| handler.writable(context));
    ending::say_last_words(turn);
}

/// Nothing came from the peer for as long as it may be silent: sends a Ping without a payload.
pub(super) fn ping(turn: &mut Turn<'_>) {
    turn.counters.pings += 1;
    say_control(turn, OpCode::Ping, &Payload::Bytes(&[]));
    ending::say_last_words(turn);
}

fn closing(turn: &mut Turn<'_>) -> Closing {
    state(turn.connection()).closing
}

/// Says a control frame, or fails.
fn say_control(turn: &mut Turn<'_>, opcode: OpCode, payload: &Payload<'_>) {
    let header = Header::of_control(opcode, payload.len());
    if turn.work.output.frame(&header, payload).is_err() {
        turn.fail(Failing::Slow);
    }
}

/// Calls the handler with the connection at hand.
fn call(turn: &mut Turn<'_>, what: impl FnOnce(&mut dyn Handler, &mut Context<'_, '_>)) {
    let Turn { work, services, profiles, .. } = turn;
    let deflate = profiles[work.output.connection.profile].deflate;
    let service = services.get_mut(work.output.connection.service);
    what(&mut *service.handler, &mut Context { work, deflate });
}
