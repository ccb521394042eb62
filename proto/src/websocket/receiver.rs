//! What is made of the bytes that one end sends: frames, messages and control frames, as pieces of
//! the very bytes that were lent. They are for us ([`Receiver::handle_input`]), or for another end
//! to which they are passed on as they are ([`Receiver::pass_input`]).

use core::ops::Range;

use crate::mask::Mask;
use crate::message::{Kind, Part};
use crate::utf8::Utf8;
use crate::websocket::error::ProtocolError;
use crate::websocket::frame::{Header, MAX_HEADER, OpCode, Parsed, Reserved, Role, is_compressed};

/// What a receiver holds its peer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which end we are.
    pub role: Role,
    /// What the reserved bits may be.
    pub reserved: Reserved,
    /// The longest message, in bytes as they travel.
    pub max_message: u32,
}

/// Part of a message. Text that is not compressed has been checked up to the end of the piece; a
/// piece may end within a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagePiece {
    /// Where in the input it starts; unmasked in place.
    pub start: usize,
    /// Where in the input it ends.
    pub end: usize,
    /// Text or binary.
    pub kind: Kind,
    /// Which part of the message.
    pub part: Part,
    /// The message is compressed (RFC 7692): the pieces together are its deflate stream.
    pub compressed: bool,
    /// Bytes of this frame that have yet to come.
    pub frame_remaining: u64,
}

/// Part of a control frame's payload, at most 125 bytes altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPiece {
    /// Where in the input it starts; unmasked in place.
    pub start: usize,
    /// Where in the input it ends.
    pub end: usize,
    /// Close, Ping or Pong.
    pub opcode: OpCode,
    /// Which part of the payload.
    pub part: Part,
}

/// What [`Receiver::handle_input`] found next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The input is used up.
    NeedInput,
    /// Part of a message.
    Piece(MessagePiece),
    /// Part of a control frame.
    Control(ControlPiece),
}

/// Part of a frame that is passed on, header and payload: the bytes `head` and then those of the
/// input, as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePiece {
    /// The start of the frame's header, if that came with inputs before: it was withheld until the
    /// header was whole and found to be right.
    pub head: Spill,
    /// Where in the input it starts.
    pub start: usize,
    /// Where in the input it ends.
    pub end: usize,
    /// What the frame is for.
    pub opcode: OpCode,
    /// The frame is its message's last; of a control frame it is the only one.
    pub fin: bool,
    /// Which part of the frame. Another frame may go before the first and behind the last only.
    pub part: Part,
    /// Bytes of this frame that have yet to come.
    pub frame_remaining: u64,
}

/// The start of a header whose end has yet to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spill {
    bytes: [u8; MAX_HEADER - 1],
    /// 0 to 13.
    length: u8,
}

impl Spill {
    const EMPTY: Self = Self { bytes: [0; MAX_HEADER - 1], length: 0 };

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn new(start: &[u8]) -> Self {
        let mut spill = Self::EMPTY;
        spill.bytes[..start.len()].copy_from_slice(start);
        spill.length = start.len() as u8;
        spill
    }
}

/// The state of one direction between two inputs, in 28 bytes.
///
/// Call [`Receiver::handle_input`] with the same input and cursor until it says
/// [`Decoded::NeedInput`] or fails; then with the next input. After an error, or when a whole Close
/// frame was handed out, it is not called again. For a direction that is passed on, call
/// [`Receiver::pass_input`] instead, from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    position: Within,
    /// The text message in progress, if it is not compressed.
    utf8: Utf8,
    /// Payload bytes of the message in progress, with those that its headers announced.
    /// Invariant: at most `Rules::max_message`.
    message_length: u32,
    /// The opcode of the frame in progress.
    opcode: OpCode,
    /// The message in progress; `None` between messages.
    kind: Option<Kind>,
    flags: Flags,
}

/// Where in a frame the input ended.
#[derive(Clone, Copy, Debug)]
enum Within {
    /// Within a header, or between frames (nothing spilled). Invariant: what is spilled is a
    /// header's valid but incomplete start.
    Header(Spill),
    /// Within a payload; `remaining` > 0, in halves so that the record stays small.
    Payload { remaining: [u32; 2], mask: Mask },
}

/// Four facts in one byte.
#[derive(Clone, Copy, Debug)]
struct Flags(u8);

impl Flags {
    /// The frame in progress is its message's last.
    const FIN: u8 = 1;
    /// No piece of the frame in progress was handed out.
    const FRESH_FRAME: u8 = 2;
    /// No piece of the message in progress was handed out.
    const FRESH_MESSAGE: u8 = 4;
    /// The message in progress is compressed.
    const COMPRESSED: u8 = 8;

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    const fn set(&mut self, flag: u8, value: bool) {
        self.0 = if value { self.0 | flag } else { self.0 & !flag };
    }

    /// Clears `flag`; says whether it was set.
    const fn take(&mut self, flag: u8) -> bool {
        let was = self.has(flag);
        self.set(flag, false);
        was
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            position: Within::between_frames(),
            utf8: Utf8::default(),
            message_length: 0,
            opcode: OpCode::Continuation,
            kind: None,
            flags: Flags(0),
        }
    }
}

impl Within {
    const fn between_frames() -> Self {
        Self::Header(Spill::EMPTY)
    }
}

impl Receiver {
    /// Takes the bytes of `input` from `*at` on, up to the next event; moves `*at` behind them.
    ///
    /// # Errors
    /// The peer broke the protocol: fail the connection with the error's close code.
    pub fn handle_input(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        rules: &Rules,
    ) -> Result<Decoded, ProtocolError> {
        if let Within::Header(spill) = self.position {
            let Some(header) = self.take_header(spill, input, at, rules)? else {
                return Ok(Decoded::NeedInput);
            };
            self.start_frame(&header, rules)?;
        }
        self.take_payload(input, at)
    }

    /// Takes the bytes of `input` from `*at` on, up to the end of the frame or of the input, and
    /// moves `*at` behind them, for somebody who passes them on: frames are told apart, counted and
    /// held to the rules, but for what only who unmasks the payload can know. `None`: the input is
    /// used up.
    ///
    /// # Errors
    /// The peer broke the protocol: fail the connection with the error's close code. Of the frame
    /// that did nothing was handed out, so a Close frame may follow at the other end.
    pub fn pass_input(
        &mut self,
        input: &[u8],
        at: &mut usize,
        rules: &Rules,
    ) -> Result<Option<FramePiece>, ProtocolError> {
        let start = *at;
        if start == input.len() {
            return Ok(None);
        }
        let mut head = Spill::EMPTY;
        if let Within::Header(spill) = self.position {
            let Some(header) = self.take_header(spill, input, at, rules)? else {
                return Ok(None);
            };
            self.start_frame(&header, rules)?;
            head = spill;
        }
        // There is input: if none of it is payload, it was the end of the header.
        let left = self.advance(at, input.len()).unwrap_or_else(|| self.remaining());
        let fin = self.flags.has(Flags::FIN);
        if fin && left == 0 && !self.opcode.is_control() {
            self.kind = None;
        }
        Ok(Some(FramePiece {
            head,
            start,
            end: *at,
            opcode: self.opcode,
            fin,
            part: Part::from_start(self.flags.take(Flags::FRESH_FRAME)).to_end(left == 0),
            frame_remaining: left,
        }))
    }

    /// Bytes of the data frame in progress that have yet to come; 0 between frames and within a
    /// control frame.
    #[must_use]
    pub fn data_remaining(&self) -> u64 {
        if self.opcode.is_control() { 0 } else { self.remaining() }
    }

    /// Whether a message has begun that is compressed, and has not ended.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.kind.is_some() && self.flags.has(Flags::COMPRESSED)
    }

    /// Whether the next input, which begins with `next`, belongs to a compressed message.
    #[must_use]
    pub fn expects_compressed(&self, next: u8) -> bool {
        let of_message = self.is_compressed();
        match self.position {
            Within::Header(spill) => {
                of_message || is_compressed(*spill.bytes().first().unwrap_or(&next))
            }
            Within::Payload { .. } => of_message && !self.opcode.is_control(),
        }
    }

    /// Reads a header from what was spilled and what is there now; spills again what is not whole.
    fn take_header(
        &mut self,
        spill: Spill,
        input: &[u8],
        at: &mut usize,
        rules: &Rules,
    ) -> Result<Option<Header>, ProtocolError> {
        let (spilled, fresh) = (spill.bytes(), &input[*at..]);
        let mut joined = [0; MAX_HEADER];
        let bytes = if spilled.is_empty() {
            fresh
        } else {
            let taken = fresh.len().min(MAX_HEADER - spilled.len());
            joined[..spilled.len()].copy_from_slice(spilled);
            joined[spilled.len()..][..taken].copy_from_slice(&fresh[..taken]);
            &joined[..spilled.len() + taken]
        };
        match Header::parse(bytes, rules.role, rules.reserved)? {
            Parsed::Complete(header, length) => {
                *at += length - spilled.len();
                Ok(Some(header))
            }
            Parsed::Partial => {
                self.position = Within::Header(Spill::new(bytes));
                *at = input.len();
                Ok(None)
            }
        }
    }

    fn start_frame(&mut self, header: &Header, rules: &Rules) -> Result<(), ProtocolError> {
        if !header.opcode.is_control() {
            self.continue_message(header)?;
            self.count(header.length, rules.max_message)?;
        }
        self.opcode = header.opcode;
        self.flags.set(Flags::FIN, header.fin);
        self.flags.set(Flags::FRESH_FRAME, true);
        self.position = Within::Payload {
            remaining: halves(header.length),
            mask: header.mask.map_or(Mask::default(), Mask::new),
        };
        Ok(())
    }

    fn continue_message(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let kind = match header.opcode {
            OpCode::Text => Kind::Text,
            OpCode::Binary => Kind::Bytes,
            // RFC 6455 section 5.4: a fragmented message is a frame with another opcode "followed
            // by zero or more frames with the FIN bit clear and the opcode set to 0".
            _ if self.kind.is_some() => return Ok(()),
            _ => return Err(ProtocolError::UnexpectedContinuation),
        };
        // Section 5.4: "The fragments of one message MUST NOT be interleaved between the fragments
        // of another message unless an extension has been negotiated".
        if self.kind.is_some() {
            return Err(ProtocolError::ExpectedContinuation);
        }
        self.kind = Some(kind);
        self.flags.set(Flags::COMPRESSED, header.compressed);
        self.flags.set(Flags::FRESH_MESSAGE, true);
        self.message_length = 0;
        self.utf8 = Utf8::default();
        Ok(())
    }

    fn count(&mut self, length: u64, max_message: u32) -> Result<(), ProtocolError> {
        let total = u64::from(self.message_length).checked_add(length);
        match total.and_then(|total| u32::try_from(total).ok()) {
            Some(total) if total <= max_message => {
                self.message_length = total;
                Ok(())
            }
            _ => Err(ProtocolError::MessageTooBig),
        }
    }

    fn take_payload(&mut self, input: &mut [u8], at: &mut usize) -> Result<Decoded, ProtocolError> {
        let Within::Payload { mut mask, .. } = self.position else {
            return Ok(Decoded::NeedInput);
        };
        let start = *at;
        let Some(left) = self.advance(at, input.len()) else { return Ok(Decoded::NeedInput) };
        let range = start..*at;
        mask.apply(&mut input[range.clone()]);
        if let Within::Payload { mask: next, .. } = &mut self.position {
            *next = mask;
        }
        let fresh = self.flags.take(Flags::FRESH_FRAME);
        if self.opcode.is_control() {
            let Range { start, end } = range;
            let part = Part::from_start(fresh).to_end(left == 0);
            return Ok(Decoded::Control(ControlPiece { start, end, opcode: self.opcode, part }));
        }
        self.piece(&input[range.clone()], range, left)
    }

    /// Moves `*at` over as much of the payload in progress as the input has up to `end`, and
    /// returns how many bytes of the frame have yet to come; `None` if there are some and none is
    /// there.
    fn advance(&mut self, at: &mut usize, end: usize) -> Option<u64> {
        let Within::Payload { remaining, mask } = self.position else { return None };
        let before = joined(remaining);
        let available = end - *at;
        if available == 0 && before > 0 {
            return None;
        }
        let taken = usize::try_from(before).map_or(available, |before| before.min(available));
        *at += taken;
        let left = before - taken as u64;
        self.position = match left {
            0 => Within::between_frames(),
            _ => Within::Payload { remaining: halves(left), mask },
        };
        Some(left)
    }

    /// Bytes of the frame in progress that have yet to come; 0 between frames.
    fn remaining(&self) -> u64 {
        match self.position {
            Within::Payload { remaining, .. } => joined(remaining),
            Within::Header(_) => 0,
        }
    }

    fn piece(
        &mut self,
        bytes: &[u8],
        range: Range<usize>,
        frame_remaining: u64,
    ) -> Result<Decoded, ProtocolError> {
        let kind = self.kind.expect("a data frame belongs to a message");
        let last = self.flags.has(Flags::FIN) && frame_remaining == 0;
        let compressed = self.flags.has(Flags::COMPRESSED);
        // RFC 6455 section 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds
        // that the byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the
        // WebSocket Connection_."
        if kind == Kind::Text && !compressed {
            let checked = self.utf8.push(bytes);
            checked
                .and_then(|()| if last { self.utf8.finish() } else { Ok(()) })
                .map_err(|_| ProtocolError::InvalidUtf8)?;
        }
        let part = Part::from_start(self.flags.take(Flags::FRESH_MESSAGE)).to_end(last);
        if last {
            self.kind = None;
        }
        let Range { start, end } = range;
        Ok(Decoded::Piece(MessagePiece { start, end, kind, part, compressed, frame_remaining }))
    }
}

/// A length in halves, so that what holds it needs no more than the alignment of one.
const fn halves(length: u64) -> [u32; 2] {
    [(length >> 32) as u32, length as u32]
}

const fn joined([high, low]: [u32; 2]) -> u64 {
    (high as u64) << 32 | low as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules =
        Rules { role: Role::Server, reserved: Reserved::Clear, max_message: 1 << 20 };

    /// What a whole stream said, with the pieces of each message and control frame joined.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Heard {
        Message(Kind, Vec<u8>),
        Control(OpCode, Vec<u8>),
    }

    #[derive(Default)]
    struct Hearer {
        receiver: Receiver,
        in_message: bool,
        message: Vec<u8>,
        control: Vec<u8>,
        said: Vec<Heard>,
    }

    impl Hearer {
        fn hear(&mut self, bytes: &[u8], rules: &Rules) -> Result<(), ProtocolError> {
            let mut input = bytes.to_vec();
            let mut at = 0;
            loop {
                match self.receiver.handle_input(&mut input, &mut at, rules)? {
                    Decoded::NeedInput => {
                        assert_eq!(at, input.len());
                        return Ok(());
                    }
                    Decoded::Piece(piece) => self.hear_piece(piece, &input),
                    Decoded::Control(control) => self.hear_control(control, &input),
                }
            }
        }

        fn hear_piece(&mut self, piece: MessagePiece, input: &[u8]) {
            assert_eq!(piece.part.is_first(), !self.in_message);
            self.in_message = !piece.part.is_last();
            self.message.extend_from_slice(&input[piece.start..piece.end]);
            if piece.part.is_last() {
                let message = core::mem::take(&mut self.message);
                self.said.push(Heard::Message(piece.kind, message));
            }
        }

        fn hear_control(&mut self, control: ControlPiece, input: &[u8]) {
            self.control.extend_from_slice(&input[control.start..control.end]);
            if control.part.is_last() {
                let payload = core::mem::take(&mut self.control);
                self.said.push(Heard::Control(control.opcode, payload));
            }
        }
    }

    fn hear(pieces: &[&[u8]], rules: &Rules) -> Result<Vec<Heard>, ProtocolError> {
        let mut hearer = Hearer::default();
        for piece in pieces {
            hearer.hear(piece, rules)?;
        }
        Ok(hearer.said)
    }

    fn frame(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let key = [0x11, 0x22, 0x33, 0x44];
        let header = Header {
            fin,
            compressed: false,
            opcode,
            mask: Some(key),
            length: payload.len() as u64,
        };
        let mut out = vec![0; header.encoded_length()];
        header.emit(&mut out);
        let mut masked = payload.to_vec();
        Mask::new(key).apply(&mut masked);
        out.extend(masked);
        out
    }

    /// RFC 6455 section 5.4: "Control frames MAY be injected in the middle of a fragmented
    /// message."
    fn dialogue() -> (Vec<u8>, Vec<Heard>) {
        let bytes = [
            frame(OpCode::Text, false, "Grüße, ".as_bytes()),
            frame(OpCode::Ping, true, b"are you there"),
            frame(OpCode::Continuation, false, b""),
            frame(OpCode::Continuation, true, "Welt €".as_bytes()),
            frame(OpCode::Binary, true, &[7; 200]),
            frame(OpCode::Text, true, b""),
            frame(OpCode::Close, true, b"\x03\xe8"),
        ]
        .concat();
        let said = vec![
            Heard::Control(OpCode::Ping, b"are you there".to_vec()),
            Heard::Message(Kind::Text, "Grüße, Welt €".as_bytes().to_vec()),
            Heard::Message(Kind::Bytes, vec![7; 200]),
            Heard::Message(Kind::Text, vec![]),
            Heard::Control(OpCode::Close, b"\x03\xe8".to_vec()),
        ];
        (bytes, said)
    }

    #[test]
    fn the_state_is_28_bytes() {
        assert_eq!(size_of::<Receiver>(), 28);
    }

    #[test]
    fn a_dialogue_split_in_two_at_every_byte() {
        let (bytes, said) = dialogue();
        for split in 0..=bytes.len() {
            let pieces = [&bytes[..split], &bytes[split..]];
            assert_eq!(hear(&pieces, &RULES).as_ref(), Ok(&said), "split at {split}");
        }
    }

    #[test]
    fn a_dialogue_byte_by_byte() {
        let (bytes, said) = dialogue();
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(hear(&pieces, &RULES), Ok(said));
    }

    #[test]
    fn invalid_text_is_refused_at_the_first_wrong_byte_of_a_frame() {
        let bytes = frame(OpCode::Text, true, b"ab\xffcd");
        let mut hearer = Hearer::default();
        let wrong = bytes.len() - 3;
        assert_eq!(hearer.hear(&bytes[..wrong], &RULES), Ok(()));
        let refused = hearer.hear(&bytes[wrong..=wrong], &RULES);
        assert_eq!(refused, Err(ProtocolError::InvalidUtf8));
    }

    #[test]
    fn text_that_ends_within_a_character_is_refused_at_the_end_of_the_message() {
        let start = frame(OpCode::Text, false, b"\xe2\x82");
        let end = frame(OpCode::Continuation, true, b"");
        assert_eq!(hear(&[&start, &end], &RULES), Err(ProtocolError::InvalidUtf8));
    }

    #[test]
    fn a_compressed_message_is_expected_from_its_first_byte_to_its_last() {
        let rules = Rules { reserved: Reserved::Compression, ..RULES };
        let mut hearer = Hearer::default();
        assert!(hearer.receiver.expects_compressed(0xC1));
        assert!(!hearer.receiver.expects_compressed(0x81));
        let mut message = frame(OpCode::Text, true, b"abc");
        message[0] |= 0x40;
        for (at, byte) in message.iter().enumerate() {
            assert!(hearer.receiver.expects_compressed(*byte), "byte {at}");
            assert_eq!(hearer.hear(&[*byte], &rules), Ok(()));
        }
        assert!(!hearer.receiver.expects_compressed(0x81));
    }

    #[test]
    fn fragments_out_of_order() {
        let lone = frame(OpCode::Continuation, true, b"x");
        assert_eq!(hear(&[&lone], &RULES), Err(ProtocolError::UnexpectedContinuation));
        let start = frame(OpCode::Text, false, b"x");
        assert_eq!(hear(&[&start, &start], &RULES), Err(ProtocolError::ExpectedContinuation));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_header() {
        let rules = Rules { max_message: 10, ..RULES };
        let ten = frame(OpCode::Binary, true, &[0; 10]);
        assert!(hear(&[&ten], &rules).is_ok());
        let eleven = frame(OpCode::Binary, true, &[0; 11]);
        assert_eq!(hear(&[&eleven[..6]], &rules), Err(ProtocolError::MessageTooBig));
        let five = frame(OpCode::Binary, false, &[0; 5]);
        let six = frame(OpCode::Continuation, true, &[0; 6]);
        assert_eq!(hear(&[&five, &six[..6]], &rules), Err(ProtocolError::MessageTooBig));
        let huge = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(hear(&[huge], &rules), Err(ProtocolError::MessageTooBig));
    }

    #[test]
    fn the_limit_counts_messages_and_not_the_control_frames_between() {
        let rules = Rules { max_message: 4, ..RULES };
        let bytes = [
            frame(OpCode::Text, false, b"ab"),
            frame(OpCode::Ping, true, b"longer than the limit"),
            frame(OpCode::Continuation, true, b"cd"),
            frame(OpCode::Text, true, b"abcd"),
        ]
        .concat();
        assert_eq!(hear(&[&bytes], &rules).map(|said| said.len()), Ok(3));
    }

    /// What a stream was passed on as.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Passed {
        bytes: Vec<u8>,
        /// Where frames end: of which opcode, with FIN or without, behind how many bytes.
        ends: Vec<(OpCode, bool, usize)>,
    }

    /// Passes a stream on that comes in `pieces`, until its end or the first violation.
    fn pass(pieces: &[&[u8]], rules: &Rules) -> (Passed, Result<(), ProtocolError>) {
        let mut receiver = Receiver::default();
        let mut passed = Passed { bytes: Vec::new(), ends: Vec::new() };
        let mut within_frame = false;
        for input in pieces {
            let mut at = 0;
            loop {
                let before = at;
                let stretch = match receiver.pass_input(input, &mut at, rules) {
                    Ok(Some(stretch)) => stretch,
                    Ok(None) => break,
                    Err(error) => return (passed, Err(error)),
                };
                let FramePiece { head, start, end, opcode, fin, part, frame_remaining } = stretch;
                assert_eq!((start, end), (before, at));
                assert!(start < end, "a stretch of nothing");
                assert_eq!(part.is_first(), !within_frame);
                assert!(part.is_first() || head.bytes().is_empty());
                assert_eq!(part.is_last(), frame_remaining == 0);
                within_frame = !part.is_last();
                passed.bytes.extend_from_slice(head.bytes());
                passed.bytes.extend_from_slice(&input[start..end]);
                if part.is_last() {
                    passed.ends.push((opcode, fin, passed.bytes.len()));
                }
            }
            assert_eq!(at, input.len(), "input is left");
        }
        (passed, Ok(()))
    }

    /// `bytes` in pieces that end at `ends`, those beyond it being its end.
    fn split<'b>(bytes: &'b [u8], ends: &[usize]) -> Vec<&'b [u8]> {
        let mut ends: Vec<usize> = ends.iter().map(|at| (*at).min(bytes.len())).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        ends.windows(2).map(|two| &bytes[two[0]..two[1]]).collect()
    }

    const PASSING: Rules = Rules { reserved: Reserved::Passed, ..RULES };

    #[test]
    fn what_is_passed_on_is_not_touched_wherever_it_is_split() {
        let (bytes, _) = dialogue();
        let (whole, verdict) = pass(&[&bytes], &PASSING);
        assert_eq!((&whole.bytes, verdict), (&bytes, Ok(())));
        let opcodes: Vec<_> = whole.ends.iter().map(|(opcode, fin, _)| (*opcode, *fin)).collect();
        let expected = [
            (OpCode::Text, false),
            (OpCode::Ping, true),
            (OpCode::Continuation, false),
            (OpCode::Continuation, true),
            (OpCode::Binary, true),
            (OpCode::Text, true),
            (OpCode::Close, true),
        ];
        assert_eq!(opcodes, expected);
        for at in 0..=bytes.len() {
            let passed = pass(&[&bytes[..at], &bytes[at..]], &PASSING);
            assert_eq!(passed, (whole.clone(), Ok(())), "split at {at}");
        }
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(pass(&pieces, &PASSING), (whole, Ok(())));
    }

    #[test]
    fn reserved_bits_and_what_is_no_text_are_passed_on() {
        let mut bytes = frame(OpCode::Text, false, b"\xff\xfe");
        let second = bytes.len();
        bytes.extend(frame(OpCode::Continuation, true, b"\xff"));
        bytes[0] |= 0x70;
        bytes[second] |= 0x40;
        let (passed, verdict) = pass(&[&bytes], &PASSING);
        assert_eq!((passed.bytes, verdict), (bytes.clone(), Ok(())));
        assert_eq!(pass(&[&bytes], &RULES).1, Err(ProtocolError::ReservedBit));
    }

    #[test]
    fn nothing_is_passed_on_of_a_frame_that_is_refused() {
        let rules = Rules { max_message: 4, ..PASSING };
        let good = frame(OpCode::Text, false, b"abc");
        let bad = frame(OpCode::Continuation, true, &[0; 300]);
        for header in 0..8 {
            let (passed, verdict) = pass(&[&good, &bad[..header], &bad[header..]], &rules);
            assert_eq!((&passed.bytes, verdict), (&good, Err(ProtocolError::MessageTooBig)));
        }
        let start = frame(OpCode::Text, false, b"x");
        let (passed, verdict) = pass(&[&start, &start], &PASSING);
        assert_eq!((&passed.bytes, verdict), (&start, Err(ProtocolError::ExpectedContinuation)));
        let lone = frame(OpCode::Continuation, true, b"x");
        assert_eq!(pass(&[&lone], &PASSING).1, Err(ProtocolError::UnexpectedContinuation));
    }

    #[test]
    fn a_header_in_parts_is_withheld_until_it_is_whole() {
        let bytes = frame(OpCode::Binary, true, &[7; 200]);
        let mut receiver = Receiver::default();
        for byte in &bytes[..7] {
            assert_eq!(receiver.pass_input(&[*byte], &mut 0, &PASSING), Ok(None));
        }
        let stretch = receiver.pass_input(&bytes[7..8], &mut 0, &PASSING).unwrap().unwrap();
        assert_eq!(stretch.head.bytes(), &bytes[..7]);
        assert_eq!((stretch.part, stretch.frame_remaining), (Part::First, 200));
        let stretch = receiver.pass_input(&bytes[8..], &mut 0, &PASSING).unwrap().unwrap();
        assert_eq!(stretch.head.bytes(), b"");
        assert_eq!((stretch.part, stretch.end), (Part::Last, 200));
    }

    /// Frames in an order that is right often, with reserved bits.
    fn frames() -> impl Strategy<Value = Vec<(OpCode, bool, u8, usize)>> {
        let opcode = prop::sample::select(vec![
            OpCode::Continuation,
            OpCode::Continuation,
            OpCode::Binary,
            OpCode::Ping,
            OpCode::Close,
        ]);
        let length = prop_oneof![0..20usize, 120..130usize];
        prop::collection::vec((opcode, any::<bool>(), 0..8u8, length), 0..12)
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_what_would_be_received(
            frames in frames(),
            cut in 0..20usize,
            splits in prop::collection::vec(0..400usize, 0..8),
        ) {
            let rules = Rules { max_message: 140, ..RULES };
            let of = |reserved: u8| {
                let all = frames.iter().flat_map(|(opcode, fin, bits, length)| {
                    let mut bytes = frame(*opcode, *fin, &vec![7; *length]);
                    bytes[0] |= (bits & reserved) << 4;
                    bytes
                });
                all.collect::<Vec<u8>>()
            };
            let (with_bits, without) = (of(7), of(0));
            let length = with_bits.len().saturating_sub(cut);
            let (with_bits, without) = (&with_bits[..length], &without[..length]);
            let pieces = split(with_bits, &splits);
            let passing = Rules { reserved: Reserved::Passed, ..rules };
            let (passed, verdict) = pass(&pieces, &passing);
            // Text and reserved bits aside both are refused for the same, and nothing is changed.
            prop_assert_eq!(verdict, hear(&[without], &rules).map(|_| ()));
            prop_assert!(with_bits.starts_with(&passed.bytes));
            let until = passed.ends.last().map_or(0, |(_, _, end)| *end);
            let heard = hear(&[&without[..until]], &rules);
            let heard = heard.expect("all that was passed on is right");
            let messages = passed.ends.iter().filter(|(_, fin, _)| *fin).count();
            prop_assert_eq!(heard.len(), messages);
            if verdict.is_ok() {
                let withheld = with_bits.len() - passed.bytes.len();
                prop_assert!(withheld < MAX_HEADER, "{} bytes are withheld", withheld);
            }
        }

        #[test]
        fn garbage_is_passed_on_in_the_same_way_however_it_is_split(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            splits in prop::collection::vec(0..60usize, 0..6),
        ) {
            prop_assert_eq!(pass(&split(&bytes, &splits), &PASSING), pass(&[&bytes], &PASSING));
        }

        #[test]
        fn garbage_never_panics_and_its_verdict_does_not_depend_on_the_splits(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            splits in prop::collection::vec(0..60usize, 0..6),
        ) {
            let whole = hear(&[&bytes], &RULES);
            prop_assert_eq!(hear(&split(&bytes, &splits), &RULES), whole);
        }
    }
}
