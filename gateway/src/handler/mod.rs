//! The handlers that are built in, and for those who bring their own what one is: the words of
//! [`protocol::serve`](crate::protocol::serve).

mod echo;
mod hub;
mod page;

use crate::config;
use crate::config::Route;

pub use crate::protocol::admission::{Admission, Joining};
pub use crate::protocol::context::{Context, Publishing, WriteError};
pub use crate::protocol::desk::Desk;
pub use crate::protocol::refusal::{Ground, Refusal};
pub use crate::protocol::response::{Body, HEAD_MAX, Response, ResponseError, Sink, Source};
pub use crate::protocol::serve::{Decision, End, Handler, HandlerFactory, Piece, Wants};
pub use echo::Echo;
pub use hub::Rooms;
pub use page::Page;

/// The handler that the configuration names for a route.
///
/// # Panics
/// The path of a route of the hub is no pattern, which a checked configuration does not have.
#[must_use]
pub fn built_in(route: &Route) -> Box<dyn Handler> {
    match &route.handler {
        config::Handler::Echo => Box::new(Echo),
        config::Handler::Static => Box::new(Page::default()),
        config::Handler::Hub(hub) => Box::new(Rooms::new(&route.path, hub.clone())),
    }
}
