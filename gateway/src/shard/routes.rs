//! Which handler answers which request.

use tidegate_proto::handshake::server::Rejection;
use tidegate_proto::http::{RequestHead, list_elements};

use crate::config::{self, Config, Route};
use crate::handler::{Echo, Handler, Page, Rooms};

/// Makes a shard's own handler for a route; `None` leaves it to the one that the configuration
/// names.
pub type HandlerFactory = dyn Fn(&Route) -> Option<Box<dyn Handler>> + Send + Sync;

/// The routes of a shard and their handlers.
pub struct Routes {
    /// The routes of each path pattern, in the order of the configuration.
    by_path: matchit::Router<Vec<Candidate>>,
    handlers: Vec<Box<dyn Handler>>,
}

struct Candidate {
    route: u16,
    subprotocol: Option<String>,
}

impl Routes {
    /// The configured routes.
    ///
    /// # Panics
    /// Two patterns of a checked configuration conflict.
    #[must_use]
    pub fn new(config: &Config, factory: &HandlerFactory) -> Self {
        let mut paths: Vec<(&str, Vec<Candidate>)> = Vec::new();
        for (route, settings) in config.routes.iter().enumerate() {
            let candidate =
                Candidate { route: route as u16, subprotocol: settings.subprotocol.clone() };
            match paths.iter_mut().find(|(path, _)| *path == settings.path) {
                Some((_, candidates)) => candidates.push(candidate),
                None => paths.push((&settings.path, vec![candidate])),
            }
        }
        let mut by_path = matchit::Router::new();
        for (path, candidates) in paths {
            by_path.insert(path, candidates).expect("the configuration's patterns were checked");
        }
        let make = |route| factory(route).unwrap_or_else(|| built_in(route));
        Self { by_path, handlers: config.routes.iter().map(make).collect() }
    }

    /// The route for a request, by its path and the subprotocols that it offers.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, head: &RequestHead<'_>) -> Result<u16, Rejection> {
        let path = config::normal_path(head.path());
        let found = self.by_path.at(&path).map_err(|_| Rejection::NotFound)?;
        let mut candidates = found.value.iter();
        let chosen = candidates.find(|candidate| match &candidate.subprotocol {
            None => true,
            Some(name) => offers(head, name),
        });
        chosen.map(|candidate| candidate.route).ok_or(Rejection::NotFound)
    }

    /// The handler of a route.
    pub fn handler(&mut self, route: u16) -> &mut dyn Handler {
        &mut *self.handlers[usize::from(route)]
    }
}

fn built_in(route: &Route) -> Box<dyn Handler> {
    match &route.handler {
        config::Handler::Echo => Box::new(Echo),
        config::Handler::Static => Box::new(Page),
        config::Handler::Hub(hub) => Box::new(Rooms::new(&route.path, hub.clone())),
    }
}

/// Whether the request offers the subprotocol. Names are compared as they stand (RFC 6455 section
/// 4.1, 10: "strings with characters in the range U+0021 to U+007E", case-sensitive).
fn offers(head: &RequestHead<'_>, name: &str) -> bool {
    head.header_values("Sec-WebSocket-Protocol")
        .flat_map(list_elements)
        .any(|element| element == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_proto::http::{Status, parse_request};

    use super::*;

    fn find(config: &Config, path: &str, subprotocols: &str) -> Result<u16, Rejection> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
        );
        let routes = Routes::new(config, &|_| None);
        match parse_request(request.as_bytes(), 8192) {
            Ok(Status::Complete(head)) => routes.find(&head),
            other => panic!("{other:?}"),
        }
    }

    fn with_routes(routes: &[(&str, Option<&str>)]) -> Config {
        let route = |(path, subprotocol): &(&str, Option<&str>)| Route {
            subprotocol: subprotocol.map(str::to_owned),
            ..Route::new(*path, config::Handler::Echo)
        };
        Config { routes: routes.iter().map(route).collect(), ..Config::default() }
    }

    #[test]
    fn by_path() {
        let config = with_routes(&[("/", None), ("/rooms/{room}", None), ("/files/{*rest}", None)]);
        assert_eq!(find(&config, "/?query=1", "x"), Ok(0));
        assert_eq!(find(&config, "/rooms/7", "x"), Ok(1));
        assert_eq!(find(&config, "/rooms/7/8", "x"), Err(Rejection::NotFound));
        assert_eq!(find(&config, "/files/a/b", "x"), Ok(2));
        assert_eq!(find(&config, "/other", "x"), Err(Rejection::NotFound));
        assert_eq!(find(&config, "/%72ooms/7", "x"), Ok(1));
        assert_eq!(find(&config, "/rooms%2F7", "x"), Err(Rejection::NotFound));
    }

    #[test]
    fn by_subprotocol_in_the_order_of_the_configuration() {
        let config = with_routes(&[("/", Some("mqtt")), ("/", Some("chat")), ("/", None)]);
        assert_eq!(find(&config, "/", "chat, mqtt"), Ok(0));
        assert_eq!(find(&config, "/", "superchat, chat"), Ok(1));
        assert_eq!(find(&config, "/", "Chat"), Ok(2));
        let strict = with_routes(&[("/", Some("mqtt"))]);
        assert_eq!(find(&strict, "/", "chat"), Err(Rejection::NotFound));
    }

    /// How well a segment of a pattern fits one of a path; less is better.
    fn fit(pattern: &str, segment: &str) -> Option<u8> {
        match pattern {
            "{x}" => (!segment.is_empty()).then_some(1),
            literal => (literal == segment).then_some(0),
        }
    }

    /// The naive way: segment by segment, and none if the pattern does not fit.
    fn fits(pattern: &str, path: &str) -> Option<Vec<u8>> {
        let (pattern, path) = (pattern.strip_prefix('/')?, path.strip_prefix('/')?);
        if pattern == "{*rest}" {
            return (!path.is_empty()).then(|| vec![2]);
        }
        let split = |text: &'_ str| match text.find('/') {
            Some(end) => (end, Some(end)),
            None => (text.len(), None),
        };
        let ((first, pattern_rest), (segment, path_rest)) = (split(pattern), split(path));
        let fit = fit(&pattern[..first], &path[..segment])?;
        let behind = match (pattern_rest, path_rest) {
            (None, None) => Vec::new(),
            (Some(pattern_rest), Some(path_rest)) => {
                fits(&pattern[pattern_rest..], &path[path_rest..])?
            }
            _ => return None,
        };
        Some([vec![fit], behind].concat())
    }

    /// The first route of the pattern that fits best and of a subprotocol that is offered.
    fn naive(routes: &[(String, Option<&str>)], path: &str, offered: &[&str]) -> Option<u16> {
        let best = routes.iter().filter_map(|(pattern, _)| Some((fits(pattern, path)?, pattern)));
        let (_, best) = best.min()?;
        let serves = |(pattern, subprotocol): &(String, Option<&str>)| {
            pattern == best && subprotocol.is_none_or(|name| offered.contains(&name))
        };
        routes.iter().position(serves).map(|index| index as u16)
    }

    fn pattern() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b", "ab", "{x}"]);
        let segments = prop::collection::vec(segment, 1..4);
        (segments, any::<bool>()).prop_map(|(segments, has_rest)| {
            let rest = if has_rest { "/{*rest}" } else { "" };
            format!("/{}{rest}", segments.join("/"))
        })
    }

    /// Those that a configuration may have together: of a parameter and a rest in the same place it
    /// takes only one.
    fn without_conflicts(
        mut routes: Vec<(String, Option<&'static str>)>,
    ) -> Vec<(String, Option<&'static str>)> {
        let mut router = matchit::Router::new();
        let mut inserted = Vec::new();
        routes.retain(|(pattern, _)| {
            if inserted.contains(pattern) {
                return true;
            }
            let fits = router.insert(pattern.as_str(), ()).is_ok();
            inserted.extend(fits.then(|| pattern.clone()));
            fits
        });
        routes
    }

    proptest! {
        #[test]
        fn routes_are_found_as_the_naive_way_finds_them(
            routes in prop::collection::vec(
                (pattern(), prop::sample::select(vec![None, Some("p"), Some("q")])),
                1..12,
            ),
            paths in prop::collection::vec("(/(a|b|ab|c|)){1,5}", 1..20),
            offered in prop::sample::subsequence(vec!["p", "q", "r"], 1..=3),
        ) {
            let routes = without_conflicts(routes);
            let as_config: Vec<_> =
                routes.iter().map(|(path, name)| (path.as_str(), *name)).collect();
            let config = with_routes(&as_config);
            for path in paths {
                let found = find(&config, &path, &offered.join(", "));
                prop_assert_eq!(found.ok(), naive(&routes, &path, &offered), "{}", path);
            }
        }
    }
}
