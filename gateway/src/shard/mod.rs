//! One shard: a thread with its ring, its listeners and its connections.
//!
//! The loop is: enter the ring, collect completions, settle the batch that was sent, handle the
//! completions, serve connections that wait for a buffer; all of that again for what these receive,
//! if they do; then input that had to wait, mail and fan-out; tick. Handling never enters the ring
//! but to make room in the queue, and completions are never handled while others are.

mod accept;
mod access_log;
mod buffers;
mod check;
mod closing;
mod control;
mod counted;
mod counters;
mod deadlines;
mod deliveries;
mod details;
mod draining;
mod fanout;
mod halves;
mod histogram;
mod lines;
mod mail;
mod newcomers;
mod opening;
mod put_off;
mod queue;
mod receiving;
mod recovery;
mod relief;
mod router;
mod sending;
mod services;
mod table;
mod telling;
mod turn;
mod vitals;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proto::keepalive::Wait;
use tidegate_proto::websocket::deflate::Inflater;

use crate::config::{Config, Limits};
use crate::connection::{FrameId, Frames, Output, Place};
use crate::handler::{HandlerFactory, Said};
use crate::hub::{Handed, Hub, Moment};
use crate::kernel::{
    AreaSizes, BufferId, Completion, Generation, Memory, Peer, Ring, RingError, Setup, Slot,
    SlotSet, Uring, Waker,
};
use crate::memory::{Blocks, Compressor, PIECE, Pool, Share};

use accept::Acceptor;
pub use buffers::Buffers;
pub use control::{Command, Control};
pub use counters::Counters;
use deadlines::{Deadlines, TICK};
use deliveries::Deliveries;
pub use details::Details;
use draining::Drain;
use halves::Halves;
pub use histogram::{BUCKETS, Histogram};
pub(crate) use lines::lines;
use newcomers::Newcomers;
use put_off::{INPUT_BUDGET, PutOff};
use relief::Relief;
use sending::{BatchSend, Stalled};
pub use services::Services;
use services::{Profile, Profiles, Service};
use table::Table;
use turn::Turn;
pub use vitals::Vitals;

/// Entries of the submission queue.
pub const SUBMISSIONS: u32 = 4096;

/// The most entries of the completion queue (io_uring_setup(2)).
const COMPLETIONS_MAX: u32 = 65_536;

/// The most operations that handling one completion pushes.
const OPERATIONS_PER_EVENT: usize = 128;

/// Queued operations from which on what the kernel takes for them is told from sleep.
const TIMED_FROM: usize = 32;

/// Passed deadlines that one turn of the loop acts on: a quarter of a millisecond's work.
const EXPIRED_AT_ONCE: usize = 32;

/// The longest sleep of a shard without connections.
const IDLE_SLEEP: Duration = Duration::from_secs(5);

/// The longest sleep while another shard's mailbox is full, messages hold too much memory, or what
/// is to be delivered waits for a block or a place: nobody says when there is room.
const CONGESTED_SLEEP: Duration = Duration::from_millis(1);

/// After a pause of the whole shard, how many ticks those are given whose input is yet to be read.
const LENIENT_TICKS: u64 = 8;

/// What a shard is made of; it can be sent to the shard's thread.
pub struct Assembly {
    /// Which shard.
    pub index: usize,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The shard's own socket for each configured listener, in that order.
    pub listeners: Vec<TcpListener>,
    /// What wakes the shard.
    pub waker: Waker,
    /// The wire to the control thread.
    pub control: Arc<Control>,
    /// Makes handlers that are not built in.
    pub handlers: Arc<HandlerFactory>,
    /// The shard's part of the hub.
    pub hub: Hub,
}

/// A shard over any kernel.
pub struct Shard<R> {
    index: usize,
    config: Arc<Config>,
    control: Arc<Control>,
    // Dropped before the memory that it may still use.
    ring: R,
    memory: Memory,
    table: Table,
    deadlines: Deadlines,
    buffers: Buffers,
    blocks: Blocks,
    /// Connections that are readable and have to wait for a buffer or for their turn.
    ready: SlotSet,
    /// Connections that open or end: many may at once, and wait behind those that talk.
    crowd: SlotSet,
    /// Input that waits for the next turn of the loop.
    put_off: PutOff,
    /// How many bytes may yet be inflated in this turn of the loop.
    input_budget: usize,
    /// Input that was put off is being worked on.
    resuming: bool,
    /// The sends whose outcome is open.
    batch: Vec<BatchSend>,
    /// How much of the staging memory the batch uses.
    staged: u32,
    /// Something has to be done once the batch is settled: do not sleep before.
    flush_soon: bool,
    events: Vec<Completion>,
    /// A receive was pushed in this turn of the loop.
    has_receives: bool,
    /// What a deadline has passed for and was not looked at yet: whose own, and whose half
    /// messages'.
    expired: SlotSet,
    expired_halves: SlotSet,
    acceptors: Vec<Acceptor>,
    /// Accepts in flight, of all listeners.
    accepts_pending: u32,
    services: Services,
    profiles: Profiles,
    compressor: Compressor,
    inflater: Inflater,
    /// Where a request head is put together.
    head: Box<[u8]>,
    /// The peers that seem stalled, or gone.
    stalled: HashMap<Slot, Stalled>,
    /// What is half received.
    halves: Halves,
    /// The addresses of peers whose listener logs.
    peers: HashMap<Slot, Peer>,
    hub: Hub,
    /// What is being delivered to many.
    deliveries: Deliveries,
    relief: Relief,
    newcomers: Newcomers,
    /// Connections whose sends have failed, to be dropped once that was settled.
    failed: Vec<(Slot, Generation)>,
    frames: Frames,
    /// Frames that nobody refers to once the batch is settled.
    done_frames: Vec<FrameId>,
    /// Connections whose next queued frame can be sent once the batch is settled.
    unqueued: Vec<Slot>,
    /// Publishers that are not read from for a while.
    held: SlotSet,
    details: Details,
    counters: Counters,
    vitals: Vitals,
    /// When this turn of the loop began: when the kernel returned.
    began: Option<Duration>,
    drain: Option<Drain>,
    next_tick: Duration,
    /// When it was last told that all places are taken.
    full_told: Option<Duration>,
    /// Connections that other shards gave to this one, and that wait for a slot.
    handed: VecDeque<Handed>,
    /// Until this tick of the deadlines, input that is there is read before a deadline counts.
    lenient_until: u64,
}

/// The entries of the completion queue for a shard of these limits: each connection may have a poll
/// and a send, so that an overflow is rare; the kernel keeps what overflows.
#[must_use]
pub fn completions(limits: &Limits) -> u32 {
    (limits.slots().saturating_mul(2)).next_power_of_two().clamp(SUBMISSIONS * 2, COMPLETIONS_MAX)
}

/// The shared memory of a shard of these limits.
///
/// # Errors
/// The kernel has no room for the mappings.
pub fn memory(limits: &Limits) -> io::Result<Memory> {
    Memory::new(area_sizes(limits))
}

/// The areas of a shard of these limits.
pub(crate) fn area_sizes(limits: &Limits) -> AreaSizes {
    AreaSizes {
        receive: Buffers::area_length(limits.receive_buffers, limits.receive_buffer),
        staging: limits.staging as usize,
        blocks: limits.blocks as usize,
        scratch: PIECE,
    }
}

/// Sets a shard up on the calling thread, to which its ring is bound.
///
/// # Errors
/// What the kernel refused, and what to do about it.
pub fn build(mut assembly: Assembly) -> Result<Shard<Uring>, RingError> {
    let limits = assembly.config.limits;
    let memory = memory(&limits).map_err(|error| RingError::Other("mapping memory", error))?;
    let ring = Uring::new(Setup {
        connections: limits.slots(),
        submissions: SUBMISSIONS,
        completions: completions(&limits),
        buffers: limits.receive_buffers,
        buffer_size: limits.receive_buffer as usize,
        listeners: std::mem::take(&mut assembly.listeners),
        waker: assembly.waker.clone(),
        memory: &memory,
    })?;
    Ok(Shard::new(ring, memory, assembly))
}

impl<R: Ring> Shard<R> {
    /// A shard over `ring`, which was made for `memory`; the assembly's listeners are the ring's.
    pub fn new(ring: R, memory: Memory, assembly: Assembly) -> Self {
        let config = &assembly.config;
        let limits = config.limits;
        let head = limits.request_head + limits.receive_buffer;
        let mut shard = Self {
            index: assembly.index,
            next_tick: ring.now() + TICK,
            ring,
            memory,
            table: Table::new(limits.slots()),
            deadlines: Deadlines::new(limits.slots()),
            buffers: Buffers::new(limits.receive_buffers, limits.receive_buffer),
            blocks: Blocks::new(limits.blocks),
            ready: SlotSet::new(limits.slots()),
            crowd: SlotSet::new(limits.slots()),
            put_off: PutOff::new(limits.receive_buffers),
            input_budget: 0,
            resuming: false,
            batch: Vec::new(),
            staged: 0,
            flush_soon: false,
            events: Vec::with_capacity(completions(&limits) as usize),
            has_receives: false,
            expired: SlotSet::new(limits.slots()),
            expired_halves: SlotSet::new(limits.slots()),
            acceptors: config.listeners.iter().map(|_| Acceptor::new()).collect(),
            accepts_pending: 0,
            services: Services::new(&config.routes, &*assembly.handlers),
            profiles: Profiles::new(&config.listeners),
            compressor: Compressor::new(),
            inflater: Inflater::new(),
            head: vec![0; head as usize].into_boxed_slice(),
            stalled: HashMap::new(),
            halves: Halves::default(),
            peers: HashMap::new(),
            counters: Counters::default(),
            vitals: Vitals::default(),
            began: None,
            drain: None,
            lenient_until: 0,
            full_told: None,
            handed: VecDeque::new(),
            hub: assembly.hub,
            deliveries: Deliveries::default(),
            relief: Relief::default(),
            newcomers: Newcomers::default(),
            failed: Vec::new(),
            frames: Frames::new(config.hub.queued(limits.connections), limits.slots()),
            done_frames: Vec::new(),
            unqueued: Vec::new(),
            held: SlotSet::new(limits.slots()),
            details: Details::new(),
            config: Arc::clone(config),
            control: Arc::clone(&assembly.control),
        };
        shard.hub.show_room(limits.connections);
        shard.start_accepting();
        shard
    }

    /// Serves until the shard is drained or stopped.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub fn run(mut self) -> io::Result<()> {
        let ended = self.run_until_told();
        self.end();
        ended
    }

    /// Ends all connections that are left, and with them the shard.
    pub fn end(mut self) {
        self.end_all();
        self.hub.retire();
        // Whoever waits for an answer hears that there will be none.
        while self.hub.post().receive().is_some() {}
        self.publish();
    }

    fn run_until_told(&mut self) -> io::Result<()> {
        while self.step()? {}
        // The last step may have queued operations, such as the end of a listener's poll.
        self.ring.enter(&mut self.memory, Duration::ZERO)
    }

    /// One turn of the loop; `false` when it was the last one.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub fn step(&mut self) -> io::Result<bool> {
        self.hub.flush();
        self.enter()?;
        self.hub.post().unpark();
        self.counters.loops += 1;
        self.collect()?;
        // No heavy input goes before what waits.
        let waits = !self.put_off.is_empty();
        self.input_budget = if waits { 0 } else { INPUT_BUDGET };
        let mut handled = self.handle_all()?;
        // First, because those that go on publishing may keep it from opening any.
        self.serve_crowd();
        self.serve_ready();
        handled += self.take_in()?;
        if waits {
            handled += self.work_on_put_off()?;
        }
        self.vitals.completions.record(handled);
        self.work_on_mail()?;
        self.relieve();
        self.resume_held();
        self.tick()?;
        self.expire_some()?;
        self.resume_accepting();
        self.show_room();
        if self.table.live() == 0 {
            // It may sleep for long now, past many ticks.
            self.publish();
        }
        Ok(self.control.command() < Command::Stop && !self.is_drained())
    }

    /// Says to other shards how many more connections this one would serve.
    fn show_room(&self) {
        let room = self.config.limits.connections.saturating_sub(self.table.live());
        self.hub.show_room(if self.drain.is_some() { 0 } else { room });
    }

    /// Hands over what this turn has queued, waits for the next one, and takes the time.
    ///
    /// What the kernel does with a turn's operations is part of what a connection waits for, and
    /// cannot be told from sleep within one call. So many of them get a call of their own, which
    /// does not sleep; a few take so little that a turn which has nothing else to do counts
    /// without.
    fn enter(&mut self) -> io::Result<()> {
        let mut wait = self.sleep();
        let is_long = self.ring.room() + TIMED_FROM <= SUBMISSIONS as usize;
        if !wait.is_zero() && (is_long || self.is_much_to_send(0)) {
            self.ring.enter(&mut self.memory, Duration::ZERO)?;
        }
        // While no mail may be taken in, what is on its way is tried again in a moment anyway.
        if !wait.is_zero() && !self.hub.post().park() && self.may_take_mail() {
            wait = Duration::ZERO;
        }
        if wait.is_zero() {
            self.ring.enter(&mut self.memory, wait)?;
            let now = self.ring.now();
            self.time_loop(now);
            self.began = Some(now);
        } else {
            self.time_loop(self.ring.now());
            self.ring.enter(&mut self.memory, wait)?;
            self.began = Some(self.ring.now());
        }
        Ok(())
    }

    /// How long the ring may wait.
    fn sleep(&self) -> Duration {
        let has_input = !self.ready.is_empty() || !self.put_off.is_empty();
        let has_expired = !self.expired.is_empty() || !self.expired_halves.is_empty();
        if has_input
            || has_expired
            || self.flush_soon
            || self.may_serve_crowd()
            || self.deliveries.can_go_on(self.counters.loops)
        {
            return Duration::ZERO;
        }
        let waits = !self.deliveries.is_empty() || self.may_feed();
        if waits || self.hub.is_congested() || !self.held.is_empty() {
            return CONGESTED_SLEEP;
        }
        let tick = self.next_tick.saturating_sub(self.ring.now());
        let waits_for_tick = self.table.live() > 0
            || self.hub.home.waits_for_time()
            || self.drain.is_some()
            || self.is_accepting_later();
        if waits_for_tick { tick } else { IDLE_SLEEP }
    }

    /// Takes the completions in. Sends that fell short come first, whatever their order: once they
    /// are all known, the batch is settled and its memory free for the answers to the others.
    /// Returns whether it is.
    fn collect(&mut self) -> io::Result<bool> {
        while self.events.len() < self.events.capacity() {
            match self.ring.completion() {
                Some(Completion::SendFellShort { slot, batch_index, result }) => {
                    self.fell_short(slot, batch_index, result);
                    self.make_room()?;
                }
                Some(completion) => self.events.push(completion),
                None => {
                    let is_settled = self.ring.is_settled();
                    // Before anything else is sent to them.
                    self.drop_failed()?;
                    if is_settled {
                        self.settle()?;
                    }
                    return Ok(is_settled);
                }
            }
        }
        Ok(false)
    }

    /// Handles what was collected; returns how much that was.
    fn handle_all(&mut self) -> io::Result<u64> {
        let mut events = std::mem::take(&mut self.events);
        let count = events.len() as u64;
        for event in events.drain(..) {
            self.handle(event)?;
            self.make_room()?;
        }
        self.events = events;
        Ok(count)
    }

    /// Receives what polls have told of before mail and fan-out are worked on, which may take long.
    /// Once in a turn: what asks to be received meanwhile has the next one. Returns how many
    /// completions were handled.
    fn take_in(&mut self) -> io::Result<u64> {
        if !std::mem::take(&mut self.has_receives) {
            return Ok(0);
        }
        self.ring.enter(&mut self.memory, Duration::ZERO)?;
        self.collect()?;
        let handled = self.handle_all()?;
        // Those that were pushed just now go with the next enter.
        self.has_receives = false;
        Ok(handled)
    }

    /// Goes on with input that had to wait, once the answers to other input have left. Returns how
    /// many completions were handled.
    fn work_on_put_off(&mut self) -> io::Result<u64> {
        self.ring.enter(&mut self.memory, Duration::ZERO)?;
        if self.collect()? {
            self.input_budget = INPUT_BUDGET;
            self.resume_put_off();
        }
        self.handle_all()
    }

    fn handle(&mut self, completion: Completion) -> io::Result<()> {
        match completion {
            Completion::Readable { slot, generation, armed, ended } => {
                self.readable((slot, generation), armed, ended);
            }
            Completion::Received { slot, generation, buffer, result, more } => {
                self.received((slot, generation), buffer, result, more);
            }
            Completion::ReceivedInto { slot, generation, result, more } => {
                self.received_into((slot, generation), result, more);
            }
            Completion::SendFellShort { slot, batch_index, result } => {
                self.fell_short(slot, batch_index, result);
            }
            Completion::Sent { slot, generation, result } => self.sent(slot, generation, result),
            Completion::ListenerReady { listener } => self.listener_ready(listener),
            Completion::Accepted { listener, slot, result } => {
                self.accepted(listener, slot, result);
            }
            Completion::Unacknowledged { slot, generation, result } => {
                self.unacknowledged(slot, generation, result);
            }
            Completion::Woken => {
                if self.control.command() == Command::Drain {
                    self.start_draining()?;
                }
            }
        }
        Ok(())
    }

    /// Makes sure that the next event's operations fit the queue.
    fn make_room(&mut self) -> io::Result<()> {
        if self.ring.room() >= OPERATIONS_PER_EVENT {
            return Ok(());
        }
        self.ring.enter(&mut self.memory, Duration::ZERO)
    }

    /// Does what is due.
    fn tick(&mut self) -> io::Result<()> {
        let now = self.ring.now();
        if now < self.next_tick {
            return Ok(());
        }
        self.next_tick += TICK;
        if self.next_tick <= now {
            // Nothing was looked at for a while, and that is nobody's fault: what came in meanwhile
            // is read before any deadline counts, and all of them move on.
            self.counters.pauses += u64::from(self.table.live() > 0);
            self.next_tick = now + TICK;
            self.lenient_until = self.deadlines.now() + LENIENT_TICKS;
        } else {
            self.sweep();
        }
        self.hub.tick(now);
        self.retry_accepting();
        self.drain_portion()?;
        self.publish();
        Ok(())
    }

    /// Finds out what is due at this tick.
    fn sweep(&mut self) {
        let Self { deadlines, halves, expired, expired_halves, .. } = self;
        deadlines.sweep(|slot| expired.insert(slot));
        halves.due(deadlines.now(), |slot| expired_halves.insert(slot));
    }

    /// Does what is due, for some: the deadlines of all who came at once pass at once.
    fn expire_some(&mut self) -> io::Result<()> {
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(slot) = self.expired.pop() else { break };
            self.expire(slot);
            self.make_room()?;
        }
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(slot) = self.expired_halves.pop() else { break };
            self.expire_half(slot);
            self.make_room()?;
        }
        Ok(())
    }

    /// Shows the counters to other threads.
    fn publish(&mut self) {
        self.counters.connections = u64::from(self.table.live());
        self.counters.blocks_used = self.blocks.used_bytes();
        self.counters.blocks_used_max = self.blocks.most_used_bytes();
        self.counters.blocks_heads = self.blocks.used_by(Share::Heads);
        self.counters.blocks_gathered = self.blocks.used_by(Share::Gathered);
        self.counters.blocks_sending = self.blocks.used_by(Share::Sending);
        self.count_hub();
        self.control.counters.store(&self.counters);
        self.vitals.holdings = self.holdings();
        self.vitals.buffers_free = self.buffers.free().into();
        self.control.vitals.store(&self.vitals);
    }

    /// Records how long the turn of the loop that ends now has kept the connections waiting.
    fn time_loop(&mut self, now: Duration) {
        if let Some(began) = self.began {
            let taken = now.saturating_sub(began);
            self.vitals.loop_nanoseconds.record(taken.as_nanos() as u64);
        }
    }

    /// From now on the connection waits for `wait`.
    fn wait_for(&mut self, slot: Slot, wait: Wait) {
        let connection = &mut self.table[slot];
        connection.wait = wait;
        self.expired.remove(slot);
        let ticks = self.profiles[connection.profile].ticks(wait);
        connection.laps = self.deadlines.set(slot, ticks);
    }

    /// What the connection runs under, as its route says.
    fn service(&self, slot: Slot) -> &Service {
        &self.services[self.table[slot].service]
    }

    /// What its listener says.
    fn profile(&self, slot: Slot) -> &Profile {
        &self.profiles[self.table[slot].profile]
    }

    /// The time, by both clocks.
    fn moment(&self) -> Moment {
        Moment { now: self.ring.now(), calendar: self.ring.calendar() }
    }

    /// The connection with all that it may use, and the buffer that its input is in.
    fn turn(&mut self, slot: Slot, buffer: Option<BufferId>) -> Turn<'_> {
        let sending_reserve = self.sending_reserve();
        let connection = &mut self.table[slot];
        let generation = connection.generation;
        let Service { limits, handler, .. } = self.services.get_mut(connection.service);
        let Profile { role, deflate, .. } = self.profiles[connection.profile];
        Turn {
            handler: &mut **handler,
            role,
            deflate,
            output: Output {
                connection,
                pool: Pool { blocks: &mut self.blocks, memory: &mut self.memory },
                buffer: buffer.map(|buffer| self.buffers.span(buffer)),
                staged: self.staged,
                backlog_limit: limits.backlog,
                sending_reserve,
                place: Place::Nothing,
            },
            limits: *limits,
            compressor: &mut self.compressor,
            inflater: &mut self.inflater,
            counters: &mut self.counters,
            input_budget: &mut self.input_budget,
            id: self.hub.id(slot, generation),
            hub: &mut self.hub,
            failing: None,
            reason: "",
            said: Said::default(),
            end: None,
            unread: None,
            became_whole: [false; 2],
            drop: false,
        }
    }
}
