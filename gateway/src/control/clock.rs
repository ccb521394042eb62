//! Moments as people and programs write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
}

/// Now.
pub(super) fn since_1970() -> Duration {
    // A clock that stands before 1970 is not set at all.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `seconds` since 1970 as ISO 8601 (RFC 3339), such as `2026-11-24T12:00:00Z`.
pub(super) fn iso8601(seconds: u64) -> String {
    let Date { year, month, day } = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date so many days behind 1970-01-01, in the Gregorian calendar. Years begin in March here,
/// so that the leap day is the last one of a year.
fn date(days: u64) -> Date {
    const ERA: u64 = 146_097;
    /// From 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    let days = days + EPOCH;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    Date { year: era * 400 + year + next, month, day }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso8601(seconds), text);
        }
    }
}
