//! Services on their way to take the place of those that a shard has.

use std::fmt;
use std::sync::Arc;

use super::route_table::RouteTable;
use super::serve::Handler;
use super::service::{Made, Make, NoHandler, Service};
use super::services::Services;

/// A shard has at most so many services of routes that are there no longer, or as many as it has
/// routes, if those are more.
pub const GONE_MIN: usize = 64;

/// What is made of a table of routes, bit by bit: handlers of those that are new, or that say
/// something else. A shard goes on with its connections meanwhile.
pub struct NextServices {
    pub(super) routes: Arc<RouteTable>,
    /// By their places, in that order.
    pub(super) made: Vec<(usize, Made)>,
    at: usize,
}

/// What nobody uses any more. Dropped, it takes a microsecond or so.
pub enum UnusedPart {
    /// All of a route.
    Service(Service),
    /// A handler whose place another one has taken, or that was made in vain.
    Handler(Box<dyn Handler>),
}

/// Why a shard cannot have other routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPrepared {
    /// Nobody makes the handler of a route.
    NoHandler(NoHandler),
    /// Connections are on too many routes that are there no longer.
    TooManyGone(usize),
    /// Connections are on too many listeners that are otherwise now, or there no longer.
    TooManyProfiles(usize),
    /// The kernel cannot watch a listener.
    Listener(String),
}

impl From<NoHandler> for NotPrepared {
    fn from(error: NoHandler) -> Self {
        Self::NoHandler(error)
    }
}

impl fmt::Display for NotPrepared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHandler(error) => error.fmt(out),
            Self::TooManyGone(most) => write!(
                out,
                "connections would be on more than {most} routes that are there no longer: wait \
                 until those of earlier changes have ended, or have them closed"
            ),
            Self::TooManyProfiles(most) => write!(
                out,
                "connections are as {most} listeners were that are otherwise now, or there no \
                 longer: wait until those of earlier changes have ended, or drain them"
            ),
            Self::Listener(why) => out.write_str(why),
        }
    }
}

impl std::error::Error for NotPrepared {}

impl NextServices {
    /// Nothing is made yet.
    #[must_use]
    pub fn new(routes: Arc<RouteTable>) -> Self {
        Self { routes, made: Vec::new(), at: 0 }
    }

    /// What was made, where nothing comes of it.
    pub fn into_unused(self) -> impl Iterator<Item = UnusedPart> {
        self.made.into_iter().map(|(_, made)| UnusedPart::Handler(made.handler))
    }

    /// Goes on with so many routes, for a shard that has these services; whether that was all.
    ///
    /// # Errors
    /// Nobody makes the handler of one.
    pub fn make_some(
        &mut self,
        most: usize,
        services: &Services,
        make: &Make<'_>,
    ) -> Result<bool, NoHandler> {
        let places = self.routes.places();
        let until = places.len().min(self.at.saturating_add(most));
        for (place, one) in places.iter().enumerate().take(until).skip(self.at) {
            let stays = one.before.map(|at| services.of_place(at));
            // What a program brings along may have a state.
            if stays.is_some_and(|service| one.is_same || service.is_brought) {
                continue;
            }
            let path = &one.route.path;
            let made = make(&one.route).ok_or_else(|| NoHandler { path: path.clone() })?;
            self.made.push((place, made));
        }
        self.at = until;
        Ok(until == places.len())
    }

    /// Checks that these services can go once these are there.
    ///
    /// # Errors
    /// [`NotPrepared::TooManyGone`].
    pub fn check_room(&self, services: &Services) -> Result<(), NotPrepared> {
        let places = self.routes.places();
        let most = self.routes.gone_max();
        let go = services.used_but_at(places.iter().filter_map(|one| one.before));
        if services.gone() + go > most { Err(NotPrepared::TooManyGone(most)) } else { Ok(()) }
    }
}
