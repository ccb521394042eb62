//! What must be true of a shard between two turns of its loop, checked as a whole.
//!
//! Each structure checks itself as it changes; this looks across them. It walks every slot, so it
//! is for tests and simulations.

use std::collections::HashMap;

use tidegate_proto::keepalive::Wait;

use super::connections::Connections;
use super::sockets::Sockets;
use super::{Buffers, Shard};
use crate::bill::{Holdings, Owner};
use crate::connection::{Connection, Reading, Stage, States};
use crate::kernel::{BufferId, Ring, Slot};
use crate::mailbox::Counts;
use crate::memory::{BlockId, Share};
use crate::protocol::services::FOREIGN;

/// All that blocks are for, in their order.
const SHARES: [Share; 3] = [Share::Heads, Share::Gathered, Share::Sending];

/// A shard that is looked at.
struct Check<'s, R> {
    connections: &'s Connections<R>,
    sockets: &'s Sockets<R>,
}

impl<R: Ring> Shard<R> {
    /// Checks the invariants of the shard.
    ///
    /// # Panics
    /// One is broken; the message says which.
    pub fn check(&self) {
        let connections = &self.connections;
        Check { connections, sockets: &connections.sockets }.all();
    }

    /// The connections that are there, whatever their stage.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.connections.sockets.table.live()
    }

    /// Whether a connection is not read from because what is published cannot be delivered as fast.
    #[must_use]
    pub fn is_held(&self, slot: Slot) -> bool {
        self.connections.sockets.held.contains(slot)
    }

    /// What its mailboxes have counted.
    #[must_use]
    pub fn mail(&self) -> Counts {
        self.connections.hub.post.counts()
    }

    /// The receive buffers.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.connections.sockets.buffers
    }

    /// The bytes that everything that grows on the way holds now.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let Connections { sockets, services, peers, accounts, .. } = &self.connections;
        let Connections { allotments, turnstile, gatekeeper, .. } = &self.connections;
        Holdings::from([
            (Owner::Records, sockets.table.bytes()),
            (Owner::Stalled, sockets.stalled.held()),
            (Owner::Sources, services.sources.held()),
            (Owner::Sealed, sockets.sealed.held()),
            (Owner::Kept, sockets.transports.kept.held()),
            (Owner::TlsKeys, sockets.transports.tls.held()),
            (Owner::ClientCertificates, sockets.transports.tls.peers_held()),
            (Owner::ProxyFacts, sockets.transports.proxied.facts_held()),
            (Owner::Halves, sockets.halves.held()),
            (Owner::Fragments, allotments.fragments.held()),
            (Owner::Allotments, allotments.held()),
            (Owner::Turnstiles, turnstile.held()),
            (Owner::Blocks, sockets.blocks.used_bytes()),
            (Owner::Batch, sockets.batch.held()),
            (Owner::PeerAddresses, peers.held()),
            (Owner::Accounts, accounts.held()),
            (Owner::Permits, gatekeeper.permits_held()),
            (Owner::Permissions, gatekeeper.permissions_held()),
            (Owner::Tokens, gatekeeper.tokens_held()),
            (Owner::Passwords, gatekeeper.passwords_held()),
        ])
    }

    /// Whether the shard holds nothing of any connection: no buffer, no block, no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.sockets.table.live() == 0
            && self.connections.sockets.blocks.used_bytes() == 0
            && self.connections.sockets.buffers.held() == 0
            && self.connections.sockets.ready.is_empty()
            && self.connections.sockets.put_off.is_empty()
            && self.connections.sockets.put_off.receives() == 0
            && self.connections.sockets.stalled.is_empty()
            && self.connections.services.sources.is_empty()
            && self.connections.peers.is_empty()
            && self.connections.gatekeeper.is_empty()
            && self.connections.accounts.is_empty()
            && self.connections.traces.is_empty()
            && self.connections.sockets.batch.is_empty()
            && self.deliveries.is_empty()
            && self.connections.hub.recoveries.len() == 0
            && self.connections.failed.is_empty()
            && self.connections.sockets.halves.is_empty()
            && self.connections.allotments.is_empty()
            && self.connections.turnstile.is_empty()
            && self.connections.sockets.sealed.is_empty()
            && self.connections.sockets.transports.kept.is_empty()
            && self.connections.sockets.transports.is_empty()
            && self.connections.sockets.frames.waiting() == 0
            && self.connections.sockets.held.is_empty()
            && self.connections.sockets.crowd.is_empty()
            && self.connections.sockets.expired.is_empty()
            && self.connections.drain.left() == 0
            && self.connections.reloading.leaves_nobody()
    }

    /// Whether its part of the hub knows nobody who is, was or could not be on a topic.
    #[must_use]
    pub fn knows_nobody(&self) -> bool {
        self.connections.hub.home.knows_nobody()
    }
}

impl<R: Ring> Check<'_, R> {
    fn all(&self) {
        let (mut live, mut open) = (0, 0);
        let mut owned = [0; SHARES.len()];
        for slot in 0..self.sockets.table.used_slots() {
            let connection = &self.sockets.table[slot];
            connection.check();
            self.check_free(slot, connection);
            self.check_backlog(slot, connection);
            self.check_in_flight(slot, connection);
            self.sockets.frames.check(slot, &self.sockets.blocks);
            let is_queued = connection.states.has(States::QUEUED);
            assert_eq!(is_queued, !self.sockets.frames.is_empty(slot), "queue of slot {slot}");
            let is_undecided = connection.undecided().is_some();
            let is_stranger =
                matches!(connection.stage, Stage::Head | Stage::Lingering) && !is_undecided;
            let is_gone = matches!(connection.stage, Stage::Free | Stage::Zombie);
            assert!(!(is_gone && self.connections.drain.has(slot)), "slot {slot} has gone");
            assert!(!(is_gone && self.connections.reloading.has(slot)), "slot {slot} has gone");
            let is_kept = self.sockets.table.strangers.contains(slot);
            assert_eq!(is_kept, is_stranger, "whether slot {slot} is a stranger's");
            live += u32::from(connection.stage != Stage::Free);
            open += u64::from(connection.is_open());
            self.add_blocks_of(connection, &mut owned);
            if let Some((block, share)) = self.sockets.transports.kept.block(slot) {
                owned[share as usize] += u64::from(self.sockets.blocks.size(block));
            }
        }
        assert_eq!(live, self.sockets.table.live(), "live connections");
        assert_eq!(open, self.sockets.counters.connections_open, "open connections");
        let waiting = |slot: Slot| {
            u64::from(self.sockets.table[slot].backlog_bytes)
                + u64::from(self.sockets.frames.bytes(slot))
        };
        let waiting: u64 = (0..self.sockets.table.used_slots()).map(waiting).sum();
        let counted = self.sockets.blocks.backlog_bytes() + self.sockets.frames.waiting_bytes();
        assert_eq!(waiting, counted, "bytes that wait for peers");
        owned[Share::Sending as usize] += self.sockets.frames.block_bytes(&self.sockets.blocks);
        let used = SHARES.map(|share| self.sockets.blocks.used_by(share));
        assert_eq!(owned, used, "bytes of blocks that someone owns, by what they are for");
        self.connections.hub.check();
        self.check_buffers();
        self.check_users();
        self.check_inflating();
    }

    /// Who is in the middle of a message that is inflated has the next turn of those that wait.
    fn check_inflating(&self) {
        let Some(whose) = self.connections.inflating.whose() else { return };
        let first = self.sockets.put_off.first();
        let first = first.map(|first| self.connections.hub.id(first.slot, first.generation));
        assert_eq!(first, Some(whose), "whose message goes on next");
    }

    /// Each connection is counted by the service and the profile that it has.
    fn check_users(&self) {
        let connections = || {
            let slots = 0..self.sockets.table.used_slots();
            slots.map(|slot| &self.sockets.table[slot]).filter(|one| one.stage != Stage::Free)
        };
        for (service, users) in self.connections.services.users() {
            let count = connections().filter(|one| one.service == service).count();
            assert_eq!(count, users as usize, "connections of service {service}");
        }
        let is_undecided = |one: &&Connection| one.undecided().is_some();
        for (service, _) in self.connections.services.users() {
            let undecided = connections().filter(is_undecided);
            let count = undecided.filter(|one| one.service == service).count();
            let counted = self.connections.services[service].undecided;
            assert_eq!(count, counted as usize, "undecided requests of service {service}");
        }
        let undecided = connections().filter(is_undecided).count() as u64;
        assert_eq!(undecided, self.sockets.counters.undecided, "undecided requests");
        for (profile, users) in self.sockets.profiles.users() {
            let count = connections().filter(|one| one.profile == profile).count();
            assert_eq!(count, users as usize, "connections with profile {profile}");
        }
    }

    fn check_free(&self, slot: Slot, connection: &Connection) {
        if connection.stage == Stage::Free {
            let pristine = Connection::free(connection.generation);
            assert_eq!(connection.states, pristine.states, "states of the free slot {slot}");
            assert!(connection.backlog.is_none() && connection.gathered.is_none(), "{slot}");
        }
    }

    fn check_backlog(&self, slot: Slot, connection: &Connection) {
        let queued: u32 = self
            .list(connection.backlog)
            .map(|block| self.sockets.blocks.content(block).length)
            .sum();
        assert_eq!(queued, connection.backlog_bytes, "backlog of slot {slot}");
        let sealed = self.sockets.sealed.ahead(slot);
        assert!(sealed <= queued, "slot {slot} has {sealed} sealed bytes of {queued}");
        let service = &self.connections.services[connection.service];
        let profile = &self.sockets.profiles[connection.profile];
        let limit = profile.limits(connection.service, service).backlog;
        // What waited when its route let more wait may still be there.
        let limit = limit.max(if connection.service == FOREIGN { 0 } else { service.most_backlog });
        // The rest of a short send was accepted before it was tried; it is part of one turn's
        // output, which a receive buffer or the staging memory held.
        let limits = &self.sockets.limits;
        let one_turn = limits.receive_buffer.max(limits.staging);
        // A portion of what somebody missed leaves in one send, when nothing else waits.
        let Sockets { frames, blocks, .. } = &self.connections.sockets;
        let portion = frames.front(slot, blocks).map_or(0, |span| span.length);
        let one_turn = one_turn.max(portion);
        // A response is bounded by itself.
        let is_response = matches!(connection.stage, Stage::Lingering | Stage::Zombie);
        // What was published waits within the same bound; of it as well, what fell short was tried.
        let queued = u64::from(queued) + u64::from(self.sockets.frames.bytes(slot));
        let most = u64::from(limit) + u64::from(one_turn);
        assert!(is_response || queued <= most, "slot {slot} queues {queued} bytes of {most}");
    }

    /// Memory that an operation in flight uses is still there.
    fn check_in_flight(&self, slot: Slot, connection: &Connection) {
        let states = connection.states;
        let into = states.reading() == Reading::ReceivingInto;
        assert!(!into || connection.gathered.is_some(), "slot {slot} receives into nothing");
        let is_needed = states.is_in_flight();
        let is_zombie = connection.stage == Stage::Zombie;
        // A send that succeeds completes without a word: nobody would look before the next tick.
        // (One that fell short is known, and so is that the batch has yet to be settled.)
        let is_silent = states.is_in_batch() && !states.is_blocked() && !is_zombie;
        let is_behind = is_silent && connection.backlog.is_some();
        assert!(!is_behind || self.sockets.flush_soon, "slot {slot} waits behind a send");
        assert!(!is_zombie || is_needed, "slot {slot} is kept for nothing in flight");
        if let Some(undecided) = connection.undecided() {
            assert_eq!((connection.stage, connection.wait), (Stage::Head, Wait::Decision));
            let kept = connection.gathered.map(|block| self.sockets.blocks.content(block).length);
            let kept = kept.expect("it keeps its head");
            assert_eq!(kept > undecided.head, undecided.has_more, "what slot {slot} keeps");
            assert_eq!(undecided.has_more, states.reading() == Reading::Paused, "slot {slot}");
        }
    }

    /// Adds what a connection owns to what is owned of each share.
    fn add_blocks_of(&self, connection: &Connection, owned: &mut [u64; SHARES.len()]) {
        let is_head = connection.stage == Stage::Head;
        let gathered = if is_head { Share::Heads } else { Share::Gathered };
        let size = |block: BlockId| u64::from(self.sockets.blocks.size(block));
        owned[gathered as usize] += connection.gathered.map_or(0, size);
        owned[Share::Gathered as usize] += connection.control.map_or(0, size);
        owned[Share::Sending as usize] += self.list(connection.backlog).map(size).sum::<u64>();
    }

    fn list(&self, first: Option<BlockId>) -> impl Iterator<Item = BlockId> {
        std::iter::successors(first, |block| self.sockets.blocks.next(*block))
    }

    /// What holds a buffer is counted, and has a reason: a send of the batch, input that waits, a
    /// receive behind what a transport could not open.
    fn check_buffers(&self) {
        let mut reasons = HashMap::<BufferId, u8>::new();
        let sent_from = self.sockets.batch.buffers();
        let received_into = self.sockets.transports.kept.buffers();
        for buffer in sent_from.chain(self.sockets.put_off.buffers()).chain(received_into) {
            *reasons.entry(buffer).or_default() += 1;
        }
        assert_eq!(
            self.sockets.buffers.held() as usize,
            reasons.len(),
            "receive buffers that are held"
        );
        for (buffer, count) in reasons {
            assert_eq!(self.sockets.buffers.holds(buffer), count, "what holds {buffer:?}");
        }
    }
}
