//! permessage-deflate (RFC 7692).
//!
//! | | |
//! |---|---|
//! | [`Policy`], [`negotiate`] | the server's half of the negotiation (section 7.1) |
//! | [`Offer`] | the client's half |
//! | [`Params`] | what both agreed on |
//! | [`Inflater`] | payload → message (section 7.2.2) |
//! | [`Deflater`], [`Deflaters`] | message → payload (section 7.2.1) |
//!
//! A compressor holds hundreds of kilobytes and a decompressor tens of them whatever the window, so
//! neither belongs to a connection. By default the server promises to forget its window after each
//! message and makes the client promise the same; then one pair serves all connections of a shard
//! in turn, and a message for many is compressed once.

mod deflater;
mod inflater;
mod negotiate;
mod offer;
mod params;
#[cfg(test)]
mod reference;

pub use deflater::{Deflater, Deflaters, NoRoom};
pub use inflater::{InflateError, Inflater, Progress};
pub use negotiate::{Policy, negotiate};
pub use offer::{ClientWindow, NegotiationError, Offer};
pub use params::Params;

/// The extension's registered name (RFC 7692 section 7).
pub const EXTENSION_NAME: &str = "permessage-deflate";

/// Base-2 logarithm of the smallest window that can be negotiated: 256 octets (section 7.1.2).
pub const WINDOW_BITS_MIN: u8 = 8;

/// Base-2 logarithm of the largest window: 32,768 octets. Also what an absent parameter means
/// (section 7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;

/// The end of an empty block without compression, which the wire leaves out (sections 7.2.1 and
/// 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
