//! The configuration: a TOML file becomes plain checked structs, or all of its errors at once.
//!
//! Every key has a default; `tidegate.toml` beside this crate's manifest is the default
//! configuration written out, with what each key means.

mod access_log;
mod address;
mod admin;
mod admission;
mod built;
mod certificate;
mod client_limits;
mod clients;
mod cors;
mod difference;
mod doubt;
mod error;
mod hint;
mod hub;
mod hub_route;
mod jwt;
mod limits;
mod listener;
pub(crate) mod log_filter;
mod networks;
mod origins;
mod passwords;
mod path;
mod reader;
mod relation;
mod report;
mod root;
mod route;
mod route_paths;
mod settings;
mod slow_peer;
pub mod stack;
mod static_token;
mod subprotocol;
mod topic_pattern;
mod understood;
mod value;
mod verifying;

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;
use std::time::Duration;

pub use access_log::{AccessField, AccessFormat, AccessLog, AccessTarget, ToldConnections};
pub use address::{ListenAddress, UnixAddress};
pub use admin::{Admin, BearerToken, parse_address as parse_admin_address};
pub use admission::AdmissionCheck;
pub use built::BuiltWrong;
pub use certificate::Certificate;
pub use client_limits::{ClientLimits, ClientRate, OverRate};
pub use clients::Clients;
pub use cors::Cors;
pub use difference::{Difference, HowDifferent};
pub use error::{ConfigError, ConfigErrors};
pub use hub::{HubLimits, TopicKept};
pub use hub_route::{HubRoute, Publishers, TemplatePart, UserSource};
pub use jwt::{Jwt, JwtAlgorithm, TokenSource};
pub use limits::Limits;
pub use listener::{Listener, ListenerLimits};
pub use networks::{ClientNetwork, Networks};
pub use origins::Origins;
pub use passwords::{Hashing, Passwords};
pub(crate) use path::{normal as normal_path, parts as path_parts};
pub(crate) use route::{CLIENT_SCRIPT, CLIENT_TYPES};
pub use route::{Route, RouteHandler};
pub(crate) use settings::settings;
pub use slow_peer::SlowPeer;
pub use stack::Stack;
pub use static_token::{StaticToken, TokenCheck, TokenSecret};
pub use topic_pattern::TopicPattern;
pub use verifying::Verifying;

use crate::bill::Limit;
use crate::kernel::Driver;
use crate::names::TopicRule;

/// The most shards that may be asked for, and the most that `auto` gives.
pub const MAX_SHARDS: u16 = 1024;

/// A checked configuration. The default is the one that a start without any file uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many shards run. Default [`Shards::Auto`].
    pub shards: Shards,
    /// Whether shards are pinned to cores. Default [`Pin::Auto`].
    pub pin: Pin,
    /// How shards ask the kernel. Default [`DriverChoice::Auto`].
    pub driver: DriverChoice,
    /// A filter directive of `tracing`, such as `info` or `tidegate=debug`. Default `info`. It is
    /// for the binary: [`Gateway::start`](crate::gateway::Gateway::start) sets up no log.
    pub log: String,
    /// How the lines of the program's log are written. Default [`LogFormat::Text`].
    pub log_format: LogFormat,
    /// How much the process may ever hold in user space; a start whose bill is higher is refused.
    /// Default [`MemoryLimit::Auto`].
    pub memory: MemoryLimit,
    /// How long a drain may take, 1 s to 24 h; connections that are left then are closed at once.
    /// Default 30 s.
    pub drain: Duration,
    /// How long the gateway goes on serving when it is told to drain, while it says that it is not
    /// ready, 0 s to 1 h. Default 0 s.
    pub drain_delay: Duration,
    /// Connections that each shard closes per second while it drains, 1 to 1000000. Default 2000.
    pub drain_rate: u32,
    /// What verifying tokens may take.
    pub verifying: Verifying,
    /// Revocations of tokens that may be in force at once, 0 to 65536. Default 4096. One more is
    /// refused.
    pub revocations: u32,
    /// The close code that a drain tells WebSocket connections (RFC 6455 section 7.4), one that a
    /// server may send. Default 1012, "service restart" (IANA registry).
    pub drain_code: u16,
    /// What hashing passwords may take.
    pub hashing: Hashing,
    /// Where a line goes for each connection, response and refusal. Default `None`: there are none.
    pub access_log: Option<AccessLog>,
    /// The bounds of each shard.
    pub limits: Limits,
    /// How many connections there may be of whom, on all shards together.
    pub clients: Clients,
    /// The bounds of the hub.
    pub hub: HubLimits,
    /// What is kept of which topics, in the order of the file; at most 256. A file with a
    /// `[[route]]` and no `[[topic]]` keeps nothing. The default keeps something of the rooms that
    /// are among its routes: [`with_routes`](Self::with_routes) takes both away.
    pub topics: Vec<TopicKept>,
    /// The listeners, in the order of the file; at least 1, at most 64.
    pub listeners: Vec<Listener>,
    /// What the layer `tls` of listeners proves with who the gateway is, in the order of the file;
    /// at most 1024. A client that asks for no name, or for none of theirs, is answered with that
    /// of its listener, or the first of these.
    pub certificates: Vec<Certificate>,
    /// The issuers of tokens that routes may ask for, in the order of the file; at most 16.
    pub jwts: Vec<Jwt>,
    /// The tokens that are known by themselves, in the order of the file; at most 256.
    pub tokens: Vec<StaticToken>,
    /// The files of users and their passwords, in the order of the file; at most 16.
    pub passwords: Vec<Passwords>,
    /// The routes, in the order of the file; at least 1, at most 16384. A program that puts its own
    /// in place of the default ones calls [`with_routes`](Self::with_routes).
    pub routes: Vec<Route>,
    /// The control thread's address. An embedding program that wants none sets [`Admin::off`].
    pub admin: Admin,
}

/// How many shards run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shards {
    /// `auto`: one for each core that the process may use, or that its CPU quota pays for if those
    /// are fewer, rounded down.
    #[default]
    Auto,
    /// As many as written, 1 to [`MAX_SHARDS`]; may exceed the cores.
    Count(NonZeroU16),
}

/// Whether shard *i* runs on the core *i*, modulo their number, of those that the process may use,
/// and on no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// `auto`: if there are as many shards as cores. With fewer, as under a CPU quota, all gateways
    /// of a machine would sit on its first cores.
    #[default]
    Auto,
    /// `true`: in any case.
    Always,
    /// `false`: the kernel places them.
    Never,
}

impl Pin {
    /// As the file has it: two of them are booleans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "true",
            Self::Never => "false",
        }
    }
}

/// How the lines of the program's log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`: for people.
    #[default]
    Text,
    /// `json`: an object in each line, for programs.
    Json,
}

impl LogFormat {
    /// Both of them.
    const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// As the file has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// How shards ask the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// `auto`: by io_uring where the kernel has all that a shard needs, lets this process use it
    /// and lets this user lock the memory of all rings, else by epoll.
    #[default]
    Auto,
    /// As written, whatever the kernel says of it.
    Only(Driver),
}

/// How much the process may ever hold in user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryLimit {
    /// `auto`: three quarters of what the machine and the control group let the process have, found
    /// out at the start.
    #[default]
    Auto,
    /// As many bytes as written, 16 MiB to 64 TiB.
    Bytes(u64),
}

impl Config {
    /// Reads the TOML `text` of the file that errors call `file_name`. What is not written has its
    /// default; a file without listeners gets the default one, a file without routes the default
    /// ones.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigErrors> {
        root::parse(text, file_name)
    }

    /// The configuration with listeners on `addresses` in place of its own, each with the stack,
    /// the limits and the networks of its first one, whose layer `tcp` or `unix` is as by default
    /// where that one has the other. An address that is given again is left out; without addresses,
    /// nothing changes.
    #[must_use]
    pub fn with_listen(mut self, addresses: &[ListenAddress]) -> Self {
        let first = self.listeners.first().cloned().unwrap_or_default();
        let Listener { stack, limits, networks, .. } = first;
        let mut listeners: Vec<Listener> = Vec::with_capacity(addresses.len());
        for address in addresses {
            if !listeners.iter().any(|other| other.address.is_same(address)) {
                let stack = address.adapt(stack.clone());
                let (address, networks) = (address.clone(), networks.clone());
                listeners.push(Listener { address, stack, limits, networks });
            }
        }
        if !listeners.is_empty() {
            self.listeners = listeners;
        }
        self
    }

    /// The configuration with these routes in place of its own, which keeps nothing of any topic:
    /// what it kept was for topics of its own routes. What is to be kept is put into
    /// [`topics`](Self::topics) behind that.
    ///
    /// ```
    /// use tidegate::config::{Config, Route, RouteHandler};
    ///
    /// let config = Config::default().with_routes(vec![Route::new("/echo", RouteHandler::Echo)]);
    /// assert!(config.topics.is_empty());
    /// ```
    #[must_use]
    pub fn with_routes(mut self, routes: Vec<Route>) -> Self {
        self.routes = routes;
        self.topics.clear();
        self
    }

    /// The configuration with the control thread at `address`, or without one.
    #[must_use]
    pub fn with_admin(mut self, address: Option<ListenAddress>) -> Self {
        self.admin.address = address;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: Shards::Auto,
            pin: Pin::Auto,
            driver: DriverChoice::Auto,
            log: "info".into(),
            log_format: LogFormat::Text,
            memory: MemoryLimit::Auto,
            drain: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            drain_rate: 2000,
            verifying: Verifying::default(),
            revocations: 4096,
            drain_code: 1012,
            hashing: Hashing::default(),
            access_log: None,
            limits: Limits::default(),
            clients: Clients::default(),
            hub: HubLimits::default(),
            topics: vec![demonstration_topic()],
            listeners: vec![Listener::default()],
            certificates: Vec::new(),
            jwts: Vec::new(),
            tokens: Vec::new(),
            passwords: Vec::new(),
            routes: vec![
                Route::new("/", RouteHandler::Static),
                Route::new("/echo", RouteHandler::Echo),
                Route::new("/rooms/{room}", RouteHandler::Hub(demonstration_rooms())),
            ],
            admin: Admin::default(),
        }
    }
}

/// Rooms to try all of the hub with: one client may be in several of them.
fn demonstration_rooms() -> HubRoute {
    let rooms = TopicPattern::new("rooms/*").expect("it is a pattern");
    HubRoute {
        may_subscribe: vec![rooms.clone()],
        may_publish: vec![rooms],
        ..HubRoute::on("rooms/{room}")
    }
}

/// What is kept of these rooms.
fn demonstration_topic() -> TopicKept {
    let kept = TopicKept::new("rooms/{room}");
    TopicKept { rule: TopicRule { history: 100, presence: true, ..kept.rule }, ..kept }
}

impl MemoryLimit {
    /// How much that is; for `auto`, on this machine as it is now.
    #[must_use]
    pub fn limit(self) -> Limit {
        match self {
            Self::Auto => Limit::of_machine(),
            Self::Bytes(bytes) => Limit::configured(bytes),
        }
    }
}

impl DriverChoice {
    /// What `text` names; `None` if it names none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let named = Driver::ALL.into_iter().find(|driver| driver.name() == text);
        if text == "auto" { Some(Self::Auto) } else { named.map(Self::Only) }
    }
}

impl Shards {
    /// How many shards run on a machine of `cores` cores: at least 1, at most
    /// [`MAX_SHARDS`].
    pub fn resolve(self, cores: usize) -> usize {
        match self {
            Self::Auto => cores.clamp(1, usize::from(MAX_SHARDS)),
            Self::Count(count) => count.get().into(),
        }
    }
}
