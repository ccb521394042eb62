//! Accepting: parked on a poll, then a bounded number of accepts at a time.
//!
//! A listener parks on a one-shot poll. When it fires, a window of accepts that do not wait is
//! pushed, each with a slot of its own, so no connection is ever accepted that there is no slot
//! for. The window doubles while all of them find a connection, up to
//! [`ACCEPT_BATCH`]: a burst of connects is taken in fast, but in portions, and established
//! connections have their turn between two of them. Accepting is paused by not asking.
//!
//! A shard that serves as many as it may gives what comes to one that has room. When none has, it
//! goes on accepting into its reserve of slots, and those are told so. Who was given to a shard
//! that has no slot by then waits there for the next one, before those who are yet to be accepted.
//!
//! Where shards share one socket, whoever waits in it may be with another shard a moment later. So
//! before somebody has to give way, there is time until the next tick for those with a slot, and
//! then one is accepted, to be sure that there is one, who waits like those who were given to this
//! shard.

mod doors;

use std::collections::VecDeque;
use std::io;

use super::OPERATIONS_PER_EVENT;
use super::connections::Connections;
use super::connections::opening::has_come;
use super::newcomers::Newcomers;
use crate::hub::Handed;
use crate::kernel::{ACCEPT_BATCH, Errno, ListenerId, Operation, Peer, Ring, Sharing, Slot};
use crate::protocol::services::ListenerTable;

/// The state of one listener.
struct Acceptor {
    state: State,
    /// How many accepts the next portion has.
    window: u32,
    /// Accepts in flight.
    pending: u32,
    /// One of this portion found nothing to accept.
    dry: bool,
    /// Who else accepts from its socket. One that others have as well stays open when it is closed
    /// here: whoever waits there in a drain is left to those who accept from it next.
    sharing: Sharing,
    /// The tick in which it began to wait for a slot.
    full_at: u64,
    /// It is there no longer: whoever waits there already is accepted, and then it is closed, at
    /// this tick at the latest.
    leaves_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On its poll.
    Parked,
    /// A portion is in flight.
    Accepting,
    /// Waiting for a free slot.
    Full,
    /// The kernel lacked something; waiting for the next tick.
    Backing,
    /// The shard drains, and may yet go on: others accept from the socket meanwhile.
    LeftToOthers,
    /// Never again.
    Closed,
}

impl Acceptor {
    fn new(sharing: Sharing) -> Self {
        let (state, leaves_at) = (State::Parked, None);
        Self { state, window: 1, pending: 0, dry: false, sharing, full_at: 0, leaves_at }
    }

    /// One that nothing is accepted by.
    fn closed() -> Self {
        Self { state: State::Closed, ..Self::new(Sharing::Own) }
    }

    fn is_over(&self) -> bool {
        self.state == State::Closed && self.pending == 0
    }

    /// Waits for a free slot, or goes on doing so.
    fn wait_for_slot(&mut self, now: u64) {
        if self.state != State::Full {
            (self.state, self.full_at) = (State::Full, now);
        }
    }
}

/// How connections come in.
pub(super) struct Accepting {
    /// By listener; those that none is called so are closed.
    acceptors: Vec<Acceptor>,
    /// Accepts in flight, of all listeners.
    pending: u32,
    /// Connections that other shards gave to this one, and that wait for a slot.
    handed: VecDeque<Handed>,
    /// The kernel lacked something for one of them: no more are asked for until the next tick.
    lacks: bool,
    newcomers: Newcomers,
}

impl Accepting {
    /// For these listeners.
    pub(super) fn new(listeners: &ListenerTable) -> Self {
        Self {
            acceptors: listeners.places().iter().map(|one| Acceptor::new(one.sharing)).collect(),
            pending: 0,
            handed: VecDeque::new(),
            lacks: false,
            newcomers: Newcomers::default(),
        }
    }

    /// Says to other shards how many more connections this one would serve.
    pub(super) fn show_room<R: Ring>(&self, connections: &Connections<R>) {
        let room =
            connections.sockets.limits.connections.saturating_sub(connections.sockets.table.live());
        let takes_none = connections.drain.is_ordered() || self.is_accepting_later();
        connections.hub.neighbours.show_room(if takes_none { 0 } else { room });
    }

    /// Whether nobody waits who was given to this shard.
    pub(super) fn has_taken_all_over(&self) -> bool {
        self.handed.is_empty()
    }
}

impl Accepting {
    /// Nothing waits to be accepted: parks the listener, or closes it if it is to be.
    fn park<R: Ring>(&mut self, connections: &mut Connections<R>, listener: ListenerId) {
        let is_gone = self.acceptors[listener as usize].leaves_at.is_some();
        if is_gone || connections.drain.frees_listeners() {
            return self.close_listener(connections, listener);
        }
        if self.leaves(connections, listener) {
            self.acceptors[listener as usize].state = State::LeftToOthers;
            return;
        }
        let acceptor = &mut self.acceptors[listener as usize];
        acceptor.state = State::Parked;
        acceptor.window = 1;
        connections.sockets.ring.push(Operation::PollListener { listener });
    }

    /// Goes on with those of other shards, and then with listeners, that wait for a free slot,
    /// beginning with another listener each time.
    pub(super) fn resume_accepting<R: Ring>(&mut self, connections: &mut Connections<R>) {
        self.take_over_some(connections);
        let has_slot = connections.sockets.table.vacant() > 0;
        if !has_slot && self.pending == 0 && self.somebody_waits(connections) {
            self.newcomers.make_way(connections);
        }
        let count = self.acceptors.len();
        for turn in 0..count {
            let listener = (turn + connections.sockets.counters.loops as usize) % count;
            if self.acceptors[listener].state == State::Full {
                self.accept_portion(connections, listener as ListenerId);
            }
        }
    }

    /// Whether somebody waits for a slot.
    fn somebody_waits<R: Ring>(&mut self, connections: &mut Connections<R>) -> bool {
        let has_own =
            |acceptor: &Acceptor| acceptor.state == State::Full && acceptor.sharing == Sharing::Own;
        if !self.handed.is_empty() || self.acceptors.iter().any(has_own) {
            return true;
        }
        let now = connections.sockets.deadlines.now();
        (0..self.acceptors.len()).any(|listener| {
            let acceptor = &self.acceptors[listener];
            let has_waited = acceptor.state == State::Full && acceptor.full_at < now;
            has_waited && self.holds_one(connections, listener as ListenerId)
        })
    }

    /// Whether somebody waits at a listener that others accept from as well, and is not theirs.
    fn holds_one<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) -> bool {
        if self.leaves(connections, listener) {
            return false;
        }
        match connections.sockets.ring.accept_aside(listener) {
            Ok((socket, peer)) => {
                connections.hub.neighbours.keeps_place();
                let listener = connections.sockets.profiles.number_of(listener);
                self.handed.push_back(Handed { socket, peer, listener });
                connections.tell_full();
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.park(connections, listener);
                false
            }
            // It cannot be known.
            Err(_) => true,
        }
    }

    /// Whether the shard drains, and leaves who waits at the listener to others.
    fn leaves<R: Ring>(&self, connections: &Connections<R>, listener: ListenerId) -> bool {
        let sharing = self.acceptors[listener as usize].sharing;
        connections.is_draining() && sharing == Sharing::Others
    }

    /// Whether the kernel lacked something, and the next tick is waited for.
    pub(super) fn is_accepting_later(&self) -> bool {
        self.lacks || self.acceptors.iter().any(|acceptor| acceptor.state == State::Backing)
    }

    /// Goes on with listeners for which the kernel lacked something, once the rest of the portion
    /// that it failed in is done.
    pub(super) fn retry_accepting<R: Ring>(&mut self, connections: &mut Connections<R>) {
        self.lacks = false;
        for listener in 0..self.acceptors.len() {
            let acceptor = &self.acceptors[listener];
            if acceptor.state == State::Backing && acceptor.pending == 0 {
                self.accept_portion(connections, listener as ListenerId);
            }
        }
    }

    pub(super) fn listener_ready<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) {
        if self.acceptors[listener as usize].state == State::Parked {
            self.accept_portion(connections, listener);
        }
    }

    pub(super) fn accepted<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
        slot: Slot,
        result: Result<Peer, Errno>,
    ) {
        self.acceptors[listener as usize].pending -= 1;
        self.pending -= 1;
        match result {
            Ok(peer) => has_come(connections, listener, slot, peer),
            Err(error) => {
                connections.sockets.table.give_up(slot);
                self.accept_failed(connections, listener, error);
            }
        }
        let acceptor = &mut self.acceptors[listener as usize];
        if acceptor.pending > 0 || acceptor.state != State::Accepting {
            return self.forget(connections, listener);
        }
        if acceptor.dry {
            self.park(connections, listener);
        } else {
            acceptor.window = (acceptor.window * 2).min(ACCEPT_BATCH as u32);
            self.accept_portion(connections, listener);
        }
    }

    fn accept_portion<R: Ring>(&mut self, connections: &mut Connections<R>, listener: ListenerId) {
        let sharing = self.acceptors[listener as usize].sharing;
        if self.leaves(connections, listener) {
            self.acceptors[listener as usize].state = State::LeftToOthers;
            if connections.drain.frees_listeners() {
                self.close_disarmed(connections, listener);
            }
            return;
        }
        if connections.is_full()
            && !connections.is_draining()
            && self.give_away(connections, listener)
        {
            return;
        }
        // Where others accept as well, it is not known yet that somebody waits.
        if connections.is_full() && sharing == Sharing::Own {
            connections.tell_full();
        }
        let in_flight = self.pending;
        let acceptor = &mut self.acceptors[listener as usize];
        let vacant = connections.sockets.table.vacant().saturating_sub(self.handed.len() as u32);
        let room = (ACCEPT_BATCH as u32 - in_flight).min(vacant);
        let count = acceptor.window.min(room);
        acceptor.dry = false;
        if count == 0 {
            connections.sockets.counters.accept_pauses += u64::from(acceptor.state != State::Full);
            acceptor.wait_for_slot(connections.sockets.deadlines.now());
            return;
        }
        debug_assert_eq!(acceptor.pending, 0, "two portions at a time");
        acceptor.state = State::Accepting;
        acceptor.pending = count;
        self.pending += count;
        for _ in 0..count {
            let slot = connections.sockets.table.reserve().expect("no more than there are vacant");
            connections.sockets.ring.push(Operation::Accept { listener, slot });
        }
    }

    /// Gives what waits to be accepted to shards that have room; `false` if there is none.
    fn give_away<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) -> bool {
        for _ in 0..ACCEPT_BATCH {
            let Some(shard) = connections.hub.neighbours.claim_place() else { return false };
            let accepted = connections.sockets.ring.accept_aside(listener);
            if accepted.is_err() {
                connections.hub.neighbours.give_place_back(shard);
            }
            match accepted {
                Ok((socket, peer)) => {
                    connections.sockets.counters.handed_over += 1;
                    let listener = connections.sockets.profiles.number_of(listener);
                    connections.hub.hand_over(shard, Handed { socket, peer, listener });
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.park(connections, listener);
                    return true;
                }
                // No descriptor to spare, say: who comes is told that there is no room, if one that
                // it is told by takes less.
                Err(_) => {
                    connections.sockets.counters.accept_errors += 1;
                    return false;
                }
            }
        }
        // There may be more: it has its turn again, as if a slot had become free, and before the
        // shard sleeps.
        self.acceptors[listener as usize].wait_for_slot(connections.sockets.deadlines.now());
        connections.sockets.flush_soon = true;
        true
    }

    /// Takes a connection over that another shard has accepted: at once, or as soon as there is a
    /// slot for it.
    pub(super) fn take_over<R: Ring>(&mut self, connections: &mut Connections<R>, handed: Handed) {
        self.handed.push_back(handed);
        self.take_over_some(connections);
    }

    /// Takes over whom there is a slot for.
    fn take_over_some<R: Ring>(&mut self, connections: &mut Connections<R>) {
        while !self.handed.is_empty() {
            if connections.sockets.ring.room() <= OPERATIONS_PER_EVENT {
                // The rest has its turn before anyone sleeps.
                connections.sockets.flush_soon = true;
                return;
            }
            let Some(slot) = connections.sockets.table.reserve() else { return };
            let handed = self.handed.pop_front().expect("there is one");
            self.adopt(connections, slot, handed);
            // Before the place is given back: no other shard must take it for a free one.
            self.show_room(connections);
            connections.hub.neighbours.has_taken_over();
        }
    }

    fn adopt<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        slot: Slot,
        Handed { socket, peer, listener }: Handed,
    ) {
        let Some(listener) = connections.sockets.profiles.listener_numbered(listener) else {
            // It has gone meanwhile, as has whoever could say so.
            connections.sockets.counters.accept_errors += 1;
            return connections.sockets.table.give_up(slot);
        };
        match connections.sockets.ring.adopt(&mut connections.sockets.memory, slot, vec![socket]) {
            Ok(()) => has_come(connections, listener, slot, peer),
            Err(error) => {
                if !std::mem::replace(&mut self.lacks, true) {
                    tracing::warn!(%error, "connections of another shard cannot be taken over");
                }
                connections.sockets.counters.accept_errors += 1;
                connections.sockets.table.give_up(slot);
            }
        }
    }

    fn accept_failed<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
        error: Errno,
    ) {
        if error == Errno::AGAIN {
            self.acceptors[listener as usize].dry = true;
            return;
        }
        connections.sockets.counters.accept_errors += 1;
        let acceptor = &mut self.acceptors[listener as usize];
        if !error.is_of_accepted() && acceptor.state == State::Accepting {
            tracing::warn!(listener, %error, "accepting is paused for a moment");
            (acceptor.state, acceptor.window) = (State::Backing, 1);
        }
    }
}
