//! What may be wrong with a head.

use core::{error, fmt};

use super::MAX_HEADERS;

/// Why a head was refused. Each is the peer's fault, or that of a proxy in between.
///
/// On a request, [`status`](HeadError::status) is what goes on the wire. The connection must be
/// closed behind it: where the next message would begin is not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A line ends in LF without CR.
    BareLineFeed,
    /// A CR is not followed by LF.
    BareCarriageReturn,
    /// NUL or another control character, HTAB excepted.
    ControlCharacter,
    /// More empty lines before the start line than are ignored.
    LeadingEmptyLines,
    /// The request line or the status line does not follow its grammar.
    StartLine,
    /// The version is neither HTTP/1.1 nor HTTP/1.0.
    UnsupportedVersion,
    /// A header line begins with whitespace: obsolete line folding.
    FoldedLine,
    /// A header line begins with its colon.
    EmptyHeaderName,
    /// There is whitespace between a header's name and its colon.
    SpaceBeforeColon,
    /// A header's name holds a character that no token may have.
    InvalidHeaderName,
    /// A header line has no colon.
    MissingColon,
    /// There are more than [`MAX_HEADERS`] header lines.
    TooManyHeaders,
    /// The request line does not fit the caller's limit.
    TargetTooLong,
    /// The head does not fit the caller's limit.
    TooLarge,
    /// The request target is neither a path nor an absolute `http` or `https` URI.
    TargetForm,
    /// The request target has a fragment (`#`).
    TargetFragment,
    /// The request target holds a character outside of ASCII.
    TargetCharacter,
    /// An HTTP/1.1 request without a Host header.
    MissingHost,
    /// More than one Host header.
    DuplicateHost,
    /// The host is not a name or an address with an optional port.
    InvalidHost,
    /// More than one Content-Length header.
    DuplicateContentLength,
    /// Content-Length is not a number.
    InvalidContentLength,
    /// Both Content-Length and Transfer-Encoding.
    ContentLengthAndTransferEncoding,
    /// A request with Transfer-Encoding where none may be, or in HTTP/1.0.
    TransferEncoding,
    /// The last transfer coding is not `chunked`, or an earlier one is.
    NotChunkedAtLast,
    /// A transfer coding other than `chunked`.
    UnknownTransferCoding,
    /// A request that announces a body.
    Body,
}

impl HeadError {
    /// The HTTP status that answers a request with this fault.
    pub fn status(self) -> u16 {
        match self {
            // RFC 9110 section 15.5.14: "refusing to process a request because the request content
            // is larger than the server is willing or able to process". We take none at all.
            HeadError::Body => 413,
            // RFC 9112 section 3: "a request-target longer than any URI it wishes to parse MUST
            // respond with a 414 (URI Too Long) status code".
            HeadError::TargetTooLong => 414,
            // RFC 6585 section 5: "can be used both when the set of request header fields in total
            // is too large, and when a single header field is at fault".
            HeadError::TooLarge | HeadError::TooManyHeaders => 431,
            // RFC 9110 section 15.6.6: "does not support [...] the major version of HTTP that was
            // used in the request message".
            HeadError::UnsupportedVersion => 505,
            // RFC 9112 section 6.1: "a transfer coding it does not understand SHOULD respond with
            // 501".
            HeadError::UnknownTransferCoding => 501,
            _ => 400,
        }
    }

    /// Tells another version of HTTP from what is none. `text` begins where the version should.
    pub(super) fn of_version(text: &[u8]) -> HeadError {
        match text.strip_prefix(b"HTTP/") {
            Some([b'0'..=b'9', ..]) => HeadError::UnsupportedVersion,
            _ => HeadError::StartLine,
        }
    }

    /// What was wrong, as a sentence without its full stop.
    pub fn reason(self) -> &'static str {
        match self {
            HeadError::BareLineFeed => "a line ends in LF alone; lines end in CR LF",
            HeadError::BareCarriageReturn => "a CR is not followed by LF",
            HeadError::ControlCharacter => "the head holds a control character",
            HeadError::LeadingEmptyLines => "more than one empty line before the start line",
            HeadError::StartLine => "the start line is malformed",
            HeadError::UnsupportedVersion => "this HTTP version is not spoken here; use HTTP/1.1",
            HeadError::FoldedLine => "a header line begins with whitespace (obsolete line folding)",
            HeadError::EmptyHeaderName => "a header line has no name before its colon",
            HeadError::SpaceBeforeColon => "a header name is followed by whitespace",
            HeadError::InvalidHeaderName => "a header name holds a character that is not allowed",
            HeadError::MissingColon => "a header line has no colon",
            HeadError::TooManyHeaders => "there are more than 64 header lines",
            HeadError::TargetTooLong => "the request line is too long",
            HeadError::TooLarge => "the head is too large",
            HeadError::TargetForm => {
                "the request target is neither a path nor an absolute http or https URI"
            }
            HeadError::TargetFragment => "the request target has a fragment (#)",
            HeadError::TargetCharacter => {
                "the request target holds a character outside of ASCII; percent-encode it"
            }
            HeadError::MissingHost => "the Host header is missing",
            HeadError::DuplicateHost => "there is more than one Host header",
            HeadError::InvalidHost => "the host is not a name or an address with an optional port",
            HeadError::DuplicateContentLength => "there is more than one Content-Length header",
            HeadError::InvalidContentLength => "Content-Length is not a number",
            HeadError::ContentLengthAndTransferEncoding => {
                "there are both Content-Length and Transfer-Encoding"
            }
            HeadError::TransferEncoding => "Transfer-Encoding is not accepted here",
            HeadError::NotChunkedAtLast => "Transfer-Encoding does not end in its only `chunked`",
            HeadError::UnknownTransferCoding => "no transfer coding but `chunked` is known here",
            HeadError::Body => "a request with a body is not accepted here",
        }
    }
}

// The reason names the number.
const _: () = assert!(MAX_HEADERS == 64);

impl fmt::Display for HeadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

impl error::Error for HeadError {}

impl From<httparse::Error> for HeadError {
    /// What is left of `httparse`'s errors once `lines` has passed the same bytes.
    fn from(error: httparse::Error) -> HeadError {
        match error {
            httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
            httparse::Error::HeaderName => HeadError::InvalidHeaderName,
            httparse::Error::HeaderValue => HeadError::ControlCharacter,
            // A request line that goes on behind its version is a `NewLine`.
            httparse::Error::Token
            | httparse::Error::Status
            | httparse::Error::NewLine
            | httparse::Error::Version => HeadError::StartLine,
        }
    }
}
