//! What the log says of connections whose listeners log.

use std::sync::Arc;

use super::{Connections, access};
use crate::hub::EndInfo;
use crate::kernel::{Ring, Slot};
use crate::names::{ConnectionId, Name};
use crate::protocol::asked::AskedFor;
use crate::protocol::end_reason::EndReason;
use crate::protocol::turn::Opened;
use crate::protocol::{self, Closed, End, HowOpened, Logged};
use crate::shard::accounts::Account;
use crate::transport::Transports;

/// How a connection has ended, and why.
pub(super) struct HowEnded {
    pub(super) end: End,
    pub(super) reason: EndReason,
}

/// Says that a connection has opened, and begins its account.
pub(super) fn opened<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    opened: Opened,
    asked: Option<Arc<AskedFor>>,
) {
    if is_logged(connections, slot) {
        say_opened(connections, slot, asked.as_deref());
        let account = Account {
            opened_at: connections.sockets.ring.now(),
            agent: asked.as_ref().and_then(|asked| asked.agent()).map(Into::into),
            asked: asked.filter(|_| connections.access.is_some()),
            status: opened.status,
            ..Account::default()
        };
        access::opened(connections, slot, &account);
        connections.accounts.open(slot, account);
    }
}

/// Whether anything is said of a connection when it opens or ends.
pub(super) fn is_logged<R: Ring>(connections: &Connections<R>, slot: Slot) -> bool {
    connections.access.is_some() || connections.sockets.profile(slot).logs_spoken
}

fn say_opened<R: Ring>(connections: &Connections<R>, slot: Slot, asked: Option<&AskedFor>) {
    let profile = connections.sockets.profile(slot);
    let Some(peer) = connections.peers.logged(slot, profile) else { return };
    let user = connections.hub.user(slot);
    let who = Logged {
        id: connections.hub.id(slot, connections.sockets.table[slot].generation),
        peer,
        route: route(connections, slot),
        user: user.as_ref().map(Name::as_str),
        agent: asked.and_then(AskedFor::agent),
    };
    let Transports { tls, proxied, .. } = &connections.sockets.transports;
    let how = HowOpened {
        path: asked.map(AskedFor::path),
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
        route: connections.service(slot).offer.number,
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
    if !is_logged(connections, slot) {
        return;
    }
    // Of who was there before anything was said of it, nothing is known.
    let Some(account) = connections.accounts.close(slot) else { return };
    say_ended(connections, slot, id, &account, &how);
    access::closed(connections, slot, &account, &how);
}

fn say_ended<R: Ring>(
    connections: &Connections<R>,
    slot: Slot,
    id: ConnectionId,
    account: &Account,
    how: &HowEnded,
) {
    let profile = connections.sockets.profile(slot);
    let Some(peer) = connections.peers.logged(slot, profile) else { return };
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
    let offer = &connections.service(slot).offer;
    offer.number.map(|_| &*offer.path)
}
