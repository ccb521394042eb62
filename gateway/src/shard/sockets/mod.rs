//! The sockets of a shard, and the memory that it shares with the kernel: what is polled, received
//! and sent, and what each connection waits for. Nothing here asks a handler or the hub.

pub(super) mod batch;
pub(super) mod kept;
pub(super) mod put_off;
pub(super) mod receiving;
pub(super) mod sealing;
pub(super) mod sending;

use std::io;
use std::time::Duration;

use tidegate_proto::keepalive::Wait;

use crate::config::{Config, Limits};
use crate::connection::deadlines::Deadlines;
use crate::connection::{Frames, SealedBytes};
use crate::counters::Counters;
use crate::hub::Moment;
use crate::kernel::{AreaName, Memory, Ring, Slot, SlotSet};
use crate::memory::{Blocks, Share, SideTable};
use crate::protocol::program::Program;
use crate::protocol::services::{ListenerTable, Profile, Profiles};
use crate::shard::OPERATIONS_PER_EVENT;
use crate::shard::buffers::Buffers;
use crate::shard::halves::Halves;
use crate::shard::relief::Watched;
use crate::shard::sockets::batch::Batch;
use crate::shard::sockets::put_off::PutOff;
use crate::shard::stalled::Stalled;
use crate::shard::table::Table;
use crate::transport::Transports;

/// For how many ticks those linger whose answer has left; the first has begun. A drain does not
/// wait for strangers who do not close.
const LINGER_TICKS: u32 = 2;

/// The sockets of a shard.
pub(super) struct Sockets<R> {
    pub(super) limits: Limits,
    // Dropped before the memory that it may still use.
    pub(super) ring: R,
    pub(super) memory: Memory,
    pub(super) table: Table,
    pub(super) profiles: Profiles,
    pub(super) deadlines: Deadlines,
    /// What is half received.
    pub(super) halves: Halves,
    /// Those for whom a deadline has passed, and who were not looked at yet.
    pub(super) expired: SlotSet,
    pub(super) buffers: Buffers,
    pub(super) blocks: Blocks,
    /// Connections that are readable and have to wait for a buffer or for their turn.
    pub(super) ready: SlotSet,
    /// Connections that open or end: many may at once, and wait behind those that talk.
    pub(super) crowd: SlotSet,
    /// Publishers that are not read from for a while.
    pub(super) held: SlotSet,
    /// Input that waits for the next turn of the loop.
    pub(super) put_off: PutOff,
    /// A receive was pushed in this turn of the loop.
    pub(super) has_receives: bool,
    /// The sends whose outcome is open.
    pub(super) batch: Batch,
    /// How much of the staging memory the batch uses.
    pub(super) staged: u32,
    /// Something has to be done once the batch is settled: do not sleep before.
    pub(super) flush_soon: bool,
    /// Published frames, and which of them wait for whom.
    pub(super) frames: Frames,
    /// What a transport has sealed and peers have not taken, and who waits to be sealed for.
    pub(super) sealed: SealedBytes,
    /// What transports keep of connections.
    pub(super) transports: Transports,
    /// The peers that seem stalled, or gone.
    pub(super) stalled: SideTable<Stalled>,
    /// Who gives way next while memory is short.
    pub(super) watched: Watched,
    /// How often something found no block, or no place, in this turn of the loop.
    pub(super) shortages: u32,
    pub(super) counters: Counters,
}

impl<R: Ring> Sockets<R> {
    pub(super) fn new(
        ring: R,
        memory: Memory,
        config: &Config,
        program: &Program,
        listening: &ListenerTable,
    ) -> Self {
        let limits = config.limits;
        Self {
            limits,
            ring,
            memory,
            table: Table::new(limits.slots()),
            profiles: Profiles::new(listening, program),
            deadlines: Deadlines::new(limits.slots()),
            halves: Halves::default(),
            expired: SlotSet::new(limits.slots()),
            buffers: Buffers::new(limits.receive_buffers, limits.receive_buffer),
            blocks: Blocks::new(limits.blocks),
            ready: SlotSet::new(limits.slots()),
            crowd: SlotSet::new(limits.slots()),
            held: SlotSet::new(limits.slots()),
            put_off: PutOff::new(&limits),
            has_receives: false,
            batch: Batch::default(),
            staged: 0,
            flush_soon: false,
            frames: Frames::new(config.hub.queued(limits.connections), limits.slots()),
            sealed: SealedBytes::new(limits.slots()),
            transports: Transports::new(config, program.layers.is_some()),
            stalled: SideTable::default(),
            watched: Watched::default(),
            shortages: 0,
            counters: Counters::default(),
        }
    }

    /// These are looked at from now on; what they size is as it was.
    pub(super) fn limit(&mut self, limits: &Limits) {
        self.limits = *limits;
        self.put_off.limit(limits.heavy_input);
        self.transports.tls.limit(limits.handshakes);
        // There may be room for more.
        sealing::has_room_for_parked(self);
    }

    /// Lets the kernel carry out what is queued, and waits so long for something to complete.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn enter(&mut self, wait: Duration) -> io::Result<()> {
        self.ring.enter(&mut self.memory, wait)
    }

    /// Makes sure that the next event's operations fit the queue.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        if self.ring.room() >= OPERATIONS_PER_EVENT {
            return Ok(());
        }
        self.enter(Duration::ZERO)
    }

    /// From now on the connection waits for `wait`.
    pub(super) fn wait_for(&mut self, slot: Slot, wait: Wait) {
        let connection = &mut self.table[slot];
        connection.wait = wait;
        self.expired.remove(slot);
        let ticks = self.profiles[connection.profile].ticks(wait);
        connection.laps = self.deadlines.set(slot, ticks);
    }

    /// What its listener says.
    pub(super) fn profile(&self, slot: Slot) -> &Profile {
        &self.profiles[self.table[slot].profile]
    }

    /// The time, by both clocks.
    pub(super) fn moment(&self) -> Moment {
        Moment { now: self.ring.now(), calendar: self.ring.calendar() }
    }

    /// Whether the connection has input that is yet to be read.
    pub(crate) fn is_unread(&self, slot: Slot) -> bool {
        self.table[slot].states.has_input()
            || self.ready.contains(slot)
            || self.crowd.contains(slot)
    }

    /// The connection's answer has left, and the drain does not wait long for its peer to close.
    pub(super) fn linger_briefly(&mut self, slot: Slot) {
        let laps = self.table[slot].laps;
        if self.deadlines.left(slot, laps).is_none_or(|left| left > LINGER_TICKS) {
            self.table[slot].laps = self.deadlines.set(slot, Some(LINGER_TICKS));
        }
    }

    /// What one turn's sends may leave behind, were all of them to fall short: so much is kept
    /// free.
    pub(super) fn sending_reserve(&self) -> u64 {
        let area = |name| self.memory.area(name).len();
        let turn = area(AreaName::Staging) + area(AreaName::Receive);
        (turn as u64).min(self.blocks.own_bytes(Share::Sending) / 2)
    }

    /// Counts what is held now.
    pub(super) fn count_held(&mut self) {
        let Self { counters, table, blocks, frames, .. } = self;
        counters.connections = table.live().into();
        counters.blocks_used = blocks.used_bytes();
        counters.blocks_used_max = blocks.most_used_bytes();
        counters.blocks_heads = blocks.used_by(Share::Heads);
        counters.blocks_gathered = blocks.used_by(Share::Gathered);
        counters.blocks_sending = blocks.used_by(Share::Sending);
        counters.backlog_bytes = blocks.backlog_bytes() + frames.waiting_bytes();
        counters.queued = frames.waiting().into();
    }
}
