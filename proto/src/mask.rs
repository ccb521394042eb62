//! Masking (RFC 6455 section 5.3), in place, with the key's phase carried from piece to piece.

/// A masking key, turned so that its first byte belongs to the next byte of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mask([u8; 4]);

impl Mask {
    /// The key as it stands in the frame header.
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Masks or unmasks `piece`, and turns the key so that the next call goes on where this one
    /// ended.
    ///
    /// RFC 6455 section 5.3: "Octet i of the transformed data is the XOR of octet i of the
    /// original data with octet at index i modulo 4 of the masking key".
    pub fn apply(&mut self, piece: &mut [u8]) {
        let wide = u128::from_ne_bytes(core::array::from_fn(|at| self.0[at % 4]));
        let (blocks, rest) = piece.as_chunks_mut::<16>();
        for block in blocks {
            *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
        }
        // 16 is a multiple of 4: the rest starts at the key's first byte again.
        let (words, tail) = rest.as_chunks_mut::<4>();
        let narrow = u32::from_ne_bytes(self.0);
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ narrow).to_ne_bytes();
        }
        for (byte, key) in tail.iter_mut().zip(self.0) {
            *byte ^= key;
        }
        self.0.rotate_left(tail.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sentence of the RFC, byte by byte.
    fn naive(key: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    /// RFC 6455 section 5.7, "a single-frame masked text message".
    #[test]
    fn hello() {
        let mut bytes = *b"\x7f\x9f\x4d\x51\x58";
        Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut bytes);
        assert_eq!(&bytes, b"Hello");
    }

    #[test]
    fn every_split_in_two_equals_the_whole() {
        let key = [1, 2, 3, 4];
        let bytes: Vec<u8> = (0..70).collect();
        for split in 0..=bytes.len() {
            let mut masked = bytes.clone();
            let mut mask = Mask::new(key);
            let (left, right) = masked.split_at_mut(split);
            mask.apply(left);
            mask.apply(right);
            assert_eq!(masked, naive(key, &bytes), "split at {split}");
        }
    }

    proptest! {
        #[test]
        fn pieces_equal_the_naive_twin(
            key: [u8; 4],
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8),
        ) {
            let whole = pieces.concat();
            let mut mask = Mask::new(key);
            let mut masked = Vec::new();
            for mut piece in pieces {
                mask.apply(&mut piece);
                masked.extend(piece);
            }
            prop_assert_eq!(masked, naive(key, &whole));
        }
    }
}
