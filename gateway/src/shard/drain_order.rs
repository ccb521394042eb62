//! A drain as it is ordered, and where shards show how far they are with it.
//!
//! An order is made once, lies on the panel of each shard, and is the same for all of them. What
//! becomes of it is decided once: whoever takes it back and whoever ends for it ask the same word,
//! so that no shard ends for an order that was taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::Config;
use crate::hub::{Cause, Why};

/// What connections are told that a drain closes, in front of what somebody has to say about it.
const WORD: &str = "drain";

/// What a drain is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// Whose connections are closed.
    pub scope: DrainScope,
    /// How long all goes on before any is; if it is all of them, the gateway says meanwhile that it
    /// is not ready.
    pub delay: Duration,
    /// How long it may take behind that; who is left then is cut off.
    pub time: Duration,
    /// How many are closed in a second.
    pub rate: DrainRate,
    /// What they are told over WebSocket (RFC 6455 section 7.4): one that a server may send.
    pub code: u16,
    /// And in words: see [`DrainPlan::words`].
    pub reason: Arc<str>,
    /// What becomes of the gateway.
    pub after: AfterDrain,
}

/// Whose connections a drain closes: those to which all of these apply, of those that are there
/// when it begins. Without any it is the whole gateway's, and nobody is served who comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainScope {
    /// On the route with this index in the configuration.
    pub route: Option<u16>,
    /// Of the listener with this number: its place in the configuration at the start, or what
    /// it was given when it was added.
    pub listener: Option<u16>,
    /// From a network, as far as addresses are kept.
    pub network: Option<IpNet>,
}

/// How many connections a drain closes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainRate {
    /// Each shard so many.
    OfEach(u32),
    /// All shards so many, each its part of those that are there.
    Together(u32),
}

/// What becomes of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDrain {
    /// It stays. After a drain of the whole gateway, whoever comes is refused until that is taken
    /// back.
    Stay,
    /// It ends, once no shard has one of the connections left. Until then its listeners stay open,
    /// and it can be taken back.
    End,
    /// It ends, and its listeners are closed as soon as the delay is over: others that listen there
    /// have who comes. From then on it cannot be taken back.
    Leave,
}

/// A drain that was ordered.
#[derive(Debug)]
pub struct DrainOrder {
    plan: DrainPlan,
    /// What moments are drawn from.
    seed: u64,
    fate: AtomicU8,
    boards: Box<[DrainBoard]>,
    /// Somebody has said that it begins.
    said_to_begin: AtomicBool,
    /// Stretches of time for which somebody has said how far it is.
    said_for: AtomicU32,
    /// Shards that are done.
    done: AtomicU32,
}

/// What has become of an order.
const OPEN: u8 = 0;
const TAKEN_BACK: u8 = 1;
const FINAL: u8 = 2;

/// How far a shard is, as it shows it.
#[derive(Debug, Default)]
struct DrainBoard {
    phase: AtomicU8,
    total: AtomicU32,
    waiting: AtomicU32,
    leaving: AtomicU32,
    cut_off: AtomicU32,
    unknown: AtomicU32,
}

/// How far a shard is with a drain, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainProgress {
    /// What it is at; of all shards, the earliest.
    pub phase: DrainPhase,
    /// Connections that it is about, since they were counted.
    pub total: u32,
    /// Those of them that are still to be told.
    pub waiting: u32,
    /// Those that were told, and have not gone yet.
    pub leaving: u32,
    /// Those that were cut off because it took too long.
    pub cut_off: u32,
    /// Connections whose address is not kept, so that it is not known whether they are meant.
    pub unknown: u32,
}

/// What a shard is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DrainPhase {
    /// It waits for the delay to pass.
    #[default]
    Announced,
    /// It closes connections.
    Closing,
    /// None of them is left.
    Done,
}

impl DrainPlan {
    /// What the configuration says of a drain of the whole gateway.
    #[must_use]
    pub fn configured(config: &Config, after: AfterDrain) -> Self {
        Self {
            scope: DrainScope::default(),
            delay: config.drain_delay,
            time: config.drain,
            rate: DrainRate::OfEach(config.drain_rate),
            code: config.drain_code,
            reason: WORD.into(),
            after,
        }
    }

    /// What is told in words, where somebody says why: a word for programs, and behind a colon the
    /// rest for people.
    #[must_use]
    pub fn words(reason: &str) -> Arc<str> {
        if reason.is_empty() { WORD.into() } else { format!("{WORD}: {reason}").into() }
    }

    /// The bytes that are left for people, of so many in all.
    #[must_use]
    pub const fn room_for_words(bytes: usize) -> usize {
        bytes - WORD.len() - ": ".len()
    }

    /// Why connections are closed.
    #[must_use]
    pub(super) fn why(&self) -> Why {
        Cause::Wish(self.code).saying(Arc::clone(&self.reason))
    }
}

impl DrainScope {
    /// Whether it is all of the gateway.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }
}

impl DrainRate {
    /// What all of so many shards close in a second.
    #[must_use]
    pub fn together(self, shards: usize) -> u64 {
        match self {
            Self::OfEach(rate) => u64::from(rate) * shards as u64,
            Self::Together(rate) => rate.into(),
        }
    }
}

impl DrainOrder {
    /// An order for so many shards.
    #[must_use]
    pub fn new(plan: DrainPlan, shards: usize, seed: u64) -> Self {
        Self {
            plan,
            seed,
            fate: AtomicU8::new(OPEN),
            boards: (0..shards).map(|_| DrainBoard::default()).collect(),
            said_to_begin: AtomicBool::new(false),
            said_for: AtomicU32::new(0),
            done: AtomicU32::new(0),
        }
    }

    /// What is to be done.
    #[must_use]
    pub fn plan(&self) -> &DrainPlan {
        &self.plan
    }

    /// Takes it back; `false` if it is too late for that.
    #[must_use]
    pub fn take_back(&self) -> bool {
        self.decide(TAKEN_BACK)
    }

    /// Whether it was taken back, or another one has taken over.
    #[must_use]
    pub fn is_taken_back(&self) -> bool {
        self.fate.load(Ordering::Acquire) == TAKEN_BACK
    }

    /// Whether the gateway ends for it, whatever comes.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.fate.load(Ordering::Acquire) == FINAL
    }

    /// From now on the gateway ends for it; `false` if it was taken back before.
    pub(crate) fn make_final(&self) -> bool {
        self.decide(FINAL)
    }

    fn decide(&self, fate: u8) -> bool {
        match self.fate.compare_exchange(OPEN, fate, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(decided) => decided == fate,
        }
    }

    /// How far each shard is.
    pub fn by_shard(&self) -> impl Iterator<Item = DrainProgress> {
        self.boards.iter().map(DrainBoard::load)
    }

    /// How far all shards are together.
    #[must_use]
    pub fn progress(&self) -> DrainProgress {
        let first = DrainProgress { phase: DrainPhase::Done, ..DrainProgress::default() };
        self.by_shard().fold(first, DrainProgress::plus)
    }

    /// Whether no shard has anything left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) as usize >= self.boards.len()
    }

    /// What a shard closes in a second, which may be less than one. While some have yet to count,
    /// all have the same part.
    pub(super) fn rate_of(&self, shard: usize) -> f64 {
        let rate = match self.plan.rate {
            DrainRate::OfEach(rate) => return rate.into(),
            DrainRate::Together(rate) => f64::from(rate),
        };
        let shares = self.boards.iter().map(|board| {
            let is_counted = board.phase.load(Ordering::Acquire) > 0;
            is_counted.then(|| f64::from(board.total.load(Ordering::Relaxed)))
        });
        let total: Option<f64> = shares.sum();
        let own = self.boards.get(shard).map_or(0, |board| board.total.load(Ordering::Relaxed));
        match total {
            Some(total) if total > 0.0 => rate * f64::from(own) / total,
            _ => rate / self.boards.len() as f64,
        }
    }

    /// What moments are drawn from, for a shard; never 0.
    pub(super) fn seed_of(&self, shard: usize) -> u64 {
        (self.seed ^ (shard as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1)
    }

    /// A shard shows how far it is.
    pub(super) fn show(&self, shard: usize, progress: &DrainProgress) {
        let Some(board) = self.boards.get(shard) else { return };
        board.store(progress);
    }

    /// A shard is done; whether it is the last one.
    pub(super) fn is_last_done(&self) -> bool {
        self.done.fetch_add(1, Ordering::AcqRel) as usize + 1 == self.boards.len()
    }

    /// Whether the caller is to say that it begins.
    pub(super) fn is_to_say_that_it_begins(&self) -> bool {
        !self.said_to_begin.swap(true, Ordering::Relaxed)
    }

    /// Whether the caller is to say how far it is, so many stretches of time after its beginning.
    pub(super) fn is_to_say_how_far(&self, stretches: u32) -> bool {
        self.said_for.fetch_max(stretches, Ordering::Relaxed) < stretches
    }
}

impl DrainBoard {
    fn store(&self, progress: &DrainProgress) {
        let DrainProgress { phase, total, waiting, leaving, cut_off, unknown } = *progress;
        for (cell, number) in [
            (&self.total, total),
            (&self.waiting, waiting),
            (&self.leaving, leaving),
            (&self.cut_off, cut_off),
            (&self.unknown, unknown),
        ] {
            cell.store(number, Ordering::Relaxed);
        }
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn load(&self) -> DrainProgress {
        let phase = match self.phase.load(Ordering::Acquire) {
            0 => DrainPhase::Announced,
            1 => DrainPhase::Closing,
            _ => DrainPhase::Done,
        };
        let of = |cell: &AtomicU32| cell.load(Ordering::Relaxed);
        DrainProgress {
            phase,
            total: of(&self.total),
            waiting: of(&self.waiting),
            leaving: of(&self.leaving),
            cut_off: of(&self.cut_off),
            unknown: of(&self.unknown),
        }
    }
}

impl DrainProgress {
    /// Both together.
    fn plus(self, other: Self) -> Self {
        Self {
            phase: self.phase.min(other.phase),
            total: self.total + other.total,
            waiting: self.waiting + other.waiting,
            leaving: self.leaving + other.leaving,
            cut_off: self.cut_off + other.cut_off,
            unknown: self.unknown + other.unknown,
        }
    }

    /// Those that are still there.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.waiting + self.leaving
    }

    /// Those that have gone.
    #[must_use]
    pub fn closed(&self) -> u32 {
        // A shard that shows it meanwhile may have counted anew.
        self.total.saturating_sub(self.left())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rate: DrainRate, shards: usize) -> DrainOrder {
        let plan = DrainPlan::configured(&Config::default(), AfterDrain::End);
        DrainOrder::new(DrainPlan { rate, ..plan }, shards, 7)
    }

    #[test]
    fn what_becomes_of_an_order_is_decided_once() {
        let taken_back = order(DrainRate::OfEach(1), 1);
        assert!(taken_back.take_back() && taken_back.is_taken_back());
        assert!(!taken_back.make_final() && !taken_back.is_final());
        let ended = order(DrainRate::OfEach(1), 1);
        assert!(ended.make_final() && ended.make_final(), "each shard asks");
        assert!(!ended.take_back() && ended.is_final());
    }

    #[test]
    fn shards_share_a_rate_by_what_they_have() {
        let order = order(DrainRate::Together(100), 2);
        assert_eq!([0, 1].map(|shard| order.rate_of(shard)), [50.0, 50.0], "before they count");
        let phase = DrainPhase::Closing;
        order.show(0, &DrainProgress { phase, total: 30, waiting: 30, ..Default::default() });
        assert_eq!(order.rate_of(0), 50.0, "the other has yet to count");
        order.show(1, &DrainProgress { phase, total: 10, leaving: 4, ..Default::default() });
        assert_eq!([0, 1].map(|shard| order.rate_of(shard)), [75.0, 25.0]);
        let all = order.progress();
        assert_eq!((all.total, all.left(), all.closed()), (40, 34, 6));
    }

    #[test]
    fn a_rate_below_the_number_of_shards_is_shared_as_well() {
        let order = order(DrainRate::Together(1), 4);
        assert_eq!([0, 3].map(|shard| order.rate_of(shard)), [0.25, 0.25]);
        let phase = DrainPhase::Closing;
        for (shard, total) in [(0, 9), (1, 1), (2, 0), (3, 0)] {
            order.show(shard, &DrainProgress { phase, total, ..Default::default() });
        }
        assert_eq!([0, 1, 2, 3].map(|shard| order.rate_of(shard)), [0.9, 0.1, 0.0, 0.0]);
    }

    #[test]
    fn each_shard_has_a_rate_of_its_own_where_that_is_said() {
        let order = order(DrainRate::OfEach(20), 3);
        assert_eq!((order.rate_of(2), order.plan().rate.together(3)), (20.0, 60));
    }

    #[test]
    fn what_is_said_by_one_shard_is_not_said_by_another() {
        let order = order(DrainRate::OfEach(1), 2);
        assert!(order.is_to_say_that_it_begins() && !order.is_to_say_that_it_begins());
        let told = [0, 1, 1, 2, 1].map(|stretch| order.is_to_say_how_far(stretch));
        assert_eq!(told, [false, true, false, true, false]);
        assert!(!order.is_last_done() && !order.is_done());
        assert!(order.is_last_done() && order.is_done());
    }

    #[test]
    fn words_for_people_stand_behind_one_for_programs() {
        assert_eq!((&*DrainPlan::words(""), &*DrainPlan::words("a")), ("drain", "drain: a"));
        let room = DrainPlan::room_for_words(123);
        assert_eq!(DrainPlan::words(&"x".repeat(room)).len(), 123);
    }
}
