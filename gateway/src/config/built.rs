//! A configuration that a program has put together: what a shard relies on, checked without a file
//! to point into.

use tidegate_proto::token::is_token;

use super::hub::{AGE_MAX, LINGER_MAX, check_pattern, largest_message};
use super::listener::excludes;
use super::route::{SUBPROTOCOL_LENGTH, largest_gathered};
use super::{Config, RouteHandler, path};
use crate::kernel;
use crate::names::TopicRule;

/// What a hand-made configuration breaks; displayed, it names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltWrong(pub(super) String);

impl std::fmt::Display for BuiltWrong {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BuiltWrong {}

impl Config {
    /// Checks what a shard relies on. A configuration that was parsed is right already.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), BuiltWrong> {
        let rules = [
            (!self.listeners.is_empty() && self.listeners.len() <= 64, "listeners: 1 to 64"),
            (!self.routes.is_empty() && self.routes.len() <= 1024, "routes: 1 to 1024"),
            (self.drain_rate > 0, "drain_rate: more than 0"),
        ];
        first_broken(&rules)?;
        self.admin.check().map_err(BuiltWrong)?;
        self.check_addresses()?;
        self.check_limits()?;
        self.check_hub()?;
        self.check_routes()
    }

    /// Checks that the control thread can listen beside the listeners.
    fn check_addresses(&self) -> Result<(), BuiltWrong> {
        let Some(admin) = self.admin.address else { return Ok(()) };
        let mut listeners = self.listeners.iter();
        match listeners.position(|listener| excludes(listener.address, admin)) {
            None => Ok(()),
            Some(index) => Err(BuiltWrong(format!(
                "admin.address: {admin} cannot be listened on beside {} of listeners[{index}]: \
                 take another port for one of them",
                self.listeners[index].address
            ))),
        }
    }

    fn check_limits(&self) -> Result<(), BuiltWrong> {
        let limits = &self.limits;
        let buffers = limits.receive_buffers;
        let stride = kernel::buffer_stride(limits.receive_buffer as usize) as u64;
        let rules = [
            ((16..=1 << 22).contains(&limits.connections), "limits.connections: 16 to 4194304"),
            (
                buffers.is_power_of_two() && (8..=1 << 15).contains(&buffers),
                "limits.receive_buffers: a power of two, 8 to 32768",
            ),
            (limits.receive_buffer >= 1024, "limits.receive_buffer: at least 1 KiB"),
            (
                u64::from(buffers) * stride < 1 << 32,
                "limits.receive_buffers: all of them together below 4 GiB",
            ),
            (limits.staging >= 1 << 14, "limits.staging: at least 16 KiB"),
            (limits.blocks >= 1 << 20, "limits.blocks: at least 1 MiB"),
            (
                (512..=limits.receive_buffer).contains(&limits.request_head),
                "limits.request_head: 512 to limits.receive_buffer",
            ),
            (limits.heavy_input > 0, "limits.heavy_input: more than 0"),
        ];
        first_broken(&rules)
    }

    fn check_hub(&self) -> Result<(), BuiltWrong> {
        let hub = &self.hub;
        let counts = 16..=16 << 20;
        let rules = [
            (counts.contains(&hub.topics), "hub.topics: 16 to 16777216"),
            (counts.contains(&hub.subscriptions), "hub.subscriptions: 16 to 16777216"),
            (
                hub.queued.is_none_or(|queued| counts.contains(&queued)),
                "hub.queued: 16 to 16777216",
            ),
            (counts.contains(&hub.present), "hub.present: 16 to 16777216"),
            ((16..=65_536).contains(&hub.mailbox), "hub.mailbox: 16 to 65536"),
            ((1 << 20..=64 << 30).contains(&hub.messages), "hub.messages: 1 MiB to 64 GiB"),
            ((1..=16 << 20).contains(&hub.max_message), "hub.max_message: 1 B to 16 MiB"),
            (
                hub.max_message <= largest_message(self.limits.blocks),
                "hub.max_message: at most an eighth of limits.blocks",
            ),
            (hub.subscriptions_per_connection > 0, "hub.subscriptions_per_connection: at least 1"),
            (self.topics.len() <= 256, "topics: at most 256"),
        ];
        first_broken(&rules)?;
        let mut patterns = matchit::Router::new();
        for (index, topic) in self.topics.iter().enumerate() {
            let TopicRule { history, history_age, linger, .. } = topic.rule;
            let rules = [
                (history <= 1_000_000, "history: at most 1000000"),
                (history_age <= AGE_MAX, "history_age: at most 720 h"),
                (linger <= LINGER_MAX, "linger: at most 1 h"),
            ];
            first_broken(&rules)
                .map_err(|wrong| BuiltWrong(format!("topics[{index}].rule.{wrong}")))?;
            check_pattern(&topic.name)
                .and_then(|()| {
                    patterns.insert(topic.name.clone(), ()).map_err(|wrong| wrong.to_string())
                })
                .map_err(|wrong| BuiltWrong(format!("topics[{index}].name: {wrong}")))?;
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), BuiltWrong> {
        let mut patterns: matchit::Router<()> = matchit::Router::new();
        for (index, route) in self.routes.iter().enumerate() {
            let normal = path::normal(&route.path);
            if normal != route.path {
                return Err(BuiltWrong(format!("routes[{index}].path: write it as {normal}")));
            }
            let mut others = self.routes[..index].iter();
            let is_new = others.all(|other| other.path != route.path);
            if is_new && let Err(error) = patterns.insert(&route.path, ()) {
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
            let needed =
                u64::from(route.max_buffered_message) + u64::from(self.limits.receive_buffer);
            if route.max_buffered_message > largest_gathered(self.limits.blocks) {
                return Err(BuiltWrong(format!(
                    "routes[{index}].max_buffered_message: at most a quarter of limits.blocks"
                )));
            }
            if u64::from(route.backlog) < needed || route.backlog > self.limits.blocks {
                return Err(BuiltWrong(format!(
                    "routes[{index}].backlog: at least max_buffered_message and \
                     limits.receive_buffer together, at most limits.blocks"
                )));
            }
        }
        Ok(())
    }
}

fn first_broken(rules: &[(bool, &str)]) -> Result<(), BuiltWrong> {
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(BuiltWrong((*rule).to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Route, RouteHandler};
    use super::*;

    #[test]
    fn the_default_is_right() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn each_mistake_is_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 14] = [
            ("listeners", |config| config.listeners.clear()),
            ("routes", |config| config.routes.clear()),
            ("admin.address", |config| config.admin.address = "0.0.0.0:0".parse().ok()),
            ("admin.address", |config| config.admin.address = Some(config.listeners[0].address)),
            ("drain_rate", |config| config.drain_rate = 0),
            ("limits.connections", |config| config.limits.connections = 1),
            ("limits.receive_buffers", |config| config.limits.receive_buffers = 100),
            ("limits.blocks", |config| config.limits.blocks = 0),
            ("limits.request_head", |config| config.limits.request_head = 1 << 20),
            ("routes[0].backlog", |config| config.routes[0].backlog = 0),
            ("routes[1].subprotocol", |config| config.routes[1].subprotocol = Some("a b".into())),
            ("routes[0].max_buffered", |config| config.routes[0].max_buffered_message = 1 << 30),
            ("routes[0].path", |config| config.routes[0].path = "/%65cho".into()),
            ("routes[3].path", |config| {
                config.routes.push(Route::new("/{*a}{b}", RouteHandler::Echo));
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
