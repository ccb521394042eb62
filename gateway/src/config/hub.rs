//! The table `[hub]`, and `[[topic]]`: what is kept of which topics.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::limits::Limits;
use super::reader::{Origin, Setting, TableReader, expected};
use super::relation::{self, Bounded, Party};
use super::report::Report;
use super::value;
use crate::names::{Name, ResumeKey, TopicRule};
use crate::units::quote;

/// The bounds of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// The number of this node, which is part of every connection id. Default 0.
    pub node: u16,
    /// Topics with a subscriber on a shard, and topics whose home a shard is: at most so many of
    /// each, 16 to 16777216. Default 65536.
    pub topics: u32,
    /// Subscriptions of all connections of a shard, 16 to 16777216. Default 131072.
    pub subscriptions: u32,
    /// Subscriptions of one connection, 1 to 65535. Default 128.
    pub subscriptions_per_connection: u16,
    /// Places in each mailbox between two shards, 16 to 65536. Default 1024. What finds it full
    /// waits at its sender.
    pub mailbox: u32,
    /// Bytes of all messages on their way and in histories, 1 MiB to 64 GiB. Default 64 MiB. At
    /// three quarters, publishing connections are not read from; when it is full, a message is
    /// refused.
    pub messages: u64,
    /// Bytes of the largest message that is published from outside, 1 to 16 MiB. Default 1 MiB;
    /// never more than an eighth of the shard's `blocks`.
    pub max_message: u32,
    /// Messages that wait for the peers of a shard, each for each, 16 to 16777216. `None`, the
    /// default, is 16 for each of `limits.connections`. At three quarters, publishing connections
    /// are not read from; when it is reached, deliveries wait, and those peers give way that take
    /// nothing.
    pub queued: Option<u32>,
    /// Members of all topics whose home a shard is, where presence is kept, 16 to 16777216. Default
    /// 16384. Further ones are not listed.
    pub present: u32,
    /// Idempotency keys that a shard keeps, 0 to 16777216. Default 8192; 0 keeps none, and then a
    /// message that is sent again is published again. Beyond it the oldest go.
    pub idempotency_keys: u32,
    /// How long one is kept, 1 s to 24 h. Default 5 min.
    pub idempotency_age: Duration,
    /// What resume tokens are made with. `None`, the default: what is drawn at each start.
    pub resume_key: Option<ResumeKey>,
    /// How long a resume token is good, 1 min to 30 days. Default 1 h.
    pub resume_age: Duration,
}

/// What is kept of the topics whose names match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicKept {
    /// A pattern of names, such as `rooms/{room}` or `news/{*rest}`.
    pub name: String,
    /// What is kept.
    pub rule: TopicRule,
}

const COUNTS: RangeInclusive<u32> = 16..=16 << 20;
const SUBSCRIPTIONS_OF_ONE: RangeInclusive<u16> = 1..=u16::MAX;
const MAILBOXES: RangeInclusive<u32> = 16..=65_536;
const MESSAGES: RangeInclusive<u64> = 1 << 20..=64 << 30;
const MESSAGE: RangeInclusive<u32> = 1..=16 << 20;
const HISTORIES: RangeInclusive<u32> = 0..=1_000_000;
const PRESENCE_EVENTS: RangeInclusive<u32> = 0..=16 << 20;
const HISTORY_BYTES: RangeInclusive<u32> = 1..=u32::MAX;
const IDEMPOTENCY_KEYS: RangeInclusive<u32> = 0..=16 << 20;
const IDEMPOTENCY_AGES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const RESUME_AGES: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
/// How many bytes the text has of which a key is made.
const RESUME_KEY: RangeInclusive<usize> = 32..=256;
const AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);
const LINGERS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            node: 0,
            topics: 65_536,
            subscriptions: 131_072,
            subscriptions_per_connection: 128,
            mailbox: 1024,
            messages: 64 << 20,
            max_message: 1 << 20,
            queued: None,
            present: 16_384,
            idempotency_keys: 8192,
            idempotency_age: Duration::from_secs(300),
            resume_key: None,
            resume_age: Duration::from_secs(3600),
        }
    }
}

impl TopicKept {
    /// What a `[[topic]]` with only a name keeps.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let rule = TopicRule {
            history: 0,
            history_bytes: 1 << 20,
            history_age: Duration::from_secs(300),
            presence: false,
            linger: Duration::from_secs(5),
            presence_events: 500,
        };
        Self { name: name.into(), rule }
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check_rule(&self, field: &str) -> Result<(), BuiltWrong> {
        let TopicRule { history, history_bytes, history_age, linger, presence_events, .. } =
            self.rule;
        built::number(format!("{field}.rule.history"), history, &HISTORIES)?;
        built::size(format!("{field}.rule.history_bytes"), history_bytes, &HISTORY_BYTES)?;
        built::time(format!("{field}.rule.history_age"), history_age, &AGES)?;
        built::time(format!("{field}.rule.linger"), linger, &LINGERS)?;
        built::number(format!("{field}.rule.presence_events"), presence_events, &PRESENCE_EVENTS)
    }
}

/// The largest message that may be published from outside, for a shard of so many bytes in blocks:
/// in a frame it must fit a block beside others.
pub(super) fn largest_message(blocks: u32) -> u32 {
    blocks / 8
}

/// Reads `[hub]`, and what its largest message was set to be.
pub(super) fn read(mut table: TableReader<'_, '_>) -> (HubLimits, Setting<u32>) {
    let default = HubLimits::default();
    let mut count = |key, default: u32, range: &RangeInclusive<u32>| {
        table.read(key, default, |value| value::integer(value, range)).value
    };
    let topics = count("topics", default.topics, &COUNTS);
    let subscriptions = count("subscriptions", default.subscriptions, &COUNTS);
    let mailbox = count("mailbox", default.mailbox, &MAILBOXES);
    let present = count("present", default.present, &COUNTS);
    let idempotency_keys = count("idempotency_keys", default.idempotency_keys, &IDEMPOTENCY_KEYS);
    let message =
        table.read("max_message", default.max_message, |value| value::size(value, &MESSAGE));
    let hub = HubLimits {
        node: table
            .read("node", default.node, |value| value::integer(value, &(0..=u16::MAX)))
            .value,
        subscriptions_per_connection: table
            .read("subscriptions_per_connection", default.subscriptions_per_connection, |value| {
                value::integer(value, &SUBSCRIPTIONS_OF_ONE)
            })
            .value,
        messages: table
            .read("messages", default.messages, |value| value::size(value, &MESSAGES))
            .value,
        max_message: message.value,
        queued: table.read("queued", default.queued, queued).value,
        idempotency_age: table
            .read("idempotency_age", default.idempotency_age, |value| {
                value::time(value, &IDEMPOTENCY_AGES)
            })
            .value,
        idempotency_keys,
        resume_key: table
            .read("resume_key", default.resume_key, |value| resume_key(value).map(Some))
            .value,
        resume_age: table
            .read("resume_age", default.resume_age, |value| value::time(value, &RESUME_AGES))
            .value,
        topics,
        subscriptions,
        mailbox,
        present,
    };
    table.finish();
    (hub, message)
}

/// Checks what the largest message must be to the blocks; by default it is no more than they allow.
pub(super) fn check_message(
    hub: &mut HubLimits,
    message: Setting<u32>,
    blocks: Setting<u32>,
    report: &mut Report<'_>,
) {
    let largest = largest_message(blocks.value);
    if message.origin == Origin::Default {
        hub.max_message = hub.max_message.min(largest);
        return;
    }
    let message = Party::new("hub.max_message", message);
    let blocks = Party::new("limits.blocks", blocks);
    let why = "it is an eighth of the blocks at most";
    let bounded = Bounded { party: &message, most: largest };
    relation::at_most_beside(report, &bounded, &blocks, why);
}

impl HubLimits {
    /// How many messages may wait for the peers of a shard of so many connections.
    #[must_use]
    pub fn queued(&self, connections: u32) -> u32 {
        const EACH: u32 = 16;
        self.queued.unwrap_or(connections.saturating_mul(EACH)).clamp(1, *COUNTS.end())
    }

    /// Checks what a program has put together.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), BuiltWrong> {
        built::number("hub.topics", self.topics, &COUNTS)?;
        built::number("hub.subscriptions", self.subscriptions, &COUNTS)?;
        let of_one = self.subscriptions_per_connection;
        built::number("hub.subscriptions_per_connection", of_one, &SUBSCRIPTIONS_OF_ONE)?;
        built::number("hub.mailbox", self.mailbox, &MAILBOXES)?;
        built::size("hub.messages", self.messages, &MESSAGES)?;
        built::size("hub.max_message", self.max_message, &MESSAGE)?;
        self.queued.map_or(Ok(()), |queued| built::number("hub.queued", queued, &COUNTS))?;
        built::number("hub.present", self.present, &COUNTS)?;
        built::number("hub.idempotency_keys", self.idempotency_keys, &IDEMPOTENCY_KEYS)?;
        built::time("hub.idempotency_age", self.idempotency_age, &IDEMPOTENCY_AGES)?;
        built::time("hub.resume_age", self.resume_age, &RESUME_AGES)?;
        built::first_broken(&[(
            self.max_message <= largest_message(limits.blocks),
            "hub.max_message: at most an eighth of limits.blocks",
        )])
    }
}

/// Reads a secret; what is wrong with it is said without showing it.
fn resume_key(value: &DeValue<'_>) -> Result<ResumeKey, String> {
    let DeValue::String(text) = value else {
        return Err("must be a string of 32 characters or more".into());
    };
    if !RESUME_KEY.contains(&text.len()) {
        let (least, most) = (RESUME_KEY.start(), RESUME_KEY.end());
        return Err(format!(
            "must have {least} to {most} bytes, has {}: `openssl rand -hex 32` makes one",
            text.len()
        ));
    }
    Ok(ResumeKey::of(text))
}

fn queued(value: &DeValue<'_>) -> Result<Option<u32>, String> {
    match value {
        DeValue::String(text) if text == "auto" => Ok(None),
        DeValue::Integer(_) => value::integer(value, &COUNTS).map(Some),
        _ => Err(expected("\"auto\" or an integer", value)),
    }
}

/// Reads a `[[topic]]`; `None`, and an error, if it has no name.
pub(super) fn read_topic(mut table: TableReader<'_, '_>) -> Option<TopicKept> {
    let name = table.require("name", "name = \"rooms/{room}\"", pattern).value;
    let TopicKept { rule: default, .. } = TopicKept::new("");
    let history = table.read("history", default.history, |value| value::integer(value, &HISTORIES));
    let presence = table.read("presence", default.presence, value::boolean);
    let no_history = idle(&mut table, &history, NO_HISTORY);
    let no_presence = idle(&mut table, &presence, NO_PRESENCE);
    let rule = TopicRule {
        history: history.value,
        history_bytes: table
            .read_unless("history_bytes", no_history, default.history_bytes, |value| {
                value::size(value, &HISTORY_BYTES)
            })
            .value,
        history_age: table
            .read_unless("history_age", no_history, default.history_age, |value| {
                value::time(value, &AGES)
            })
            .value,
        presence: presence.value,
        linger: table
            .read_unless("linger", no_presence, default.linger, |value| {
                value::time(value, &LINGERS)
            })
            .value,
        presence_events: table
            .read_unless("presence_events", no_presence, default.presence_events, |value| {
                value::integer(value, &PRESENCE_EVENTS)
            })
            .value,
    };
    table.finish();
    Some(TopicKept { name: name?, rule })
}

/// What is said of a key for histories, or for presence, where there is none.
const NO_HISTORY: &str = "while `history` is 0: remove it, or write how many messages are kept";
const NO_PRESENCE: &str = "while `presence` is false: remove it, or write `presence = true`";

/// `why` keys that go with `switch` mean nothing, if it is off. Nothing is said where it was
/// refused, or may be lost in broken syntax.
fn idle<T: Default + PartialEq>(
    table: &mut TableReader<'_, '_>,
    switch: &Setting<T>,
    why: &'static str,
) -> Option<&'static str> {
    let is_known = switch.origin != Origin::Refused && !table.report().is_broken();
    (is_known && switch.value == T::default()).then_some(why)
}

/// Checks a pattern of names.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_pattern(text: &str) -> Result<(), String> {
    Name::new(text).map_err(|wrong| wrong.to_string())?;
    let mut router = matchit::Router::new();
    router.insert(text, ()).map_err(|wrong| format!("{} is no pattern: {wrong}", quote(text)))
}

fn pattern(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    check_pattern(text).map(|()| text.into())
}
