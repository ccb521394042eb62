//! What the access log says of connections, responses and refusals.

use std::sync::Arc;

use super::Connections;
use super::log::HowEnded;
use crate::access_log::{AccessEvent, AccessFeed, AccessRecord, AccessStay};
use crate::config::Config;
use crate::kernel::{Peer, Ring, Slot};
use crate::protocol;
use crate::protocol::asked::AskedFor;
use crate::protocol::refusal::Refused;
use crate::protocol::turn::{Answered, Traffic};
use crate::shard::access::AccessTeller;
use crate::shard::accounts::Account;

/// A request that was answered, or refused.
pub(super) struct AccessRequest {
    pub(super) asked: Option<Arc<AskedFor>>,
    /// What was said at once; nothing to whom nothing can be.
    pub(super) answered: Option<Answered>,
}

/// What is said of connections goes to this log from now on, as the configuration says.
pub(in crate::shard) fn log_to<R>(
    connections: &mut Connections<R>,
    log: Option<AccessFeed>,
    config: &Config,
) {
    let before = connections.access.as_ref().map(AccessTeller::feed);
    if log.as_ref() != before {
        connections.access = AccessTeller::of(log, config);
    }
}

/// Says that a connection has opened, if that is said.
pub(super) fn opened<R: Ring>(connections: &mut Connections<R>, slot: Slot, account: &Account) {
    let is_told = connections.access.as_ref().is_some_and(|access| access.tells_openings);
    if !is_told || protocol::is_response(&connections.sockets.table[slot].spoken) {
        return;
    }
    let record = AccessRecord {
        user: connections.hub.user(slot),
        asked: account.asked.clone(),
        status: account.status,
        ..record(connections, slot, AccessEvent::Opened)
    };
    say(connections, record);
}

/// Says that a connection has ended.
pub(super) fn closed<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    account: &Account,
    how: &HowEnded,
) {
    if connections.access.is_none() {
        return;
    }
    let spoken = &connections.sockets.table[slot].spoken;
    let Traffic { messages_in, said } = account.traffic;
    let stay = AccessStay {
        open_for: connections.sockets.ring.now().saturating_sub(account.opened_at),
        code: protocol::close_code(spoken, how.end),
        by_peer: how.end.by_peer,
        messages_in,
        bytes_in: account.bytes_in,
        messages_out: said.messages,
    };
    let event = match protocol::is_response(spoken) {
        true => AccessEvent::Answered,
        false => AccessEvent::Closed,
    };
    let record = AccessRecord {
        user: connections.hub.user(slot),
        asked: account.asked.clone(),
        status: account.status,
        reason: Some(how.reason.name()),
        bytes_out: Some(said.bytes),
        stay: Some(stay),
        ..record(connections, slot, event)
    };
    say(connections, record);
}

/// Says that a response was sent at once.
pub(super) fn answered<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    request: AccessRequest,
) {
    if connections.access.is_some() {
        say_of_request(connections, slot, AccessEvent::Answered, request, None);
    }
}

/// Says that a request was refused, if there is room for that.
pub(super) fn refused<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    refused: Refused,
    request: AccessRequest,
) {
    refused_for(connections, slot, refused.ground.name(), request);
}

/// The same of who was closed without an answer.
pub(super) fn turned_away<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    reason: &'static str,
) {
    refused_for(connections, slot, reason, AccessRequest { asked: None, answered: None });
}

fn refused_for<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    reason: &'static str,
    request: AccessRequest,
) {
    let now = connections.sockets.ring.now();
    if connections.access.as_mut().is_some_and(|access| access.take_line(now)) {
        say_of_request(connections, slot, AccessEvent::Refused, request, Some(reason));
    }
}

fn say_of_request<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    event: AccessEvent,
    AccessRequest { asked, answered }: AccessRequest,
    reason: Option<&'static str>,
) {
    let grant = connections.gatekeeper.grant(slot);
    let record = AccessRecord {
        user: grant.and_then(|grant| grant.user.clone()),
        asked,
        status: answered.map(|answered| answered.status),
        bytes_out: answered.map(|answered| answered.bytes),
        reason,
        ..record(connections, slot, event)
    };
    say(connections, record);
}

/// What is known of any connection.
fn record<R: Ring>(connections: &Connections<R>, slot: Slot, event: AccessEvent) -> AccessRecord {
    let connection = &connections.sockets.table[slot];
    let profiles = &connections.sockets.profiles;
    let profile = &profiles[connection.profile];
    let offer = &connections.service(slot).offer;
    AccessRecord {
        at: connections.sockets.moment().calendar,
        event,
        id: connections.hub.id(slot, connection.generation),
        peer: connections.peers.get(slot).and_then(Peer::known),
        proxied_by: connections.peers.proxy(slot),
        listener: Some(Arc::clone(&profile.name)),
        route: offer.number.map(|_| Arc::clone(&offer.path)),
        spoken: protocol::name(&connection.spoken, profile),
        tls: connections.sockets.transports.tls.version(slot),
        user: None,
        asked: None,
        status: None,
        reason: None,
        bytes_out: None,
        stay: None,
        left_out: 0,
    }
}

fn say<R: Ring>(connections: &mut Connections<R>, record: AccessRecord) {
    if let Some(access) = &mut connections.access {
        access.say(record);
    }
}
