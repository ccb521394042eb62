//! Frames and messages of a stream (RFC 6455 section 5).

/// What the reader of a stream holds its writer to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The stream is a client's, so its frames are masked.
    pub masked: bool,
    /// permessage-deflate was agreed on.
    pub compression: bool,
    /// The longest message, in bytes as they travel.
    pub max_message: usize,
    /// The longest message, as it travels, of those that have to be put together before anything is
    /// done with them: compressed ones, and all others if `whole`.
    pub max_gathered: usize,
    /// All messages have to be put together.
    pub whole: bool,
}

/// A message, or its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Text or binary.
    pub is_text: bool,
    /// The payload is a deflate stream.
    pub compressed: bool,
    /// The payload, unmasked.
    pub bytes: Vec<u8>,
}

/// What a stream says, in the order in which it is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A whole message.
    Message(Message),
    /// A whole control frame.
    Control {
        /// 8 to 10.
        opcode: u8,
        /// Unmasked.
        payload: Vec<u8>,
    },
}

/// What was read of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Everything that was whole.
    pub said: Vec<Said>,
    /// The message that had begun.
    pub begun: Option<Message>,
    /// The close code that answers the violation at which reading stopped.
    pub violation: Option<u16>,
    /// The bytes at the end that are no whole header.
    pub rest: Vec<u8>,
}

/// A frame, or as much of one as is there.
#[derive(Clone, Debug)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// There is a masking key.
    pub masked: bool,
    /// The length is written in as few bytes as it can be, and its top bit is clear.
    pub length_is_valid: bool,
    /// The announced length of the payload.
    pub length: u64,
    /// As much of the payload as is there, unmasked.
    pub payload: Vec<u8>,
    /// All of the payload is there.
    pub whole: bool,
}

impl Frame {
    /// The last frame of its message.
    #[must_use]
    pub fn fin(&self) -> bool {
        self.first & 0x80 != 0
    }

    /// What the frame is.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first & 0x0F
    }
}

/// Splits one frame off, as far as it is there; `None` if not even its header is.
#[must_use]
pub fn split_frame(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, mut at) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let length_is_valid = match at {
        4 => length > 125,
        10 => length > 65_535 && length >> 63 == 0,
        _ => true,
    };
    let masked = second & 0x80 != 0;
    let key = if masked {
        at += 4;
        *bytes.get(at - 4..)?.first_chunk::<4>()?
    } else {
        [0; 4]
    };
    let there = length.min((bytes.len() - at) as u64) as usize;
    let payload: Vec<u8> =
        bytes[at..at + there].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
    let whole = there as u64 == length;
    let frame = Frame { first, masked, length_is_valid, length, payload, whole };
    Some((frame, &bytes[at + there..]))
}

/// Reads a stream up to its end, its first violation, or behind its first whole Close frame.
#[must_use]
pub fn read(stream: &[u8], rules: &Rules) -> Read {
    let mut read = Read::default();
    let mut rest = stream;
    while let Some((frame, after)) = split_frame(rest) {
        rest = after;
        if let Err(code) = judge(&frame, &mut read, rules) {
            read.violation = Some(code);
            return read;
        }
        if matches!(read.said.last(), Some(Said::Control { opcode: 8, .. })) {
            return read;
        }
    }
    read.rest = rest.to_vec();
    read
}

fn judge(frame: &Frame, read: &mut Read, rules: &Rules) -> Result<(), u16> {
    let opcode = frame.opcode();
    let is_control = opcode & 8 != 0;
    let may_compress = rules.compression && matches!(opcode, 1 | 2);
    let reserved = if may_compress { 0x30 } else { 0x70 };
    let broken = frame.first & reserved != 0
        || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10)
        || frame.masked != rules.masked
        || !frame.length_is_valid
        || (is_control && (!frame.fin() || frame.length > 125))
        || (opcode == 0 && read.begun.is_none())
        || (matches!(opcode, 1 | 2) && read.begun.is_some());
    if broken {
        return Err(1002);
    }
    if is_control {
        if frame.whole {
            read.said.push(Said::Control { opcode, payload: frame.payload.clone() });
        }
        return Ok(());
    }
    take_data(frame, read, rules)
}

fn take_data(frame: &Frame, read: &mut Read, rules: &Rules) -> Result<(), u16> {
    let message = read.begun.get_or_insert_with(|| Message {
        is_text: frame.opcode() == 1,
        compressed: frame.first & 0x40 != 0,
        bytes: Vec::new(),
    });
    let total = message.bytes.len() as u64 + frame.length;
    let gathered = message.compressed || rules.whole;
    let limit =
        if gathered { rules.max_gathered.min(rules.max_message) } else { rules.max_message };
    if total > limit as u64 {
        return Err(1009);
    }
    message.bytes.extend_from_slice(&frame.payload);
    let done = frame.fin() && frame.whole;
    if message.is_text && !message.compressed && !is_utf8(&message.bytes, done) {
        return Err(1007);
    }
    if done {
        read.said.extend(read.begun.take().map(Said::Message));
    }
    Ok(())
}

/// Whether `bytes` are UTF-8, or the beginning of it unless they are `done`.
#[must_use]
pub fn is_utf8(bytes: &[u8], done: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => !done && error.error_len().is_none(),
    }
}
