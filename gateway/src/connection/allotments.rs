//! What clients have left of what their routes let them send, and how long they may stay.
//!
//! Only connections of routes that limit it have an entry. What they send is paid for by a bucket
//! (the generic cell rate algorithm): one number, the time at which it would be full again. Who has
//! none left is closed, or not read from until it has: it pays for all that one receive has
//! brought. Who would have to wait for longer than [`MOST_DEBT`] is closed either way, because
//! whoever waits has most of its deadlines put off meanwhile. How long they may stay has a deadline
//! of its own beside the one of the record, which is looked at anew when it passes: what puts it
//! off only says when.

use std::collections::BTreeSet;
use std::time::Duration;

use super::deadlines::{Deadlines, TICK};
use super::fragments::Fragments;
use crate::kernel::{Slot, SlotSet};
use crate::memory::{Bucket, Flow, Paged};

/// The most ticks that are waited at a time.
const LAP: u32 = 60_000;

/// Those who wait for credit are read from again at full ones of these: a shard that has many of
/// them does not wake for each.
const WAKE: u64 = 4_000_000;

/// How long a client may be slowed at a time; who would have to be for longer is closed.
pub const MOST_DEBT: Duration = Duration::from_secs(30);

/// What a route lets each of its clients do. Times are in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllotmentTerms {
    /// Messages that it may send.
    pub messages: Option<Flow>,
    /// Bytes that it may send.
    pub bytes: Option<Flow>,
    /// Who sends more is closed; else it is not read from for a while, of half a minute at most.
    pub closes: bool,
    /// How long it may stay.
    pub lifetime: Option<u32>,
    /// How long its first message may take to begin.
    pub first_message: Option<u32>,
    /// How long it may send nothing of a message.
    pub idle: Option<u32>,
}

impl AllotmentTerms {
    /// Whether anything is limited.
    #[must_use]
    pub const fn limit_something(&self) -> bool {
        let timed = self.lifetime.is_some() || self.first_message.is_some() || self.idle.is_some();
        timed || self.messages.is_some() || self.bytes.is_some()
    }
}

/// For how long a client has stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overstay {
    /// As long as any may.
    Lifetime,
    /// It has sent no message in time.
    Silent,
    /// It has sent nothing of a message for too long.
    Idle,
}

/// What one client has left.
#[derive(Debug, Default)]
struct Allotment {
    messages: Bucket,
    bytes: Bucket,
    /// When it is read from again, in nanoseconds; 0 if it is read from.
    slowed_until: u64,
    /// The tick at which its time is over; `None` if it may stay.
    ends_at: Option<u32>,
    /// The tick of the last that came of a message, or in which it has opened.
    heard_at: u32,
    /// Laps that the deadline has yet to go round.
    laps: u8,
    /// Something of a message has come.
    has_spoken: bool,
    /// Something has come that is not read for now.
    has_input: bool,
}

/// What comes of it that a client has sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It may send that much.
    Paid,
    /// It may not, and is slowed from here on.
    Owes,
    /// It may not, and is to be closed: it has sent far too much, or its route slows nobody.
    OwesTooMuch,
}

/// What came in of one client, in one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// Messages that began, and Pings.
    pub messages: u32,
    /// Bytes.
    pub bytes: u32,
    /// Some of it was of a message.
    pub is_of_message: bool,
}

/// What the clients of a shard have left.
pub struct Allotments {
    entries: Paged<Allotment>,
    /// When to look at whom.
    due: Deadlines,
    /// Whom to look at.
    passed: SlotSet,
    /// Who is not read from, and until when.
    slowed: BTreeSet<(u64, Slot)>,
    /// In how many frames messages have come that are half there.
    pub fragments: Fragments,
}

impl Allotments {
    /// For so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            entries: Paged::new(slots),
            due: Deadlines::new(slots),
            passed: SlotSet::new(slots),
            slowed: BTreeSet::new(),
            fragments: Fragments::default(),
        }
    }

    /// The most bytes that it holds for so many slots, without those of the tree of the slowed.
    #[must_use]
    pub fn bytes(slots: u32) -> u64 {
        Paged::<Allotment>::bytes(slots) + u64::from(slots) + SlotSet::bytes(slots)
    }

    /// The bytes of an entry of the tree of those who are slowed.
    pub const SLOWED: usize = size_of::<(u64, Slot)>();

    /// A client has come. `draw` is any number, by which its time is up to a tenth shorter.
    pub fn open(&mut self, slot: Slot, terms: &AllotmentTerms, draw: u32) {
        let now = self.now();
        let entry = self.entries.insert(slot);
        entry.heard_at = now;
        entry.ends_at =
            terms.lifetime.map(|ticks| now.saturating_add(ticks - draw % (ticks / 10 + 1)));
        self.look_later(slot, terms);
    }

    /// A client has gone.
    pub fn close(&mut self, slot: Slot) {
        self.fragments.end(slot);
        if self.entries.is_empty() || !self.entries.has(slot) {
            return;
        }
        self.is_read(slot);
        self.entries.remove(slot);
        self.passed.remove(slot);
        let _ = self.due.set(slot, None);
    }

    /// A client has sent something. Who owes too much is not slowed for that.
    pub fn spend(
        &mut self,
        slot: Slot,
        terms: &AllotmentTerms,
        now: Duration,
        intake: Intake,
    ) -> Spent {
        let tick = self.now();
        let Some(entry) = self.entries.get_mut(slot) else { return Spent::Paid };
        if intake.is_of_message {
            (entry.heard_at, entry.has_spoken) = (tick, true);
        }
        let now = nanoseconds(now);
        let buckets = [
            (&mut entry.messages, terms.messages, intake.messages),
            (&mut entry.bytes, terms.bytes, intake.bytes),
        ];
        let mut until = 0;
        for (bucket, flow, count) in buckets {
            let Some(flow) = flow.filter(|_| count > 0) else { continue };
            if !bucket.take(flow, now, count) {
                until = until.max(bucket.has_one_at(flow));
            }
        }
        if until == 0 {
            return Spent::Paid;
        }
        if terms.closes || until.saturating_sub(now) > nanoseconds(MOST_DEBT) {
            return Spent::OwesTooMuch;
        }
        self.slow(slot, until);
        Spent::Owes
    }

    /// It is not read from until then.
    fn slow(&mut self, slot: Slot, until: u64) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        let until = until.next_multiple_of(WAKE);
        let before = std::mem::replace(&mut entry.slowed_until, until);
        if before != until {
            self.slowed.remove(&(before, slot));
            self.slowed.insert((until, slot));
        }
    }

    /// Whether the client is not read from for now.
    #[must_use]
    pub fn is_slowed(&self, slot: Slot) -> bool {
        !self.slowed.is_empty()
            && self.entries.get(slot).is_some_and(|entry| entry.slowed_until > 0)
    }

    /// Something of a client that is slowed waits to be read.
    pub fn has_input(&mut self, slot: Slot) {
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.has_input = true;
        }
    }

    /// The client is read from, or gone; whether something waits to be read.
    pub fn is_read(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.entries.get_mut(slot) else { return false };
        let until = std::mem::take(&mut entry.slowed_until);
        if until > 0 {
            self.slowed.remove(&(until, slot));
        }
        std::mem::take(&mut entry.has_input)
    }

    /// Takes out one that may be read from again, at `now`; whether something waits to be read.
    pub fn next_to_read(&mut self, now: Duration) -> Option<(Slot, bool)> {
        let (until, slot) = *self.slowed.first()?;
        (until <= nanoseconds(now)).then(|| (slot, self.is_read(slot)))
    }

    /// How long nobody has to be read from again.
    #[must_use]
    pub fn rest(&self, now: Duration) -> Option<Duration> {
        let (until, _) = self.slowed.first()?;
        Some(Duration::from_nanos(*until).saturating_sub(now))
    }

    /// Goes on by one tick.
    pub fn sweep(&mut self) {
        let Self { due, passed, .. } = self;
        due.sweep(|slot| passed.insert(slot));
    }

    /// Whether some are to be looked at.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        !self.passed.is_empty()
    }

    /// Takes out one that is to be looked at.
    pub fn next_passed(&mut self) -> Option<Slot> {
        while let Some(slot) = self.passed.pop() {
            let Some(entry) = self.entries.get_mut(slot) else { continue };
            let Some(laps) = entry.laps.checked_sub(1) else { return Some(slot) };
            entry.laps = laps;
            self.due.go_round(slot);
        }
        None
    }

    /// For what the client has stayed too long; if it has not, it is looked at again later.
    pub fn overstays(&mut self, slot: Slot, terms: &AllotmentTerms) -> Option<Overstay> {
        let (at, overstay) = self.next_end(slot, terms)?;
        if at <= self.now() {
            return Some(overstay);
        }
        self.look_later(slot, terms);
        None
    }

    /// Whether the client has stayed too long by more than it may be slowed for: what it had said
    /// when its time was over has been read since, or is behind what it may not send yet.
    #[must_use]
    pub fn is_long_over(&self, slot: Slot, terms: &AllotmentTerms) -> bool {
        let slack = whole_ticks(MOST_DEBT);
        self.next_end(slot, terms).is_some_and(|(at, _)| at.saturating_add(slack) <= self.now())
    }

    /// The client is looked at again at the next tick.
    pub fn look_again(&mut self, slot: Slot) {
        self.look_in(slot, 1);
    }

    fn look_later(&mut self, slot: Slot, terms: &AllotmentTerms) {
        if let Some((at, _)) = self.next_end(slot, terms) {
            self.look_in(slot, at.saturating_sub(self.now()).clamp(1, LAP));
        }
    }

    fn look_in(&mut self, slot: Slot, ticks: u32) {
        let laps = self.due.set(slot, Some(ticks));
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.laps = laps;
        }
    }

    /// The first tick at which the client has stayed too long, as things stand, and for what.
    fn next_end(&self, slot: Slot, terms: &AllotmentTerms) -> Option<(u32, Overstay)> {
        let entry = self.entries.get(slot)?;
        let after = |ticks: u32| entry.heard_at.saturating_add(ticks);
        let silent = terms.first_message.filter(|_| !entry.has_spoken);
        let ends = [
            entry.ends_at.map(|at| (at, Overstay::Lifetime)),
            silent.map(|ticks| (after(ticks), Overstay::Silent)),
            terms.idle.map(|ticks| (after(ticks), Overstay::Idle)),
        ];
        ends.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn now(&self) -> u32 {
        u32::try_from(self.due.now()).unwrap_or(u32::MAX)
    }

    /// The bytes that it holds, without those of the tree of the slowed.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.entries.held()
    }

    /// Whether there is none, of anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.passed.is_empty()
            && self.slowed.is_empty()
            && self.fragments.is_empty()
    }
}

/// A time in ticks, rounded up, and one more because the current tick has begun.
#[must_use]
pub fn whole_ticks(time: Duration) -> u32 {
    let ticks = time.as_millis().div_ceil(TICK.as_millis()) + 1;
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TERMS: AllotmentTerms = AllotmentTerms {
        messages: None,
        bytes: None,
        closes: false,
        lifetime: None,
        first_message: None,
        idle: None,
    };

    #[test]
    fn who_sends_more_waits_until_it_may_again() {
        let flow = Flow { per_second: 10, burst: 2 };
        let terms = AllotmentTerms { messages: Some(flow), ..NO_TERMS };
        let mut all = Allotments::new(100);
        all.open(7, &terms, 0);
        let at = |ms| Duration::from_millis(ms);
        let one = Intake { messages: 1, bytes: 9, is_of_message: true };
        assert_eq!(all.spend(7, &terms, at(1000), one), Spent::Paid);
        assert_eq!(all.spend(7, &terms, at(1000), one), Spent::Paid);
        assert!(!all.is_slowed(7));
        let three = Intake { messages: 3, ..one };
        assert_eq!(all.spend(7, &terms, at(1000), three), Spent::Owes);
        assert!(all.is_slowed(7) && !all.is_slowed(8));
        // Five were sent where two may be: the sixth may be 400 ms later.
        assert_eq!(all.rest(at(1000)), Some(at(400)));
        all.has_input(7);
        assert_eq!(all.next_to_read(at(1399)), None);
        assert_eq!(all.next_to_read(at(1400)), Some((7, true)));
        assert!(!all.is_slowed(7) && all.rest(at(1400)).is_none());
        assert_eq!(all.spend(7, &terms, at(1400), one), Spent::Paid);
        assert_eq!(all.spend(7, &terms, at(1400), one), Spent::Owes);
        all.close(7);
        assert!(all.is_empty());
    }

    #[test]
    fn who_is_to_be_closed_is_not_slowed() {
        let flow = Some(Flow { per_second: 1, burst: 10 });
        let terms = AllotmentTerms { bytes: flow, closes: true, ..NO_TERMS };
        let mut all = Allotments::new(100);
        all.open(7, &terms, 0);
        let bytes = |bytes| Intake { bytes, ..Intake::default() };
        assert_eq!(all.spend(7, &terms, Duration::from_secs(9), bytes(10)), Spent::Paid);
        assert_eq!(all.spend(7, &terms, Duration::from_secs(9), bytes(1)), Spent::OwesTooMuch);
        assert!(!all.is_slowed(7));
        let nobody = all.spend(8, &terms, Duration::ZERO, bytes(100));
        assert_eq!(nobody, Spent::Paid, "nothing is kept of it");
    }

    #[test]
    fn nobody_is_slowed_for_longer_than_a_debt_may_last() {
        let terms = AllotmentTerms {
            messages: Some(Flow { per_second: 1, burst: 5 }),
            bytes: Some(Flow { per_second: 2, burst: 10 }),
            ..NO_TERMS
        };
        let now = Duration::from_secs(100);
        let spent = |intake| {
            let mut all = Allotments::new(10);
            all.open(3, &terms, 0);
            let spent = all.spend(3, &terms, now, intake);
            (spent, all.rest(now).unwrap_or_default())
        };
        let messages = |messages| spent(Intake { messages, ..Intake::default() });
        let bytes = |bytes| spent(Intake { bytes, ..Intake::default() });
        assert_eq!(messages(5).0, Spent::Paid);
        // The next one may come when all that is owed has, and one more.
        assert_eq!(messages(34), (Spent::Owes, MOST_DEBT));
        assert_eq!(messages(35), (Spent::OwesTooMuch, Duration::ZERO));
        assert_eq!(bytes(69), (Spent::Owes, MOST_DEBT));
        assert_eq!(bytes(70), (Spent::OwesTooMuch, Duration::ZERO));
        // Little by little it comes to no more.
        let mut all = Allotments::new(10);
        all.open(3, &terms, 0);
        let one = Intake { messages: 1, ..Intake::default() };
        let many = (0..1000).take_while(|_| all.spend(3, &terms, now, one) != Spent::OwesTooMuch);
        assert_eq!(many.count(), 34);
    }

    #[test]
    fn who_is_slowed_is_long_over_once_a_debt_has_passed() {
        let terms = AllotmentTerms { idle: Some(40), ..NO_TERMS };
        let mut all = Allotments::new(10);
        all.open(3, &terms, 0);
        let slack = whole_ticks(MOST_DEBT);
        for _ in 1..40 + slack {
            all.sweep();
        }
        assert!(!all.is_long_over(3, &terms));
        all.sweep();
        assert!(all.is_long_over(3, &terms));
    }

    /// The tick at which a client of these terms has stayed too long, which sends something of a
    /// message at some ticks.
    fn end(terms: &AllotmentTerms, draw: u32, heard: &[u32]) -> (u32, Overstay) {
        let mut all = Allotments::new(10);
        all.open(3, terms, draw);
        for tick in 1..1_000_000 {
            all.sweep();
            if heard.contains(&tick) {
                let intake = Intake { is_of_message: true, ..Intake::default() };
                all.spend(3, terms, Duration::ZERO, intake);
            }
            if let Some(slot) = all.next_passed()
                && let Some(overstay) = all.overstays(slot, terms)
            {
                return (tick, overstay);
            }
        }
        unreachable!("it may stay for ever");
    }

    #[test]
    fn each_has_its_time() {
        let lifetime = AllotmentTerms { lifetime: Some(100_000), ..NO_TERMS };
        assert_eq!(end(&lifetime, 0, &[5, 70_000]), (100_000, Overstay::Lifetime));
        assert_eq!(end(&lifetime, 10_000, &[]), (90_000, Overstay::Lifetime));
        assert_eq!(end(&lifetime, 10_001, &[]), (100_000, Overstay::Lifetime));
        let idle = AllotmentTerms { idle: Some(40), ..NO_TERMS };
        assert_eq!(end(&idle, 0, &[]), (40, Overstay::Idle));
        assert_eq!(end(&idle, 0, &[10, 39, 78]), (118, Overstay::Idle));
        let first = AllotmentTerms { first_message: Some(8), ..idle };
        assert_eq!(end(&first, 0, &[]), (8, Overstay::Silent));
        assert_eq!(end(&first, 0, &[7]), (47, Overstay::Idle));
        let all = AllotmentTerms { lifetime: Some(60), ..first };
        assert_eq!(end(&all, 0, &[7, 40]), (60, Overstay::Lifetime));
        assert_eq!(whole_ticks(Duration::from_millis(251)), 3);
    }

    #[test]
    fn who_is_looked_at_again_is_so_at_the_next_tick() {
        let terms = AllotmentTerms { idle: Some(2), ..NO_TERMS };
        let mut all = Allotments::new(10);
        all.open(3, &terms, 0);
        all.sweep();
        assert!(!all.has_passed());
        all.sweep();
        assert!(all.has_passed());
        assert_eq!((all.next_passed(), all.next_passed()), (Some(3), None));
        all.look_again(3);
        all.sweep();
        assert_eq!(all.next_passed(), Some(3));
        assert_eq!(all.overstays(3, &terms), Some(Overstay::Idle));
    }
}
