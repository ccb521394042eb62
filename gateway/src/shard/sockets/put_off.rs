//! Input that has to wait for the next turn of the loop.
//!
//! A few received bytes can inflate to a thousand times as many, and a buffer can hold thousands of
//! tiny frames. What is inflated in one turn of the loop, and how many frames are read of
//! connections that send very many, has a budget ([`Limits::heavy_input`]); input behind it keeps
//! its buffer and waits here, first in, first out but for a message that is half inflated, which
//! goes on first. A connection whose input had to wait receives again only while those like
//! it leave half of the receive buffers to everyone else: a peer which sends such messages delays
//! itself and others like it, and nobody else. While some waits it has its place in the turn behind
//! all other input, whose answers have left by then.

use std::collections::VecDeque;

use crate::config::Limits;
use crate::connection::{Connection, Reading, Stage, States};
use crate::kernel::{BufferId, Generation, Ring, Slot, SlotRef};
use crate::memory::Share;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::receiving::Arrival;

/// One connection's input.
pub(crate) struct LaidAside {
    pub(crate) slot: Slot,
    pub(crate) generation: Generation,
    pub(crate) arrival: Arrival,
}

/// The input that waits.
pub(crate) struct PutOff {
    /// At most one for each receive buffer.
    waiting: VecDeque<LaidAside>,
    /// Receives in flight of connections whose last input had to wait, and whose next may too.
    receives: usize,
    /// How much of such connections may wait: half of all receive buffers, so that the other half
    /// is left to everyone else.
    limit: usize,
    /// How many bytes may be inflated in one turn of the loop.
    heavy: usize,
    /// How many of them may yet be in this one.
    pub(crate) budget: usize,
    /// Input that was put off is being worked on.
    is_resuming: bool,
}

impl PutOff {
    /// Bytes of one connection's input in the list.
    pub(crate) const BYTES: usize = size_of::<LaidAside>();

    pub(crate) fn new(limits: &Limits) -> Self {
        let buffers = usize::from(limits.receive_buffers);
        Self {
            waiting: VecDeque::with_capacity(buffers),
            receives: 0,
            limit: buffers / 2,
            heavy: limits.heavy_input as usize,
            budget: 0,
            is_resuming: false,
        }
    }

    /// So many bytes may be inflated in one turn of the loop from the next on.
    pub(crate) fn limit(&mut self, heavy_input: u32) {
        self.heavy = heavy_input as usize;
    }

    /// All that may be inflated in one turn of the loop may be from here on.
    pub(crate) fn renew_budget(&mut self) {
        self.budget = self.heavy;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whose input has its turn first.
    pub(crate) fn first(&self) -> Option<SlotRef> {
        self.waiting.front().map(|one| SlotRef { slot: one.slot, generation: one.generation })
    }

    /// Takes out what has its turn, to be worked on.
    pub(crate) fn next(&mut self) -> Option<LaidAside> {
        self.is_resuming = true;
        self.waiting.pop_front()
    }

    /// Nothing of it is worked on any more.
    pub(crate) fn has_resumed(&mut self) {
        self.is_resuming = false;
    }

    /// Receives in flight whose input may have to wait.
    pub(crate) fn receives(&self) -> usize {
        self.receives
    }

    /// The buffers of all input that waits.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.waiting.iter().map(|waiting| waiting.arrival.buffer)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the connection may receive; one whose input had to wait is counted.
    pub(crate) fn admit(&mut self, connection: &mut Connection) -> bool {
        if !connection.states.has(States::HEAVY) {
            return true;
        }
        let is_admitted = self.waiting.len() + self.receives < self.limit;
        if is_admitted {
            connection.states.set(States::COUNTED);
            self.receives += 1;
        }
        is_admitted
    }

    /// The connection's receive is done, or the connection is given up.
    pub(crate) fn discharge(&mut self, connection: &mut Connection) {
        if connection.states.has(States::COUNTED) {
            connection.states.clear(States::COUNTED);
            self.receives -= 1;
        }
    }
}

impl<R: Ring> Sockets<R> {
    /// Lets the rest of a connection's input wait, which is much work.
    pub(crate) fn put_off(&mut self, slot: Slot, rest: Arrival, is_amid: bool) {
        self.table[slot].states.set(States::HEAVY);
        self.lay_aside(slot, rest, is_amid);
    }

    /// Lets input wait. Where it is amid a message that is inflated, it goes before all others.
    pub(crate) fn lay_aside(&mut self, slot: Slot, arrival: Arrival, is_amid: bool) {
        self.counters.inputs_put_off += 1;
        let connection = &mut self.table[slot];
        connection.states.set_reading(Reading::PutOff);
        let generation = connection.generation;
        let waiting = LaidAside { slot, generation, arrival };
        self.buffers.hold(arrival.buffer);
        // Who was the first goes on to be: a buffer becomes free the sooner.
        let goes_on = self.put_off.is_resuming && self.put_off.budget == 0;
        if is_amid || goes_on {
            self.put_off.waiting.push_front(waiting);
        } else {
            self.put_off.waiting.push_back(waiting);
        }
    }

    /// Whether input of the connection has to wait because its answers would: they cannot leave
    /// before what is on its way to it has, and there is hardly room for more that waits. One whose
    /// peer does not take what it is sent is not meant here, nor one in the middle of a message:
    /// what is queued for it waits for that message's end.
    pub(crate) fn waits_for_room(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        let states = connection.states;
        // What is sealed goes by the backlog in any case.
        let is_sealed = connection.stage == Stage::Open && self.seals(slot);
        (states.is_in_batch() || states.has(States::QUEUED) || is_sealed)
            && !states.is_blocked()
            && connection.is_between_messages()
            && self.put_off.len() < self.put_off.limit
            && self.blocks.own_free_bytes(Share::Sending) < self.sending_reserve()
    }
}
