//! What command lines of several measurements have in common: values that make sense.

use std::ops::RangeInclusive;

use crate::fleet::WINDOW_MAX;

/// Bounds of a time, in seconds.
const SECONDS: RangeInclusive<f64> = 0.0..=3600.0;

/// Reads a time in seconds, up to an hour.
///
/// # Errors
/// It is none; what to write instead.
pub fn seconds(text: &str) -> Result<f64, String> {
    // What is no number is not in the range either.
    let seconds = text.parse().ok().filter(|seconds| SECONDS.contains(seconds));
    seconds.ok_or_else(|| "must be a number of seconds from 0 to 3600, such as 0.5".to_owned())
}

/// Reads a time in seconds that is more than none, up to an hour.
///
/// # Errors
/// As for [`seconds`].
pub fn some_seconds(text: &str) -> Result<f64, String> {
    let some = seconds(text)?;
    if some > 0.0 { Ok(some) } else { Err("must be more than 0 seconds".to_owned()) }
}

/// Reads a number of things of which there must be one at least.
///
/// # Errors
/// It is none, or beyond all machines; what to write instead.
pub fn count(text: &str) -> Result<usize, String> {
    whole(text, 1..=10_000_000)
}

/// Reads how many connections are opening at once.
///
/// # Errors
/// It is none, or more than a fleet has room for; what to write instead.
pub fn window(text: &str) -> Result<usize, String> {
    whole(text, 1..=WINDOW_MAX)
}

/// Reads a number of threads.
///
/// # Errors
/// It is none, or beyond all machines; what to write instead.
pub fn threads(text: &str) -> Result<usize, String> {
    whole(text, 1..=1024)
}

/// Reads the payload of a message, in bytes.
///
/// # Errors
/// It is more than 64 MiB.
pub fn size(text: &str) -> Result<usize, String> {
    whole(text, 0..=64 << 20)
}

/// Reads the text of a message that becomes an event, in bytes.
///
/// # Errors
/// It is more than 64 KiB.
pub fn event_text(text: &str) -> Result<usize, String> {
    whole(text, 0..=64 << 10)
}

/// Reads how many messages are sent per second.
///
/// # Errors
/// It is none, or more than a thread can keep up with; what to write instead.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1.0..=1e6).contains(rate));
    rate.ok_or_else(|| "must be a number from 1 to 1000000".to_owned())
}

fn whole(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let (least, most) = (range.start(), range.end());
    number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_finite_and_not_negative() {
        assert_eq!(seconds("0").ok(), Some(0.0));
        assert_eq!(seconds("0.25").ok(), Some(0.25));
        assert_eq!(seconds("3600").ok(), Some(3600.0));
        for wrong in ["", "-1", "-0.001", "nan", "NaN", "inf", "-inf", "1e300", "3600.1", "5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
            assert!(some_seconds(wrong).is_err(), "{wrong}");
        }
        assert!(some_seconds("0").is_err());
        assert!(some_seconds("-0").is_err());
        assert_eq!(some_seconds("0.001").ok(), Some(0.001));
    }

    #[test]
    fn a_count_is_one_at_least() {
        assert_eq!(count("1"), Ok(1));
        for wrong in ["0", "-1", "", "1.5", "many", "99999999999999999999"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }
}
