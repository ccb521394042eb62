//! Sizes and durations as a person writes them: `"64KiB"`, `"30s"`.
//!
//! Both are a whole number and a unit, without a space, a sign or a fraction. A size may leave its
//! unit out and then counts bytes; a duration may not, because seconds and milliseconds are
//! mistaken for each other too easily.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written `"64KiB"`, `"1GB"` or `"16448"`.
///
/// `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024; `KB`, `MB`, `GB` and `TB` are powers of 1000;
/// `B` and no unit at all are bytes. It is displayed in the largest unit of 1024 that divides it,
/// else as plain bytes, and what is displayed parses to the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A duration in whole milliseconds, written `"500ms"`, `"30s"`, `"5m"` or `"2h"`.
///
/// It is displayed in the largest unit that divides it; what is displayed parses to the same
/// duration, less the fraction of a millisecond that it may have been built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// Why a text is not a size or not a duration. Displayed, it quotes the text and says what to
/// write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    reason: Reason,
    expected: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Empty,
    Negative,
    Fraction,
    NoNumber,
    NoUnit,
    /// The unit begins at this byte of the text.
    UnknownUnit(usize),
    TooLarge,
}

/// What is said of a size that cannot be read.
pub(crate) const SIZE_EXPECTED: &str = "write a size as a whole number of bytes, or with one of \
     B, KiB, MiB, GiB, TiB, KB, MB, GB, TB, such as \"64KiB\"";

/// What is said of a duration that cannot be read.
pub(crate) const TIME_EXPECTED: &str =
    "write a duration as a whole number with one of ms, s, m, h, such as \"30s\"";

/// The units of a size, in bytes; the ones of 1024 first, from the largest, for `Display`.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// The units of a duration, in milliseconds, from the largest.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fail = |reason| UnitError { text: text.into(), reason, expected: SIZE_EXPECTED };
        let (number, unit) = split(text).map_err(fail)?;
        if unit.is_empty() {
            return Ok(Self(number));
        }
        scale(text, number, unit, &SIZE_UNITS).map(Self).map_err(fail)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary =
            SIZE_UNITS.iter().take(4).find(|unit| self.0 != 0 && self.0.is_multiple_of(unit.1));
        match binary {
            Some((name, bytes)) => write!(out, "{}{name}", self.0 / bytes),
            None => write!(out, "{}", self.0),
        }
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fail = |reason| UnitError { text: text.into(), reason, expected: TIME_EXPECTED };
        let (number, unit) = split(text).map_err(fail)?;
        if unit.is_empty() {
            return Err(fail(Reason::NoUnit));
        }
        let milliseconds = scale(text, number, unit, &TIME_UNITS).map_err(fail)?;
        Ok(Self(Duration::from_millis(milliseconds)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let whole = TIME_UNITS.iter().find(|unit| milliseconds.is_multiple_of(unit.1.into()));
        let (name, unit) = whole.expect("the last unit is 1 ms, which divides every number");
        if milliseconds == 0 {
            return out.write_str("0s");
        }
        write!(out, "{}{name}", milliseconds / u128::from(*unit))
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&quote(&self.text))?;
        match self.reason {
            Reason::Empty => out.write_str(" is empty")?,
            Reason::Negative => out.write_str(" is negative")?,
            Reason::Fraction => out.write_str(" is not a whole number")?,
            Reason::NoNumber => out.write_str(" does not begin with a number")?,
            Reason::NoUnit => out.write_str(" has no unit")?,
            Reason::UnknownUnit(at) => {
                write!(out, " has the unknown unit {}", quote(&self.text[at..]))?;
            }
            Reason::TooLarge => out.write_str(" is too large")?,
        }
        write!(out, ": {}", self.expected)
    }
}

impl std::error::Error for UnitError {}

/// The number that `text` begins with, and the unit behind it, which may be empty.
fn split(text: &str) -> Result<(u64, &str), Reason> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(match unit.chars().next() {
            None => Reason::Empty,
            Some('-') => Reason::Negative,
            Some(_) => Reason::NoNumber,
        });
    }
    if unit.starts_with(['.', ',']) {
        return Err(Reason::Fraction);
    }
    Ok((digits.parse().map_err(|_| Reason::TooLarge)?, unit))
}

/// `number` times the value of `unit`, which is the last part of `text`.
fn scale(text: &str, number: u64, unit: &str, units: &[(&str, u64)]) -> Result<u64, Reason> {
    let known = units.iter().find(|known| known.0 == unit);
    let (_, factor) = known.ok_or(Reason::UnknownUnit(text.len() - unit.len()))?;
    number.checked_mul(*factor).ok_or(Reason::TooLarge)
}

/// `text` in quotes, its control characters escaped, and cut short where it is long: configuration
/// errors are read on a terminal.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The size that `text` says, if it is in `range`; else what is wrong with it.
pub(crate) fn size_in<T>(text: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    let size: Size = text.parse().map_err(|error: UnitError| error.to_string())?;
    bytes_in(size.0, range)
}

/// `bytes` in the type of `range`, if it is in it; else what is wrong with it.
pub(crate) fn bytes_in<T>(bytes: u64, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    let (least, most) = ((*range.start()).into(), (*range.end()).into());
    let within = (least..=most).contains(&bytes).then(|| T::try_from(bytes).ok()).flatten();
    within.ok_or_else(|| {
        format!("must be between {} and {}, is {}", Size(least), Size(most), Size(bytes))
    })
}

/// The duration that `text` says, if it is in `range`; else what is wrong with it.
pub(crate) fn time_in(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let time: Time = text.parse().map_err(|error: UnitError| error.to_string())?;
    duration_in(time.0, range)
}

/// `time`, if it is in `range`; else what is wrong with it.
pub(crate) fn duration_in(
    time: Duration,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, String> {
    if range.contains(&time) {
        return Ok(time);
    }
    let (least, most) = (Time(*range.start()), Time(*range.end()));
    Err(format!("must be between {least} and {most}, is {}", Time(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_display() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("1", 1, "1"),
            ("16448", 16_448, "16448"),
            ("007", 7, "7"),
            ("12B", 12, "12"),
            ("64KiB", 65_536, "64KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("16MiB", 16 << 20, "16MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("3TiB", 3 << 40, "3TiB"),
            ("1KB", 1_000, "1000"),
            ("1MB", 1_000_000, "1000000"),
            ("2GB", 2_000_000_000, "1953125KiB"),
            ("1TB", 1_000_000_000_000, "976562500KiB"),
            ("18446744073709551615", u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn times_parse_and_display() {
        for (text, milliseconds, shown) in [
            ("0s", 0, "0s"),
            ("0h", 0, "0s"),
            ("1ms", 1, "1ms"),
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("1000ms", 1_000, "1s"),
            ("5m", 300_000, "5m"),
            ("120m", 7_200_000, "2h"),
            ("2h", 7_200_000, "2h"),
            ("18446744073709551615ms", u64::MAX, "18446744073709551615ms"),
        ] {
            let time = Time(Duration::from_millis(milliseconds));
            assert_eq!(text.parse(), Ok(time), "{text}");
            assert_eq!(time.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_displayed_parses_to_the_same() {
        let mut state = 1_u64;
        for round in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (state >> (round % 64)) << (round / 64 % 44);
            let (size, time) = (Size(number), Time(Duration::from_millis(number)));
            assert_eq!(size.to_string().parse(), Ok(size), "{number}");
            assert_eq!(time.to_string().parse(), Ok(time), "{number}");
        }
    }

    #[test]
    fn a_size_that_cannot_be_read_says_why() {
        for (text, why) in [
            ("", "\"\" is empty"),
            ("-1", "\"-1\" is negative"),
            ("-64KiB", "\"-64KiB\" is negative"),
            ("1.5MiB", "\"1.5MiB\" is not a whole number"),
            ("KiB", "\"KiB\" does not begin with a number"),
            ("+1", "\"+1\" does not begin with a number"),
            (" 1", "\" 1\" does not begin with a number"),
            ("64k", "\"64k\" has the unknown unit \"k\""),
            ("64 KiB", "\"64 KiB\" has the unknown unit \" KiB\""),
            ("64kib", "\"64kib\" has the unknown unit \"kib\""),
            ("1\u{1F30A}", "\"1\u{1F30A}\" has the unknown unit \"\u{1F30A}\""),
            ("18446744073709551616", "\"18446744073709551616\" is too large"),
            ("16777216TiB", "\"16777216TiB\" is too large"),
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert_eq!(error, format!("{why}: {SIZE_EXPECTED}"), "{text}");
        }
    }

    #[test]
    fn a_duration_that_cannot_be_read_says_why() {
        for (text, why) in [
            ("", "\"\" is empty"),
            ("30", "\"30\" has no unit"),
            ("0", "\"0\" has no unit"),
            ("-1s", "\"-1s\" is negative"),
            ("0.5s", "\"0.5s\" is not a whole number"),
            ("s", "\"s\" does not begin with a number"),
            ("3d", "\"3d\" has the unknown unit \"d\""),
            ("1m30s", "\"1m30s\" has the unknown unit \"m30s\""),
            ("5124095576030432h", "\"5124095576030432h\" is too large"),
        ] {
            let error = text.parse::<Time>().unwrap_err().to_string();
            assert_eq!(error, format!("{why}: {TIME_EXPECTED}"), "{text}");
        }
    }

    #[test]
    fn a_range_is_checked_in_its_own_unit() {
        assert_eq!(size_in("64KiB", &(1_u32..=65_536)), Ok(65_536));
        let error = size_in("8GiB", &(1024_u32..=u32::MAX)).unwrap_err();
        assert_eq!(error, "must be between 1KiB and 4294967295, is 8GiB");
        let hour = Duration::from_secs(3600);
        assert_eq!(time_in("60m", &(Duration::ZERO..=hour)), Ok(hour));
        let error = time_in("61m", &(Duration::from_secs(1)..=hour)).unwrap_err();
        assert_eq!(error, "must be between 1s and 1h, is 61m");
    }

    #[test]
    fn a_long_text_is_cut_and_escaped() {
        assert_eq!(quote("a\u{7}"), "\"a\\u{7}\"");
        assert_eq!(quote(&"x".repeat(61)), format!("\"{}\"…", "x".repeat(60)));
    }
}
