//! Connection ids: node, start, shard, slot and generation, so that a push takes one hop and no
//! look-up table.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::kernel::{GENERATION_MASK, Generation, Slot};

/// Which gateway: the configured number of the node, and a number drawn at its start, so that an id
/// of an earlier start is not taken for one of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The configured number.
    pub number: u16,
    /// Drawn at the start.
    pub start: u32,
}

/// Names one connection for good, by where it was born: no other connection, of any shard, node or
/// start, has the same id before a slot has been given away 2^28 times. Mail between shards goes by
/// where a connection lives.
///
/// Printed, it has 19 letters, digits, `-` and `_`, which need no escaping in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The gateway.
    pub node: Node,
    /// The shard, below 1024.
    pub shard: u16,
    /// The slot, below 2^24.
    pub slot: Slot,
    /// Which connection of the slot.
    pub generation: Generation,
}

/// The text is no connection id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoConnectionId;

/// Bits of each field, from the lowest up.
const GENERATION_BITS: u32 = 28;
const SLOT_BITS: u32 = 24;
const SHARD_BITS: u32 = 10;
const START_BITS: u32 = 32;
const NODE_BITS: u32 = 16;

/// Bytes of the whole.
const BYTES: usize = 14;

const _: () = assert!(
    GENERATION_MASK == (1 << GENERATION_BITS) - 1
        && GENERATION_BITS + SLOT_BITS + SHARD_BITS + START_BITS + NODE_BITS <= BYTES as u32 * 8
);

impl ConnectionId {
    fn pack(self) -> u128 {
        let fields = [
            (u128::from(self.node.number), NODE_BITS),
            (u128::from(self.node.start), START_BITS),
            (u128::from(self.shard), SHARD_BITS),
            (u128::from(self.slot), SLOT_BITS),
            (u128::from(self.generation), GENERATION_BITS),
        ];
        fields.into_iter().fold(0, |packed, (value, bits)| {
            debug_assert!(value < 1 << bits, "{value} has more than {bits} bits");
            packed << bits | value
        })
    }

    fn unpack(mut packed: u128) -> Self {
        let mut take = |bits: u32| {
            let value = packed & ((1 << bits) - 1);
            packed >>= bits;
            value
        };
        let generation = take(GENERATION_BITS) as u32;
        let slot = take(SLOT_BITS) as u32;
        let shard = take(SHARD_BITS) as u16;
        let start = take(START_BITS) as u32;
        let number = take(NODE_BITS) as u16;
        Self { node: Node { number, start }, shard, slot, generation }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.pack().to_be_bytes();
        out.write_str(&URL_SAFE_NO_PAD.encode(&bytes[16 - BYTES..]))
    }
}

impl FromStr for ConnectionId {
    type Err = NoConnectionId;

    fn from_str(text: &str) -> Result<Self, NoConnectionId> {
        let mut bytes = [0; 16];
        // A canonical text of another length would decode to fewer or more bytes.
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes[16 - BYTES..]);
        if decoded != Ok(BYTES) {
            return Err(NoConnectionId);
        }
        let id = Self::unpack(u128::from_be_bytes(bytes));
        if id.pack() == u128::from_be_bytes(bytes) { Ok(id) } else { Err(NoConnectionId) }
    }
}

impl fmt::Display for NoConnectionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("this is no connection id: one has 19 letters, digits, - and _")
    }
}

impl std::error::Error for NoConnectionId {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_is_read(
            (number, start) in any::<(u16, u32)>(),
            shard in 0u16..1024,
            slot in 0u32..1 << 24,
            generation in 0..=GENERATION_MASK,
        ) {
            let id = ConnectionId { node: Node { number, start }, shard, slot, generation };
            let text = id.to_string();
            prop_assert_eq!(text.len(), 19);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            prop_assert_eq!(text.parse(), Ok(id));
        }

        #[test]
        fn any_text_is_an_id_or_is_not(text in ".{0,30}") {
            if let Ok(id) = text.parse::<ConnectionId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_no_id_says_so() {
        for text in ["", "x", "aaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaa="] {
            assert_eq!(text.parse::<ConnectionId>(), Err(NoConnectionId), "{text}");
        }
        // The last letter carries bits that no id has.
        assert_eq!("____________________".parse::<ConnectionId>(), Err(NoConnectionId));
    }
}
