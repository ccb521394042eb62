//! A `[[listener]]`: an address and a layer stack.

use std::net::{Ipv4Addr, SocketAddr};

use toml::de::DeValue;

use super::reader::{Origin, TableReader, expected};
use super::stack::Stack;
use super::units::quote;
use super::value;

/// One address that every shard listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The IP address and port. No two listeners of a configuration have the same, but port 0,
    /// which asks the kernel for a free one, may be repeated.
    pub address: SocketAddr,
    /// What stands between the address and the routes.
    pub stack: Stack,
}

impl Default for Listener {
    /// `127.0.0.1:8080` with the stack `ws!tcp`.
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        Self { address, stack: Stack::default() }
    }
}

/// Reads one `[[listener]]`, `earlier` being the ones before it.
pub(super) fn read(mut table: TableReader<'_, '_>, earlier: &[Listener]) -> Option<Listener> {
    let address = table.require("address", "address = \"127.0.0.1:8080\"", address);
    let stack = stack(&mut table);
    if let (Some(address), Origin::Written(offset)) = (address.value, address.origin)
        && earlier.iter().any(|other| is_same(other.address, address))
    {
        let key = table.path("address");
        let message = "is the address of an earlier listener too: remove one".into();
        table.report().error(offset, key, message);
    }
    table.finish();
    Some(Listener { address: address.value?, stack })
}

/// Whether two listeners would share one port. Port 0 is another one each time.
pub(super) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one == other && one.port() != 0
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
