//! What is wanted of a gateway while all come back, and whether it was so.

use std::fmt;

use serde::Serialize;

use crate::compare::Outcome;
use crate::others::Seen;
use crate::scrape::Turns;

/// How long a turn of the gateway's loop may take, in nanoseconds.
pub(crate) const TURN_MAX_NS: u64 = 5_000_000;

/// How many tokens a second of CPU lets in, of the signatures that the crypto library verifies.
const TOKENS_RATIO_MIN: f64 = 0.9;

/// The longest that a change of the configuration may take, in seconds.
const RELOAD_MAX_SECONDS: f64 = 1.0;

/// What the p99 of the others may be, to that before.
pub(crate) const P99_RATIO_MAX: f64 = 3.0;

/// A bound, and whether it was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoundReport {
    /// What is wanted.
    pub wanted: String,
    /// What was seen.
    pub seen: String,
    /// Whether that is what is wanted; nothing if it is not known.
    pub outcome: Option<Outcome>,
}

impl BoundReport {
    fn new(wanted: String, seen: String, is_reached: bool) -> Self {
        let outcome = if is_reached { Outcome::Reached } else { Outcome::Missed };
        Self { wanted, seen, outcome: Some(outcome) }
    }

    /// Nothing was seen, for this reason.
    fn unknown(wanted: String, why: &str) -> Self {
        Self { wanted, seen: why.to_owned(), outcome: None }
    }

    /// Whether it is known to be reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.outcome == Some(Outcome::Reached)
    }
}

impl fmt::Display for BoundReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Some(Outcome::Reached) => "reached",
            Some(Outcome::Missed) => "missed",
            Some(Outcome::Undecided) => "undecided",
            None => "not known",
        };
        write!(out, "wanted {}: {}, {outcome}", self.wanted, self.seen)
    }
}

/// No client may be closed, dropped or refused.
pub(crate) fn of_clients(lost: usize) -> BoundReport {
    BoundReport::new("0 clients lost".into(), lost.to_string(), lost == 0)
}

/// A token is to take little more than its signature takes the crypto library.
pub(crate) fn of_tokens(gateway_us: f64, crypto_us: f64) -> BoundReport {
    let wanted = format!("{TOKENS_RATIO_MIN} of the signatures that the crypto library verifies");
    let ratio = crypto_us / gateway_us;
    BoundReport::new(wanted, format!("{ratio:.2}"), ratio >= TOKENS_RATIO_MIN)
}

/// A change of the configuration is to be quick.
pub(crate) fn of_reload(seconds: f64) -> BoundReport {
    let wanted = format!("a change within {RELOAD_MAX_SECONDS} s");
    BoundReport::new(wanted, format!("{seconds:.2} s"), seconds <= RELOAD_MAX_SECONDS)
}

/// No turn may be too long. One in the bucket that has the limit within it may be or may not.
pub(crate) fn of_turns(turns: &Turns) -> BoundReport {
    let wanted = format!("turns up to {} ms", TURN_MAX_NS / 1_000_000);
    if turns.count() == 0 {
        return BoundReport::unknown(wanted, "the gateway has counted none");
    }
    let (longer, perhaps) = (turns.surely_beyond(TURN_MAX_NS), turns.beyond(TURN_MAX_NS));
    let seen = format!("{longer} longer, {} perhaps", perhaps - longer);
    let bound = BoundReport::new(wanted, seen, longer == 0);
    let is_undecided = longer == 0 && perhaps > 0;
    if is_undecided { BoundReport { outcome: Some(Outcome::Undecided), ..bound } } else { bound }
}

/// The others may not wait much longer than before.
pub(crate) fn of_others(quiet: &Seen, busy: &Seen) -> BoundReport {
    let wanted = format!("others' p99 up to {P99_RATIO_MAX} times that before");
    let Some(ratio) = busy.p99_to(quiet) else {
        let why = format!("{} echoes before and {} meanwhile", quiet.echoes, busy.echoes);
        return BoundReport::unknown(wanted, &why);
    };
    BoundReport::new(wanted, format!("{ratio:.2}"), ratio <= P99_RATIO_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::{Latency, histogram};

    fn seen(echoes: u64, p99_us: f64) -> Seen {
        let none = Latency::new(&histogram());
        Seen { echoes, echo: Latency { p99_us, ..none }, lateness: none }
    }

    fn turns(counts: [u64; 3]) -> Turns {
        let bounds_ns = [4_194_304, 8_388_608, u64::MAX];
        Turns { by_bound_ns: bounds_ns.into_iter().zip(counts).collect() }
    }

    #[test]
    fn one_client_that_is_lost_is_too_many() {
        assert!(of_clients(0).is_reached());
        assert_eq!(of_clients(1).to_string(), "wanted 0 clients lost: 1, missed");
    }

    #[test]
    fn turns_in_the_bucket_that_has_the_limit_in_it_decide_nothing() {
        for (counts, outcome) in [
            ([9, 0, 0], Some(Outcome::Reached)),
            ([9, 1, 0], Some(Outcome::Undecided)),
            ([9, 0, 1], Some(Outcome::Missed)),
            ([9, 1, 1], Some(Outcome::Missed)),
            ([0, 0, 0], None),
        ] {
            let bound = of_turns(&turns(counts));
            assert_eq!(bound.outcome, outcome, "{bound}");
            assert_eq!(bound.is_reached(), counts == [9, 0, 0], "{bound}");
        }
        let said = of_turns(&turns([9, 2, 1])).to_string();
        assert_eq!(said, "wanted turns up to 5 ms: 1 longer, 2 perhaps, missed");
    }

    #[test]
    fn the_others_may_wait_three_times_as_long() {
        assert!(of_others(&seen(9, 100.0), &seen(9, 300.0)).is_reached());
        let missed = of_others(&seen(9, 100.0), &seen(9, 301.0));
        assert_eq!(missed.outcome, Some(Outcome::Missed), "{missed}");
        for [quiet, busy] in [[0, 9], [9, 0]] {
            let unknown = of_others(&seen(quiet, 0.0), &seen(busy, 0.0));
            assert_eq!(unknown.outcome, None, "{unknown}");
        }
    }
}
