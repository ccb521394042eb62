//! The client's side of the opening handshake (RFC 6455 section 4.1).

use core::{error, fmt};

use super::{VERSION, key};
use crate::http::{
    HeadError, HeadWriteError, Headers, ResponseHead, Version, Writer, list_elements,
};
use crate::token::is_token;

/// A request for a WebSocket connection.
#[derive(Clone, Copy)]
pub struct UpgradeRequest<'a> {
    /// The host, with its port if that is not the scheme's own.
    pub host: &'a str,
    /// The path and, behind a `?`, the query.
    pub target: &'a str,
    /// 16 random bytes, drawn anew for each request.
    pub nonce: [u8; 16],
    /// The subprotocols to offer, the preferred first.
    pub subprotocols: &'a [&'a str],
    /// The extensions to offer: the value of one Sec-WebSocket-Extensions header.
    pub extensions: Option<&'a dyn fmt::Display>,
    /// The origin that the request comes from, if it does on behalf of a browser.
    pub origin: Option<&'a str>,
    /// More headers, name and value. Those above must not be among them.
    pub headers: &'a [(&'a str, &'a str)],
}

impl<'a> UpgradeRequest<'a> {
    /// A request that offers nothing.
    pub fn new(host: &'a str, target: &'a str, nonce: [u8; 16]) -> UpgradeRequest<'a> {
        UpgradeRequest {
            host,
            target,
            nonce,
            subprotocols: &[],
            extensions: None,
            origin: None,
            headers: &[],
        }
    }

    /// Writes the request to the start of `out`, and yields its length in bytes.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::NoRoom`], or [`HeadWriteError::InvalidText`] if the target does not begin
    /// with `/` or is not of visible ASCII characters, if a subprotocol is no token, or if a header
    /// would not stay on its line.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, HeadWriteError> {
        let mut writer = Writer::new(out);
        check_target(self.target)?;
        // Section 4.1, 2: "The method of the request MUST be GET, and the HTTP version MUST be at
        // least 1.1."
        writer.line(format_args!("GET {} HTTP/1.1", self.target))?;
        writer.header("Host", self.host)?;
        writer.header("Upgrade", "websocket")?;
        writer.header("Connection", "Upgrade")?;
        let key = key::encode_key(self.nonce);
        writer.header("Sec-WebSocket-Key", str::from_utf8(&key).expect("base64 is ASCII"))?;
        writer.header("Sec-WebSocket-Version", VERSION)?;
        self.write_offers(&mut writer)?;
        if let Some(origin) = self.origin {
            writer.header("Origin", origin)?;
        }
        for (name, value) in self.headers {
            writer.header(name, value)?;
        }
        writer.end_head()?;
        Ok(writer.finish())
    }

    /// What the server may choose from. A line for each subprotocol says the same as one list.
    fn write_offers(&self, writer: &mut Writer<'_>) -> Result<(), HeadWriteError> {
        for subprotocol in self.subprotocols {
            if !is_token(subprotocol.as_bytes()) {
                return Err(HeadWriteError::InvalidText);
            }
            writer.header("Sec-WebSocket-Protocol", subprotocol)?;
        }
        match self.extensions {
            Some(extensions) => writer.header("Sec-WebSocket-Extensions", extensions),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for UpgradeRequest<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the nonce nor the headers, which may hold secrets.
        out.debug_struct("UpgradeRequest")
            .field("host", &self.host)
            .field("target", &self.target)
            .field("subprotocols", &self.subprotocols)
            .finish_non_exhaustive()
    }
}

/// A space in the target would end it early, and what follows would pass for the version.
fn check_target(target: &str) -> Result<(), HeadWriteError> {
    let visible = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if visible && target.starts_with('/') { Ok(()) } else { Err(HeadWriteError::InvalidText) }
}

/// A response that opens the connection.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    head: &'a ResponseHead<'a>,
    /// One of the request's.
    subprotocol: Option<&'a str>,
}

impl<'a> Accepted<'a> {
    /// Checks a response to `request` against RFC 6455 section 4.1.
    ///
    /// # Errors
    ///
    /// [`Error`]: "the client MUST _Fail the WebSocket Connection_", which here means to close it.
    pub fn check(head: &'a ResponseHead<'a>, request: &UpgradeRequest<'_>) -> Result<Self, Error> {
        let headers = head.headers();
        check_switching(head)?;
        check_accept(headers, request)?;
        check_extensions(headers, request)?;
        let subprotocol = check_subprotocol(headers, request)?;
        Ok(Accepted { head, subprotocol })
    }

    /// The subprotocol that the server has chosen: one of those that were offered.
    pub fn subprotocol(&self) -> Option<&'a str> {
        self.subprotocol
    }

    /// The value of each Sec-WebSocket-Extensions line, of ASCII characters. The caller compares
    /// them with what was offered. There are none if nothing was.
    pub fn extension_values(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let values = self.head.headers().values("sec-websocket-extensions");
        values.filter_map(|value| str::from_utf8(value).ok())
    }

    /// The length of the head in bytes. The first frame begins right behind it.
    pub fn head_len(&self) -> usize {
        self.head.head_len()
    }
}

/// Checks that the server switches to WebSocket.
fn check_switching(head: &ResponseHead<'_>) -> Result<(), Error> {
    // Section 4.1, 1: "If the status code received from the server is not 101, the client handles
    // the response per HTTP [RFC2616] procedures." Ours is to give up and say so.
    if head.status() != 101 {
        return Err(Error::Refused { status: head.status() });
    }
    if head.version() != Version::Http11 {
        return Err(Error::HttpVersion);
    }
    // Section 4.1, 2: "If the response lacks an |Upgrade| header field or the |Upgrade| header
    // field contains a value that is not an ASCII case-insensitive match for the value
    // "websocket"".
    let headers = head.headers();
    let mut protocols = headers.values("upgrade").flat_map(list_elements).peekable();
    let is_missing = protocols.peek().is_none();
    if is_missing || !protocols.all(|name| name.eq_ignore_ascii_case(b"websocket")) {
        return Err(Error::InvalidUpgrade);
    }
    // Section 4.1, 3: "If the response lacks a |Connection| header field or the |Connection| header
    // field doesn't contain a token that is an ASCII case-insensitive match for the value
    // "Upgrade"".
    if !headers.contains_token("connection", "upgrade") {
        return Err(Error::MissingConnection);
    }
    Ok(())
}

/// Section 4.1, 4: "If the response lacks a |Sec-WebSocket-Accept| header field or the
/// |Sec-WebSocket-Accept| contains a value other than the base64-encoded SHA-1 of the
/// concatenation of the |Sec-WebSocket-Key| [...] with the string [...] but ignoring any leading
/// and trailing whitespace".
fn check_accept(headers: &Headers<'_>, request: &UpgradeRequest<'_>) -> Result<(), Error> {
    // Section 11.3.3: "The |Sec-WebSocket-Accept| header MUST NOT appear more than once in an HTTP
    // response."
    let accept = headers.at_most_one("sec-websocket-accept");
    let accept = accept.map_err(|_| Error::DuplicateAccept)?.ok_or(Error::MissingAccept)?;
    if accept != key::accept_key(&key::encode_key(request.nonce)) {
        return Err(Error::WrongAccept);
    }
    Ok(())
}

/// Section 4.1, 5: "If the response includes a |Sec-WebSocket-Extensions| header field and this
/// header field indicates the use of an extension that was not present in the client's handshake".
///
/// Which of the offered ones are used is for the caller to find out.
fn check_extensions(headers: &Headers<'_>, request: &UpgradeRequest<'_>) -> Result<(), Error> {
    let mut values = headers.values("sec-websocket-extensions").peekable();
    if values.peek().is_some() && request.extensions.is_none() {
        return Err(Error::UnexpectedExtensions);
    }
    if values.all(<[u8]>::is_ascii) { Ok(()) } else { Err(Error::InvalidExtensions) }
}

/// Section 4.1, 6: "If the response includes a |Sec-WebSocket-Protocol| header field and this
/// header field indicates the use of a subprotocol that was not present in the client's handshake".
fn check_subprotocol<'a>(
    headers: &Headers<'a>,
    request: &UpgradeRequest<'_>,
) -> Result<Option<&'a str>, Error> {
    // Section 11.3.4: "the |Sec-WebSocket-Protocol| header field MUST NOT appear more than once in
    // an HTTP response."
    let value = headers.at_most_one("sec-websocket-protocol");
    let Some(value) = value.map_err(|_| Error::DuplicateSubprotocol)? else { return Ok(None) };
    let name = str::from_utf8(value).map_err(|_| Error::UnexpectedSubprotocol)?;
    if request.subprotocols.contains(&name) {
        Ok(Some(name))
    } else {
        Err(Error::UnexpectedSubprotocol)
    }
}

/// Why a handshake failed. Each is the server's fault or decision. Nothing goes on the wire: close
/// the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The head of the response is malformed or too large.
    Head(HeadError),
    /// The server does not want this connection.
    Refused {
        /// The status code that it gave instead of 101.
        status: u16,
    },
    /// 101 by HTTP/1.0, which has no upgrade.
    HttpVersion,
    /// No Upgrade header, or one that is not `websocket`.
    InvalidUpgrade,
    /// No Connection header with the option Upgrade.
    MissingConnection,
    /// No Sec-WebSocket-Accept.
    MissingAccept,
    /// More than one Sec-WebSocket-Accept.
    DuplicateAccept,
    /// Sec-WebSocket-Accept does not belong to the key that was sent.
    WrongAccept,
    /// A subprotocol that was not offered.
    UnexpectedSubprotocol,
    /// More than one Sec-WebSocket-Protocol.
    DuplicateSubprotocol,
    /// An extension, though none was offered.
    UnexpectedExtensions,
    /// Sec-WebSocket-Extensions does not follow its grammar, or not what was offered. Here it is
    /// only checked that it is ASCII; the caller's negotiation finds the rest.
    InvalidExtensions,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Error::Head(error) => return write!(out, "the response head is not valid: {error}"),
            Error::Refused { status } => {
                return write!(out, "the server answered the handshake with status {status}");
            }
            Error::HttpVersion => "the server answered 101 by HTTP/1.0",
            Error::InvalidUpgrade => "the server did not answer with Upgrade: websocket",
            Error::MissingConnection => "the server did not answer with Connection: Upgrade",
            Error::MissingAccept => "the server did not answer with Sec-WebSocket-Accept",
            Error::DuplicateAccept => "the server answered with more than one Sec-WebSocket-Accept",
            Error::WrongAccept => {
                "the server's Sec-WebSocket-Accept does not belong to our key; a cache may have \
                 answered"
            }
            Error::UnexpectedSubprotocol => "the server chose a subprotocol that was not offered",
            Error::DuplicateSubprotocol => "the server chose more than one subprotocol",
            Error::UnexpectedExtensions => "the server chose an extension though none was offered",
            Error::InvalidExtensions => {
                "the server's Sec-WebSocket-Extensions does not follow its grammar or our offer"
            }
        })
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Head(error) => Some(error),
            _ => None,
        }
    }
}

impl From<HeadError> for Error {
    fn from(error: HeadError) -> Error {
        Error::Head(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Status, parse_request, parse_response};
    use crate::websocket::handshake::server::{Acceptance, Upgrade};

    /// RFC 6455 section 1.3: the nonce whose base64 is "dGhlIHNhbXBsZSBub25jZQ==".
    const NONCE: [u8; 16] = *b"the sample nonce";
    const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\n";
    const UPGRADE: &str = "Upgrade: websocket\r\n";
    const CONNECTION: &str = "Connection: Upgrade\r\n";
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn offering<'a>() -> UpgradeRequest<'a> {
        let request = UpgradeRequest::new("server.example.com", "/chat", NONCE);
        UpgradeRequest {
            subprotocols: &["chat", "superchat"],
            extensions: Some(&"x; y=1"),
            ..request
        }
    }

    fn bare<'a>() -> UpgradeRequest<'a> {
        UpgradeRequest::new("server.example.com", "/chat", NONCE)
    }

    fn check(parts: &[&str], request: &UpgradeRequest<'_>) -> Result<Option<String>, Error> {
        let text = parts.concat() + "\r\n";
        match parse_response(text.as_bytes(), 8192)? {
            Status::Complete(head) => {
                let accepted = Accepted::check(&head, request)?;
                assert_eq!(accepted.head_len(), text.len());
                Ok(accepted.subprotocol().map(str::to_owned))
            }
            Status::Partial => panic!("a partial head"),
        }
    }

    fn check_with(more: &str, request: &UpgradeRequest<'_>) -> Result<Option<String>, Error> {
        check(&[SWITCHING, UPGRADE, CONNECTION, ACCEPT, more], request)
    }

    #[test]
    fn section_1_2_request() {
        let request = UpgradeRequest {
            subprotocols: &["chat", "superchat"],
            origin: Some("http://example.com"),
            extensions: Some(&"x"),
            headers: &[("X-More", "1")],
            ..bare()
        };
        let mut out = [0; 512];
        let length = request.write(&mut out).unwrap();
        assert_eq!(
            str::from_utf8(&out[..length]).unwrap(),
            "GET /chat HTTP/1.1\r\n\
             Host: server.example.com\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: chat\r\n\
             Sec-WebSocket-Protocol: superchat\r\n\
             Sec-WebSocket-Extensions: x\r\n\
             Origin: http://example.com\r\n\
             X-More: 1\r\n\r\n"
        );
        for room in 0..length {
            assert_eq!(request.write(&mut out[..room]), Err(HeadWriteError::NoRoom), "{room}");
        }
    }

    #[test]
    fn a_text_can_not_split_the_request() {
        let invalid = Err(HeadWriteError::InvalidText);
        let mut out = [0; 512];
        for target in ["", "chat", "/a b", "/a\r\nb", "/#", "/caf\u{e9}", "http://a/"] {
            assert_eq!(UpgradeRequest { target, ..bare() }.write(&mut out), invalid, "{target:?}");
        }
        for text in ["a\r\nb", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(UpgradeRequest { host: text, ..bare() }.write(&mut out), invalid);
            assert_eq!(UpgradeRequest { origin: Some(text), ..bare() }.write(&mut out), invalid);
            assert_eq!(
                UpgradeRequest { extensions: Some(&text), ..bare() }.write(&mut out),
                invalid
            );
            assert_eq!(UpgradeRequest { subprotocols: &[text], ..bare() }.write(&mut out), invalid);
            assert_eq!(
                UpgradeRequest { headers: &[("A", text)], ..bare() }.write(&mut out),
                invalid
            );
            assert_eq!(
                UpgradeRequest { headers: &[(text, "a")], ..bare() }.write(&mut out),
                invalid
            );
        }
    }

    #[test]
    fn both_sides_agree() {
        let request = offering();
        let (mut asked, mut answered) = ([0; 512], [0; 512]);
        let asked_len = request.write(&mut asked).unwrap();
        let Ok(Status::Complete(head)) = parse_request(&asked[..asked_len], 512) else { panic!() };
        let upgrade = Upgrade::check(&head).unwrap();
        assert!(upgrade.extension_values().eq(["x; y=1"]));
        let subprotocol = upgrade.subprotocols().nth(1);
        let acceptance = Acceptance { key: upgrade.key(), subprotocol, deflate: None };
        let answered_len = acceptance.write(&mut answered).unwrap();
        let Ok(Status::Complete(head)) = parse_response(&answered[..answered_len], 512) else {
            panic!()
        };
        let accepted = Accepted::check(&head, &request).unwrap();
        assert_eq!(accepted.subprotocol(), Some("superchat"));
        assert_eq!(accepted.head_len(), answered_len);
    }

    #[test]
    fn section_4_1_1_status() {
        let response = "HTTP/1.1 302 Found\r\nLocation: /\r\n";
        assert_eq!(check(&[response], &bare()), Err(Error::Refused { status: 302 }));
        let response = "HTTP/1.1 503 \r\n";
        assert_eq!(check(&[response], &bare()), Err(Error::Refused { status: 503 }));
        let old = "HTTP/1.0 101 Switching Protocols\r\n";
        let parts = [old, UPGRADE, CONNECTION, ACCEPT];
        assert_eq!(check(&parts, &bare()), Err(Error::HttpVersion));
        let malformed = check(&["SSH-2.0-x\r\n"], &bare());
        assert_eq!(malformed, Err(Error::Head(HeadError::StartLine)));
    }

    #[test]
    fn section_4_1_2_upgrade() {
        for line in ["", "Upgrade:\r\n", "Upgrade: h2c\r\n", "Upgrade: websocket, h2c\r\n"] {
            let outcome = check(&[SWITCHING, line, CONNECTION, ACCEPT], &bare());
            assert_eq!(outcome, Err(Error::InvalidUpgrade), "{line}");
        }
        let line = "upgrade: WebSocket\r\n";
        assert_eq!(check(&[SWITCHING, line, CONNECTION, ACCEPT], &bare()), Ok(None));
    }

    #[test]
    fn section_4_1_3_connection() {
        for line in ["", "Connection: keep-alive\r\n"] {
            let outcome = check(&[SWITCHING, UPGRADE, line, ACCEPT], &bare());
            assert_eq!(outcome, Err(Error::MissingConnection), "{line}");
        }
        let line = "connection: keep-alive, upgrade\r\n";
        assert_eq!(check(&[SWITCHING, UPGRADE, line, ACCEPT], &bare()), Ok(None));
    }

    #[test]
    fn section_4_1_4_accept() {
        let without = [SWITCHING, UPGRADE, CONNECTION];
        assert_eq!(check(&without, &bare()), Err(Error::MissingAccept));
        assert_eq!(check_with(ACCEPT, &bare()), Err(Error::DuplicateAccept));
        let other = UpgradeRequest { nonce: [0; 16], ..bare() };
        assert_eq!(check_with("", &other), Err(Error::WrongAccept));
        assert_eq!(check_with("", &bare()), Ok(None));
    }

    #[test]
    fn section_4_1_5_extensions() {
        let line = "Sec-WebSocket-Extensions: x\r\n";
        assert_eq!(check_with(line, &offering()), Ok(None));
        assert_eq!(check_with(line, &bare()), Err(Error::UnexpectedExtensions));
        let line = "Sec-WebSocket-Extensions: caf\u{e9}\r\n";
        assert_eq!(check_with(line, &offering()), Err(Error::InvalidExtensions));
    }

    #[test]
    fn section_4_1_6_subprotocol() {
        let with = |value: &str, request: &UpgradeRequest<'_>| {
            check_with(&format!("Sec-WebSocket-Protocol: {value}\r\n"), request)
        };
        assert_eq!(with("superchat", &offering()), Ok(Some("superchat".into())));
        for value in ["other", "Chat", "chat, superchat", "", "caf\u{e9}"] {
            let outcome = with(value, &offering());
            assert_eq!(outcome, Err(Error::UnexpectedSubprotocol), "{value}");
        }
        assert_eq!(with("chat", &bare()), Err(Error::UnexpectedSubprotocol));
        let twice = "chat\r\nSec-WebSocket-Protocol: chat";
        assert_eq!(with(twice, &offering()), Err(Error::DuplicateSubprotocol));
    }

    #[test]
    fn the_nonce_is_not_logged() {
        let request = UpgradeRequest { headers: &[("Authorization", "secret")], ..bare() };
        let text = format!("{request:?}");
        assert!(text.contains("/chat") && !text.contains("secret") && !text.contains("nonce"));
    }
}
