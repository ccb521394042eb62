//! Readers of single values. Each says what is wrong without naming the key.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::reader::expected;
use crate::units::{bytes_in, size_in, time_in};

/// Reads `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        _ => Err(expected("a boolean (true or false)", value)),
    }
}

/// Reads a string.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

/// Reads an integer in `range`.
pub(super) fn integer<T>(value: &DeValue<'_>, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    let DeValue::Integer(written) = value else {
        return Err(expected("an integer", value));
    };
    let (least, most) = ((*range.start()).into(), (*range.end()).into());
    let number = natural(written).filter(|number| (least..=most).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("must be between {least} and {most}, is {written}"))
}

/// Reads a size in `range`: a string with a unit, or an integer of bytes.
pub(super) fn size<T>(value: &DeValue<'_>, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    match value {
        DeValue::String(text) => size_in(text, range),
        DeValue::Integer(written) => match natural(written) {
            Some(bytes) => bytes_in(bytes, range),
            None => Err(expected("a size such as \"64KiB\"", value)),
        },
        _ => Err(expected("a size such as \"64KiB\", or an integer of bytes", value)),
    }
}

/// Reads a duration in `range`: a string with a unit.
pub(super) fn time(
    value: &DeValue<'_>,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, String> {
    match value {
        DeValue::String(text) => time_in(text, range),
        DeValue::Integer(_) => {
            Err(expected("a duration with its unit, as a string such as \"30s\"", value))
        }
        _ => Err(expected("a duration such as \"30s\"", value)),
    }
}

/// Reads one of the `names`, each with what it stands for.
pub(super) fn one_of<T: Copy>(value: &DeValue<'_>, names: &[(&str, T)]) -> Result<T, String> {
    let named = names.iter().find(|(name, _)| value.as_str() == Some(*name));
    named.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let all = names.iter().map(|(name, _)| format!("{name:?}")).collect::<Vec<_>>();
        expected(&all.join(" or "), value)
    })
}

/// The value of `written`, if it is not negative and fits.
fn natural(written: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(written.as_str(), written.radix()).ok()
}
