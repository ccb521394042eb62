//! The head of a response, for the client role.

use super::headers::Headers;
use super::{HeadError, MAX_HEADERS, Status, Version, lines};

/// RFC 9112 section 2.2 has a server ignore an empty line before a message, not a client.
const EMPTY_LINES_MAX: usize = 0;

/// The head of a response, lent from the bytes it was parsed from.
///
/// Whether a body follows is not looked at: we read 101, which has none, and close on all else.
#[derive(Clone, Debug)]
pub struct ResponseHead<'a> {
    status: u16,
    version: Version,
    headers: Headers<'a>,
    /// At least 1, and at most the limit and the length of the bytes.
    head_len: usize,
}

impl<'a> ResponseHead<'a> {
    /// The status code, 0 to 999 as sent.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The version of the response.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The header lines.
    pub fn headers(&self) -> &Headers<'a> {
        &self.headers
    }

    /// The length of the head in bytes, the empty line behind it included.
    pub fn head_len(&self) -> usize {
        self.head_len
    }
}

/// Parses the head of a response from the bytes that came so far. `limit` is the most bytes that
/// a head may have.
///
/// # Errors
///
/// [`HeadError`], as soon as the fault can be seen. Its status is of no use here: close the
/// connection.
pub fn parse_response(bytes: &[u8], limit: usize) -> Result<Status<ResponseHead<'_>>, HeadError> {
    let within = &bytes[..bytes.len().min(limit)];
    lines::check(within, EMPTY_LINES_MAX)?;
    let mut header_lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut header_lines);
    let head_len = match response.parse(within) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) if bytes.len() < limit => return Ok(Status::Partial),
        Ok(httparse::Status::Partial) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => return Err(HeadError::of_version(within)),
        Err(error) => return Err(error.into()),
    };
    let status = response.code.expect("httparse sets the status of a complete head");
    let version = Version::from_minor(response.version);
    let count = response.headers.len();
    let headers = Headers::new(header_lines, count);
    Ok(Status::Complete(ResponseHead { status, version, headers, head_len }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    fn error(bytes: &[u8]) -> HeadError {
        parse_response(bytes, 8192).expect_err("a malformed response")
    }

    #[test]
    fn deconstruct() {
        let Ok(Status::Complete(head)) = parse_response(RESPONSE, 8192) else { panic!() };
        assert_eq!((head.status(), head.version()), (101, Version::Http11));
        assert_eq!(head.headers().first("upgrade"), Some(&b"websocket"[..]));
        assert_eq!(head.head_len(), RESPONSE.len());
    }

    #[test]
    fn what_follows_is_left_alone() {
        let bytes = [RESPONSE, b"\x81\x00\n\r"].concat();
        let Ok(Status::Complete(head)) = parse_response(&bytes, RESPONSE.len()) else { panic!() };
        assert_eq!(head.head_len(), RESPONSE.len());
    }

    #[test]
    fn malformed() {
        assert_eq!(error(b"\r\nHTTP/1.1 101 \r\n"), HeadError::LeadingEmptyLines);
        assert_eq!(error(b"HTTP/1.1 101\n"), HeadError::BareLineFeed);
        assert_eq!(error(b"HTTP/1.1 101 \r\nA: b\r\n c"), HeadError::FoldedLine);
        assert_eq!(error(b"HTTP/1.1 1x1"), HeadError::StartLine);
        assert_eq!(error(b"SSH-2.0-OpenSSH"), HeadError::StartLine);
        assert_eq!(error(b"HTTP/2.0 200 OK\r\n"), HeadError::UnsupportedVersion);
    }

    #[test]
    fn too_large() {
        for limit in 0..RESPONSE.len() {
            let outcome = parse_response(RESPONSE, limit);
            assert_eq!(outcome.expect_err("over the limit"), HeadError::TooLarge, "{limit}");
        }
    }

    #[test]
    fn every_prefix_is_partial() {
        for end in 0..RESPONSE.len() {
            assert!(matches!(parse_response(&RESPONSE[..end], 8192), Ok(Status::Partial)), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(
            at in 0..RESPONSE.len(),
            inserted in proptest::collection::vec(any::<u8>(), 0..8),
            limit in 0..128_usize,
        ) {
            let bytes = [&RESPONSE[..at], &inserted, &RESPONSE[at..]].concat();
            let _ = parse_response(&bytes, limit);
            let _ = parse_response(&inserted, limit);
        }
    }
}
