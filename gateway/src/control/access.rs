//! Who may use the admin address.
//!
//! With tokens, whoever brings one. Without any, the address is loopback, and what has to be kept
//! out is a browser on the same machine that runs a page of someone else: such a page can reach
//! 127.0.0.1, but it cannot choose the `Host` header to be an IP address while its own name points
//! there (DNS rebinding), and it cannot leave its `Origin` out of what it posts. And strangers that
//! a proxy on this machine lets through: it may write any `Host`, but it rarely keeps silent about
//! itself.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN, VIA};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, Version};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::audit::Credential;
use super::error::Error;
use crate::config::BearerToken;

/// The configured tokens.
pub(super) struct Access<'t> {
    tokens: &'t [BearerToken],
}

impl<'t> Access<'t> {
    pub(super) fn new(tokens: &'t [BearerToken]) -> Self {
        Self { tokens }
    }

    /// Checks a request; `is_open` says that its path needs no token.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(super) fn check(&self, request: &Parts, is_open: bool) -> Result<Credential, Error> {
        if self.tokens.is_empty() {
            check_direct(request)?;
            return check_host(request).map(|()| Credential::None);
        }
        match self.token(&request.headers) {
            Some(place) => return Ok(Credential::Token(place)),
            None if is_open => return Ok(Credential::None),
            None => {}
        }
        Err(Error::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "the request has no valid token",
            "send `Authorization: Bearer TOKEN` with one of the configured admin.tokens",
        ))
    }

    /// The place of the token that a request brings.
    fn token(&self, headers: &HeaderMap) -> Option<usize> {
        let value = only(headers, &AUTHORIZATION)?;
        // RFC 9110 section 11.1: the scheme is a "case-insensitive token".
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim_start_matches(' ').as_bytes();
        // All are compared, so that the time says nothing of which one it was. Only a token's
        // length can be told from it.
        let is_one = |known: &BearerToken| known.secret().as_bytes().ct_eq(token);
        let (mut place, mut found) = (0, Choice::from(0));
        for (at, known) in self.tokens.iter().enumerate() {
            let same = is_one(known);
            place = u64::conditional_select(&place, &(at as u64), same);
            found |= same;
        }
        let is_found = scheme.eq_ignore_ascii_case("Bearer") && bool::from(found);
        is_found.then_some(place as usize)
    }
}

/// Checks that no proxy has passed the request on: who is behind it may be anyone.
///
/// A proxy can leave no trace, and then nothing tells it from a client; so this keeps mistakes out,
/// not attackers. HTTP/1.0 is what nginx speaks to the servers behind it unless it is told
/// otherwise, and then it adds nothing else.
fn check_direct(request: &Parts) -> Result<(), Error> {
    if !request.headers.keys().any(is_of_proxy) && request.version != Version::HTTP_10 {
        return Ok(());
    }
    Err(forbidden(
        "the request seems to come through a proxy (it has Forwarded, Via, X-Forwarded-* or \
         X-Real-IP, or is HTTP/1.0), and there are no tokens, so anyone could steer the gateway",
        "configure admin.tokens and send one of them, or ask the admin address itself in HTTP/1.1",
    ))
}

/// Whether only proxies add this header.
fn is_of_proxy(name: &HeaderName) -> bool {
    *name == FORWARDED
        || *name == VIA
        || name.as_str() == "x-real-ip"
        || name.as_str() == "x-forwarded"
        || name.as_str().starts_with("x-forwarded-")
}

/// Checks that the request was meant for this machine, and by no page but our own.
fn check_host(request: &Parts) -> Result<(), Error> {
    let host = only(&request.headers, &HOST);
    let host = host.filter(|host| host.parse().is_ok_and(|host| is_local(&host)));
    let target = request.uri.authority();
    let Some(host) = host.filter(|_| target.is_none_or(is_local)) else {
        return Err(forbidden(
            "the Host header must be an IP address or localhost, because there are no tokens",
            "use http://127.0.0.1 and the port, or configure admin.tokens",
        ));
    };
    if !request.headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let origin = only(&request.headers, &ORIGIN);
    let same = origin.and_then(|origin| origin.split_once("://"));
    if same.is_some_and(|(scheme, authority)| {
        matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host)
    }) {
        return Ok(());
    }
    Err(forbidden(
        "the request comes from a page of another origin, and there are no tokens",
        "use the admin page itself, or configure admin.tokens",
    ))
}

fn forbidden(message: &'static str, hint: &'static str) -> Error {
    Error::new(StatusCode::FORBIDDEN, "forbidden", message, hint)
}

/// Whether no name server has a say in where this host is.
fn is_local(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// The value of a header that stands once and is visible ASCII.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    value.to_str().ok().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn status(access: &Access<'_>, headers: &[(&str, &str)], is_open: bool) -> u16 {
        let mut request = Request::builder().uri("/v1/overview");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        access.check(&parts, is_open).err().map_or(200, |error| error.status.as_u16())
    }

    #[test]
    fn without_tokens_the_host_and_the_origin_count() {
        let open = Access::new(&[]);
        for (headers, expected) in [
            (&[("host", "127.0.0.1:8081")][..], 200),
            (&[("host", "[::1]:8081")], 200),
            (&[("host", "LocalHost")], 200),
            (&[("host", "10.1.2.3")], 200),
            (&[], 403),
            (&[("host", "evil.example:8081")], 403),
            (&[("host", "127.0.0.1.evil.example")], 403),
            (&[("host", "localhost.")], 403),
            (&[("host", "127.0.0.1"), ("host", "evil.example")], 403),
            (&[("host", "127.0.0.1:1"), ("origin", "http://127.0.0.1:1")], 200),
            (&[("host", "127.0.0.1:1"), ("origin", "http://127.0.0.1:2")], 403),
            (&[("host", "127.0.0.1:1"), ("origin", "http://evil.example")], 403),
            (&[("host", "127.0.0.1:1"), ("origin", "null")], 403),
        ] {
            assert_eq!(status(&open, headers, true), expected, "{headers:?}");
            assert_eq!(status(&open, headers, false), expected, "{headers:?}");
        }
    }

    #[test]
    fn without_tokens_nothing_comes_through_a_proxy() {
        let open = Access::new(&[]);
        let host = ("host", "127.0.0.1:8081");
        for (name, value) in [
            ("forwarded", "for=192.0.2.1"),
            ("via", "1.1 proxy"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", ""),
            ("x-forwarded-anything", "x"),
            ("X-Real-IP", "192.0.2.1"),
        ] {
            assert_eq!(status(&open, &[host, (name, value)], false), 403, "{name}");
            assert_eq!(status(&open, &[host, (name, value)], true), 403, "{name}");
        }
        assert_eq!(status(&open, &[host, ("x-forward", "x")], false), 200);
        let old = Request::builder().version(Version::HTTP_10).header("host", "127.0.0.1");
        let (old, ()) = old.body(()).expect("a request").into_parts();
        let error = open.check(&old, false).expect_err("HTTP/1.0");
        assert!(error.message.contains("proxy"), "{}", error.message);
        let tokens = [BearerToken::new("0123456789abcdef").expect("a token")];
        let token = Access::new(&tokens);
        let right = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(status(&token, &[right, ("via", "1.1 proxy")], false), 200);
    }

    #[test]
    fn with_tokens_one_of_them_lets_in() {
        let tokens = ["0123456789abcdef", "fedcba9876543210"];
        let tokens = tokens.map(|token| BearerToken::new(token).expect("a token"));
        let access = Access::new(&tokens);
        for (value, expected) in [
            ("Bearer 0123456789abcdef", 200),
            ("bearer fedcba9876543210", 200),
            ("Bearer 0123456789abcdeF", 401),
            ("Bearer 0123456789abcdef0", 401),
            ("Bearer ", 401),
            ("Bearer", 401),
            ("Basic 0123456789abcdef", 401),
        ] {
            assert_eq!(status(&access, &[("authorization", value)], false), expected, "{value}");
        }
        assert_eq!(status(&access, &[("host", "evil.example")], false), 401);
        assert_eq!(status(&access, &[("host", "evil.example")], true), 200);
        let twice = [("authorization", "Bearer 0123456789abcdef"); 2];
        assert_eq!(status(&access, &twice, false), 401);
    }
}
