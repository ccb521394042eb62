//! How much may come, in the long run and at once: the generic cell rate algorithm, whose state is
//! one number.

/// How much may be sent in the long run, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Each second, at least 1.
    pub per_second: u32,
    /// At once, at least 1.
    pub burst: u32,
}

impl Flow {
    /// The nanoseconds in which so much comes to be allowed, rounded down: for whoever sends.
    #[must_use]
    pub fn time_of(self, count: u32) -> u64 {
        u64::from(count) * 1_000_000_000 / u64::from(self.per_second)
    }
}

/// When a bucket would be full again, in nanoseconds of the shard's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(u64);

impl Bucket {
    /// So much is taken, be it there or not; whether it was.
    pub fn take(&mut self, flow: Flow, now: u64, count: u32) -> bool {
        self.0 = self.0.max(now).saturating_add(flow.time_of(count));
        self.0 <= now.saturating_add(flow.time_of(flow.burst))
    }

    /// From when on there is one again.
    #[must_use]
    pub fn has_one_at(self, flow: Flow) -> u64 {
        let full = flow.time_of(flow.burst);
        self.0.saturating_add(flow.time_of(1)).saturating_sub(full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    proptest! {
        /// Over any stretch of time no more is there than the burst and what comes meanwhile; and
        /// as much is.
        #[test]
        fn a_bucket_is_as_a_count_of_what_is_there(
            per_second in 1..3000_u32,
            burst in 1..50_u32,
            takes in prop::collection::vec((0..2 * SECOND, 0..20_u32), 1..60),
        ) {
            let flow = Flow { per_second, burst };
            let (mut bucket, mut now) = (Bucket::default(), 5 * SECOND);
            // What is there, in parts of which a second has so many.
            let (mut there, whole) = (u128::from(burst) * u128::from(SECOND), u128::from(SECOND));
            for (pause, count) in takes {
                now += pause;
                let comes = u128::from(pause) * u128::from(per_second);
                there = (there + comes).min(u128::from(burst) * whole);
                let wanted = u128::from(count) * whole;
                let mut tried = bucket;
                let is_there = tried.take(flow, now, count);
                // Rounding is for the client, by less than a nanosecond's worth for each.
                let slack = u128::from(per_second) * 70;
                prop_assert!(is_there || wanted > there, "{wanted} of {there}");
                prop_assert!(!is_there || wanted <= there + slack, "{wanted} of {there}");
                if is_there {
                    bucket = tried;
                    there = there.saturating_sub(wanted);
                }
            }
        }
    }
}
