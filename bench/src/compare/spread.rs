//! Medians with their spread, and what may be concluded from them.

use serde::Serialize;

/// A median and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the values are not above this.
    pub median: f64,
    /// A quarter of the values are not above this.
    pub low: f64,
    /// Three quarters of the values are not above this.
    pub high: f64,
}

/// How something compares with what it is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is less.
    Less,
    /// It is more.
    More,
    /// The spread is larger than the difference.
    None,
}

/// Whether a figure is what it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The median and both quartiles are.
    Reached,
    /// None of them is.
    Missed,
    /// Some are.
    Undecided,
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Less than this.
    LessThan(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Spread {
    /// Of `values`; `None` if there are none, or one of them is no number.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() || sorted.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let at = |part| quantile(&sorted, part);
        Some(Self { median: at(0.5), low: at(0.25), high: at(0.75) })
    }

    /// How this ratio compares with 1. There is no verdict when the quartiles are further apart
    /// than the median is from 1.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        let difference = self.median - 1.0;
        if self.high - self.low >= difference.abs() {
            Verdict::None
        } else if difference < 0.0 {
            Verdict::Less
        } else {
            Verdict::More
        }
    }

    /// Whether this keeps to `bound`.
    #[must_use]
    pub fn outcome(self, bound: Bound) -> Outcome {
        let all = [self.low, self.median, self.high];
        match all.iter().filter(|&&value| bound.holds(value)).count() {
            3 => Outcome::Reached,
            0 => Outcome::Missed,
            _ => Outcome::Undecided,
        }
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::LessThan(limit) => value < limit,
            Self::AtLeast(least) => value >= least,
        }
    }
}

/// The value below which so large a part of `sorted` is, between two of them in proportion.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles() {
        let spread = Spread::of(&[5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!(spread, Spread { median: 3.0, low: 2.0, high: 4.0 });
        let spread = Spread::of(&[1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 1.5, low: 1.25, high: 1.75 });
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn no_verdict_when_the_spread_is_larger_than_the_difference() {
        let spread = |low, median, high| Spread { median, low, high };
        assert_eq!(spread(0.88, 0.9, 0.92).verdict(), Verdict::Less);
        assert_eq!(spread(1.08, 1.1, 1.12).verdict(), Verdict::More);
        assert_eq!(spread(0.84, 0.9, 0.95).verdict(), Verdict::None);
        assert_eq!(spread(1.0, 1.0, 1.0).verdict(), Verdict::None);
    }

    #[test]
    fn a_bound_is_reached_by_all_three_or_not() {
        let spread = Spread { median: 0.95, low: 0.9, high: 1.0 };
        assert_eq!(spread.outcome(Bound::AtMost(1.0)), Outcome::Reached);
        assert_eq!(spread.outcome(Bound::AtMost(0.95)), Outcome::Undecided);
        assert_eq!(spread.outcome(Bound::AtMost(0.8)), Outcome::Missed);
        assert_eq!(spread.outcome(Bound::LessThan(1.1)), Outcome::Reached);
        assert_eq!(spread.outcome(Bound::LessThan(1.0)), Outcome::Undecided);
        assert_eq!(spread.outcome(Bound::AtLeast(0.9)), Outcome::Reached);
        assert_eq!(spread.outcome(Bound::AtLeast(1.1)), Outcome::Missed);
    }
}
