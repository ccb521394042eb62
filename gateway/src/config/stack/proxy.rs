//! The layer `proxy`: who the peer is, as a proxy in front says it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use tidegate_proto::proxy::MOST;

use super::options::Options;
use super::place::Place;
use super::values::{TIMES, time};
use super::writer::{CommaList, LayerWriter};
use super::{SocketLayer, Stack};
use crate::config::built::{self, BuiltWrong};
use crate::config::networks::{WrittenNetwork, check_network, parse_network};
use crate::units::{Size, Time, quote, size_in};

/// Its place in a stack.
pub(super) const PLACE: Place = Place {
    name: "proxy",
    at: "",
    rank: 4,
    is_needed: false,
    read,
    agrees,
    shown: |stack| match &stack.proxy {
        Some(proxy) => Some(proxy),
        None => None,
    },
    check,
};

/// The most networks: each that connects is looked up in all of them.
pub(super) const NETWORKS_MAX: usize = 256;
/// The bounds of a header: with addresses of Unix sockets it has 232 bytes, and its length is told
/// in 16 bits.
const HEADERS: RangeInclusive<u32> = 232..=64 << 10;
/// The bounds of what is kept of one.
const KEPT: RangeInclusive<u32> = 0..=64 << 10;

/// The layer `proxy`: each connection begins with a header of the PROXY protocol (HAProxy's
/// `proxy-protocol.txt`, version 1 or 2), which says who has connected to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyLayer {
    /// Option `from`: the networks that proxies are in, joined by commas, at most 256; whoever else
    /// connects is not listened to. Needed over `tcp`. Over `unix` it is empty and every peer is
    /// believed: the mode of the socket's file says who may connect. So there is none over an
    /// abstract name, which has no file.
    pub from: Vec<IpNet>,
    /// Option `header`: how long the header may take to arrive, from the accept, 1 s to 4 h.
    /// Default 3 s.
    pub header: Duration,
    /// Option `max`: bytes of the longest header, 232 B to 64 KiB, and at most
    /// [`Limits::receive_buffer`](crate::config::Limits::receive_buffer). Default 536: addresses of
    /// IPv6, a unique id, a server's name and all that is told of TLS. A longer one is refused;
    /// those of version 1 have 107 bytes at most.
    pub max: u32,
    /// Option `keep`: bytes that are kept of what a header says of the client beside its address,
    /// until it has opened a connection, 0 to 64 KiB, and no more than `max` in any case. Default
    /// 512. What there is no room for is left out, each as a whole; with 0 nothing is kept.
    pub keep: u32,
}

impl Default for ProxyLayer {
    fn default() -> Self {
        Self { from: Vec::new(), header: Duration::from_secs(3), max: MOST as u32, keep: 512 }
    }
}

fn read(mut options: Options<'_, '_>, stack: &mut Stack) {
    let default = ProxyLayer::default();
    stack.proxy = Some(ProxyLayer {
        from: options.read("from", default.from, networks),
        header: options.read("header", default.header, time),
        max: options.read("max", default.max, |text| size_in(text, &HEADERS)),
        keep: options.read("keep", default.keep, |text| size_in(text, &KEPT)),
    });
    options.finish();
}

/// Checks that it is known who is believed.
fn agrees(stack: &Stack) -> Result<(), String> {
    let Some(proxy) = &stack.proxy else { return Ok(()) };
    match (&stack.socket, proxy.from.is_empty()) {
        (SocketLayer::Tcp(_), true) => Err("`proxy?from`: is missing: whoever connects could say \
             to be anyone. Write the networks of your proxies, such as \
             `proxy?from=10.0.0.0/8,192.0.2.7`"
            .into()),
        (SocketLayer::Unix(_), false) => Err("`proxy?from`: means nothing over `unix`, whose \
             peers have no address: its `mode` says who may connect. Remove it"
            .into()),
        _ => Ok(()),
    }
}

impl ProxyLayer {
    /// What is wrong with the longest header if a receive buffer has so many bytes, which
    /// `described` says: whatever a header is handed to, it is handed whole.
    pub(in crate::config) fn check_room(
        &self,
        receive_buffer: u32,
        described: impl fmt::Display,
    ) -> Result<(), String> {
        if self.max <= receive_buffer {
            return Ok(());
        }
        let max = Size(self.max.into());
        Err(format!(
            "`proxy?max` must be at most `limits.receive_buffer`, which is {described}, but is \
             {max}: lower the one or raise the other"
        ))
    }
}

fn check(stack: &Stack, field: &str) -> Result<(), BuiltWrong> {
    let Some(ProxyLayer { from, header, max, keep }) = &stack.proxy else { return Ok(()) };
    built::time(format!("{field}.proxy.header"), *header, &TIMES)?;
    built::size(format!("{field}.proxy.max"), *max, &HEADERS)?;
    built::size(format!("{field}.proxy.keep"), *keep, &KEPT)?;
    built::number(format!("{field}.proxy.from"), from.len(), &(0..=NETWORKS_MAX))?;
    from.iter()
        .try_for_each(check_network)
        .and_then(|()| agrees(stack))
        .map_err(|wrong| BuiltWrong(format!("{field}.proxy.from: {wrong}")))
}

/// Reads networks, joined by commas. A single address is a network of one.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let networks = text.split(',').map(network).collect::<Result<Vec<_>, _>>()?;
    if networks.len() > NETWORKS_MAX {
        return Err(format!("must be at most {NETWORKS_MAX} networks, are {}", networks.len()));
    }
    Ok(networks)
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = parse_network(text).ok_or_else(|| {
        let is = quote(text);
        format!("must be networks such as `10.0.0.0/8` or addresses, joined by commas, has {is}")
    })?;
    check_network(&network).map(|()| network)
}

impl fmt::Display for ProxyLayer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut written = LayerWriter::begin("proxy", out)?;
        let from = CommaList(self.from.iter().map(WrittenNetwork));
        written.option("from", from, self.from.is_empty())?;
        written.option("header", Time(self.header), self.header == default.header)?;
        written.option("max", Size(self.max.into()), self.max == default.max)?;
        written.option("keep", Size(self.keep.into()), self.keep == default.keep)
    }
}
