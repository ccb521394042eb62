//! The whole file, from its text to the checked configuration.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_proto::websocket::code::CloseCode;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::admin::{self, Admin};
use super::admission::Vouchers;
use super::built::{self, BuiltWrong};
use super::certificate::{self, Certificate};
use super::clients;
use super::error::ConfigErrors;
use super::hub::{self, HubLimits, TopicKept};
use super::jwt::{self, JWTS_MAX, Jwt};
use super::limits::RawLimits;
use super::listener::{self, Beside, Listener};
use super::passwords::{self, PASSWORDS_MAX, Passwords};
use super::reader::{Setting, TableReader, expected};
use super::report::Report;
use super::route::{RawRoute, Route};
use super::route_paths::RoutePaths;
use super::static_token::{self, StaticToken, TOKENS_MAX};
use super::{
    Config, DriverChoice, ListenAddress, LogFormat, MAX_SHARDS, MemoryLimit, Pin, Shards,
    Verifying, access_log, log_filter, value,
};
use crate::units::quote;

const SHARDS: RangeInclusive<u16> = 1..=MAX_SHARDS;
const MEMORY: RangeInclusive<u64> = 16 << 20..=64 << 40;
const DRAIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const DRAIN_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const REVOCATIONS: RangeInclusive<u32> = 0..=1 << 16;
const DRAIN_RATE: RangeInclusive<u32> = 1..=1_000_000;
/// What `drain_code` may be, in words.
const DRAIN_CODES: &str = "a close code that a server may send (RFC 6455 section 7.4): 1000 to \
                           1003, 1007 to 1009, 1011 to 1014, 3000 to 4999";
/// The most listeners; each takes one socket of every shard.
const MAX_LISTENERS: usize = 64;
/// The most certificates.
const MAX_CERTIFICATES: usize = 1024;
/// The most routes.
const MAX_ROUTES: usize = 16_384;
/// The most patterns of topics.
const MAX_TOPICS: usize = 256;

/// A value of the file, borrowed from its parsed tree.
type TomlValue<'v> = &'v Spanned<DeValue<'v>>;

/// The tables below the root, as they are written.
#[derive(Clone, Copy)]
struct Nested<'v> {
    hashing: Option<TomlValue<'v>>,
    access_log: Option<TomlValue<'v>>,
    limits: Option<TomlValue<'v>>,
    clients: Option<TomlValue<'v>>,
    hub: Option<TomlValue<'v>>,
    topics: Option<TomlValue<'v>>,
    listeners: Option<TomlValue<'v>>,
    certificates: Option<TomlValue<'v>>,
    jwts: Option<TomlValue<'v>>,
    tokens: Option<TomlValue<'v>>,
    passwords: Option<TomlValue<'v>>,
    routes: Option<TomlValue<'v>>,
    admin: Option<TomlValue<'v>>,
}

/// See [`Config::parse`].
pub(super) fn parse(text: &str, file_name: &str) -> Result<Config, ConfigErrors> {
    let (table, syntax) = DeTable::parse_recoverable(text);
    let mut report = Report::new(text, &syntax);
    let (mut config, nested) = own_keys(TableReader::root(&mut report, table.get_ref()));
    let table = nested.hashing;
    let table = table.and_then(|value| TableReader::nested(&mut report, value, "hashing"));
    config.hashing = table.map(passwords::read_hashing).unwrap_or_default();
    let table = nested.access_log;
    let table = table.and_then(|value| TableReader::nested(&mut report, value, "access_log"));
    config.access_log = table.and_then(access_log::read);
    let limits = limits(&mut report, nested.limits);
    config.limits = limits.resolve();
    let table = nested.clients;
    let table = table.and_then(|value| TableReader::nested(&mut report, value, "clients"));
    config.clients = table.map(clients::read).unwrap_or_default();
    config.hub = hub(&mut report, nested.hub, &limits);
    match nested.topics {
        Some(written) => config.topics = topics(&mut report, written),
        // What is kept of the rooms of the default is nothing that other routes have asked for.
        None if nested.routes.is_some() => config.topics = Vec::new(),
        None => {}
    }
    let (admin, address) = admin(&mut report, nested.admin);
    config.admin = admin;
    if let Some(written) = nested.certificates {
        config.certificates = certificates(&mut report, written);
    }
    let has_certificates = nested.certificates.is_some();
    let beside =
        Beside { admin: &address, has_certificates, receive_buffer: limits.receive_buffer };
    match listeners(&mut report, nested.listeners, beside) {
        Some(listeners) => config.listeners = listeners,
        None if nested.listeners.is_none() => listener::check_default(&mut report, &address),
        None => {}
    }
    if config.has_tls() {
        limits.check_record(&mut report);
    }
    if let Some(written) = nested.jwts {
        config.jwts = jwts(&mut report, written);
    }
    if let Some(written) = nested.tokens {
        config.tokens = tokens(&mut report, written);
    }
    if let Some(written) = nested.passwords {
        config.passwords = passwords(&mut report, written);
    }
    let vouchers = Vouchers::of(&config);
    match routes(&mut report, nested.routes, &limits, vouchers) {
        Some(routes) => config.routes = routes,
        None => RawRoute::unwritten().check(&limits, &mut report),
    }
    report.finish(config, file_name)
}

/// Checks what a program has put together of what is the root's own.
pub(super) fn check(config: &Config) -> Result<(), BuiltWrong> {
    if let Shards::Count(count) = config.shards {
        built::number("shards", count.get(), &SHARDS)?;
    }
    if let MemoryLimit::Bytes(bytes) = config.memory {
        built::size("memory", bytes, &MEMORY)?;
    }
    built::time("drain", config.drain, &DRAIN)?;
    built::time("drain_delay", config.drain_delay, &DRAIN_DELAY)?;
    built::number("drain_rate", config.drain_rate, &DRAIN_RATE)?;
    config.verifying.check()?;
    built::number("revocations", config.revocations, &REVOCATIONS)?;
    drain_code(config.drain_code).map_err(|wrong| BuiltWrong(format!("drain_code: {wrong}")))?;
    built::number("listeners", config.listeners.len(), &(1..=MAX_LISTENERS))?;
    built::number("certificates", config.certificates.len(), &(0..=MAX_CERTIFICATES))?;
    built::number("jwts", config.jwts.len(), &(0..=JWTS_MAX))?;
    built::number("tokens", config.tokens.len(), &(0..=TOKENS_MAX))?;
    built::number("passwords", config.passwords.len(), &(0..=PASSWORDS_MAX))?;
    built::number("routes", config.routes.len(), &(1..=MAX_ROUTES))?;
    built::number("topics", config.topics.len(), &(0..=MAX_TOPICS))
}

/// Reads the keys that are the root's own, and finds the tables below it.
fn own_keys<'v>(mut root: TableReader<'_, 'v>) -> (Config, Nested<'v>) {
    let default = Config::default();
    let config = Config {
        shards: root.read("shards", default.shards, shards).value,
        pin: root.read("pin", default.pin, pin).value,
        driver: root.read("driver", default.driver, driver).value,
        log: root.read("log", default.log, log).value,
        log_format: root.read("log_format", default.log_format, log_format).value,
        memory: root.read("memory", default.memory, memory).value,
        drain: root.read("drain", default.drain, |drain| value::time(drain, &DRAIN)).value,
        drain_delay: root
            .read("drain_delay", default.drain_delay, |delay| value::time(delay, &DRAIN_DELAY))
            .value,
        drain_rate: root
            .read("drain_rate", default.drain_rate, |rate| value::integer(rate, &DRAIN_RATE))
            .value,
        verifying: Verifying::read(&mut root),
        revocations: root
            .read("revocations", default.revocations, |count| value::integer(count, &REVOCATIONS))
            .value,
        drain_code: root
            .read("drain_code", default.drain_code, |code| {
                drain_code(value::integer(code, &(0..=u16::MAX))?)
            })
            .value,
        ..default
    };
    let nested = Nested {
        hashing: root.raw("hashing"),
        access_log: root.raw("access_log"),
        limits: root.raw("limits"),
        clients: root.raw("clients"),
        hub: root.raw("hub"),
        topics: root.raw("topic"),
        listeners: root.raw("listener"),
        certificates: root.raw("certificate"),
        jwts: root.raw("jwt"),
        tokens: root.raw("token"),
        passwords: root.raw("passwords"),
        routes: root.raw("route"),
        admin: root.raw("admin"),
    };
    root.finish();
    (config, nested)
}

/// The close code of a drain.
fn drain_code(code: u16) -> Result<u16, String> {
    match CloseCode(code).may_travel_from_server() {
        true => Ok(code),
        false => Err(format!("must be {DRAIN_CODES}, is {code}")),
    }
}

fn shards(value: &DeValue<'_>) -> Result<Shards, String> {
    match value {
        DeValue::String(text) if text == "auto" => Ok(Shards::Auto),
        DeValue::Integer(_) => {
            let count = value::integer(value, &SHARDS)?;
            Ok(NonZeroU16::new(count).map_or(Shards::Auto, Shards::Count))
        }
        _ => Err(expected("\"auto\" or an integer", value)),
    }
}

fn pin(value: &DeValue<'_>) -> Result<Pin, String> {
    match value {
        DeValue::String(text) if text == "auto" => Ok(Pin::Auto),
        DeValue::Boolean(true) => Ok(Pin::Always),
        DeValue::Boolean(false) => Ok(Pin::Never),
        _ => Err(expected("\"auto\" or a boolean (true or false)", value)),
    }
}

fn driver(value: &DeValue<'_>) -> Result<DriverChoice, String> {
    let written = match value {
        DeValue::String(text) => DriverChoice::parse(text),
        _ => None,
    };
    written.ok_or_else(|| expected("\"auto\", \"io_uring\" or \"epoll\"", value))
}

fn memory(value: &DeValue<'_>) -> Result<MemoryLimit, String> {
    match value {
        DeValue::String(text) if text == "auto" => Ok(MemoryLimit::Auto),
        _ => value::size(value, &MEMORY)
            .map(MemoryLimit::Bytes)
            .map_err(|wrong| format!("{wrong} (or write \"auto\")")),
    }
}

fn log(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    if log_filter::parse(text).is_some() {
        return Ok(text.into());
    }
    // What the filter's own error says may run over lines.
    Err(format!(
        "must be a filter of `tracing`, such as \"info\" or \"warn,tidegate=debug\", with the \
         levels off, error, warn, info, debug, trace, is {}",
        quote(text)
    ))
}

fn log_format(value: &DeValue<'_>) -> Result<LogFormat, String> {
    value::one_of(value, &LogFormat::ALL.map(|format| (format.name(), format)))
}

fn limits<'v>(report: &mut Report<'v>, written: Option<TomlValue<'v>>) -> RawLimits {
    let table = written.and_then(|value| TableReader::nested(report, value, "limits"));
    let limits = table.map(RawLimits::read).unwrap_or_default();
    limits.check(report);
    limits
}

fn hub<'v>(
    report: &mut Report<'v>,
    written: Option<TomlValue<'v>>,
    limits: &RawLimits,
) -> HubLimits {
    let table = written.and_then(|value| TableReader::nested(report, value, "hub"));
    let unwritten = || (HubLimits::default(), Setting::default(HubLimits::default().max_message));
    let (mut hub, message) = table.map_or_else(unwritten, hub::read);
    hub::check_message(&mut hub, message, limits.blocks, report);
    hub
}

/// The table of the control thread, and where its address is from.
fn admin<'v>(
    report: &mut Report<'v>,
    written: Option<TomlValue<'v>>,
) -> (Admin, Setting<Option<ListenAddress>>) {
    let table = written.and_then(|value| TableReader::nested(report, value, "admin"));
    let unwritten = || (Admin::default(), Setting::default(Admin::default().address));
    table.map_or_else(unwritten, admin::read)
}

/// The listeners of the file; `None` if there are none.
fn listeners<'v>(
    report: &mut Report<'v>,
    written: Option<TomlValue<'v>>,
    beside: Beside<'_>,
) -> Option<Vec<Listener>> {
    let mut listeners = Vec::new();
    for (index, value) in list(report, written?, "listener", MAX_LISTENERS).enumerate() {
        let path = format!("listener[{index}]");
        let table = TableReader::nested(report, value, &path);
        listeners.extend(table.and_then(|table| listener::read(table, &listeners, beside)));
    }
    (!listeners.is_empty()).then_some(listeners)
}

/// The certificates of the file.
fn certificates<'v>(report: &mut Report<'v>, written: TomlValue<'v>) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    for (index, value) in list(report, written, "certificate", MAX_CERTIFICATES).enumerate() {
        let path = format!("certificate[{index}]");
        let table = TableReader::nested(report, value, &path);
        let certificate = table.and_then(|table| certificate::read(table, &certificates));
        certificates.extend(certificate);
    }
    certificates
}

/// The issuers of tokens of the file.
fn jwts<'v>(report: &mut Report<'v>, written: TomlValue<'v>) -> Vec<Jwt> {
    let mut jwts = Vec::new();
    for (index, value) in list(report, written, "jwt", JWTS_MAX).enumerate() {
        let path = format!("jwt[{index}]");
        let table = TableReader::nested(report, value, &path);
        jwts.extend(table.and_then(|table| jwt::read(table, &jwts)));
    }
    jwts
}

/// The tokens of the file that are known by themselves.
fn tokens<'v>(report: &mut Report<'v>, written: TomlValue<'v>) -> Vec<StaticToken> {
    let mut tokens = Vec::new();
    for (index, value) in list(report, written, "token", TOKENS_MAX).enumerate() {
        let path = format!("token[{index}]");
        let table = TableReader::nested(report, value, &path);
        tokens.extend(table.and_then(|table| static_token::read(table, &tokens)));
    }
    tokens
}

/// The files of passwords of the file.
fn passwords<'v>(report: &mut Report<'v>, written: TomlValue<'v>) -> Vec<Passwords> {
    let mut all = Vec::new();
    for (index, value) in list(report, written, "passwords", PASSWORDS_MAX).enumerate() {
        let path = format!("passwords[{index}]");
        let table = TableReader::nested(report, value, &path);
        all.extend(table.and_then(|table| passwords::read(table, &all)));
    }
    all
}

/// The routes of the file; `None` if there are none.
fn routes<'v>(
    report: &mut Report<'v>,
    written: Option<TomlValue<'v>>,
    limits: &RawLimits,
    vouchers: Vouchers<'_>,
) -> Option<Vec<Route>> {
    let (mut routes, mut paths) = (Vec::<RawRoute>::new(), RoutePaths::default());
    for (index, value) in list(report, written?, "route", MAX_ROUTES).enumerate() {
        let name = format!("route[{index}]");
        let Some(table) = TableReader::nested(report, value, &name) else { continue };
        let route = RawRoute::read(table, name, vouchers);
        route.check(limits, report);
        if route.is_unlike_those_before(&mut paths) {
            routes.push(route);
            continue;
        }
        if let Some(earlier) = routes.iter().find(|earlier| route.clashes(earlier)) {
            route.report_clash(earlier, report);
        }
        routes.push(route);
    }
    (!routes.is_empty()).then(|| routes.into_iter().filter_map(RawRoute::resolve).collect())
}

/// What is kept of which topics.
fn topics<'v>(report: &mut Report<'v>, written: TomlValue<'v>) -> Vec<TopicKept> {
    let mut topics: Vec<TopicKept> = Vec::new();
    let mut patterns = matchit::Router::new();
    for (index, value) in list(report, written, "topic", MAX_TOPICS).enumerate() {
        let path = format!("topic[{index}]");
        let table = TableReader::nested(report, value, &path);
        let Some(topic) = table.and_then(hub::read_topic) else { continue };
        if let Err(wrong) = patterns.insert(topic.name.clone(), ()) {
            let message = format!("{wrong}: names that match both would have two rules");
            report.error(value.span().start, format!("{path}.name"), message);
            continue;
        }
        topics.push(topic);
    }
    topics
}

/// The elements of `value`, which must be an array of tables of at most `most` under `key`; none,
/// and an error, if it is not.
fn list<'v>(
    report: &mut Report<'v>,
    value: TomlValue<'v>,
    key: &str,
    most: usize,
) -> std::slice::Iter<'v, Spanned<DeValue<'v>>> {
    let offset = value.span().start;
    match value.get_ref() {
        DeValue::Array(array) if array.len() <= most => return array.iter(),
        DeValue::Array(array) => {
            let message = format!("must be at most {most} tables, are {}", array.len());
            report.error(offset, key.into(), message);
        }
        DeValue::Table(_) => {
            let message = format!("may be repeated: write `[[{key}]]` in place of `[{key}]`");
            report.error(offset, key.into(), message);
        }
        other => report.error(offset, key.into(), expected("tables", other)),
    }
    [].iter()
}
