//! What a shard may hold, for the bill.

use super::accounts::Accounts;
use super::connections::Failed;
use super::draining::Drain;
use super::ends::LastEnds;
use super::halves::Halves;
use super::reloading::Takeover;
use super::sockets::batch::BatchSend;
use super::sockets::put_off::PutOff;
use super::stalled::Stalled;
use super::{Deliveries, Details, completions};
use crate::bill::sizes::{list, tree};
use crate::bill::{Line, Owner};
use crate::config::stack::{TlsLayer, TlsVersion};
use crate::config::{Config, Limits, Listener, Route, RouteHandler, Stack};
use crate::connection::{Allotments, Connection, Fragments, FrameId, Frames, SealedBytes};
use crate::hub;
use crate::kernel::{ACCEPT_BATCH, BufferId, Completion, Peer, Slot, SlotSet};
use crate::memory::{Inflater, MIN_BLOCK, PIECE, SideTable};
use crate::protocol::services::{GONE_MIN, PROFILES_GONE};
use crate::protocol::streaming::Sources;
use crate::transport::KeptInput;
use crate::transport::proxy::Proxied;
use crate::transport::tls::TlsConnections;

/// A listener's socket, timings and state of accepting.
const LISTENER: u64 = 256;
/// How many of it there may be for each configured listener: those that are there, and those that
/// take their place. Besides, connections may be on as many that are there no longer as may be.
const LISTENERS: u64 = 2;
/// Where an accept in flight writes the peer's address, and its place in the list of free ones.
const ACCEPT: u64 = 32 + 4;
/// A handler, what it offers and its part of the router, besides its path.
const ROUTE: u64 = 1024;
/// How many of it there may be for each configured route: those that are there, those that take
/// their place, and as many that are there no longer and have connections.
const ROUTES: u64 = 3;
/// What a send of a batch leaves behind: a frame to be released, a place in the list of those that
/// failed, and one in that of those that go on.
const BATCH_LISTS: usize = size_of::<Failed>() + size_of::<Slot>() + size_of::<FrameId>();

/// What most of it goes by.
const CONNECTIONS: &[&str] = &["limits.connections"];
const BUFFERS: &[&str] = &["limits.receive_buffers"];

/// What a shard of this configuration may hold, where a program brings layers along or does not.
pub(crate) fn lines(config: &Config, brings_layers: bool) -> Vec<Line> {
    let mut lines = sets(&config.limits);
    lines.extend(tables(&config.limits));
    lines.extend(queues(&config.limits));
    lines.extend(fixed(config));
    lines.extend(of_hub(config));
    lines.extend(of_clients(config));
    lines.extend(of_transports(config, brings_layers));
    lines.extend(of_proxies(config));
    lines.extend(of_tls(config));
    lines
}

/// What is kept of clients, if some route limits what each may send or how long it may stay.
fn of_clients(config: &Config) -> Vec<Line> {
    if !config.routes.iter().any(|route| route.client.keep_something()) {
        return Vec::new();
    }
    let slots = config.limits.slots();
    vec![
        Line::new(Owner::Allotments, Allotments::bytes(slots), CONNECTIONS),
        Line::new(Owner::Slowed, tree(slots, Allotments::SLOWED), CONNECTIONS),
    ]
}

/// What transports keep of input, if some listener may have one that does.
fn of_transports(config: &Config, brings_layers: bool) -> Option<Line> {
    let keys = &["limits.connections", "`tls` and `proxy` of the listeners"];
    let bytes = KeptInput::bytes(config.limits.slots());
    KeptInput::is_needed(config, brings_layers).then(|| Line::new(Owner::Kept, bytes, keys))
}

/// What connections through proxies have, if some listener expects such.
fn of_proxies(config: &Config) -> Vec<Line> {
    let layers = || config.listeners.iter().filter_map(|listener| listener.stack.proxy.as_ref());
    // More than is said is not kept.
    let Some(keep) = layers().map(|layer| layer.keep.min(layer.max)).max() else {
        return Vec::new();
    };
    let slots = config.limits.slots();
    let mut lines = vec![Line::new(Owner::Proxied, Proxied::bytes(slots), CONNECTIONS)];
    if keep > 0 {
        let keys = &["limits.connections", "`keep` and `max` of the layer `proxy`"];
        lines.push(Line::new(Owner::ProxyFacts, Proxied::fact_bytes(slots, keep), keys));
    }
    lines
}

/// What connections over TLS have, if some listener has that.
fn of_tls(config: &Config) -> Vec<Line> {
    let layers = || config.listeners.iter().filter_map(|listener| listener.stack.tls.as_ref());
    if layers().next().is_none() {
        return Vec::new();
    }
    let Limits { handshakes, .. } = config.limits;
    let slots = config.limits.slots();
    let keys = TlsConnections::bytes(&config.limits);
    let asks = |layer: &TlsLayer| layer.client.is_some();
    let amid = match layers().any(asks) {
        true => TlsConnections::ASKING_HANDSHAKE_BYTES,
        false => TlsConnections::HANDSHAKE_BYTES,
    };
    let mut lines = vec![
        Line::new(Owner::TlsKeys, keys, &["limits.connections", "limits.expanded_keys"]),
        Line::new(
            Owner::TlsHandshakes,
            u64::from(handshakes) * amid,
            &["limits.handshakes", "`client_ca` of the layer `tls`"],
        ),
    ];
    let older = || layers().filter(|layer| layer.least == TlsVersion::Tls12);
    if older().next().is_some() {
        let each = match older().any(asks) {
            true => TlsConnections::ASKING_OLDER_BYTES,
            false => TlsConnections::OLDER_BYTES,
        };
        lines.push(Line::new(
            Owner::Tls12,
            u64::from(slots) * each,
            &["limits.connections", "`min` and `client_ca` of the layer `tls`"],
        ));
    }
    if layers().any(asks) {
        let peers = TlsConnections::peer_bytes(slots);
        let keys = &["limits.connections", "`client_ca` of the layer `tls`"];
        lines.push(Line::new(Owner::ClientCertificates, peers, keys));
    }
    lines
}

/// Who waits for what.
fn sets(limits: &Limits) -> Vec<Line> {
    let set = SlotSet::bytes(limits.slots());
    vec![
        Line::new(Owner::Ready, set, CONNECTIONS),
        Line::new(Owner::Crowd, set, CONNECTIONS),
        Line::new(Owner::Vacant, set, CONNECTIONS),
        Line::new(Owner::Strangers, set, CONNECTIONS),
        Line::new(Owner::HeldPublishers, set, CONNECTIONS),
        Line::new(Owner::PassedDeadlines, 2 * set, CONNECTIONS),
        Line::new(Owner::Drains, Drain::bytes(limits.slots()), CONNECTIONS),
        Line::new(Owner::Gone, Takeover::bytes(limits.slots()), CONNECTIONS),
    ]
}

/// What is kept of each connection and each buffer.
fn tables(limits: &Limits) -> Vec<Line> {
    let slots = limits.slots();
    let records = u64::from(slots) * size_of::<Connection>() as u64;
    let free = u64::from(limits.receive_buffers) * size_of::<BufferId>() as u64;
    vec![
        Line::new(Owner::Records, records, CONNECTIONS),
        Line::new(Owner::Deadlines, slots.into(), CONNECTIONS),
        Line::new(Owner::Stalled, SideTable::<Stalled>::bytes(slots), CONNECTIONS),
        Line::new(Owner::Sources, Sources::bytes(slots), CONNECTIONS),
        Line::new(Owner::Halves, Halves::bytes(slots), CONNECTIONS),
        Line::new(Owner::Fragments, Fragments::bytes(slots), CONNECTIONS),
        Line::new(Owner::Sealed, SealedBytes::bytes(slots), CONNECTIONS),
        Line::new(Owner::EndReasons, Accounts::reason_bytes(slots), CONNECTIONS),
        Line::new(Owner::FreeBuffers, free, BUFFERS),
    ]
}

/// What is under way.
fn queues(limits: &Limits) -> Vec<Line> {
    let events = u64::from(completions(limits)) * size_of::<Completion>() as u64;
    // Each connection has at most one send in a batch.
    let batch = list(limits.slots().into(), size_of::<BatchSend>() + BATCH_LISTS);
    // Each buffer may hold input that is put off, and has a count of what holds it.
    let put_off = u64::from(limits.receive_buffers) * (PutOff::BYTES as u64 + 1);
    vec![
        Line::new(Owner::Events, events, CONNECTIONS),
        Line::new(Owner::Batch, batch, CONNECTIONS),
        Line::new(Owner::PutOff, put_off, BUFFERS),
    ]
}

/// What a shard has once.
fn fixed(config: &Config) -> Vec<Line> {
    // A whole head may come in one receive behind the better part of it.
    let head = u64::from(config.limits.request_head) + u64::from(config.limits.receive_buffer);
    let listeners = LISTENERS * config.listeners.len() as u64 + PROFILES_GONE as u64;
    let listeners = listeners * LISTENER + ACCEPT_BATCH as u64 * ACCEPT;
    let routes = config.routes.iter().map(|route| ROUTE + 4 * route.path.len() as u64);
    let routes = ROUTES * routes.sum::<u64>() + GONE_MIN as u64 * ROUTE;
    vec![
        Line::new(Owner::RequestHead, head, &["limits.receive_buffer", "limits.request_head"]),
        Line::new(
            Owner::PeerAddresses,
            peers(config),
            &[
                "limits.connections",
                "`log`, `proxy` and `forwarded` of the listeners",
                "access_log.to",
            ],
        ),
        Line::new(
            Owner::Accounts,
            accounts(config),
            &["limits.connections", "`log` of the listeners", "access_log.to"],
        ),
        Line::new(Owner::LastEnds, LastEnds::BYTES as u64, &[]),
        Line::new(Owner::Decompressor, (Inflater::HEAP_BYTES + PIECE) as u64, &[]),
        Line::new(Owner::Listeners, listeners, &["the number of listeners"]),
        Line::new(Owner::Routes, routes, &["the number of routes"]),
    ]
}

/// What it has for the hub: of its connections, of what waits for them, and of what is on its way.
fn of_hub(config: &Config) -> Vec<Line> {
    let (hub, limits) = (&config.hub, &config.limits);
    let connections = u64::from(limits.slots());
    let members = list(connections, hub::MEMBER_BYTES + Details::BYTES);
    let queued = u64::from(hub.queued(limits.connections));
    let waiting = (queued + connections) * Frames::WAITING_BYTES as u64;
    // Each frame that waits has a block of 512 bytes at least.
    let frames = u64::from(limits.blocks / MIN_BLOCK) * Frames::FRAME_BYTES as u64;
    let queues = waiting + list(connections, Frames::QUEUE_BYTES) + frames;
    let handed = list(limits.connections.into(), hub::HANDED_BYTES);
    // As much as a mailbox holds may be on its way to connections.
    let deliveries = list(hub.mailbox.into(), Deliveries::JOB_BYTES);
    vec![
        Line::new(Owner::Members, members, CONNECTIONS),
        Line::new(Owner::PublishedQueues, queues, &["hub.queued", "limits.connections"]),
        Line::new(Owner::HandedOver, handed, CONNECTIONS),
        Line::new(Owner::Deliveries, deliveries, &["hub.mailbox"]),
    ]
}

/// The addresses of all peers, if any listener logs or shakes hands first, some route is the hub's
/// or looks at them, or there is an access log: then the address of each peer is kept until its
/// route is known. Those of proxies are kept until they have told who the peer is, and where that
/// is logged, to the end.
fn peers(config: &Config) -> u64 {
    let is_told = |stack: &Stack| stack.proxy.is_some() || stack.websocket.forwarding.is_some();
    let tells = |Listener { stack, .. }: &Listener| {
        let logs = stack.log_websocket || stack.log_transport;
        logs || stack.tls.is_some() || is_told(stack)
    };
    let all = config.access_log.is_some();
    let tells_both =
        |Listener { stack, .. }: &Listener| is_told(stack) && (stack.log_transport || all);
    let has_hub = config.routes.iter().any(|route| matches!(route.handler, RouteHandler::Hub(_)));
    let looks = config.routes.iter().any(Route::asks_peers);
    let listeners = &config.listeners;
    // Who is counted by address is told of if it is refused.
    let counts = config.clients.per_address.is_some() || config.clients.handshakes.is_some();
    let tables = u64::from(has_hub || looks || counts || all || listeners.iter().any(tells))
        + u64::from(listeners.iter().any(tells_both));
    tables * SideTable::<Peer>::bytes(config.limits.slots())
}

/// What is counted of each connection, if there is an access log or any listener logs connections.
fn accounts(config: &Config) -> u64 {
    let logs = config.listeners.iter().any(|listener| listener.stack.log_websocket);
    let is_on = config.access_log.is_some();
    if logs || is_on { Accounts::bytes(config.limits.slots(), is_on) } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn who_asks_clients_for_certificates_pays_for_them() {
        let bytes = |stacks: &[&str], owner| {
            let listener = |text: &&str| {
                let stack = Stack::parse(text).unwrap();
                Listener { stack, ..Listener::default() }
            };
            let limits = Limits { handshakes: 10, ..Limits::default() };
            let listeners = stacks.iter().map(listener).collect();
            let lines = of_tls(&Config { limits, listeners, ..Config::default() });
            lines.iter().find(|line| line.owner == owner).map(|line| line.bytes)
        };
        let slots = u64::from(Limits::default().slots());
        let [plain, asks] = ["ws!tls?min=1.2!tcp", "ws!tls?client_ca=x!tcp"];
        assert_eq!(bytes(&[plain], Owner::TlsHandshakes), Some(10 * (16 << 10)));
        assert_eq!(bytes(&[plain, asks], Owner::TlsHandshakes), Some(10 * (288 << 10)));
        assert_eq!(bytes(&[asks], Owner::Tls12), None);
        assert_eq!(bytes(&[plain, asks], Owner::Tls12), Some(slots * (5 << 10)));
        let both = "ws!tls?min=1.2&client_ca=x!tcp";
        assert_eq!(bytes(&[plain, both], Owner::Tls12), Some(slots * (24 << 10)));
    }

    #[test]
    fn a_table_of_addresses_that_need_not_double_is_paid_for() {
        for connections in [16, 841, 842, 843, 844, 16_384, 28_608, 28_609] {
            let stack = Stack::parse("log!ws!tcp").unwrap();
            let logs = Listener { stack, ..Listener::default() };
            let limits = Limits { connections, ..Limits::default() };
            let connections = limits.slots();
            let config = Config { limits, listeners: vec![logs], ..Config::default() };
            let table: HashMap<Slot, Peer> = HashMap::with_capacity(2 * connections as usize);
            let places = table.capacity() / 7 * 8;
            let bytes = places * (size_of::<(Slot, Peer)>() + 1);
            let table = (bytes + bytes / 2 + 32) as u64;
            assert_eq!(peers(&config), table, "{connections}");
            let stack = Stack::parse("log!ws!log!proxy?from=::1!tcp").unwrap();
            let behind = Listener { stack, ..Listener::default() };
            let config = Config { limits, listeners: vec![behind], ..Config::default() };
            assert_eq!(peers(&config), 2 * table, "{connections}");
        }
    }
}
