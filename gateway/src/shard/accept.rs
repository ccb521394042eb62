//! Accepting: parked on a poll, then a bounded number of accepts at a time.
//!
//! A listener parks on a one-shot poll. When it fires, a window of accepts that do not wait is
//! pushed, each with a slot of its own, so no connection is ever accepted that there is no slot
//! for. The window doubles while all of them find a connection, up to
//! [`ACCEPT_BATCH`]: a burst of connects is taken in fast, but in portions, and established
//! connections have their turn between two of them. Accepting is paused by not asking.

use std::net::SocketAddr;

use tidegate_proto::keepalive::Wait;

use super::Shard;
use crate::uring::{ACCEPT_BATCH, Errno, ListenerId, Operation, Ring, Slot};

/// The state of one listener.
pub(super) struct Acceptor {
    state: State,
    /// How many accepts the next portion has.
    window: u32,
    /// Accepts in flight.
    pending: u32,
    /// One of this portion found nothing to accept.
    dry: bool,
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
    /// Never again.
    Closed,
}

impl Acceptor {
    pub(super) fn new() -> Self {
        Self { state: State::Parked, window: 1, pending: 0, dry: false }
    }
}

/// Whether an error is about the connection that was to be accepted, and so no reason to wait:
/// accept(2) has these be treated like `EAGAIN`. All others are about us, such as a lack of memory.
fn is_of_connection(error: Errno) -> bool {
    use libc::{
        ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT,
        EOPNOTSUPP, EPROTO,
    };
    matches!(
        error.0,
        ECONNABORTED
            | EHOSTDOWN
            | EHOSTUNREACH
            | EINTR
            | ENETDOWN
            | ENETUNREACH
            | ENONET
            | ENOPROTOOPT
            | EOPNOTSUPP
            | EPROTO
    )
}

impl<R: Ring> Shard<R> {
    /// Parks all listeners.
    pub(super) fn start_accepting(&mut self) {
        for listener in 0..self.acceptors.len() as ListenerId {
            self.ring.push(Operation::PollListener { listener });
        }
    }

    /// Closes all listeners; what their last accepts bring is closed too.
    pub(super) fn stop_accepting(&mut self) {
        for listener in 0..self.acceptors.len() as ListenerId {
            let acceptor = &mut self.acceptors[listener as usize];
            if acceptor.state == State::Parked {
                self.ring.push(Operation::UnpollListener { listener });
            }
            acceptor.state = State::Closed;
            self.ring.push(Operation::CloseListener { listener });
        }
    }

    /// Goes on with listeners that wait for a free slot.
    pub(super) fn resume_accepting(&mut self) {
        for listener in 0..self.acceptors.len() {
            if self.acceptors[listener].state == State::Full {
                self.accept_portion(listener as ListenerId);
            }
        }
    }

    /// Whether a listener waits for the next tick.
    pub(super) fn is_accepting_later(&self) -> bool {
        self.acceptors.iter().any(|acceptor| acceptor.state == State::Backing)
    }

    /// Goes on with listeners for which the kernel lacked something, once the rest of the portion
    /// that it failed in is done.
    pub(super) fn retry_accepting(&mut self) {
        for listener in 0..self.acceptors.len() {
            let acceptor = &self.acceptors[listener];
            if acceptor.state == State::Backing && acceptor.pending == 0 {
                self.accept_portion(listener as ListenerId);
            }
        }
    }

    pub(super) fn listener_ready(&mut self, listener: ListenerId) {
        if self.acceptors[listener as usize].state == State::Parked {
            self.accept_portion(listener);
        }
    }

    pub(super) fn accepted(
        &mut self,
        listener: ListenerId,
        slot: Slot,
        result: Result<SocketAddr, Errno>,
    ) {
        self.acceptors[listener as usize].pending -= 1;
        self.accepts_pending -= 1;
        match result {
            Ok(peer) => self.begin(listener, slot, peer),
            Err(error) => {
                self.table.give_up(slot);
                self.accept_failed(listener, error);
            }
        }
        let acceptor = &mut self.acceptors[listener as usize];
        if acceptor.pending > 0 || acceptor.state != State::Accepting {
            return;
        }
        if acceptor.dry {
            acceptor.state = State::Parked;
            acceptor.window = 1;
            self.ring.push(Operation::PollListener { listener });
        } else {
            acceptor.window = (acceptor.window * 2).min(ACCEPT_BATCH as u32);
            self.accept_portion(listener);
        }
    }

    fn accept_portion(&mut self, listener: ListenerId) {
        let in_flight = self.accepts_pending;
        let acceptor = &mut self.acceptors[listener as usize];
        let room = (ACCEPT_BATCH as u32 - in_flight).min(self.table.vacant());
        let count = acceptor.window.min(room);
        acceptor.dry = false;
        if count == 0 {
            self.counters.accept_pauses += u64::from(acceptor.state != State::Full);
            acceptor.state = State::Full;
            return;
        }
        debug_assert_eq!(acceptor.pending, 0, "two portions at a time");
        acceptor.state = State::Accepting;
        acceptor.pending = count;
        self.accepts_pending += count;
        for _ in 0..count {
            let slot = self.table.reserve().expect("no more than there are vacant");
            self.ring.push(Operation::Accept { listener, slot });
        }
    }

    fn accept_failed(&mut self, listener: ListenerId, error: Errno) {
        if error == Errno::AGAIN {
            self.acceptors[listener as usize].dry = true;
            return;
        }
        self.counters.accept_errors += 1;
        let acceptor = &mut self.acceptors[listener as usize];
        if !is_of_connection(error) && acceptor.state == State::Accepting {
            tracing::warn!(listener, %error, "accepting is paused for a moment");
            acceptor.state = State::Backing;
        }
    }

    /// A connection has come in.
    fn begin(&mut self, listener: ListenerId, slot: Slot, peer: SocketAddr) {
        self.counters.accepted += 1;
        let connection = self.table.begin(slot);
        connection.listener = listener as u8;
        let stack = &self.config.listeners[listener as usize].stack;
        // On a route of the hub it is kept; which route it will be is not known yet.
        if self.has_hub || stack.log_transport || stack.log_websocket {
            self.peers.insert(slot, peer);
        }
        if stack.log_transport {
            tracing::info!(target: "transport", %peer, slot, "accepted");
        }
        if self.drain.is_some() {
            return self.drop_connection(slot);
        }
        self.wait_for(slot, Wait::Head);
        self.listen(slot);
    }
}
