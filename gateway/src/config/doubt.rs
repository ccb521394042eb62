//! What works, but was hardly meant: it is told, and nothing is refused.

use super::stack::{SocketLayer, Stack};
use super::{Config, HubRoute, RouteHandler, TemplatePart, log_filter};
use crate::units::quote;

impl Config {
    /// What this configuration was hardly meant to say, one line each with its key: topics that no
    /// route has, words of the log's filter that name nothing, certificates that nobody is shown,
    /// listeners that believe anybody, and routes that any page may connect to. They are no errors:
    /// topics can be published and subscribed to from outside, an embedding program has its own
    /// targets, and a firewall may let nobody but a proxy in.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let hubs = |pattern: &str| {
            self.routes.iter().any(|route| match &route.handler {
                RouteHandler::Hub(hub) => may_have(&route.path, hub, pattern),
                // What a program's own handler subscribes to is not known here.
                RouteHandler::Embedded => true,
                RouteHandler::Echo | RouteHandler::Health | RouteHandler::Static => false,
            })
        };
        let topics = self.topics.iter().enumerate().filter(|(_, topic)| !hubs(&topic.name));
        let topics = topics.map(|(index, topic)| {
            format!(
                "topic[{index}].name: {} matches the topic of no route: it is for topics that are \
                 published or subscribed to from outside alone",
                quote(&topic.name)
            )
        });
        let words = log_filter::unknown_words(&self.log).map(|word| {
            format!(
                "log: {} is no level (off, error, warn, info, debug, trace), and nothing is said \
                 at a target of that name",
                quote(word)
            )
        });
        let has_tls = self.listeners.iter().any(|listener| listener.stack.tls.is_some());
        let certificates = (!has_tls && !self.certificates.is_empty()).then(|| {
            "certificate: no listener has the layer `tls`, so none is shown to anybody".to_owned()
        });
        let trustful = self.listeners.iter().enumerate().filter_map(|(index, listener)| {
            believes_anybody(&listener.stack).map(|how| format!("listener[{index}].stack: {how}"))
        });
        let open = self.routes.iter().enumerate().filter(|(_, route)| route.origins.has_null());
        let open = open.map(|(index, _)| {
            format!(
                "route[{index}].origins: \"null\" lets in what any page can put into a frame \
                 (`sandbox`): it is as open as \"any\""
            )
        });
        let believed = self.jwts.iter().enumerate().filter(|(_, jwt)| jwt.believes_the_network());
        let believed = believed.map(|(index, _)| {
            format!(
                "jwt[{index}].jwks: by plain http whoever is on the way can put keys of their own \
                 in place of the issuer's, and sign tokens of anybody: write https://"
            )
        });
        words
            .chain(certificates)
            .chain(believed)
            .chain(trustful)
            .chain(open)
            .chain(topics)
            .collect()
    }
}

/// How a stack believes whoever connects about who the client is, if it does.
fn believes_anybody(stack: &Stack) -> Option<String> {
    /// Who may write to the socket's file (chmod(2)): those who are neither owner nor group.
    const OTHERS: u32 = 0o002;
    if let Some(how) = believes_any_header(stack) {
        return Some(how);
    }
    let proxy = stack.proxy.as_ref()?;
    match &stack.socket {
        SocketLayer::Unix(unix) if unix.mode & OTHERS != 0 => Some(format!(
            "`unix?mode={:o}` lets every user of this machine connect, and `proxy` believes all \
             who do: each of them may say to be any client. Write a mode that ends in 0",
            unix.mode
        )),
        SocketLayer::Tcp(_) => {
            let all = proxy.from.iter().find(|network| network.prefix_len() == 0)?;
            Some(format!(
                "`proxy?from={all}` believes whoever connects, who may say to be any client. Write \
                 the networks of your proxies alone"
            ))
        }
        SocketLayer::Unix(_) => None,
    }
}

/// The same of what is said in the heads of requests.
fn believes_any_header(stack: &Stack) -> Option<String> {
    let forwarding = stack.websocket.forwarding.as_ref()?;
    let all = forwarding.from.iter().find(|network| network.prefix_len() == 0)?;
    Some(format!(
        "`ws?from={all}` believes whoever connects, who may say to be any client. Write the \
         networks of your proxies alone"
    ))
}

/// Whether a connection of the route for `path` may be on a topic that matches `pattern`. What the
/// parts of its path are is not known, so a segment with one in it may be any, and what is left of
/// the path may be any segments.
fn may_have(path: &str, hub: &HubRoute, pattern: &str) -> bool {
    let mut listed = hub.may_subscribe.iter().chain(&hub.may_publish);
    if listed.any(|one| may_share(one.as_str(), pattern)) {
        return true;
    }
    let Some(template) = &hub.topic else { return false };
    let rest = path.rsplit_once("{*").map(|(_, name)| name.trim_end_matches('}'));
    let is_rest =
        |part: &TemplatePart<'_>| matches!(part, TemplatePart::Name(name) if Some(*name) == rest);
    let (mut wanted, mut had) = (pattern.split('/'), template.split('/'));
    loop {
        let (wanted, had) = match (wanted.next(), had.next()) {
            (None, None) => return true,
            (Some(wanted), Some(had)) => (wanted, had),
            _ => return false,
        };
        let parts = HubRoute::parts(had).unwrap_or_default();
        if wanted.starts_with("{*") || parts.iter().any(is_rest) {
            return true;
        }
        let is_any =
            wanted.contains('{') || parts.iter().any(|part| matches!(part, TemplatePart::Name(_)));
        if !is_any && wanted != had {
            return false;
        }
    }
}

/// Whether a topic may match both what a route lists and `pattern`, as far as whole segments tell.
fn may_share(listed: &str, pattern: &str) -> bool {
    let (mut listed, mut wanted) = (listed.split('/'), pattern.split('/'));
    loop {
        match (listed.next(), wanted.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == "**" || other.starts_with("{*") => return true,
            (Some(one), Some(other))
                if one == other || one.contains(['*', '{']) || other.contains('{') => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Route, TopicKept, TopicPattern};
    use super::*;

    #[test]
    fn certificates_that_nobody_is_shown_are_doubted() {
        let text = "[[certificate]]\ncert = \"c\"\nkey = \"k\"\n\
                    [[listener]]\naddress = \"[::1]:0\"\nstack = \"ws!tls!tcp\"";
        let shown = Config::parse(text, "t.toml").expect("right");
        assert_eq!(shown.doubts(), [""; 0]);
        let told = Config { listeners: Config::default().listeners, ..shown }.doubts();
        assert!(told[0].starts_with("certificate: no listener has the layer `tls`"), "{told:?}");
    }

    #[test]
    fn pages_without_a_name_are_doubted() {
        let text = "[[route]]\npath = \"/\"\nhandler = \"echo\"\norigins = [\"same\", \"null\"]";
        let doubts = Config::parse(text, "t.toml").expect("right").doubts();
        assert!(doubts[0].starts_with("route[0].origins: \"null\" lets in"), "{doubts:?}");
    }

    #[test]
    fn listeners_that_believe_anybody_are_doubted() {
        for (address, stack, doubted) in [
            ("127.0.0.1:0", "ws!proxy?from=10.0.0.0/8!tcp", None),
            (
                "127.0.0.1:0",
                "ws!proxy?from=10.0.0.0/8,0.0.0.0/0!tcp",
                Some("`proxy?from=0.0.0.0/0`"),
            ),
            ("[::]:0", "ws!proxy?from=::/0!tcp", Some("`proxy?from=::/0`")),
            ("unix:/run/t.sock", "ws!proxy!unix", None),
            ("unix:/run/t.sock", "ws!proxy!unix?mode=660", None),
            ("unix:/run/t.sock", "ws!proxy!unix?mode=666", Some("`unix?mode=666`")),
            ("unix:/run/t.sock", "ws!unix?mode=666", None),
        ] {
            let text = format!("[[listener]]\naddress = \"{address}\"\nstack = \"{stack}\"");
            let doubts = Config::parse(&text, "t.toml").expect("right").doubts();
            let started = doubted.map(|how| format!("listener[0].stack: {how} "));
            match (doubts.as_slice(), &started) {
                ([], None) => {}
                ([doubt], Some(start)) => assert!(doubt.starts_with(start), "{doubt}"),
                _ => panic!("{stack}: {doubts:?}"),
            }
        }
    }

    #[test]
    fn topics_that_no_route_has_are_doubted() {
        for (path, topic, pattern, is_had) in [
            ("/rooms/{room}", "rooms/{room}", "rooms/{room}", true),
            ("/rooms/{room}", "rooms/{room}", "rooms/lobby", true),
            ("/rooms/{room}", "rooms/{room}", "{*all}", true),
            ("/rooms/{room}", "rooms/{room}", "{kind}/{name}", true),
            ("/rooms/{room}", "rooms/{room}", "room/{room}", false),
            ("/rooms/{room}", "rooms/{room}", "rooms/{room}/{part}", false),
            ("/rooms/{room}", "rooms/{room}", "rooms", false),
            ("/trees/{*rest}", "trees/{rest}", "trees/{a}/{b}", true),
            ("/trees/{*rest}", "trees/{rest}", "tree/{a}", false),
            ("/a/{x}/{*rest}", "a/{x}", "a/{b}/{c}", false),
            ("/news", "news", "news", true),
            ("/news", "news", "new", false),
        ] {
            let routes = vec![Route::new(path, RouteHandler::Hub(HubRoute::on(topic)))];
            let topics = vec![TopicKept::new(pattern)];
            let doubts = Config { routes, topics, ..Config::default() }.doubts();
            assert_eq!(doubts.is_empty(), is_had, "{path} {topic} {pattern}: {doubts:?}");
        }
        for (listed, pattern, is_had) in [
            ("rooms/*", "rooms/{room}", true),
            ("rooms/*", "rooms/{room}/x", false),
            ("rooms/**", "rooms/{room}/x", true),
            ("users/{user}", "users/{name}", true),
            ("users/{user}", "user/{name}", false),
            ("news", "{*all}", true),
        ] {
            let may_subscribe = vec![TopicPattern::new(listed).expect("a pattern")];
            let hub = HubRoute { may_subscribe, ..HubRoute::default() };
            let routes = vec![Route::new("/", RouteHandler::Hub(hub))];
            let topics = vec![TopicKept::new(pattern)];
            let doubts = Config { routes, topics, ..Config::default() }.doubts();
            assert_eq!(doubts.is_empty(), is_had, "{listed} {pattern}: {doubts:?}");
        }
        let routes = vec![Route::new("/", RouteHandler::Embedded)];
        let topics = vec![TopicKept::new("any")];
        assert_eq!(Config { routes, topics, ..Config::default() }.doubts(), [""; 0]);
        // What is kept of the default's rooms would be of no route's.
        let routes = vec![Route::new("/echo", RouteHandler::Echo)];
        let changed = Config { routes: routes.clone(), ..Config::default() };
        assert_eq!(changed.doubts().len(), 1);
        let replaced = Config::default().with_routes(routes);
        assert_eq!((replaced.doubts(), &replaced.topics), (vec![], &vec![]));
        assert_eq!(replaced.routes, changed.routes);
        let told =
            Config { topics: vec![TopicKept::new("room/{a}")], ..Config::default() }.doubts();
        assert!(told[0].starts_with("topic[0].name: \"room/{a}\" matches the topic of no route"));
    }
}
