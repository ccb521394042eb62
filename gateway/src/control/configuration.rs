//! What the gateway runs with, for whoever steers it: no secret is among it.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::respond;
use super::error::{Error, ErrorBody};
use super::overview::DriverJson;
use super::{ControlRoom, Shared};
use crate::config::{
    Admin, Certificate, Jwt, ListenAddress, Listener, Passwords, Route, RouteHandler, StaticToken,
    TokenSecret, TopicKept, TopicPattern, settings,
};
use crate::units::{Size, Time};

/// The longest host name that is told, in bytes: what gethostname(2) allows is 64.
const HOST_MAX: usize = 64;

/// What the gateway runs with: the configuration that is in force, as it was understood, and what
/// was found out at the start.
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
    /// The issuers of tokens that routes may ask for.
    jwts: Vec<JwtJson>,
    /// The tokens that are known by themselves: none of them is told.
    tokens: Vec<StaticTokenJson>,
    /// The files of users and of what their passwords hash to: nothing of what is in them is told.
    passwords: Vec<PasswordsJson>,
    routes: Vec<RouteJson>,
    /// What is kept of which topics.
    topics: Vec<TopicRuleJson>,
    admin: AdminJson,
    /// The limits, and all else that is one value, by their keys in the file.
    settings: Vec<SettingJson>,
    /// What the start has warned of, of its driver, and what may be a mistake about the
    /// configuration that is in force. The log may have more, such as that a shard could not be
    /// pinned to its core.
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
    settings: Vec<SettingJson>,
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

/// An issuer of tokens. What is in its files is not told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JwtJson {
    name: String,
    /// Files of public keys.
    keys: Vec<String>,
    /// Files of shared secrets.
    secrets: Vec<String>,
    /// Where it has its keys, without what a query has.
    jwks: Option<String>,
    /// The file of the authorities of that.
    jwks_ca: Option<String>,
    /// What tokens have to say, and what of them is taken.
    settings: Vec<SettingJson>,
}

/// A token that is known by itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StaticTokenJson {
    name: String,
    /// The user that its bearer is.
    user: Option<String>,
    /// The file that it is in; `null` for one that is elsewhere.
    file: Option<String>,
    /// The variable of the environment that it is in, likewise.
    env: Option<String>,
    /// What its bearer may subscribe to and publish on, where it says so.
    settings: Vec<SettingJson>,
}

/// A file of passwords.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasswordsJson {
    name: String,
    file: String,
    /// What those are asked a password for who come without one.
    realm: String,
    settings: Vec<SettingJson>,
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
        let config = &*self.config();
        let listening = self.listening();
        let listeners = listening.places().iter();
        let listeners = listeners.map(|place| ListenerJson::of(&place.address, &place.listener));
        ConfigAnswer {
            version: env!("CARGO_PKG_VERSION"),
            host: host(),
            node: config.hub.node,
            driver: DriverJson::of(&self.chosen),
            shards: self.shards.door().shards(),
            listeners: listeners.collect(),
            certificates: config.certificates.iter().map(CertificateFilesJson::of).collect(),
            jwts: config.jwts.iter().map(JwtJson::of).collect(),
            tokens: config.tokens.iter().map(StaticTokenJson::of).collect(),
            passwords: config.passwords.iter().map(PasswordsJson::of).collect(),
            routes: config.routes.iter().map(RouteJson::of).collect(),
            topics: config.topics.iter().map(TopicRuleJson::of).collect(),
            admin: AdminJson::of(&config.admin),
            settings: SettingJson::all(settings(config)),
            // Both may be others than at the start.
            warnings: self.all_warnings(),
        }
    }
}

impl ControlRoom {
    /// What the start has warned of, and what may be a mistake about what is in force.
    fn all_warnings(&self) -> Vec<String> {
        let mut all = self.warnings.clone();
        all.extend(self.reloader.in_force().warnings.iter().cloned());
        all.extend(self.certificates.doubts());
        all
    }
}

impl SettingJson {
    fn new(name: &'static str, value: impl Display) -> Self {
        Self { name, value: value.to_string() }
    }

    fn all(settings: Vec<(&'static str, String)>) -> Vec<Self> {
        settings.into_iter().map(|(name, value)| Self { name, value }).collect()
    }

    fn bytes(name: &'static str, bytes: impl Into<u64>) -> Self {
        Self::new(name, Size(bytes.into()))
    }
}

impl ListenerJson {
    /// At its real address.
    fn of(address: &ListenAddress, listener: &Listener) -> Self {
        let networks = listener.networks.written();
        let settings = listener.limits.written().into_iter().chain(networks);
        Self {
            address: address.to_string(),
            stack: listener.stack.to_string(),
            settings: settings.map(|(name, value)| SettingJson { name, value }).collect(),
        }
    }
}

impl CertificateFilesJson {
    fn of(certificate: &Certificate) -> Self {
        let Certificate { cert, key, names } = certificate;
        let [cert, key] = [cert, key].map(|file| file.display().to_string());
        Self { cert, key, names: names.clone() }
    }
}

impl JwtJson {
    fn of(jwt: &Jwt) -> Self {
        let files = |files: &[PathBuf]| files.iter().map(|one| one.display().to_string()).collect();
        let algorithms: Vec<_> = jwt.algorithms.iter().map(|one| one.name()).collect();
        let from: Vec<_> = jwt.from.iter().map(ToString::to_string).collect();
        let settings = vec![
            SettingJson::new("jwks_age", Time(jwt.jwks_age)),
            SettingJson::new("algorithms", algorithms.join(" ")),
            SettingJson::new("issuers", jwt.issuers.join(" ")),
            SettingJson::new("audiences", jwt.audiences.join(" ")),
            SettingJson::new("leeway", Time(jwt.leeway)),
            SettingJson::new("must_expire", jwt.must_expire),
            SettingJson::new("from", from.join(" ")),
            SettingJson::new("user", &jwt.user),
            SettingJson::new("subscribe", &jwt.subscribe),
            SettingJson::new("publish", &jwt.publish),
            SettingJson::new("expired", jwt.expired),
        ];
        let (keys, secrets) = (files(&jwt.keys), files(&jwt.secrets));
        let jwks_ca = jwt.jwks_ca.as_ref().map(|file| file.display().to_string());
        // What a query has may be a secret.
        let shown = |url: &String| url.split('?').next().unwrap_or_default().to_owned();
        let (name, jwks) = (jwt.name.clone(), jwt.jwks.as_ref().map(shown));
        Self { name, keys, secrets, jwks, jwks_ca, settings }
    }
}

impl StaticTokenJson {
    fn of(token: &StaticToken) -> Self {
        let lists = [("subscribe", &token.subscribe), ("publish", &token.publish)];
        let setting = |(name, list): (_, &Option<Vec<TopicPattern>>)| {
            let texts: Vec<_> = list.as_ref()?.iter().map(TopicPattern::as_str).collect();
            Some(SettingJson::new(name, texts.join(" ")))
        };
        let (file, env) = match &token.secret {
            TokenSecret::File(file) => (Some(file.display().to_string()), None),
            TokenSecret::Env(name) => (None, Some(name.clone())),
            TokenSecret::Sha256(_) => (None, None),
        };
        Self {
            name: token.name.clone(),
            user: token.user.as_ref().map(ToString::to_string),
            file,
            env,
            settings: lists.into_iter().filter_map(setting).collect(),
        }
    }
}

impl PasswordsJson {
    fn of(passwords: &Passwords) -> Self {
        Self {
            name: passwords.name.clone(),
            file: passwords.file.display().to_string(),
            realm: passwords.realm.clone(),
            settings: vec![SettingJson::new("remember", passwords.remembered())],
        }
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
        let admission: Vec<_> = route.admission.iter().map(ToString::to_string).collect();
        settings.push(SettingJson::new("admission", admission.join(" ")));
        let client = route.networks.written().into_iter().chain(route.client.written());
        settings.extend(client.map(|(name, value)| SettingJson { name, value }));
        if route.handler.takes_websockets() {
            settings.push(SettingJson::new("origins", &route.origins));
        }
        let cors = route.cors.as_ref().map_or("off".into(), ToString::to_string);
        settings.push(SettingJson::new("cors", cors));
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
    use crate::config::{AccessLog, AccessTarget, Config};

    /// The default configuration, in which each key is written, if only in a comment.
    const SAMPLE: &str = include_str!("../../tidegate.toml");

    /// Keys that are not told.
    const UNTOLD: [&str; 2] = ["log", "token.sha256"];

    /// Values that are told in other words than the file's.
    const IN_OTHER_WORDS: [(&str, &str, &str); 2] =
        [("hub.queued", "auto", "262144"), ("admin.tokens", "[]", "0")];

    /// The keys behind their tables, each with its values; without one if it is in a comment.
    fn written() -> Vec<(String, Option<&'static str>)> {
        let (mut table, mut found) = (String::new(), Vec::new());
        for line in SAMPLE.lines() {
            let bare = line.strip_prefix("# ");
            // Of a table that is there only if it is written, all is in comments.
            let is_table = |line: &&str| {
                line.starts_with("[[") && line.ends_with("]]") || *line == "[access_log]"
            };
            let shown = bare.filter(is_table);
            if let Some(name) = shown.unwrap_or(line).strip_prefix('[') {
                table = format!("{}.", name.trim_matches(['[', ']']));
                continue;
            }
            let Some((key, value)) = bare.unwrap_or(line).split_once(" = ") else { continue };
            let is_of_key =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if key.bytes().all(is_of_key) {
                let value = value.split("  ").next().expect("it has a beginning").trim_matches('"');
                found.push((format!("{table}{key}"), bare.is_none().then_some(value)));
            }
        }
        found
    }

    /// The same of what is told of the default configuration.
    fn told() -> BTreeMap<String, BTreeSet<String>> {
        let log = AccessLog::new(AccessTarget::File("/var/log/tidegate/access.log".into()));
        let config = Config { access_log: Some(log), ..Config::default() };
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
        add("", json!({ "settings": SettingJson::all(settings(&config)) }));
        add("admin.", json!(AdminJson::of(&config.admin)));
        for listener in &config.listeners {
            add("listener.", json!(ListenerJson::of(&listener.address, listener)));
        }
        let certificate = Certificate::new("a.pem", "b.pem");
        add("certificate.", json!(CertificateFilesJson::of(&certificate)));
        add("jwt.", json!(JwtJson::of(&Jwt::new("jwt"))));
        let token = StaticToken::new("a", TokenSecret::File("a".into()));
        let list = Some(Vec::new());
        let token = StaticToken { subscribe: list.clone(), publish: list, ..token };
        add("token.", json!(StaticTokenJson::of(&token)));
        add("passwords.", json!(PasswordsJson::of(&Passwords::new("passwords", "users"))));
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
