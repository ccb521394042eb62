//! Moments as people and programs write them.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A time since 1970 as it is told: as ISO 8601 (RFC 3339) in UTC with milliseconds, such as
/// `2026-11-24T12:00:00.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CalendarTime(pub(crate) Duration);

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
}

impl CalendarTime {
    /// Digit by digit: those who come back are told it with each message anew.
    fn text(self) -> [u8; 24] {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        let Date { year, month, day } = date(seconds / 86_400);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], seconds / 3600 % 24);
        put(&mut text[14..16], seconds / 60 % 60);
        put(&mut text[17..19], seconds % 60);
        put(&mut text[20..23], millis.into());
        text
    }
}

impl fmt::Display for CalendarTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(str(&self.text()))
    }
}

impl Serialize for CalendarTime {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(str(&self.text()))
    }
}

fn str(text: &[u8]) -> &str {
    std::str::from_utf8(text).expect("digits are ASCII")
}

/// Puts the last digits of a number, as many as there is room for.
fn put(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
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
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_040, "2000-03-01T00:00:00.040Z"),
            (1_767_225_599_700, "2025-12-31T23:59:59.700Z"),
            (4_107_542_400_001, "2100-03-01T00:00:00.001Z"),
        ] {
            let time = CalendarTime(Duration::from_millis(millis));
            assert_eq!(time.to_string(), text);
            assert_eq!(serde_json::to_string(&time).expect("a string"), format!("{text:?}"));
        }
    }
}
