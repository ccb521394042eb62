//! A `[[listener]]`: an address and a layer stack.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::ListenAddress;
use super::built::{self, BuiltWrong};
use super::client_limits::{self, ClientRate};
use super::networks::{self, Networks};
use super::reader::{Origin, Setting, TableReader, expected};
use super::report::Report;
use super::stack::{SocketLayer, Stack};
use super::value;
use crate::units::Size;

/// One address that every shard listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where is listened. No two listeners of a configuration have the same, but port 0, which asks
    /// the kernel for a free one, may be repeated. An IP address has the layer `tcp`, a Unix socket
    /// the layer `unix`.
    pub address: ListenAddress,
    /// What stands between the address and the routes.
    pub stack: Stack,
    /// How many connections may be there, and come.
    pub limits: ListenerLimits,
    /// From which networks. Who comes from elsewhere is closed without an answer; behind the layer
    /// `proxy` once that has told who it is.
    pub networks: Networks,
}

/// How many connections of a listener there may be, on all shards together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerLimits {
    /// At once, 1 to 4294967295; `None`, the default, for any number. One more is answered with
    /// 503.
    pub connections: Option<u32>,
    /// That come each second, each number 1 to 1000000; `None`, the default, for any number. One
    /// more is answered with 503, or closed where a handshake of TLS would come first.
    pub accepts: Option<ClientRate>,
}

const ACCEPTS: RangeInclusive<u32> = 1..=1_000_000;

impl ListenerLimits {
    /// Checks what a program has put together, of `field` of the configuration.
    pub(super) fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        if let Some(connections) = self.connections {
            built::number(format!("{field}.connections"), connections, &(1..=u32::MAX))?;
        }
        let Some(ClientRate { per_second, burst }) = self.accepts else { return Ok(()) };
        built::number(format!("{field}.accepts.per_second"), per_second, &ACCEPTS)?;
        built::number(format!("{field}.accepts.burst"), burst, &ACCEPTS)
    }

    /// Each key as the file has it, with its value.
    #[must_use]
    pub fn written(&self) -> [(&'static str, String); 3] {
        let number = |value: Option<u32>| value.map_or("off".into(), |value| value.to_string());
        [
            ("connections", number(self.connections)),
            ("accept_rate", number(self.accepts.map(|rate| rate.per_second))),
            ("accept_burst", number(self.accepts.map(|rate| rate.burst))),
        ]
    }

    fn read(table: &mut TableReader<'_, '_>) -> Self {
        let read = |value: &DeValue<'_>| value::integer(value, &ACCEPTS);
        Self {
            connections: client_limits::connections(table),
            accepts: client_limits::rate(table, ["accept_rate", "accept_burst"], read),
        }
    }
}

impl Listener {
    /// With the stack `ws!tcp` or `ws!unix` on `address`. [`Stack::parse`] reads another.
    #[must_use]
    pub fn new(address: impl Into<ListenAddress>) -> Self {
        let address = address.into();
        let stack = address.adapt(Stack::default());
        Self { address, stack, limits: ListenerLimits::default(), networks: Networks::default() }
    }
}

impl Default for Listener {
    /// `127.0.0.1:8080` with the stack `ws!tcp`.
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
    }
}

/// What of the rest of the file a listener is held against.
#[derive(Clone, Copy)]
pub(super) struct Beside<'b> {
    /// The address of the control thread.
    pub(super) admin: &'b Setting<Option<ListenAddress>>,
    /// Whether there is a `[[certificate]]`, be it a right one or not.
    pub(super) has_certificates: bool,
    /// The bytes of a receive buffer.
    pub(super) receive_buffer: Setting<u32>,
}

/// Reads one `[[listener]]`, `earlier` being the ones before it.
pub(super) fn read(
    mut table: TableReader<'_, '_>,
    earlier: &[Listener],
    beside: Beside<'_>,
) -> Option<Listener> {
    let address = table.require("address", "address = \"127.0.0.1:8080\"", address);
    let stack = stack(&mut table, address.value.as_ref());
    let limits = ListenerLimits::read(&mut table);
    let networks = networks::read(&mut table, without_addresses(&stack)).unwrap_or_default();
    check_certificate(&mut table, &stack, beside.has_certificates);
    check_header(&mut table, &stack, beside.receive_buffer);
    if let (Some(address), Origin::Written(offset)) = (&address.value, address.origin)
        && earlier.iter().any(|other| other.address.is_same(address))
    {
        let key = table.path("address");
        let message = "is the address of an earlier listener too: remove one".into();
        table.report().error(offset, key, message);
    }
    check_admin(&mut table, &address, beside.admin);
    table.finish();
    Some(Listener { address: address.value?, stack, limits, networks })
}

/// Why networks mean nothing to a listener whose clients all have no address, if they have none.
pub(super) fn without_addresses(stack: &Stack) -> Option<&'static str> {
    let has_none = matches!(stack.socket, SocketLayer::Unix(_)) && stack.proxy.is_none();
    has_none.then_some(
        "over `unix`, whose peers have no address: its `mode` says who may connect. Remove it",
    )
}

/// What is said of a listener that has nothing to prove with who it is.
pub(super) const NO_CERTIFICATE: &str = "`tls` has no certificate: write \
     `tls?cert=FILE&key=FILE`, or a [[certificate]] with the keys `cert` and `key`";

/// Reports a listener that no certificate is there for.
fn check_certificate(table: &mut TableReader<'_, '_>, stack: &Stack, has_certificates: bool) {
    if has_certificates || !stack.lacks_certificate() || table.report().is_broken() {
        return;
    }
    let Some(raw) = table.raw("stack") else { return };
    let (offset, key) = (raw.span().start, table.path("stack"));
    table.report().error(offset, key, NO_CERTIFICATE.into());
}

/// Reports a layer `proxy` whose longest header does not fit a receive buffer.
fn check_header(table: &mut TableReader<'_, '_>, stack: &Stack, receive_buffer: Setting<u32>) {
    let Setting { value, origin } = receive_buffer;
    if origin == Origin::Refused || table.report().is_broken() {
        return;
    }
    let described = format!("{} {}", Size(value.into()), origin.described(table.report()));
    let checked = stack.proxy.as_ref().map(|proxy| proxy.check_room(value, described));
    if let Some(Err(wrong)) = checked
        && let Some(raw) = table.raw("stack")
    {
        let (offset, key) = (raw.span().start, table.path("stack"));
        table.report().error(offset, key, wrong);
    }
}

/// Reports a listener that stands in the way of the control thread. Nothing is said where an
/// address was refused, or may be lost in broken syntax.
fn check_admin(
    table: &mut TableReader<'_, '_>,
    address: &Setting<Option<ListenAddress>>,
    admin: &Setting<Option<ListenAddress>>,
) {
    let (Some(listener), Origin::Written(offset)) = (&address.value, address.origin) else {
        return;
    };
    let Some(taken) = admin.value.as_ref().filter(|admin| listener.excludes(admin)) else { return };
    let is_unknown = admin.origin == Origin::Refused || table.report().is_broken();
    if is_unknown {
        return;
    }
    let (key, from) = (table.path("address"), admin.origin.described(table.report()));
    let message = format!(
        "{listener} cannot be listened on beside `admin.address`, which is {taken} {from}: take \
         another {} for one of them",
        listener.differs_by()
    );
    table.report().error(offset, key, message);
}

/// Reports an address of the control thread that the listener stands in the way of that is there
/// where the file has none.
pub(super) fn check_default(report: &mut Report<'_>, admin: &Setting<Option<ListenAddress>>) {
    let listener = Listener::default().address;
    if let (Some(taken), Origin::Written(offset)) = (&admin.value, admin.origin)
        && listener.excludes(taken)
        && !report.is_broken()
    {
        let message = format!(
            "{taken} cannot be listened on beside `listener[0].address`, which is {listener} by \
             default: take another port for one of them"
        );
        report.error(offset, "admin.address".into(), message);
    }
}

fn address(value: &DeValue<'_>) -> Result<ListenAddress, String> {
    value::text(value)?.parse()
}

/// Reads `stack`, whose errors point into the line. A refused stack reads as the default, which is
/// that of the listener's address.
fn stack(table: &mut TableReader<'_, '_>, address: Option<&ListenAddress>) -> Stack {
    let default = || address.map_or_else(Stack::default, |address| address.adapt(Stack::default()));
    let Some(raw) = table.raw("stack") else { return default() };
    let key = table.path("stack");
    let report = table.report();
    let Some(text) = raw.get_ref().as_str() else {
        let message = expected("a string such as \"ws!tcp\"", raw.get_ref());
        report.error(raw.span().start, key, message);
        return default();
    };
    let stack = Stack::parse(text);
    if let (Ok(stack), Some(address)) = (&stack, address)
        && let Err(wrong) = address.check(stack)
    {
        report.error(raw.span().start, key, wrong);
        return default();
    }
    stack.unwrap_or_else(|errors| {
        table.errors_within("stack", errors);
        default()
    })
}
