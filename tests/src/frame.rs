//! Frames, put together and taken apart by hand (RFC 6455 section 5.2).

use std::fmt;

/// The opcode of a frame that continues a message.
pub const CONTINUATION: u8 = 0x0;
/// The opcode of a frame that starts a text.
pub const TEXT: u8 = 0x1;
/// The opcode of a frame that starts bytes.
pub const BINARY: u8 = 0x2;
/// The opcode of a Close frame.
pub const CLOSE: u8 = 0x8;
/// The opcode of a Ping frame.
pub const PING: u8 = 0x9;
/// The opcode of a Pong frame.
pub const PONG: u8 = 0xA;

/// The first of the three reserved bits, in [`Frame::rsv`].
pub const RSV1: u8 = 0b100;

/// The masking key of every frame that is sent: any will do (section 5.3), and this one has four
/// bytes that differ.
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// One frame, right or wrong.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bit FIN.
    pub fin: bool,
    /// The bits RSV1 to RSV3, RSV1 the highest.
    pub rsv: u8,
    /// Four bits.
    pub opcode: u8,
    /// The payload, not masked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole frame of any opcode.
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { fin: true, rsv: 0, opcode, payload: payload.as_ref().to_vec() }
    }

    /// A text; need not be UTF-8.
    pub fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(TEXT, payload)
    }

    /// Bytes.
    pub fn binary(payload: impl AsRef<[u8]>) -> Self {
        Self::new(BINARY, payload)
    }

    /// The last fragment of a message; with [`Frame::unfinished`], one in its middle.
    pub fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Self::new(CONTINUATION, payload)
    }

    /// A Ping.
    pub fn ping(payload: impl AsRef<[u8]>) -> Self {
        Self::new(PING, payload)
    }

    /// A Pong.
    pub fn pong(payload: impl AsRef<[u8]>) -> Self {
        Self::new(PONG, payload)
    }

    /// A Close with a code and a reason, which need not be right.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    /// The same without FIN: more of the message, or wrongly of the control frame, follows.
    #[must_use]
    pub fn unfinished(self) -> Self {
        Self { fin: false, ..self }
    }

    /// The same with these reserved bits.
    #[must_use]
    pub fn with_rsv(self, rsv: u8) -> Self {
        Self { rsv, ..self }
    }

    /// As a client sends it.
    #[must_use]
    pub fn masked(&self) -> Vec<u8> {
        let mut bytes = self.head(0x80);
        bytes.extend(KEY);
        bytes.extend(mask(&self.payload));
        bytes
    }

    /// As a server sends it, and a client must not.
    #[must_use]
    pub fn unmasked(&self) -> Vec<u8> {
        let mut bytes = self.head(0);
        bytes.extend(&self.payload);
        bytes
    }

    /// As a client sends it, with the length in two bytes (`width` 126) or in eight (127) whatever
    /// it is, and with `length` for it.
    #[must_use]
    pub fn masked_with_length(&self, width: u8, length: u64) -> Vec<u8> {
        let mut bytes = vec![self.first_byte(), 0x80 | width];
        match width {
            126 => bytes.extend((length as u16).to_be_bytes()),
            _ => bytes.extend(length.to_be_bytes()),
        }
        bytes.extend(KEY);
        bytes.extend(mask(&self.payload));
        bytes
    }

    /// The code and the reason of a Close frame; no code if it has no body.
    ///
    /// # Panics
    /// It is no right Close frame.
    #[must_use]
    #[track_caller]
    pub fn close_reason(&self) -> (Option<u16>, String) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        match &self.payload[..] {
            [] => (None, String::new()),
            [high, low, reason @ ..] => {
                let reason = str::from_utf8(reason).expect("a reason is UTF-8");
                (Some(u16::from_be_bytes([*high, *low])), reason.into())
            }
            [_] => panic!("a close body of one byte"),
        }
    }

    /// Reads a server's frame from the start of `bytes`; yields it and its length there, or `None`
    /// if it is not whole.
    ///
    /// # Panics
    /// It is masked, a control frame that is fragmented or too long, or its length takes more bytes
    /// than it needs.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let [first, second] = *bytes.first_chunk()?;
        assert_eq!(second & 0x80, 0, "a server's frame is masked: {first:#x} {second:#x}");
        let (length, start) = match second {
            126 => (u16::from_be_bytes(*bytes[2..].first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*bytes[2..].first_chunk()?), 10),
            short => (u64::from(short), 2),
        };
        let least = [(2, 0), (4, 126), (10, 65_536)].into_iter().find(|(at, _)| *at == start);
        assert!(least.is_some_and(|(_, least)| length >= least), "a length of {length} in {start}");
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
        assert!(opcode < 8 || (fin && length <= 125), "a control frame {first:#x} of {length}");
        let end = start + usize::try_from(length).expect("a frame that fits the memory");
        let payload = bytes.get(start..end)?.to_vec();
        Some((Self { fin, rsv: first >> 4 & 0b111, opcode, payload }, end))
    }

    fn head(&self, masked: u8) -> Vec<u8> {
        let first = self.first_byte();
        match self.payload.len() {
            length @ 0..=125 => vec![first, masked | length as u8],
            length @ 126..=0xFFFF => {
                let length = (length as u16).to_be_bytes();
                vec![first, masked | 126, length[0], length[1]]
            }
            length => {
                let mut bytes = vec![first, masked | 127];
                bytes.extend((length as u64).to_be_bytes());
                bytes
            }
        }
    }

    fn first_byte(&self) -> u8 {
        u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fin, rsv, opcode, payload } = self;
        let shown = payload[..payload.len().min(64)].escape_ascii();
        let length = payload.len();
        write!(out, "Frame(fin {fin}, rsv {rsv:03b}, opcode {opcode:#x}, {length} B \"{shown}\")")
    }
}

fn mask(payload: &[u8]) -> impl Iterator<Item = u8> {
    payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_5_7_examples() {
        assert_eq!(Frame::text("Hello").unmasked(), b"\x81\x05Hello");
        assert_eq!(Frame::text("Hello").masked(), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(Frame::text("Hel").unfinished().unmasked(), b"\x01\x03Hel");
        assert_eq!(Frame::continuation("lo").unmasked(), b"\x80\x02lo");
    }

    #[test]
    fn what_a_server_sends_is_read() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let frame = Frame::binary(vec![7; length]).unfinished().with_rsv(RSV1);
            let bytes = frame.unmasked();
            assert_eq!(Frame::read(&bytes), Some((frame, bytes.len())));
            assert_eq!(Frame::read(&bytes[..bytes.len() - 1]), None);
        }
    }
}
