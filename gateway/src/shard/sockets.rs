//! The sockets of a shard, and the memory that it shares with the kernel: what is polled, received
//! and sent, and what each connection waits for. Nothing here asks a handler or the hub.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tidegate_proto::keepalive::Wait;

use super::OPERATIONS_PER_EVENT;
use super::buffers::Buffers;
use super::counters::Counters;
use super::deadlines::Deadlines;
use super::halves::Halves;
use super::put_off::PutOff;
use super::sending::{BatchSend, Stalled};
use super::services::{Profile, Profiles};
use super::table::Table;
use crate::config::{Config, Limits};
use crate::connection::{FrameId, Frames};
use crate::hub::Moment;
use crate::kernel::{Memory, Ring, Slot, SlotSet};
use crate::memory::Blocks;

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
    /// Until this tick of the deadlines, input that is there is read before a deadline counts.
    pub(super) lenient_until: u64,
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
    pub(super) batch: Vec<BatchSend>,
    /// How much of the staging memory the batch uses.
    pub(super) staged: u32,
    /// Something has to be done once the batch is settled: do not sleep before.
    pub(super) flush_soon: bool,
    /// Published frames, and which of them wait for whom.
    pub(super) frames: Frames,
    /// Frames that nobody refers to once the batch is settled.
    pub(super) done_frames: Vec<FrameId>,
    /// The peers that seem stalled, or gone.
    pub(super) stalled: HashMap<Slot, Stalled>,
    /// How often something found no block, or no place, in this turn of the loop.
    pub(super) shortages: u32,
    pub(super) counters: Counters,
}

impl<R: Ring> Sockets<R> {
    pub(super) fn new(ring: R, memory: Memory, config: &Config) -> Self {
        let limits = config.limits;
        Self {
            limits,
            ring,
            memory,
            table: Table::new(limits.slots()),
            profiles: Profiles::new(&config.listeners),
            deadlines: Deadlines::new(limits.slots()),
            halves: Halves::default(),
            expired: SlotSet::new(limits.slots()),
            lenient_until: 0,
            buffers: Buffers::new(limits.receive_buffers, limits.receive_buffer),
            blocks: Blocks::new(limits.blocks),
            ready: SlotSet::new(limits.slots()),
            crowd: SlotSet::new(limits.slots()),
            held: SlotSet::new(limits.slots()),
            put_off: PutOff::new(limits.receive_buffers),
            has_receives: false,
            batch: Vec::new(),
            staged: 0,
            flush_soon: false,
            frames: Frames::new(config.hub.queued(limits.connections), limits.slots()),
            done_frames: Vec::new(),
            stalled: HashMap::new(),
            shortages: 0,
            counters: Counters::default(),
        }
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
}
