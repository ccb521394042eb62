//! How connections come in, and what their transports open: one that has shaken hands begins, one
//! whose peer has said all ends, and one on which came what may not come is closed.

use tidegate_proto::keepalive::Wait;

use crate::census::TurnedAway;
use crate::connection::{AfterFlush, Stage};
use crate::kernel::{ListenerId, Peer, Ring, Slot, Span};
use crate::memory::{Full, gathered};
use crate::protocol;
use crate::protocol::End;
use crate::protocol::end_reason::EndReason;
use crate::protocol::refusal::{Refusal, Refused};
use crate::protocol::services::{OPENING, Profile, Services};
use crate::shard::connections::Connections;
use crate::shard::connections::access;
use crate::shard::connections::closing::drop_for;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::kept;
use crate::shard::sockets::sealing;
use crate::transport::OpenedInput;
use crate::transport::proxy::{ProxyFacts, ProxyRefusal, ProxyTold};

/// A connection has come in.
pub(crate) fn has_come<R: Ring>(
    connections: &mut Connections<R>,
    listener: ListenerId,
    slot: Slot,
    peer: Peer,
) {
    let Sockets { table, profiles, transports, counters, .. } = &mut connections.sockets;
    counters.accepted += 1;
    let connection = table.begin(slot);
    connection.profile = profiles.enter(listener);
    connection.service = OPENING;
    connections.services.enter(OPENING);
    let profile = &mut profiles[connection.profile];
    profile.transport.begin(transports, slot);
    // Of a proxy it is kept until that has said whose connection it is.
    let has_proxy = profile.transport.has_proxy();
    let is_on = connections.access.is_some();
    let is_kept = is_on || keeps_peer(&connections.services, profile);
    if has_proxy || is_kept || connections.turnstile.asks_addresses() {
        connections.peers.keep(slot, peer);
    }
    if profile.logs_transport {
        tracing::info!(target: "tidegate::transport", %peer, slot, "accepted");
    }
    // Who is told of by others, or by its request, is looked at and counted then.
    let is_told = has_proxy || profile.forwarding_of(peer).is_some();
    let is_let_in = is_told || profile.networks.let_in(peer);
    if !profile.transport.believes(peer) {
        return refuse_proxied(connections, slot, ProxyRefusal::Stranger);
    }
    if !is_let_in {
        return close_untold(connections, slot, Refusal::ListenerNetwork.told(), peer);
    }
    let now = connections.sockets.ring.now();
    let mut entered = connections.turnstile.comes(slot, listener, now);
    if let (false, Some(address)) = (is_told, peer.ip()) {
        entered = entered.and_then(|()| connections.turnstile.is_of(slot, address, now));
    }
    if let Err(turned_away) = entered
        && turns_away_at_once(connections, slot, turned_away)
    {
        return;
    }
    let is_ready = sealing::is_ready(&connections.sockets, slot);
    let wait = match is_ready {
        true => Wait::Head,
        false if sealing::awaits_header(&connections.sockets, slot) => Wait::ProxyHeader,
        false => Wait::Handshake,
    };
    connections.sockets.wait_for(slot, wait);
    connections.sockets.listen(slot);
    if !is_ready {
        connections.drain.takes_in(slot);
    }
    // Of the others a request is awaited, or first a header or a handshake.
    if is_ready && is_spoken_to(connections, slot) {
        connections.begin(slot);
    }
}

/// Opens what was received: where the plain bytes are, if the connection goes on.
pub(crate) fn open_received<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    received: Span,
) -> Option<Span> {
    if !sealing::opens(&connections.sockets, slot) {
        return Some(received);
    }
    let was_ready = sealing::is_ready(&connections.sockets, slot);
    let opened = sealing::open_received(&mut connections.sockets, slot, received);
    // What came behind a header may be wrong: that is the client's, and said of it.
    let told = connections.sockets.transports.proxied.take_told();
    if let Some(told) = told
        && !is_told_of(connections, slot, told)
    {
        return None;
    }
    let Ok(OpenedInput { plain, used, has_ended }) = opened else {
        broke_its_transport(connections, slot);
        return None;
    };
    let rest = received.skip(used as u32);
    if keep_rest(connections, slot, rest, used > 0).is_err()
        || sealing::say_words(&mut connections.sockets, slot).is_err()
    {
        connections.sockets.counters.out_of_blocks += 1;
        drop_for(connections, slot, EndReason::NoMemory);
        return None;
    }
    if has_ended {
        connections.sockets.transports.kept.ends(slot);
    }
    if !was_ready && sealing::is_ready(&connections.sockets, slot) {
        is_ready_now(connections, slot);
    } else if told.is_some() {
        // Behind the header of a proxy, hands are yet to be shaken.
        connections.sockets.wait_for(slot, Wait::Handshake);
    }
    Some(received.part(plain.start as u32, plain.end as u32))
}

/// Keeps what could not be opened yet, which has a deadline like any other half message.
fn keep_rest<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    rest: Span,
    is_another: bool,
) -> Result<(), Full> {
    let Sockets { halves, deadlines, profiles, table, .. } = &mut connections.sockets;
    if is_another || rest.length == 0 {
        halves.end_rest(slot);
    }
    if rest.length == 0 {
        return Ok(());
    }
    let due = deadlines.now() + u64::from(profiles[table[slot].profile].message);
    halves.begin_rest(slot, due);
    kept::keep_rest(&mut connections.sockets, slot, rest)
}

/// A proxy has said whose connection it is, which holds from here on wherever that is told. Returns
/// whether it goes on.
fn is_told_of<R: Ring>(connections: &mut Connections<R>, slot: Slot, told: ProxyTold) -> bool {
    let Sockets { counters, transports, profiles, table, .. } = &mut connections.sockets;
    let facts = transports.proxied.facts(slot);
    counters.proxy_headers += 1;
    counters.proxy_facts_cut += u64::from(facts.is_some_and(|facts| facts.is_cut));
    let profile = &profiles[table[slot].profile];
    if profile.logs_transport
        && let Some(proxied_peer) = facts.and_then(ProxyFacts::unix_name)
    {
        let peer = connections.peers.at_socket(slot);
        tracing::info!(target: "tidegate::transport", %peer, proxied_peer, slot, "told");
    }
    let is_on = connections.access.is_some();
    let is_kept = is_on
        || keeps_peer(&connections.services, profile)
        || connections.turnstile.asks_addresses();
    let at_socket = connections.peers.at_socket(slot);
    connections.peers.is_told(slot, told, profile, [is_kept, is_on]);
    let believed = match told {
        ProxyTold::Peer(peer) => peer,
        ProxyTold::Nothing => at_socket,
    };
    if profile.forwarding_of(believed).is_some() {
        return true;
    }
    if !profile.networks.let_in(believed) {
        close_untold(connections, slot, Refusal::ListenerNetwork.told(), believed);
        return false;
    }
    let ProxyTold::Peer(peer) = told else { return true };
    let Some(address) = peer.ip() else { return true };
    if connections.turnstile.turned_away(slot).is_some() {
        return true;
    }
    let now = connections.sockets.ring.now();
    match connections.turnstile.is_of(slot, address, now) {
        Ok(()) => true,
        Err(turned_away) => !turns_away_at_once(connections, slot, turned_away),
    }
}

/// Closes a connection without a word that is turned away before a handshake, unless it may shake
/// hands to be told ([`Turnstile::may_be_told`](crate::census::Turnstile::may_be_told)). Returns
/// whether it did; the others are told, once they can be.
fn turns_away_at_once<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    turned_away: TurnedAway,
) -> bool {
    if !connections.sockets.profile(slot).transport.is_tls()
        || connections.turnstile.may_be_told(slot, turned_away)
    {
        return false;
    }
    let peer = connections.peers.get(slot).unwrap_or(Peer::Unknown);
    close_untold(connections, slot, Refusal::from(turned_away).told(), peer);
    true
}

/// Closes a connection of `peer` that is refused before it has said anything, without a word: that
/// it was is counted, and said in the log.
fn close_untold<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    refused: Refused,
    peer: Peer,
) {
    connections.sockets.counters.refused += 1;
    connections.vitals.refused(refused.ground);
    connections.refusals.tell(refused, peer, None);
    access::turned_away(connections, slot, refused.ground.name());
    connections.drop_connection(slot);
}

/// A connection does not come through a proxy as it should: it is closed without an answer.
pub(crate) fn refuse_proxied<R: Ring>(
    connections: &mut Connections<R>,
    slot: Slot,
    refusal: ProxyRefusal,
) {
    connections.vitals.refused_proxied(refusal);
    let peer = connections.peers.at_socket(slot);
    connections.refusals.tell_of_proxy(refusal, peer);
    access::turned_away(connections, slot, refusal.name());
    drop_for(connections, slot, EndReason::ProtocolError);
}

/// Hands are shaken: the connection begins, as others do when they are accepted.
fn is_ready_now<R: Ring>(connections: &mut Connections<R>, slot: Slot) {
    connections.sockets.wait_for(slot, Wait::Head);
    sealing::has_room_for_parked(&mut connections.sockets);
    if is_spoken_to(connections, slot) {
        connections.begin(slot);
    }
}

/// Whether a connection is told something before anything comes from its peer: a protocol of
/// the program may begin, and a gateway that drains, or has too many like it, has no place for it.
pub(crate) fn is_spoken_to<R: Ring>(connections: &Connections<R>, slot: Slot) -> bool {
    connections.is_draining()
        || connections.sockets.profile(slot).protocol.is_some()
        || connections.turnstile.turned_away(slot).is_some()
}

/// What came in cannot be opened. What the transport says of that leaves, if nothing else is on
/// its way, and then the connection ends.
fn broke_its_transport<R: Ring>(connections: &mut Connections<R>, slot: Slot) {
    if let Some(refusal) = connections.sockets.transports.proxied.take_refusal() {
        return refuse_proxied(connections, slot, refusal);
    }
    connections.sockets.counters.transports_broken += 1;
    if let Some(failure) = connections.sockets.transports.tls.take_failure() {
        connections.tell_failed_handshake(slot, failure.name());
    }
    if connections.sockets.table[slot].is_open() {
        connections.accounts.ends_for(slot, EndReason::ProtocolError);
    }
    connections.messages_ended(slot, End::ABRUPT, EndReason::ProtocolError);
    let has_words = !connections.sockets.transports.words.is_empty()
        && connections.sockets.table[slot].is_flushed();
    connections.sockets.transports.kept.leaves(slot);
    if !has_words || sealing::say_words(&mut connections.sockets, slot).is_err() {
        return connections.drop_connection(slot);
    }
    let Sockets { table, counters, blocks, .. } = &mut connections.sockets;
    let connection = &mut table[slot];
    protocol::give_up(&mut connections.services, connection, counters);
    gathered::release(&mut connection.gathered, blocks);
    gathered::release(&mut connection.control, blocks);
    connection.stage = Stage::Lingering;
    connection.states.do_after_flush(AfterFlush::Finish);
    table.strangers.insert(slot);
    connections.sockets.halves.end_all(slot);
    connections.after_words(slot);
}

/// Whether the address of who has come is kept until it is known which route it will be on, or
/// longer: on one of the hub it is told, others look at it, and the log says whose handshake has
/// failed.
fn keeps_peer(services: &Services, profile: &Profile) -> bool {
    services.has_hub()
        || services.asks_peers()
        || profile.logs()
        || profile.may_learn()
        || profile.transport.is_tls()
}
