//! A request as its handler sees it: its head, and what path and query say by name.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Deref;

use tidegate_proto::http::RequestHead;

use super::refusal::Refusal;
use crate::checks::Grant;
use crate::config;
use crate::escapes::{self, decoded};
use crate::kernel::Peer;
use crate::names::Name;

#[doc(inline)]
pub use crate::checks::Permissions;
#[doc(inline)]
pub use crate::transport::proxy::{ProxyFacts, TlsToProxy};
#[doc(inline)]
pub use crate::transport::tls::PeerCertificate;

/// A request for a route. All that its head says is there as it was sent, and by name what path and
/// query say, with the escapes resolved.
///
/// ```
/// # use tidegate::handler::{Admission, Decision, Desk, Handler, Refusal, Request};
/// # use tidegate::handler::{Context, Piece};
/// # struct Rooms;
/// # impl Handler for Rooms {
/// // For `/rooms/{room}`: what it was asked for as is `/rooms/lobby?name=ada+l`, say.
/// fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
///     let room = request.parameter("room").unwrap_or_default();
///     match request.query_value("name") {
///         Ok(Some(name)) => Admission::default().with_note(format!("{name} in {room}")).into(),
///         Ok(None) => Refusal::Forbidden.into(),
///         Err(refusal) => refusal.into(),
///     }
/// }
/// #     fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    head: &'r RequestHead<'r>,
    /// Of the route's path. What of the request's path stands for its names can be decoded.
    pattern: &'r str,
    client: Option<&'r PeerCertificate>,
    proxied: Option<&'r ProxyFacts>,
    grant: Option<&'r Grant>,
    peer: Peer,
}

impl<'r> Request<'r> {
    /// A request with this head, for a route whose path is `pattern`.
    ///
    /// # Errors
    /// [`Refusal::InvalidPath`]: what the path has for a name of the pattern cannot be decoded. So
    /// no handler is asked about such a request.
    pub fn new(head: &'r RequestHead<'r>, pattern: &'r str) -> Result<Self, Refusal> {
        let mut parts = config::path_parts(pattern, head.path());
        match parts.all(|(_, part)| decoded(part).is_some()) {
            true => Ok(Self {
                head,
                pattern,
                client: None,
                proxied: None,
                grant: None,
                peer: Peer::Unknown,
            }),
            false => Err(Refusal::InvalidPath),
        }
    }

    /// The same of a client that has shown this certificate.
    #[must_use]
    pub(crate) fn of_client(self, client: Option<&'r PeerCertificate>) -> Self {
        Self { client, ..self }
    }

    /// The same of a client of which a proxy has said this.
    #[must_use]
    pub(crate) fn through_proxy(self, proxied: Option<&'r ProxyFacts>) -> Self {
        Self { proxied, ..self }
    }

    /// The same of a client that was let in with this.
    #[must_use]
    pub(crate) fn granted(self, grant: Option<&'r Grant>) -> Self {
        Self { grant, ..self }
    }

    /// The same of a client that is this peer, as far as is known.
    #[must_use]
    pub(crate) fn of_peer(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    /// The address that the client has, as the gateway believes: of whom a proxy tells, by a header
    /// of the PROXY protocol or of the request, that is who it tells of. `None` of who has none, as
    /// by a Unix socket, and on routes whose handler is not `embedded` by the configuration, where
    /// it may not be known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.peer.ip()
    }

    /// The user that the client is, by what its route has checked (`admission`); `None` where that
    /// does not say. Who is admitted and given no user is this one.
    #[must_use]
    pub fn user(&self) -> Option<&'r Name> {
        self.grant?.user.as_ref()
    }

    /// What the client's token says of topics, likewise.
    #[must_use]
    pub fn permissions(&self) -> Option<&'r Permissions> {
        self.grant?.permissions.as_deref()
    }

    /// What a proxy has said of the client beside its address, in front of the connection: which
    /// host it has asked for, and what TLS there was between them (the layer `proxy`). `None` where
    /// the listener expects no proxy, and where that says nothing.
    ///
    /// It is the proxy's word, which the listener believes. A name in it that the client may have
    /// chosen is told as such: to let somebody in by a common name, see that it
    /// [is verified](TlsToProxy::is_verified), and that the proxy lets nobody connect past it.
    #[must_use]
    pub fn proxy_facts(&self) -> Option<&'r ProxyFacts> {
        self.proxied
    }

    /// The certificate that the client has shown by TLS, which an authority of the listener has
    /// signed (`client_ca` of the layer `tls`). `None` where the listener does not ask for one or
    /// leaves it to the client, and where it has no TLS. A session that was resumed has the one
    /// that was shown at its beginning, unless that has expired.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&'r PeerCertificate> {
        self.client
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &'r RequestHead<'r> {
        self.head
    }

    /// What the path has for `{name}` of the route's path, or for `{*name}`, with its escapes
    /// resolved; `None` if there is no such name in that.
    ///
    /// What comes out is any UTF-8, control characters included: `%00` is one. An escaped slash is
    /// a slash in it as well, so a segment can have one, and of `{*name}` nobody can tell which was
    /// escaped. [`RequestHead::path`] has them apart.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Cow<'r, str>> {
        let mut parts = config::path_parts(self.pattern, self.head.path());
        let (_, part) = parts.find(|(other, _)| *other == name)?;
        decoded(part)
    }

    /// The value of `name` in the query, if that is there once, as forms send it: escapes are
    /// resolved, and a `+` is a space. It is empty where the name stands without a `=`.
    ///
    /// # Errors
    /// [`Refusal::DuplicateQuery`]: it is there more than once, and which one is meant is not to be
    /// guessed; [`Refusal::InvalidQuery`]: it cannot be decoded.
    pub fn query_value(&self, name: &str) -> Result<Option<Cow<'r, str>>, Refusal> {
        let mut values = self.query_values(name);
        match (values.next(), values.next()) {
            (value, None) => value.transpose(),
            (_, Some(_)) => Err(Refusal::DuplicateQuery),
        }
    }

    /// All values of `name` in the query, likewise, in their order.
    pub fn query_values(&self, name: &str) -> impl Iterator<Item = Result<Cow<'r, str>, Refusal>> {
        escapes::query_values(self.head.query(), name)
            .map(|value| value.ok_or(Refusal::InvalidQuery))
    }
}

impl<'r> Deref for Request<'r> {
    type Target = RequestHead<'r>;

    fn deref(&self) -> &RequestHead<'r> {
        self.head
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_proto::http::{Status, parse_request};

    use super::*;

    /// Asks for `target`, and yields what `read` reads of the request.
    fn of<T>(pattern: &str, target: &str, read: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Ok(Status::Complete(head)) = parse_request(text.as_bytes(), 8192) else {
            panic!("no request: {text}")
        };
        match Request::new(&head, pattern) {
            Ok(request) => Some(read(&request)),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::InvalidPath);
                None
            }
        }
    }

    fn parameter(pattern: &str, target: &str, name: &str) -> Option<Option<String>> {
        of(pattern, target, |request| request.parameter(name).map(Cow::into_owned))
    }

    #[test]
    fn parameters_of_the_path() {
        for (target, room) in [
            ("/rooms/lobby", "lobby"),
            ("/rooms/lobby?room=other", "lobby"),
            ("/%72ooms/lobby", "lobby"),
            ("/rooms/a%20b+c", "a b+c"),
            ("/rooms/%C3%a4", "\u{e4}"),
            ("/rooms/a%2Fb", "a/b"),
            ("/rooms/%2e%2E", ".."),
            ("/rooms/%00", "\0"),
            ("/rooms/%2525", "%25"),
        ] {
            let found = parameter("/rooms/{room}", target, "room");
            assert_eq!(found, Some(Some(room.into())), "{target}");
        }
        assert_eq!(parameter("/rooms/{room}", "/rooms/a", "other"), Some(None));
        assert_eq!(parameter("/rooms", "/rooms", "rooms"), Some(None));
        let both = |name| parameter("/{kind}/x/{*rest}", "/a%2Fb/x/c/d%2Fe/", name).flatten();
        assert_eq!(both("kind").as_deref(), Some("a/b"));
        assert_eq!(both("rest").as_deref(), Some("c/d/e/"));
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_where_a_name_stands_for_it() {
        for wrong in ["%ff", "%zz", "%", "%4", "a%C3", "%C3%28", "%u0041", "%%41"] {
            let target = format!("/rooms/{wrong}");
            assert_eq!(parameter("/rooms/{room}", &target, "room"), None, "{wrong}");
            assert_eq!(parameter("/{*rest}", &target, "rest"), None, "{wrong}");
            assert_eq!(parameter("/{a}/{b}", &target, "a"), None, "{wrong}");
            let elsewhere = format!("/rooms/a?{wrong}");
            let found = parameter("/rooms/{room}", &elsewhere, "room");
            assert_eq!(found, Some(Some("a".into())), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_copied_that_is_as_it_was_sent() {
        let is_lent = |request: &Request<'_>| {
            let value = request.query_value("name").expect("it is there once");
            matches!(request.parameter("room"), Some(Cow::Borrowed("lobby")))
                && matches!(value, Some(Cow::Borrowed("ada")))
        };
        assert_eq!(of("/rooms/{room}", "/rooms/lobby?name=ada", is_lent), Some(true));
    }

    #[test]
    fn values_of_the_query() {
        let value = |query: &str, name: &str| {
            let target = format!("/{query}");
            let found = of("/", &target, |request| {
                request.query_value(name).map(|value| value.map(Cow::into_owned))
            });
            found.expect("the path has no names")
        };
        for (query, expected) in [
            ("", None),
            ("?", None),
            ("?other=1&names=2", None),
            ("?name", Some("")),
            ("?name=", Some("")),
            ("?x=1&name=a=b&y", Some("a=b")),
            ("?name=a+b%2Bc", Some("a b+c")),
            ("?n%61me=%C3%A4", Some("\u{e4}")),
            ("?name=%00", Some("\0")),
            ("?%zz=1&name=a", Some("a")),
        ] {
            assert_eq!(value(query, "name"), Ok(expected.map(str::to_owned)), "{query}");
        }
        assert_eq!(value("?a+b=1", "a b"), Ok(Some("1".into())));
        for query in ["?name=a&name=b", "?name&name", "?name=%zz&n%61me=a"] {
            assert_eq!(value(query, "name"), Err(Refusal::DuplicateQuery), "{query}");
        }
        for query in ["?name=%ff", "?name=%zz", "?name=a+%"] {
            assert_eq!(value(query, "name"), Err(Refusal::InvalidQuery), "{query}");
        }
        let all = of("/", "/?tag=a&x=1&tag=%zz&tag=b+c", |request| {
            request.query_values("tag").map(|tag| tag.map(Cow::into_owned)).collect::<Vec<_>>()
        });
        let expected = [Ok("a".to_owned()), Err(Refusal::InvalidQuery), Ok("b c".to_owned())];
        assert_eq!(all, Some(expected.to_vec()));
    }

    #[test]
    fn the_head_is_there_as_it_was_sent() {
        let as_sent = of("/{a}", "/%61?b", |request| {
            assert_eq!(request.head().target(), "/%61?b");
            (request.path().to_owned(), request.query().map(str::to_owned))
        });
        assert_eq!(as_sent, Some(("/%61".into(), Some("b".into()))));
    }

    proptest! {
        /// What the router that finds the route would say, had it been asked.
        #[test]
        fn parts_are_those_that_the_router_finds(
            pattern in prop::sample::select(vec![
                "/{a}", "/x/{a}", "/{b}/{a}", "/{b}/y/{*a}", "/{*a}",
            ]),
            path in "(/([xy]|%2[Ff]|%78|%zz|%){0,3}){1,4}",
        ) {
            let mut router = matchit::Router::new();
            router.insert(pattern, ()).expect("one pattern");
            let normal = config::normal_path(&path);
            let Ok(found) = router.at(&normal) else { return Ok(()) };
            let parts: Vec<(&str, String)> = config::path_parts(pattern, &path)
                .map(|(name, part)| (name, config::normal_path(part).into_owned()))
                .collect();
            let expected: Vec<(&str, String)> =
                found.params.iter().map(|(name, part)| (name, part.to_owned())).collect();
            prop_assert_eq!(parts, expected);
        }
    }
}
