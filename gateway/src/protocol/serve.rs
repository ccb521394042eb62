//! What answers a route: the trait and its words.
//!
//! A handler belongs to one shard and one route; nothing of it is shared. It sees each connection
//! through a [`Context`], in this order: [`Handler::request`], then, if it was admitted and opens,
//! [`Handler::opened`] once, [`Handler::message`], [`Handler::writable`] and [`Handler::event`] any
//! number of times, and [`Handler::ended`] exactly once, whatever ended the connection. What
//! [`Handler::request`] does not decide at once, [`Handler::decided`] does when it is found out.

use std::marker::PhantomData;
use std::time::Duration;
use std::{error, fmt};

use tidegate_proto::message::{Kind, Part};

use super::admission::Admission;
use super::context::Context;
use super::desk::Desk;
use super::refusal::Refusal;
use super::request::Request;
use super::response::Response;
use crate::config::Route;
use crate::hub::{Cause, Finding, NotRenewed, Outcome};
use crate::kernel::Span;
use crate::names::{ConnectionId, Name, Ticket};

/// How a handler wants its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// As they come in, without waiting for their end and without being copied. A compressed
    /// message comes in pieces once all of it is there, and is bounded as one that is wanted whole.
    Pieces,
    /// Whole, up to the route's `max_buffered_message`. A longer one ends the connection with 1009.
    Whole,
}

/// Part of a message, or all of it; its bytes are asked of the [`Context`]. It is no copy, and
/// sending it back uses it up: the answer may be put together where its bytes are. It cannot be
/// kept beyond the call that it came with, when its bytes may be another connection's.
///
/// ```compile_fail,E0308
/// use tidegate::handler::{Context, Handler, Piece};
///
/// struct Keeper(Option<Piece<'static>>);
///
/// impl Handler for Keeper {
///     fn message(&mut self, _: &mut Context<'_, '_>, piece: Piece<'_>) {
///         self.0 = Some(piece);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Piece<'p> {
    /// Text or bytes.
    pub kind: Kind,
    /// Which part of the message.
    pub part: Part,
    /// Where its bytes are.
    pub(super) span: Span,
    /// The call that it came with.
    pub(super) call: PhantomData<&'p ()>,
}

impl Piece<'_> {
    pub(super) fn new(kind: Kind, part: Part, span: Span) -> Self {
        Self { kind, part, span, call: PhantomData }
    }

    pub(super) fn whole(kind: Kind, span: Span) -> Self {
        Self::new(kind, Part::Whole, span)
    }
}

/// What a handler decides about a request. What is admitted, refused or responded with is one by
/// `into`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// Open the WebSocket connection, if the request asks for one, and give it this. Otherwise the
    /// request is refused.
    Admit(Admission),
    /// Refuse.
    Refuse(Refusal),
    /// Answer with this, and close.
    Respond(Response),
    /// It depends on something that has to be found out first: see [`Decision::later`].
    Later(Question),
}

impl From<Admission> for Decision {
    fn from(admission: Admission) -> Self {
        Self::Admit(admission)
    }
}

impl From<Refusal> for Decision {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<Response> for Decision {
    fn from(response: Response) -> Self {
        Self::Respond(response)
    }
}

impl Decision {
    /// Decides later. `ask` hands the question on with a ticket, and whoever finds the answer tells
    /// it by [`Door::found`](crate::hub::Door::found): then [`Handler::decided`] decides. `ask` is
    /// called at once and must not wait.
    ///
    /// It is not called, and the request is answered with 503, if as many are undecided as the
    /// route's `undecided` allows, all places are taken, the shard drains, or there is no block for
    /// the head. A request that is not decided within the listener's `decision`, counted from the
    /// end of its head however many questions are asked, is answered with 504; one that is
    /// undecided when the shard drains, with 503. If its peer leaves, nobody is told.
    pub fn later(ask: impl FnOnce(Ticket) + 'static) -> Self {
        Self::Later(Question(Box::new(ask)))
    }
}

/// What has to be found out before a request can be decided: see [`Decision::later`].
pub struct Question(Box<dyn FnOnce(Ticket)>);

impl Question {
    /// Asks it. The gateway does, once; so may who tries a handler out, with a ticket of its own.
    pub fn ask(self, ticket: Ticket) {
        (self.0)(ticket);
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Question")
    }
}

/// Why a handler does not take what another has exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportError {
    /// It has another length.
    Length {
        /// The length that it has to have, in bytes.
        expected: usize,
        /// The length that it has.
        found: usize,
    },
    /// Something else is wrong with it.
    Content(&'static str),
}

impl ImportError {
    /// Checks that a handler which keeps nothing is given nothing.
    ///
    /// # Errors
    /// It is given something.
    pub fn unless_empty(bytes: &[u8]) -> Result<(), Self> {
        match bytes.len() {
            0 => Ok(()),
            found => Err(Self::Length { expected: 0, found }),
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, found } => {
                write!(out, "what a connection keeps has {expected} bytes here, not {found}")?;
            }
            Self::Content(wrong) => out.write_str(wrong)?,
        }
        out.write_str(": was it exported by the same handler, of the same version?")
    }
}

impl error::Error for ImportError {}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// The peer began it.
    pub by_peer: bool,
    /// Why. What the peer's last word says: its own, or ours repeated. Our own reason, if we broke
    /// off without waiting for an answer. `None` if the peer's last word never came: it was lost
    /// with the connection, or did not come in time.
    pub cause: Option<Cause>,
}

impl End {
    /// The peer has ended it, for this.
    #[must_use]
    pub const fn of_peer(cause: Cause) -> Self {
        Self { by_peer: true, cause: Some(cause) }
    }

    /// We have ended it, for this.
    #[must_use]
    pub const fn of_ours(cause: Cause) -> Self {
        Self { by_peer: false, cause: Some(cause) }
    }

    /// The peer, or the network, has ended it without a word.
    pub const ABRUPT: Self = Self { by_peer: true, cause: None };
    /// We have ended it without a word, or had no answer to ours.
    pub const DROPPED: Self = Self { by_peer: false, cause: None };
    /// The shard has ended.
    pub const STOPPED: Self = Self { by_peer: false, cause: Some(Cause::GoesAway) };
}

/// What may happen to a connection besides what its peer sends.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// Another thread has told it this, by [`Door::tell`](crate::hub::Door::tell).
    Told(&'e [u8]),
    /// What has come of what it asked by [`Context::ask`], or of a subscription that has a
    /// [tag](crate::hub::Subscribing::tag) or was [ended with one](Context::unsubscribe_with).
    /// [`NotDone::Gone`](crate::hub::NotDone::Gone): the subscription ended before it began.
    Answered {
        /// What it was asked with.
        tag: Option<u32>,
        /// The topic that it was about.
        topic: &'e Name,
        /// What has come of it.
        outcome: &'e Outcome,
    },
    /// What has come of a fresh token that it had verified by
    /// [`Context::renew_token`](super::context::Context::renew_token).
    Renewed {
        /// What it was asked with.
        tag: Option<u32>,
        /// Until when the token holds that it has now, counted from 1970, if that ends; or why it
        /// has the one that it had.
        renewed: Result<Option<Duration>, NotRenewed>,
    },
}

/// What answers a route. See [`crate::handler`] for the order of calls.
pub trait Handler {
    /// How messages are wanted.
    fn wants(&self) -> Wants {
        Wants::Pieces
    }

    /// A request came in for the route. By default each is admitted, with nothing. One that is
    /// admitted need not open: it may ask for no WebSocket connection, or all places may be taken.
    fn request(&mut self, _request: &Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        Decision::Admit(Admission::default())
    }

    /// What a [`Decision::later`] has asked about a request, which is as it was, is found out. What
    /// is decided is carried out as if at once, and may be another [`Decision::later`]. Who decides
    /// later has to implement this: by default the request is refused.
    fn decided(
        &mut self,
        _request: &Request<'_>,
        _finding: Finding,
        _desk: &mut Desk<'_>,
    ) -> Decision {
        Decision::Refuse(Refusal::Forbidden)
    }

    /// The connection is open, and has what it was admitted with. If there was no room for that, it
    /// is closing already. The handler may keep 32 bits of its own with [`Context::set_state`].
    fn opened(&mut self, _context: &mut Context<'_, '_>, _admission: Admission) {}

    /// A message, or a piece of one.
    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>);

    /// The peer has taken all that waited for it. Called only after something had to wait.
    fn writable(&mut self, _context: &mut Context<'_, '_>) {}

    /// Something has happened that has to do with the connection, and was not sent by its peer.
    fn event(&mut self, _context: &mut Context<'_, '_>, _event: Event<'_>) {}

    /// The connection has ended, and so have its subscriptions; `state` is what the handler kept
    /// for it. It may close others, such as all that its peer has brought together: one such order
    /// is taken however much mail waits ([`Desk::disconnect`]).
    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, _state: u32, _end: End) {}

    /// Appends what the handler keeps for a connection whose 32 bits are `state`, as bytes that
    /// another handler of the same route, in another shard or another process, takes by
    /// [`Handler::import`]: a later version too, so their meaning does not change. One that keeps
    /// just the number need not implement either: it is four bytes, the highest first. The gateway
    /// hands no connections on yet, so nobody calls these but the program itself.
    fn export(&self, state: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&state.to_be_bytes());
    }

    /// Takes what another handler has exported for a connection that goes on here, and yields its
    /// 32 bits. The bytes may be anything: they come from outside.
    ///
    /// # Errors
    /// They are none that this handler exports; nothing is kept then.
    fn import(&mut self, bytes: &[u8]) -> Result<u32, ImportError> {
        let state = bytes.try_into().map(u32::from_be_bytes);
        state.map_err(|_| ImportError::Length { expected: 4, found: bytes.len() })
    }
}

/// Makes a shard's own handler for a route; `None` leaves it to the one that the configuration
/// names.
pub type HandlerFactory = dyn Fn(&Route) -> Option<Box<dyn Handler>> + Send + Sync;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keeps just a number.
    struct Plain;

    impl Handler for Plain {
        fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
    }

    proptest! {
        #[test]
        fn a_number_is_taken_as_it_was_exported(state: u32) {
            let mut bytes = Vec::new();
            Plain.export(state, &mut bytes);
            prop_assert_eq!(Plain.import(&bytes), Ok(state));
            for length in 0..bytes.len() {
                let wrong = ImportError::Length { expected: 4, found: length };
                prop_assert_eq!(Plain.import(&bytes[..length]), Err(wrong));
            }
        }

        #[test]
        fn any_bytes_are_a_number_or_are_not(bytes: Vec<u8>) {
            let taken = Plain.import(&bytes);
            prop_assert_eq!(taken.is_ok(), bytes.len() == 4);
        }
    }

    #[test]
    fn errors_say_what_to_look_for() {
        let wrong = ImportError::unless_empty(b"abc").expect_err("it is not empty");
        assert_eq!(
            wrong.to_string(),
            "what a connection keeps has 0 bytes here, not 3: was it exported by the same handler, \
             of the same version?"
        );
        assert_eq!(ImportError::unless_empty(b""), Ok(()));
        assert!(ImportError::Content("no user").to_string().starts_with("no user: was it"));
    }
}
