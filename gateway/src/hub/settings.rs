//! What the hub is opened with.

use std::sync::Arc;
use std::time::Duration;

use super::Seed;
use super::rules::TopicRules;
#[cfg(test)]
use crate::names::ResumeKey;
use crate::names::{Node, Resumes};

/// What the hub may hold, and what it keeps of which topics.
#[derive(Clone)]
pub struct Settings {
    /// Slots of each shard.
    pub slots: u32,
    /// Topics with a subscriber on a shard, and topics whose home a shard is: at most so many of
    /// each.
    pub topics: u32,
    /// Subscriptions of all connections of a shard.
    pub subscriptions: u32,
    /// Subscriptions of one connection.
    pub subscriptions_per_connection: u16,
    /// Members of all topics whose home a shard is; further ones are not listed.
    pub present: u32,
    /// Places in each mailbox between two shards.
    pub mailbox: u32,
    /// Bytes of all messages on their way and in histories.
    pub messages: u64,
    /// Bytes of the largest message that is published from outside.
    pub max_message: u32,
    /// Idempotency keys that a shard keeps; 0 for none.
    pub idempotency_keys: u32,
    /// How long one is kept.
    pub idempotency_age: Duration,
    /// The tokens by which subscriptions are taken up again.
    pub resumes: Resumes,
    /// What is kept of which topics.
    pub rules: Arc<TopicRules>,
}

/// Who a gateway is: drawn at its start but for the number of the node.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Names it in every connection id.
    pub node: Node,
    /// What its shards hash names with.
    pub seed: Seed,
}

#[cfg(test)]
impl Settings {
    /// For shards of 16 slots, with a few places of everything.
    pub(super) fn small() -> Self {
        Self {
            slots: 16,
            topics: 16,
            subscriptions: 16,
            subscriptions_per_connection: 16,
            present: 16,
            mailbox: 16,
            messages: 1 << 20,
            max_message: 1 << 10,
            idempotency_keys: 16,
            idempotency_age: Duration::from_secs(300),
            resumes: Resumes { key: ResumeKey::new([0; 32]), age: Duration::from_secs(3600) },
            rules: Arc::default(),
        }
    }
}
