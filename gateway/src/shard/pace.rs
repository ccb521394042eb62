//! So many in a second, spread over it.

use std::time::Duration;

/// The time between two portions, on average, where that is longer than between two of them.
const PORTION: Duration = Duration::from_millis(10);

/// The longest time between two portions, on average. Where fewer than one are due in it most of
/// them are empty: the rate may have changed meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// What a shard that was held up makes up for, in seconds: no more is closed at once.
const MADE_UP: f64 = 0.25;

/// When how many are next. Moments are drawn, so that shards and gateways that begin together do
/// not go on together, nor does any at the same moment of each second.
pub(super) struct Portions {
    last: Duration,
    next: Duration,
    /// What time has brought and was not taken, a fraction of one among it.
    credit: f64,
    /// The state of a xorshift generator; never 0.
    random: u64,
}

impl Portions {
    /// From `now` on, at so many in a second at first. The first one is due at once, or of less
    /// than one in a second at a moment that is drawn: shards of which each has a part of one do
    /// not all begin with a whole one.
    pub(super) fn new(now: Duration, rate: f64, seed: u64) -> Self {
        let mut portions = Self { last: now, next: now, credit: 1.0, random: seed.max(1) };
        if rate < 1.0 {
            portions.credit = portions.half_to_three_halves() - 0.5;
        }
        portions
    }

    /// When the next portion is due.
    pub(super) fn next(&self) -> Duration {
        self.next
    }

    /// How many are due `now`, at so many in a second.
    pub(super) fn due(&mut self, now: Duration, rate: f64) -> u32 {
        if now < self.next {
            return 0;
        }
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.last = now;
        self.credit = (self.credit + passed * rate).min((rate * MADE_UP).max(2.0));
        let count = self.credit.floor();
        self.credit -= count;
        let each = Duration::from_secs_f64(1.0 / rate.max(0.001));
        self.next = now + each.clamp(PORTION, PAUSE).mul_f64(self.half_to_three_halves());
        count as u32
    }

    fn half_to_three_halves(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        0.5 + (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each portion was due, and how many it had.
    fn portions(rate: f64, seed: u64, until: Duration) -> Vec<(Duration, u32)> {
        let mut portions = Portions::new(Duration::ZERO, rate, seed);
        let mut all = Vec::new();
        while portions.next() < until {
            let now = portions.next();
            all.push((now, portions.due(now, rate)));
        }
        all
    }

    #[test]
    fn a_rate_is_kept_and_no_second_has_more() {
        for rate in [0.25, 1.0, 7.5, 100.0, 1000.0, 100_000.0] {
            let all = portions(rate, 3, Duration::from_secs(20));
            let count: u32 = all.iter().map(|(_, count)| count).sum();
            let expected = rate * 20.0;
            assert!((f64::from(count) - expected).abs() <= expected / 50.0 + 2.0, "{count}");
            for (from, _) in &all {
                let second = *from..*from + Duration::from_secs(1);
                let within = all.iter().filter(|(at, _)| second.contains(at));
                let count: u32 = within.map(|(_, count)| count).sum();
                assert!(f64::from(count) <= rate * 1.02 + 2.0, "{count} of {rate} in a second");
            }
        }
    }

    #[test]
    fn shards_with_a_part_of_one_a_second_do_not_begin_with_one_each() {
        let until = Duration::from_secs(20);
        let all: Vec<_> = (1..=64_u64)
            .map(|seed| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .flat_map(|seed| portions(1.0 / 64.0, seed, until))
            .collect();
        let before = |end| all.iter().filter(|(at, _)| *at < end).map(|(_, count)| count).sum();
        let (first, whole): (u32, u32) = (before(Duration::from_secs(2)), before(until));
        assert!(first <= 6 && (10..=30).contains(&whole), "{first} at first, {whole} in 20 s");
    }

    #[test]
    fn moments_are_not_the_same_for_two_seeds_nor_evenly_apart() {
        let [one, other] = [1, 2].map(|seed| portions(10.0, seed, Duration::from_secs(5)));
        assert_ne!(one, other);
        let gaps: Vec<_> = one.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(*most > *least * 3 / 2, "{least:?} to {most:?}");
        let bounds = Duration::from_millis(50)..=Duration::from_millis(150);
        assert!(gaps.iter().all(|gap| bounds.contains(gap)), "{gaps:?}");
    }

    #[test]
    fn who_was_held_up_does_not_make_all_of_it_up_at_once() {
        let mut portions = Portions::new(Duration::ZERO, 1000.0, 9);
        assert_eq!(portions.due(Duration::ZERO, 1000.0), 1);
        assert_eq!(portions.due(Duration::from_millis(1), 1000.0), 0, "it is not due");
        assert_eq!(portions.due(Duration::from_secs(60), 1000.0), 250);
    }
}
