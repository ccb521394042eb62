//! A configuration that a program has put together: what a shard relies on, checked without a file
//! to point into. The bounds of each field are those of its key, and stand beside that.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_proto::token::is_token;

use super::admission::Vouchers;
use super::hub::check_pattern;
use super::listener::{NO_CERTIFICATE, without_addresses};
use super::stack::ProxyLayer;
use super::subprotocol::SUBPROTOCOL_LENGTH;
use super::{AccessLog, Config, Limits, Listener, RouteHandler, path, root};
use crate::units::{Size, bytes_in, duration_in};

/// What a hand-made configuration breaks; displayed, it names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltWrong(pub(super) String);

impl fmt::Display for BuiltWrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BuiltWrong {}

/// Checks the number `value` of `field`.
///
/// # Errors
/// It is not in `range`.
pub(super) fn number<T>(
    field: impl fmt::Display,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<(), BuiltWrong>
where
    T: Copy + PartialOrd + fmt::Display,
{
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(BuiltWrong(format!("{field}: must be between {least} and {most}, is {value}")))
}

/// Checks the bytes `value` of `field`.
///
/// # Errors
/// They are not in `range`.
pub(super) fn size<T>(
    field: impl fmt::Display,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<(), BuiltWrong>
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    let checked = bytes_in(value.into(), range);
    checked.map(|_| ()).map_err(|wrong| BuiltWrong(format!("{field}: {wrong}")))
}

/// Checks the duration `value` of `field`.
///
/// # Errors
/// It is not in `range`.
pub(super) fn time(
    field: impl fmt::Display,
    value: Duration,
    range: &RangeInclusive<Duration>,
) -> Result<(), BuiltWrong> {
    let checked = duration_in(value, range);
    checked.map(|_| ()).map_err(|wrong| BuiltWrong(format!("{field}: {wrong}")))
}

/// The first rule that does not hold, which names its field.
pub(super) fn first_broken(rules: &[(bool, &str)]) -> Result<(), BuiltWrong> {
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(BuiltWrong((*rule).to_owned())),
        None => Ok(()),
    }
}

impl Config {
    /// Checks what a shard relies on. A configuration that was parsed is right already.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), BuiltWrong> {
        root::check(self)?;
        self.admin.check().map_err(BuiltWrong)?;
        self.check_addresses()?;
        self.check_certificates()?;
        for (index, jwt) in self.jwts.iter().enumerate() {
            jwt.check(&format!("jwts[{index}]"), &self.jwts[..index])?;
        }
        for (index, token) in self.tokens.iter().enumerate() {
            token.check(&format!("tokens[{index}]"), &self.tokens[..index])?;
        }
        for (index, passwords) in self.passwords.iter().enumerate() {
            passwords.check(&format!("passwords[{index}]"), &self.passwords[..index])?;
        }
        self.hashing.check()?;
        self.access_log.as_ref().map_or(Ok(()), AccessLog::check)?;
        self.limits.check()?;
        self.clients.check()?;
        if self.has_tls() && self.limits.receive_buffer < Limits::RECORD {
            let why = format!("limits.receive_buffer: at least {} with `tls`", Limits::RECORD);
            return Err(BuiltWrong(why));
        }
        self.hub.check(&self.limits)?;
        self.check_topics()?;
        self.check_routes()
    }

    /// Whether some listener has the layer `tls`.
    pub(super) fn has_tls(&self) -> bool {
        self.listeners.iter().any(|listener| listener.stack.tls.is_some())
    }

    /// Checks the stacks of the listeners, and that the control thread can listen beside them.
    fn check_addresses(&self) -> Result<(), BuiltWrong> {
        for (index, listener) in self.listeners.iter().enumerate() {
            listener.stack.check(&format!("listeners[{index}].stack"))?;
            let Listener { address, stack, limits, networks } = listener;
            limits.check(&format!("listeners[{index}].limits"))?;
            networks.check(&format!("listeners[{index}].networks"))?;
            if let Some(why) = without_addresses(stack).filter(|_| networks.say_something()) {
                let wrong = format!("listeners[{index}].networks: means nothing {why}");
                return Err(BuiltWrong(wrong));
            }
            address
                .check_name()
                .map_err(|wrong| BuiltWrong(format!("listeners[{index}].address: {wrong}")))?;
            let buffer = self.limits.receive_buffer;
            let check_room = |proxy: &ProxyLayer| proxy.check_room(buffer, Size(buffer.into()));
            address
                .check(stack)
                .and_then(|()| stack.proxy.as_ref().map_or(Ok(()), check_room))
                .map_err(|wrong| BuiltWrong(format!("listeners[{index}].stack: {wrong}")))?;
        }
        let Some(admin) = &self.admin.address else { return Ok(()) };
        let mut listeners = self.listeners.iter();
        match listeners.position(|listener| listener.address.excludes(admin)) {
            None => Ok(()),
            Some(index) => Err(BuiltWrong(format!(
                "admin.address: {admin} cannot be listened on beside {} of listeners[{index}]: \
                 take another {} for one of them",
                self.listeners[index].address,
                admin.differs_by()
            ))),
        }
    }

    /// Checks the certificates, and that each listener which needs one has one.
    fn check_certificates(&self) -> Result<(), BuiltWrong> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            let earlier = &self.certificates[..index];
            certificate.check(&format!("certificates[{index}]"), earlier)?;
        }
        let mut listeners = self.listeners.iter();
        match listeners.position(|listener| listener.stack.lacks_certificate()) {
            Some(index) if self.certificates.is_empty() => {
                Err(BuiltWrong(format!("listeners[{index}].stack: {NO_CERTIFICATE}")))
            }
            _ => Ok(()),
        }
    }

    fn check_topics(&self) -> Result<(), BuiltWrong> {
        let mut patterns = matchit::Router::new();
        for (index, topic) in self.topics.iter().enumerate() {
            let field = format!("topics[{index}]");
            topic.check_rule(&field)?;
            check_pattern(&topic.name)
                .and_then(|()| {
                    patterns.insert(topic.name.clone(), ()).map_err(|wrong| wrong.to_string())
                })
                .map_err(|wrong| BuiltWrong(format!("{field}.name: {wrong}")))?;
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), BuiltWrong> {
        let (mut patterns, mut known) = (matchit::Router::new(), HashSet::new());
        let vouchers = Vouchers::of(self);
        for (index, route) in self.routes.iter().enumerate() {
            path::check(&route.path)
                .map_err(|wrong| BuiltWrong(format!("routes[{index}].path: {wrong}")))?;
            let normal = path::normal(&route.path);
            if normal != route.path {
                return Err(BuiltWrong(format!("routes[{index}].path: write it as {normal}")));
            }
            if known.insert(&route.path)
                && let Err(error) = patterns.insert(&route.path, ())
            {
                return Err(BuiltWrong(format!("routes[{index}].path: {error}")));
            }
            if let Some(name) = &route.subprotocol
                && (name.len() > SUBPROTOCOL_LENGTH || !is_token(name.as_bytes()))
            {
                return Err(BuiltWrong(format!("routes[{index}].subprotocol: one short token")));
            }
            if let RouteHandler::Hub(hub) = &route.handler
                && let Err(wrong) = hub.check_names(&route.path)
            {
                return Err(BuiltWrong(format!("routes[{index}].handler: {wrong}")));
            }
            route.check_limits(&format!("routes[{index}]"), &self.limits, vouchers)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::http::ForwardingHeader;

    use super::super::stack::{Forwarding, SocketLayer, TcpLayer, TlsLayer, UnixLayer};
    use super::super::{
        Certificate, ClientRate, ListenAddress, MemoryLimit, Route, RouteHandler, TopicKept,
        UnixAddress,
    };
    use super::*;
    use crate::names::TopicRule;

    #[test]
    fn the_default_is_right() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    /// What is kept of a topic of the configuration.
    fn topic(config: &mut Config) -> &mut TopicRule {
        config.topics.push(TopicKept::new("a"));
        &mut config.topics[0].rule
    }

    #[test]
    fn each_mistake_is_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 64] = [
            ("listeners", |config| config.listeners.clear()),
            ("routes", |config| config.routes.clear()),
            ("admin.address", |config| config.admin.address = "0.0.0.0:0".parse().ok()),
            ("admin.address", |config| {
                config.admin.address = Some(config.listeners[0].address.clone());
            }),
            ("drain_rate", |config| config.drain_rate = 0),
            ("limits.connections", |config| config.limits.connections = 1),
            ("limits.receive_buffers", |config| config.limits.receive_buffers = 100),
            ("limits.blocks", |config| config.limits.blocks = 0),
            ("limits.request_head", |config| config.limits.request_head = 1 << 20),
            ("routes[0].backlog", |config| config.routes[0].backlog = 0),
            ("routes[1].subprotocol", |config| config.routes[1].subprotocol = Some("a b".into())),
            ("routes[0].max_buffered", |config| config.routes[0].max_buffered_message = 1 << 30),
            ("routes[0].path", |config| config.routes[0].path = "/%65cho".into()),
            ("routes[0].path: must begin with `/`", |config| config.routes[0].path = "a".into()),
            ("routes[3].path", |config| {
                config.routes.push(Route::new("/{*a}{b}", RouteHandler::Echo));
            }),
            ("memory", |config| config.memory = MemoryLimit::Bytes(1)),
            ("drain: must be between 1s and 24h", |config| config.drain = Duration::MAX),
            ("drain: ", |config| config.drain = Duration::ZERO),
            ("drain_delay", |config| config.drain_delay = Duration::MAX),
            ("drain_rate", |config| config.drain_rate = u32::MAX),
            ("drain_code: must be a close code", |config| config.drain_code = 1006),
            ("limits.receive_buffer: ", |config| config.limits.receive_buffer = 2 << 20),
            ("limits.staging", |config| config.limits.staging = 65 << 20),
            ("limits.blocks", |config| config.limits.blocks += 512),
            ("limits.request_head", |config| {
                (config.limits.receive_buffer, config.limits.request_head) = (1 << 20, 65 << 10);
            }),
            ("limits.heavy_input", |config| config.limits.heavy_input = 1),
            ("limits.handshakes", |config| config.limits.handshakes = 0),
            ("limits.expanded_keys", |config| config.limits.expanded_keys = 65_537),
            ("limits.tokens", |config| config.limits.tokens = u32::MAX),
            ("limits.passwords", |config| config.limits.passwords = u32::MAX),
            ("hashing.memory", |config| config.hashing.memory = 0),
            ("verifiers", |config| config.verifying.threads = 0),
            ("verifications", |config| config.verifying.waiting = 0),
            ("revocations", |config| config.revocations = 65_537),
            ("hub.subscriptions_per", |config| config.hub.subscriptions_per_connection = 0),
            ("hub.max_message", |config| config.hub.max_message = 16 << 20),
            ("topics[0].rule.history_bytes", |config| topic(config).history_bytes = 0),
            ("topics[0].rule.presence_events", |config| topic(config).presence_events = u32::MAX),
            ("routes[2].undecided", |config| config.routes[2].undecided = u32::MAX),
            ("limits.memory_high", |config| config.limits.memory_high = Some(100)),
            ("limits.memory_critical", |config| config.limits.memory_critical = Some(84)),
            ("clients.per_address", |config| config.clients.per_address = Some(0)),
            ("clients.prefix_v6", |config| config.clients.prefix_v6 = 129),
            ("listeners[0].limits.connections", |config| {
                config.listeners[0].limits.connections = Some(0);
            }),
            ("routes[1].client.max_frames", |config| config.routes[1].client.max_frames = 0),
            ("routes[1].client.idle", |config| {
                config.routes[1].client.idle = Some(Duration::ZERO);
            }),
            ("routes[1].client.bytes.burst", |config| {
                config.routes[1].client.bytes = Some(ClientRate { per_second: 1, burst: 0 });
            }),
            ("listeners[0].stack.websocket.head", |config| {
                config.listeners[0].stack.websocket.head = Duration::ZERO;
            }),
            ("listeners[0].stack.websocket.forwarding.from: `ws?from`: is missing", |config| {
                config.listeners[0].stack.websocket.forwarding =
                    Some(Forwarding { header: ForwardingHeader::Forwarded, from: Vec::new() });
            }),
            ("listeners[0].stack.websocket.keepalive.pong", |config| {
                let keepalive = &mut config.listeners[0].stack.websocket.keepalive;
                keepalive.as_mut().expect("it is on").pong = Duration::MAX;
            }),
            ("listeners[0].stack.websocket.deflate.level", |config| {
                let deflate = &mut config.listeners[0].stack.websocket.deflate;
                deflate.as_mut().expect("it is on").level = 10;
            }),
            ("listeners[0].stack.socket.backlog", |config| {
                config.listeners[0].stack.socket =
                    SocketLayer::Tcp(TcpLayer { backlog: 0, ..TcpLayer::default() });
            }),
            ("listeners[0].stack.socket.user_timeout", |config| {
                let user_timeout = Some(Duration::from_millis(1));
                config.listeners[0].stack.socket =
                    SocketLayer::Tcp(TcpLayer { user_timeout, ..TcpLayer::default() });
            }),
            ("listeners[0].stack: `tls` has no certificate", |config| {
                config.listeners[0].stack.tls = Some(TlsLayer::default());
            }),
            ("listeners[0].stack.tls.suites: has no suite", |config| {
                let tls = TlsLayer { suites: Vec::new(), ..TlsLayer::default() };
                config.listeners[0].stack.tls = Some(tls);
            }),
            ("listeners[0].stack.proxy.from: `proxy?from`: is missing", |config| {
                config.listeners[0].stack.proxy = Some(ProxyLayer::default());
            }),
            ("listeners[0].stack.proxy.max", |config| {
                config.listeners[0].stack.proxy =
                    Some(ProxyLayer { max: 1 << 20, ..ProxyLayer::default() });
            }),
            ("listeners[0].stack.proxy.keep", |config| {
                config.listeners[0].stack.proxy =
                    Some(ProxyLayer { keep: 1 << 20, ..ProxyLayer::default() });
            }),
            ("listeners[0].stack: `proxy?max` must be at most `limits.receive_buffer`", |config| {
                let from = vec!["::1/128".parse().expect("a network")];
                config.listeners[0].stack.proxy =
                    Some(ProxyLayer { from, max: 32 << 10, ..ProxyLayer::default() });
            }),
            ("listeners[0].stack: `tcp` is for an IP address", |config| {
                config.listeners[0].address = "unix:/run/x".parse().expect("right");
            }),
            ("listeners[0].address: must have an absolute path", |config| {
                let address = ListenAddress::Unix(UnixAddress::Path("x".into()));
                config.listeners[0] = Listener::new(address);
            }),
            ("listeners[0].stack: `proxy` cannot stand over unix:@x", |config| {
                let mut listener =
                    Listener::new("unix:@x".parse::<ListenAddress>().expect("right"));
                listener.stack.proxy = Some(ProxyLayer::default());
                config.listeners[0] = listener;
            }),
            ("listeners[0].stack.socket.mode", |config| {
                config.listeners[0].stack.socket =
                    SocketLayer::Unix(UnixLayer { mode: 0, ..UnixLayer::default() });
            }),
            ("certificates[0].key", |config| {
                config.certificates.push(Certificate::new("cert.pem", ""));
            }),
        ];
        for (field, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let error = config.check().expect_err(field).to_string();
            assert!(error.starts_with(field), "{field}: {error}");
        }
    }
}
