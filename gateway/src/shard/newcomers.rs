//! What happens when no slot is left for one who comes: whoever has not opened gives way.
//!
//! Anyone may connect and say nothing, or be answered and not close. Each of them has a deadline of
//! its own, but many of them take all slots for that long, and then nobody else is even told so. As
//! long as a listener waits for a slot, one is looked for in each turn of the loop, among so many
//! of these strangers: those whose answer has left are dropped first, then of those that send no
//! request the one is answered with 503 that has had most time, and last come those who do not take
//! their answer. Whoever is open stays, and is not looked at: however many are, to find somebody
//! takes no longer.

use super::connections::Connections;
use crate::connection::{AfterFlush, Stage};
use crate::kernel::{Ring, Slot, SlotSet};
use crate::protocol::turn::Failing;

/// Strangers that are looked at in one turn of the loop: some ten microseconds.
const LOOKED_AT: usize = 1024;

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
    /// How many strangers were looked at since it was worth a look.
    looked_at: usize,
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

/// One who may give way; the largest of these does first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Yielding {
    stranger: Stranger,
    /// How many ticks it has had.
    waited: u32,
}

impl Newcomers {
    /// No slot is left for one who comes: has one stranger give way, the one who has had most time
    /// among those that are looked at.
    pub(super) fn make_way<R: Ring>(&mut self, connections: &mut Connections<R>) {
        let now = connections.sockets.deadlines.now();
        if std::mem::take(&mut connections.look_again) {
            self.looked_at = 0;
        }
        if self.tick != now {
            (self.tick, self.looked_at) = (now, 0);
        }
        let strangers = &connections.sockets.table.strangers;
        let found = self.find(strangers, |slot| Self::may_give_way(connections, slot));
        let Some((stranger, slot)) = found else {
            // The others have their turn before anyone sleeps.
            connections.sockets.flush_soon |= self.looked_at < strangers.len();
            return;
        };
        match stranger {
            Stranger::Silent => {
                connections.sockets.counters.strangers_refused += 1;
                // It is next, as soon as its answer has left, and until then it is nobody's turn.
                (self.cursor, self.looked_at) = (slot, usize::MAX);
                connections.close(slot, Failing::GoesAway);
            }
            Stranger::Answered | Stranger::Deaf => {
                connections.sockets.counters.strangers_dropped += 1;
                connections.look_again = true;
                connections.drop_connection(slot);
            }
        }
    }

    /// Who gives way of those that have their turn to be looked at, by `may_give_way`.
    fn find(
        &mut self,
        strangers: &SlotSet,
        may_give_way: impl Fn(Slot) -> Option<Yielding>,
    ) -> Option<(Stranger, Slot)> {
        // Once all were looked at, only time makes a difference.
        let count = strangers.len().saturating_sub(self.looked_at).min(LOOKED_AT);
        let mut found = None;
        for _ in 0..count {
            let slot = strangers.next(self.cursor)?;
            (self.cursor, self.looked_at) = (slot + 1, self.looked_at + 1);
            found = found.max(may_give_way(slot).map(|candidate| (candidate, slot)));
        }
        found.map(|(candidate, slot)| (candidate.stranger, slot))
    }

    /// Whether the connection may give way.
    fn may_give_way<R: Ring>(connections: &Connections<R>, slot: Slot) -> Option<Yielding> {
        let sockets = &connections.sockets;
        let connection = &sockets.table[slot];
        let whole = sockets.profile(slot).ticks(connection.wait)?;
        let waited = whole.saturating_sub(sockets.deadlines.left(slot, connection.laps)?);
        let has_input = sockets.is_unread(slot);
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
        Some(Yielding { stranger, waited })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A table of a million slots, and so many strangers among them.
    const SLOTS: u32 = 1 << 20;

    fn strangers(count: u32) -> SlotSet {
        let mut set = SlotSet::new(SLOTS);
        (0..count).for_each(|number| set.insert(number * (SLOTS / count) + 7));
        set
    }

    /// Looks once; which slots were looked at.
    fn looked_at(
        newcomers: &mut Newcomers,
        strangers: &SlotSet,
        who: impl Fn(Slot) -> Option<Yielding>,
    ) -> (Vec<Slot>, Option<(Stranger, Slot)>) {
        let seen = RefCell::new(Vec::new());
        let found = newcomers.find(strangers, |slot| {
            seen.borrow_mut().push(slot);
            who(slot)
        });
        (seen.into_inner(), found)
    }

    #[test]
    fn only_strangers_are_looked_at_however_many_slots_there_are() {
        let (mut newcomers, strangers) = (Newcomers::default(), strangers(3));
        let silent = |waited| Yielding { stranger: Stranger::Silent, waited };
        let one = |slot| (slot > 7).then_some(silent(slot / 1000));
        let (seen, found) = looked_at(&mut newcomers, &strangers, one);
        assert_eq!(seen, [7, SLOTS / 3 + 7, SLOTS / 3 * 2 + 7]);
        assert_eq!(found, Some((Stranger::Silent, seen[2])), "who has had most time");
        // All were looked at: nobody is before it is worth another look.
        assert_eq!(looked_at(&mut newcomers, &strangers, one), (Vec::new(), None));
    }

    #[test]
    fn of_many_strangers_a_portion_is_looked_at_in_each_turn_and_nobody_twice() {
        let (mut newcomers, strangers) = (Newcomers::default(), strangers(5000));
        let mut all = Vec::new();
        for turn in 0..6 {
            let (seen, found) = looked_at(&mut newcomers, &strangers, |_| None);
            assert_eq!((seen.len(), found), (LOOKED_AT.min(5000 - all.len()), None), "turn {turn}");
            all.extend(seen);
        }
        assert_eq!(all.len(), 5000);
        assert!(all.is_sorted_by(|one, other| one < other), "each once");
    }
}
