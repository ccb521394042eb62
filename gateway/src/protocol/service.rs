//! The service of a route: what it offers to its connections, and what answers them.

use std::error::Error;
use std::fmt;

use tidegate_proto::http::RequestHead;
use tidegate_proto::websocket::handshake::server::Rejection;

use super::context::Context;
use super::foreign::Allowance;
use super::refusal::Refusal;
use super::serve::{Handler, Piece};
use crate::config::{self, Origins, Route, SlowPeer};
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
}

impl ServiceLimits {
    /// Of those that have no route yet: they are sent one response, which is bounded by itself.
    const OPENING: Self = Self {
        max_message: 0,
        max_buffered_message: 0,
        backlog: u32::MAX,
        slow_peer: SlowPeer::Close,
        undecided: 0,
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
        }
    }

    fn of(route: &Route) -> Self {
        let Route { max_message, max_buffered_message, backlog, slow_peer, undecided, .. } = *route;
        Self { max_message, max_buffered_message, backlog, slow_peer, undecided }
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

/// One route at work.
pub struct Service {
    /// What each of its connections may have.
    pub limits: ServiceLimits,
    /// What answers.
    pub handler: Box<dyn Handler>,
    /// Whether the program brings that along: it may have others come and go, as it will.
    pub is_brought: bool,
    /// The pattern of its path.
    pub path: Box<str>,
    /// The subprotocol that it selects.
    pub subprotocol: Option<String>,
    /// The pages that may connect; `None` if no WebSocket comes to it.
    pub origins: Option<Origins>,
    /// The route's place in the configuration; `None` if it is in it no longer, or is none yet.
    pub number: Option<u16>,
    /// On a route of the hub, whether its clients are told of messages as events.
    pub hub_events: Option<bool>,
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
    pub(super) fn new(basis: &Basis, make: &Make<'_>) -> Result<Self, NoHandler> {
        let limits = match basis {
            Basis::Opening => ServiceLimits::OPENING,
            // Its listener says it.
            Basis::Foreign => ServiceLimits::foreign(Allowance::default()),
            Basis::Route(route) => ServiceLimits::of(route),
        };
        let Basis::Route(route) = basis else {
            let handler = Box::new(NoRoute);
            return Ok(Self {
                limits,
                handler,
                is_brought: false,
                path: Box::default(),
                subprotocol: None,
                origins: None,
                number: None,
                hub_events: None,
                undecided: 0,
            });
        };
        let hub_events = match &route.handler {
            config::RouteHandler::Hub(hub) => Some(hub.events),
            _ => None,
        };
        let subprotocol = route.subprotocol.clone();
        let Made { handler, is_brought } =
            make(route).ok_or_else(|| NoHandler { path: route.path.clone() })?;
        Ok(Self {
            limits,
            handler,
            is_brought,
            path: route.path.as_str().into(),
            subprotocol,
            origins: route.handler.takes_websockets().then(|| route.origins.clone()),
            number: None,
            hub_events,
            undecided: 0,
        })
    }
}

impl Service {
    /// Checks that a page may connect, if it is one that asks for a WebSocket, as
    /// [`Upgrade::check`](tidegate_proto::websocket::handshake::server::Upgrade::check) knows it.
    /// What a page may read of other answers its browser decides (the same-origin policy).
    ///
    /// # Errors
    /// [`Refusal::Origin`]; [`Rejection::DuplicateOrigin`].
    pub(crate) fn check_page(
        &self,
        request: &RequestHead<'_>,
        is_by_tls: bool,
    ) -> Result<(), Refusal> {
        let Some(origins) = &self.origins else { return Ok(()) };
        if !request.headers().contains_token("upgrade", "websocket") {
            return Ok(());
        }
        if request.header_values("origin").nth(1).is_some() {
            return Err(Rejection::DuplicateOrigin.into());
        }
        if origins.let_in(request, is_by_tls) { Ok(()) } else { Err(Refusal::Origin) }
    }
}

/// What a service is made of.
#[derive(Clone, PartialEq)]
pub(super) enum Basis {
    /// What those have that have no route yet.
    Opening,
    /// What those have that speak a protocol which the program brings along.
    Foreign,
    /// What a route offers.
    Route(Box<Route>),
}

impl Basis {
    pub(super) fn of(route: Route) -> Self {
        Self::Route(Box::new(route))
    }
}
