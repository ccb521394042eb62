//! The server's side of the opening handshake (RFC 6455 section 4.2).

use super::{MAX_SUBPROTOCOLS, key};
use crate::http::{HeadWriteError, Headers, RequestHead, Version, Writer, list_elements};
use crate::token::is_token;
use crate::websocket::deflate;

pub use super::rejection::Rejection;

/// A request that asks, without fault, for a WebSocket connection.
///
/// Host and path are the head's. What is left is for the server to decide: whether the origin may
/// enter, which subprotocol to speak, which extensions to use. Then an [`Acceptance`] is written,
/// or a [`Rejection`].
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    head: &'a RequestHead<'a>,
    /// [`key::is_valid_key`] holds.
    key: &'a str,
    /// Of visible ASCII characters and spaces.
    origin: Option<&'a str>,
}

impl<'a> Upgrade<'a> {
    /// Checks a request against RFC 6455 section 4.2.1.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] to be written. [`Rejection::NotUpgrade`] is a plain HTTP request; the
    /// others were meant to be handshakes.
    pub fn check(head: &'a RequestHead<'a>) -> Result<Upgrade<'a>, Rejection> {
        let headers = head.headers();
        check_upgrade(head)?;
        let key = check_key(headers)?;
        check_version(headers)?;
        check_subprotocols(headers)?;
        check_extensions(headers)?;
        let origin = check_origin(headers)?;
        Ok(Upgrade { head, key, origin })
    }

    /// The head of the request.
    pub fn head(&self) -> &'a RequestHead<'a> {
        self.head
    }

    /// The Sec-WebSocket-Key: base64 of 16 bytes.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The origin of the script that asks, as it was sent. `None` if no browser asks.
    ///
    /// `null` is an origin too: of a page that has none (RFC 6454 section 7.1).
    pub fn origin(&self) -> Option<&'a str> {
        self.origin
    }

    /// The subprotocols that the client offers, the preferred first: tokens, each different, at
    /// most [`MAX_SUBPROTOCOLS`].
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        subprotocols(self.head.headers()).filter_map(|name| str::from_utf8(name).ok())
    }

    /// The value of each Sec-WebSocket-Extensions line, of ASCII characters. Their grammar has not
    /// been checked: that is for the extension's negotiation. A line without any element is left
    /// out, as one of subprotocols is: it offers nothing.
    pub fn extension_values(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let values = self.head.headers().values("sec-websocket-extensions");
        let values = values.filter(|value| list_elements(value).next().is_some());
        values.filter_map(|value| str::from_utf8(value).ok())
    }
}

/// Checks that the request asks for an upgrade to WebSocket.
fn check_upgrade(head: &RequestHead<'_>) -> Result<(), Rejection> {
    let headers = head.headers();
    // Section 4.2.1, 3: "An |Upgrade| header field containing the value "websocket", treated as an
    // ASCII case-insensitive value." Without it this is a plain HTTP request, whatever else it has.
    if !headers.contains_token("upgrade", "websocket") {
        return Err(Rejection::NotUpgrade);
    }
    // Section 4.2.1, 1: "An HTTP/1.1 or higher GET request".
    if head.method() != "GET" {
        return Err(Rejection::MethodNotAllowed { allow: "GET" });
    }
    // RFC 9110 section 7.8: "A server MUST ignore an Upgrade header field that is received in an
    // HTTP/1.0 request."
    if head.version() != Version::Http11 {
        return Err(Rejection::HttpVersion);
    }
    // Section 4.2.1, 4: "A |Connection| header field that includes the token "Upgrade", treated as
    // an ASCII case-insensitive value."
    if !headers.contains_token("connection", "upgrade") {
        return Err(Rejection::MissingConnection);
    }
    Ok(())
}

/// Section 4.2.1, 5: "A |Sec-WebSocket-Key| header field with a base64-encoded value that, when
/// decoded, is 16 bytes in length."
fn check_key<'a>(headers: &Headers<'a>) -> Result<&'a str, Rejection> {
    // Section 11.3.1: "The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an
    // HTTP request."
    let value = headers.at_most_one("sec-websocket-key");
    let value = value.map_err(|_| Rejection::DuplicateKey)?.ok_or(Rejection::MissingKey)?;
    match str::from_utf8(value) {
        Ok(text) if key::is_valid_key(value) => Ok(text),
        _ => Err(Rejection::InvalidKey),
    }
}

/// Section 4.2.1, 6: "A |Sec-WebSocket-Version| header field, with a value of 13."
fn check_version(headers: &Headers<'_>) -> Result<(), Rejection> {
    // Section 11.3.5: "The |Sec-WebSocket-Version| header field MUST NOT appear more than once in
    // an HTTP request."
    let value = headers.at_most_one("sec-websocket-version");
    // Section 4.4: "If the server doesn't support the requested version, it MUST respond with a
    // |Sec-WebSocket-Version| header field [...] containing all versions it is willing to use." A
    // request without a version is of a draft before there were versions: the same answer.
    match value.map_err(|_| Rejection::DuplicateVersion)? {
        Some(value) if value == super::VERSION.as_bytes() => Ok(()),
        _ => Err(Rejection::UnsupportedVersion),
    }
}

/// The elements of all Sec-WebSocket-Protocol lines.
///
/// Section 11.3.4: "The |Sec-WebSocket-Protocol| header field MAY appear multiple times in an HTTP
/// request (which is logically the same as a single |Sec-WebSocket-Protocol| header field that
/// contains all values)."
fn subprotocols<'h, 'a>(headers: &'h Headers<'a>) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
    headers.values("sec-websocket-protocol").flat_map(list_elements)
}

/// Section 4.1, 10: "The elements that comprise this value MUST be non-empty strings with
/// characters in the range U+0021 to U+007E not including separator characters as defined in
/// [RFC2616] and MUST all be unique strings. The ABNF for the value of this header field is
/// 1#token".
///
/// A list without any element is against that grammar, and is taken for no list all the same: it
/// offers nothing, so nothing can be mistaken, and clients send it that are asked for no
/// subprotocol (React Native's does). RFC 9110 section 5.6.1.2 bears with empty elements beside
/// others: "A recipient MUST parse and ignore a reasonable number of empty list elements".
fn check_subprotocols(headers: &Headers<'_>) -> Result<(), Rejection> {
    for (index, name) in subprotocols(headers).enumerate() {
        if index == MAX_SUBPROTOCOLS {
            return Err(Rejection::TooManySubprotocols);
        }
        if !is_token(name) {
            return Err(Rejection::InvalidSubprotocol);
        }
        if subprotocols(headers).take(index).any(|earlier| earlier == name) {
            return Err(Rejection::DuplicateSubprotocol);
        }
    }
    Ok(())
}

/// Section 9.1: extensions are made of tokens and quoted strings that hold tokens, so all is ASCII.
fn check_extensions(headers: &Headers<'_>) -> Result<(), Rejection> {
    let are_ascii = headers.values("sec-websocket-extensions").all(<[u8]>::is_ascii);
    if are_ascii { Ok(()) } else { Err(Rejection::InvalidExtensions) }
}

/// Section 4.2.1, 7: "Optionally, an |Origin| header field."
///
/// RFC 6454 section 7.3: "the user agent MUST NOT include more than one Origin header field in any
/// HTTP request."
fn check_origin<'a>(headers: &Headers<'a>) -> Result<Option<&'a str>, Rejection> {
    let value = headers.at_most_one("origin").map_err(|_| Rejection::DuplicateOrigin)?;
    let Some(value) = value else { return Ok(None) };
    match str::from_utf8(value) {
        Ok(origin) if value.iter().all(|byte| matches!(byte, b' '..=b'~')) => Ok(Some(origin)),
        _ => Err(Rejection::InvalidOrigin),
    }
}

/// The answer that opens the connection.
#[derive(Clone, Copy, Debug)]
pub struct Acceptance<'a> {
    /// [`Upgrade::key`].
    pub key: &'a str,
    /// The subprotocol that will be spoken: one of [`Upgrade::subprotocols`], or none.
    pub subprotocol: Option<&'a str>,
    /// The parameters of permessage-deflate, if it was offered and will be used.
    pub deflate: Option<deflate::Params>,
}

impl Acceptance<'_> {
    /// Writes the response to the start of `out`, and yields its length in bytes. The first frame
    /// follows right behind it.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::NoRoom`], or [`HeadWriteError::InvalidText`] if the subprotocol is no
    /// token.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, HeadWriteError> {
        let mut writer = Writer::new(out);
        // Section 4.2.2, 5: "A Status-Line with a 101 response code as per RFC 2616", Upgrade with
        // value "websocket", Connection with value "Upgrade", and Sec-WebSocket-Accept.
        writer.status_line(101)?;
        writer.header("Upgrade", "websocket")?;
        writer.header("Connection", "Upgrade")?;
        let accept = key::accept_key(self.key.as_bytes());
        let accept = str::from_utf8(&accept).expect("base64 is ASCII");
        writer.header("Sec-WebSocket-Accept", accept)?;
        if let Some(subprotocol) = self.subprotocol {
            if !is_token(subprotocol.as_bytes()) {
                return Err(HeadWriteError::InvalidText);
            }
            writer.header("Sec-WebSocket-Protocol", subprotocol)?;
        }
        if let Some(params) = self.deflate {
            writer.header("Sec-WebSocket-Extensions", params)?;
        }
        writer.end_head()?;
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Status, parse_request};

    /// RFC 6455 section 1.2, "The handshake from the client looks as follows", cut before its
    /// Sec-WebSocket lines.
    const START: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\n";
    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

    /// Calls `then` with the outcome of the check of a request of these parts.
    fn check<T>(parts: &[&str], then: impl FnOnce(Result<Upgrade<'_>, Rejection>) -> T) -> T {
        let text = parts.concat() + "\r\n";
        match parse_request(text.as_bytes(), 8192) {
            Ok(Status::Complete(head)) => then(Upgrade::check(&head)),
            other => panic!("{other:?}"),
        }
    }

    fn rejection(parts: &[&str]) -> Rejection {
        check(parts, |outcome| outcome.expect_err("a request that is not right"))
    }

    fn passes(parts: &[&str]) -> bool {
        check(parts, |outcome| outcome.is_ok())
    }

    fn rejection_with(more: &str) -> Rejection {
        rejection(&[START, UPGRADE, KEY, VERSION, more])
    }

    #[test]
    fn section_1_2_example() {
        let more = "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n";
        check(&[START, UPGRADE, KEY, more, VERSION], |outcome| {
            let upgrade = outcome.unwrap();
            assert_eq!(upgrade.key(), "dGhlIHNhbXBsZSBub25jZQ==");
            assert_eq!(upgrade.origin(), Some("http://example.com"));
            assert!(upgrade.subprotocols().eq(["chat", "superchat"]));
            assert_eq!(upgrade.extension_values().count(), 0);
            assert_eq!(upgrade.head().path(), "/chat");
        });
    }

    #[test]
    fn section_4_2_2_response() {
        let mut out = [0; 256];
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let acceptance = Acceptance { key, subprotocol: Some("chat"), deflate: None };
        let length = acceptance.write(&mut out).unwrap();
        let text = str::from_utf8(&out[..length]).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 101 Switching Protocols\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Protocol: chat\r\n\r\n"
        );
        for room in 0..length {
            assert_eq!(acceptance.write(&mut out[..room]), Err(HeadWriteError::NoRoom), "{room}");
        }
        assert_eq!(acceptance.write(&mut out[..length]), Ok(length));
    }

    #[test]
    fn section_4_2_2_response_with_extension() {
        let params = deflate::Params::default();
        let mut out = [0; 512];
        let acceptance = Acceptance { key: "", subprotocol: None, deflate: Some(params) };
        let length = acceptance.write(&mut out).unwrap();
        let text = str::from_utf8(&out[..length]).unwrap();
        let line = format!("\r\nSec-WebSocket-Extensions: {params}\r\n\r\n");
        assert!(text.ends_with(&line), "{text}");
    }

    #[test]
    fn a_subprotocol_can_not_split_the_response() {
        for subprotocol in ["", "a b", "a\r\nSet-Cookie: b", "a,b"] {
            let acceptance = Acceptance { key: "", subprotocol: Some(subprotocol), deflate: None };
            assert_eq!(acceptance.write(&mut [0; 256]), Err(HeadWriteError::InvalidText));
        }
    }

    #[test]
    fn section_4_2_1_upgrade() {
        let with = |line: &str| [START, line, "Connection: Upgrade\r\n", KEY, VERSION].concat();
        for line in [
            "upgrade: WebSocket\r\n",
            "Upgrade: h2c, ,websocket\r\n",
            "Upgrade: h2c\r\nUpgrade: websocket\r\n",
        ] {
            assert!(passes(&[&with(line)]), "{line}");
        }
        for line in ["", "Upgrade: h2c\r\n", "Upgrade: websocket/13\r\n", "Upgrade:\r\n"] {
            assert_eq!(rejection(&[&with(line)]), Rejection::NotUpgrade, "{line}");
        }
    }

    #[test]
    fn section_4_2_1_connection() {
        let with = |line: &str| [START, "Upgrade: websocket\r\n", line, KEY, VERSION].concat();
        for line in [
            "Connection: keep-alive, upgrade\r\n",
            "Connection: keep-alive\r\nconnection: UPGRADE\r\n",
            "Connection: ,\tUpgrade ,\r\n",
        ] {
            assert!(passes(&[&with(line)]), "{line}");
        }
        for line in ["", "Connection: close\r\n", "Connection: Upgraded\r\n"] {
            assert_eq!(rejection(&[&with(line)]), Rejection::MissingConnection, "{line}");
        }
    }

    #[test]
    fn section_4_2_1_method_and_version() {
        let post = START.replace("GET", "POST");
        let method = Rejection::MethodNotAllowed { allow: "GET" };
        assert_eq!(rejection(&[&post, UPGRADE, KEY, VERSION]), method);
        let lower = START.replace("GET", "get");
        assert_eq!(rejection(&[&lower, UPGRADE, KEY, VERSION]), method);
        let old = START.replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(rejection(&[&old, UPGRADE, KEY, VERSION]), Rejection::HttpVersion);
        assert_eq!(rejection(&[START]), Rejection::NotUpgrade);
        assert_eq!(rejection(&[&post]), Rejection::NotUpgrade);
    }

    #[test]
    fn section_4_2_1_key() {
        assert_eq!(rejection(&[START, UPGRADE, VERSION]), Rejection::MissingKey);
        assert_eq!(rejection_with(KEY), Rejection::DuplicateKey);
        for key in ["", "SGVsbG8sIHdvcmxkIQ==", "a", "\u{e9}"] {
            let line = format!("Sec-WebSocket-Key: {key}\r\n");
            assert_eq!(
                rejection(&[START, UPGRADE, &line, VERSION]),
                Rejection::InvalidKey,
                "{key}"
            );
        }
    }

    #[test]
    fn section_4_4_version() {
        assert_eq!(rejection(&[START, UPGRADE, KEY]), Rejection::UnsupportedVersion);
        assert_eq!(rejection_with(VERSION), Rejection::DuplicateVersion);
        for version in ["", "8", "14", "13, 8", "013", "13.0"] {
            let line = format!("Sec-WebSocket-Version: {version}\r\n");
            let rejection = rejection(&[START, UPGRADE, KEY, &line]);
            assert_eq!(rejection, Rejection::UnsupportedVersion, "{version}");
        }
    }

    #[test]
    fn section_11_3_4_subprotocols_over_several_lines() {
        let more = "Sec-WebSocket-Protocol: a ,\t b\r\nSec-WebSocket-Protocol: B,,\r\n";
        check(&[START, UPGRADE, KEY, VERSION, more], |outcome| {
            assert!(outcome.unwrap().subprotocols().eq(["a", "b", "B"]));
        });
    }

    #[test]
    fn section_4_1_malformed_subprotocols() {
        let with = |value: &str| rejection_with(&format!("Sec-WebSocket-Protocol: {value}\r\n"));
        for value in ["a b", "a, b/c", "\"a\"", "a, \u{e9}", "a;b"] {
            assert_eq!(with(value), Rejection::InvalidSubprotocol, "{value}");
        }
        assert_eq!(with("a, b, a"), Rejection::DuplicateSubprotocol);
        assert_eq!(with("a\r\nSec-WebSocket-Protocol: b, a"), Rejection::DuplicateSubprotocol);
    }

    #[test]
    fn lists_without_an_element_count_as_absent() {
        for value in ["", " \t", ",", " , ,"] {
            let subprotocols = format!("Sec-WebSocket-Protocol: {value}\r\n");
            let extensions = format!("Sec-WebSocket-Extensions: {value}\r\n");
            check(&[START, UPGRADE, KEY, VERSION, &subprotocols, &extensions], |outcome| {
                let upgrade = outcome.unwrap();
                assert_eq!(upgrade.subprotocols().count(), 0, "{value:?}");
                assert_eq!(upgrade.extension_values().count(), 0, "{value:?}");
            });
        }
        let more = "Sec-WebSocket-Protocol:\r\nSec-WebSocket-Protocol: a\r\n\
                    Sec-WebSocket-Extensions:\r\nSec-WebSocket-Extensions: b\r\n";
        check(&[START, UPGRADE, KEY, VERSION, more], |outcome| {
            let upgrade = outcome.unwrap();
            assert!(upgrade.subprotocols().eq(["a"]));
            assert!(upgrade.extension_values().eq(["b"]));
        });
    }

    #[test]
    fn subprotocols_are_limited() {
        let value = |count: usize| {
            let names: Vec<_> = (0..count).map(|index| format!("p{index}")).collect();
            format!("Sec-WebSocket-Protocol: {}\r\n", names.join(","))
        };
        assert!(passes(&[START, UPGRADE, KEY, VERSION, &value(MAX_SUBPROTOCOLS)]));
        let rejection = rejection_with(&value(MAX_SUBPROTOCOLS + 1));
        assert_eq!(rejection, Rejection::TooManySubprotocols);
    }

    #[test]
    fn section_9_1_extensions_are_lent() {
        let more = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x\r\n\
                    Sec-WebSocket-Extensions: y\r\n";
        check(&[START, UPGRADE, KEY, VERSION, more], |outcome| {
            let expected = ["permessage-deflate; client_max_window_bits, x", "y"];
            assert!(outcome.unwrap().extension_values().eq(expected));
        });
        let rejection = rejection_with("Sec-WebSocket-Extensions: caf\u{e9}\r\n");
        assert_eq!(rejection, Rejection::InvalidExtensions);
    }

    #[test]
    fn rfc_6454_section_7_origin() {
        for origin in ["null", "https://a.example:8443", "http://a.example http://b.example"] {
            let more = format!("Origin: {origin}\r\n");
            check(&[START, UPGRADE, KEY, VERSION, &more], |outcome| {
                assert_eq!(outcome.unwrap().origin(), Some(origin));
            });
        }
        assert_eq!(rejection_with("Origin: a\r\nOrigin: a\r\n"), Rejection::DuplicateOrigin);
        assert_eq!(rejection_with("Origin: caf\u{e9}\r\n"), Rejection::InvalidOrigin);
        assert_eq!(rejection_with("Origin: a\tb\r\n"), Rejection::InvalidOrigin);
    }
}
