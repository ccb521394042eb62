//! What a client may be told, worked out from everything it ever says: the naive way, on whole
//! streams, with nothing of the gateway's own protocol code.

/// What the reference expects of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Messages, in order.
    pub messages: Vec<(bool, Vec<u8>)>,
    /// Pongs, in order.
    pub pongs: Vec<Vec<u8>>,
    /// How the stream itself ends the connection, if it does.
    pub close: Option<Option<u16>>,
}

/// What an echo server has to answer to `frames`, the bytes behind the opening handshake.
pub fn expected(frames: &[u8], max_message: usize) -> Expected {
    let mut expected = Expected::default();
    let mut message: Option<(bool, Vec<u8>)> = None;
    let mut rest = frames;
    while let Some((frame, after)) = split_frame(rest) {
        rest = after;
        match judge(&frame, &mut message, max_message) {
            Verdict::Nothing => {}
            Verdict::Message(kind, bytes) => expected.messages.push((kind, bytes)),
            Verdict::Pong(bytes) => expected.pongs.push(bytes),
            Verdict::End(code) => {
                expected.close = Some(code);
                break;
            }
        }
    }
    expected
}

struct Frame {
    first: u8,
    masked: bool,
    minimal: bool,
    length: usize,
    payload: Vec<u8>,
    whole: bool,
}

enum Verdict {
    Nothing,
    Message(bool, Vec<u8>),
    Pong(Vec<u8>),
    End(Option<u16>),
}

/// Splits one frame off; one whose payload is not all there is handed out as far as it goes.
fn split_frame(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, mut at) = match second & 0x7F {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let minimal = match at {
        4 => length > 125,
        10 => length > 65_535,
        _ => true,
    };
    let masked = second & 0x80 != 0;
    let key = if masked {
        at += 4;
        *bytes.get(at - 4..)?.first_chunk::<4>()?
    } else {
        [0; 4]
    };
    let there = (bytes.len() - at).min(length);
    let payload: Vec<u8> =
        bytes[at..at + there].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
    let whole = there == length;
    Some((Frame { first, masked, minimal, length, payload, whole }, &bytes[at + there..]))
}

fn judge(frame: &Frame, message: &mut Option<(bool, Vec<u8>)>, max_message: usize) -> Verdict {
    let fin = frame.first & 0x80 != 0;
    let opcode = frame.first & 0x0F;
    let is_control = opcode & 8 != 0;
    let broken = frame.first & 0x70 != 0
        || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10)
        || !frame.masked
        || !frame.minimal
        || (is_control && (!fin || frame.length > 125))
        || (opcode == 0 && message.is_none())
        || (matches!(opcode, 1 | 2) && message.is_some());
    if broken {
        return Verdict::End(Some(1002));
    }
    if is_control {
        return if frame.whole { control(opcode, &frame.payload) } else { Verdict::Nothing };
    }
    let (is_text, bytes) = message.get_or_insert((opcode == 1, Vec::new()));
    if bytes.len() + frame.length > max_message {
        return Verdict::End(Some(1009));
    }
    bytes.extend_from_slice(&frame.payload);
    let done = fin && frame.whole;
    if *is_text && !is_utf8(bytes, done) {
        return Verdict::End(Some(1007));
    }
    match message.take_if(|_| done) {
        Some((kind, bytes)) => Verdict::Message(kind, bytes),
        None => Verdict::Nothing,
    }
}

fn is_utf8(bytes: &[u8], done: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => !done && error.error_len().is_none(),
    }
}

fn control(opcode: u8, payload: &[u8]) -> Verdict {
    match (opcode, payload) {
        (9, _) => Verdict::Pong(payload.to_vec()),
        (8, []) => Verdict::End(None),
        (8, [_]) => Verdict::End(Some(1002)),
        (8, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            let may_travel = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            match (may_travel, std::str::from_utf8(reason)) {
                (false, _) => Verdict::End(Some(1002)),
                (true, Err(_)) => Verdict::End(Some(1007)),
                (true, Ok(_)) => Verdict::End(Some(code)),
            }
        }
        _ => Verdict::Nothing,
    }
}

/// What the server has said so far.
#[derive(Debug, Default)]
pub struct Heard {
    /// Whole messages, in order.
    pub messages: Vec<(bool, Vec<u8>)>,
    /// The beginning of one more.
    pub begun: Option<(bool, Vec<u8>)>,
    /// Pongs, in order.
    pub pongs: Vec<Vec<u8>>,
    /// Pings.
    pub pings: usize,
    /// The Close frame.
    pub close: Option<Option<u16>>,
    /// The beginning of a frame that is not whole.
    rest: Vec<u8>,
}

impl Heard {
    /// Reads what the server says next; yields how many bytes of the message that is begun are
    /// known in a frame that is not whole yet.
    ///
    /// # Panics
    /// It is no WebSocket stream of a server.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let mut used = 0;
        let mut partial = Vec::new();
        while let Some((frame, after)) = split_frame(&rest[used..]) {
            assert!(self.close.is_none(), "a frame after the Close frame");
            assert!(!frame.masked && frame.minimal && frame.first & 0x70 == 0, "a wrong header");
            if !frame.whole {
                if frame.first & 8 == 0 {
                    partial = frame.payload;
                }
                break;
            }
            used = rest.len() - after.len();
            hear_frame(self, frame);
        }
        self.rest = rest.split_off(used);
        partial
    }
}

fn hear_frame(heard: &mut Heard, frame: Frame) {
    let fin = frame.first & 0x80 != 0;
    let opcode = frame.first & 0x0F;
    if opcode & 8 != 0 {
        assert!(fin && frame.length <= 125, "a wrong control frame");
        match opcode {
            8 => heard.close = Some(frame.payload.first_chunk().map(|c| u16::from_be_bytes(*c))),
            9 => heard.pings += 1,
            10 => heard.pongs.push(frame.payload),
            other => panic!("opcode {other}"),
        }
        return;
    }
    assert_eq!(opcode == 0, heard.begun.is_some(), "fragments out of order");
    let (_, bytes) = heard.begun.get_or_insert((opcode == 1, Vec::new()));
    bytes.extend(frame.payload);
    if fin {
        heard.messages.extend(heard.begun.take());
    }
}
