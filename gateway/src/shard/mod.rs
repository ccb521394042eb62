//! One shard: a thread with its ring, its listeners and its connections.
//!
//! The loop is: enter the ring, collect completions, settle the batch that was sent, handle the
//! completions, serve connections that wait for a buffer; all of that again for what these receive,
//! if they do; then input that had to wait, mail and fan-out; tick. Handling never enters the ring
//! but to make room in the queue, and completions are never handled while others are.

mod accept;
mod access;
mod accounts;
mod answering;
mod assembly;
mod bodies;
mod buffers;
mod change;
mod check;
mod connections;
mod deciding;
mod deliveries;
mod details;
mod drain_order;
mod draining;
mod ends;
mod expiry;
mod failed_handshakes;
mod fanout;
mod halves;
mod handshakes;
mod input;
mod lines;
mod listening;
mod mail;
mod newcomers;
mod pace;
mod panel;
mod peers;
mod pressure;
mod recovery;
mod refusals;
mod relief;
mod reloading;
mod renewing;
mod sockets;
mod stalled;
mod table;
mod telling;
mod tokens;
mod traces;
mod vitals;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::deadlines::TICK;
use crate::kernel::{Completion, Memory, Ring, SlotRef, SlotSet};
use crate::protocol::services::NoHandler;
pub use crate::protocol::services::{
    ListenerBefore, ListenerPlace, ListenerTable, NotPrepared, OpenedListener, RouteTable,
    TooManyAddresses, TooManyNames,
};

pub use crate::counters::Counters;
pub use crate::histogram::{BUCKETS, Histogram};
pub use crate::transport::proxy::ProxyRefusal;
use accept::Accepting;
pub(crate) use assembly::area_sizes;
pub use assembly::{
    Assembled, Assembly, BuildError, SUBMISSIONS, build, build_on, completions, memory,
};
pub use buffers::Buffers;
pub use change::{ChangeParts, ChangeStage, ConfigChange, NewSockets};
use connections::Connections;
use deliveries::Deliveries;
pub use details::Details;
pub use drain_order::{
    AfterDrain, DrainOrder, DrainPhase, DrainPlan, DrainProgress, DrainRate, DrainScope,
};
pub(crate) use lines::lines;
pub use panel::Panel;
use relief::Relief;
use sockets::Sockets;
pub use vitals::Vitals;

/// The most operations that handling one completion pushes.
const OPERATIONS_PER_EVENT: usize = 128;

/// Queued operations from which on what the kernel takes for them is told from sleep.
const TIMED_FROM: usize = 32;

/// Passed deadlines that one turn of the loop acts on: a quarter of a millisecond's work.
const EXPIRED_AT_ONCE: usize = 32;

/// The longest sleep of a shard without connections.
const IDLE_SLEEP: Duration = Duration::from_secs(5);

/// The longest sleep while another shard's mailbox is full, messages hold too much memory, or what
/// is to be delivered, or said by a source, waits for a block or a place: nobody says when there is
/// room.
const CONGESTED_SLEEP: Duration = Duration::from_millis(1);

/// A shard over any kernel: the loop, and what has its turn in it.
pub struct Shard<R> {
    connections: Connections<R>,
    panel: Arc<Panel>,
    events: Vec<Completion>,
    accepting: Accepting,
    /// What is being delivered to many.
    deliveries: Deliveries,
    relief: Relief,
    /// Half messages for which a deadline has passed, and that were not looked at yet.
    expired_halves: SlotSet,
    /// When this turn of the loop began: when the kernel returned.
    began: Option<Duration>,
    next_tick: Duration,
}

impl<R: Ring> Shard<R> {
    /// A shard over `ring`, which was made for `memory`; the assembly's listeners are the ring's.
    ///
    /// # Errors
    /// Nobody makes the handler of a route.
    pub fn new(ring: R, memory: Memory, assembly: Assembly) -> Result<Self, NoHandler> {
        let limits = assembly.config.limits;
        let next_tick = ring.now() + TICK;
        let mut shard = Self {
            panel: Arc::clone(&assembly.panel),
            events: Vec::with_capacity(completions(&limits) as usize),
            accepting: Accepting::new(&assembly.listening),
            deliveries: Deliveries::default(),
            relief: Relief::default(),
            expired_halves: SlotSet::new(limits.slots()),
            began: None,
            next_tick,
            connections: Connections::new(ring, memory, assembly)?,
        };
        shard.accepting.show_room(&shard.connections);
        shard.accepting.start_accepting(&mut shard.connections);
        Ok(shard)
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
        self.connections.end_all();
        self.connections.hub.retire();
        // Whoever waits for an answer hears that there will be none; so does who asks again then.
        self.connections.hub.post.close();
        self.publish();
    }

    fn run_until_told(&mut self) -> io::Result<()> {
        while self.step()? {}
        // The last step may have queued operations, such as the end of a listener's poll.
        self.connections.sockets.enter(Duration::ZERO)
    }

    /// One turn of the loop; `false` when it was the last one.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub fn step(&mut self) -> io::Result<bool> {
        self.connections.hub.flush();
        self.enter()?;
        self.connections.hub.post.unpark();
        self.connections.sockets.counters.loops += 1;
        self.collect()?;
        // No heavy input goes before what waits.
        let waits = !self.connections.sockets.put_off.is_empty();
        if waits {
            self.connections.sockets.put_off.budget = 0;
        } else {
            self.connections.sockets.put_off.renew_budget();
        }
        let mut handled = self.handle_all()?;
        // First, because those that go on publishing may keep it from opening any.
        self.serve_crowd();
        self.serve_ready();
        handled += self.take_in()?;
        if waits {
            handled += self.work_on_put_off()?;
        }
        self.connections.vitals.completions.record(handled);
        self.work_on_mail()?;
        bodies::go_on(&mut self.connections)?;
        let group = self.panel.group_memory();
        self.relief.relieve(&mut self.connections, self.deliveries.are_short(), group);
        self.resume_held();
        input::resume_slowed(&mut self.connections);
        self.tick()?;
        self.expire_some()?;
        draining::go_on(&mut self.connections, &mut self.accepting)?;
        reloading::go_on(&mut self.connections, &mut self.accepting)?;
        self.accepting.resume_accepting(&mut self.connections);
        self.accepting.show_room(&self.connections);
        if self.connections.sockets.table.live() == 0 {
            // It may sleep for long now, past many ticks.
            self.publish();
        }
        Ok(!self.panel.stops() && !draining::is_over(&mut self.connections, &self.accepting))
    }

    /// Hands over what this turn has queued, waits for the next one, and takes the time.
    ///
    /// What the kernel does with a turn's operations is part of what a connection waits for, and
    /// cannot be told from sleep within one call. So many of them get a call of their own, which
    /// does not sleep; a few take so little that a turn which has nothing else to do counts
    /// without.
    fn enter(&mut self) -> io::Result<()> {
        let mut wait = self.sleep();
        let sockets = &mut self.connections.sockets;
        let is_long = sockets.ring.room() + TIMED_FROM <= SUBMISSIONS as usize;
        if !wait.is_zero() && (is_long || sockets.batch.is_much(0)) {
            sockets.enter(Duration::ZERO)?;
        }
        // While no mail may be taken in, what is on its way is tried again in a moment anyway.
        if !wait.is_zero() && !self.connections.hub.post.park() && self.may_take_mail() {
            wait = Duration::ZERO;
        }
        if wait.is_zero() {
            self.connections.sockets.enter(wait)?;
            let now = self.connections.sockets.ring.now();
            self.time_loop(now);
            self.began = Some(now);
        } else {
            self.time_loop(self.connections.sockets.ring.now());
            self.connections.sockets.enter(wait)?;
            self.began = Some(self.connections.sockets.ring.now());
        }
        Ok(())
    }

    /// How long the ring may wait.
    fn sleep(&self) -> Duration {
        let Connections { sockets, hub, .. } = &self.connections;
        let has_input = !sockets.ready.is_empty() || !sockets.put_off.is_empty();
        let has_expired = !sockets.expired.is_empty()
            || !self.expired_halves.is_empty()
            || self.connections.gatekeeper.has_work()
            || self.connections.reloading.has_work()
            || self.connections.allotments.has_passed();
        if has_input
            || has_expired
            || sockets.flush_soon
            || self.may_serve_crowd()
            || self.deliveries.can_go_on(sockets.counters.loops)
        {
            return Duration::ZERO;
        }
        let waits = !self.deliveries.is_empty()
            || hub.recoveries.hungry() > 0
            || self.connections.services.sources.waiting() > 0;
        if waits || hub.is_congested() || !sockets.held.is_empty() || sockets.sealed.has_waiting() {
            return CONGESTED_SLEEP;
        }
        let now = sockets.ring.now();
        let tick = self.next_tick.saturating_sub(now);
        let rest = self.connections.allotments.rest(now).map_or(tick, |rest| tick.min(rest));
        let rest = self.connections.reloading.sleep(now).map_or(rest, |other| rest.min(other));
        if let Some(sleep) = self.connections.drain.sleep(now, tick) {
            return sleep.min(rest);
        }
        if rest < tick {
            return rest;
        }
        let waits_for_tick = sockets.table.live() > 0
            || hub.home.waits_for_time()
            || self.accepting.is_accepting_later();
        if waits_for_tick { tick } else { IDLE_SLEEP }
    }

    /// Takes the completions in. Sends that fell short come first, whatever their order: once they
    /// are all known, the batch is settled and its memory free for the answers to the others.
    /// Returns whether it is.
    fn collect(&mut self) -> io::Result<bool> {
        while self.events.len() < self.events.capacity() {
            match self.connections.sockets.ring.completion() {
                Some(Completion::SendFellShort { slot, batch_index, result }) => {
                    self.connections.fell_short(slot, batch_index, result);
                    self.connections.sockets.make_room()?;
                }
                Some(completion) => self.events.push(completion),
                None => {
                    let is_settled = self.connections.sockets.ring.is_settled();
                    // Before anything else is sent to them.
                    self.connections.drop_failed()?;
                    if is_settled {
                        self.connections.settle()?;
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
            self.connections.sockets.make_room()?;
        }
        self.events = events;
        Ok(count)
    }

    /// Receives what polls have told of before mail and fan-out are worked on, which may take long.
    /// Once in a turn: what asks to be received meanwhile has the next one. Returns how many
    /// completions were handled.
    fn take_in(&mut self) -> io::Result<u64> {
        if !std::mem::take(&mut self.connections.sockets.has_receives) {
            return Ok(0);
        }
        self.connections.sockets.enter(Duration::ZERO)?;
        self.collect()?;
        let handled = self.handle_all()?;
        // Those that were pushed just now go with the next enter.
        self.connections.sockets.has_receives = false;
        Ok(handled)
    }

    /// Goes on with input that had to wait, once the answers to other input have left. Returns how
    /// many completions were handled.
    fn work_on_put_off(&mut self) -> io::Result<u64> {
        self.connections.sockets.enter(Duration::ZERO)?;
        if self.collect()? {
            self.connections.sockets.put_off.renew_budget();
            self.resume_put_off();
        }
        self.handle_all()
    }

    fn handle(&mut self, completion: Completion) -> io::Result<()> {
        match completion {
            Completion::Readable { slot, generation, armed, ended } => {
                self.connections.readable(SlotRef { slot, generation }, armed, ended);
            }
            Completion::Received { slot, generation, buffer, result, more } => {
                self.received(SlotRef { slot, generation }, buffer, result, more);
            }
            Completion::ReceivedInto { slot, generation, result, more } => {
                self.received_into(SlotRef { slot, generation }, result, more);
            }
            Completion::SendFellShort { slot, batch_index, result } => {
                self.connections.fell_short(slot, batch_index, result);
            }
            Completion::Sent { slot, generation, result } => {
                self.connections.sent(slot, generation, result);
            }
            Completion::ListenerReady { listener } => {
                self.accepting.listener_ready(&mut self.connections, listener);
            }
            Completion::Accepted { listener, slot, result } => {
                self.accepting.accepted(&mut self.connections, listener, slot, result);
            }
            Completion::Unacknowledged { slot, generation, result } => {
                self.unacknowledged(slot, generation, result);
            }
            Completion::Woken => {
                draining::obey(&mut self.connections, &mut self.accepting, &self.panel);
                reloading::obey(&mut self.connections, &self.panel);
                tokens::obey(&mut self.connections);
            }
        }
        Ok(())
    }

    /// Does what is due.
    fn tick(&mut self) -> io::Result<()> {
        let sockets = &mut self.connections.sockets;
        let now = sockets.ring.now();
        if now < self.next_tick {
            return Ok(());
        }
        self.connections.hub.calendar_ahead = sockets.ring.calendar().saturating_sub(now);
        self.next_tick += TICK;
        if self.next_tick <= now {
            // Nothing was looked at for a while, and that is nobody's fault: what came in meanwhile
            // is read before any deadline counts, and all of them move on.
            sockets.counters.pauses += u64::from(sockets.table.live() > 0);
            self.next_tick = now + TICK;
            sockets.deadlines.be_lenient();
        } else {
            self.sweep();
        }
        self.connections.hub.tick(now);
        self.connections.refusals.tick();
        self.connections.traces.tick(now);
        handshakes::make_way(&mut self.connections);
        tokens::tick(&mut self.connections);
        renewing::tick(&mut self.connections);
        self.connections.sockets.make_room()?;
        self.accepting.retry_accepting(&mut self.connections);
        self.accepting.close_late(&mut self.connections);
        draining::tick(&mut self.connections, &mut self.accepting);
        reloading::tick(&mut self.connections);
        self.publish();
        Ok(())
    }

    /// Finds out what is due at this tick.
    fn sweep(&mut self) {
        let Sockets { deadlines, halves, expired, .. } = &mut self.connections.sockets;
        let expired_halves = &mut self.expired_halves;
        deadlines.sweep(|slot| expired.insert(slot));
        halves.due(deadlines.now(), |slot| expired_halves.insert(slot));
        self.connections.allotments.sweep();
    }

    /// Shows the counters to other threads.
    fn publish(&mut self) {
        let holdings = self.holdings();
        let Connections { sockets, hub, vitals, drain, services, turnstile, gatekeeper, .. } =
            &mut self.connections;
        sockets.count_held();
        gatekeeper.count(&mut sockets.counters);
        sockets.counters.drain_left = drain.left();
        sockets.counters.routes_gone = services.gone() as u64;
        mail::count_hub(&mut sockets.counters, hub);
        sockets.counters.clients_uncounted = turnstile.uncounted;
        vitals.holdings = holdings;
        vitals.buffers_free = sockets.buffers.free().into();
        vitals.handshakes = sockets.transports.tls.handshakes().into();
        vitals.tls = sockets.transports.tls.counts();
        self.panel.counters.store(&sockets.counters);
        self.panel.vitals.store(vitals);
    }

    /// Records how long the turn of the loop that ends now has kept the connections waiting.
    fn time_loop(&mut self, now: Duration) {
        if let Some(began) = self.began {
            let taken = now.saturating_sub(began);
            self.connections.vitals.loop_nanoseconds.record(taken.as_nanos() as u64);
        }
    }
}
