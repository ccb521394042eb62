//! The request target (RFC 9112 section 3.2) and the host in it or in the Host header.

use core::net::Ipv6Addr;

use super::HeadError;

/// A request target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestTarget<'a> {
    /// Only in absolute form.
    pub(super) authority: Option<Authority<'a>>,
    /// It begins with `/`.
    pub(super) path: &'a str,
    /// What follows the first `?`.
    pub(super) query: Option<&'a str>,
}

impl<'a> RequestTarget<'a> {
    /// Takes a target in origin form or in absolute form apart.
    pub(super) fn parse(target: &'a str) -> Result<RequestTarget<'a>, HeadError> {
        // RFC 3986 section 2: a URI is of ASCII characters only.
        if !target.is_ascii() {
            return Err(HeadError::TargetCharacter);
        }
        // RFC 9112 section 3.2: no form of request-target has a fragment.
        if target.contains('#') {
            return Err(HeadError::TargetFragment);
        }
        if target.starts_with('/') {
            let (path, query) = split_query(target);
            return Ok(RequestTarget { authority: None, path, query });
        }
        // RFC 9112 sections 3.2.3 and 3.2.4: authority-form is for CONNECT, asterisk-form is for
        // OPTIONS, and neither is served here.
        let rest = strip_scheme(target).ok_or(HeadError::TargetForm)?;
        RequestTarget::parse_behind_scheme(rest)
    }

    /// RFC 9112 section 3.2.2: "a server MUST accept the absolute-form in requests even though most
    /// HTTP/1.1 clients will only send the absolute-form to proxies".
    fn parse_behind_scheme(rest: &'a str) -> Result<RequestTarget<'a>, HeadError> {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = Authority::parse(authority).ok_or(HeadError::InvalidHost)?;
        let (path, query) = split_query(rest);
        // RFC 9112 section 3.2.1: "If the target URI's path component is empty, the client MUST
        // send "/" as the path". In absolute form it may stay empty, and means the same.
        let path = if path.is_empty() { "/" } else { path };
        Ok(RequestTarget { authority: Some(authority), path, query })
    }
}

/// Divides at the first `?`, which belongs to neither side.
fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// What is behind `http://` or `https://`.
///
/// RFC 6455 section 4.2.1, 1: "(or an absolute HTTP/HTTPS URI containing the /resource name/)", so
/// `ws` and `wss` are no schemes here. RFC 3986 section 3.1: "schemes are case-insensitive".
fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(rest)
}

/// A host with an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// As it was sent.
    pub(super) text: &'a str,
    /// `text` up to the port's colon. An IPv6 address keeps its brackets. Never empty.
    pub(super) host: &'a str,
}

impl<'a> Authority<'a> {
    /// `None` unless `text` is `uri-host [ ":" port ]` (RFC 9110 section 7.2).
    pub(super) fn parse(text: &'a str) -> Option<Authority<'a>> {
        let end = if text.starts_with('[') { text.find(']')? + 1 } else { 0 };
        let colon = text[end..].find(':').map(|at| end + at);
        let (host, port) = match colon {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, ""),
        };
        (is_host(host) && is_port(port)).then_some(Authority { text, host })
    }

    /// The port, if one is written.
    pub(super) fn port(&self) -> Option<u16> {
        // What is written was seen to be one.
        self.text[self.host.len()..].strip_prefix(':')?.parse().ok()
    }
}

/// RFC 3986 section 3.2.2: `host = IP-literal / IPv4address / reg-name`. `IPvFuture` is refused, as
/// there is none.
///
/// RFC 9110 section 4.2.1: "A recipient that processes such a URI reference [with an empty host]
/// MUST reject it as invalid".
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && is_registered_name(host.as_bytes()),
    }
}

/// RFC 3986 section 3.2.2: `reg-name = *( unreserved / pct-encoded / sub-delims )`.
///
/// `@` is in none of them, so user information is refused, as RFC 9110 section 4.2.4 advises.
fn is_registered_name(mut name: &[u8]) -> bool {
    while let Some((&first, rest)) = name.split_first() {
        name = match (first, rest) {
            (b'%', [high, low, rest @ ..]) if is_hexadecimal(*high) && is_hexadecimal(*low) => rest,
            (b'-' | b'.' | b'_' | b'~', rest) => rest,
            (b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=', rest) => {
                rest
            }
            (byte, rest) if byte.is_ascii_alphanumeric() => rest,
            _ => return false,
        };
    }
    true
}

fn is_hexadecimal(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// RFC 3986 section 3.2.3: `port = *DIGIT`. A TCP port ends at 65,535.
fn is_port(port: &str) -> bool {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_empty() || (digits && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_3_2_1_origin_form() {
        let parse = |target| {
            let RequestTarget { authority, path, query } = RequestTarget::parse(target).unwrap();
            assert_eq!(authority, None, "{target}");
            (path, query)
        };
        assert_eq!(parse("/"), ("/", None));
        assert_eq!(parse("/chat"), ("/chat", None));
        assert_eq!(parse("/chat?"), ("/chat", Some("")));
        assert_eq!(parse("/chat?a=b?c"), ("/chat", Some("a=b?c")));
        assert_eq!(parse("//other.example/%2e%2E/"), ("//other.example/%2e%2E/", None));
        assert_eq!(parse("/http://x/?"), ("/http://x/", Some("")));
    }

    #[test]
    fn section_3_2_2_absolute_form() {
        let parse = |target| {
            let RequestTarget { authority, path, query } = RequestTarget::parse(target).unwrap();
            (authority.unwrap().text, authority.unwrap().host, path, query)
        };
        assert_eq!(parse("http://a.example"), ("a.example", "a.example", "/", None));
        assert_eq!(parse("HTTPS://A:8443/p?q"), ("A:8443", "A", "/p", Some("q")));
        assert_eq!(parse("http://a?q=/"), ("a", "a", "/", Some("q=/")));
        assert_eq!(parse("http://[::1]:80/x"), ("[::1]:80", "[::1]", "/x", None));
    }

    #[test]
    fn malformed_targets() {
        let cases = [
            ("*", HeadError::TargetForm),
            ("a.example:443", HeadError::TargetForm),
            ("chat", HeadError::TargetForm),
            ("?q", HeadError::TargetForm),
            ("ws://a.example/", HeadError::TargetForm),
            ("http:/a.example/", HeadError::TargetForm),
            ("/a#b", HeadError::TargetFragment),
            ("http://a.example/#", HeadError::TargetFragment),
            ("/caf\u{e9}", HeadError::TargetCharacter),
            ("http://", HeadError::InvalidHost),
            ("http:///path", HeadError::InvalidHost),
            ("http://user@a.example/", HeadError::InvalidHost),
            ("http://a.example:http/", HeadError::InvalidHost),
        ];
        for (target, error) in cases {
            assert_eq!(RequestTarget::parse(target), Err(error), "{target}");
        }
    }

    #[test]
    fn hosts() {
        for text in ["a", "a.example", "127.0.0.1:80", "[::1]", "[2001:db8::1]:443", "a:", "%41-_~"]
        {
            assert!(Authority::parse(text).is_some(), "{text}");
        }
        let malformed = [
            "",
            ":80",
            "a b",
            "a/b",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:80:80",
            "::1",
            "[::1",
            "[]",
            "[a]",
            "[::1]x",
            "[::1]x:80",
            "[v1.a]",
            "x[::1]",
            "a@b",
            "%4",
            "%zz",
            "a\\b",
            "a\tb",
            "caf\u{e9}",
            "[fe80::1%25eth0]",
        ];
        for text in malformed {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }
}
