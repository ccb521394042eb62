//! Readers of single values of options. Each says what is wrong without naming the key.

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::config::built::BuiltWrong;
use crate::escapes::has_right_escapes;
use crate::units::{quote, time_in};

/// The bounds of every duration in a stack.
pub(super) const TIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(4 * 3600);
/// The bounds of what waits to be accepted.
pub(super) const LISTEN_BACKLOGS: RangeInclusive<u32> = 1..=65_535;
/// The most bytes of a file's name (`PATH_MAX`, without the zero behind it).
const NAME_MAX: usize = 4095;

pub(super) fn time(text: &str) -> Result<Duration, String> {
    time_in(text, &TIMES)
}

pub(super) fn time_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    time(text).map(Some).map_err(|wrong| format!("{wrong} (or write `off`)"))
}

pub(super) fn number_in<T>(text: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("must be a whole number between {least} and {most}, is {}", quote(text))
    })
}

/// Reads the name of a file. `&` and `!`, which end an option and a layer, are written `%26` and
/// `%21`, and `%` itself `%25`; any other byte may be written so.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if !has_right_escapes(text) {
        return Err(format!(
            "has a `%` without two hexadecimal digits, is {}: `%` itself is `%25`",
            quote(text)
        ));
    }
    let name = PathBuf::from(OsString::from_vec(percent_decode_str(text).collect()));
    check_file_name(&name).map(|()| name)
}

/// Checks that there can be a file of this name.
pub(in crate::config) fn check_file_name(name: &Path) -> Result<(), String> {
    let bytes = name.as_os_str().as_bytes();
    match bytes.len() {
        0 => Err("must be the name of a file, is empty".into()),
        length if length > NAME_MAX => {
            Err(format!("must be a file's name of at most {NAME_MAX} bytes, has {length}"))
        }
        _ if bytes.contains(&0) => Err("must be the name of a file: it has a zero byte".into()),
        _ => Ok(()),
    }
}

/// Checks the name of a file that a program has put together for `field`.
pub(in crate::config) fn built_file_name(
    field: impl fmt::Display,
    name: &Path,
) -> Result<(), BuiltWrong> {
    check_file_name(name).map_err(|wrong| BuiltWrong(format!("{field}: {wrong}")))
}

/// A file's name as [`file`] reads it.
pub(super) struct FileName<'p>(pub(super) &'p Path);

impl fmt::Display for FileName<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.as_os_str().as_bytes().utf8_chunks() {
            for letter in part.valid().chars() {
                let is_plain = !matches!(letter, '%' | '&' | '!') && !letter.is_ascii_control();
                match is_plain {
                    true => write!(out, "{letter}")?,
                    false => write!(out, "%{:02X}", u32::from(letter))?,
                }
            }
            for byte in part.invalid() {
                write!(out, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}
