//! What is kept of which topics.

use std::time::Duration;

/// What is kept of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRule {
    /// The most messages that are kept as history; 0 for none.
    pub history: u32,
    /// The most bytes that they have.
    pub history_bytes: u32,
    /// How long they are kept.
    pub history_age: Duration,
    /// Whether it is kept who is on the topic.
    pub presence: bool,
    /// How long one who has left may take to come back before the leave counts.
    pub linger: Duration,
    /// While at most so many are present, subscribers are told who comes and goes.
    pub presence_events: u32,
}

/// The rules of a configuration, by patterns of names.
pub(crate) struct Rules {
    by_pattern: matchit::Router<TopicRule>,
}

impl Rules {
    /// # Panics
    /// Two patterns of a checked configuration conflict.
    pub(crate) fn new<'r>(rules: impl IntoIterator<Item = (&'r str, TopicRule)>) -> Self {
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

impl TopicRule {
    /// Whether anything is kept.
    pub(crate) fn keeps(&self) -> bool {
        self.history > 0 || self.presence
    }
}
