//! What connections run under: the service of a route, and the profile of a listener.
//!
//! A connection keeps the numbers of both from its beginning to its end, and both live as long.
//! When the routes change, a service whose route is still there offers what that says from then on.

use std::ops::Index;
use std::sync::Arc;

use tidegate_proto::http::RequestHead;

use super::counted::Counted;
use super::foreign::Allowance;
pub use super::listener_table::{
    ListenerBefore, ListenerPlace, ListenerTable, OpenedListener, TooManyAddresses,
};
pub use super::next_profiles::{NextProfiles, PROFILES_GONE};
pub use super::next_services::{GONE_MIN, NextServices, NotPrepared, UnusedPart};
pub use super::offer::RouteOffer;
pub use super::profiles::{Profile, Profiles, STALL_ROUNDS};
use super::refusal::Refusal;
pub use super::route_table::{RouteTable, TooManyNames};
pub use super::service::{Made, Make, NoHandler, Service, ServiceLimits};
use super::streaming::Sources;
use crate::connection::ServiceId;

/// The services of a shard, and which request is for which.
pub struct Services {
    routes: Arc<RouteTable>,
    /// By the place of the route among these.
    ids: Vec<ServiceId>,
    entries: Counted<Service>,
    has_hub: bool,
    /// Whether some route looks where clients come from.
    asks_peers: bool,
    /// What says the bodies of responses.
    pub sources: Sources,
}

/// The service of those that have no route yet.
pub const OPENING: ServiceId = 0;

/// The service of those that speak a protocol which the program brings along.
pub const FOREIGN: ServiceId = 1;

impl Services {
    /// Those of these routes, for connections in so many slots.
    ///
    /// # Errors
    /// Nobody makes the handler of a route.
    pub fn new(slots: u32, routes: Arc<RouteTable>, make: &Make<'_>) -> Result<Self, NoHandler> {
        let mut entries = Counted::new();
        // The listener says what the second may have.
        let fixed = [ServiceLimits::OPENING, ServiceLimits::foreign(Allowance::default())];
        let fixed = fixed.map(|limits| entries.insert(Service::of_no_route(limits)));
        debug_assert_eq!(fixed, [OPENING, FOREIGN].map(usize::from), "they come first");
        let mut this = Self {
            routes: Arc::new(RouteTable::new(&[])),
            ids: Vec::new(),
            entries,
            has_hub: false,
            asks_peers: false,
            sources: Sources::new(slots),
        };
        let mut next = NextServices::new(routes);
        while !next.make_some(usize::MAX, &this, make)? {}
        this.replace(next);
        Ok(this)
    }

    /// Others take the place of those that are there: who is on a route that is still there stays
    /// on it, and has what it offers from now on; who is on another stays with what it has.
    /// Returns what nobody uses any more, which may take a while to drop.
    pub fn replace(&mut self, next: NextServices) -> Vec<UnusedPart> {
        let NextServices { routes, mut made, .. } = next;
        let old = std::mem::replace(&mut self.ids, Vec::with_capacity(routes.places().len()));
        let mut stays = vec![false; old.len()];
        let mut unused = Vec::new();
        let mut made = made.drain(..).peekable();
        for (place, one) in routes.places().iter().enumerate() {
            let made = made.next_if(|(of, _)| *of == place).map(|(_, made)| made);
            let id = match (one.before.map(|at| (at, old[at])), made) {
                (Some((at, id)), made) => {
                    stays[at] = true;
                    let service = &mut self.entries[usize::from(id)];
                    if !one.is_same {
                        service.offers(Arc::clone(&one.offer));
                    }
                    if let Some(Made { handler, is_brought }) = made {
                        let before = std::mem::replace(&mut service.handler, handler);
                        unused.push(UnusedPart::Handler(before));
                        service.is_brought = is_brought;
                    }
                    id
                }
                (None, Some(made)) => {
                    let number = self.entries.insert(Service::new(Arc::clone(&one.offer), made));
                    ServiceId::try_from(number).expect("room was looked for")
                }
                (None, None) => unreachable!("each that is new was made"),
            };
            self.ids.push(id);
        }
        let gone = old.into_iter().zip(stays).filter(|(_, stays)| !stays);
        let gone = gone.filter_map(|(id, _)| self.entries.retire(id.into()));
        unused.extend(gone.map(UnusedPart::Service));
        let offers = || self.entries.users().map(|(number, _)| &self.entries[number].offer);
        let has_hub = offers().any(|offer| offer.hub_events.is_some());
        let asks_peers = offers().any(|offer| offer.asks_peers);
        (self.has_hub, self.asks_peers) = (has_hub, asks_peers);
        self.routes = routes;
        unused
    }

    /// The service for a request, by its path and the subprotocols that it offers.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, head: &RequestHead<'_>) -> Result<ServiceId, Refusal> {
        self.routes.find(head).map(|place| self.ids[place])
    }

    /// The service of the route at this place.
    pub(super) fn of_place(&self, place: usize) -> &Service {
        &self[self.ids[place]]
    }

    /// How many are used of those that are at other places than these.
    pub(super) fn used_but_at(&self, places: impl Iterator<Item = usize>) -> usize {
        let mut stays = vec![false; self.ids.len()];
        places.for_each(|place| stays[place] = true);
        let others = self.ids.iter().zip(stays).filter(|(_, stays)| !stays);
        others.filter(|(id, _)| self.entries.is_used(usize::from(**id))).count()
    }

    /// Whether the route of a service is there no longer.
    pub fn is_gone(&self, id: ServiceId) -> bool {
        self.entries.is_retired(id.into())
    }

    /// How many routes are there no longer, of which some connection is.
    pub fn gone(&self) -> usize {
        self.entries.retired()
    }

    /// Whether somebody may be on a route of the hub.
    pub fn has_hub(&self) -> bool {
        self.has_hub
    }

    /// Whether some route looks where clients come from.
    pub fn asks_peers(&self) -> bool {
        self.asks_peers
    }

    /// A connection goes over to another service.
    pub fn change(&mut self, from: ServiceId, to: ServiceId) {
        self.enter(to);
        self.leave(from);
    }

    /// A connection runs under this service from here on.
    pub fn enter(&mut self, id: ServiceId) {
        self.entries.enter(usize::from(id));
    }

    /// A connection has ended.
    pub fn leave(&mut self, id: ServiceId) {
        self.entries.leave(usize::from(id));
    }

    pub fn get_mut(&mut self, id: ServiceId) -> &mut Service {
        &mut self.entries[usize::from(id)]
    }

    /// How many connections run under each service.
    pub fn users(&self) -> impl Iterator<Item = (ServiceId, u32)> {
        self.entries.users().map(|(number, users)| (number as ServiceId, users))
    }
}

impl Index<ServiceId> for Services {
    type Output = Service;

    fn index(&self, id: ServiceId) -> &Service {
        &self.entries[usize::from(id)]
    }
}
