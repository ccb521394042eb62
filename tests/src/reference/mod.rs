//! The naive way: what a stream means, worked out on whole streams by code that is obvious at
//! sight and shares nothing with the gateway's own; its inflater is the oracle of the protocol
//! crate's tests as well.
//!
//! The simulation holds the gateway to it, and so do the fuzz targets.

#[path = "../../../proto/src/websocket/deflate/reference.rs"]
mod inflate;
mod stream;

pub use stream::{Frame, Message, Read, Rules, Said, is_utf8, read, split_frame};

/// What the wire leaves out of a compressed message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The message that a compressed payload stands for (RFC 7692 section 7.2.2); `None` if it stands
/// for none.
#[must_use]
pub fn inflate(payload: &[u8]) -> Option<Vec<u8>> {
    inflate_within(payload, 1 << 15)
}

/// The same, of a payload whose matches reach at most `window` octets back.
#[must_use]
pub fn inflate_within(payload: &[u8], window: usize) -> Option<Vec<u8>> {
    let inflated = inflate::inflate_payload(payload, window).ok()?;
    assert!(inflated.farthest <= window, "a match reaches {} octets back", inflated.farthest);
    Some(inflated.message)
}
