//! A `[[listener]]`: an address and a layer stack.

use std::net::{Ipv4Addr, SocketAddr};

use toml::de::DeValue;

use super::ListenAddress;
use super::reader::{Origin, Setting, TableReader, expected};
use super::report::Report;
use super::stack::Stack;
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
}

impl Listener {
    /// With the stack `ws!tcp` or `ws!unix` on `address`. [`Stack::parse`] reads another.
    #[must_use]
    pub fn new(address: impl Into<ListenAddress>) -> Self {
        let address = address.into();
        let stack = address.adapt(Stack::default());
        Self { address, stack }
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
    Some(Listener { address: address.value?, stack })
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
