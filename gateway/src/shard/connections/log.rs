//! What the log says of connections whose listeners log.

use super::Connections;
use crate::hub::EndInfo;
use crate::kernel::{Ring, Slot};
use crate::names::{ConnectionId, Name};
use crate::protocol::end_reason::EndReason;
use crate::protocol::turn::Opened;
use crate::protocol::{self, Closed, End, HowOpened, Logged};
use crate::transport::Transports;

/// How a connection has ended, and why.
pub(super) struct HowEnded {
    pub(super) end: End,
    pub(super) reason: EndReason,
}

/// Says that a connection has opened, and begins its account.
pub(super) fn opened<R: Ring>(connections: &mut Connections<R>, slot: Slot, opened: &Opened) {
    let profile = connections.sockets.profile(slot);
    let Some(peer) = connections.peers.logged(slot, profile) else { return };
    let now = connections.sockets.ring.now();
    connections.accounts.open(slot, now, opened.agent.clone());
    let user = connections.hub.user(slot);
    let who = Logged {
        id: connections.hub.id(slot, connections.sockets.table[slot].generation),
        peer,
        route: route(connections, slot),
        user: user.as_ref().map(Name::as_str),
        agent: opened.agent.as_deref(),
    };
    let Transports { tls, proxied, .. } = &connections.sockets.transports;
    let how = HowOpened {
        path: opened.path.as_deref(),
        tls: tls.version(slot),
        certificate: tls.peer(slot),
        proxied: proxied.facts(slot),
    };
    protocol::log_opened(&connections.sockets.table[slot].spoken, who, how);
}

/// Keeps that a connection has ended, and why.
pub(super) fn keep<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    id: ConnectionId,
    how: &HowEnded,
) {
    let moment = connections.sockets.moment();
    let opened_at = connections.details.get(slot).map(|(_, at)| at);
    let opened_at = opened_at.or_else(|| connections.accounts.opened_at(slot));
    let end = EndInfo {
        id,
        route: connections.service(slot).number,
        peer: connections.peers.known(slot, &connections.details),
        user: connections.hub.user(slot),
        reason: how.reason.name(),
        by_peer: how.end.by_peer,
        cause: how.end.cause,
        at: moment.calendar,
        open_for: opened_at.map(|at| moment.now.saturating_sub(at)),
    };
    connections.ends.keep(end);
}

/// Says that a connection has ended, and closes its account.
pub(super) fn ended<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    id: ConnectionId,
    how: HowEnded,
) {
    let profile = connections.sockets.profile(slot);
    let Some(peer) = connections.peers.logged(slot, profile) else { return };
    let account = connections.accounts.close(slot).unwrap_or_default();
    let user = connections.hub.user(slot);
    let closed = Closed {
        end: how.end,
        reason: how.reason,
        open_for: connections.sockets.ring.now().saturating_sub(account.opened_at),
        traffic: account.traffic,
        bytes_in: account.bytes_in,
    };
    let who = Logged {
        id,
        peer,
        route: route(connections, slot),
        user: user.as_ref().map(Name::as_str),
        agent: account.agent.as_deref(),
    };
    protocol::log_end(&connections.sockets.table[slot].spoken, who, &closed);
}

/// The path pattern of a connection's route.
fn route<R: Ring>(connections: &Connections<R>, slot: Slot) -> Option<&str> {
    let number = connections.service(slot).number?;
    connections.config.routes.get(usize::from(number)).map(|route| route.path.as_str())
}
