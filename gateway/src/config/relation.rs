//! What values must be to each other. An error names all of them, with their lines.

use super::reader::{Origin, Setting};
use super::report::Report;
use super::units::Size;

/// A size that is compared: its key and where it is from.
pub(super) struct Party {
    key: String,
    setting: Setting<u32>,
}

impl Party {
    /// The size `setting` under the whole path `key`.
    pub(super) fn new(key: impl Into<String>, setting: Setting<u32>) -> Self {
        Self { key: key.into(), setting }
    }

    /// The smaller of two; the refused one, if one was: which is smaller is then not known.
    pub(super) fn smaller(self, other: Self) -> Self {
        let rank = |party: &Self| (party.setting.origin != Origin::Refused, party.bytes());
        if rank(&other) < rank(&self) { other } else { self }
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> u32 {
        self.setting.value
    }

    fn size(&self) -> Size {
        Size(self.setting.value.into())
    }

    /// `64KiB on line 12`, or `64KiB by default`.
    fn described(&self, report: &Report<'_>) -> String {
        match self.setting.origin {
            Origin::Written(offset) => format!("{} on line {}", self.size(), report.line(offset)),
            Origin::Default | Origin::Refused => format!("{} by default", self.size()),
        }
    }
}

/// Checks that `small` is not larger than `large`.
pub(super) fn at_most(report: &mut Report<'_>, small: &Party, large: &Party) {
    if small.bytes() <= large.bytes() {
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

/// Checks that `whole` can hold both `parts`, because of `why`.
pub(super) fn holds(report: &mut Report<'_>, whole: &Party, parts: [&Party; 2], why: &str) {
    let together = parts.iter().map(|part| u64::from(part.bytes())).sum();
    if u64::from(whole.bytes()) >= together {
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
