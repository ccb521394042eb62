//! Which listeners are accepted from: all, none while the gateway drains, those that changes bring,
//! and no longer those that they take away.

use super::{Accepting, Acceptor, State};
use crate::kernel::{ListenerId, Operation, Ring, Sharing};
use crate::shard::connections::Connections;

/// For how many ticks a listener that is there no longer accepts what waits there: so long that all
/// of it is taken in but in a flood.
const LEAVE_TICKS: u64 = 3;

impl Accepting {
    /// Parks all listeners.
    pub(in crate::shard) fn start_accepting<R: Ring>(&mut self, connections: &mut Connections<R>) {
        for listener in 0..self.acceptors.len() as ListenerId {
            connections.sockets.ring.push(Operation::PollListener { listener });
        }
    }

    /// Accepts from one more listener from now on.
    pub(in crate::shard) fn add<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
        sharing: Sharing,
    ) {
        let place = listener as usize;
        self.acceptors.resize_with(self.acceptors.len().max(place + 1), Acceptor::closed);
        self.acceptors[place] = Acceptor { state: State::Backing, ..Acceptor::new(sharing) };
        self.park(connections, listener);
    }

    /// A listener is there no longer: takes in what waits there already, and closes it.
    pub(in crate::shard) fn remove<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) {
        let until = connections.sockets.deadlines.now() + LEAVE_TICKS;
        let acceptor = &mut self.acceptors[listener as usize];
        acceptor.leaves_at = Some(until);
        match acceptor.state {
            State::Parked => {
                connections.sockets.ring.push(Operation::UnpollListener { listener });
                self.accept_portion(connections, listener);
            }
            // A drain has closed it, or leaves it alone.
            State::Closed => self.forget(connections, listener),
            State::LeftToOthers => self.close_disarmed(connections, listener),
            State::Accepting | State::Full | State::Backing => {}
        }
    }

    /// Closes listeners that are there no longer, and whose time is over: what waits there is
    /// reset.
    pub(in crate::shard) fn close_late<R: Ring>(&mut self, connections: &mut Connections<R>) {
        let now = connections.sockets.deadlines.now();
        for listener in 0..self.acceptors.len() as ListenerId {
            let acceptor = &self.acceptors[listener as usize];
            let is_late = acceptor.leaves_at.is_some_and(|until| now >= until);
            if is_late && acceptor.state != State::Closed {
                self.close_listener(connections, listener);
            }
        }
    }

    /// Whether nothing is accepted by what is called so: it may be given to another. If something
    /// is, that is closed.
    pub(in crate::shard) fn has_freed<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) -> bool {
        let Some(acceptor) = self.acceptors.get(listener as usize) else { return true };
        if acceptor.state != State::Closed {
            self.close_listener(connections, listener);
        }
        self.acceptors[listener as usize].is_over()
    }

    /// Nobody comes any more by a listener that is there no longer, once nothing is in flight.
    pub(super) fn forget<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) {
        let acceptor = &self.acceptors[listener as usize];
        if acceptor.is_over() && acceptor.leaves_at.is_some() {
            connections.sockets.profiles.close(listener);
        }
    }

    /// Takes in what waits to be accepted, and closes each listener once nothing does: whoever came
    /// before is told that the gateway drains, but for listeners that stay open.
    pub(in crate::shard) fn stop_accepting<R: Ring>(&mut self, connections: &mut Connections<R>) {
        for listener in 0..self.acceptors.len() as ListenerId {
            if self.acceptors[listener as usize].state == State::Parked {
                connections.sockets.ring.push(Operation::UnpollListener { listener });
                self.accept_portion(connections, listener);
            }
        }
    }

    /// Leaves who comes to listeners that others have as well to those others. Of the shard's own
    /// listeners nobody else would take them: they come in, and are told to come back.
    pub(in crate::shard) fn leave_to_others<R: Ring>(&mut self, connections: &mut Connections<R>) {
        for listener in 0..self.acceptors.len() as ListenerId {
            let acceptor = &mut self.acceptors[listener as usize];
            if acceptor.sharing == Sharing::Others && acceptor.state == State::Parked {
                acceptor.state = State::LeftToOthers;
                connections.sockets.ring.push(Operation::UnpollListener { listener });
            }
        }
    }

    /// Accepts again who comes to those, from the next tick on.
    pub(in crate::shard) fn go_on_accepting(&mut self) {
        for acceptor in &mut self.acceptors {
            if acceptor.state == State::LeftToOthers {
                (acceptor.state, acceptor.window) = (State::Backing, 1);
            }
        }
    }

    /// Closes all listeners that are still open; what waits there is reset.
    pub(in crate::shard) fn close_listeners<R: Ring>(&mut self, connections: &mut Connections<R>) {
        for listener in 0..self.acceptors.len() as ListenerId {
            if self.acceptors[listener as usize].state != State::Closed {
                self.close_listener(connections, listener);
            }
        }
    }

    /// Whether all listeners are closed, and nothing is being accepted.
    pub(in crate::shard) fn has_stopped_accepting(&self) -> bool {
        self.acceptors
            .iter()
            .all(|acceptor| acceptor.state == State::Closed && acceptor.pending == 0)
    }

    pub(super) fn close_listener<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) {
        if self.acceptors[listener as usize].state == State::Parked {
            connections.sockets.ring.push(Operation::UnpollListener { listener });
        }
        self.close_disarmed(connections, listener);
    }

    /// Closes a listener whose poll is not armed, or whose end is on its way.
    pub(super) fn close_disarmed<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        listener: ListenerId,
    ) {
        self.acceptors[listener as usize].state = State::Closed;
        connections.sockets.ring.push(Operation::CloseListener { listener });
        self.forget(connections, listener);
    }
}
