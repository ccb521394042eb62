//! Counts of values by size, in buckets that double.

/// How many buckets there are.
pub const BUCKETS: usize = 32;

/// Values by size: bucket *i* has those above 2^(*i* - 1), and up to 2^*i*; the first has 0 and 1,
/// the last all that are larger. Adding one takes a few instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Values in each bucket.
    pub buckets: [u64; BUCKETS],
    /// All of them added up.
    pub sum: u64,
}

impl Histogram {
    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        let bits = u64::BITS - value.saturating_sub(1).leading_zeros();
        self.buckets[(bits as usize).min(BUCKETS - 1)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_of_its_power_of_two() {
        for (value, bucket) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (1024, 10),
            (1025, 11),
            (1 << 30, 30),
            (u64::MAX, BUCKETS - 1),
        ] {
            let mut histogram = Histogram::default();
            histogram.record(value);
            assert_eq!(histogram.buckets[bucket], 1, "{value}");
            assert_eq!((histogram.count(), histogram.sum), (1, value));
        }
    }
}
