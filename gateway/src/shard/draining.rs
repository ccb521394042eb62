//! Draining: connections are closed, so many in a second, because somebody has ordered it.
//!
//! Those that are there when it begins are put down, and each of them is told, and gone, or cut off
//! at the end. What comes later is not among them: while the whole gateway drains it is refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::accept::Accepting;
use super::connections::Connections;
use super::connections::closing::drop_for;
use super::drain_order::{AfterDrain, DrainOrder, DrainPhase, DrainProgress, DrainScope};
use super::pace::Portions;
use super::panel::Panel;
use super::sockets::Sockets;
use crate::connection::{AfterFlush, Stage};
use crate::kernel::{Ring, Slot, SlotSet};
use crate::protocol::end_reason::EndReason;
use crate::protocol::turn::Failing;

/// For how many ticks what waits to be accepted is taken in at the most, before the listeners are
/// closed: new clients may come all the time. Ticks do not count while the whole shard is paused.
const ACCEPT_TICKS: u64 = 4;

/// How often the log says how far a drain is.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// The most that one turn of the loop cuts off.
const CUT_OFF_AT_ONCE: usize = 32;

/// Whom a drain has to do with, and what is being done.
pub(super) struct Drain {
    order: Option<Drained>,
    /// How often an order was seen to change.
    seen: u32,
    /// Those that are still to be told.
    waiting: SlotSet,
    /// Those that were told.
    leaving: SlotSet,
    /// Those that have come since it began, and are there when listeners are closed, or come in
    /// while they are: they are told after the next tick, and count from then, but for those who
    /// were refused.
    late: SlotSet,
}

/// An order that is carried out.
struct Drained {
    order: Arc<DrainOrder>,
    began: Duration,
    /// Everything goes on as before until then.
    begins: Duration,
    /// When to give up on those that are left.
    deadline: Duration,
    progress: DrainProgress,
    portions: Portions,
    /// When the listeners are closed at the latest, in ticks of the deadlines, once they are to be.
    accepts_until: Option<u64>,
}

impl Drain {
    /// Bytes of what is put down for a shard with so many slots.
    pub(super) const fn bytes(slots: u32) -> u64 {
        3 * SlotSet::bytes(slots)
    }

    /// Nothing is ordered.
    pub(super) fn new(slots: u32) -> Self {
        let set = || SlotSet::new(slots);
        Self { order: None, seen: 0, waiting: set(), leaving: set(), late: set() }
    }

    /// Whether the whole gateway drains, or will once a delay has passed.
    pub(super) fn is_ordered(&self) -> bool {
        self.order.as_ref().is_some_and(Drained::is_whole)
    }

    /// Whether all connections are being closed, and nobody is served any more who comes.
    pub(super) fn has_begun(&self) -> bool {
        let has_begun = |drained: &Drained| drained.progress.phase > DrainPhase::Announced;
        self.order.as_ref().is_some_and(|drained| drained.is_whole() && has_begun(drained))
    }

    /// Whether listeners are closed, or will be in a moment.
    pub(super) fn frees_listeners(&self) -> bool {
        self.order.as_ref().is_some_and(|drained| drained.accepts_until.is_some())
    }

    /// Whoever comes in here now has yet to shake hands.
    pub(super) fn takes_in(&mut self, slot: Slot) {
        if self.frees_listeners() {
            self.late.insert(slot);
        }
    }

    /// The connection has gone.
    pub(super) fn has_gone(&mut self, slot: Slot) {
        self.waiting.remove(slot);
        self.leaving.remove(slot);
        self.late.remove(slot);
    }

    /// Those that it is about and that are still there.
    pub(super) fn left(&self) -> u64 {
        (self.waiting.len() + self.leaving.len()) as u64
    }

    /// Whether it is about this connection.
    pub(super) fn has(&self, slot: Slot) -> bool {
        [&self.waiting, &self.leaving, &self.late].iter().any(|set| set.contains(slot))
    }

    /// For how long a shard may sleep for its sake; `None` if it has nothing to do.
    pub(super) fn sleep(&self, now: Duration, tick: Duration) -> Option<Duration> {
        let drained = self.order.as_ref()?;
        match drained.progress.phase {
            DrainPhase::Announced => Some(drained.begins.saturating_sub(now).min(tick)),
            _ if !self.waiting.is_empty() => {
                Some(drained.portions.next().saturating_sub(now).min(tick))
            }
            DrainPhase::Closing => Some(tick),
            // Others may not be done yet.
            DrainPhase::Done => (drained.order.plan().after != AfterDrain::Stay).then_some(tick),
        }
    }

    fn forget(&mut self) {
        self.order = None;
        for set in [&mut self.waiting, &mut self.leaving, &mut self.late] {
            while set.pop().is_some() {}
        }
    }
}

impl Drained {
    fn is_whole(&self) -> bool {
        self.order.plan().scope.is_whole()
    }

    fn is_late(&self, now: Duration) -> bool {
        self.progress.phase == DrainPhase::Closing && now >= self.deadline
    }

    /// Nobody is left of those whom it is about. The last shard of which this is true says so.
    fn is_done(&mut self, shard: usize, now: Duration) {
        let was = std::mem::replace(&mut self.progress.phase, DrainPhase::Done);
        self.order.show(shard, &self.progress);
        if was == DrainPhase::Done || !self.order.is_last_done() {
            return;
        }
        let DrainProgress { total, cut_off, unknown, .. } = self.order.progress();
        let seconds = now.saturating_sub(self.began).as_secs_f32();
        tracing::info!(connections = total, cut_off, unknown, seconds, "the drain is over");
    }

    /// Says in the log how far all shards are, if it is time and no other does.
    fn say_how_far(&self, now: Duration) {
        let passed = now.saturating_sub(self.begins).as_secs();
        let stretches = u32::try_from(passed / SAID_EVERY.as_secs()).unwrap_or(u32::MAX);
        if self.order.is_done() || !self.order.is_to_say_how_far(stretches) {
            return;
        }
        let all = self.order.progress();
        let (closed, left) = (all.closed(), all.left());
        tracing::info!(closed, left, seconds = passed, "draining goes on");
    }
}

/// Does what was ordered, if that has changed: begins, or will after a while, or goes on as before.
pub(super) fn obey<R: Ring>(
    connections: &mut Connections<R>,
    accepting: &mut Accepting,
    panel: &Panel,
) {
    let seen = panel.drains();
    let is_new = std::mem::replace(&mut connections.drain.seen, seen) != seen;
    // What is final is not taken back.
    if !is_new || connections.drain.frees_listeners() {
        return;
    }
    connections.drain.forget();
    let order = panel.ordered().filter(|order| !order.is_taken_back());
    connections.hub.is_leaving = order.as_ref().is_some_and(|one| one.plan().scope.is_whole());
    if !connections.hub.is_leaving {
        accepting.go_on_accepting();
    }
    let Some(order) = order else { return };
    let now = connections.sockets.ring.now();
    let begins = now.saturating_add(order.plan().delay);
    let rate = order.rate_of(connections.index);
    connections.drain.order = Some(Drained {
        began: now,
        begins,
        deadline: begins.saturating_add(order.plan().time),
        progress: DrainProgress::default(),
        portions: Portions::new(begins, rate, order.seed_of(connections.index)),
        accepts_until: None,
        order,
    });
}

/// Goes on, as far as something is due.
///
/// # Errors
/// The ring is beyond use.
pub(super) fn go_on<R: Ring>(
    connections: &mut Connections<R>,
    accepting: &mut Accepting,
) -> io::Result<()> {
    let now = connections.sockets.ring.now();
    let Some(drained) = &connections.drain.order else { return Ok(()) };
    if drained.progress.phase == DrainPhase::Announced {
        if now < drained.begins {
            return Ok(());
        }
        begin(connections, accepting);
    }
    let Drain { order: Some(drained), waiting, .. } = &mut connections.drain else { return Ok(()) };
    if drained.is_late(now) && drained.order.plan().after == AfterDrain::Stay {
        return cut_some_off(connections);
    }
    if waiting.is_empty() {
        return Ok(());
    }
    let rate = drained.order.rate_of(connections.index);
    let mut left = drained.portions.due(now, rate);
    while left > 0 {
        let Some(slot) = connections.drain.waiting.pop() else { break };
        left -= u32::from(tell(connections, slot));
        connections.sockets.make_room()?;
    }
    Ok(())
}

/// Puts down whom it is about, and stops accepting if that is everybody.
fn begin<R: Ring>(connections: &mut Connections<R>, accepting: &mut Accepting) {
    let unknown = put_down(connections);
    let Drain { order: Some(drained), waiting, .. } = &mut connections.drain else { return };
    let total = waiting.len() as u32;
    let phase = DrainPhase::Closing;
    drained.progress = DrainProgress { phase, total, waiting: total, unknown, ..drained.progress };
    drained.order.show(connections.index, &drained.progress);
    let plan = drained.order.plan();
    if drained.order.is_to_say_that_it_begins() {
        tracing::info!(
            whole = plan.scope.is_whole(),
            rate = ?plan.rate,
            code = plan.code,
            seconds_at_most = plan.time.as_secs(),
            "draining: connections are closed from now on"
        );
    }
    let (is_whole, leaves) = (plan.scope.is_whole(), plan.after == AfterDrain::Leave);
    if !is_whole {
        return;
    }
    if leaves && drained.order.make_final() {
        free_listeners(connections, accepting);
    } else {
        accepting.leave_to_others(connections);
    }
}

/// Puts down those whom the order is about; returns how many may be meant, of whom it is not known.
fn put_down<R: Ring>(connections: &mut Connections<R>) -> u32 {
    let Some(drained) = &connections.drain.order else { return 0 };
    let scope = drained.order.plan().scope;
    let mut unknown = 0;
    for slot in 0..connections.sockets.table.used_slots() {
        match is_meant(connections, slot, &scope) {
            Some(true) if connections.drain.leaving.contains(slot) => {}
            Some(true) => connections.drain.waiting.insert(slot),
            Some(false) => {}
            None => unknown += 1,
        }
    }
    unknown
}

/// Puts down who has come since it began: the gateway ends now.
fn put_down_late<R: Ring>(connections: &mut Connections<R>) {
    for slot in 0..connections.sockets.table.used_slots() {
        let is_there =
            !matches!(connections.sockets.table[slot].stage, Stage::Free | Stage::Zombie);
        if is_there && !connections.drain.has(slot) {
            connections.drain.late.insert(slot);
        }
    }
}

/// Whether the connection is among those, as far as it is known.
fn is_meant<R: Ring>(connections: &Connections<R>, slot: Slot, scope: &DrainScope) -> Option<bool> {
    let connection = &connections.sockets.table[slot];
    if scope.is_whole() {
        return Some(!matches!(connection.stage, Stage::Free | Stage::Zombie));
    }
    let DrainScope { route, listener, network } = scope;
    let has_come_by = |number: u16| connections.sockets.profile(slot).number == number;
    let fits = connection.is_open()
        && route.is_none_or(|route| connections.service(slot).offer.number == Some(route))
        && listener.is_none_or(has_come_by);
    match network {
        Some(network) if fits => {
            let ip = connections.peers.known(slot, &connections.details).ip();
            ip.map(|ip| network.contains(&ip))
        }
        _ => Some(fits),
    }
}

/// Tells one connection; whether there was anything to tell.
fn tell<R: Ring>(connections: &mut Connections<R>, slot: Slot) -> bool {
    let Some(drained) = &connections.drain.order else { return false };
    connections.drain.leaving.insert(slot);
    let connection = &connections.sockets.table[slot];
    match connection.stage {
        Stage::Head | Stage::Open if !connection.is_closing() => {
            let why = drained.order.plan().why();
            connections.sockets.counters.drained += 1;
            connections.close(slot, Failing::Drains(why));
        }
        Stage::Lingering => {
            hurry(&mut connections.sockets, slot);
            return false;
        }
        _ => return false,
    }
    true
}

/// Waits no longer than it must for one that has been answered, and does not close.
fn hurry<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) {
    let connection = &sockets.table[slot];
    if connection.is_flushed() && connection.states.after_flush() != AfterFlush::Finish {
        sockets.linger_briefly(slot);
    }
}

/// It has taken too long: drops some of those that are left.
fn cut_some_off<R: Ring>(connections: &mut Connections<R>) -> io::Result<()> {
    for _ in 0..CUT_OFF_AT_ONCE {
        let Drain { order: Some(drained), waiting, leaving, .. } = &mut connections.drain else {
            break;
        };
        let Some(slot) = leaving.pop().or_else(|| waiting.pop()) else { return Ok(()) };
        drained.progress.cut_off += 1;
        connections.sockets.counters.drain_cut_off += 1;
        drop_for(connections, slot, EndReason::Drain);
        connections.sockets.make_room()?;
    }
    // The rest has its turn before anyone sleeps.
    connections.sockets.flush_soon = true;
    Ok(())
}

/// Takes in what waits to be accepted, and closes the listeners soon.
fn free_listeners<R: Ring>(connections: &mut Connections<R>, accepting: &mut Accepting) {
    let tick = connections.sockets.deadlines.now();
    if let Some(drained) = &mut connections.drain.order {
        drained.accepts_until = Some(tick + ACCEPT_TICKS);
    }
    let (shard, left) = (connections.index, connections.sockets.table.live());
    tracing::info!(shard, left, "draining: the listeners are closed now, or in a moment");
    accepting.stop_accepting(connections);
}

/// A tick has passed.
pub(super) fn tick<R: Ring>(connections: &mut Connections<R>, accepting: &mut Accepting) {
    let (now, tick) = (connections.sockets.ring.now(), connections.sockets.deadlines.now());
    let index = connections.index;
    let Drain { order: Some(drained), waiting, leaving, late, .. } = &mut connections.drain else {
        return;
    };
    if drained.progress.phase == DrainPhase::Announced {
        return;
    }
    while let Some(slot) = late.pop() {
        match connections.sockets.table[slot].stage {
            Stage::Lingering => hurry(&mut connections.sockets, slot),
            _ => {
                waiting.insert(slot);
                drained.progress.total += 1;
            }
        }
    }
    drained.progress.waiting = waiting.len() as u32;
    drained.progress.leaving = leaving.len() as u32;
    if drained.progress.left() == 0 {
        drained.is_done(index, now);
    }
    drained.order.show(index, &drained.progress);
    drained.say_how_far(now);
    if let Some(until) = drained.accepts_until {
        if tick >= until {
            accepting.close_listeners(connections);
        }
        return;
    }
    match drained.order.plan().after {
        AfterDrain::Stay if drained.is_whole() => {}
        AfterDrain::Stay => {
            if drained.progress.phase == DrainPhase::Done {
                connections.drain.order = None;
            }
        }
        // Another shard may have found the same.
        AfterDrain::End | AfterDrain::Leave => {
            let is_time = drained.order.is_done() || drained.is_late(now);
            if drained.order.is_final() || (is_time && drained.order.make_final()) {
                put_down_late(connections);
                free_listeners(connections, accepting);
            }
        }
    }
}

/// Whether the shard is to end for it: nobody is left, or it has taken too long.
pub(super) fn is_over<R: Ring>(connections: &mut Connections<R>, accepting: &Accepting) -> bool {
    let (now, left) = (connections.sockets.ring.now(), connections.sockets.table.live());
    let Drain { order: Some(drained), waiting, leaving, .. } = &mut connections.drain else {
        return false;
    };
    if drained.accepts_until.is_none() {
        return false;
    }
    let is_late = now >= drained.deadline;
    let is_empty = left == 0 && accepting.has_taken_all_over() && accepting.has_stopped_accepting();
    if !is_late && !is_empty {
        return false;
    }
    // Others were refused, and have yet to hear it.
    let cut_off = (waiting.len() + leaving.len()) as u32;
    if left > 0 {
        tracing::warn!(
            shard = connections.index,
            left,
            cut_off,
            "the drain took too long: the rest is cut off"
        );
        connections.sockets.counters.drain_cut_off += u64::from(cut_off);
        drained.progress.cut_off += cut_off;
    }
    (drained.progress.waiting, drained.progress.leaving) = (0, 0);
    drained.is_done(connections.index, now);
    drained.order.show(connections.index, &drained.progress);
    true
}
