//! Going round all slots, some at a time, when it was said that something is to be looked for.

use std::ops::Range;

use crate::kernel::Slot;

/// Who goes round. Where it begins does not depend on what is said meanwhile: whatever is said, and
/// however often, each slot is looked at once a round.
#[derive(Debug, Default)]
pub(super) struct LookRound {
    /// The next slot.
    at: Slot,
    /// How many are left to look at until all have been since the round began.
    left: u32,
    /// What was said last, and what was when the round began: it goes round once more if that is
    /// not the same.
    said: u64,
    begun_with: u64,
}

impl LookRound {
    /// Something was said: all of so many slots are to be looked at from now on.
    pub(super) fn hears(&mut self, what: u64, slots: u32) {
        if what != self.said {
            self.said = what;
            self.go_on(slots);
        }
    }

    /// Whether slots are left to look at.
    pub(super) fn has_work(&self) -> bool {
        self.left > 0
    }

    /// The next of so many slots, `some` at most; they are looked at with that.
    pub(super) fn next(&mut self, slots: u32, some: u32) -> Range<Slot> {
        let until = self.at + some.min(self.left).min(slots - self.at);
        let next = self.at..until;
        self.left -= until - self.at;
        self.at = if until == slots { 0 } else { until };
        self.go_on(slots);
        next
    }

    /// Begins anew, once a round is over and something was said meanwhile.
    fn go_on(&mut self, slots: u32) {
        if self.left == 0 && self.begun_with != self.said {
            self.begun_with = self.said;
            self.left = slots;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_nothing_looked_at() {
        let mut round = LookRound::default();
        assert!(!round.has_work());
        assert_eq!(round.next(100, 10), 0..0);
        round.hears(1, 100);
        let mut seen = 0;
        while round.has_work() {
            seen += round.next(100, 30).len();
        }
        assert_eq!(seen, 100);
        round.hears(1, 100);
        assert!(!round.has_work(), "that was said before");
    }

    #[test]
    fn however_often_something_is_said_each_slot_is_looked_at_in_two_rounds() {
        const SLOTS: u32 = 1000;
        let mut round = LookRound::default();
        let mut looked_at = vec![0; SLOTS as usize];
        for step in 1..=2 * SLOTS as usize / 8 {
            round.hears(step as u64, SLOTS);
            for slot in round.next(SLOTS, 8) {
                looked_at[slot as usize] = step;
            }
        }
        assert!(looked_at.iter().all(|step| *step > SLOTS as usize / 8), "{looked_at:?}");
        // And behind the last thing that was said all are.
        let last = 2 * SLOTS as usize / 8;
        while round.has_work() {
            for slot in round.next(SLOTS, 8) {
                looked_at[slot as usize] = last + 1;
            }
        }
        assert!(looked_at.iter().all(|step| *step > last), "{looked_at:?}");
    }
}
