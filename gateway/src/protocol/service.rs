//! The service of a route: what it offers to its connections, and what answers them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::context::Context;
use super::foreign::Allowance;
use super::offer::RouteOffer;
use super::serve::{Handler, Piece};
use crate::config::{Route, SlowPeer};
use crate::connection::CONTROL_RESERVE;

/// What a route offers to each of its connections, in bytes where nothing else is said. See
/// [`Route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// The longest message.
    pub max_message: u32,
    /// The longest that is put together before it is looked at.
    pub max_buffered_message: u32,
    /// Bytes that may wait for one peer.
    pub backlog: u32,
    /// What happens to one for which as much waits.
    pub slow_peer: SlowPeer,
    /// How many requests may be undecided at once.
    pub undecided: u32,
    /// In how many frames one message may come.
    pub max_frames: u32,
    /// What each may send, or how long it may stay, is limited: see [`RouteOffer::terms`].
    pub is_allotted: bool,
}

impl ServiceLimits {
    /// Of those that have no route yet: they are sent one response, which is bounded by itself.
    pub(super) const OPENING: Self = Self {
        max_message: 0,
        max_buffered_message: 0,
        backlog: u32::MAX,
        slow_peer: SlowPeer::Close,
        undecided: 0,
        max_frames: u32::MAX,
        is_allotted: false,
    };

    /// Of those that speak a protocol which the program brings along: nothing is read from who does
    /// not take what waits for it.
    pub(super) fn foreign(allowance: Allowance) -> Self {
        let Allowance { kept, backlog } = allowance;
        let backlog = backlog.max(Allowance::LEAST_BACKLOG).saturating_add(CONTROL_RESERVE);
        Self {
            max_message: u32::MAX,
            max_buffered_message: kept,
            backlog,
            slow_peer: SlowPeer::Pause,
            undecided: 0,
            max_frames: u32::MAX,
            is_allotted: false,
        }
    }

    pub(super) fn of(route: &Route) -> Self {
        let Route { max_message, max_buffered_message, backlog, slow_peer, undecided, .. } = *route;
        Self {
            max_message,
            max_buffered_message,
            backlog,
            slow_peer,
            undecided,
            max_frames: route.client.max_frames,
            is_allotted: route.client.keep_something(),
        }
    }
}

/// Makes the handler of a route, if anybody does. Which handlers there are is not known here.
pub type Make<'f> = dyn Fn(&Route) -> Option<Made> + 'f;

/// A handler that was made.
pub struct Made {
    /// The handler.
    pub handler: Box<dyn Handler>,
    /// Whether the program brings it along.
    pub is_brought: bool,
}

/// A route whose handler is the program's to bring, and the program brings none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoHandler {
    /// The path of the route.
    pub path: String,
}

impl fmt::Display for NoHandler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "route {path}: its handler is `embedded`, and the program makes none: call \
             `Program::handler` with this path, or return one for this route from what \
             `Program::handlers` was given, or name a handler that is built in",
            path = self.path
        )
    }
}

impl Error for NoHandler {}

/// One route at work on a shard.
pub struct Service {
    /// What each of its connections may have, as [`RouteOffer::limits`] has it.
    pub limits: ServiceLimits,
    /// The most of [`ServiceLimits::backlog`] that it has ever been: as much may wait for those who
    /// were there then.
    pub most_backlog: u32,
    /// What it offers, the same on all shards.
    pub offer: Arc<RouteOffer>,
    /// What answers.
    pub handler: Box<dyn Handler>,
    /// Whether the program brings that along: it may have others come and go, as it will.
    pub is_brought: bool,
    /// How many of its requests are undecided.
    pub undecided: u32,
}

/// The handler of those that have no route. Nothing is ever asked of it.
struct NoRoute;

impl Handler for NoRoute {
    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {
        debug_assert!(false, "a message without a request");
    }
}

impl Service {
    /// Of those that have no route.
    pub(super) fn of_no_route(limits: ServiceLimits) -> Self {
        let made = Made { handler: Box::new(NoRoute), is_brought: false };
        Self::new(Arc::new(RouteOffer::none(limits)), made)
    }

    pub(super) fn new(offer: Arc<RouteOffer>, Made { handler, is_brought }: Made) -> Self {
        let limits = offer.limits;
        let most_backlog = limits.backlog;
        Self { limits, most_backlog, offer, handler, is_brought, undecided: 0 }
    }

    /// From now on it offers something else, to those as well who are there.
    pub(super) fn offers(&mut self, offer: Arc<RouteOffer>) {
        self.limits = offer.limits;
        self.most_backlog = self.most_backlog.max(offer.limits.backlog);
        self.offer = offer;
    }
}
