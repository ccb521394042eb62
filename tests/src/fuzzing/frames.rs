//! A stream of frames, for either role, in any stretches: the receiver against the naive reader,
//! for what is received and for what is passed on.

use tidegate_proto::message::Kind;
use tidegate_proto::websocket::close::CloseReason;
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{Header, MAX_HEADER, OpCode, Parsed, Reserved, Role};
use tidegate_proto::websocket::receiver::{self, ControlPiece, Decoded, MessagePiece, Receiver};

use super::{Parameters, Stretches};
use crate::reference::{self, Message, Read, Said};

/// Parameters: role and extension, the longest message (two bytes), the stretches.
///
/// # Panics
/// The receiver and the naive reader do not read the same, or the receiver breaks its contract.
pub fn frames(data: &[u8]) {
    let mut parameters = Parameters(data);
    let which = parameters.byte();
    let max_message = parameters.u16();
    let stretches = Stretches::new(parameters.byte());
    let stream = parameters.rest();
    let rules = receiver::Rules {
        role: if which & 1 == 0 { Role::Server } else { Role::Client },
        reserved: if which & 2 == 0 { Reserved::Clear } else { Reserved::Compression },
        max_message: max_message.into(),
    };
    let expected = naive(stream, &rules);
    let all_at_once = Reader::read(stream, &rules, Stretches::new(0));
    check(&all_at_once, &expected, stream, &rules);
    let in_stretches = Reader::read(stream, &rules, stretches.clone());
    check(&in_stretches, &expected, stream, &rules);
    check_headers(stream, &rules);
    check_passing(stream, &rules, Stretches::new(0));
    check_passing(stream, &rules, stretches);
}

fn naive(stream: &[u8], rules: &receiver::Rules) -> Read {
    reference::read(
        stream,
        &reference::Rules {
            masked: rules.role == Role::Server,
            compression: rules.reserved == Reserved::Compression,
            max_message: rules.max_message as usize,
            max_gathered: usize::MAX,
            whole: false,
        },
    )
}

fn check(reader: &Reader, expected: &Read, stream: &[u8], rules: &receiver::Rules) {
    assert_eq!(reader.said, expected.said);
    check_violation(reader.violation, expected, stream, rules);
    if reader.violation.is_none() {
        // Of a message without a byte the receiver need not have spoken yet.
        let some = |begun: &Option<Message>| begun.clone().filter(|begun| !begun.bytes.is_empty());
        assert_eq!(some(&reader.begun), some(&expected.begun));
    }
}

fn check_violation(
    violation: Option<ProtocolError>,
    expected: &Read,
    stream: &[u8],
    rules: &receiver::Rules,
) {
    match (violation, expected.violation) {
        (Some(error), None) => {
            // The receiver need not wait for the end of a header that is wrong already: then every
            // end of it is wrong in the same way.
            assert!(!expected.rest.is_empty(), "{error:?} is none to the naive reader");
            for filling in [0x00, 0x01, 0x7F, 0x80, 0xFF] {
                let filled = [stream, &[filling; 16]].concat();
                let violation = naive(&filled, rules).violation;
                assert_eq!(violation, Some(error.close_code().0), "filled with {filling:#x}");
            }
        }
        (error, expected) => assert_eq!(error.map(|error| error.close_code().0), expected),
    }
}

/// What is passed on is the stream as it is, up to the end, the first violation or behind the first
/// whole Close frame. Reserved bits, and what is no text, are none; the naive reader is shown the
/// same frames without either.
fn check_passing(stream: &[u8], rules: &receiver::Rules, mut stretches: Stretches) {
    let plain = receiver::Rules { reserved: Reserved::Clear, ..*rules };
    let shown = without_bits_and_text(stream);
    let expected = naive(&shown, &plain);
    let passing = receiver::Rules { reserved: Reserved::Passed, ..*rules };
    let mut receiver = Receiver::default();
    let (mut passed, mut messages, mut controls) = (Vec::new(), 0, 0);
    let (mut rest, mut violation, mut closed) = (stream, None, false);
    while !rest.is_empty() && !closed && violation.is_none() {
        let (input, after) = rest.split_at(stretches.next(rest.len()));
        rest = after;
        let mut at = 0;
        while !closed && violation.is_none() {
            match receiver.pass_input(input, &mut at, &passing) {
                Ok(None) => break,
                Ok(Some(stretch)) => {
                    passed.extend_from_slice(stretch.head.bytes());
                    passed.extend_from_slice(&input[stretch.start..stretch.end]);
                    let ends = stretch.part.is_last() && stretch.fin;
                    let is_control = stretch.opcode.is_control();
                    messages += usize::from(ends && !is_control);
                    controls += usize::from(ends && is_control);
                    closed = ends && stretch.opcode == OpCode::Close;
                }
                Err(error) => violation = Some(error),
            }
        }
    }
    assert!(stream.starts_with(&passed), "other bytes are passed on than came");
    check_violation(violation, &expected, &shown, &plain);
    let of_messages = expected.said.iter().filter(|said| matches!(said, Said::Message(_))).count();
    assert_eq!((messages, controls), (of_messages, expected.said.len() - of_messages));
    if violation.is_none() && !closed {
        let withheld = stream.len() - passed.len();
        assert!(withheld < MAX_HEADER, "{withheld} bytes are withheld");
    }
}

/// The stream with reserved bits cleared and texts turned into bytes, frame by frame.
fn without_bits_and_text(stream: &[u8]) -> Vec<u8> {
    let mut shown = stream.to_vec();
    let mut at = 0;
    while let Some(first) = shown.get_mut(at) {
        *first &= 0x8F;
        if *first & 0x0F == 1 {
            *first += 1;
        }
        let Some((_, rest)) = reference::split_frame(&stream[at..]) else { break };
        at = stream.len() - rest.len();
    }
    shown
}

/// What the receiver makes of a stream.
#[derive(Default)]
struct Reader {
    said: Vec<Said>,
    begun: Option<Message>,
    control: Option<(u8, Vec<u8>)>,
    violation: Option<ProtocolError>,
    /// A whole Close frame came: the receiver is not asked again.
    closed: bool,
}

impl Reader {
    fn read(stream: &[u8], rules: &receiver::Rules, mut stretches: Stretches) -> Self {
        let mut reader = Self::default();
        let mut receiver = Receiver::default();
        let mut rest = stream;
        while !rest.is_empty() && !reader.closed && reader.violation.is_none() {
            let (stretch, after) = rest.split_at(stretches.next(rest.len()));
            rest = after;
            reader.take(&mut receiver, stretch, rules);
        }
        reader
    }

    /// Takes one stretch of input, up to its last event.
    fn take(&mut self, receiver: &mut Receiver, stretch: &[u8], rules: &receiver::Rules) {
        let mut input = stretch.to_vec();
        let mut at = 0;
        while !self.closed {
            let before = at;
            let compressed = input.get(at).is_some_and(|next| receiver.expects_compressed(*next));
            let event = receiver.handle_input(&mut input, &mut at, rules);
            assert!(before <= at && at <= input.len(), "the cursor went from {before} to {at}");
            match event {
                Ok(Decoded::NeedInput) => {
                    assert_eq!(at, input.len(), "input is left");
                    return;
                }
                Ok(Decoded::Piece(piece)) => {
                    assert!(compressed || !piece.compressed, "compressed input came unforeseen");
                    assert_eq!(piece.frame_remaining, receiver.data_remaining());
                    self.piece(&input, &piece, before..at);
                }
                Ok(Decoded::Control(control)) => self.control(&input, &control, before..at),
                Err(error) => {
                    self.violation = Some(error);
                    return;
                }
            }
        }
    }

    fn piece(&mut self, input: &[u8], piece: &MessagePiece, taken: std::ops::Range<usize>) {
        assert!(taken.start <= piece.start && piece.start <= piece.end && piece.end == taken.end);
        assert_eq!(piece.part.is_first(), self.begun.is_none(), "the first piece is the first");
        let is_text = piece.kind == Kind::Text;
        let compressed = piece.compressed;
        let message = self.begun.get_or_insert(Message { is_text, compressed, bytes: Vec::new() });
        assert_eq!((message.is_text, message.compressed), (is_text, compressed));
        message.bytes.extend_from_slice(&input[piece.start..piece.end]);
        if piece.part.is_last() {
            self.said.extend(self.begun.take().map(Said::Message));
        }
    }

    fn control(&mut self, input: &[u8], control: &ControlPiece, taken: std::ops::Range<usize>) {
        assert!(taken.start <= control.start && control.start <= control.end);
        assert_eq!(control.end, taken.end);
        assert_eq!(control.part.is_first(), self.control.is_none(), "the first part is the first");
        let opcode = control.opcode as u8;
        let (begun, payload) = self.control.get_or_insert((opcode, Vec::new()));
        assert_eq!(*begun, opcode);
        payload.extend_from_slice(&input[control.start..control.end]);
        assert!(payload.len() <= 125, "a control frame of {} bytes", payload.len());
        let Some((opcode, payload)) = self.control.take_if(|_| control.part.is_last()) else {
            return;
        };
        if control.opcode == OpCode::Close {
            check_close(&payload);
            self.closed = true;
        }
        self.said.push(Said::Control { opcode, payload });
    }
}

/// The payload of a Close frame, read and written.
fn check_close(payload: &[u8]) {
    let Ok(reason) = CloseReason::parse(payload) else { return };
    let mut out = [0; 125];
    let length = reason.emit(&mut out);
    assert_eq!(&out[..length], payload);
}

/// Every header that can be read is written as it was.
fn check_headers(stream: &[u8], rules: &receiver::Rules) {
    let mut rest = stream;
    while let Ok(Parsed::Complete(header, length)) = Header::parse(rest, rules.role, rules.reserved)
    {
        let mut out = [0; MAX_HEADER];
        assert_eq!(header.emit(&mut out), length);
        assert_eq!((header.encoded_length(), &out[..length]), (length, &rest[..length]));
        for cut in 0..length {
            let outcome = Header::parse(&rest[..cut], rules.role, rules.reserved);
            assert_eq!(outcome, Ok(Parsed::Partial), "cut at {cut}");
        }
        let payload = usize::try_from(header.length).unwrap_or(usize::MAX);
        rest = rest.get(length.saturating_add(payload)..).unwrap_or(&[]);
    }
}
