//! The head of an HTTP/1.1 message (RFC 9112): parsed from bytes, written to bytes.
//!
//! [`parse_request`] and [`parse_response`] take what has arrived so far. They are called again
//! from the start when more has come: a head is bounded, and nearly always comes in one read, so
//! a parser that keeps state between reads would cost each waiting connection memory and gain
//! nothing.
//!
//! An edge is where request smuggling begins: two parsers that disagree about where a message
//! ends. So whatever RFC 9112 lets a recipient repair is refused here instead. Two passes run over
//! a head: `lines` checks each line's ends and each header's name, then `httparse`, which is more
//! forgiving, takes the head apart.

mod error;
mod forwarded;
mod headers;
mod lines;
mod origin;
mod request;
mod response;
mod target;
mod write;

pub use error::HeadError;
pub use forwarded::ForwardingHeader;
pub use headers::{Duplicate, Headers, list_elements};
pub use origin::{OriginHeader, WebOrigin, default_port};
pub use request::{BodyLength, RequestHead, parse_request, parse_request_with_body};
pub use response::{ResponseHead, parse_response};
pub use write::{HeadWriteError, Writer};

/// The most header lines that a head may have.
///
/// They are kept in an array on the stack, 32 bytes each.
pub const MAX_HEADERS: usize = 64;

/// Whether enough bytes have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<T> {
    /// What came so far is a beginning without fault. Call again when more has come.
    Partial,
    /// The head is complete.
    Complete(T),
}

/// The version of a message that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: it may be answered, but it can not be upgraded.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// From the minor version that `httparse` yields; it refuses every other version.
    fn from_minor(minor: Option<u8>) -> Version {
        if minor == Some(1) { Version::Http11 } else { Version::Http10 }
    }
}
