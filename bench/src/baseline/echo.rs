//! One connection of an echo server without its socket: bytes that were read in, bytes to write
//! out.

use std::mem;
use std::ops::Range;

use tidegate_proto::http::{Status, parse_request};
use tidegate_proto::message::Part;
use tidegate_proto::websocket::close::CloseReason;
use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{
    Header, MAX_CONTROL_PAYLOAD, MAX_HEADER, MAX_UNMASKED_HEADER, OpCode, Reserved, Role,
};
use tidegate_proto::websocket::handshake::server::{Acceptance, Rejection, Upgrade};
use tidegate_proto::websocket::receiver::{ControlPiece, Decoded, MessagePiece, Receiver, Rules};

const RULES: Rules = Rules { role: Role::Server, reserved: Reserved::Clear, max_message: 16 << 20 };

/// The longest request head, in bytes.
const HEAD_MAX: usize = 8 << 10;

/// The longest response to a request head, in bytes.
const RESPONSE_MAX: usize = 1024;

/// What is read at once at first, in bytes.
const READ_MIN: usize = 4 << 10;

/// The most that is read at once, in bytes.
const READ_MAX: usize = 64 << 10;

/// The bytes of a buffer in front of what is read into it: room for the header of an answer that is
/// written from where its payload was read.
pub const HEADROOM: usize = MAX_UNMASKED_HEADER;

/// What a connection says to what was read.
#[derive(Debug)]
pub struct Answer {
    /// Either the buffer that was read into, or another.
    pub buffer: Vec<u8>,
    /// The bytes of it to write; there may be none.
    pub range: Range<usize>,
    /// The connection ends behind them.
    pub closes: bool,
}

/// The state of a connection between two reads.
#[derive(Debug)]
pub struct Connection {
    /// What there is of the request head; `None` once the connection is open.
    head: Option<Vec<u8>>,
    receiver: Receiver,
    /// The payload of a control frame that came in parts. Invariant: at most 125 bytes.
    control: Vec<u8>,
    /// `READ_MIN <= read_size <= READ_MAX`
    read_size: usize,
}

/// What is said within one call.
#[derive(Default)]
struct Output {
    /// Where in the input the only frame so far lies. Invariant: `None` if `bytes` has any.
    in_place: Option<Range<usize>>,
    bytes: Vec<u8>,
    closes: bool,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            head: Some(Vec::new()),
            receiver: Receiver::default(),
            control: Vec::new(),
            read_size: READ_MIN,
        }
    }
}

impl Connection {
    /// A buffer for the next read, which begins behind [`HEADROOM`]: `old` if it has the right
    /// size.
    #[must_use]
    pub fn buffer(&self, mut old: Vec<u8>) -> Vec<u8> {
        if old.capacity() != HEADROOM + self.read_size {
            old = Vec::with_capacity(HEADROOM + self.read_size);
        }
        old.clear();
        old.resize(HEADROOM, 0);
        old
    }

    /// Takes `buffer` with the bytes that were read behind [`HEADROOM`]. After an answer that
    /// closes it is not called again.
    pub fn answer(&mut self, mut buffer: Vec<u8>) -> Answer {
        let mut output = Output::default();
        if let Some(start) = self.take_head(&buffer, &mut output) {
            self.take_frames(&mut buffer, start, &mut output);
        }
        self.adapt(buffer.len() - HEADROOM);
        match output.in_place {
            Some(range) => Answer { buffer, range, closes: output.closes },
            // Nothing to say: the buffer can serve the next read.
            None if output.bytes.is_empty() => {
                Answer { buffer, range: 0..0, closes: output.closes }
            }
            None => {
                let range = 0..output.bytes.len();
                Answer { buffer: output.bytes, range, closes: output.closes }
            }
        }
    }

    /// Where in `buffer` the frames begin, if the connection is open.
    fn take_head(&mut self, buffer: &[u8], output: &mut Output) -> Option<usize> {
        let Some(head) = &mut self.head else { return Some(HEADROOM) };
        let earlier = head.len();
        head.extend_from_slice(&buffer[HEADROOM..]);
        match accept(head, &mut output.bytes) {
            Ok(None) => None,
            Ok(Some(length)) => {
                self.head = None;
                Some(HEADROOM + length - earlier)
            }
            Err(rejection) => {
                let mut response = [0; RESPONSE_MAX];
                let length = rejection.write(&mut response).expect("a rejection fits");
                output.bytes.extend_from_slice(&response[..length]);
                output.closes = true;
                None
            }
        }
    }

    fn take_frames(&mut self, input: &mut [u8], mut at: usize, output: &mut Output) {
        while !output.closes {
            match self.receiver.handle_input(input, &mut at, &RULES) {
                Ok(Decoded::NeedInput) => return,
                Ok(Decoded::Piece(piece)) => output.echo(input, &piece),
                Ok(Decoded::Control(control)) => self.take_control(input, &control, output),
                Err(error) => output.fail(input, error),
            }
        }
    }

    fn take_control(&mut self, input: &[u8], control: &ControlPiece, output: &mut Output) {
        self.control.extend_from_slice(&input[control.start..control.end]);
        if !control.part.is_last() {
            return;
        }
        let payload = mem::take(&mut self.control);
        match control.opcode {
            OpCode::Ping => output.frame(input, OpCode::Pong, &payload),
            OpCode::Close => match CloseReason::parse(&payload) {
                // RFC 6455 section 5.5.1: "the endpoint typically echos the status code it
                // received."
                Ok(CloseReason { code, .. }) => output.close(input, code, ""),
                Err(error) => output.fail(input, error),
            },
            _ => {}
        }
    }

    /// Chooses the size of the next read by the last one, and by what is announced.
    fn adapt(&mut self, count: usize) {
        let announced = usize::try_from(self.receiver.data_remaining()).unwrap_or(READ_MAX);
        let wanted = if count >= self.read_size {
            self.read_size * 2
        } else if count < self.read_size / 4 {
            self.read_size / 2
        } else {
            self.read_size
        };
        self.read_size = wanted.max(announced + MAX_HEADER).clamp(READ_MIN, READ_MAX);
    }
}

impl Output {
    /// Echoes a piece as a fragment of its own: from where it lies, if nothing else is said.
    fn echo(&mut self, input: &mut [u8], piece: &MessagePiece) {
        // Nothing to add to the message, which goes on.
        if piece.start == piece.end && piece.part == Part::Middle {
            return;
        }
        let length = piece.end - piece.start;
        let header = Header::of_message(piece.kind, piece.part, false, length);
        if self.in_place.is_none() && self.bytes.is_empty() {
            // In front of a payload there is its masked header, which is longer, or the headroom.
            let start = piece.start - header.encoded_length();
            header.emit(&mut input[start..piece.start]);
            self.in_place = Some(start..piece.end);
            return;
        }
        self.put(input, &header, &input[piece.start..piece.end]);
    }

    fn frame(&mut self, input: &[u8], opcode: OpCode, payload: &[u8]) {
        self.put(input, &Header::of_control(opcode, payload.len()), payload);
    }

    fn put(&mut self, input: &[u8], header: &Header, payload: &[u8]) {
        if let Some(range) = self.in_place.take() {
            self.bytes.extend_from_slice(&input[range]);
        }
        let mut bytes = [0; MAX_HEADER];
        let length = header.emit(&mut bytes);
        self.bytes.extend_from_slice(&bytes[..length]);
        self.bytes.extend_from_slice(payload);
    }

    fn fail(&mut self, input: &[u8], error: ProtocolError) {
        self.close(input, Some(error.close_code()), error.reason());
    }

    fn close(&mut self, input: &[u8], code: Option<CloseCode>, reason: &str) {
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        let length = CloseReason { code, reason }.emit(&mut payload);
        self.frame(input, OpCode::Close, &payload[..length]);
        self.closes = true;
    }
}

/// Accepts a request into `out`; yields the length of its head, or `None` if it is not whole.
pub(super) fn accept(head: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Rejection> {
    let Status::Complete(head) = parse_request(head, HEAD_MAX)? else { return Ok(None) };
    let upgrade = Upgrade::check(&head)?;
    let acceptance = Acceptance { key: upgrade.key(), subprotocol: None, deflate: None };
    let mut response = [0; RESPONSE_MAX];
    let length = acceptance.write(&mut response).expect("it has no names from outside");
    out.extend_from_slice(&response[..length]);
    Ok(Some(head.head_len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    /// Hands `bytes` over as one read; returns what is said and whether that was the end.
    fn say(connection: &mut Connection, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut buffer = connection.buffer(Vec::new());
        buffer.extend_from_slice(bytes);
        let answer = connection.answer(buffer);
        (answer.buffer[answer.range].to_vec(), answer.closes)
    }

    fn open() -> Connection {
        let mut connection = Connection::default();
        let (response, closes) = say(&mut connection, REQUEST);
        assert!(response.starts_with(b"HTTP/1.1 101 ") && !closes);
        connection
    }

    /// With the key 0, so that the payload stands as it is.
    fn masked(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mask = Some([0; 4]);
        let header = Header { fin, compressed: false, opcode, mask, length: payload.len() as u64 };
        let mut bytes = vec![0; header.encoded_length() + payload.len()];
        header.emit_frame(payload, &mut bytes);
        bytes
    }

    #[test]
    fn a_message_is_unmasked_and_comes_back() {
        let hello = say(&mut open(), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(hello, (b"\x81\x05Hello".to_vec(), false));
        let empty = say(&mut open(), &masked(true, OpCode::Binary, b""));
        assert_eq!(empty, (b"\x82\x00".to_vec(), false));
    }

    #[test]
    fn several_frames_in_one_read_come_back_in_order() {
        let mut input = masked(false, OpCode::Text, b"a");
        input.extend(masked(true, OpCode::Ping, b"p"));
        input.extend(masked(true, OpCode::Continuation, b"b"));
        let expected = b"\x01\x01a\x8a\x01p\x80\x01b".to_vec();
        assert_eq!(say(&mut open(), &input), (expected, false));
    }

    #[test]
    fn every_split_says_the_same() {
        let mut input = REQUEST.to_vec();
        input.extend(masked(true, OpCode::Ping, b"ping"));
        input.extend(masked(true, OpCode::Close, b"\x03\xe8bye"));
        let whole = say(&mut Connection::default(), &input).0;
        assert!(whole.ends_with(b"\x8a\x04ping\x88\x02\x03\xe8"));
        for split in 1..input.len() {
            let mut connection = Connection::default();
            let (mut said, closes) = say(&mut connection, &input[..split]);
            assert!(!closes, "split at {split}");
            let (rest, closes) = say(&mut connection, &input[split..]);
            said.extend(rest);
            assert_eq!((said, closes), (whole.clone(), true), "split at {split}");
        }
    }

    #[test]
    fn a_large_message_comes_in_larger_reads_and_they_shrink_again() {
        let mut connection = open();
        let input = masked(true, OpCode::Binary, &[7; 100_000]);
        let mut echoed = 0;
        let mut rest = &input[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(connection.read_size.min(rest.len()));
            rest = later;
            echoed += say(&mut connection, now).0.iter().filter(|&&byte| byte == 7).count();
        }
        assert_eq!(echoed, 100_000);
        assert_eq!(connection.read_size, READ_MAX);
        for _ in 0..4 {
            say(&mut connection, &masked(true, OpCode::Binary, b"small"));
        }
        assert_eq!(connection.read_size, READ_MIN);
    }

    #[test]
    fn faults_are_answered_and_close() {
        let (said, closes) = say(&mut open(), b"\x81\x05Hello");
        assert!(said.starts_with(b"\x88") && &said[2..4] == b"\x03\xea" && closes, "{said:?}");
        let (said, closes) = say(&mut Connection::default(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(said.starts_with(b"HTTP/1.1 426 ") && closes);
    }
}
