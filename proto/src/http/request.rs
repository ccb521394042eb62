//! The head of a request.

use super::headers::{Headers, list_elements};
use super::target::{Authority, RequestTarget};
use super::{HeadError, MAX_HEADERS, Status, Version, lines};

/// How many empty lines before the request line are ignored.
///
/// RFC 9112 section 2.2 asks for at least one. Each more is a way to hold a connection for nothing.
const EMPTY_LINES_MAX: usize = 1;

/// The head of a request, lent from the bytes it was parsed from.
///
/// By [`parse_request`] no body belongs to it: a request that announces one is refused. So what
/// comes [`head_len`](RequestHead::head_len) bytes behind the start is the next thing, be it a
/// request or the first frame. By [`parse_request_with_body`] its [`body`](RequestHead::body) comes
/// first.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    target: &'a str,
    /// `target`, taken apart.
    parts: RequestTarget<'a>,
    version: Version,
    headers: Headers<'a>,
    /// Of the target in absolute form, otherwise of the Host header. `None` only by HTTP/1.0.
    authority: Option<Authority<'a>>,
    body: BodyLength,
    /// At least 1, and at most the limit and the length of the bytes.
    head_len: usize,
}

/// How long the body behind a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// So many bytes, at least 1.
    Length(u64),
    /// It comes in chunks, and says itself when it ends (RFC 9112 section 7.1).
    Chunked,
}

impl<'a> RequestHead<'a> {
    /// The method. RFC 9110 section 9.1: "The method token is case-sensitive".
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The request target as it was sent: of visible ASCII characters, without a fragment.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The path of the target, as it was sent: percent-encoded, not normalized. It begins with `/`.
    pub fn path(&self) -> &'a str {
        self.parts.path
    }

    /// What follows the first `?` of the target, as it was sent.
    pub fn query(&self) -> Option<&'a str> {
        self.parts.query
    }

    /// The version of the request.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The header lines.
    pub fn headers(&self) -> &Headers<'a> {
        &self.headers
    }

    /// The value of the first header with this name, letter case aside.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.first(name)
    }

    /// The value of each header with this name, letter case aside.
    pub fn header_values<'n>(
        &self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'_, 'a, 'n> {
        self.headers.values(name)
    }

    /// The host that is asked for, without its port and in the letter case it was sent in. An IPv6
    /// address has its brackets. `None` only by HTTP/1.0.
    ///
    /// RFC 9112 section 3.2.2: "When an origin server receives a request with an absolute-form of
    /// request-target, the origin server MUST ignore the received Host header field (if any) and
    /// instead use the host information of the request-target".
    pub fn host(&self) -> Option<&'a str> {
        self.authority.map(|authority| authority.host)
    }

    /// As [`host`](RequestHead::host), with its port if one was sent.
    pub fn authority(&self) -> Option<&'a str> {
        self.authority.map(|authority| authority.text)
    }

    /// What follows the head.
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// The length of the head in bytes, the empty line behind it and one before it included.
    pub fn head_len(&self) -> usize {
        self.head_len
    }
}

/// Parses the head of a request from the bytes that came so far.
///
/// `limit` is the most bytes that a head may have. A head of exactly `limit` bytes is accepted.
/// Bytes behind the head are neither counted nor looked at.
///
/// # Errors
///
/// [`HeadError`], as soon as the fault can be seen: a malformed line before the head is complete.
/// Once there is an error there will be one for each longer prefix too, though it may be another.
pub fn parse_request(bytes: &[u8], limit: usize) -> Result<Status<RequestHead<'_>>, HeadError> {
    parse(bytes, limit, |headers, _| check_no_body(headers).map(|()| BodyLength::None))
}

/// As [`parse_request`], of a request that may have a body.
///
/// # Errors
///
/// [`HeadError`], likewise; also where it is not certain how long the body is.
pub fn parse_request_with_body(
    bytes: &[u8],
    limit: usize,
) -> Result<Status<RequestHead<'_>>, HeadError> {
    parse(bytes, limit, body)
}

/// What reads from the header lines how long the body is.
type ReadBody = fn(&Headers<'_>, Version) -> Result<BodyLength, HeadError>;

fn parse(
    bytes: &[u8],
    limit: usize,
    read_body: ReadBody,
) -> Result<Status<RequestHead<'_>>, HeadError> {
    let within = &bytes[..bytes.len().min(limit)];
    lines::check(within, EMPTY_LINES_MAX)?;
    let mut header_lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut header_lines);
    let head_len = match request.parse(within) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) if bytes.len() < limit => return Ok(Status::Partial),
        Ok(httparse::Status::Partial) => return Err(over_limit(within)),
        Err(httparse::Error::Version) => return Err(version_error(within)),
        Err(error) => return Err(error.into()),
    };
    let version = Version::from_minor(request.version);
    let line = RequestLine { method: request.method, target: request.path, version };
    let count = request.headers.len();
    let headers = Headers::new(header_lines, count);
    let body = read_body(&headers, version);
    complete(line, headers, body, head_len).map(Status::Complete)
}

/// What is over the limit: the request line, or the head as a whole.
fn over_limit(bytes: &[u8]) -> HeadError {
    if lines::has_start_line(bytes, EMPTY_LINES_MAX) {
        HeadError::TooLarge
    } else {
        HeadError::TargetTooLong
    }
}

/// Tells another version of HTTP from a target with a space in it and the like.
fn version_error(bytes: &[u8]) -> HeadError {
    let version = bytes.splitn(3, |&byte| byte == b' ').nth(2);
    HeadError::of_version(version.unwrap_or_default())
}

/// The first line of a request, as far as it was understood.
struct RequestLine<'a> {
    method: Option<&'a str>,
    target: Option<&'a str>,
    version: Version,
}

/// Checks what only a complete head can be checked for.
fn complete<'a>(
    line: RequestLine<'a>,
    headers: Headers<'a>,
    body: Result<BodyLength, HeadError>,
    head_len: usize,
) -> Result<RequestHead<'a>, HeadError> {
    let RequestLine { method, target, version } = line;
    let method = method.expect("httparse sets the method of a complete head");
    let target = target.expect("httparse sets the target of a complete head");
    let parts = RequestTarget::parse(target)?;
    let host = host(&headers, version)?;
    let body = body?;
    let authority = parts.authority.or(host);
    Ok(RequestHead { method, target, parts, version, headers, authority, body, head_len })
}

/// The Host header.
///
/// RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
/// HTTP/1.1 request message that lacks a Host header field and to any request message that contains
/// more than one Host header field line or a Host header field with an invalid field value".
fn host<'a>(headers: &Headers<'a>, version: Version) -> Result<Option<Authority<'a>>, HeadError> {
    let value = headers.at_most_one("host").map_err(|_| HeadError::DuplicateHost)?;
    match (value, version) {
        (Some(value), _) => {
            let text = str::from_utf8(value).map_err(|_| HeadError::InvalidHost)?;
            Authority::parse(text).map(Some).ok_or(HeadError::InvalidHost)
        }
        (None, Version::Http11) => Err(HeadError::MissingHost),
        (None, Version::Http10) => Ok(None),
    }
}

/// Checks that no body follows, by either of the two headers that may announce one.
fn check_no_body(headers: &Headers<'_>) -> Result<(), HeadError> {
    match content_length(headers)? {
        // Even `chunked` with an empty body would have to be read to know that it is empty.
        None if headers.contains("transfer-encoding") => Err(HeadError::TransferEncoding),
        Some(length) if length.iter().any(|&digit| digit != b'0') => Err(HeadError::Body),
        Some(_) | None => Ok(()),
    }
}

/// How long the body is, by either of the two headers that may announce one.
fn body(headers: &Headers<'_>, version: Version) -> Result<BodyLength, HeadError> {
    if let Some(digits) = content_length(headers)? {
        // Nobody can send what does not fit.
        let text = str::from_utf8(digits).map_err(|_| HeadError::InvalidContentLength)?;
        let length = text.parse().map_err(|_| HeadError::InvalidContentLength)?;
        return Ok(if length == 0 { BodyLength::None } else { BodyLength::Length(length) });
    }
    match headers.contains("transfer-encoding") {
        true => check_transfer_coding(headers, version).map(|()| BodyLength::Chunked),
        false => Ok(BodyLength::None),
    }
}

/// Checks that the body is in chunks and in no other coding.
fn check_transfer_coding(headers: &Headers<'_>, version: Version) -> Result<(), HeadError> {
    // RFC 9112 section 6.1: "A server or client that receives an HTTP/1.0 message containing a
    // Transfer-Encoding header field MUST treat the message as if the framing is faulty".
    if version == Version::Http10 {
        return Err(HeadError::TransferEncoding);
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let codings = || headers.values("transfer-encoding").flat_map(list_elements);
    // RFC 9112 section 6.3, 4.: "If a Transfer-Encoding header field is present in a request and
    // the chunked transfer coding is not the final encoding, the message body length cannot be
    // determined reliably; the server MUST respond with the 400 (Bad Request) status code". Section
    // 6.1: "A sender MUST NOT apply the chunked transfer coding more than once".
    let chunked = codings().filter(|coding| is_chunked(coding)).count();
    if chunked != 1 || !codings().last().is_some_and(is_chunked) {
        return Err(HeadError::NotChunkedAtLast);
    }
    // RFC 9112 section 6.1: "A server that receives a request message with a transfer coding it
    // does not understand SHOULD respond with 501 (Not Implemented)".
    if codings().count() > 1 { Err(HeadError::UnknownTransferCoding) } else { Ok(()) }
}

/// The digits of Content-Length, at least one, if it is there.
///
/// RFC 9110 section 8.6: `Content-Length = 1*DIGIT`. A list of equal numbers, and equal lines,
/// which it lets a recipient repair, are refused.
fn content_length<'a>(headers: &Headers<'a>) -> Result<Option<&'a [u8]>, HeadError> {
    let value = headers.at_most_one("content-length");
    let value = value.map_err(|_| HeadError::DuplicateContentLength)?;
    let Some(digits) = value else { return Ok(None) };
    // RFC 9112 section 6.1: "A server MAY reject a request that contains both Content-Length and
    // Transfer-Encoding [...]. Regardless, the server MUST close the connection".
    if headers.contains("transfer-encoding") {
        return Err(HeadError::ContentLengthAndTransferEncoding);
    }
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::InvalidContentLength);
    }
    Ok(Some(digits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 8192;
    const HANDSHAKE: &str = "GET /chat?room=1 HTTP/1.1\r\n\
        Host: server.example.com:8080\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Cookie:\ta=b; c=d \t\r\n\
        X-Empty:\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn complete_head(bytes: &[u8]) -> RequestHead<'_> {
        match parse_request(bytes, LIMIT) {
            Ok(Status::Complete(head)) => head,
            other => panic!("{other:?}"),
        }
    }

    fn error(text: &str) -> HeadError {
        parse_request(text.as_bytes(), LIMIT).expect_err("a malformed request")
    }

    /// The error of a GET request with these header lines besides Host.
    fn error_with(lines: &str) -> HeadError {
        error(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"))
    }

    #[test]
    fn deconstruct() {
        let head = complete_head(HANDSHAKE.as_bytes());
        assert_eq!(head.method(), "GET");
        assert_eq!(head.target(), "/chat?room=1");
        assert_eq!((head.path(), head.query()), ("/chat", Some("room=1")));
        assert_eq!(head.version(), Version::Http11);
        assert_eq!(head.host(), Some("server.example.com"));
        assert_eq!(head.authority(), Some("server.example.com:8080"));
        assert_eq!(head.header("COOKIE"), Some(&b"a=b; c=d"[..]));
        assert_eq!(head.header("x-empty"), Some(&b""[..]));
        assert_eq!(head.header("origin"), None);
        assert_eq!(head.header_values("Upgrade").count(), 1);
        assert_eq!(head.headers().iter().count(), 7);
        assert_eq!(head.head_len(), HANDSHAKE.len());
    }

    #[test]
    fn what_follows_is_left_alone() {
        let bytes = [HANDSHAKE.as_bytes(), b"\x81\x80\0\0\0\0\n"].concat();
        assert_eq!(complete_head(&bytes).head_len(), HANDSHAKE.len());
    }

    #[test]
    fn section_2_2_one_empty_line_is_ignored_and_counted() {
        let text = format!("\r\n{HANDSHAKE}");
        assert_eq!(complete_head(text.as_bytes()).head_len(), HANDSHAKE.len() + 2);
        assert_eq!(error(&format!("\r\n\r\n{HANDSHAKE}")), HeadError::LeadingEmptyLines);
    }

    #[test]
    fn section_2_2_line_ends() {
        assert_eq!(error(&HANDSHAKE.replace("\r\n", "\n")), HeadError::BareLineFeed);
        assert_eq!(error("GET / HTTP/1.1\r\nHost: a\n"), HeadError::BareLineFeed);
        assert_eq!(error_with("A: b\nC: d"), HeadError::BareLineFeed);
        assert_eq!(error_with("A: b\rC: d"), HeadError::BareCarriageReturn);
        assert_eq!(error_with("A: b\r\n\rC: d"), HeadError::BareCarriageReturn);
        assert_eq!(error_with("A: b\0"), HeadError::ControlCharacter);
    }

    #[test]
    fn section_3_request_line() {
        for line in [
            "GET", // the line ends where a space should be
            "GET /",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /a b HTTP/1.1",
            "G(T / HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/x.1",
        ] {
            let text = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(error(&text), HeadError::StartLine, "{line:?}");
        }
    }

    #[test]
    fn section_2_3_versions() {
        for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3", "HTTP/11.1"] {
            let text = format!("GET / {version}\r\nHost: a\r\n\r\n");
            assert_eq!(error(&text), HeadError::UnsupportedVersion, "{version}");
        }
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert_eq!(error(preface), HeadError::UnsupportedVersion);
        let head = complete_head(b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!((head.version(), head.host()), (Version::Http10, None));
    }

    #[test]
    fn section_5_header_lines() {
        assert_eq!(error_with("A: b\r\n c"), HeadError::FoldedLine);
        assert_eq!(error("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), HeadError::FoldedLine);
        assert_eq!(error_with("Content-Length : 5"), HeadError::SpaceBeforeColon);
        assert_eq!(error_with("Content-Length\t: 5"), HeadError::SpaceBeforeColon);
        assert_eq!(error_with(": 5"), HeadError::EmptyHeaderName);
        assert_eq!(error_with("Content/Length: 5"), HeadError::InvalidHeaderName);
        assert_eq!(error_with("Content-Length"), HeadError::MissingColon);
    }

    #[test]
    fn section_6_1_transfer_encoding() {
        for value in ["chunked", "identity", "xchunked", "", "\x0bchunked"] {
            let outcome = error_with(&format!("Transfer-Encoding: {value}"));
            let control = value.contains('\x0b');
            let expected =
                if control { HeadError::ControlCharacter } else { HeadError::TransferEncoding };
            assert_eq!(outcome, expected, "{value:?}");
        }
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 0",
        ] {
            assert_eq!(error_with(lines), HeadError::ContentLengthAndTransferEncoding);
        }
    }

    #[test]
    fn section_6_3_content_length() {
        for value in ["0", "00", " 0\t"] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:{value}\r\n\r\n");
            assert_eq!(complete_head(text.as_bytes()).head_len(), text.len(), "{value:?}");
        }
        let huge = "99999999999999999999999999";
        for value in ["1", "05", "18446744073709551616", huge] {
            assert_eq!(error_with(&format!("Content-Length: {value}")), HeadError::Body);
        }
        for value in ["", "+0", "-0", "0x0", "0, 0", "0 0", "0.0", "1e0", "\u{660}"] {
            let outcome = error_with(&format!("Content-Length: {value}"));
            assert_eq!(outcome, HeadError::InvalidContentLength, "{value:?}");
        }
        let twice = "Content-Length: 0\r\ncontent-length: 0";
        assert_eq!(error_with(twice), HeadError::DuplicateContentLength);
    }

    /// The body of a POST request with these header lines besides Host.
    fn body_with(version: &str, lines: &str) -> Result<BodyLength, HeadError> {
        let text = format!("POST / {version}\r\nHost: a\r\n{lines}\r\n\r\nbehind");
        match parse_request_with_body(text.as_bytes(), LIMIT)? {
            Status::Complete(head) => Ok(head.body()),
            Status::Partial => panic!("{text:?} is whole"),
        }
    }

    #[test]
    fn section_6_3_the_length_of_a_body() {
        for (lines, expected) in [
            ("A: b", Ok(BodyLength::None)),
            ("Content-Length: 0", Ok(BodyLength::None)),
            ("Content-Length: 007", Ok(BodyLength::Length(7))),
            ("Content-Length: 18446744073709551615", Ok(BodyLength::Length(u64::MAX))),
            ("Content-Length: 18446744073709551616", Err(HeadError::InvalidContentLength)),
            ("Content-Length: 5, 5", Err(HeadError::InvalidContentLength)),
            ("Content-Length: +5", Err(HeadError::InvalidContentLength)),
            ("Content-Length: ", Err(HeadError::InvalidContentLength)),
            ("Content-Length: 5\r\nContent-Length: 5", Err(HeadError::DuplicateContentLength)),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                Err(HeadError::ContentLengthAndTransferEncoding),
            ),
            ("Transfer-Encoding: chunked", Ok(BodyLength::Chunked)),
            ("transfer-encoding: , CHUNKED", Ok(BodyLength::Chunked)),
            ("Transfer-Encoding: chunked, chunked", Err(HeadError::NotChunkedAtLast)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Err(HeadError::NotChunkedAtLast),
            ),
            ("Transfer-Encoding: chunked, gzip", Err(HeadError::NotChunkedAtLast)),
            ("Transfer-Encoding: chunked;a=b", Err(HeadError::NotChunkedAtLast)),
            ("Transfer-Encoding: xchunked", Err(HeadError::NotChunkedAtLast)),
            ("Transfer-Encoding: identity", Err(HeadError::NotChunkedAtLast)),
            ("Transfer-Encoding:", Err(HeadError::NotChunkedAtLast)),
            ("Transfer-Encoding: gzip, chunked", Err(HeadError::UnknownTransferCoding)),
            (
                "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
                Err(HeadError::UnknownTransferCoding),
            ),
        ] {
            assert_eq!(body_with("HTTP/1.1", lines), expected, "{lines:?}");
        }
        let old = body_with("HTTP/1.0", "Transfer-Encoding: chunked");
        assert_eq!(old, Err(HeadError::TransferEncoding));
        assert_eq!(body_with("HTTP/1.0", "Content-Length: 5"), Ok(BodyLength::Length(5)));
        assert_eq!(HeadError::UnknownTransferCoding.status(), 501);
        assert_eq!(HeadError::NotChunkedAtLast.status(), 400);
    }

    #[test]
    fn section_3_2_host() {
        assert_eq!(error("GET / HTTP/1.1\r\n\r\n"), HeadError::MissingHost);
        assert_eq!(error_with("host: a"), HeadError::DuplicateHost);
        for value in ["", "a b", "a, b", "a@b", "a:b", "\u{e9}"] {
            let text = format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
            assert_eq!(error(&text), HeadError::InvalidHost, "{value:?}");
        }
        assert_eq!(error("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), HeadError::InvalidHost);
    }

    #[test]
    fn section_3_2_2_absolute_form_overrules_host() {
        let head = complete_head(b"GET http://b.example:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head.authority(), Some("b.example:81"));
        assert_eq!((head.host(), head.path(), head.query()), (Some("b.example"), "/c", Some("d")));
        let text = "GET http://b.example/ HTTP/1.1\r\n\r\n";
        assert_eq!(error(text), HeadError::MissingHost, "absolute-form does not replace it");
    }

    #[test]
    fn section_3_2_other_targets() {
        let with = |line: &str| error(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(with("OPTIONS *"), HeadError::TargetForm);
        assert_eq!(with("CONNECT a:443"), HeadError::TargetForm);
        assert_eq!(with("GET /a#b"), HeadError::TargetFragment);
        assert_eq!(with("GET /caf\u{e9}"), HeadError::TargetCharacter);
    }

    #[test]
    fn limit_of_header_lines() {
        let text = |count| {
            let lines = "A: b\r\n".repeat(count - 1);
            format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
        };
        let most = text(MAX_HEADERS);
        assert_eq!(complete_head(most.as_bytes()).headers().iter().count(), MAX_HEADERS);
        assert_eq!(error(&text(MAX_HEADERS + 1)), HeadError::TooManyHeaders);
    }

    #[test]
    fn limit_of_bytes() {
        let request_line = HANDSHAKE.find("\r\n").unwrap() + 2;
        for limit in 0..HANDSHAKE.len() {
            let expected =
                if limit < request_line { HeadError::TargetTooLong } else { HeadError::TooLarge };
            let within = parse_request(&HANDSHAKE.as_bytes()[..limit], limit);
            assert_eq!(within.expect_err("at the limit"), expected, "{limit}");
            let behind = parse_request(HANDSHAKE.as_bytes(), limit);
            assert_eq!(behind.expect_err("over the limit"), expected, "{limit}");
        }
        let exact = parse_request(HANDSHAKE.as_bytes(), HANDSHAKE.len());
        assert!(matches!(exact, Ok(Status::Complete(_))));
    }

    #[test]
    fn statuses() {
        let cases = [
            (HeadError::BareLineFeed, 400),
            (HeadError::TransferEncoding, 400),
            (HeadError::Body, 413),
            (HeadError::TargetTooLong, 414),
            (HeadError::TooLarge, 431),
            (HeadError::TooManyHeaders, 431),
            (HeadError::UnsupportedVersion, 505),
        ];
        for (error, status) in cases {
            assert_eq!(error.status(), status, "{error}");
        }
    }

    /// A valid request, and the number of its header lines.
    fn valid_request() -> impl Strategy<Value = (String, usize)> {
        let line = "[A-Za-z][A-Za-z0-9-]{0,8}X:[ \t]{0,2}[!-~]{0,12}[ \t]{0,2}\r\n";
        let lines = proptest::collection::vec(line, 0..12);
        let start = "(\r\n)?[A-Z]{1,7} /[a-z/%0-9]{0,16}(\\?[a-z=&]{0,8})? HTTP/1\\.1\r\n";
        (start, lines).prop_map(|(start, lines)| {
            let count = lines.len() + 1;
            (format!("{start}Host: a.example\r\n{}\r\n", lines.concat()), count)
        })
    }

    proptest! {
        #[test]
        fn any_split_is_partial_until_complete((text, lines) in valid_request()) {
            let bytes = text.as_bytes();
            for end in 0..bytes.len() {
                let outcome = parse_request(&bytes[..end], LIMIT);
                prop_assert!(matches!(outcome, Ok(Status::Partial)), "{end}: {outcome:?}");
            }
            let head = complete_head(bytes);
            prop_assert_eq!(head.head_len(), bytes.len());
            prop_assert_eq!(head.headers().iter().count(), lines);
        }

        #[test]
        fn an_error_stays_and_a_head_stays(
            at in 0..HANDSHAKE.len(),
            removed in 0..4_usize,
            inserted in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let bytes = HANDSHAKE.as_bytes();
            let rest = &bytes[(at + removed).min(bytes.len())..];
            let bytes = [&bytes[..at], &inserted, rest].concat();
            let mut settled = None;
            for end in 0..=bytes.len() {
                let outcome = match parse_request(&bytes[..end], LIMIT) {
                    Ok(Status::Partial) => None,
                    Ok(Status::Complete(head)) => Some(Some(head.head_len())),
                    Err(_) => Some(None),
                };
                prop_assert!(settled.is_none() || settled == outcome, "at {end}");
                settled = outcome;
            }
        }

        #[test]
        fn no_input_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
            limit in 0..300_usize,
        ) {
            let _ = parse_request(&bytes, limit);
        }

        #[test]
        fn no_target_panics(
            target in "(/|http://|[a:?%#@]|[\\[]|]){1,6}",
            host in "([a:%1@]|[\\[]|]){0,5}",
            more in "([A-Z]|[:, \t]){0,9}",
        ) {
            let text = format!("GET {target} HTTP/1.1\r\nHost:{host}\r\n{more}\r\n\r\n");
            let _ = parse_request(text.as_bytes(), LIMIT);
        }
    }
}
