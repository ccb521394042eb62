//! The strict pass over a head: how each line ends, and how each header line begins.
//!
//! It runs over incomplete heads as well, and refuses a fault as soon as its byte is there: a peer
//! that will be refused anyway shall not hold a connection until the head's deadline.

use super::HeadError;
use crate::token::is_token_character;

/// Checks the lines of a head, as far as they are there.
///
/// At most `empty_lines_max` empty lines may stand before the start line. Bytes behind the head
/// are not looked at: they belong to whatever comes next.
pub(super) fn check(bytes: &[u8], empty_lines_max: usize) -> Result<(), HeadError> {
    let Some(mut rest) = skip_empty_lines(bytes, empty_lines_max)? else { return Ok(()) };
    let Some(start_line) = line_len(rest)? else { return Ok(()) };
    rest = &rest[start_line + CRLF_LEN..];
    while let Some(length) = line_len(rest)? {
        if length == 0 {
            return Ok(());
        }
        check_name(&rest[..length], true)?;
        rest = &rest[length + CRLF_LEN..];
    }
    // The last line has not ended yet. A CR at its end is the first half of a line end.
    check_name(rest.strip_suffix(b"\r").unwrap_or(rest), false)
}

/// Whether the start line has ended.
pub(super) fn has_start_line(bytes: &[u8], empty_lines_max: usize) -> bool {
    match skip_empty_lines(bytes, empty_lines_max) {
        Ok(Some(rest)) => matches!(line_len(rest), Ok(Some(_))),
        _ => false,
    }
}

/// CR and LF.
const CRLF_LEN: usize = 2;

/// What comes behind the empty lines, or `None` if that has not come yet.
///
/// RFC 9112 section 2.2: "a server that is expecting to receive and parse a request-line SHOULD
/// ignore at least one empty line (CRLF) received prior to the request-line".
fn skip_empty_lines(bytes: &[u8], at_most: usize) -> Result<Option<&[u8]>, HeadError> {
    let mut rest = bytes;
    let mut skipped = 0;
    while line_len(rest)? == Some(0) {
        skipped += 1;
        if skipped > at_most {
            return Err(HeadError::LeadingEmptyLines);
        }
        rest = &rest[CRLF_LEN..];
    }
    Ok(if rest.is_empty() { None } else { Some(rest) })
}

/// The length of the first line without its CR LF, or `None` if it has not ended yet.
fn line_len(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    // HTAB is the one control character that a line may hold.
    let Some(end) = bytes.iter().position(|&byte| byte.is_ascii_control() && byte != b'\t') else {
        return Ok(None);
    };
    match (bytes[end], bytes.get(end + 1)) {
        (b'\r', Some(b'\n')) => Ok(Some(end)),
        (b'\r', None) => Ok(None),
        // RFC 9112 section 2.2: "A recipient of such a bare CR MUST consider that element to be
        // invalid or replace each bare CR with SP".
        (b'\r', Some(_)) => Err(HeadError::BareCarriageReturn),
        // RFC 9112 section 2.2: "a recipient MAY recognize a single LF as a line terminator". We do
        // not: a proxy in front that does not either sees another message than we would.
        (b'\n', _) => Err(HeadError::BareLineFeed),
        // RFC 9110 section 5.5: "Field values containing CR, LF, or NUL characters are invalid and
        // dangerous".
        _ => Err(HeadError::ControlCharacter),
    }
}

/// Checks the name of a header line, which may not have ended yet.
fn check_name(line: &[u8], ended: bool) -> Result<(), HeadError> {
    let Some(end) = line.iter().position(|&byte| !is_token_character(byte)) else {
        return if ended { Err(HeadError::MissingColon) } else { Ok(()) };
    };
    match (line[end], end) {
        (b':', 0) => Err(HeadError::EmptyHeaderName),
        (b':', _) => Ok(()),
        // RFC 9112 section 5.2: "A server that receives an obs-fold in a request message [...] MUST
        // either reject the message by sending a 400 (Bad Request) [...] or replace". The same for
        // whitespace before the first header line (section 2.2).
        (b' ' | b'\t', 0) => Err(HeadError::FoldedLine),
        // RFC 9112 section 5.1: "A server MUST reject, with a response status code of 400 (Bad
        // Request), any received request message that contains whitespace between a header field
        // name and colon".
        (b' ' | b'\t', _) => Err(HeadError::SpaceBeforeColon),
        _ => Err(HeadError::InvalidHeaderName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fault, and the length of the shortest prefix that shows it.
    fn fault(text: &str) -> (HeadError, usize) {
        let seen = |end: &usize| check(&text.as_bytes()[..*end], 1).is_err();
        let end = (0..=text.len()).find(seen).expect("a malformed head");
        (check(&text.as_bytes()[..end], 1).expect_err("just seen"), end)
    }

    #[test]
    fn faults_are_seen_at_once() {
        let cases = [
            ("GET / HTTP/1.1\n|Host: a\r\n\r\n", HeadError::BareLineFeed),
            ("\n|GET / HTTP/1.1\r\n", HeadError::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\n|\n", HeadError::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n|", HeadError::BareLineFeed),
            ("GET / HTTP/1.1\r\nA: b\rc|\r\n\r\n", HeadError::BareCarriageReturn),
            ("GET / HTTP/1.1\r\nA: b\r\r|\n\r\n", HeadError::BareCarriageReturn),
            ("GET /\rx| HTTP/1.1\r\n", HeadError::BareCarriageReturn),
            ("GET / HTTP/1.1\r\nA: b\r\n\rx|", HeadError::BareCarriageReturn),
            ("GET / HTTP/1.1\r\nA: b\0|c\r\n\r\n", HeadError::ControlCharacter),
            ("GET / HTTP/1.1\r\nA: b\x7f|c\r\n\r\n", HeadError::ControlCharacter),
            ("\x16|\x03\x01", HeadError::ControlCharacter),
            ("\r\n\r\n|GET / HTTP/1.1\r\n", HeadError::LeadingEmptyLines),
            ("GET / HTTP/1.1\r\n |A: b\r\n", HeadError::FoldedLine),
            ("GET / HTTP/1.1\r\nA: b\r\n\t|c\r\n", HeadError::FoldedLine),
            ("GET / HTTP/1.1\r\n:| b\r\n", HeadError::EmptyHeaderName),
            ("GET / HTTP/1.1\r\nA |: b\r\n", HeadError::SpaceBeforeColon),
            ("GET / HTTP/1.1\r\nA\t|: b\r\n", HeadError::SpaceBeforeColon),
            ("GET / HTTP/1.1\r\nA(|: b\r\n", HeadError::InvalidHeaderName),
            ("GET / HTTP/1.1\r\nA\r\n|", HeadError::MissingColon),
        ];
        for (text, error) in cases {
            let end = text.find('|').unwrap();
            assert_eq!(fault(&text.replace('|', "")), (error, end), "{text:?}");
        }
    }

    #[test]
    fn what_is_behind_the_head_is_left_alone() {
        assert_eq!(check(b"GET / HTTP/1.1\r\nA:\tb\r\n\r\n\n\0\r :", 1), Ok(()));
    }

    #[test]
    fn rfc_9112_section_2_2_one_empty_line_is_ignored() {
        assert_eq!(check(b"\r\nGET / HTTP/1.1\r\n", 1), Ok(()));
        assert_eq!(check(b"\r\nGET / HTTP/1.1\r\n", 0), Err(HeadError::LeadingEmptyLines));
        assert_eq!(check(b"\r", 0), Ok(()));
    }
}
