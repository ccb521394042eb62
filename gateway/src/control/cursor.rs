//! Where a list goes on: a shard, and a place that this shard understands. Opaque to whoever asks.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::Error;

/// Where a list goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListCursor {
    pub(super) shard: u16,
    pub(super) place: u32,
}

const BYTES: usize = 6;

impl ListCursor {
    /// Reads what an earlier answer said; the beginning without one.
    ///
    /// # Errors
    /// It is no cursor, or of a gateway with more than `shards` shards.
    pub(super) fn read(text: Option<&str>, shards: usize) -> Result<Self, Error> {
        let Some(text) = text else { return Ok(Self::default()) };
        let cursor = text.parse().ok().filter(|cursor: &Self| usize::from(cursor.shard) < shards);
        cursor.ok_or_else(|| {
            Error::invalid("`cursor` is not one that an earlier answer has said: leave it out")
        })
    }
}

impl std::fmt::Display for ListCursor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&self.shard.to_be_bytes());
        bytes[2..].copy_from_slice(&self.place.to_be_bytes());
        out.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ListCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; BYTES];
        if text.len() != 8 || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(BYTES) {
            return Err(());
        }
        let [a, b, place @ ..] = bytes;
        Ok(Self { shard: u16::from_be_bytes([a, b]), place: u32::from_be_bytes(place) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let cursor = ListCursor { shard: 3, place: 70_000 };
        assert_eq!(ListCursor::read(Some(&cursor.to_string()), 4), Ok(cursor));
        assert!(ListCursor::read(Some(&cursor.to_string()), 3).is_err());
        for text in ["", "x", "AAAAAAAAA", "AAAAAAA=", "ÄAAAAAA"] {
            assert!(ListCursor::read(Some(text), 4).is_err(), "{text}");
        }
    }
}
