//! Percentiles of latency.

use serde::Serialize;

/// Times in nanoseconds.
pub type Histogram = hdrhistogram::Histogram<u64>;

/// The longest latency that is told apart from longer ones, in nanoseconds: a minute.
pub const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Decimal digits of a latency that are kept.
const DIGITS: u8 = 3;

/// An empty histogram; all have the same bounds.
#[must_use]
pub fn histogram() -> Histogram {
    Histogram::new_with_max(LATENCY_MAX_NS, DIGITS).expect("the bounds are valid")
}

/// Percentiles of latency, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    /// Of what `histogram_ns` has recorded; zeros if that is nothing.
    #[must_use]
    pub fn new(histogram_ns: &Histogram) -> Self {
        let at = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }
}
