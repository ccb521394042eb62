//! One byte per slot that says when something is due.

use std::time::Duration;

use crate::kernel::Slot;

/// The time between two sweeps.
pub const TICK: Duration = Duration::from_millis(250);

/// Ticks that one byte can look ahead; what is later goes round in laps.
const HORIZON: u32 = 250;

/// The longest wait, in ticks: a lap more than one byte can count.
const LONGEST: u32 = HORIZON * 256;

/// No deadline.
const NONE: u8 = 0;

/// After a pause of the whole shard, how many ticks those are given whose input is yet to be read.
const LENIENT_TICKS: u64 = 8;

/// The deadlines of a shard's slots. The sweep looks at one byte per slot and nothing else.
pub struct Deadlines {
    /// `NONE`, or 1 + the tick at which it is due, modulo `HORIZON`.
    due: Vec<u8>,
    /// Ticks so far.
    now: u64,
    /// Until this tick, input that is there is read before a deadline counts.
    lenient_until: u64,
}

impl Deadlines {
    /// For at most `slots` slots, whose memory is only touched once they are used.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self { due: Vec::with_capacity(slots as usize), now: 0, lenient_until: 0 }
    }

    /// Sets the deadline of `slot` to so many ticks from now (see [`ticks`]), or to none; returns
    /// the laps that [`Deadlines::sweep`]'s caller has to let pass.
    #[must_use]
    pub fn set(&mut self, slot: Slot, ticks: Option<u32>) -> u8 {
        let index = slot as usize;
        if index >= self.due.len() {
            self.due.resize(index + 1, NONE);
        }
        let Some(ticks) = ticks else {
            self.due[index] = NONE;
            return 0;
        };
        // The first lap takes what is left over, each later one a whole horizon.
        let laps = (ticks - 1) / HORIZON;
        self.due[index] = self.mark(ticks - laps * HORIZON);
        laps as u8
    }

    /// Another lap for a slot that [`Deadlines::sweep`] reported.
    pub fn go_round(&mut self, slot: Slot) {
        self.due[slot as usize] = self.mark(HORIZON);
    }

    /// Ticks so far.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Nothing was looked at for a while: for some ticks, input that is there is read before a
    /// deadline counts.
    pub fn be_lenient(&mut self) {
        self.lenient_until = self.now + LENIENT_TICKS;
    }

    /// Whether what is unread is read before a wait is over. After a pause only: who sends all the
    /// time would have all the time otherwise.
    #[must_use]
    pub fn are_lenient(&self) -> bool {
        self.now <= self.lenient_until
    }

    /// Goes on by one tick; reports the slots that are due, each once, as having no deadline.
    pub fn sweep(&mut self, mut expired: impl FnMut(Slot)) {
        self.now += 1;
        let mark = self.mark(0);
        for (index, chunk) in self.due.chunks_mut(64).enumerate() {
            // A plain loop over bytes that the compiler turns into vector comparisons.
            if chunk.iter().fold(false, |any, due| any | (*due == mark)) {
                for (offset, due) in chunk.iter_mut().enumerate().filter(|(_, due)| **due == mark) {
                    *due = NONE;
                    expired((index * 64 + offset) as Slot);
                }
            }
        }
    }

    /// How many ticks are left, with so many laps yet to pass.
    pub fn left(&self, slot: Slot, laps: u8) -> Option<u32> {
        let due = self.due.get(slot as usize).copied().filter(|due| *due != NONE)?;
        let now = (self.now % u64::from(HORIZON)) as u32;
        let ahead = (u32::from(due) - 1 + HORIZON - now) % HORIZON;
        Some(ahead + u32::from(laps) * HORIZON)
    }

    /// What stands in the byte of a slot that is due in `ticks`, 0 to `HORIZON`.
    fn mark(&self, ticks: u32) -> u8 {
        1 + ((self.now + u64::from(ticks)) % u64::from(HORIZON)) as u8
    }
}

/// `wait` in ticks, 1 to 64,000 (4 h 26 min): rounded up, and one more because the current tick
/// has begun.
#[must_use]
pub fn ticks(wait: Duration) -> u32 {
    let whole = wait.as_millis().div_ceil(TICK.as_millis());
    u32::try_from(whole + 1).unwrap_or(LONGEST).clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sweeps until `slot` is due; returns the ticks that took.
    fn run(deadlines: &mut Deadlines, slot: Slot, mut laps: u8) -> u32 {
        let mut expired = Vec::new();
        for tick in 1.. {
            deadlines.sweep(|slot| expired.push(slot));
            if expired.drain(..).any(|due| due == slot) {
                if laps == 0 {
                    return tick;
                }
                laps -= 1;
                deadlines.go_round(slot);
            }
        }
        unreachable!("the loop ends with a return");
    }

    #[test]
    fn due_in_time_and_at_most_a_tick_late() {
        for wait_ms in [0, 1, 250, 251, 1000, 62_250, 62_500, 62_750, 200_000, 15_000_000] {
            let wait = Duration::from_millis(wait_ms);
            let mut deadlines = Deadlines::new(100);
            for _ in 0..123 {
                deadlines.sweep(|_| ());
            }
            let laps = deadlines.set(70, Some(ticks(wait)));
            let took = TICK * run(&mut deadlines, 70, laps);
            assert!(took > wait && took <= wait + 2 * TICK, "{wait:?} took {took:?}");
        }
    }

    #[test]
    fn a_later_deadline_replaces_an_earlier_one_and_none_ends_it() {
        let mut deadlines = Deadlines::new(2);
        assert_eq!(deadlines.set(0, Some(2)), 0);
        assert_eq!(deadlines.set(0, Some(11)), 0);
        assert_eq!(deadlines.set(1, Some(2)), 0);
        assert_eq!(deadlines.set(1, None), 0);
        assert_eq!(run(&mut deadlines, 0, 0), 11);
    }

    #[test]
    fn what_is_longer_than_the_longest_is_cut() {
        assert_eq!(ticks(Duration::MAX), LONGEST);
        assert_eq!(Deadlines::new(1).set(0, Some(ticks(Duration::MAX))), 255);
    }
}
