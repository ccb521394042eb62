//! Message → payload (RFC 7692 section 7.2.1).

use core::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use super::{TAIL, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// A compressor, lent to one piece of a message at a time.
///
/// Each piece is compressed on its own, with an empty window, and ended by a flush to an octet
/// boundary. So the payloads of a message's pieces, joined, are one legal payload, although nothing
/// was kept between them: pieces of different messages may take turns, and no connection holds
/// compressor state. The price is that a piece cannot refer to the one before it, and that each
/// piece but the last spends four octets on its end: cut messages into pieces of kilobytes.
///
/// A compressor may always forget its window, so this serves peers with whom context takeover was
/// agreed as well.
pub struct Deflater {
    codec: Deflate,
}

/// The output buffer is too small. What was written to it is of no use; a buffer of
/// [`Deflater::bound`] octets is always large enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Deflater {
    /// A compressor whose matches reach back at most `2^window_bits` octets.
    ///
    /// `level` is zlib's, 1 (fastest) to 9 (smallest). With 8 window bits it has no effect.
    /// Allocates [`Self::heap_bytes`]; nothing after does.
    ///
    /// # Panics
    ///
    /// If `level` is not in 1 to 9, or `window_bits` not in 8 to 15.
    pub fn new(level: u8, window_bits: u8) -> Self {
        assert!((1..=9).contains(&level), "compression level {level} is not in 1 to 9");
        assert_window_bits(window_bits);
        let config = DeflateConfig {
            // Negative is zlib's way to ask for raw DEFLATE data, without its own header.
            window_bits: -i32::from(window_bits.max(SEARCHABLE_WINDOW_BITS_MIN)),
            strategy: strategy(window_bits),
            ..DeflateConfig::new(i32::from(level))
        };
        Deflater { codec: Deflate::new_with_config(config) }
    }

    /// Heap octets of a compressor for this window, at most. They do not depend on the level.
    /// Measured with zlib-rs 0.6.8 on x86_64: 251,008 for 8 and 9 bits, 380,032 for 15.
    ///
    /// # Panics
    ///
    /// If `window_bits` is not in 8 to 15.
    pub const fn heap_bytes(window_bits: u8) -> usize {
        assert_window_bits(window_bits);
        let bits =
            if window_bits == WINDOW_BITS_MIN { SEARCHABLE_WINDOW_BITS_MIN } else { window_bits };
        // Twice the window, and a two-octet link for each octet of it.
        HEAP_BYTES_BESIDES_WINDOW + (4 << bits)
    }

    /// The output size that suffices for a piece of `len` octets, whatever is in it.
    ///
    /// The costliest way the codec writes an octet is a literal of the fixed code: at most 9 bits.
    /// Matches take fewer for what they stand for, and the header and end of a block, 10 bits, are
    /// spent once in thousands of octets. The rest is for the flush, and for one octet that stays
    /// free to show that the flush was complete.
    pub const fn bound(len: usize) -> usize {
        len.saturating_add(len / 8).saturating_add(len / 64).saturating_add(16)
    }

    /// Compresses one piece of a message into the start of `out` and returns the octets written.
    ///
    /// `last` says that the piece is the message's last, whose payload then ends as section 7.2.1
    /// of RFC 7692 wants. An empty piece that is not the last writes nothing.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] if `out` is too small. The piece can be compressed again into a larger one.
    pub fn compress(&mut self, piece: &[u8], last: bool, out: &mut [u8]) -> Result<usize, NoRoom> {
        if piece.is_empty() {
            return if last { empty_block(out) } else { Ok(0) };
        }
        let produced = self.flush(piece, out)?;
        // Section 7.2.1: "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end."
        debug_assert!(out[..produced].ends_with(&TAIL), "a flush ends with an empty block");
        Ok(if last { produced - TAIL.len() } else { produced })
    }

    /// Section 7.2.1: "Compress all the octets of the payload of the message using DEFLATE" and
    /// end with "an empty DEFLATE block with no compression".
    fn flush(&mut self, piece: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
        self.codec.reset();
        let (mut consumed, mut produced) = (0, 0);
        // More than one round only for what the codec cannot count: 4 GiB.
        while consumed < piece.len() {
            self.codec
                .compress(&piece[consumed..], &mut out[produced..], DeflateFlush::SyncFlush)
                .expect("a stream that was reset takes any input");
            consumed = count(self.codec.total_in());
            produced = count(self.codec.total_out());
            // A flush that fills its buffer may not be complete, and the codec does not tell.
            if produced == out.len() {
                return Err(NoRoom);
            }
        }
        Ok(produced)
    }
}

/// An empty message, or the end of one whose last piece is empty. Section 7.2.3.6: "The single
/// octet 0x00 contains the header bits" of an empty block without compression.
fn empty_block(out: &mut [u8]) -> Result<usize, NoRoom> {
    *out.first_mut().ok_or(NoRoom)? = 0x00;
    Ok(1)
}

/// The codec's search looks 262 octets ahead in its window, so it cannot run in one of 256.
const SEARCHABLE_WINDOW_BITS_MIN: u8 = 9;

/// How to honour a window (section 7.1.2.1).
///
/// For a window of 256 octets there is a method that needs none: matches whose distance is one, so
/// that only runs of an octet are shortened, and Huffman codes for the rest. Its output never
/// reaches further back than one octet, however large the codec's own window is.
fn strategy(window_bits: u8) -> zlib_rs::Strategy {
    if window_bits < SEARCHABLE_WINDOW_BITS_MIN {
        zlib_rs::Strategy::Rle
    } else {
        zlib_rs::Strategy::Default
    }
}

/// What a compressor allocates whatever its window: a hash table of 128 KiB, 64 KiB of pending
/// output, 48 KiB of symbols and its state. Measured: 248,960.
const HEAP_BYTES_BESIDES_WINDOW: usize = 244 * 1024;

const fn assert_window_bits(window_bits: u8) {
    assert!(
        window_bits >= WINDOW_BITS_MIN && window_bits <= WINDOW_BITS_MAX,
        "window bits are not in 8 to 15"
    );
}

/// The octets that the codec counted for one piece: at most the length of a slice.
fn count(octets: u64) -> usize {
    usize::try_from(octets).expect("a piece and its output are slices")
}

impl fmt::Debug for Deflater {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("no room for a compressed piece: lend `Deflater::bound` octets")
    }
}

impl core::error::Error for NoRoom {}

const WINDOWS: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN + 1) as usize;

/// The compressors of one shard, one for each window that its connections have agreed on.
///
/// Each is made when it is first asked for, then kept.
#[derive(Debug)]
pub struct Deflaters {
    level: u8,
    /// By window bits, from 8 up.
    by_window: [Option<Deflater>; WINDOWS],
}

impl Deflaters {
    /// Heap octets once every window has been asked for.
    pub const HEAP_BYTES_MAX: usize = heap_bytes_of_all();

    /// No compressors yet; all will have this level.
    ///
    /// # Panics
    ///
    /// If `level` is not in 1 to 9.
    pub fn new(level: u8) -> Self {
        assert!((1..=9).contains(&level), "compression level {level} is not in 1 to 9");
        Deflaters { level, by_window: [const { None }; WINDOWS] }
    }

    /// The compressor for the window that a connection has agreed on:
    /// [`Params::server_max_window_bits`](super::Params::server_max_window_bits) on a server.
    ///
    /// # Panics
    ///
    /// If `window_bits` is not in 8 to 15.
    pub fn for_window(&mut self, window_bits: u8) -> &mut Deflater {
        assert_window_bits(window_bits);
        let slot = &mut self.by_window[usize::from(window_bits - WINDOW_BITS_MIN)];
        slot.get_or_insert_with(|| Deflater::new(self.level, window_bits))
    }

    /// Heap octets of the compressors made so far.
    pub fn heap_bytes(&self) -> usize {
        let made = (WINDOW_BITS_MIN..).zip(&self.by_window).filter(|(_, made)| made.is_some());
        made.map(|(window_bits, _)| Deflater::heap_bytes(window_bits)).sum()
    }
}

const fn heap_bytes_of_all() -> usize {
    let mut sum = 0;
    let mut window_bits = WINDOW_BITS_MIN;
    while window_bits <= WINDOW_BITS_MAX {
        sum += Deflater::heap_bytes(window_bits);
        window_bits += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Inflater, Progress, reference};
    use super::*;

    fn compress(deflater: &mut Deflater, piece: &[u8], last: bool) -> Vec<u8> {
        let mut out = vec![0xaa; Deflater::bound(piece.len())];
        let len = deflater.compress(piece, last, &mut out).expect("the bound suffices");
        out.truncate(len);
        out
    }

    fn inflate(payload: &[u8], len: usize) -> Vec<u8> {
        let mut out = vec![0; len + 1];
        let progress = Inflater::new().inflate(payload, true, &mut out).expect("valid");
        assert_eq!(progress, Progress { consumed: payload.len(), produced: len, done: true });
        out.truncate(len);
        out
    }

    #[test]
    fn section_7_2_3_1_hello() {
        let payload = compress(&mut Deflater::new(1, 15), b"Hello", true);
        assert_eq!(payload, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    }

    #[test]
    fn section_7_2_3_2_the_window_is_not_shared() {
        let mut deflater = Deflater::new(1, 15);
        let first = compress(&mut deflater, b"Hello", true);
        assert_eq!(compress(&mut deflater, b"Hello", true), first);
    }

    #[test]
    fn section_7_2_3_5_two_blocks_in_one_message() {
        let mut deflater = Deflater::new(1, 15);
        let mut payload = compress(&mut deflater, b"He", false);
        payload.extend(compress(&mut deflater, b"llo", true));
        assert_eq!(
            payload,
            [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]
        );
    }

    #[test]
    fn section_7_2_3_6_an_empty_message() {
        let mut deflater = Deflater::new(1, 15);
        assert_eq!(compress(&mut deflater, b"", true), [0x00]);
        assert_eq!(compress(&mut deflater, b"", false), []);
        assert_eq!(deflater.compress(b"", true, &mut []), Err(NoRoom));
    }

    #[test]
    fn a_run_is_short_even_without_a_window() {
        let payload = compress(&mut Deflater::new(1, 8), &[b'a'; 10_000], true);
        assert!(payload.len() < 100, "{} octets", payload.len());
    }

    #[test]
    fn too_little_room_is_an_error_and_leaves_no_trace() {
        let mut deflater = Deflater::new(6, 15);
        let expected = compress(&mut deflater, b"Hello, Hello, Hello", true);
        let mut out = [0; 64];
        let needed = expected.len() + TAIL.len();
        for room in 0..=needed {
            let result = deflater.compress(b"Hello, Hello, Hello", true, &mut out[..room]);
            assert_eq!(result, Err(NoRoom), "room for {room}");
        }
        let result = deflater.compress(b"Hello, Hello, Hello", true, &mut out[..=needed]);
        assert_eq!(result, Ok(expected.len()));
        assert_eq!(&out[..expected.len()], expected);
    }

    #[test]
    fn compressors_are_made_when_asked_for() {
        let mut deflaters = Deflaters::new(1);
        assert_eq!(deflaters.heap_bytes(), 0);
        for _ in 0..2 {
            let payload = compress(deflaters.for_window(9), b"Hello", true);
            assert_eq!(inflate(&payload, 5), b"Hello");
            assert_eq!(deflaters.heap_bytes(), Deflater::heap_bytes(9));
        }
        for window_bits in 8..=15 {
            deflaters.for_window(window_bits);
        }
        assert_eq!(deflaters.heap_bytes(), Deflaters::HEAP_BYTES_MAX);
    }

    #[test]
    #[should_panic(expected = "window bits are not in 8 to 15")]
    fn a_window_that_cannot_be_negotiated_is_refused() {
        Deflaters::new(1).for_window(7);
    }

    /// A message with text, runs and noise, in pieces.
    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let text = prop::collection::vec("[a-e ]{0,40}", 0..60).prop_map(|words| {
            let words: Vec<String> = words;
            words.concat().into_bytes()
        });
        let runs = prop::collection::vec((any::<u8>(), 1..600_usize), 0..10)
            .prop_map(|runs| runs.iter().flat_map(|&(octet, len)| vec![octet; len]).collect());
        let noise = prop::collection::vec(any::<u8>(), 0..3000);
        prop::collection::vec(prop_oneof![text, runs, noise, Just(Vec::new())], 0..6)
    }

    fn compress_all(deflater: &mut Deflater, pieces: &[Vec<u8>]) -> Vec<u8> {
        let Some((last, others)) = pieces.split_last() else {
            return compress(deflater, b"", true);
        };
        let mut payload: Vec<u8> =
            others.iter().flat_map(|piece| compress(deflater, piece, false)).collect();
        payload.extend(compress(deflater, last, true));
        payload
    }

    proptest! {
        #[test]
        fn pieces_inflate_to_the_message(
            pieces in pieces(),
            level in 1..=9_u8,
            window_bits in 8..=15_u8,
        ) {
            let message = pieces.concat();
            let payload = compress_all(&mut Deflater::new(level, window_bits), &pieces);
            prop_assert_eq!(inflate(&payload, message.len()), message);
        }

        #[test]
        fn matches_stay_in_the_window(
            period in 1..40_000_usize,
            seed in any::<u64>(),
            level in 1..=9_u8,
            window_bits in 8..=15_u8,
        ) {
            // The same noise over and over: what repeats is exactly one period back.
            let unit: Vec<u8> = noise(seed).take(period).collect();
            let message: Vec<u8> = unit.iter().copied().cycle().take(period + 10_000).collect();
            let payload = compress(&mut Deflater::new(level, window_bits), &message, true);
            let inflated = reference::inflate_payload(&payload, 1 << window_bits).unwrap();
            prop_assert!(inflated.message == message);
            prop_assert!(window_bits > 8 || inflated.farthest <= 1);
        }

        #[test]
        fn the_bound_suffices(
            len in 0..200_000_usize,
            seed in any::<u64>(),
            level in 1..=9_u8,
            window_bits in 8..=15_u8,
        ) {
            // Octets of 144 and up are those whose literal takes 9 bits.
            let noise: Vec<u8> = noise(seed).take(len).map(|octet| octet | 0x90).collect();
            let payload = compress(&mut Deflater::new(level, window_bits), &noise, true);
            prop_assert!(inflate(&payload, len) == noise);
        }
    }

    /// Octets without a pattern: Knuth's linear congruential generator for 64 bits.
    fn noise(mut state: u64) -> impl Iterator<Item = u8> {
        core::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
    }
}
