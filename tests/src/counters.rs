//! The gateway's counters, as its log shows them.

use std::collections::BTreeMap;

/// All counters at one moment, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// The counter `name`.
    ///
    /// # Panics
    /// There is none of that name.
    #[must_use]
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no counter {name}: {self:?}"))
    }

    /// Reads every line of a log that ends in `tidegate::counters: name value`; later ones replace
    /// earlier ones.
    pub(crate) fn read(log: &str) -> Self {
        let lines = log.lines().filter_map(|line| line.split_once(" tidegate::counters: "));
        let pairs = lines.filter_map(|(_, counter)| counter.split_once(' '));
        let numbers = pairs.filter_map(|(name, value)| Some((name.into(), value.parse().ok()?)));
        Self(numbers.collect())
    }

    /// Whether all of them are there: the first and the last.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.contains_key("connections") && self.0.contains_key("loops")
    }
}
