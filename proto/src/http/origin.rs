//! Where a page comes from, as its browser says it (RFC 6454).

use super::request::RequestHead;
use super::target::Authority;

/// The value of an `Origin` header (RFC 6454 section 7). Of several origins, which the grammar
/// lets a browser send and none does, there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginHeader<'a> {
    /// `null`: the browser does not say, as of a page in a frame that is boxed in (`sandbox`). A
    /// page in a file is either that, or `file://` in some browsers, which says as little.
    Null,
    /// This one.
    Of(WebOrigin<'a>),
}

/// One origin: what two pages have in common that may look into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebOrigin<'a> {
    /// Such as `https`, in the letter case that it came in.
    pub scheme: &'a str,
    /// A name, or an address of which an IPv6 one has its brackets, likewise.
    pub host: &'a str,
    /// `None` if none is written: then it is the scheme's own.
    pub port: Option<u16>,
}

impl<'a> OriginHeader<'a> {
    /// The value of a header; `None` if it is none.
    ///
    /// RFC 6454 section 7.1: `origin-list-or-null = %x6E %x75 %x6C %x6C / origin-list`.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        match str::from_utf8(value).ok()? {
            "null" | "file://" => Some(Self::Null),
            text => WebOrigin::parse(text).map(Self::Of),
        }
    }
}

impl<'a> WebOrigin<'a> {
    /// `None` if the text is not one origin.
    ///
    /// RFC 6454 section 7.1: `serialized-origin = scheme "://" host [ ":" port ]`.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let authority = Authority::parse(rest)?;
        is_scheme(scheme).then_some(Self { scheme, host: authority.host, port: authority.port() })
    }

    /// The port that is written, or else the scheme's own; `None` if that is not known here.
    #[must_use]
    pub fn whole_port(&self) -> Option<u16> {
        self.port.or_else(|| default_port(self.scheme))
    }

    /// Whether a request is for the host and the port of this origin, which has to be of `http` or
    /// `https`. One that came by TLS is for `https`. Of all others that is not known here, as
    /// somebody in front may speak TLS: where they name no port, that of either is meant.
    #[must_use]
    pub fn is_of(&self, request: &RequestHead<'_>, is_by_tls: bool) -> bool {
        let (Some(asked), Some(own)) =
            (request.authority().and_then(Authority::parse), default_port(self.scheme))
        else {
            return false;
        };
        let is_scheme = !is_by_tls || self.scheme.eq_ignore_ascii_case("https");
        let is_port = self.port.unwrap_or(own) == asked.port().unwrap_or(own);
        is_scheme && is_port && self.host.eq_ignore_ascii_case(asked.host)
    }
}

/// RFC 9110 sections 4.2.1 and 4.2.2: the default ports of `http` and `https`.
#[must_use]
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        scheme if scheme.eq_ignore_ascii_case("http") => Some(80),
        scheme if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ => None,
    }
}

/// RFC 3986 section 3.1: `scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )`.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|one| one.is_ascii_alphanumeric() || b"+-.".contains(&one))
}

#[cfg(test)]
mod tests {
    use super::super::{Status, parse_request};
    use super::*;

    #[test]
    fn origins_are_taken_apart() {
        let of = |scheme, host, port| Some(OriginHeader::Of(WebOrigin { scheme, host, port }));
        for (text, expected) in [
            ("null", Some(OriginHeader::Null)),
            ("file://", Some(OriginHeader::Null)),
            ("file:///home", None),
            ("https://example.com", of("https", "example.com", None)),
            ("HTTP://a.B:8080", of("HTTP", "a.B", Some(8080))),
            ("http://[::1]:80", of("http", "[::1]", Some(80))),
            ("moz-extension://0a-1b", of("moz-extension", "0a-1b", None)),
            ("http://a:", of("http", "a", None)),
            ("", None),
            ("NULL", None),
            ("https://", None),
            ("https://:443", None),
            ("://a", None),
            ("1http://a", None),
            ("ht tp://a", None),
            ("https://a/", None),
            ("https://a/b", None),
            ("https://a?b", None),
            ("https://u@a", None),
            ("https://a:65536", None),
            ("https://a:x", None),
            ("https://a https://b", None),
            ("https://a, https://b", None),
            ("a", None),
        ] {
            assert_eq!(OriginHeader::parse(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(OriginHeader::parse(b"https://\xff"), None);
    }

    #[test]
    fn a_request_is_of_the_same_origin_by_host_and_port() {
        for (host, origin, is_same) in [
            ("example.com", "https://example.com", true),
            ("example.com", "http://example.com", true),
            ("Example.com", "https://eXample.com", true),
            ("example.com", "https://example.com:443", true),
            ("example.com", "https://example.com:80", false),
            ("example.com", "https://example.com:8443", false),
            ("example.com:8443", "https://example.com:8443", true),
            ("example.com:8443", "https://example.com", false),
            ("example.com:443", "https://example.com", true),
            ("example.com:443", "http://example.com", false),
            ("example.com:", "https://example.com", true),
            ("example.com", "https://www.example.com", false),
            ("www.example.com", "https://example.com", false),
            ("example.com", "https://example.com.evil", false),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("127.0.0.1:8080", "http://localhost:8080", false),
            ("example.com.", "https://example.com", false),
            ("a", "app://a", false),
            ("a:80", "app://a", false),
            ("a:80", "app://a:80", false),
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let Ok(Status::Complete(head)) = parse_request(request.as_bytes(), 1024) else {
                panic!("{host}")
            };
            let origin = WebOrigin::parse(origin).expect("one");
            assert_eq!(origin.is_of(&head, false), is_same, "{host} {origin:?}");
            let is_https = origin.scheme == "https";
            assert_eq!(origin.is_of(&head, true), is_same && is_https, "{host} {origin:?}");
        }
        let Ok(Status::Complete(head)) = parse_request(b"GET / HTTP/1.0\r\n\r\n", 1024) else {
            panic!("no host is needed by 1.0")
        };
        assert!(!WebOrigin::parse("http://a").expect("one").is_of(&head, false));
        let absolute = b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n";
        let Ok(Status::Complete(head)) = parse_request(absolute, 1024) else { panic!("one") };
        for (origin, is_same) in [("http://a", true), ("http://b", false)] {
            let origin = WebOrigin::parse(origin).expect("one");
            assert_eq!(origin.is_of(&head, false), is_same, "what is asked for overrules Host");
        }
    }
}
