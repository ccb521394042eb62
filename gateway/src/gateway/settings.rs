//! What the configuration says to those parts that do not know it.

use std::sync::Arc;

use crate::config::Config;
use crate::hub::{Settings, TopicRules};

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
        rules: Arc::new(TopicRules::new(rules)),
    }
}
