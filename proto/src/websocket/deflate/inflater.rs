//! Payload → message (RFC 7692 section 7.2.2).

use core::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{TAIL, WINDOW_BITS_MAX};

/// A decompressor, lent to one message at a time.
///
/// For each message: [`begin`](Inflater::begin), then [`inflate`](Inflater::inflate) until it is
/// done, fails or the caller has seen enough. A message may be left half-way.
///
/// A connection whose peer keeps its window across messages needs an inflater of its own, and
/// starts each message with [`begin_keeping_window`](Inflater::begin_keeping_window).
///
/// The window is always 32,768 octets, which inflates what was deflated with any smaller one.
pub struct Inflater {
    codec: Inflate,
    stage: InflateStage,
}

/// How far the current message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InflateStage {
    /// The payload or its tail is being read.
    Payload,
    /// The message is complete, and the codec stands at the start of a block.
    Done,
    Failed(InflateError),
}

/// What one call of [`Inflater::inflate`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Octets taken from the start of the input.
    pub consumed: usize,
    /// Octets written to the start of the output.
    pub produced: usize,
    /// The message is complete.
    pub done: bool,
}

/// What one call of the codec did.
struct Step {
    consumed: usize,
    produced: usize,
    /// A block with the BFINAL bit was complete, and the codec began a new DEFLATE stream.
    restarted: bool,
}

impl Inflater {
    /// Heap octets of one inflater, at most: the window and the codec's tables, allocated at once.
    /// Measured with zlib-rs 0.6.8 on x86_64: 47,552.
    pub const HEAP_BYTES: usize = 48 * 1024;

    /// An inflater ready for its first message. Allocates; nothing after does.
    pub fn new() -> Self {
        Inflater { codec: Inflate::new(false, WINDOW_BITS_MAX), stage: InflateStage::Payload }
    }

    /// Starts a message and forgets everything before it: what a peer that agreed to
    /// no context takeover requires (RFC 7692 sections 7.1.1.1 and 7.1.1.2).
    pub fn begin(&mut self) {
        self.codec.reset(false);
        self.stage = InflateStage::Payload;
    }

    /// Starts a message that may refer to the ones before it (RFC 7692 section 7.2.3.2).
    ///
    /// If the previous message was left half-way or failed there is nothing to refer to, and this
    /// is the same as [`begin`](Self::begin).
    pub fn begin_keeping_window(&mut self) {
        match self.stage {
            InflateStage::Done => self.stage = InflateStage::Payload,
            InflateStage::Payload | InflateStage::Failed(_) => self.begin(),
        }
    }

    /// Inflates a stretch of the message's payload into `out`.
    ///
    /// `last` says that `input` reaches to the end of the payload. What was not consumed has to be
    /// lent again, with the same `last`. Unless the message is done, either all input was consumed
    /// or `out` was filled; with `last`, filled it was. Once done, further calls do nothing.
    ///
    /// The caller bounds a message by counting what was produced and stopping when it is too much:
    /// each octet of input can make up to 1,032 octets of output.
    ///
    /// # Errors
    ///
    /// [`InflateError::Corrupt`] and [`InflateError::Truncated`] are the peer's fault, and stay
    /// until the next message is begun. [`InflateError::NoRoom`] is the caller's: `out` was empty.
    pub fn inflate(
        &mut self,
        input: &[u8],
        last: bool,
        out: &mut [u8],
    ) -> Result<Progress, InflateError> {
        match self.stage {
            InflateStage::Done => return Ok(Progress { done: true, ..Progress::default() }),
            InflateStage::Failed(error) => return Err(error),
            InflateStage::Payload if out.is_empty() => return Err(InflateError::NoRoom),
            InflateStage::Payload => {}
        }
        let result = self.payload(input, last, out);
        match result {
            Ok(Progress { done: true, .. }) => self.stage = InflateStage::Done,
            Ok(_) => {}
            Err(error) => self.stage = InflateStage::Failed(error),
        }
        result
    }

    fn payload(
        &mut self,
        input: &[u8],
        last: bool,
        out: &mut [u8],
    ) -> Result<Progress, InflateError> {
        let mut progress = Progress::default();
        loop {
            let input = &input[progress.consumed..];
            let out = &mut out[progress.produced..];
            let step = self.step(input, out, InflateFlush::NoFlush)?;
            progress.consumed += step.consumed;
            progress.produced += step.produced;
            let room_left = step.produced < out.len();
            // Section 7.2.3.4: blocks may follow one with BFINAL set. A codec that has restarted
            // needs more input to restart again, so this ends.
            if room_left && (step.restarted || step.consumed + step.produced > 0) {
                continue;
            }
            // Neither input nor the codec has anything left that `out` has room for.
            if room_left && last {
                self.tail()?;
                progress.done = true;
            }
            return Ok(progress);
        }
    }

    /// RFC 7692 section 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the
    /// payload of the message."
    ///
    /// They complete a message if they are the lengths of an empty stored block: the octets are all
    /// read, no output is made, and the codec then stands at the start of a block. The last of
    /// these shows in that it stops there and leaves one more octet unread. In the middle of a
    /// stored block it would copy them out, and in the middle of any other it would read on.
    fn tail(&mut self) -> Result<(), InflateError> {
        const UNREAD: u8 = 0;
        let input = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], UNREAD];
        let step = self
            .step(&input, &mut [0], InflateFlush::Block)
            .map_err(|_corrupt| InflateError::Truncated)?;
        if step.consumed == TAIL.len() && step.produced == 0 {
            Ok(())
        } else {
            Err(InflateError::Truncated)
        }
    }

    fn step(
        &mut self,
        input: &[u8],
        out: &mut [u8],
        flush: InflateFlush,
    ) -> Result<Step, InflateError> {
        let (consumed_before, produced_before) = (self.codec.total_in(), self.codec.total_out());
        let status =
            self.codec.decompress(input, out, flush).map_err(|_codec| InflateError::Corrupt)?;
        let step = Step {
            consumed: count(self.codec.total_in() - consumed_before),
            produced: count(self.codec.total_out() - produced_before),
            restarted: status == Status::StreamEnd,
        };
        if step.restarted {
            // What follows is a DEFLATE stream of its own. Compressors begin it with an empty
            // window, and the codec cannot do otherwise.
            self.codec.reset(false);
        }
        Ok(step)
    }
}

/// The octets that one step counted: at most the length of a slice.
fn count(octets: u64) -> usize {
    usize::try_from(octets).expect("a step is within two slices")
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Inflater").field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// Why a payload could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// The payload is not DEFLATE data (RFC 1951), or refers to octets before its window. The
    /// peer's fault.
    Corrupt,
    /// The payload does not end where section 7.2.1 of RFC 7692 would end it. The peer's fault.
    Truncated,
    /// No output buffer was lent. The caller's fault.
    NoRoom,
}

impl fmt::Display for InflateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            InflateError::Corrupt => "the compressed message is not valid DEFLATE data",
            InflateError::Truncated => "the compressed message ends in the middle of a block",
            InflateError::NoRoom => "no room was lent to inflate into: lend at least one octet",
        })
    }
}

impl core::error::Error for InflateError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Deflater, reference};
    use super::*;

    /// Inflates the payload, lent in stretches, into an output of `room` octets at a time.
    fn inflate_rest(
        inflater: &mut Inflater,
        stretches: &[&[u8]],
        room: usize,
    ) -> Result<Vec<u8>, InflateError> {
        let mut message = Vec::new();
        let mut out = vec![0; room];
        for (index, stretch) in stretches.iter().enumerate() {
            let last = index + 1 == stretches.len();
            let mut input = *stretch;
            loop {
                let progress = inflater.inflate(input, last, &mut out)?;
                input = &input[progress.consumed..];
                message.extend_from_slice(&out[..progress.produced]);
                if progress.done {
                    assert!(last && input.is_empty());
                    return Ok(message);
                }
                if progress.produced < room {
                    assert!(!last && input.is_empty());
                    break;
                }
            }
        }
        unreachable!("the last stretch ends in done or an error")
    }

    fn inflate(payload: &[u8]) -> Result<Vec<u8>, InflateError> {
        inflate_rest(&mut Inflater::new(), &[payload], 64)
    }

    /// One payload inflated in every way it can be cut in two, into every small room.
    #[track_caller]
    fn check(payload: &[u8], message: &[u8]) {
        let mut inflater = Inflater::new();
        for cut in 0..=payload.len() {
            for room in 1..=message.len() + 2 {
                inflater.begin();
                let stretches = [&payload[..cut], &payload[cut..]];
                let inflated = inflate_rest(&mut inflater, &stretches, room);
                assert_eq!(inflated.as_deref(), Ok(message), "cut at {cut}, room for {room}");
            }
        }
    }

    #[test]
    fn section_7_2_3_1_one_compressed_block() {
        check(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello");
    }

    #[test]
    fn section_7_2_3_2_sharing_the_window() {
        let mut inflater = Inflater::new();
        let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
        for _ in 0..3 {
            inflater.begin_keeping_window();
            assert_eq!(inflate_rest(&mut inflater, &[&first], 9).as_deref(), Ok(&b"Hello"[..]));
            inflater.begin_keeping_window();
            assert_eq!(inflate_rest(&mut inflater, &[&second], 9).as_deref(), Ok(&b"Hello"[..]));
        }
        inflater.begin();
        assert_eq!(inflate_rest(&mut inflater, &[&second], 9), Err(InflateError::Corrupt));
    }

    #[test]
    fn section_7_2_3_3_a_block_without_compression() {
        check(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello");
    }

    #[test]
    fn section_7_2_3_4_a_block_with_bfinal_set() {
        check(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello");
    }

    #[test]
    fn section_7_2_3_4_more_blocks_after_one_with_bfinal_set() {
        let mut payload = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00].repeat(3);
        payload.push(0x00);
        check(&payload, b"HelloHelloHello");
    }

    #[test]
    fn section_7_2_3_5_two_blocks_in_one_message() {
        check(
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            b"Hello",
        );
    }

    #[test]
    fn section_7_2_3_6_an_empty_message() {
        check(&[0x00], b"");
    }

    #[test]
    fn the_empty_block_at_the_end_may_have_bfinal_set() {
        check(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x04], b"Hello");
        let mut inflater = Inflater::new();
        for _ in 0..3 {
            inflater.begin_keeping_window();
            assert_eq!(inflate_rest(&mut inflater, &[&[0x01]], 9), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_window_does_not_reach_behind_a_block_with_bfinal_set() {
        let mut payload = vec![0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        payload.extend([0xf2, 0x00, 0x11, 0x00, 0x00]);
        assert_eq!(inflate(&payload), Err(InflateError::Corrupt));
    }

    #[test]
    fn section_7_2_2_a_payload_that_stops_short_is_truncated() {
        let payload = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for len in 0..payload.len() {
            assert_eq!(inflate(&payload[..len]), Err(InflateError::Truncated), "{len} octets");
        }
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        // One octet of it is an empty message (section 7.2.3.6).
        for len in 2..stored.len() {
            assert_eq!(inflate(&stored[..len]), Err(InflateError::Truncated), "{len} octets");
        }
    }

    #[test]
    fn section_7_2_1_a_tail_that_was_left_in_place_is_an_error() {
        let payload = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff];
        assert_eq!(inflate(&payload), Err(InflateError::Truncated));
    }

    #[test]
    fn an_error_stays_until_the_next_message() {
        let mut inflater = Inflater::new();
        // BTYPE 11 is reserved (RFC 1951 section 3.2.3).
        assert_eq!(inflater.inflate(&[0x07], false, &mut [0]), Err(InflateError::Corrupt));
        assert_eq!(inflater.inflate(&[0x00], true, &mut [0]), Err(InflateError::Corrupt));
        inflater.begin_keeping_window();
        assert_eq!(inflate_rest(&mut inflater, &[&[0x00]], 1), Ok(Vec::new()));
    }

    #[test]
    fn a_message_left_half_way_does_not_leak_into_the_next() {
        let mut inflater = Inflater::new();
        let progress = inflater.inflate(&[0xf2, 0x48, 0xcd], false, &mut [0; 9]).unwrap();
        assert_eq!((progress.consumed, progress.done), (3, false));
        inflater.begin_keeping_window();
        let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
        assert_eq!(inflate_rest(&mut inflater, &[&second], 9), Err(InflateError::Corrupt));
    }

    #[test]
    fn no_progress_is_done_or_an_error() {
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&[0x00], true, &mut []), Err(InflateError::NoRoom));
        let done = Progress { consumed: 1, produced: 0, done: true };
        assert_eq!(inflater.inflate(&[0x00], true, &mut [0]), Ok(done));
        let again = Progress { consumed: 0, produced: 0, done: true };
        assert_eq!(inflater.inflate(&[0x00], true, &mut []), Ok(again));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        const PIECE: usize = 16 * 1024;
        const BOUND: usize = 1024 * 1024;
        let bomb = bomb(64 * 1024 * 1024);
        assert!(bomb.len() < BOUND, "it is a bomb: {} octets", bomb.len());

        let (mut inflater, mut out) = (Inflater::new(), vec![0; PIECE]);
        let (mut produced, mut consumed) = (0, 0);
        while produced <= BOUND {
            let progress = inflater.inflate(&bomb[consumed..], true, &mut out).unwrap();
            assert!(!progress.done);
            produced += progress.produced;
            consumed += progress.consumed;
        }
        assert!(produced <= BOUND + PIECE);
        inflater.begin();
        assert_eq!(inflate_rest(&mut inflater, &[&[0x00]], 1), Ok(Vec::new()));
    }

    /// That many zeros, compressed.
    fn bomb(len: usize) -> Vec<u8> {
        let mut deflater = Deflater::new(9, 15);
        let mut payload = vec![0; Deflater::bound(len)];
        let produced = deflater.compress(&vec![0; len], true, &mut payload).unwrap();
        payload.truncate(produced);
        payload
    }

    #[test]
    fn restarts_without_end_are_read_in_one_pass() {
        // The smallest block with BFINAL set: two octets that stand for nothing.
        let mut payload = [0x03, 0x00].repeat(100_000);
        payload.push(0x00);
        assert_eq!(inflate(&payload), Ok(Vec::new()));
    }

    /// Messages of a peer that keeps its window, made with the codec itself.
    fn deflate_keeping_window(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut codec = zlib_rs::Deflate::new(6, false, 15);
        let mut payloads = Vec::new();
        for message in messages {
            let mut payload = vec![0; Deflater::bound(message.len())];
            let before = codec.total_out();
            codec.compress(message, &mut payload, zlib_rs::DeflateFlush::SyncFlush).unwrap();
            payload.truncate(count(codec.total_out() - before));
            // Two flushes in a row make one empty block.
            let stripped = payload.strip_suffix(&TAIL).unwrap_or(&[0x00]);
            payloads.push(stripped.to_vec());
        }
        payloads
    }

    fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(b'a'..b'd', 0..2000), 1..8)
    }

    /// Octets that look like DEFLATE data for a while: real payloads with a few octets changed.
    fn nearly_deflate() -> impl Strategy<Value = Vec<u8>> {
        let message = prop::collection::vec(b'a'..b'f', 0..600);
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
        (message, changes, 1..=9_u8).prop_map(|(message, changes, level)| {
            let mut payload = vec![0; Deflater::bound(message.len())];
            let len = Deflater::new(level, 15).compress(&message, true, &mut payload).unwrap();
            payload.truncate(len);
            for (index, octet) in changes {
                payload[index.index(len)] = octet;
            }
            payload
        })
    }

    /// Whatever the payload: the naive decoder reads the same, and errors are seen by both.
    fn check_against_reference(payload: &[u8], cut: prop::sample::Index, room: usize) {
        let (head, rest) = payload.split_at(cut.index(payload.len() + 1));
        let inflated = inflate_rest(&mut Inflater::new(), &[head, rest], room);
        let expected = reference::inflate_payload(payload, 1 << WINDOW_BITS_MAX);
        assert_eq!(inflated.ok(), expected.ok().map(|inflated| inflated.message));
    }

    proptest! {
        #[test]
        fn a_kept_window_serves_every_message(messages in messages(), room in 1..3000_usize) {
            let mut inflater = Inflater::new();
            for (message, payload) in messages.iter().zip(deflate_keeping_window(&messages)) {
                inflater.begin_keeping_window();
                let inflated = inflate_rest(&mut inflater, &[&payload], room);
                prop_assert_eq!(inflated.as_ref(), Ok(message));
            }
        }

        #[test]
        fn garbage_is_inflated_as_the_reference_does(
            payload in prop::collection::vec(any::<u8>(), 0..300),
            cut in any::<prop::sample::Index>(),
            room in 1..100_usize,
        ) {
            check_against_reference(&payload, cut, room);
        }

        #[test]
        fn damaged_payloads_are_inflated_as_the_reference_does(
            payload in nearly_deflate(),
            cut in any::<prop::sample::Index>(),
            room in 1..300_usize,
        ) {
            check_against_reference(&payload, cut, room);
        }
    }
}
