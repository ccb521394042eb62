//! Which request is for which route.

use std::collections::HashMap;

use tidegate_proto::http::{RequestHead, list_elements};

use super::refusal::Refusal;
use crate::config::{self, Route};

/// Routes by path pattern, and those of a pattern in the order of the configuration.
pub(super) struct Router {
    by_path: matchit::Router<Vec<Candidate>>,
}

#[derive(Clone)]
struct Candidate {
    /// Its place among all routes.
    place: usize,
    subprotocol: Option<String>,
    /// Whether it is the built-in page.
    is_page: bool,
}

impl Router {
    /// Of these routes.
    ///
    /// # Panics
    /// Two patterns of a checked configuration conflict.
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut paths: Vec<(&str, Vec<Candidate>)> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (place, route) in routes.iter().enumerate() {
            let candidate = Candidate {
                place,
                subprotocol: route.subprotocol.clone(),
                is_page: matches!(route.handler, config::RouteHandler::Static),
            };
            match known.get(&*route.path) {
                Some(at) => paths[*at].1.push(candidate),
                None => {
                    known.insert(&route.path, paths.len());
                    paths.push((&route.path, vec![candidate]));
                }
            }
        }
        let mut by_path = matchit::Router::new();
        let beside = Self::beside_pages(&paths);
        for (path, candidates) in paths {
            by_path.insert(path, candidates).expect("the configuration's patterns were checked");
        }
        for (path, candidate) in beside {
            // A route of that very path goes before.
            let _ = by_path.insert(path, vec![candidate]);
        }
        Self { by_path }
    }

    /// The files beside a built-in page, which are that page's to answer.
    fn beside_pages(paths: &[(&str, Vec<Candidate>)]) -> Vec<(String, Candidate)> {
        let all = paths.iter().flat_map(|(path, all)| all.iter().map(move |one| (*path, one)));
        let files = |(path, page): (&str, &Candidate)| {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let file = |name| (format!("{folder}/{name}"), page.clone());
            [config::CLIENT_SCRIPT, config::CLIENT_TYPES].map(file)
        };
        all.filter(|(_, one)| one.is_page).flat_map(files).collect()
    }

    /// The place of the route for a request, by its path and the subprotocols that it offers.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find(&self, head: &RequestHead<'_>) -> Result<usize, Refusal> {
        let path = config::normal_path(head.path());
        let found = self.by_path.at(&path).map_err(|_| Refusal::NotFound)?;
        let mut candidates = found.value.iter();
        let chosen = candidates.find(|candidate| match &candidate.subprotocol {
            None => true,
            Some(name) => offers(head, name),
        });
        chosen.map(|candidate| candidate.place).ok_or(Refusal::NotFound)
    }
}

/// Whether the request offers the subprotocol. Names are compared as they stand (RFC 6455 section
/// 4.1, 10: "strings with characters in the range U+0021 to U+007E", case-sensitive).
pub(crate) fn offers(head: &RequestHead<'_>, name: &str) -> bool {
    head.header_values("Sec-WebSocket-Protocol")
        .flat_map(list_elements)
        .any(|element| element == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_proto::http::{Status, parse_request};

    use super::*;

    fn find(routes: &[Route], path: &str, subprotocols: &str) -> Result<usize, Refusal> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
        );
        let router = Router::new(routes);
        match parse_request(request.as_bytes(), 8192) {
            Ok(Status::Complete(head)) => router.find(&head),
            other => panic!("{other:?}"),
        }
    }

    fn with_routes(routes: &[(&str, Option<&str>)]) -> Vec<Route> {
        let route = |(path, subprotocol): &(&str, Option<&str>)| Route {
            subprotocol: subprotocol.map(str::to_owned),
            ..Route::new(*path, config::RouteHandler::Echo)
        };
        routes.iter().map(route).collect()
    }

    #[test]
    fn by_path() {
        let routes = with_routes(&[("/", None), ("/rooms/{room}", None), ("/files/{*rest}", None)]);
        assert_eq!(find(&routes, "/?query=1", "x"), Ok(0));
        assert_eq!(find(&routes, "/rooms/7", "x"), Ok(1));
        assert_eq!(find(&routes, "/rooms/7/8", "x"), Err(Refusal::NotFound));
        assert_eq!(find(&routes, "/files/a/b", "x"), Ok(2));
        assert_eq!(find(&routes, "/other", "x"), Err(Refusal::NotFound));
        assert_eq!(find(&routes, "/%72ooms/7", "x"), Ok(1));
        assert_eq!(find(&routes, "/rooms%2F7", "x"), Err(Refusal::NotFound));
    }

    #[test]
    fn the_client_library_is_beside_a_page_unless_a_route_says_otherwise() {
        let page = |path: &str| Route::new(path, config::RouteHandler::Static);
        let echo = |path: &str| Route::new(path, config::RouteHandler::Echo);
        let routes = [page("/"), echo("/{room}"), page("/a/"), echo("/a/client.js"), page("/b/x")];
        assert_eq!(find(&routes, "/client.js", "x"), Ok(0));
        assert_eq!(find(&routes, "/client.d.ts", "x"), Ok(0));
        assert_eq!(find(&routes, "/other.js", "x"), Ok(1));
        assert_eq!(find(&routes, "/a/client.js", "x"), Ok(3));
        assert_eq!(find(&routes, "/a/client.d.ts", "x"), Ok(2));
        assert_eq!(find(&routes, "/b/client.js", "x"), Ok(4));
        assert_eq!(find(&routes, "/b/other.js", "x"), Err(Refusal::NotFound));
    }

    #[test]
    fn by_subprotocol_in_the_order_of_the_configuration() {
        let routes = with_routes(&[("/", Some("mqtt")), ("/", Some("chat")), ("/", None)]);
        assert_eq!(find(&routes, "/", "chat, mqtt"), Ok(0));
        assert_eq!(find(&routes, "/", "superchat, chat"), Ok(1));
        assert_eq!(find(&routes, "/", "Chat"), Ok(2));
        let strict = with_routes(&[("/", Some("mqtt"))]);
        assert_eq!(find(&strict, "/", "chat"), Err(Refusal::NotFound));
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
    fn naive(routes: &[(String, Option<&str>)], path: &str, offered: &[&str]) -> Option<usize> {
        let best = routes.iter().filter_map(|(pattern, _)| Some((fits(pattern, path)?, pattern)));
        let (_, best) = best.min()?;
        let serves = |(pattern, subprotocol): &(String, Option<&str>)| {
            pattern == best && subprotocol.is_none_or(|name| offered.contains(&name))
        };
        routes.iter().position(serves)
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
            let patterns: Vec<_> =
                routes.iter().map(|(path, name)| (path.as_str(), *name)).collect();
            let configured = with_routes(&patterns);
            for path in paths {
                let found = find(&configured, &path, &offered.join(", "));
                prop_assert_eq!(found.ok(), naive(&routes, &path, &offered), "{}", path);
            }
        }
    }
}
