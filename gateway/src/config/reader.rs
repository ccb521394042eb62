//! A table of the file, read key by key.
//!
//! A key that is read is a known key; [`TableReader::finish`] reports the others. A value that is
//! refused reads as its default, so that the rest of the file is still checked.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::hint;
use super::report::Report;
use super::stack::StackError;
use crate::units::quote;

/// A value, and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// Where a value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The key is not written: the value is its default.
    Default,
    /// The value is written at this byte.
    Written(usize),
    /// What is written was refused and reported; the value is the default, in its place.
    Refused,
}

impl Origin {
    /// `on line 12`, or `by default`.
    pub(super) fn described(self, report: &Report<'_>) -> String {
        match self {
            Self::Written(offset) => format!("on line {}", report.line(offset)),
            Self::Default | Self::Refused => "by default".into(),
        }
    }
}

impl<T> Setting<T> {
    /// A value that is not written in the file.
    pub(super) fn default(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
}

/// A table while it is read.
pub(super) struct TableReader<'r, 'v> {
    report: &'r mut Report<'v>,
    table: &'v DeTable<'v>,
    /// The table's path and a dot, or nothing for the root.
    prefix: String,
    /// The byte that the table's header begins at.
    offset: usize,
    known: Vec<&'static str>,
}

impl<'r, 'v> TableReader<'r, 'v> {
    /// Reads the root of the file.
    pub(super) fn root(report: &'r mut Report<'v>, table: &'v DeTable<'v>) -> Self {
        Self { report, table, prefix: String::new(), offset: 0, known: Vec::new() }
    }

    /// Reads `value`, which must be a table and has the path `path`. `None`, and an error, if it is
    /// not one.
    pub(super) fn nested(
        report: &'r mut Report<'v>,
        value: &'v Spanned<DeValue<'v>>,
        path: &str,
    ) -> Option<Self> {
        let offset = value.span().start;
        let DeValue::Table(table) = value.get_ref() else {
            report.error(offset, path.into(), expected("a table", value.get_ref()));
            return None;
        };
        Some(Self { report, table, prefix: format!("{path}."), offset, known: Vec::new() })
    }

    /// The report that errors go to.
    pub(super) fn report(&mut self) -> &mut Report<'v> {
        self.report
    }

    /// The path of `key`, as errors name it.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value of `key` as it is written. What a syntax error left without a value counts as not
    /// written: the parser puts an empty span there.
    pub(super) fn raw(&mut self, key: &'static str) -> Option<&'v Spanned<DeValue<'v>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key).filter(|value| !value.span().is_empty())
    }

    /// The value of `key` as `parse` reads it, or `default`. `parse` says what is wrong without
    /// naming the key.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Setting<T> {
        let Some(raw) = self.raw(key) else {
            return Setting { value: default, origin: Origin::Default };
        };
        let offset = raw.span().start;
        match parse(raw.get_ref()) {
            Ok(value) => Setting { value, origin: Origin::Written(offset) },
            Err(wrong) => {
                self.report.error(offset, self.path(key), wrong);
                Setting { value: default, origin: Origin::Refused }
            }
        }
    }

    /// As [`TableReader::read`], for a key that must be written; `None` if it is not or is refused.
    /// `example` is a line that could be added.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Setting<Option<T>> {
        let setting = self.read(key, None, |value| parse(value).map(Some));
        if setting.origin == Origin::Default && !self.report.is_broken() {
            self.report.error(self.offset, self.path(key), format!("is missing: add `{example}`"));
        }
        setting
    }

    /// As [`TableReader::read`], for a key that means nothing where `idle` says why.
    pub(super) fn read_unless<T>(
        &mut self,
        key: &'static str,
        idle: Option<&str>,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Setting<T> {
        match idle {
            None => self.read(key, default, parse),
            Some(why) => self.read(key, default, |_| Err(format!("means nothing {why}"))),
        }
    }

    /// Reports that the value of `key` is wrong, or that the table has none.
    pub(super) fn wrong(&mut self, key: &'static str, message: String) {
        let offset = self.raw(key).map_or(self.offset, |raw| raw.span().start);
        self.report.error(offset, self.path(key), message);
    }

    /// Reports `errors`, which point into the text that is written for `key`.
    pub(super) fn errors_within(&mut self, key: &'static str, errors: Vec<StackError>) {
        let Some(raw) = self.table.get(key) else { return };
        let (begin, path) = (raw.span().start, self.path(key));
        let text = raw.get_ref().as_str().unwrap_or_default();
        let inner = inner_offset(self.report.source(raw.span()), text);
        for StackError { offset, message } in errors {
            match inner {
                Some(inner) => {
                    self.report.error_within(begin + inner + offset, path.clone(), message);
                }
                None => self.report.error(begin, path.clone(), message),
            }
        }
    }

    /// Reports the keys that nothing has read.
    pub(super) fn finish(self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let hint = hint::names("keys", name, &self.known);
                let path = format!("{}{}", self.prefix, bare(name));
                self.report.error(key.span().start, path, format!("is not a key{hint}"));
            }
        }
    }
}

/// The byte of `source`, a TOML string with its quotes, at which `text` begins; `None` if escapes
/// make the two differ.
fn inner_offset(source: &str, text: &str) -> Option<usize> {
    source.find(text).filter(|_| !source.contains('\\') || source.starts_with('\''))
}

/// `key` as TOML writes it: quoted where it must be.
fn bare(key: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if !key.is_empty() && key.len() <= 60 && key.chars().all(plain) {
        return key.into();
    }
    quote(key)
}

/// What is said of a value that is not `wanted`.
pub(super) fn expected(wanted: &str, value: &DeValue<'_>) -> String {
    let is = match value {
        DeValue::String(text) => format!("the string {}", quote(text)),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Float(_) => "a float".into(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    };
    format!("must be {wanted}, is {is}")
}
