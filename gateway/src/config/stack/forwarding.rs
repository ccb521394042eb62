//! The options `forwarded` and `from` of the layer `ws`: who the client is, as a proxy in front
//! says it in a header of its request.

use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_proto::http::ForwardingHeader;

use super::options::{Options, Switch};
use super::proxy::{NETWORKS_MAX, networks};
use super::writer::{CommaList, LayerWriter};
use super::{SocketLayer, Stack};
use crate::config::built::{self, BuiltWrong};
use crate::config::networks::{WrittenNetwork, check_network};
use crate::kernel::Peer;
use crate::units::quote;

/// Who the client is, as proxies say it in a header of its request. It is read from its end for as
/// long as those are believed who have said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Option `forwarded`: the header, `forwarded` (RFC 7239) or `x-forwarded-for`. What the other
    /// one says is not looked at.
    pub header: ForwardingHeader,
    /// Option `from`: the networks that proxies are in, joined by commas, at most 256. Of whoever
    /// else connects the header is not looked at. Needed where peers have addresses; those of a
    /// Unix socket are believed without, since the mode of its file says who may connect.
    pub from: Vec<IpNet>,
}

impl Forwarding {
    /// Whether it is believed of a peer what it says of the client of a request.
    #[must_use]
    pub fn believes(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(address) => self.has(address.ip()),
            Peer::Unix { .. } => true,
            Peer::Unknown => false,
        }
    }

    /// Whether a proxy has this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(&address))
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        built::number(format!("{field}.from"), self.from.len(), &(0..=NETWORKS_MAX))?;
        let checked = self.from.iter().try_for_each(check_network);
        checked.map_err(|wrong| BuiltWrong(format!("{field}.from: {wrong}")))
    }

    pub(super) fn write(&self, written: &mut LayerWriter<'_, '_>) -> std::fmt::Result {
        written.option("forwarded", self.header.name(), false)?;
        let from = CommaList(self.from.iter().map(WrittenNetwork));
        written.option("from", from, self.from.is_empty())
    }
}

/// Reads both options.
pub(super) fn read(options: &mut Options<'_, '_>) -> Option<Forwarding> {
    let header = options.read("forwarded", None, header);
    let switch = Switch { key: "forwarded", is_on: header.is_some() };
    let from = options.read_unless_off("from", switch, Vec::new(), networks);
    header.map(|header| Forwarding { header, from })
}

fn header(text: &str) -> Result<Option<ForwardingHeader>, String> {
    if text == "off" {
        return Ok(None);
    }
    let named = ForwardingHeader::ALL.into_iter().find(|one| text.eq_ignore_ascii_case(one.name()));
    named.map(Some).ok_or_else(|| {
        format!("must be `x-forwarded-for`, `forwarded` or `off`, is {}", quote(text))
    })
}

/// Checks that it is known who is believed.
pub(super) fn agrees(stack: &Stack) -> Result<(), String> {
    let Some(forwarding) = &stack.websocket.forwarding else { return Ok(()) };
    let has_addresses = matches!(stack.socket, SocketLayer::Tcp(_)) || stack.proxy.is_some();
    match has_addresses && forwarding.from.is_empty() {
        true => Err(format!(
            "`ws?from`: is missing: whoever connects could say to be anyone. Write the networks \
             of your proxies, such as `ws?forwarded={}&from=10.0.0.0/8,192.0.2.7`",
            forwarding.header.name()
        )),
        false => Ok(()),
    }
}
