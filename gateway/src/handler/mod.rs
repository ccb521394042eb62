//! What answers a route: the built-in handlers, and for those who bring their own what one is.
//!
//! A [`Handler`] belongs to one shard and one route; each shard makes its own on its own thread, so
//! nothing of it is shared and nothing needs a lock. Nothing in it may wait: all connections of the
//! shard wait with it. It is called in this order:
//!
//! 1. [`Handler::request`] with a [`Request`] decides: a [`Decision`] admits it, refuses it, or
//!    answers with a [`Response`]. What is admitted gets what the [`Admission`] says: its
//!    user, its topics, a number that the handler keeps for it. A handler that has to ask somebody
//!    first decides later ([`Decision::later`]): [`Handler::decided`] is called with the head and
//!    what was found out, if that comes in time and the peer is still there.
//! 2. [`Handler::opened`] once, with the connection as a [`Context`]: it can be sent to
//!    ([`Context::send_text`]), closed ([`Context::close`], for a [`Cause`]), subscribed.
//! 3. [`Handler::message`] with each message, or each [`Piece`] of one ([`Handler::wants`]), and
//!    [`Handler::writable`] when a peer has taken what it had no room for before.
//! 4. [`Handler::event`] with what another thread tells it by the hub's [`Door`](crate::hub::Door).
//! 5. [`Handler::ended`] exactly once for each [`Handler::opened`], whatever ended the connection,
//!    with an [`End`]: who began it, and why.
//!
//! None of these words is WebSocket's own, though that is what carries them: a [`Cause`] is a close
//! code to it, [`Kind::Bytes`] a binary message.
//!
//! [`Handler::export`] and [`Handler::import`] turn what a handler keeps for a connection into
//! bytes and back, for whoever hands connections on to another shard or process; the gateway does
//! not yet.
//!
//! A test asks a handler what it decides by a [`Trial`](crate::gateway::Trial).
//!
//! A [`Desk`] is what there is without a connection: publishing, closing others, the time. The body
//! of a response that is long, or made on the way, comes from a [`Source`].
//!
//! ```
//! use tidegate::prelude::*;
//!
//! struct Shout;
//!
//! impl Handler for Shout {
//!     fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
//!         let loud = context.bytes(&piece).to_ascii_uppercase();
//!         // A connection that cannot take it is closed by the gateway.
//!         let _ = context.send_piece(piece.kind, piece.part, &loud);
//!     }
//! }
//!
//! let program = Program::default().handler("/shout", || Shout);
//! ```
//!
//! One that has a thread look up who asks. Whoever gets the ticket needs a
//! [`Door`](crate::hub::Door), which there is once the gateway has started:
//!
//! ```
//! use std::sync::mpsc::Sender;
//!
//! use tidegate::prelude::*;
//!
//! /// Has others look up whom a token belongs to.
//! struct Guarded(Sender<(Ticket, String)>);
//!
//! impl Handler for Guarded {
//!     fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
//!         let token = match request.query_value("token") {
//!             Ok(Some(token)) => token.into_owned(),
//!             Ok(None) => return Refusal::Forbidden.into(),
//!             Err(refusal) => return refusal.into(),
//!         };
//!         let others = self.0.clone();
//!         // If they are gone, nobody tells anything, and the request is answered with 504.
//!         Decision::later(move |ticket| _ = others.send((ticket, token)))
//!     }
//!
//!     fn decided(&mut self, _: &Request<'_>, user: Finding, _: &mut Desk<'_>) -> Decision {
//!         match user.take::<Option<Name>>().flatten() {
//!             Some(user) => Decision::Admit(Admission::default().of_user(user)),
//!             None => Decision::Refuse(Refusal::Forbidden),
//!         }
//!     }
//!
//!     fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
//!         let _ = context.echo(piece);
//!     }
//! }
//!
//! /// What a thread does with each that it receives. While the gateway is busy it is not heard,
//! /// and the request is answered with 504.
//! fn look_up(door: &Door, ticket: Ticket, token: &str) {
//!     let user: Option<Name> = Name::new(token).ok();
//!     door.found(ticket, user, |_| {});
//! }
//! ```

mod echo;
mod health;
mod page;
mod rooms;

use crate::config;
use crate::config::Route;

pub use crate::protocol::admission::{Admission, Joining};
pub use crate::protocol::context::{Context, Publishing, WriteError};
pub use crate::protocol::desk::Desk;
pub use crate::protocol::end_reason::EndReason;
pub use crate::protocol::ground::Ground;
pub use crate::protocol::refusal::{BODY_AT_ONCE_MAX, OwnRefusal, Refusal};
pub use crate::protocol::request::{PeerCertificate, Permissions, ProxyFacts, Request, TlsToProxy};
pub use crate::protocol::response::{
    Body, HEAD_MAX, HEADERS_MAX, Response, ResponseError, Sink, Source,
};
pub use crate::protocol::serve::{
    Decision, End, Event, Handler, HandlerFactory, ImportError, Piece, Question, Wants,
};
pub use echo::Echo;
pub use health::Health;
pub use page::Page;
pub use rooms::Rooms;
// How what a client says is read, for who fuzzes that.
#[doc(hidden)]
pub use rooms::commands;
// What the words above are said in.
pub use crate::checks::NotAdmitted;
pub use crate::hub::{Cause, Finding, Why};
pub use crate::names::Ticket;
pub use tidegate_proto::http::RequestHead;
pub use tidegate_proto::message::{Kind, Part};

/// The handler that the configuration names for a route; `None` if that is the program's to bring.
///
/// # Panics
/// The path of a route of the hub is no pattern, which a checked configuration does not have.
#[must_use]
pub fn built_in(route: &Route) -> Option<Box<dyn Handler>> {
    Some(match &route.handler {
        config::RouteHandler::Echo => Box::new(Echo),
        config::RouteHandler::Health => Box::new(Health),
        config::RouteHandler::Static => Box::new(Page::default()),
        config::RouteHandler::Hub(hub) => Box::new(Rooms::new(route, hub.clone())),
        config::RouteHandler::Embedded => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HubRoute, RouteHandler as Named};

    #[test]
    fn the_built_in_handlers_keep_nothing() {
        let hub = Named::Hub(HubRoute::default());
        for named in [Named::Echo, Named::Health, Named::Static, hub] {
            let mut handler = built_in(&Route::new("/", named)).expect("it is built in");
            let mut bytes = Vec::new();
            handler.export(7, &mut bytes);
            assert_eq!((bytes.len(), handler.import(&bytes)), (0, Ok(0)));
            for length in 1..9 {
                let wrong = ImportError::Length { expected: 0, found: length };
                assert_eq!(handler.import(&vec![0xFF; length]), Err(wrong));
            }
        }
    }
}
