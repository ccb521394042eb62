//! What connections run under: the service of a route, and the profile of a listener.
//!
//! A connection keeps the numbers of both from its beginning to its end, and both live as long.
//! When the routes change, a service whose route is still there offers what that says from then on.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use tidegate_proto::http::RequestHead;
use tidegate_proto::keepalive::{Timings, Wait};
use tidegate_proto::websocket::frame::Role;

use super::counted::Counted;
use super::foreign::{Allowance, Protocol};
pub use super::next_services::{GONE_MIN, NextServices, NotPrepared, UnusedPart};
pub use super::offer::RouteOffer;
use super::program::Program;
use super::refusal::Refusal;
pub use super::route_table::{RouteTable, TooManyNames};
pub use super::service::{Made, Make, NoHandler, Service, ServiceLimits};
use super::streaming::Sources;
use crate::config::stack::{Deflate, Forwarding};
use crate::config::{Listener, Networks, Stack};
use crate::connection::{ProfileId, ServiceId, deadlines};
use crate::kernel::{ListenerId, Peer};
use crate::transport::Transport;
use crate::transport::tls::{TlsServer, TlsServers};

/// How often in a row a peer has to have acknowledged nothing, each time after that part of the
/// time that it may stall.
pub const STALL_ROUNDS: u8 = 4;

/// The kinds of [`Wait`].
const WAITS: [Wait; 9] = [
    Wait::ProxyHeader,
    Wait::Handshake,
    Wait::Head,
    Wait::Activity,
    Wait::Pong,
    Wait::Progress,
    Wait::Close,
    Wait::Decision,
    Wait::Source,
];

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

/// What a listener's stack says of its connections.
pub struct Profile {
    /// The address of the listener, as configured: what the access log calls it.
    pub name: Arc<str>,
    /// What is between the socket and what is spoken on it.
    pub transport: Transport,
    /// Which end we are.
    pub role: Role,
    /// The ticks of each wait.
    pub waits: [Option<u32>; WAITS.len()],
    /// The ticks from the first byte of what must be whole to its last.
    pub message: u32,
    /// Whether and how messages are compressed.
    pub deflate: Option<Deflate>,
    /// What is said in the log: of sockets, and of what is spoken on them.
    pub logs_transport: bool,
    pub logs_spoken: bool,
    /// From which networks clients may come.
    pub networks: Networks,
    /// Whose word is taken for who the client of a request is, if anybody's is.
    forwarding: Option<Forwarding>,
    /// What is spoken on its connections, if the program brings that along.
    pub protocol: Option<Box<dyn Protocol>>,
    /// What each of these may have.
    foreign: ServiceLimits,
    /// The least that one of its connections was sent, alone, so that a silent peer answers, in
    /// bytes; 0 before any was. One that was sent little has others waited for longer, not shorter.
    pub probe: u32,
}

impl Profile {
    fn new(listener: &Listener, program: &Program, tls: Option<Arc<TlsServer>>) -> Self {
        let stack = &listener.stack;
        let protocol = (program.protocols)(listener);
        let allowance = protocol.as_deref().map_or_else(Allowance::default, Protocol::allowance);
        Self {
            name: listener.address.to_string().into(),
            foreign: ServiceLimits::foreign(allowance),
            probe: 0,
            transport: Transport::new(listener, tls, program.layers.as_deref()),
            role: Role::Server,
            waits: waits(stack),
            message: deadlines::ticks(stack.websocket.message),
            deflate: stack.websocket.deflate,
            logs_transport: stack.log_transport,
            logs_spoken: stack.log_websocket,
            networks: listener.networks.clone(),
            // Of a protocol of the program's own there are no such headers.
            forwarding: stack.websocket.forwarding.clone().filter(|_| protocol.is_none()),
            protocol,
        }
    }

    /// What a connection may have that runs under `service`, whose number is `id`.
    pub fn limits(&self, id: ServiceId, service: &Service) -> ServiceLimits {
        if id == FOREIGN { self.foreign } else { service.limits }
    }

    /// The ticks of a wait; `None`: for ever.
    pub fn ticks(&self, wait: Wait) -> Option<u32> {
        self.waits[wait as usize]
    }

    /// By which header of its request it is learnt who the client is, on a connection from this
    /// peer; `None` where it is who it seems to be.
    #[must_use]
    pub fn forwarding_of(&self, peer: Peer) -> Option<&Forwarding> {
        self.forwarding.as_ref().filter(|forwarding| forwarding.believes(peer))
    }

    /// Whether that of some peer is.
    #[must_use]
    pub fn may_learn(&self) -> bool {
        self.forwarding.is_some()
    }

    /// Whether the log says anything of its connections.
    pub fn logs(&self) -> bool {
        self.logs_transport || self.logs_spoken
    }
}

/// The profiles of a shard.
pub struct Profiles {
    entries: Counted<Profile>,
    /// By listener.
    of_listeners: Vec<ProfileId>,
    /// Whether some transport seals what is sent: few gateways have one, and each send asks.
    some_seal: bool,
    /// Whether some transport has anything to open: each receive asks.
    some_open: bool,
    /// How messages are compressed that go to many: once for all, as the listener wants it that
    /// wants the least effort, and whenever some listener wants it.
    shared_deflate: Option<Deflate>,
}

impl Profiles {
    /// Those of the configured listeners.
    pub fn new(listeners: &[Listener], program: &Program, tls: &TlsServers) -> Self {
        let mut entries = Counted::new();
        let profiles = listeners.iter().enumerate();
        let of_listeners = profiles.map(|(place, one)| {
            let number = entries.insert(Profile::new(one, program, tls.of(place)));
            ProfileId::try_from(number).expect("a few listeners")
        });
        let of_listeners = of_listeners.collect();
        let transports = || entries.users().map(|(number, _)| &entries[number].transport);
        let some_seal = transports().any(Transport::seals);
        let some_open = some_seal || transports().any(Transport::has_proxy);
        let wanted = listeners.iter().filter_map(|one| one.stack.websocket.deflate);
        let shared_deflate = wanted.reduce(|one, other| Deflate {
            level: one.level.min(other.level),
            min: one.min.min(other.min),
        });
        Self { entries, of_listeners, some_seal, some_open, shared_deflate }
    }

    /// A connection of this listener has come: its profile from here on.
    pub fn enter(&mut self, listener: ListenerId) -> ProfileId {
        let id = self.of_listeners[listener as usize];
        self.entries.enter(usize::from(id));
        id
    }

    /// What connections run under that come in by this listener.
    #[must_use]
    pub fn of(&self, listener: ListenerId) -> Option<ProfileId> {
        self.of_listeners.get(listener as usize).copied()
    }

    /// The listener of a profile, if there is still one.
    #[must_use]
    pub fn listener_of(&self, id: ProfileId) -> Option<ListenerId> {
        self.of_listeners.iter().zip(0..).find(|(of, _)| **of == id).map(|(_, number)| number)
    }

    /// A connection has ended.
    pub fn leave(&mut self, id: ProfileId) {
        self.entries.leave(usize::from(id));
    }

    /// The protocol that the program brings along for these connections.
    pub fn protocol(&mut self, id: ProfileId) -> Option<&mut (dyn Protocol + 'static)> {
        self[id].protocol.as_deref_mut()
    }

    /// Whether what is sent to connections of a profile is sealed.
    #[must_use]
    pub fn seals(&self, id: ProfileId) -> bool {
        self.some_seal && self[id].transport.seals()
    }

    /// Whether what a connection of some profile receives is opened.
    #[must_use]
    pub fn may_open(&self) -> bool {
        self.some_open
    }

    /// How messages are compressed that go to many.
    pub fn shared_deflate(&self) -> Option<Deflate> {
        self.shared_deflate
    }

    /// How many connections have each profile.
    pub fn users(&self) -> impl Iterator<Item = (ProfileId, u32)> {
        self.entries.users().map(|(number, users)| (number as ProfileId, users))
    }
}

impl Index<ProfileId> for Profiles {
    type Output = Profile;

    fn index(&self, id: ProfileId) -> &Profile {
        &self.entries[usize::from(id)]
    }
}

impl IndexMut<ProfileId> for Profiles {
    fn index_mut(&mut self, id: ProfileId) -> &mut Profile {
        &mut self.entries[usize::from(id)]
    }
}

/// The ticks of each wait for connections of a listener.
fn waits(stack: &Stack) -> [Option<u32>; WAITS.len()] {
    let layer = &stack.websocket;
    let timings = Timings {
        proxy_header: stack.proxy.as_ref().map_or(layer.head, |proxy| proxy.header),
        handshake: stack.tls.as_ref().map_or(layer.head, |tls| tls.handshake),
        head: layer.head,
        ping: layer.keepalive.map(|keepalive| keepalive.ping),
        pong: layer.keepalive.map_or(layer.close, |keepalive| keepalive.pong),
        close: layer.close,
        stall: layer.stall,
        decision: layer.decision,
    };
    WAITS.map(|wait| {
        let limit = timings.limit(wait)?;
        Some(match wait {
            // Each round begins at a sweep, so the tick that has begun is a whole one.
            Wait::Progress => (deadlines::ticks(limit / u32::from(STALL_ROUNDS)) - 1).max(1),
            _ => deadlines::ticks(limit),
        })
    })
}
