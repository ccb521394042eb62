//! The routes of a gateway, as all of its shards have them at one time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tidegate_proto::http::RequestHead;

use super::next_services::GONE_MIN;
use super::offer::RouteOffer;
use super::refusal::Refusal;
use super::router::Router;
use crate::census::RouteSeats;
use crate::config::{Route, RouteHandler};

/// The most routes that a gateway gets to know as long as it runs: connections that have ended, and
/// logs, name them by their number.
const NAMES_MAX: usize = u16::MAX as usize + 1;

/// What a route is called: the path pattern, and the subprotocol that it selects.
type RouteName = (Arc<str>, Option<Arc<str>>);

/// The routes of a configuration: which request is for which, and what each offers. It is made once
/// and shared by all shards, which keep their handlers beside it.
pub struct RouteTable {
    router: Router,
    places: Box<[RoutePlace]>,
    /// All that there ever were, by number.
    names: Vec<RouteName>,
    numbers: HashMap<RouteName, u16>,
}

/// A route, at its place in the configuration.
pub(super) struct RoutePlace {
    pub(super) route: Route,
    pub(super) offer: Arc<RouteOffer>,
    /// Where it was in the table before, if whoever is there stays on it.
    pub(super) before: Option<usize>,
    /// It is as it was there.
    pub(super) is_same: bool,
}

/// More routes have had names than there are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNames;

impl fmt::Display for TooManyNames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{NAMES_MAX} different routes have been there since the start, which is as many as may \
             be: start the gateway anew"
        )
    }
}

impl std::error::Error for TooManyNames {}

impl RouteTable {
    /// Of the routes of a checked configuration.
    ///
    /// # Panics
    /// Two patterns of it conflict, or it has more routes than there may be.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let none = Self {
            router: Router::new(&[]),
            places: Box::default(),
            names: Vec::new(),
            numbers: HashMap::new(),
        };
        none.followed_by(routes).expect("a configuration has fewer routes")
    }

    /// Of the routes of another one, which takes the place of this one. Who is there stays on the
    /// route that has the path, the subprotocol and the handler of its own: of the hub one with the
    /// same topic, users and events.
    ///
    /// # Errors
    /// There are no numbers left for them.
    ///
    /// # Panics
    /// Two patterns of it conflict.
    pub fn followed_by(&self, routes: &[Route]) -> Result<Self, TooManyNames> {
        let (mut names, mut numbers) = (self.names.clone(), self.numbers.clone());
        let mut old: HashMap<u16, usize> = HashMap::with_capacity(self.places.len());
        for (place, one) in self.places.iter().enumerate() {
            old.extend(one.offer.number.map(|number| (number, place)));
        }
        let mut places = Vec::with_capacity(routes.len());
        for route in routes {
            let name = (route.path.as_str().into(), route.subprotocol.as_deref().map(Arc::from));
            let number = match numbers.get(&name) {
                Some(number) => *number,
                None => {
                    let number = u16::try_from(names.len()).map_err(|_| TooManyNames)?;
                    names.push(name.clone());
                    numbers.insert(name, number);
                    number
                }
            };
            // Each is followed by one: a second one of the same name is another.
            let at = old.remove(&number);
            places.push(RoutePlace::new(route, number, at.map(|at| (at, &self.places[at]))));
        }
        Ok(Self { router: Router::new(routes), places: places.into(), names, numbers })
    }

    /// The place of the route for a request, by its path and the subprotocols that it offers.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find(&self, head: &RequestHead<'_>) -> Result<usize, Refusal> {
        self.router.find(head)
    }

    /// How many of these are none of those that take their place: who is there stays on them.
    #[must_use]
    pub fn left_by(&self, next: &Self) -> usize {
        let followed = next.places.iter().filter(|place| place.before.is_some()).count();
        self.places.len() - followed
    }

    /// On how many routes that are there no longer connections of a shard may be at the most.
    #[must_use]
    pub fn gone_max(&self) -> usize {
        self.places.len().max(GONE_MIN)
    }

    pub(super) fn places(&self) -> &[RoutePlace] {
        &self.places
    }

    /// The number of the route with this path, and this subprotocol if one is asked for; of those
    /// that were there before as well.
    #[must_use]
    pub fn number(&self, path: &str, subprotocol: Option<&str>) -> Option<u16> {
        let is_it = |(of, selects): &RouteName| {
            **of == *path && (subprotocol.is_none() || selects.as_deref() == subprotocol)
        };
        // Those that are there now first, in their order.
        let now = self.places.iter().filter_map(|place| place.offer.number);
        let mut all = now.chain(0..=u16::MAX);
        all.find(|number| self.names.get(usize::from(*number)).is_some_and(is_it))
    }

    /// The path pattern of a route that is or was there.
    #[must_use]
    pub fn path(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(|(path, _)| &**path)
    }
}

impl RoutePlace {
    fn new(route: &Route, number: u16, before: Option<(usize, &Self)>) -> Self {
        let stays = before.filter(|(_, old)| serves_the_same(&old.route, route));
        let is_same = stays.is_some_and(|(_, old)| old.route == *route);
        let offer = match stays {
            Some((_, old)) if is_same => Arc::clone(&old.offer),
            _ => {
                let seats = before.and_then(|(_, old)| old.offer.seats.as_deref());
                let seats = route.client.connections.map(|most| match seats {
                    Some(seats) => Arc::new(seats.for_others(most)),
                    None => Arc::new(RouteSeats::new(most)),
                });
                Arc::new(RouteOffer::of(route, number, seats))
            }
        };
        Self { route: route.clone(), offer, before: stays.map(|(at, _)| at), is_same }
    }
}

/// Whether who is on one route may stay on another one of its name: what it has asked for when it
/// came is the same.
fn serves_the_same(old: &Route, new: &Route) -> bool {
    match (&old.handler, &new.handler) {
        (RouteHandler::Hub(old), RouteHandler::Hub(new)) => {
            (&old.topic, &old.user, old.events) == (&new.topic, &new.user, new.events)
        }
        (old, new) => old == new,
    }
}
