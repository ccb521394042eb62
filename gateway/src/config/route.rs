//! A `[[route]]`: which requests it takes, what answers them, and within which limits.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::admission::{self, AdmissionCheck, Vouchers};
use super::built::{self, BuiltWrong};
use super::client_limits::{self, ClientLimits};
use super::cors::{self, Cors};
use super::hub_route::{self, HubRoute};
use super::limits::{Limits, RawLimits};
use super::networks::{self, Networks};
use super::origins::{self, Origins};
use super::path;
use super::reader::{Origin, Setting, TableReader, expected};
use super::relation::{self, Bounded, Party};
use super::report::Report;
use super::route_paths::RoutePaths;
use super::slow_peer::{SlowPeer, slow_peer};
use super::stack::StackError;
use super::subprotocol::subprotocol;
use super::value;
use crate::memory::{Blocks, Share};
use crate::units::quote;

/// One route: requests for `path` that offer `subprotocol` are answered by `handler`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path pattern: segments that are literal, `{name}` for one whole segment, or `{*rest}`
    /// for all that is left, as the last. No two patterns of a configuration conflict.
    pub path: String,
    /// The subprotocol that a request must offer and that is selected; an RFC 7230 token. `None`
    /// takes any request and selects none.
    pub subprotocol: Option<String>,
    /// What answers.
    pub handler: RouteHandler,
    /// Bytes of the largest message that is taken, 1 B to 4 GiB − 1. Default 64 MiB. A larger one
    /// ends the connection with 1009.
    pub max_message: u32,
    /// Bytes of the largest message that is held whole (compressed ones, by their inflated size,
    /// and those whose handler wants them whole); never more than `max_message`. Default 1 MiB. A
    /// larger one ends the connection with 1009.
    pub max_buffered_message: u32,
    /// Bytes that may wait for one slow peer, at least `max_buffered_message` and one receive
    /// buffer together, at most the shard's `blocks`. Default 4 MiB.
    pub backlog: u32,
    /// What happens to a peer that does not read. Default [`SlowPeer::Pause`].
    pub slow_peer: SlowPeer,
    /// How many requests of a shard may wait at once for their handler to decide, 0 to 4194304.
    /// Default 1024. A further one that is not decided at once is answered with 503.
    pub undecided: u32,
    /// The pages that may connect, by their origins. Default: those of the host and port that are
    /// asked for, by `https` if it came by the layer `tls`. Others are answered with 403. It means
    /// nothing for what no WebSocket comes to, and who is no page is not kept out by it.
    pub origins: Origins,
    /// Which pages of other origins may read what it answers over plain HTTP. Default `None`: no
    /// browser lets them. It means nothing where a handler answers nothing over that.
    pub cors: Option<Cors>,
    /// From which networks clients may come. Others are answered with 403.
    pub networks: Networks,
    /// What is checked of a request before `handler` is asked, in this order: the first that
    /// refuses it ends it. Default: pages, which are checked first where the list does not say
    /// when; before them networks, if some are named.
    pub admission: Vec<AdmissionCheck>,
    /// What each client may send, and how long it may stay.
    pub client: ClientLimits,
}

/// The files that the built-in page has beside it: the client library, and its types.
pub(crate) const CLIENT_SCRIPT: &str = "client.js";
pub(crate) const CLIENT_TYPES: &str = "client.d.ts";

/// What answers a route. Names of handlers that are not built yet are refused by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteHandler {
    /// Tells over plain HTTP whether clients should be sent here.
    Health,
    /// `echo`: every message goes back to its sender.
    Echo,
    /// `static`: the built-in page, over plain HTTP.
    Static,
    /// `hub`: what a connection sends is published, what is published is delivered.
    Hub(HubRoute),
    /// `embedded`: a handler that the embedding program brings along. A start whose program brings
    /// none for the route is refused.
    Embedded,
}

impl RouteHandler {
    /// Whether a request to open a WebSocket may come to it.
    #[must_use]
    pub const fn takes_websockets(&self) -> bool {
        match self {
            Self::Echo | Self::Hub(_) | Self::Embedded => true,
            Self::Health | Self::Static => false,
        }
    }
}

/// The bounds of a message and of what waits for one peer, in bytes.
const BYTES: RangeInclusive<u32> = 1..=u32::MAX;
/// How many requests may be undecided.
const UNDECIDED: RangeInclusive<u32> = 0..=1 << 22;
/// How many commands of a connection may be unanswered.
pub(super) const COMMANDS: RangeInclusive<u16> = 1..=1024;

/// The handlers that have their name, but are not built yet.
const NOT_BUILT: [&str; 4] = ["mqtt", "link", "http", "proxy"];

impl Route {
    /// A route from `path`, which is not checked here, to `handler`, for any subprotocol and with
    /// the default limits.
    pub fn new(path: impl Into<String>, handler: RouteHandler) -> Self {
        Self {
            path: path::normal(&path.into()).into_owned(),
            subprotocol: None,
            handler,
            max_message: 64 << 20,
            max_buffered_message: 1 << 20,
            backlog: 4 << 20,
            slow_peer: SlowPeer::default(),
            undecided: 1024,
            origins: Origins::default(),
            cors: None,
            networks: Networks::default(),
            admission: AdmissionCheck::default_list(),
            client: ClientLimits::default(),
        }
    }

    /// Whether it has to be known where clients come from: networks are checked, passwords of an
    /// address are counted that wait, or a program's handler may ask.
    pub(crate) fn asks_peers(&self) -> bool {
        let is_basic = |check: &AdmissionCheck| matches!(check, AdmissionCheck::Basic(_));
        self.networks.say_something()
            || self.handler == RouteHandler::Embedded
            || self.admission.iter().any(is_basic)
    }

    /// Checks the limits that a program has put together, of `field` of the configuration.
    pub(super) fn check_limits(
        &self,
        field: &str,
        limits: &Limits,
        vouchers: Vouchers<'_>,
    ) -> Result<(), BuiltWrong> {
        let Self { max_message, max_buffered_message, backlog, .. } = *self;
        built::size(format!("{field}.max_message"), max_message, &BYTES)?;
        built::size(format!("{field}.max_buffered_message"), max_buffered_message, &BYTES)?;
        built::number(format!("{field}.undecided"), self.undecided, &UNDECIDED)?;
        self.networks.check(&format!("{field}.networks"))?;
        admission::check_list(field, &self.admission, &self.networks, vouchers)?;
        self.client.check(&format!("{field}.client"))?;
        if let Some(cors) = &self.cors {
            cors.check(&format!("{field}.cors"), &self.handler)?;
        }
        if let RouteHandler::Hub(hub) = &self.handler {
            hub_route::check_commanded(
                field,
                hub,
                admission::name_users(&self.admission, vouchers),
            )?;
        }
        if max_buffered_message > largest_gathered(limits.blocks) {
            return Err(BuiltWrong(format!(
                "{field}.max_buffered_message: at most a quarter of limits.blocks"
            )));
        }
        let needed = u64::from(max_buffered_message) + u64::from(limits.receive_buffer);
        if u64::from(backlog) < needed || backlog > limits.blocks {
            return Err(BuiltWrong(format!(
                "{field}.backlog: at least max_buffered_message and limits.receive_buffer \
                 together, at most limits.blocks"
            )));
        }
        Ok(())
    }
}

/// A route as it is read: what must be written may be missing, what is compared knows its line.
pub(super) struct RawRoute {
    /// The route's own path in the file, such as `route[0]`.
    name: String,
    path: Setting<Option<String>>,
    handler: Option<RouteHandler>,
    subprotocol: Option<String>,
    max_message: Setting<u32>,
    max_buffered_message: Setting<u32>,
    backlog: Setting<u32>,
    slow_peer: SlowPeer,
    undecided: u32,
    origins: Origins,
    cors: Option<Cors>,
    networks: Networks,
    admission: Vec<AdmissionCheck>,
    client: ClientLimits,
}

impl RawRoute {
    /// Reads one `[[route]]`, which is `name` in the file.
    pub(super) fn read(
        mut table: TableReader<'_, '_>,
        name: String,
        vouchers: Vouchers<'_>,
    ) -> Self {
        let default = Self::unwritten();
        let path = table.require("path", "path = \"/\"", path_pattern);
        let networks = networks::read(&mut table, None);
        let admission = admission::read(&mut table, networks.as_ref(), vouchers);
        let has_users = admission::name_users(&admission, vouchers);
        let handler = handler(&mut table, has_users);
        check_topic(&mut table, &path, &handler);
        let origins = origins::read(&mut table, &handler);
        let cors = cors::read(&mut table, &handler);
        let route = Self {
            name,
            path,
            handler: commanded(&mut table, handler, has_users),
            subprotocol: table
                .read("subprotocol", None, |value| subprotocol(value).map(Some))
                .value,
            max_message: bytes(&mut table, "max_message", default.max_message),
            max_buffered_message: bytes(
                &mut table,
                "max_buffered_message",
                default.max_buffered_message,
            ),
            backlog: bytes(&mut table, "backlog", default.backlog),
            slow_peer: table.read("slow_peer", default.slow_peer, slow_peer).value,
            undecided: table
                .read("undecided", default.undecided, |value| value::integer(value, &UNDECIDED))
                .value,
            origins,
            cors,
            networks: networks.unwrap_or_default(),
            admission,
            client: client_limits::read(&mut table),
        };
        table.finish();
        route
    }

    /// A route that is not in the file, to check what the embedded routes need.
    pub(super) fn unwritten() -> Self {
        let route = Route::new("/", RouteHandler::Static);
        Self {
            name: "route".into(),
            path: Setting::default(Some(route.path)),
            handler: Some(route.handler),
            subprotocol: route.subprotocol,
            max_message: Setting::default(route.max_message),
            max_buffered_message: Setting::default(route.max_buffered_message),
            backlog: Setting::default(route.backlog),
            slow_peer: route.slow_peer,
            undecided: route.undecided,
            origins: route.origins,
            cors: route.cors,
            networks: route.networks,
            admission: route.admission,
            client: route.client,
        }
    }

    /// Whether a router can tell this route from all those before.
    pub(super) fn is_unlike_those_before(&self, paths: &mut RoutePaths) -> bool {
        let path = self.path.value.as_deref();
        path.is_none_or(|path| !paths.clashes(path, self.subprotocol.as_deref()))
    }

    /// Whether a router cannot tell this route and `other` apart.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (&self.path.value, &other.path.value) else {
            return false;
        };
        path::conflict(one, two) && (one != two || self.subprotocol == other.subprotocol)
    }

    /// Reports that this route clashes with an `earlier` one.
    pub(super) fn report_clash(&self, earlier: &Self, report: &mut Report<'_>) {
        let (Origin::Written(offset), Some(path)) = (self.path.origin, &earlier.path.value) else {
            return;
        };
        let name = &earlier.name;
        let message = if self.path.value.as_ref() == Some(path) {
            format!("is the path of {name} too, with the same subprotocol: remove one")
        } else {
            let path = quote(path);
            format!("takes the same requests as {path} of {name}: write one pattern in both")
        };
        report.error(offset, format!("{}.path", self.name), message);
    }

    /// Checks what the route's limits must be to the shard's.
    pub(super) fn check(&self, limits: &RawLimits, report: &mut Report<'_>) {
        let backlog = self.party("backlog", self.backlog);
        let message = self.party("max_message", self.max_message);
        let message =
            self.party("max_buffered_message", self.max_buffered_message).smaller(message);
        let buffer = Party::new("limits.receive_buffer", limits.receive_buffer);
        let why = "a message that is held whole and the input behind it must fit";
        relation::holds(report, &backlog, [&message, &buffer], why);
        let blocks = Party::new("limits.blocks", limits.blocks);
        relation::at_most(report, &backlog, &blocks);
        let largest = largest_gathered(blocks.value());
        let why = "it must fit one block, a power of two, in that quarter of the pool that is for \
                   messages";
        let bounded = Bounded { party: &message, most: largest };
        relation::at_most_beside(report, &bounded, &blocks, why);
    }

    fn party(&self, key: &str, setting: Setting<u32>) -> Party {
        Party::new(format!("{}.{key}", self.name), setting)
    }

    /// The plain values; `None` if the path or the handler is missing.
    pub(super) fn resolve(self) -> Option<Route> {
        Some(Route {
            path: self.path.value?,
            subprotocol: self.subprotocol,
            handler: self.handler?,
            max_message: self.max_message.value,
            max_buffered_message: self.max_buffered_message.value.min(self.max_message.value),
            backlog: self.backlog.value,
            slow_peer: self.slow_peer,
            undecided: self.undecided,
            origins: self.origins,
            cors: self.cors,
            networks: self.networks,
            admission: self.admission,
            client: self.client,
        })
    }
}

/// The largest block that a message can grow into in a pool of `blocks` bytes: the one that it
/// outgrew, half as large, is in the other of the two regions that messages may be in.
pub(super) fn largest_gathered(blocks: u32) -> u32 {
    Blocks::largest(blocks, Share::Gathered)
}

fn bytes(
    table: &mut TableReader<'_, '_>,
    key: &'static str,
    default: Setting<u32>,
) -> Setting<u32> {
    table.read(key, default.value, |value| value::size(value, &BYTES))
}

fn path_pattern(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    path::check(text).map(|()| path::normal(text).into_owned())
}

/// Why a handler of the hub takes no user from elsewhere.
pub(super) const TWO_USERS: &str = "tokens say who the user is, by `admission`: remove it";

/// Reads `handler`; the errors of its options point into the line.
fn handler(table: &mut TableReader<'_, '_>, has_users: bool) -> Setting<Option<RouteHandler>> {
    let mut errors = Vec::new();
    let handler = table.require("handler", "handler = \"echo\"", |value| {
        named_handler(value, has_users, &mut errors)
    });
    if errors.is_empty() {
        return handler;
    }
    table.errors_within("handler", errors);
    Setting { value: None, origin: Origin::Refused }
}

fn named_handler(
    value: &DeValue<'_>,
    has_users: bool,
    errors: &mut Vec<StackError>,
) -> Result<RouteHandler, String> {
    let text = value::text(value)?;
    let (name, options) = match text.split_once('?') {
        Some((name, options)) => (name, Some(options)),
        None => (text, None),
    };
    match name {
        "hub" => Ok(RouteHandler::Hub(hub_route::parse(options, has_users, errors))),
        "echo" | "embedded" | "health" | "static" if options.is_some() => {
            Err(format!("handler `{name}` has no options: remove what follows the `?`"))
        }
        "echo" => Ok(RouteHandler::Echo),
        "embedded" => Ok(RouteHandler::Embedded),
        "health" => Ok(RouteHandler::Health),
        "static" => Ok(RouteHandler::Static),
        name if NOT_BUILT.contains(&name) => {
            Err(format!("handler `{name}` is not built yet in this version"))
        }
        _ => {
            let names = "\"echo\", \"embedded\", \"health\", \"hub\" or \"static\"";
            Err(expected(names, value))
        }
    }
}

/// Reads what a handler `hub` lets those do who speak `tidegate.v1`: keys that mean nothing to the
/// others.
fn commanded(
    table: &mut TableReader<'_, '_>,
    handler: Setting<Option<RouteHandler>>,
    has_users: bool,
) -> Option<RouteHandler> {
    let is_other = !matches!(handler.value, None | Some(RouteHandler::Hub(_)));
    let idle = is_other.then_some("while `handler` is not \"hub\": remove it");
    let default = HubRoute::default();
    let has_user = match &handler.value {
        Some(RouteHandler::Hub(hub)) => has_users || hub.user.is_some(),
        _ => true,
    };
    let read = |value: &DeValue<'_>| hub_route::patterns(value, has_user);
    let may_subscribe = table.read_unless("subscribe", idle, Vec::new(), read).value;
    let may_publish = table.read_unless("publish", idle, Vec::new(), read).value;
    let commands = table
        .read_unless("commands", idle, default.commands, |value| value::integer(value, &COMMANDS))
        .value;
    match handler.value? {
        RouteHandler::Hub(hub) => {
            Some(RouteHandler::Hub(HubRoute { may_subscribe, may_publish, commands, ..hub }))
        }
        other => Some(other),
    }
}

/// Checks that the path has what the topic of a hub's route needs.
fn check_topic(
    table: &mut TableReader<'_, '_>,
    path: &Setting<Option<String>>,
    handler: &Setting<Option<RouteHandler>>,
) {
    let (Some(path), Some(RouteHandler::Hub(route))) = (&path.value, &handler.value) else {
        return;
    };
    if let (Err(wrong), Origin::Written(offset)) = (route.check_names(path), handler.origin) {
        let name = table.path("handler");
        table.report().error(offset, name, wrong);
    }
}
