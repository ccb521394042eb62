//! A `[[listener]]`: an address and a layer stack.

use std::net::{Ipv4Addr, SocketAddr};

use toml::de::DeValue;

use super::reader::{Origin, Setting, TableReader, expected};
use super::report::Report;
use super::stack::Stack;
use super::value;
use crate::units::quote;

/// One address that every shard listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The IP address and port. No two listeners of a configuration have the same, but port 0,
    /// which asks the kernel for a free one, may be repeated.
    pub address: SocketAddr,
    /// What stands between the address and the routes.
    pub stack: Stack,
}

impl Listener {
    /// With the stack `ws!tcp` on `address`. [`Stack::parse`] reads another.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stack: Stack::default() }
    }
}

impl Default for Listener {
    /// `127.0.0.1:8080` with the stack `ws!tcp`.
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
    }
}

/// Reads one `[[listener]]`, `earlier` being the ones before it, and `admin` the address of the
/// control thread.
pub(super) fn read(
    mut table: TableReader<'_, '_>,
    earlier: &[Listener],
    admin: &Setting<Option<SocketAddr>>,
) -> Option<Listener> {
    let address = table.require("address", "address = \"127.0.0.1:8080\"", address);
    let stack = stack(&mut table);
    if let (Some(address), Origin::Written(offset)) = (address.value, address.origin)
        && earlier.iter().any(|other| is_same(other.address, address))
    {
        let key = table.path("address");
        let message = "is the address of an earlier listener too: remove one".into();
        table.report().error(offset, key, message);
    }
    check_admin(&mut table, &address, admin);
    table.finish();
    Some(Listener { address: address.value?, stack })
}

/// Whether two listeners would share one port. Port 0 is another one each time.
pub(super) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one == other && one.port() != 0
}

/// Whether the control thread cannot listen on `admin` beside a listener on `address`: only sockets
/// that all ask for it share a port, and an address that stands for all has each of its family.
pub(super) fn excludes(address: SocketAddr, admin: SocketAddr) -> bool {
    let (one, other) = (address.ip(), admin.ip());
    let overlaps = one == other || one.is_unspecified() || other.is_unspecified();
    address.port() == admin.port()
        && address.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && overlaps
}

/// Reports a listener that stands in the way of the control thread. Nothing is said where an
/// address was refused, or may be lost in broken syntax.
fn check_admin(
    table: &mut TableReader<'_, '_>,
    address: &Setting<Option<SocketAddr>>,
    admin: &Setting<Option<SocketAddr>>,
) {
    let (Some(listener), Origin::Written(offset)) = (address.value, address.origin) else { return };
    let Some(taken) = admin.value.filter(|admin| excludes(listener, *admin)) else { return };
    let is_unknown = admin.origin == Origin::Refused || table.report().is_broken();
    if is_unknown {
        return;
    }
    let (key, from) = (table.path("address"), admin.origin.described(table.report()));
    let message = format!(
        "{listener} cannot be listened on beside `admin.address`, which is {taken} {from}: take \
         another port for one of them"
    );
    table.report().error(offset, key, message);
}

/// Reports an address of the control thread that the listener stands in the way of that is there
/// where the file has none.
pub(super) fn check_default(report: &mut Report<'_>, admin: &Setting<Option<SocketAddr>>) {
    let listener = Listener::default().address;
    if let (Some(taken), Origin::Written(offset)) = (admin.value, admin.origin)
        && excludes(listener, taken)
        && !report.is_broken()
    {
        let message = format!(
            "{taken} cannot be listened on beside `listener[0].address`, which is {listener} by \
             default: take another port for one of them"
        );
        report.error(offset, "admin.address".into(), message);
    }
}

fn address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let text = value::text(value)?;
    text.parse().map_err(|_| {
        let is = quote(text);
        format!(
            "must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\", \
             is {is}"
        )
    })
}

/// Reads `stack`, whose errors point into the line. A refused stack reads as the default.
fn stack(table: &mut TableReader<'_, '_>) -> Stack {
    let Some(raw) = table.raw("stack") else {
        return Stack::default();
    };
    let key = table.path("stack");
    let report = table.report();
    let Some(text) = raw.get_ref().as_str() else {
        let message = expected("a string such as \"ws!tcp\"", raw.get_ref());
        report.error(raw.span().start, key, message);
        return Stack::default();
    };
    let errors = match Stack::parse(text) {
        Ok(stack) => return stack,
        Err(errors) => errors,
    };
    table.errors_within("stack", errors);
    Stack::default()
}
