//! What of a configuration is one value each, as the file has it.

use std::fmt::Display;

use super::{AccessLog, Config, DriverChoice, HubLimits, Limits, MemoryLimit, Shards};
use crate::units::{Size, Time};

/// A key, and its value as the file would have it, of a text without its quotes.
type WrittenSetting = (&'static str, String);

fn new(name: &'static str, value: impl Display) -> WrittenSetting {
    (name, value.to_string())
}

fn bytes(name: &'static str, bytes: impl Into<u64>) -> WrittenSetting {
    new(name, Size(bytes.into()))
}

/// What is one value each. `log` is not among it: a filter may have values in it that are nobody
/// else's business.
pub(crate) fn settings(config: &Config) -> Vec<WrittenSetting> {
    let mut settings = Vec::from(of_process(config));
    settings.extend(config.hashing.written());
    settings.extend(config.access_log.iter().flat_map(AccessLog::written));
    settings.extend(of_shard(&config.limits));
    settings.extend(config.clients.written());
    settings.extend(of_hub(&config.hub, config.limits.connections));
    let keepalive = config.admin.keepalive.map_or("off".into(), |time| Time(time).to_string());
    settings.push(new("admin.connections", config.admin.connections));
    settings.push(new("admin.keepalive", keepalive));
    settings
}

fn of_process(config: &Config) -> [WrittenSetting; 12] {
    let shards = match config.shards {
        Shards::Auto => "auto".into(),
        Shards::Count(count) => count.to_string(),
    };
    let driver = match config.driver {
        DriverChoice::Auto => "auto",
        DriverChoice::Only(driver) => driver.name(),
    };
    let memory = match config.memory {
        MemoryLimit::Auto => "auto".into(),
        MemoryLimit::Bytes(bytes) => Size(bytes).to_string(),
    };
    [
        new("shards", shards),
        new("pin", config.pin.name()),
        new("driver", driver),
        new("log_format", config.log_format.name()),
        new("memory", memory),
        new("drain", Time(config.drain)),
        new("drain_delay", Time(config.drain_delay)),
        new("drain_rate", config.drain_rate),
        new("verifiers", config.verifying.threads),
        new("verifications", config.verifying.waiting),
        new("revocations", config.revocations),
        new("drain_code", config.drain_code),
    ]
}

fn of_shard(limits: &Limits) -> [WrittenSetting; 14] {
    let share = |share: Option<u8>| share.map_or("off".into(), |share| share.to_string());
    [
        new("limits.connections", limits.connections),
        new("limits.receive_buffers", limits.receive_buffers),
        bytes("limits.receive_buffer", limits.receive_buffer),
        bytes("limits.staging", limits.staging),
        bytes("limits.blocks", limits.blocks),
        bytes("limits.request_head", limits.request_head),
        bytes("limits.heavy_input", limits.heavy_input),
        new("limits.handshakes", limits.handshakes),
        new("limits.expanded_keys", limits.expanded_keys),
        bytes("limits.tokens", limits.tokens),
        bytes("limits.passwords", limits.passwords),
        bytes("limits.permissions", limits.permissions),
        new("limits.memory_high", share(limits.memory_high)),
        new("limits.memory_critical", share(limits.memory_critical)),
    ]
}

fn of_hub(hub: &HubLimits, connections: u32) -> [WrittenSetting; 13] {
    let resume_key = if hub.resume_key.is_some() { "configured" } else { "drawn at the start" };
    [
        new("hub.node", hub.node),
        new("hub.topics", hub.topics),
        new("hub.subscriptions", hub.subscriptions),
        new("hub.subscriptions_per_connection", hub.subscriptions_per_connection),
        new("hub.mailbox", hub.mailbox),
        bytes("hub.messages", hub.messages),
        bytes("hub.max_message", hub.max_message),
        new("hub.queued", hub.queued(connections)),
        new("hub.present", hub.present),
        new("hub.idempotency_keys", hub.idempotency_keys),
        new("hub.idempotency_age", Time(hub.idempotency_age)),
        new("hub.resume_key", resume_key),
        new("hub.resume_age", Time(hub.resume_age)),
    ]
}
