//! What the configuration says to those parts that do not know it.

use std::sync::Arc;

use crate::config::Config;
use crate::hub::{Settings, TopicRules};
use crate::names::{ResumeKey, Resumes};

/// What the hub is opened with.
#[must_use]
pub fn hub_settings(config: &Config) -> Settings {
    let hub = &config.hub;
    let rules = config.topics.iter().map(|topic| (topic.name.as_str(), topic.rule));
    Settings {
        slots: config.limits.slots(),
        topics: hub.topics,
        subscriptions: hub.subscriptions,
        subscriptions_per_connection: hub.subscriptions_per_connection,
        present: hub.present,
        mailbox: hub.mailbox,
        messages: hub.messages,
        max_message: hub.max_message,
        idempotency_keys: hub.idempotency_keys,
        idempotency_age: hub.idempotency_age,
        resumes: Resumes { key: hub.resume_key.unwrap_or_else(drawn), age: hub.resume_age },
        rules: Arc::new(TopicRules::new(rules)),
    }
}

/// A key that nobody knows, and that is another at each start.
fn drawn() -> ResumeKey {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes for every process");
    ResumeKey::new(bytes)
}
