//! What connections run under: the service of a route, and the profile of a listener.
//!
//! A connection keeps the numbers of both from its beginning to its end, and both live as long:
//! what the configuration says later changes nothing under it.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use tidegate_proto::http::RequestHead;
use tidegate_proto::keepalive::{Timings, Wait};
use tidegate_proto::websocket::frame::Role;

use super::counted::Counted;
use super::foreign::{Allowance, Protocol};
use super::program::Program;
use super::refusal::Refusal;
use super::router::Router;
use super::service::Basis;
pub use super::service::{Made, Make, NoHandler, Service, ServiceLimits};
use super::streaming::Sources;
use crate::config::stack::Deflate;
use crate::config::{Listener, Route, Stack};
use crate::connection::{ProfileId, ServiceId, deadlines};
use crate::kernel::ListenerId;
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
    router: Router,
    entries: Counted<Basis, Service>,
    has_hub: bool,
    /// What says the bodies of responses.
    pub sources: Sources,
}

/// The service of those that have no route yet.
pub const OPENING: ServiceId = 0;

/// The service of those that speak a protocol which the program brings along.
pub const FOREIGN: ServiceId = 1;

/// The services that are no route's; they come first.
const FIXED: [Basis; 2] = [Basis::Opening, Basis::Foreign];

impl Services {
    /// Those of the configured routes, for connections in so many slots.
    ///
    /// # Errors
    /// Nobody makes the handler of a route.
    ///
    /// # Panics
    /// Two patterns of a checked configuration conflict.
    pub fn new(slots: u32, routes: &[Route], make: &Make<'_>) -> Result<Self, NoHandler> {
        let mut this = Self {
            router: Router::default(),
            entries: Counted::new(),
            has_hub: false,
            sources: Sources::new(slots),
        };
        this.update(routes, make).map(|()| this)
    }

    /// These are the routes from now on. Those that are as they were keep their handlers; who has
    /// opened stays with what it has.
    ///
    /// # Errors
    /// Nobody makes the handler of a route; nothing has changed then.
    fn update(&mut self, routes: &[Route], make: &Make<'_>) -> Result<(), NoHandler> {
        let wanted: Vec<_> =
            FIXED.into_iter().chain(routes.iter().cloned().map(Basis::of)).collect();
        let numbers = self.entries.try_update(&wanted, |basis| Service::new(basis, make))?;
        let (fixed, numbers) = numbers.split_at(FIXED.len());
        debug_assert_eq!(fixed, [OPENING, FOREIGN].map(usize::from), "wanted first, and always");
        let id = |number: &usize| ServiceId::try_from(*number).expect("a few thousand routes");
        let ids: Vec<_> = numbers.iter().map(id).collect();
        let all: Vec<_> = self.entries.users().map(|(number, _)| number).collect();
        for number in all {
            let place = numbers.iter().position(|other| *other == number);
            self.entries[number].number = place.map(|place| place as u16);
        }
        self.router = Router::new(ids.into_iter().zip(routes));
        self.has_hub = self.entries.users().any(|(n, _)| self.entries[n].hub_events.is_some());
        Ok(())
    }

    /// The service for a request, by its path and the subprotocols that it offers.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, head: &RequestHead<'_>) -> Result<ServiceId, Refusal> {
        self.router.find(head)
    }

    /// Whether somebody may be on a route of the hub.
    pub fn has_hub(&self) -> bool {
        self.has_hub
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
            foreign: ServiceLimits::foreign(allowance),
            probe: 0,
            transport: Transport::new(listener, tls, program.layers.as_deref()),
            role: Role::Server,
            waits: waits(stack),
            message: deadlines::ticks(stack.websocket.message),
            deflate: stack.websocket.deflate,
            logs_transport: stack.log_transport,
            logs_spoken: stack.log_websocket,
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

    /// Whether the log says anything of its connections.
    pub fn logs(&self) -> bool {
        self.logs_transport || self.logs_spoken
    }
}

/// The profiles of a shard.
pub struct Profiles {
    entries: Counted<Listener, Profile>,
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
        let mut this = Self {
            entries: Counted::new(),
            of_listeners: Vec::new(),
            some_seal: false,
            some_open: false,
            shared_deflate: None,
        };
        this.update(listeners, program, tls);
        this
    }

    fn update(&mut self, listeners: &[Listener], program: &Program, tls: &TlsServers) {
        let numbers = self.entries.update(listeners, |one| {
            let place = listeners.iter().position(|other| other == one);
            Profile::new(one, program, place.and_then(|place| tls.of(place)))
        });
        let id =
            |number| ProfileId::try_from(number).expect("a few listeners, and as many retired");
        self.of_listeners = numbers.into_iter().map(id).collect();
        let transports = || self.entries.users().map(|(number, _)| &self.entries[number].transport);
        let some_seal = transports().any(Transport::seals);
        self.some_open = some_seal || transports().any(Transport::has_proxy);
        self.some_seal = some_seal;
        let wanted = listeners.iter().filter_map(|one| one.stack.websocket.deflate);
        self.shared_deflate = wanted.reduce(|one, other| Deflate {
            level: one.level.min(other.level),
            min: one.min.min(other.min),
        });
    }

    /// A connection of this listener has come: its profile from here on.
    pub fn enter(&mut self, listener: ListenerId) -> ProfileId {
        let id = self.of_listeners[listener as usize];
        self.entries.enter(usize::from(id));
        id
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
