//! What is kept of a topic.

use std::time::Duration;

/// What is kept of the topics of a pattern.
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

impl TopicRule {
    /// Whether anything is kept.
    pub(crate) fn keeps(&self) -> bool {
        self.history > 0 || self.presence
    }
}
