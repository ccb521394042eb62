//! What happens when memory or places run short that all connections share: whoever holds most is
//! harmed first, never whoever keeps up.
//!
//! A turn that finds no block, or no place in the queues, waits; nobody is called slow for it.
//! Before the pool is empty, and when something has waited for long, those are looked for who hold
//! some of it: first those whose peers have taken nothing for a second, the one that holds most
//! among some thousands that are looked at in a turn, and after two seconds those who take it
//! slowly: who could not be sent to for a whole tick, not who could not be sent to just now. Where
//! hardly anything is left at all ([`super::pressure`]), these are not waited for. What becomes
//! of it is its route's policy for slow peers.

use std::time::Duration;

use tidegate_proto::keepalive::Wait;

use super::connections::Connections;
use super::connections::closing::drop_for;
use super::pressure::{self, MemoryLevel};
use super::sockets::Sockets;
use crate::config::SlowPeer;
use crate::connection::Stage;
use crate::connection::deadlines::TICK;
use crate::kernel::{Ring, Slot};
use crate::memory::Share;
use crate::protocol::end_reason::EndReason;
use crate::protocol::turn::Failing;

/// Slots that are looked at in one turn of the loop.
const LOOKED_AT: u32 = 4096;

/// Whose peer has taken nothing for so long does not read.
const STUCK: Duration = Duration::from_secs(1);

/// When something has waited, or publishers have paused, for so many ticks, and nobody is stuck,
/// the one who holds most has to give way though its peer takes some of it. Ticks do not count
/// while the whole shard is paused.
const PATIENCE_TICKS: u64 = 8;

/// What is known of the shortage.
#[derive(Default)]
pub(super) struct Relief {
    /// Since which tick something has waited for one, whether it had its turn in each turn of the
    /// loop or not, or publishers have paused because there was hardly any.
    since: Option<u64>,
    /// Blocks, or places, are so few that publishers pause.
    presses: Few,
    /// Where to look next.
    cursor: Slot,
    /// The largest half message that was found so far, and where to look next for a larger one.
    largest_half: Option<Burden>,
    half_cursor: Slot,
    /// How much of all is in use.
    memory: MemoryLevel,
}

/// What there is little of.
#[derive(Clone, Copy, Default)]
struct Few {
    blocks: bool,
    places: bool,
}

/// The one that has to give way when a whole tick has passed, if its peer has not taken all that
/// waits for it until then.
#[derive(Default)]
pub(super) struct Watched(Option<Found>);

/// Who was found, and in which tick.
#[derive(Clone, Copy)]
struct Found {
    slot: Slot,
    tick: u64,
}

/// What a connection holds. The one that holds most is the largest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Burden {
    bytes: u64,
    slot: Slot,
}

impl Watched {
    /// Its peer has taken all, or it is closed.
    pub(super) fn lets_go(&mut self, slot: Slot) {
        self.0.take_if(|watched| watched.slot == slot);
    }
}

/// Who is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// One for which much waits, and whose peer does not read.
    Stuck,
    /// One for which much waits.
    Any,
}

impl Relief {
    /// Looks whether anything runs short, and has the one give way who holds most of it.
    /// `is_short`: something that is being delivered waits for a block or a place. `group`: so many
    /// hundredths of what the process's control group may have are in use.
    pub(super) fn relieve<R: Ring>(
        &mut self,
        connections: &mut Connections<R>,
        is_short: bool,
        group: u64,
    ) {
        self.memory = pressure::look(connections, self.memory, group);
        // What waits may have had no turn in this turn of the loop, while others had theirs.
        let was_short = std::mem::take(&mut connections.sockets.shortages) > 0;
        let few_places =
            connections.sockets.frames.waiting() > connections.sockets.frames.places() / 2;
        let few_own =
            sending_left(&connections.sockets) < connections.sockets.sending_reserve() / 8 * 9;
        let pressing = self.runs_short(&connections.sockets);
        self.presses = pressing;
        let is_pressing = is_short || pressing.blocks || pressing.places;
        connections.hub.neighbours.press(is_pressing);
        let gathered = connections.sockets.blocks.own_bytes(Share::Gathered);
        if connections.sockets.blocks.free_bytes(Share::Gathered) < gathered / 4 {
            self.look_for_largest_half(connections);
        } else {
            // What was found so far is of no use for another shortage.
            (self.largest_half, self.half_cursor) = (None, 0);
        }
        let now = connections.sockets.deadlines.now();
        let lacks = is_pressing
            || sending_left(&connections.sockets) < connections.sockets.sending_reserve();
        self.since = lacks.then(|| self.since.unwrap_or(now));
        let is_urgent = self.memory == MemoryLevel::Critical
            || self.since.is_some_and(|since| now - since >= PATIENCE_TICKS);
        if was_short || is_urgent || few_own || pressing.blocks || few_places {
            let has_one = self.evict_stuck(connections)
                || (is_urgent && self.evict_watched(connections, now));
            if has_one && lacks {
                // What that frees may do.
                self.since = Some(now);
            }
        }
        if !is_urgent {
            connections.sockets.watched = Watched::default();
        }
    }

    /// Whether blocks, or places, are so few that publishers pause. They go on only once a good
    /// part more is free: were it the next block, those who take one after the other, however
    /// slowly, would seem to leave enough, and everybody would publish as slowly as they read.
    fn runs_short<R: Ring>(&self, sockets: &Sockets<R>) -> Few {
        let before = self.presses;
        let (free, reserve) =
            (sockets.blocks.free_bytes(Share::Sending), sockets.sending_reserve());
        // Others may hold what is for all: it is not waited for once hardly any of this is in use.
        let own = sockets.blocks.own_bytes(Share::Sending);
        let is_in_use = sockets.blocks.used_by(Share::Sending) > own / 8;
        let waits_for_blocks = before.blocks && is_in_use && free < reserve / 2 * 5;
        let (waiting, places) = (sockets.frames.waiting(), sockets.frames.places());
        Few {
            blocks: free < 2 * reserve || waits_for_blocks,
            places: waiting > places / 4 * 3 || (before.places && waiting > places / 8 * 5),
        }
    }

    /// The one that holds most among those that are looked at.
    fn find<R: Ring>(&mut self, sockets: &Sockets<R>, holder: Holder) -> Option<Slot> {
        let end = sockets.table.used_slots();
        let start = if self.cursor < end { self.cursor } else { 0 };
        let until = end.min(start.saturating_add(LOOKED_AT));
        self.cursor = until;
        let held = |slot| Burden { bytes: holds(sockets, slot, holder), slot };
        (start..until).map(held).max().filter(|most| most.bytes > 0).map(|most| most.slot)
    }

    /// Has the one give way that does not read and holds most; whether there was one.
    fn evict_stuck<R: Ring>(&mut self, connections: &mut Connections<R>) -> bool {
        let found = self.find(&connections.sockets, Holder::Stuck);
        found.inspect(|slot| evict(connections, *slot)).is_some()
    }

    /// Has the one give way that held most when it was found, and whose peer has not taken all for
    /// a whole tick since; whether there was one.
    fn evict_watched<R: Ring>(&mut self, connections: &mut Connections<R>, now: u64) -> bool {
        let Some(Found { slot, tick }) = connections.sockets.watched.0 else {
            let found = self.find(&connections.sockets, Holder::Any);
            connections.sockets.watched = Watched(found.map(|slot| Found { slot, tick: now }));
            return false;
        };
        // The tick in which it was found had begun.
        if now - tick < 2 {
            return false;
        }
        connections.sockets.watched = Watched::default();
        let holds_some = holds(&connections.sockets, slot, Holder::Any) > 0;
        if holds_some {
            evict(connections, slot);
        }
        holds_some
    }

    /// Has the largest half message given up, once all slots were looked at.
    fn look_for_largest_half<R: Ring>(&mut self, connections: &mut Connections<R>) {
        let end = connections.sockets.table.used_slots();
        let start = self.half_cursor.min(end);
        let until = end.min(start.saturating_add(LOOKED_AT));
        let held = |slot| Burden { bytes: half_bytes(&connections.sockets, slot), slot };
        self.largest_half = self.largest_half.max((start..until).map(held).max());
        if until < end {
            self.half_cursor = until;
            // The others are looked at before anyone sleeps.
            connections.sockets.flush_soon = true;
            return;
        }
        self.half_cursor = 0;
        let Some(Burden { bytes: bytes @ 1.., slot }) = self.largest_half.take() else { return };
        // If it has become less meanwhile, or is another's, they are looked at anew.
        if half_bytes(&connections.sockets, slot) >= bytes {
            connections.sockets.counters.holders_evicted += 1;
            connections.close(slot, Failing::NoMemory);
        }
    }
}

/// What is free of the blocks for sending that nothing else can take.
fn sending_left<R: Ring>(sockets: &Sockets<R>) -> u64 {
    sockets.blocks.own_free_bytes(Share::Sending)
}

/// Bytes of the blocks of what a connection has half sent, a message, a control frame and what its
/// transport could not open yet; 0 if it has none.
fn half_bytes<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> u64 {
    let connection = sockets.table[slot];
    if connection.stage != Stage::Open {
        return 0;
    }
    let rest = sockets.transports.kept.block(slot).map(|(block, _)| block);
    let halves = [connection.gathered, connection.control, rest];
    halves.into_iter().flatten().map(|block| u64::from(sockets.blocks.size(block))).sum()
}

/// Bytes that a connection holds; 0 if it is none of those that are looked for.
fn holds<R: Ring>(sockets: &Sockets<R>, slot: Slot, holder: Holder) -> u64 {
    let connection = sockets.table[slot];
    if matches!(connection.stage, Stage::Free | Stage::Zombie) {
        return 0;
    }
    let waiting = u64::from(connection.backlog_bytes) + u64::from(sockets.frames.bytes(slot));
    match holder {
        Holder::Any if !connection.is_closing() && connection.states.is_blocked() => waiting,
        Holder::Stuck if waiting > 0 && is_stuck(sockets, slot) => waiting,
        Holder::Any | Holder::Stuck => 0,
    }
}

/// Whether the peer has taken nothing of what waits for it for a while.
fn is_stuck<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> bool {
    let connection = sockets.table[slot];
    if !connection.states.is_blocked() {
        return false;
    }
    if sockets.stalled.get(slot).is_some() {
        return true;
    }
    // A closing one has the time as well that its Close frame needs to get out.
    let wait = connection.wait;
    // A handshake has one time for all, and so has whoever does not take its words.
    if !matches!(wait, Wait::Progress | Wait::Close | Wait::Handshake) {
        return false;
    }
    let whole = sockets.profile(slot).ticks(wait);
    let left = sockets.deadlines.left(slot, connection.laps);
    let waited = whole.zip(left).map_or(0, |(whole, left)| whole.saturating_sub(left));
    TICK * waited >= STUCK
}

/// A peer that does not take what waits for it gives way: as its route says, and at once if it is
/// closing already.
fn evict<R: Ring>(connections: &mut Connections<R>, slot: Slot) {
    connections.sockets.counters.holders_evicted += 1;
    let connection = &connections.sockets.table[slot];
    if connection.stage != Stage::Open || connection.is_closing() {
        return drop_for(connections, slot, EndReason::SlowPeer);
    }
    let queued = u64::from(connections.sockets.frames.bytes(slot));
    let keeps_it =
        !matches!(connections.service(slot).limits.slow_peer, SlowPeer::Pause | SlowPeer::Close);
    if keeps_it && queued > u64::from(connection.backlog_bytes) {
        let dropped = connections.sockets.outbox(slot).leave_out_published();
        connections.sockets.counters.slow_dropped_oldest += dropped;
        if dropped > 0 {
            return;
        }
    }
    connections.close(slot, Failing::GivesWay);
}
