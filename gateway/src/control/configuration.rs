//! What the gateway runs with, for whoever steers it: no secret is among it.

use std::fmt::Display;
use std::fs;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::respond;
use super::error::{Error, ErrorBody};
use super::overview::DriverJson;
use super::{ControlRoom, Shared};
use crate::config::{
    Admin, Certificate, Config, DriverChoice, HubLimits, Limits, ListenAddress, Listener,
    MemoryLimit, Route, RouteHandler, Shards, TopicKept,
};
use crate::units::{Size, Time};

/// The longest host name that is told, in bytes: what gethostname(2) allows is 64.
const HOST_MAX: usize = 64;

/// What the gateway runs with: the configuration as it was understood, and what of it was found out
/// at the start.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfigAnswer {
    version: &'static str,
    /// What the machine, or the container, is called; `null` if that cannot be read.
    host: Option<String>,
    /// The number of this node.
    node: u16,
    driver: DriverJson,
    /// How many run.
    shards: usize,
    listeners: Vec<ListenerJson>,
    /// Those that clients may ask for by name on any listener with the layer `tls`.
    certificates: Vec<CertificateFilesJson>,
    routes: Vec<RouteJson>,
    /// What is kept of which topics.
    topics: Vec<TopicRuleJson>,
    admin: AdminJson,
    /// The limits, and all else that is one value, by their keys in the file.
    settings: Vec<SettingJson>,
    /// What the start has warned of, of its configuration and its driver. The log may have more,
    /// such as that a shard could not be pinned to its core.
    warnings: Vec<String>,
}

/// Where is listened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListenerJson {
    /// IP address and port, which is the real one; of a Unix socket its path or name, behind
    /// `unix:`.
    address: String,
    /// Its layers, without those options that are as by default.
    stack: String,
}

/// Where a certificate and its key are: what is in the key's file is not told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificateFilesJson {
    /// The file of the certificate and of those between it and its authority.
    cert: String,
    /// The file of its private key.
    key: String,
    /// The names that are answered with it; empty for those that it has.
    names: Vec<String>,
}

/// A route.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RouteJson {
    path: String,
    subprotocol: Option<String>,
    /// What answers, by the configuration, without those options that are as by default. A program
    /// that embeds the gateway may have put a handler of its own in its place.
    handler: String,
    settings: Vec<SettingJson>,
}

/// What is kept of the topics that match a pattern.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopicRuleJson {
    /// The pattern.
    name: String,
    settings: Vec<SettingJson>,
}

/// The admin address.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AdminJson {
    /// As configured; `null` if it is off.
    address: Option<String>,
    /// How many tokens there are: none of them is told.
    tokens: usize,
}

/// A key of the configuration, and its value as the file would have it, of a text without its
/// quotes. Of `hub.queued` it is the number that `"auto"` comes to, of `hub.resume_key` only
/// whether it is configured.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingJson {
    #[schema(example = "limits.connections")]
    name: &'static str,
    #[schema(example = "16384")]
    value: String,
}

/// Tells what the gateway runs with. Neither tokens nor other secrets are among it.
#[utoipa::path(
    get, path = "/v1/config", tag = "watching",
    responses(
        (status = 200, description = "The configuration", body = ConfigAnswer),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn show(State(control): State<Shared>) -> Result<Response, Error> {
    let place = control.answers.place().await?;
    Ok(respond(place.json(&control.configuration())?))
}

impl ControlRoom {
    fn configuration(&self) -> ConfigAnswer {
        let config = &*self.config;
        let listeners = self.addresses.iter().zip(&config.listeners);
        let listeners = listeners.map(|(address, listener)| ListenerJson::of(address, listener));
        ConfigAnswer {
            version: env!("CARGO_PKG_VERSION"),
            host: host(),
            node: config.hub.node,
            driver: DriverJson::of(&self.chosen),
            shards: self.shards.door().shards(),
            listeners: listeners.collect(),
            certificates: config.certificates.iter().map(CertificateFilesJson::of).collect(),
            routes: config.routes.iter().map(RouteJson::of).collect(),
            topics: config.topics.iter().map(TopicRuleJson::of).collect(),
            admin: AdminJson::of(&config.admin),
            settings: settings(config),
            // Certificates may be others than at the start.
            warnings: self.warnings.iter().cloned().chain(self.certificates.doubts()).collect(),
        }
    }
}

impl SettingJson {
    fn new(name: &'static str, value: impl Display) -> Self {
        Self { name, value: value.to_string() }
    }

    fn bytes(name: &'static str, bytes: impl Into<u64>) -> Self {
        Self::new(name, Size(bytes.into()))
    }
}

impl ListenerJson {
    /// At its real address.
    fn of(address: &ListenAddress, listener: &Listener) -> Self {
        Self { address: address.to_string(), stack: listener.stack.to_string() }
    }
}

impl CertificateFilesJson {
    fn of(certificate: &Certificate) -> Self {
        let Certificate { cert, key, names } = certificate;
        let [cert, key] = [cert, key].map(|file| file.display().to_string());
        Self { cert, key, names: names.clone() }
    }
}

impl AdminJson {
    fn of(admin: &Admin) -> Self {
        let address = admin.address.as_ref().map(ToString::to_string);
        Self { address, tokens: admin.tokens.len() }
    }
}

impl RouteJson {
    fn of(route: &Route) -> Self {
        let mut settings = vec![
            SettingJson::bytes("max_message", route.max_message),
            SettingJson::bytes("max_buffered_message", route.max_buffered_message),
            SettingJson::bytes("backlog", route.backlog),
            SettingJson::new("slow_peer", route.slow_peer.name()),
            SettingJson::new("undecided", route.undecided),
        ];
        if route.handler.takes_websockets() {
            settings.push(SettingJson::new("origins", &route.origins));
        }
        if let RouteHandler::Hub(hub) = &route.handler {
            let commanded = hub.commanded();
            settings.extend(commanded.map(|(name, value)| SettingJson { name, value }));
        }
        Self {
            path: route.path.clone(),
            subprotocol: route.subprotocol.clone(),
            handler: route.handler.to_string(),
            settings,
        }
    }
}

impl TopicRuleJson {
    fn of(topic: &TopicKept) -> Self {
        let rule = topic.rule;
        Self {
            name: topic.name.clone(),
            settings: vec![
                SettingJson::new("history", rule.history),
                SettingJson::bytes("history_bytes", rule.history_bytes),
                SettingJson::new("history_age", Time(rule.history_age)),
                SettingJson::new("presence", rule.presence),
                SettingJson::new("linger", Time(rule.linger)),
                SettingJson::new("presence_events", rule.presence_events),
            ],
        }
    }
}

/// What is one value each. `log` is not among it: a filter may have values in it that are nobody
/// else's business.
fn settings(config: &Config) -> Vec<SettingJson> {
    let mut settings = Vec::from(of_process(config));
    settings.extend(of_shard(&config.limits));
    settings.extend(of_hub(&config.hub, config.limits.connections));
    let keepalive = config.admin.keepalive.map_or("off".into(), |time| Time(time).to_string());
    settings.push(SettingJson::new("admin.connections", config.admin.connections));
    settings.push(SettingJson::new("admin.keepalive", keepalive));
    settings
}

fn of_process(config: &Config) -> [SettingJson; 8] {
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
        SettingJson::new("shards", shards),
        SettingJson::new("pin", config.pin.name()),
        SettingJson::new("driver", driver),
        SettingJson::new("log_format", config.log_format.name()),
        SettingJson::new("memory", memory),
        SettingJson::new("drain", Time(config.drain)),
        SettingJson::new("drain_delay", Time(config.drain_delay)),
        SettingJson::new("drain_rate", config.drain_rate),
    ]
}

fn of_shard(limits: &Limits) -> [SettingJson; 9] {
    [
        SettingJson::new("limits.connections", limits.connections),
        SettingJson::new("limits.receive_buffers", limits.receive_buffers),
        SettingJson::bytes("limits.receive_buffer", limits.receive_buffer),
        SettingJson::bytes("limits.staging", limits.staging),
        SettingJson::bytes("limits.blocks", limits.blocks),
        SettingJson::bytes("limits.request_head", limits.request_head),
        SettingJson::bytes("limits.heavy_input", limits.heavy_input),
        SettingJson::new("limits.handshakes", limits.handshakes),
        SettingJson::new("limits.expanded_keys", limits.expanded_keys),
    ]
}

fn of_hub(hub: &HubLimits, connections: u32) -> [SettingJson; 13] {
    let resume_key = if hub.resume_key.is_some() { "configured" } else { "drawn at the start" };
    [
        SettingJson::new("hub.node", hub.node),
        SettingJson::new("hub.topics", hub.topics),
        SettingJson::new("hub.subscriptions", hub.subscriptions),
        SettingJson::new("hub.subscriptions_per_connection", hub.subscriptions_per_connection),
        SettingJson::new("hub.mailbox", hub.mailbox),
        SettingJson::bytes("hub.messages", hub.messages),
        SettingJson::bytes("hub.max_message", hub.max_message),
        SettingJson::new("hub.queued", hub.queued(connections)),
        SettingJson::new("hub.present", hub.present),
        SettingJson::new("hub.idempotency_keys", hub.idempotency_keys),
        SettingJson::new("hub.idempotency_age", Time(hub.idempotency_age)),
        SettingJson::new("hub.resume_key", resume_key),
        SettingJson::new("hub.resume_age", Time(hub.resume_age)),
    ]
}

/// What the machine is called (proc_sys_kernel(5)).
fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let name = &name[..name.floor_char_boundary(HOST_MAX)];
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value as Json, json};

    use super::*;

    /// The default configuration, in which each key is written, if only in a comment.
    const SAMPLE: &str = include_str!("../../tidegate.toml");

    /// Keys that are not told.
    const UNTOLD: [&str; 1] = ["log"];

    /// Values that are told in other words than the file's.
    const IN_OTHER_WORDS: [(&str, &str, &str); 2] =
        [("hub.queued", "auto", "262144"), ("admin.tokens", "[]", "0")];

    /// The keys behind their tables, each with its values; without one if it is in a comment.
    fn written() -> Vec<(String, Option<&'static str>)> {
        let (mut table, mut found) = (String::new(), Vec::new());
        for line in SAMPLE.lines() {
            let bare = line.strip_prefix("# ");
            // Of a table that is there only if it is written, all is in comments.
            let shown = bare.filter(|line| line.starts_with("[[") && line.ends_with("]]"));
            if let Some(name) = shown.unwrap_or(line).strip_prefix('[') {
                table = format!("{}.", name.trim_matches(['[', ']']));
                continue;
            }
            let Some((key, value)) = bare.unwrap_or(line).split_once(" = ") else { continue };
            if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                let value = value.split("  ").next().expect("it has a beginning").trim_matches('"');
                found.push((format!("{table}{key}"), bare.is_none().then_some(value)));
            }
        }
        found
    }

    /// The same of what is told of the default configuration.
    fn told() -> BTreeMap<String, BTreeSet<String>> {
        let config = Config::default();
        let mut found = BTreeMap::<String, BTreeSet<String>>::new();
        let mut add = |table: &str, object: Json| {
            for (key, value) in object.as_object().expect("an object") {
                let mut add = |name: &Json, value: &Json| {
                    let text = |json: &Json| json.as_str().map_or(json.to_string(), Into::into);
                    let name = format!("{table}{}", text(name));
                    found.entry(name).or_default().insert(text(value));
                };
                match value.as_array().filter(|list| list.iter().any(Json::is_object)) {
                    Some(list) => list.iter().for_each(|one| add(&one["name"], &one["value"])),
                    None => add(&key.as_str().into(), value),
                }
            }
        };
        add("", json!({ "settings": settings(&config) }));
        add("admin.", json!(AdminJson::of(&config.admin)));
        for listener in &config.listeners {
            add("listener.", json!(ListenerJson::of(&listener.address, listener)));
        }
        let certificate = Certificate::new("a.pem", "b.pem");
        add("certificate.", json!(CertificateFilesJson::of(&certificate)));
        config.topics.iter().for_each(|topic| add("topic.", json!(TopicRuleJson::of(topic))));
        config.routes.iter().for_each(|route| add("route.", json!(RouteJson::of(route))));
        found
    }

    #[test]
    fn each_key_of_the_file_is_told_as_it_is_written() {
        let (written, told) = (written(), told());
        assert!(written.len() > 50, "only {} keys were found", written.len());
        for (key, value) in &written {
            let Some(values) = told.get(key) else {
                assert!(UNTOLD.contains(&key.as_str()), "{key} is not told");
                continue;
            };
            let Some(value) = *value else { continue };
            let other = IN_OTHER_WORDS.iter().find(|(name, of, _)| name == key && *of == value);
            let expected = other.map_or(value, |(_, _, told)| told);
            assert!(values.contains(expected), "{key} = {value} is told as {values:?}");
        }
        for key in told.keys() {
            assert!(written.iter().any(|(written, _)| written == key), "{key} is no key");
        }
    }
}
