//! What the connections of one shard are counted by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::headcount::{Counting, ShelfPlace, pay};
use super::{Census, Crowd, RETRY_AFTER_SECONDS, RouteSeats, SeatCount, Seats, TurnedAway};
use crate::kernel::{ListenerId, Slot};
use crate::memory::Paged;
use crate::names::Name;

/// Those of a shard who are turned away and shake hands first, to be told so, at once: nothing else
/// bounds them, since they are counted by nothing.
pub const TOLD_AT_ONCE: u32 = 64;

/// What one connection is counted by.
#[derive(Debug, Default)]
struct Taken {
    all: Option<SeatCount>,
    listener: Option<SeatCount>,
    address: Option<ShelfPlace>,
    user: Option<ShelfPlace>,
    route: Option<Arc<RouteSeats>>,
    /// It is counted by nothing, and told so as soon as it can be.
    turned_away: Option<TurnedAway>,
    /// It may shake hands before it is told so.
    shakes_hands: bool,
}

/// Where the connections of a shard come in.
pub struct Turnstile {
    census: Arc<Census>,
    limits_sockets: bool,
    taken: Paged<Taken>,
    /// Those of them who shake hands to be turned away. Invariant: at most [`TOLD_AT_ONCE`].
    told: u32,
    /// Memory is short: nobody more is let in.
    pub is_short: bool,
    /// How many were not counted by address or user, because there was no place.
    pub uncounted: u64,
}

impl Turnstile {
    /// For connections in so many slots.
    #[must_use]
    pub fn new(slots: u32, census: Arc<Census>) -> Self {
        Self {
            limits_sockets: census.limits_sockets(),
            census,
            taken: Paged::new(slots),
            told: 0,
            is_short: false,
            uncounted: 0,
        }
    }

    /// The most bytes that it holds for so many slots.
    #[must_use]
    pub const fn bytes(slots: u32) -> u64 {
        Paged::<Taken>::bytes(slots)
    }

    /// The bytes that it holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.taken.held()
    }

    /// Connections are counted by this from now on: who was counted before stays so. Returns
    /// whether it is another.
    pub fn replace(&mut self, census: Arc<Census>) -> bool {
        let is_other = !Arc::ptr_eq(&self.census, &census);
        self.limits_sockets = census.limits_sockets();
        self.census = census;
        is_other
    }

    /// Whoever is in this slot may be there since before what it is counted by was limited: it is
    /// counted from here on, also where there are as many as may be. By its address it is not: that
    /// may not be known any more.
    pub fn counts(&mut self, slot: Slot, listener: Option<ListenerId>, user: Option<&Name>) {
        let Self { census, taken, uncounted, .. } = self;
        let room = listener.and_then(|listener| census.seats(listener)).map(|seats| &seats.room);
        let is_limited = |room: &Seats| room.most.is_some();
        let user = user.zip(census.users());
        if !is_limited(&census.all) && !room.is_some_and(is_limited) && user.is_none() {
            return;
        }
        if !taken.has(slot) {
            taken.insert(slot);
        }
        let Some(taken) = taken.get_mut(slot) else { return };
        if taken.turned_away.is_some() {
            return;
        }
        if taken.all.is_none() {
            taken.all = census.all.join();
        }
        if taken.listener.is_none() {
            taken.listener = room.and_then(Seats::join);
        }
        if let (None, Some((user, counts))) = (taken.user, user) {
            match counts.enter(census.hash_of_user(user), u32::MAX) {
                Counting::At(place) => taken.user = Some(place),
                Counting::Full | Counting::NoPlace => *uncounted += 1,
            }
        }
    }

    /// Whether addresses have to be known.
    #[must_use]
    pub fn asks_addresses(&self) -> bool {
        self.census.limits_addresses()
    }

    /// A connection has come to a listener.
    ///
    /// # Errors
    /// It is turned away.
    pub fn comes(
        &mut self,
        slot: Slot,
        listener: ListenerId,
        now: Duration,
    ) -> Result<(), TurnedAway> {
        if self.is_short {
            return self.keep(slot, Err(full(Crowd::Memory)));
        }
        if !self.limits_sockets {
            return Ok(());
        }
        let Self { census, taken, .. } = self;
        let taken = taken.insert(slot);
        let entered = census.all.enter(Crowd::Gateway).and_then(|is_taken| {
            taken.all = is_taken;
            let Some(room) = census.seats(listener) else { return Ok(()) };
            taken.listener = room.room.enter(Crowd::Listener)?;
            let now = nanoseconds(now);
            let paid = room.accepts.map_or(Ok(()), |flow| pay(&room.paid, flow, now));
            paid.map_err(|until| later(Crowd::ListenerRate, until, now))
        });
        self.keep(slot, entered)
    }

    /// It is known which address a connection has come from.
    ///
    /// # Errors
    /// It is turned away.
    pub fn is_of(&mut self, slot: Slot, address: IpAddr, now: Duration) -> Result<(), TurnedAway> {
        let Self { census, taken, uncounted, .. } = self;
        let Some(counts) = census.addresses() else { return Ok(()) };
        let Some(hash) = census.hash_of(address) else { return Ok(()) };
        if !taken.has(slot) {
            // It has come before anything was limited, and was told of since.
            taken.insert(slot);
        }
        let Some(taken) = taken.get_mut(slot) else { return Ok(()) };
        let entered = match counts.enter(hash, census.per_address.unwrap_or(u32::MAX)) {
            Counting::At(place) => {
                taken.address = Some(place);
                let now = nanoseconds(now);
                let paid = census.handshakes.map_or(Ok(()), |flow| counts.pay(place, flow, now));
                paid.map_err(|until| later(Crowd::AddressRate, until, now))
            }
            Counting::Full => Err(full(Crowd::Address)),
            Counting::NoPlace => {
                *uncounted += 1;
                Ok(())
            }
        };
        self.keep(slot, entered)
    }

    /// A connection opens on a route, of a user if it has one.
    ///
    /// # Errors
    /// It is turned away.
    pub fn opens(
        &mut self,
        slot: Slot,
        route: Option<&Arc<RouteSeats>>,
        user: Option<&Name>,
    ) -> Result<(), TurnedAway> {
        if self.census.users().is_none() && route.is_none() {
            return Ok(());
        }
        let Self { census, taken, uncounted, .. } = self;
        if !taken.has(slot) {
            taken.insert(slot);
        }
        let Some(taken) = taken.get_mut(slot) else { return Ok(()) };
        if let (Some(counts), Some(user)) = (census.users(), user) {
            let most = census.per_user.unwrap_or(u32::MAX);
            match counts.enter(census.hash_of_user(user), most) {
                Counting::At(place) => taken.user = Some(place),
                Counting::Full => return Err(full(Crowd::User)),
                Counting::NoPlace => *uncounted += 1,
            }
        }
        if let Some(seats) = route
            && seats.0.enter(Crowd::Route)?.is_some()
        {
            taken.route = Some(Arc::clone(seats));
        }
        Ok(())
    }

    /// Whether a connection is to be told that it is turned away.
    #[must_use]
    pub fn turned_away(&self, slot: Slot) -> Option<TurnedAway> {
        // Mostly nobody is counted.
        if self.taken.is_empty() {
            return None;
        }
        self.taken.get(slot)?.turned_away
    }

    /// One who is turned away would shake hands to be told so; whether it may. A handshake costs
    /// far more than all else: where too many come at once, or memory is short, nobody may, and
    /// else only [`TOLD_AT_ONCE`] at once, until they have gone.
    pub fn may_be_told(&mut self, slot: Slot, turned_away: TurnedAway) -> bool {
        let is_costly =
            matches!(turned_away.by, Crowd::ListenerRate | Crowd::AddressRate | Crowd::Memory);
        if is_costly || self.told >= TOLD_AT_ONCE {
            return false;
        }
        let Some(taken) = self.taken.get_mut(slot) else { return false };
        self.told += u32::from(!taken.shakes_hands);
        taken.shakes_hands = true;
        true
    }

    /// A connection has ended: what it was counted by is given back.
    pub fn leaves(&mut self, slot: Slot) {
        if self.taken.is_empty() {
            return;
        }
        let Self { census, taken, told, .. } = self;
        let Some(entry) = taken.get_mut(slot) else { return };
        let Taken { all, listener, address, user, route, shakes_hands, .. } = std::mem::take(entry);
        *told -= u32::from(shakes_hands);
        for count in all.iter().chain(&listener) {
            count.leave();
        }
        if let Some(seats) = route {
            seats.0.taken.leave();
        }
        for (counts, place) in [(&census.addresses, address), (&census.users, user)] {
            if let (Some(counts), Some(place)) = (counts, place) {
                counts.leave(place);
            }
        }
        taken.remove(slot);
    }

    /// Who is turned away is counted by nothing.
    fn keep(&mut self, slot: Slot, entered: Result<(), TurnedAway>) -> Result<(), TurnedAway> {
        let Err(turned_away) = entered else { return Ok(()) };
        self.leaves(slot);
        self.taken.insert(slot).turned_away = Some(turned_away);
        Err(turned_away)
    }

    /// Whether nobody is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

/// There are as many as may be.
const fn full(by: Crowd) -> TurnedAway {
    TurnedAway { by, retry_after_seconds: RETRY_AFTER_SECONDS }
}

/// There may be another one from `until` on.
fn later(by: Crowd, until: u64, now: u64) -> TurnedAway {
    let seconds = until.saturating_sub(now).div_ceil(1_000_000_000).max(1);
    TurnedAway { by, retry_after_seconds: u32::try_from(seconds).unwrap_or(u32::MAX) }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::SeatedListener;
    use crate::config::{ClientRate, Clients, Config, ListenerLimits};

    const NOW: Duration = Duration::from_secs(100);

    /// The turnstiles of two shards of one gateway.
    fn turnstiles(limit: impl FnOnce(&mut Config)) -> [Turnstile; 2] {
        let mut config = Config::default();
        limit(&mut config);
        let census = Arc::new(Census::new(&config));
        [(); 2].map(|()| Turnstile::new(128, Arc::clone(&census)))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_has_as_many_as_it_may_on_all_shards_together() {
        let [mut one, mut two] = turnstiles(|config| config.clients.per_address = Some(3));
        let comes = |turnstile: &mut Turnstile, slot, last| {
            turnstile.comes(slot, 0, NOW).unwrap();
            turnstile.is_of(slot, address(last), NOW).map_err(|turned_away| turned_away.by)
        };
        assert_eq!(comes(&mut one, 0, 1), Ok(()));
        assert_eq!((comes(&mut two, 0, 1), comes(&mut two, 1, 1)), (Ok(()), Ok(())));
        assert_eq!(comes(&mut one, 1, 1), Err(Crowd::Address));
        assert_eq!(one.turned_away(1), Some(full(Crowd::Address)));
        assert_eq!(comes(&mut one, 2, 2), Ok(()), "another address");
        // Who was turned away was not counted; who goes makes room.
        one.leaves(1);
        assert_eq!(comes(&mut one, 1, 1), Err(Crowd::Address));
        two.leaves(0);
        one.leaves(1);
        assert_eq!(comes(&mut one, 1, 1), Ok(()));
        for slot in 0..3 {
            one.leaves(slot);
            two.leaves(slot);
        }
        assert!(one.is_empty() && two.is_empty() && one.census.is_empty());
    }

    #[test]
    fn a_user_and_a_route_have_as_many_as_they_may() {
        let [mut one, mut two] = turnstiles(|config| config.clients.per_user = Some(1));
        let route = Arc::new(RouteSeats::new(2));
        let (ada, bob) = (Name::new("ada").unwrap(), Name::new("bob").unwrap());
        let by = |turned_away: TurnedAway| turned_away.by;
        assert_eq!(one.opens(0, Some(&route), Some(&ada)), Ok(()));
        assert_eq!(two.opens(0, None, Some(&ada)).map_err(by), Err(Crowd::User));
        assert_eq!(two.opens(1, None, None), Ok(()));
        assert_eq!(two.opens(2, Some(&route), Some(&bob)), Ok(()));
        assert_eq!(one.opens(3, Some(&route), None).map_err(by), Err(Crowd::Route));
        one.leaves(0);
        // Of those who are there as many may come as may from now on.
        let fewer = Arc::new(route.for_others(1));
        assert_eq!(one.opens(3, Some(&fewer), None).map_err(by), Err(Crowd::Route));
        assert_eq!(one.opens(4, Some(&route), Some(&ada)), Ok(()));
        for slot in 0..5 {
            one.leaves(slot);
            two.leaves(slot);
        }
        assert!(one.census.is_empty());
        assert_eq!(one.opens(0, Some(&fewer), None), Ok(()), "all places were given back");
    }

    #[test]
    fn a_listener_and_the_gateway_have_as_many_as_they_may_and_take_so_many_a_second() {
        let [mut one, _] = turnstiles(|config| {
            config.clients.connections = Some(3);
            config.listeners[0].limits.connections = Some(2);
            let rate = ClientRate { per_second: 1, burst: 3 };
            config.listeners[0].limits.accepts = Some(rate);
        });
        let by = |turned_away: TurnedAway| (turned_away.by, turned_away.retry_after_seconds);
        assert_eq!((one.comes(0, 0, NOW), one.comes(1, 0, NOW)), (Ok(()), Ok(())));
        assert_eq!(one.comes(2, 0, NOW).map_err(by), Err((Crowd::Listener, 5)));
        assert_eq!(one.comes(3, 7, NOW), Ok(()), "no listener limits it");
        assert_eq!(one.comes(4, 7, NOW).map_err(by), Err((Crowd::Gateway, 5)));
        one.leaves(1);
        assert_eq!(one.comes(1, 0, NOW), Ok(()));
        one.leaves(1);
        assert_eq!(one.comes(1, 0, NOW).map_err(by), Err((Crowd::ListenerRate, 1)));
        one.leaves(1);
        assert_eq!(one.comes(1, 0, NOW + Duration::from_secs(1)), Ok(()));
        (0..5).for_each(|slot| one.leaves(slot));
        assert!(one.census.is_empty());
    }

    #[test]
    fn nobody_is_let_in_while_memory_is_short() {
        let [mut one, _] = turnstiles(|_| {});
        one.is_short = true;
        assert_eq!(one.comes(0, 0, NOW), Err(full(Crowd::Memory)));
        assert_eq!(one.turned_away(0), Some(full(Crowd::Memory)));
        one.leaves(0);
        one.is_short = false;
        assert_eq!(one.comes(0, 0, NOW), Ok(()));
        assert!(one.is_empty(), "nothing is kept of it");
    }

    #[test]
    fn so_many_who_are_turned_away_may_shake_hands_to_be_told() {
        let [mut one, _] = turnstiles(|config| config.clients.connections = Some(1));
        assert_eq!(one.comes(0, 0, NOW), Ok(()));
        let come = |turnstile: &mut Turnstile, slot| {
            let turned_away = turnstile.comes(slot, 0, NOW).unwrap_err();
            turnstile.may_be_told(slot, turned_away)
        };
        assert!((1..=TOLD_AT_ONCE).all(|slot| come(&mut one, slot)));
        assert!(!come(&mut one, TOLD_AT_ONCE + 1), "it is one more");
        assert!(one.turned_away(TOLD_AT_ONCE + 1).is_some());
        one.leaves(TOLD_AT_ONCE + 1);
        assert!(!come(&mut one, TOLD_AT_ONCE + 1), "it has held no place");
        one.leaves(7);
        assert!(come(&mut one, 7), "there is a place again");
        (0..TOLD_AT_ONCE + 2).for_each(|slot| one.leaves(slot));
        assert!(one.is_empty() && one.told == 0);
        // None of those who are too many at once, or come while memory is short.
        one.is_short = true;
        assert!(!come(&mut one, 0));
        one.leaves(0);
        let turned_away = full(Crowd::AddressRate);
        assert!(!one.may_be_told(0, turned_away));
    }

    #[test]
    fn who_was_there_before_is_counted_and_goes_out_of_what_it_is_counted_by() {
        let [mut one, mut two] = turnstiles(|_| {});
        let ada = Name::new("ada").unwrap();
        assert!(
            (0..3).all(|slot| one.comes(slot, 0, NOW).is_ok() && two.comes(slot, 0, NOW).is_ok())
        );
        let mut next = Config::default().clients;
        next.connections = Some(4);
        next.per_user = Some(1);
        let limits = ListenerLimits { connections: Some(2), accepts: None };
        let listener = |stays| [SeatedListener { id: 0, limits, stays }];
        let census = Arc::new(one.census.followed_by(&next, listener(true)));
        for turnstile in [&mut one, &mut two] {
            turnstile.replace(Arc::clone(&census));
            (0..3).for_each(|slot| turnstile.counts(slot, Some(0), Some(&ada)));
            turnstile.counts(0, Some(0), Some(&ada));
        }
        let by = |turned_away: TurnedAway| turned_away.by;
        assert_eq!(one.comes(3, 0, NOW).map_err(by), Err(Crowd::Gateway), "six are there");
        one.leaves(3);
        (0..3).for_each(|slot| one.leaves(slot));
        assert_eq!(one.comes(3, 0, NOW).map_err(by), Err(Crowd::Listener), "three are");
        one.leaves(3);
        two.leaves(0);
        two.leaves(1);
        assert_eq!(one.comes(3, 0, NOW), Ok(()));
        assert_eq!(one.opens(3, None, Some(&ada)).map_err(by), Err(Crowd::User));
        // Another listener has the number, and the limits are others: all are given back where
        // they were taken.
        let census = Arc::new(census.followed_by(&Clients::default(), listener(false)));
        assert_eq!(census.listeners[0].as_ref().map(|seats| seats.room.taken.count()), Some(0));
        for turnstile in [&mut one, &mut two] {
            turnstile.replace(Arc::clone(&census));
            (0..4).for_each(|slot| turnstile.leaves(slot));
            assert!(turnstile.is_empty());
        }
        assert!(census.is_empty());
    }

    #[test]
    fn an_address_shakes_hands_so_often_a_second() {
        let [mut one, mut two] = turnstiles(|config| {
            config.clients.handshakes = Some(ClientRate { per_second: 1, burst: 2 });
        });
        let comes = |turnstile: &mut Turnstile, at| {
            turnstile.leaves(0);
            turnstile.comes(0, 0, at).unwrap();
            turnstile.is_of(0, address(1), at).map_err(|turned_away| turned_away.by)
        };
        assert_eq!((comes(&mut one, NOW), comes(&mut two, NOW)), (Ok(()), Ok(())));
        assert_eq!(comes(&mut one, NOW), Err(Crowd::AddressRate));
        assert_eq!(comes(&mut one, NOW + Duration::from_secs(1)), Ok(()));
        two.leaves(0);
        one.leaves(0);
        assert!(one.census.is_empty());
    }
}
