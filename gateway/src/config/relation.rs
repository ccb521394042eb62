//! What values must be to each other. An error names all of them, with their lines.

use super::reader::{Origin, Setting};
use super::report::Report;
use crate::units::Size;

/// A size or a number that is compared: its key and where it is from.
pub(super) struct Party {
    key: String,
    setting: Setting<u32>,
    /// The value as errors show it.
    shown: String,
}

/// A party, and the most that it may be.
pub(super) struct Bounded<'p> {
    pub(super) party: &'p Party,
    pub(super) most: u32,
}

impl Party {
    /// The size `setting` under the whole path `key`.
    pub(super) fn new(key: impl Into<String>, setting: Setting<u32>) -> Self {
        Self { key: key.into(), setting, shown: Size(setting.value.into()).to_string() }
    }

    /// The plain number `setting` under the whole path `key`.
    pub(super) fn number(key: impl Into<String>, setting: Setting<u16>) -> Self {
        let Setting { value, origin } = setting;
        Self {
            key: key.into(),
            setting: Setting { value: value.into(), origin },
            shown: value.to_string(),
        }
    }

    /// The smaller of two; the refused one, if one was: which is smaller is then not known.
    pub(super) fn smaller(self, other: Self) -> Self {
        let rank = |party: &Self| (party.setting.origin != Origin::Refused, party.value());
        if rank(&other) < rank(&self) { other } else { self }
    }

    /// The size in bytes, or the number.
    pub(super) fn value(&self) -> u32 {
        self.setting.value
    }

    /// `64KiB on line 12`, or `64KiB by default`.
    fn described(&self, report: &Report<'_>) -> String {
        format!("{} {}", self.shown, self.setting.origin.described(report))
    }
}

/// Checks that `small` is not larger than `large`.
pub(super) fn at_most(report: &mut Report<'_>, small: &Party, large: &Party) {
    if small.value() <= large.value() {
        return;
    }
    let message = format!(
        "must be at most `{}`, which is {}, but is {}: lower the one or raise the other",
        large.key,
        large.described(report),
        small.described(report),
    );
    broken(report, &[small, large], message);
}

/// Checks that a party is at most what `other` leaves it because of `why`.
pub(super) fn at_most_beside(
    report: &mut Report<'_>,
    bounded: &Bounded<'_>,
    other: &Party,
    why: &str,
) {
    let Bounded { party, most } = *bounded;
    if party.value() <= most {
        return;
    }
    let message = format!(
        "must be at most {most} while `{}` is {}, but is {}: {why}",
        other.key,
        other.described(report),
        party.described(report),
    );
    broken(report, &[party, other], message);
}

/// Checks that `whole` can hold both `parts`, because of `why`.
pub(super) fn holds(report: &mut Report<'_>, whole: &Party, parts: [&Party; 2], why: &str) {
    let together = parts.iter().map(|part| u64::from(part.value())).sum();
    if u64::from(whole.value()) >= together {
        return;
    }
    let [one, other] = parts;
    let message = format!(
        "must be at least `{}`, which is {}, and `{}`, which is {}, together {}, but is {}: {why}",
        one.key,
        one.described(report),
        other.key,
        other.described(report),
        Size(together),
        whole.described(report),
    );
    broken(report, &[whole, one, other], message);
}

/// Reports under the key of the first of `parties`, at the first that is written. Nothing is said
/// where one was refused or may be lost in broken syntax: what it should have been is not known.
fn broken(report: &mut Report<'_>, parties: &[&Party], message: String) {
    let is_refused = |party: &&Party| party.setting.origin == Origin::Refused;
    if report.is_broken() || parties.iter().any(is_refused) {
        return;
    }
    let written = parties.iter().find_map(|party| match party.setting.origin {
        Origin::Written(offset) => Some(offset),
        Origin::Default | Origin::Refused => None,
    });
    let offset = written.expect("defaults agree with each other, so one of them is written");
    report.error(offset, parties[0].key.clone(), message);
}
