//! What a route offers, the same on all shards.

use std::sync::Arc;

use tidegate_proto::http::RequestHead;
use tidegate_proto::websocket::handshake::server::Rejection;

use super::refusal::Refusal;
use super::service::ServiceLimits;
use crate::census::RouteSeats;
use crate::config::{
    AdmissionCheck, ClientLimits, Cors, Networks, Origins, OverRate, Route, RouteHandler,
};
use crate::connection::{AllotmentTerms, whole_ticks};
use crate::memory::Flow;

/// What a route offers to who comes, and to those who are there.
pub struct RouteOffer {
    /// What each of its connections may have.
    pub limits: ServiceLimits,
    /// What each may send, and how long it may stay.
    pub terms: AllotmentTerms,
    /// The pattern of its path.
    pub path: Arc<str>,
    /// The subprotocol that it selects.
    pub subprotocol: Option<String>,
    /// The pages that may connect; `None` if no WebSocket comes to it.
    pub origins: Option<Origins>,
    /// The pages that may read what is answered over plain HTTP, if some may.
    pub cors: Option<Cors>,
    /// From which networks clients may come.
    pub networks: Networks,
    /// Whether it has to be known where they come from.
    pub asks_peers: bool,
    /// What is checked of a request before the handler is asked.
    pub admission: Vec<AdmissionCheck>,
    /// On a route of the hub, whether its clients are told of messages as events.
    pub hub_events: Option<bool>,
    /// What the route is called by, as long as the gateway runs; `None` if it is none.
    pub number: Option<u16>,
    /// How many connections it may have, on all shards, if that is limited.
    pub seats: Option<Arc<RouteSeats>>,
}

impl RouteOffer {
    /// Of those that have no route.
    pub(super) fn none(limits: ServiceLimits) -> Self {
        Self {
            limits,
            terms: AllotmentTerms::default(),
            path: Arc::default(),
            subprotocol: None,
            origins: None,
            cors: None,
            networks: Networks::default(),
            asks_peers: false,
            admission: Vec::new(),
            hub_events: None,
            number: None,
            seats: None,
        }
    }

    /// Of a route that is called by `number`.
    pub(super) fn of(route: &Route, number: u16, seats: Option<Arc<RouteSeats>>) -> Self {
        let hub_events = match &route.handler {
            RouteHandler::Hub(hub) => Some(hub.events),
            _ => None,
        };
        Self {
            limits: ServiceLimits::of(route),
            terms: terms(&route.client),
            path: route.path.as_str().into(),
            subprotocol: route.subprotocol.clone(),
            origins: route.handler.takes_websockets().then(|| route.origins.clone()),
            cors: route.cors.clone(),
            admission: AdmissionCheck::completed(route.admission.clone(), &route.networks),
            networks: route.networks.clone(),
            asks_peers: route.asks_peers(),
            hub_events,
            number: Some(number),
            seats,
        }
    }

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

/// What a route lets each of its clients send, and how long it may stay.
fn terms(client: &ClientLimits) -> AllotmentTerms {
    AllotmentTerms {
        messages: client.messages.map(Flow::from),
        bytes: client.bytes.map(Flow::from),
        closes: client.over_rate == OverRate::Close,
        lifetime: client.lifetime.map(whole_ticks),
        first_message: client.first_message.map(whole_ticks),
        idle: client.idle.map(whole_ticks),
    }
}
