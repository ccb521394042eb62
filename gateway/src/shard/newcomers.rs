//! What happens when no slot is left for one who comes: whoever has not opened gives way.
//!
//! Anyone may connect and say nothing, or be answered and not close. Each of them has a deadline of
//! its own, but many of them take all slots for that long, and then nobody else is even told so. As
//! long as a listener waits for a slot, one is looked for in each turn of the loop, among so many
//! slots: those whose answer has left are dropped first, then of those that send no request the one
//! is answered with 503 that has had most time, and last come those who do not take their answer.
//! Whoever has opened stays.

use super::connections::Connections;
use crate::connection::{AfterFlush, Stage};
use crate::kernel::{Ring, Slot};

/// Slots that are looked at in one turn of the loop: some ten microseconds.
const LOOKED_AT: u32 = 1024;

/// The ticks that everyone has for a request, or to read an answer while there is input that would
/// destroy it. The first of them has begun before: a quarter of a second at the least.
const GRACE_TICKS: u32 = 2;

/// After so many ticks, an answer that does not leave is given up.
const STUCK_TICKS: u32 = 5;

/// Where it is looked for somebody who gives way.
#[derive(Default)]
pub(super) struct Newcomers {
    /// Where to look next.
    cursor: Slot,
    /// How many slots were looked at since it was worth a look.
    looked_at: u32,
    /// The tick of the last look.
    tick: u64,
}

/// Who gives way; the last of these does first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stranger {
    /// Does not take its answer.
    Deaf,
    /// Has sent no request.
    Silent,
    /// Was answered, and does not close.
    Answered,
}

impl Newcomers {
    /// No slot is left for one who comes: has one stranger give way, the one who has had most time
    /// among those that are looked at.
    pub(super) fn make_way<R: Ring>(&mut self, connections: &mut Connections<R>) {
        let (now, end) =
            (connections.sockets.deadlines.now(), connections.sockets.table.used_slots());
        if std::mem::take(&mut connections.look_again) {
            self.looked_at = 0;
        }
        if self.tick != now {
            (self.tick, self.looked_at) = (now, 0);
        }
        if self.looked_at >= end {
            // All were looked at, and only time makes a difference.
            return;
        }
        let start = if self.cursor < end { self.cursor } else { 0 };
        let until = end.min(start.saturating_add(LOOKED_AT));
        self.cursor = until;
        self.looked_at += until - start;
        let found =
            (start..until).filter_map(|slot| Some((self.stranger(connections, slot)?, slot))).max();
        let Some(((stranger, _), slot)) = found else {
            // The others have their turn before anyone sleeps.
            connections.sockets.flush_soon |= self.looked_at < end;
            return;
        };
        connections.sockets.counters.strangers_evicted += 1;
        match stranger {
            Stranger::Silent => {
                // It is next, as soon as its answer has left, and until then it is nobody's turn.
                (self.cursor, self.looked_at) = (slot, u32::MAX);
                connections.refuse_busy(slot);
            }
            Stranger::Answered | Stranger::Deaf => {
                connections.look_again = true;
                connections.drop_connection(slot);
            }
        }
    }

    /// Whether the connection may give way, and how many ticks it has had.
    fn stranger<R: Ring>(
        &self,
        connections: &Connections<R>,
        slot: Slot,
    ) -> Option<(Stranger, u32)> {
        let connection = &connections.sockets.table[slot];
        if !matches!(connection.stage, Stage::Head | Stage::Lingering) {
            return None;
        }
        let whole = connections.sockets.profile(slot).ticks(connection.wait)?;
        let waited =
            whole.saturating_sub(connections.sockets.deadlines.left(slot, connection.laps)?);
        let has_input = connection.states.has_input()
            || connections.sockets.ready.contains(slot)
            || connections.sockets.crowd.contains(slot);
        let has_opened = connection.is_closing();
        let is_answered =
            connection.is_flushed() && connection.states.after_flush() != AfterFlush::Finish;
        let has_had_time = waited >= GRACE_TICKS;
        let stranger = match connection.stage {
            Stage::Head if has_had_time && !has_input => Stranger::Silent,
            Stage::Lingering if is_answered => {
                let loses_nothing = !has_opened && !has_input;
                (has_had_time || loses_nothing).then_some(Stranger::Answered)?
            }
            Stage::Lingering if waited >= STUCK_TICKS && !has_opened => Stranger::Deaf,
            _ => return None,
        };
        Some((stranger, waited))
    }
}
