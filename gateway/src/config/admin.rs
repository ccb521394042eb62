//! The table `[admin]`: the address of the control thread, and who may use it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::ListenAddress;
use super::reader::{Origin, Setting, TableReader, expected};
use super::value;
use crate::units::quote;

/// Where the gateway is steered and watched over HTTP, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; `None` for no control thread. Default `127.0.0.1:8081`. An IP address that
    /// is not loopback needs tokens. The file of a Unix socket has the mode 660, and who may open
    /// it may do what others may at loopback.
    pub address: Option<ListenAddress>,
    /// The tokens that requests are let in by, at most 64; none by default. Without any, whoever
    /// reaches the address may do everything.
    pub tokens: Vec<BearerToken>,
    /// Connections at once, 1 to 1024. Default 64. Idle ones make room; eight more are each for one
    /// request, and what is beyond waits in the listener's backlog.
    pub connections: u16,
    /// How long a connection without a request is kept, and announced to be, 1s to 1h in whole
    /// seconds; `None` for none that is kept. Default 75 s.
    pub keepalive: Option<Duration>,
}

/// A bearer token (RFC 6750 section 2.1): 16 to 256 visible ASCII characters. It is not shown by
/// `Debug`, so that it ends in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

/// How many characters a token has.
const TOKEN_LENGTH: RangeInclusive<usize> = 16..=256;
const CONNECTIONS: RangeInclusive<u16> = 1..=1024;
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// As long as nginx keeps one by default (`keepalive_timeout`).
const KEEPALIVE_DEFAULT: Duration = Duration::from_secs(75);
/// The most tokens: each is compared with what a request brings.
const MAX_TOKENS: usize = 64;

/// What is said of an address that everyone can reach.
const OPEN_TO_ALL: &str = "is not loopback, so whoever reaches it could steer the gateway: add \
     `tokens = [\"…\"]`, or use 127.0.0.1 or [::1]";

impl BearerToken {
    /// Checks a token.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn new(text: &str) -> Result<Self, String> {
        if !TOKEN_LENGTH.contains(&text.len()) {
            let (least, most) = (TOKEN_LENGTH.start(), TOKEN_LENGTH.end());
            return Err(format!("must have {least} to {most} characters, has {}", text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must have visible ASCII characters only, without spaces".into());
        }
        Ok(Self(text.into()))
    }

    /// The secret itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("BearerToken(…)")
    }
}

impl Admin {
    /// No control thread: nothing is listened on but the listeners.
    #[must_use]
    pub fn off() -> Self {
        Self { address: None, ..Self::default() }
    }

    /// What is wrong with an address beside these tokens.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(address) = &self.address {
            address.check_name().map_err(|wrong| format!("admin.address: {wrong}"))?;
        }
        let is_open = self.address.as_ref().is_some_and(ListenAddress::is_open);
        if is_open && self.tokens.is_empty() {
            return Err(format!("admin.address: {OPEN_TO_ALL}"));
        }
        if !CONNECTIONS.contains(&self.connections) {
            return Err("admin.connections: 1 to 1024".into());
        }
        if let Some(time) = self.keepalive {
            check_keepalive(time).map_err(|wrong| format!("admin.keepalive: {wrong}"))?;
        }
        if self.tokens.len() > MAX_TOKENS {
            return Err(format!("admin.tokens: at most {MAX_TOKENS}"));
        }
        Ok(())
    }
}

impl Default for Admin {
    fn default() -> Self {
        let address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)).into());
        let keepalive = Some(KEEPALIVE_DEFAULT);
        Self { address, tokens: Vec::new(), connections: 64, keepalive }
    }
}

/// Reads `[admin]`, and where its address is from.
pub(super) fn read(mut table: TableReader<'_, '_>) -> (Admin, Setting<Option<ListenAddress>>) {
    let default = Admin::default();
    let address = table.read("address", default.address, address);
    let tokens = table.read("tokens", default.tokens, tokens);
    let connections =
        table.read("connections", default.connections, |value| value::integer(value, &CONNECTIONS));
    let keepalive = table.read("keepalive", default.keepalive, keepalive);
    check_open(&address, &tokens, &mut table);
    table.finish();
    let admin = Admin {
        address: address.value.clone(),
        tokens: tokens.value,
        connections: connections.value,
        keepalive: keepalive.value,
    };
    (admin, address)
}

/// Reports an address that everyone could use. Nothing is said where the tokens were refused or may
/// be lost in broken syntax.
fn check_open(
    address: &Setting<Option<ListenAddress>>,
    tokens: &Setting<Vec<BearerToken>>,
    table: &mut TableReader<'_, '_>,
) {
    let is_open = address.value.as_ref().is_some_and(ListenAddress::is_open);
    let is_known = tokens.origin != Origin::Refused && !table.report().is_broken();
    if let Origin::Written(offset) = address.origin
        && is_open
        && tokens.value.is_empty()
        && is_known
    {
        let key = table.path("address");
        table.report().error(offset, key, OPEN_TO_ALL.into());
    }
}

/// Reads an address, or `off`.
pub(super) fn address(value: &DeValue<'_>) -> Result<Option<ListenAddress>, String> {
    parse_address(value::text(value)?)
}

/// The address that `text` says: `None` if it says `off`.
///
/// # Errors
/// What to write instead.
pub fn parse_address(text: &str) -> Result<Option<ListenAddress>, String> {
    if text == "off" {
        return Ok(None);
    }
    if text.starts_with("unix:") {
        return text.parse().map(Some);
    }
    text.parse().map(Some).map_err(|_: String| {
        let is = quote(text);
        format!(
            "must be an IP address and a port, such as \"127.0.0.1:8081\", a Unix socket, such as \
             \"unix:/run/tidegate-admin.sock\", or \"off\", is {is}"
        )
    })
}

/// Reads how long an idle connection is kept, or `off`.
fn keepalive(value: &DeValue<'_>) -> Result<Option<Duration>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    let time = value::time(value, &KEEPALIVE).and_then(check_keepalive);
    time.map(Some).map_err(|wrong| format!("{wrong} (or write \"off\")"))
}

/// Checks what is announced in whole seconds.
fn check_keepalive(time: Duration) -> Result<Duration, String> {
    match KEEPALIVE.contains(&time) && time.subsec_nanos() == 0 {
        true => Ok(time),
        false => Err("must be whole seconds, 1s to 1h".into()),
    }
}

fn tokens(value: &DeValue<'_>) -> Result<Vec<BearerToken>, String> {
    let DeValue::Array(list) = value else {
        // What is written may be a token that lacks its brackets, so it is not quoted.
        return Err("must be an array of strings, such as [\"0123456789abcdef\"]".into());
    };
    if list.len() > MAX_TOKENS {
        return Err(format!("must be at most {MAX_TOKENS} tokens, are {}", list.len()));
    }
    let token = |(index, value): (usize, &toml::Spanned<DeValue<'_>>)| match value.get_ref() {
        DeValue::String(text) => {
            BearerToken::new(text).map_err(|wrong| format!("[{index}] {wrong}"))
        }
        other => Err(format!("[{index}] {}", expected("a string", other))),
    };
    list.iter().enumerate().map(token).collect()
}
