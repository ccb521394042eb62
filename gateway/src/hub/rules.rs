//! What is kept of which topics.

use crate::names::TopicRule;

/// The rules of topics, by patterns of their names.
#[derive(Default)]
pub struct TopicRules {
    by_pattern: matchit::Router<TopicRule>,
}

impl TopicRules {
    /// The rule of each pattern; where none fits, nothing is kept.
    ///
    /// # Panics
    /// Two patterns conflict, or one is none; those of a checked configuration are not so.
    pub fn new<'r>(rules: impl IntoIterator<Item = (&'r str, TopicRule)>) -> Self {
        let mut by_pattern = matchit::Router::new();
        for (pattern, rule) in rules {
            by_pattern.insert(pattern, rule).expect("the configuration's patterns were checked");
        }
        Self { by_pattern }
    }

    /// The rule for a topic of this name.
    pub(crate) fn of(&self, name: &str) -> TopicRule {
        self.by_pattern.at(name).map(|found| *found.value).unwrap_or_default()
    }
}
