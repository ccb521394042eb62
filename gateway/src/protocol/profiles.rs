//! What connections run under as their listener's stack says.
//!
//! When the listeners change, who comes has what is said from then on, and who is there stays with
//! what it has.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use tidegate_proto::keepalive::{Timings, Wait};
use tidegate_proto::websocket::frame::Role;

use super::counted::Counted;
use super::foreign::{Allowance, Protocol};
use super::listener_table::{ListenerPlace, ListenerTable};
use super::next_profiles::NextProfiles;
use super::program::Program;
use super::service::{Service, ServiceLimits};
use super::services::FOREIGN;
use crate::config::stack::{Deflate, Forwarding};
use crate::config::{Listener, Networks, Stack};
use crate::connection::{ProfileId, ServiceId, deadlines};
use crate::kernel::{ListenerId, Peer};
use crate::transport::Transport;

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

/// What a listener's stack says of its connections.
pub struct Profile {
    /// The number of the listener among all that there ever were.
    pub number: u16,
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

/// The profile that slots without a connection name: nobody ever uses it.
const NOBODY: ProfileId = 0;

impl Profile {
    /// That of nobody.
    fn of_nobody() -> Self {
        let listener = Listener::default();
        let transport = Transport::new(&listener, None, None);
        Self::with(&listener, u16::MAX, transport, None)
    }

    pub(super) fn new(place: &ListenerPlace, program: &Program) -> Self {
        let listener = &place.listener;
        let transport = Transport::new(listener, place.tls.clone(), program.layers.as_deref());
        Self::with(listener, place.number, transport, (program.protocols)(listener))
    }

    fn with(
        listener: &Listener,
        number: u16,
        transport: Transport,
        protocol: Option<Box<dyn Protocol>>,
    ) -> Self {
        let stack = &listener.stack;
        let allowance = protocol.as_deref().map_or_else(Allowance::default, Protocol::allowance);
        Self {
            number,
            name: listener.address.to_string().into(),
            foreign: ServiceLimits::foreign(allowance),
            probe: 0,
            transport,
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
    /// By listener; `None` where none is called so.
    of_listeners: Vec<Option<ProfileId>>,
    /// Whether some transport seals what is sent: few gateways have one, and each send asks.
    some_seal: bool,
    /// Whether some transport has anything to open: each receive asks.
    some_open: bool,
    /// How messages are compressed that go to many: once for all, as the listener wants it that
    /// wants the least effort, and whenever some listener wants it.
    shared_deflate: Option<Deflate>,
}

impl Profiles {
    /// Those of these listeners.
    pub fn new(listeners: &ListenerTable, program: &Program) -> Self {
        let mut this = Self {
            entries: Counted::new(),
            of_listeners: Vec::new(),
            some_seal: false,
            some_open: false,
            shared_deflate: None,
        };
        let nobody = this.entries.insert(Profile::of_nobody());
        debug_assert_eq!(nobody, usize::from(NOBODY), "it comes first");
        this.replace(NextProfiles::all(listeners, program));
        this
    }

    /// Who comes to these listeners has these profiles from now on; who is there stays with what it
    /// has. Returns those that nobody uses any more.
    pub fn replace(&mut self, next: NextProfiles) -> Vec<Profile> {
        let mut unused = Vec::new();
        for (listener, profile) in next.made {
            let number = self.entries.insert(profile);
            let id = ProfileId::try_from(number).expect("room was looked for");
            let place = listener as usize;
            self.of_listeners.resize(self.of_listeners.len().max(place + 1), None);
            let before = self.of_listeners[place].replace(id);
            unused.extend(before.and_then(|before| self.entries.retire(before.into())));
        }
        self.look();
        unused
    }

    /// Nobody comes to this listener any more. Returns what nobody uses.
    pub fn close(&mut self, listener: ListenerId) -> Option<Profile> {
        let closed = self.of_listeners.get_mut(listener as usize)?.take()?;
        self.entries.retire(closed.into())
    }

    /// Looks what all of them have in common, those included that only some are left on.
    fn look(&mut self) {
        let all = || self.entries.users().map(|(number, _)| &self.entries[number]);
        let some_seal = all().any(|one| one.transport.seals());
        let some_open = some_seal || all().any(|one| one.transport.has_proxy());
        let shared = all().filter_map(|one| one.deflate).reduce(|one, other| Deflate {
            level: one.level.min(other.level),
            min: one.min.min(other.min),
        });
        (self.some_seal, self.some_open, self.shared_deflate) = (some_seal, some_open, shared);
    }

    /// A connection of this listener has come: its profile from here on.
    ///
    /// # Panics
    /// There is no such listener.
    pub fn enter(&mut self, listener: ListenerId) -> ProfileId {
        let id = self.of(listener).expect("it is accepted from");
        self.entries.enter(usize::from(id));
        id
    }

    /// What connections run under that come in by this listener.
    #[must_use]
    pub fn of(&self, listener: ListenerId) -> Option<ProfileId> {
        *self.of_listeners.get(listener as usize)?
    }

    /// The number of a listener that is accepted from.
    ///
    /// # Panics
    /// There is no such listener.
    #[must_use]
    pub fn number_of(&self, listener: ListenerId) -> u16 {
        self[self.of(listener).expect("it is accepted from")].number
    }

    /// The listener of this number, if somebody may come to it.
    #[must_use]
    pub fn listener_numbered(&self, number: u16) -> Option<ListenerId> {
        let is_it = |of: &Option<ProfileId>| of.is_some_and(|id| self[id].number == number);
        self.of_listeners.iter().zip(0..).find(|(of, _)| is_it(of)).map(|(_, listener)| listener)
    }

    /// How many are wanted no longer, and used.
    pub(super) fn retired(&self) -> usize {
        self.entries.retired()
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
