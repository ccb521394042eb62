//! The header of a frame (RFC 6455 section 5.2).

use crate::mask::Mask;
use crate::message::{Kind, Part};
use crate::websocket::error::ProtocolError;

/// The longest header, in bytes: two, a 64-bit length, a masking key.
pub const MAX_HEADER: usize = 14;

/// The longest header of a frame without a masking key, in bytes.
pub const MAX_UNMASKED_HEADER: usize = 10;

/// The most that a control frame may carry, in bytes (section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASKED: u8 = 0x80;

/// What a frame is for (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// Continues a fragmented message.
    Continuation = 0x0,
    /// Starts a message of text.
    Text = 0x1,
    /// Starts a message of bytes.
    Binary = 0x2,
    /// Starts or answers the closing handshake.
    Close = 0x8,
    /// Asks for a Pong.
    Ping = 0x9,
    /// Answers a Ping.
    Pong = 0xA,
}

impl OpCode {
    /// Reads the low four bits of `byte`.
    ///
    /// # Errors
    /// The opcode is reserved.
    pub const fn parse(byte: u8) -> Result<Self, ProtocolError> {
        match byte & 0x0F {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            // Section 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail
            // the WebSocket Connection_."
            reserved => Err(ProtocolError::ReservedOpCode(reserved)),
        }
    }

    /// That of a frame which carries a part of a message. Section 5.4: a fragmented message is a
    /// frame with "an opcode other than 0", followed by frames with "the opcode set to 0".
    #[must_use]
    pub const fn of(kind: Kind, part: Part) -> Self {
        match (part.is_first(), kind) {
            (false, _) => Self::Continuation,
            (true, Kind::Text) => Self::Text,
            (true, Kind::Bytes) => Self::Binary,
        }
    }

    /// Section 5.5: "Control frames are identified by opcodes where the most significant bit of
    /// the opcode is 1."
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer is a client: its frames are masked.
    Server,
    /// The peer is a server: its frames are not.
    Client,
}

/// What the reserved bits of a header may be (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// 0: no extension was agreed on.
    Clear,
    /// RSV1 says that a message is compressed (RFC 7692): permessage-deflate was agreed on.
    Compression,
    /// Anything: what they mean is for the end that the frame is passed on to.
    Passed,
}

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// RSV1: with permessage-deflate, the message is compressed (RFC 7692 section 6).
    pub compressed: bool,
    /// What the frame is for.
    pub opcode: OpCode,
    /// The masking key, of a client's frame.
    pub mask: Option<[u8; 4]>,
    /// Payload bytes, below 2^63.
    pub length: u64,
}

/// What [`Header::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed; those that are there are not wrong.
    Partial,
    /// A header and how many bytes it took.
    Complete(Header, usize),
}

impl Header {
    /// Of a frame without a masking key that carries a part of a message, `length` bytes as they
    /// travel. RFC 7692 section 6: that a message is `compressed` stands in its first frame only.
    #[must_use]
    pub const fn of_message(kind: Kind, part: Part, compressed: bool, length: usize) -> Self {
        Self {
            fin: part.is_last(),
            compressed: compressed && part.is_first(),
            opcode: OpCode::of(kind, part),
            mask: None,
            length: length as u64,
        }
    }

    /// Of a control frame without a masking key, of at most [`MAX_CONTROL_PAYLOAD`] bytes.
    #[must_use]
    pub const fn of_control(opcode: OpCode, length: usize) -> Self {
        debug_assert!(opcode.is_control() && length <= MAX_CONTROL_PAYLOAD);
        Self { fin: true, compressed: false, opcode, mask: None, length: length as u64 }
    }

    /// The same with a masking key, as a client has to send it.
    #[must_use]
    pub const fn masked(self, key: [u8; 4]) -> Self {
        Self { mask: Some(key), ..self }
    }

    /// Reads a header from the start of `bytes`, for an end in `role`. What is wrong is refused as
    /// soon as its byte is there.
    ///
    /// # Errors
    /// What a single header can break; the order of frames is the receiver's business.
    pub fn parse(bytes: &[u8], role: Role, reserved: Reserved) -> Result<Parsed, ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(Parsed::Partial) };
        let opcode = check_first(first, reserved)?;
        let Some(&second) = bytes.get(1) else { return Ok(Parsed::Partial) };
        check_second(second, opcode, role)?;
        let Some(field) = parse_length(&bytes[1..])? else { return Ok(Parsed::Partial) };
        let LengthField { length, bytes: used } = field;
        let after_length = &bytes[1 + used..];
        let mask = match role {
            Role::Client => None,
            Role::Server => match after_length.first_chunk::<4>() {
                Some(key) => Some(*key),
                None => return Ok(Parsed::Partial),
            },
        };
        let header =
            Self { fin: first & FIN != 0, compressed: first & RSV1 != 0, opcode, mask, length };
        Ok(Parsed::Complete(header, 1 + used + mask.map_or(0, |key| key.len())))
    }

    /// The bytes that [`Header::emit`] writes.
    #[must_use]
    pub const fn encoded_length(&self) -> usize {
        let mask = if self.mask.is_some() { 4 } else { 0 };
        unmasked_length(self.length) + mask
    }

    /// Writes the header to the start of `out`; returns its length, at most [`MAX_HEADER`].
    ///
    /// # Panics
    /// `out` is shorter than [`Header::encoded_length`].
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let fin = if self.fin { FIN } else { 0 };
        let rsv1 = if self.compressed { RSV1 } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out[0] = fin | rsv1 | self.opcode as u8;
        // Section 5.2: "Note that in all cases, the minimal number of bytes MUST be used to
        // encode the length".
        let at = match self.length {
            0..=125 => {
                out[1] = masked | self.length as u8;
                2
            }
            126..=0xFFFF => {
                out[1] = masked | 126;
                out[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
                4
            }
            _ => {
                out[1] = masked | 127;
                out[2..10].copy_from_slice(&self.length.to_be_bytes());
                10
            }
        };
        let Some(key) = self.mask else { return at };
        out[at..at + 4].copy_from_slice(&key);
        at + 4
    }

    /// Writes the whole frame to the start of `out`, its payload masked if the header has a key;
    /// returns its length.
    ///
    /// # Panics
    /// `payload` is not what the header announces, or `out` is shorter than both.
    pub fn emit_frame(&self, payload: &[u8], out: &mut [u8]) -> usize {
        assert_eq!(self.length, payload.len() as u64, "another payload than was announced");
        let start = self.emit(out);
        let end = start + payload.len();
        out[start..end].copy_from_slice(payload);
        if let Some(key) = self.mask {
            Mask::new(key).apply(&mut out[start..end]);
        }
        end
    }
}

/// Whether the header that begins with `first` has RSV1 set.
#[must_use]
pub const fn is_compressed(first: u8) -> bool {
    first & RSV1 != 0
}

/// The bytes that an unmasked header takes in front of `payload` bytes.
#[must_use]
pub const fn unmasked_length(payload: u64) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => MAX_UNMASKED_HEADER,
    }
}

fn check_first(first: u8, reserved: Reserved) -> Result<OpCode, ProtocolError> {
    // RFC 6455 section 5.2: RSV1 to RSV3 "MUST be 0 unless an extension is negotiated that defines
    // meanings for non-zero values."
    let must_be_0 = match reserved {
        Reserved::Clear => RSV1 | RSV2_RSV3,
        Reserved::Compression => RSV2_RSV3,
        Reserved::Passed => 0,
    };
    if first & must_be_0 != 0 {
        return Err(ProtocolError::ReservedBit);
    }
    let opcode = OpCode::parse(first)?;
    // RFC 7692 section 6.1: RSV1 is set only "on the first frame" of a message: "An endpoint MUST
    // NOT set the "Per-Message Compressed" bit of control frames and non-first fragments of a data
    // message."
    let starts_message = matches!(opcode, OpCode::Text | OpCode::Binary);
    if first & RSV1 != 0 && reserved == Reserved::Compression && !starts_message {
        return Err(ProtocolError::CompressedBitMisplaced);
    }
    // RFC 6455 section 5.5: control frames "MUST NOT be fragmented".
    if opcode.is_control() && first & FIN == 0 {
        return Err(ProtocolError::FragmentedControl);
    }
    Ok(opcode)
}

fn check_second(second: u8, opcode: OpCode, role: Role) -> Result<(), ProtocolError> {
    // RFC 6455 section 5.1: "The server MUST close the connection upon receiving a frame that is
    // not masked" and "A client MUST close a connection if it detects a masked frame".
    match (role, second & MASKED != 0) {
        (Role::Server, false) => return Err(ProtocolError::Unmasked),
        (Role::Client, true) => return Err(ProtocolError::Masked),
        _ => {}
    }
    // Section 5.5: "All control frames MUST have a payload length of 125 bytes or less".
    if opcode.is_control() && usize::from(second & !MASKED) > MAX_CONTROL_PAYLOAD {
        return Err(ProtocolError::OversizedControl);
    }
    Ok(())
}

/// The length of a payload, as a header says it.
struct LengthField {
    length: u64,
    /// How many bytes of the header say it.
    bytes: usize,
}

/// Reads the length from `bytes`, which start with the header's second byte.
fn parse_length(bytes: &[u8]) -> Result<Option<LengthField>, ProtocolError> {
    match bytes[0] & !MASKED {
        126 => {
            let Some(field) = bytes[1..].first_chunk::<2>() else { return Ok(None) };
            match u16::from_be_bytes(*field) {
                0..=125 => Err(ProtocolError::NonMinimalLength),
                length => Ok(Some(LengthField { length: u64::from(length), bytes: 3 })),
            }
        }
        127 => {
            // Section 5.2: "the most significant bit MUST be 0".
            if bytes.get(1).is_some_and(|top| top & 0x80 != 0) {
                return Err(ProtocolError::LengthTopBit);
            }
            let Some(field) = bytes[1..].first_chunk::<8>() else { return Ok(None) };
            match u64::from_be_bytes(*field) {
                0..=0xFFFF => Err(ProtocolError::NonMinimalLength),
                length => Ok(Some(LengthField { length, bytes: 9 })),
            }
        }
        length => Ok(Some(LengthField { length: u64::from(length), bytes: 1 })),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Parsed, ProtocolError> {
        Header::parse(bytes, Role::Server, Reserved::Clear)
    }

    /// The examples of RFC 6455 section 5.7, as the client sees them.
    #[test]
    fn deconstruct() {
        let unmasked = |bytes: &[u8]| Header::parse(bytes, Role::Client, Reserved::Clear);
        let hello =
            Header { fin: true, compressed: false, opcode: OpCode::Text, mask: None, length: 5 };
        assert_eq!(unmasked(b"\x81\x05Hello"), Ok(Parsed::Complete(hello, 2)));
        let fragment = Header { fin: false, length: 3, ..hello };
        assert_eq!(unmasked(b"\x01\x03Hel"), Ok(Parsed::Complete(fragment, 2)));
        let masked = Header { mask: Some([0x37, 0xfa, 0x21, 0x3d]), ..hello };
        assert_eq!(parse(b"\x81\x85\x37\xfa\x21\x3d"), Ok(Parsed::Complete(masked, 6)));
        let binary = Header { opcode: OpCode::Binary, length: 256, ..hello };
        assert_eq!(unmasked(b"\x82\x7e\x01\x00"), Ok(Parsed::Complete(binary, 4)));
        let long = Header { length: 65536, ..binary };
        assert_eq!(
            unmasked(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
            Ok(Parsed::Complete(long, 10))
        );
    }

    #[test]
    fn construct() {
        let header = Header {
            fin: true,
            compressed: true,
            opcode: OpCode::Binary,
            mask: Some([1, 2, 3, 4]),
            length: 126,
        };
        let mut out = [0; MAX_HEADER];
        assert_eq!(header.emit(&mut out), 8);
        assert_eq!(&out[..8], b"\xc2\xfe\x00\x7e\x01\x02\x03\x04");
    }

    /// RFC 6455 section 5.7: "a fragmented unmasked text message", and a masked one.
    #[test]
    fn whole_frames() {
        let mut out = [0; 16];
        let header = Header::of_message(Kind::Text, Part::First, false, 3);
        let length = header.emit_frame(b"Hel", &mut out);
        assert_eq!(&out[..length], b"\x01\x03Hel");
        let header = Header::of_message(Kind::Text, Part::Last, false, 2);
        let length = header.emit_frame(b"lo", &mut out);
        assert_eq!(&out[..length], b"\x80\x02lo");
        let header = Header::of_message(Kind::Text, Part::Whole, false, 5);
        let header = header.masked([0x37, 0xfa, 0x21, 0x3d]);
        let length = header.emit_frame(b"Hello", &mut out);
        assert_eq!(&out[..length], b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let length = Header::of_control(OpCode::Ping, 5).emit_frame(b"Hello", &mut out);
        assert_eq!(&out[..length], b"\x89\x05Hello");
    }

    #[test]
    fn rfc_7692_section_6_1_only_the_first_frame_says_that_a_message_is_compressed() {
        let of = |part| Header::of_message(Kind::Bytes, part, true, 0);
        for (part, opcode, rsv1, fin) in [
            (Part::Whole, OpCode::Binary, true, true),
            (Part::First, OpCode::Binary, true, false),
            (Part::Middle, OpCode::Continuation, false, false),
            (Part::Last, OpCode::Continuation, false, true),
        ] {
            let header = of(part);
            assert_eq!((header.opcode, header.compressed, header.fin), (opcode, rsv1, fin));
        }
    }

    #[test]
    fn malformed() {
        use ProtocolError as E;
        assert_eq!(parse(b"\xc1"), Err(E::ReservedBit));
        assert_eq!(parse(b"\xa1"), Err(E::ReservedBit));
        assert_eq!(parse(b"\x91"), Err(E::ReservedBit));
        assert_eq!(
            Header::parse(b"\xc9", Role::Server, Reserved::Compression),
            Err(E::CompressedBitMisplaced)
        );
        assert_eq!(
            Header::parse(b"\x40", Role::Server, Reserved::Compression),
            Err(E::CompressedBitMisplaced)
        );
        for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(parse(&[0x80 | opcode]), Err(E::ReservedOpCode(opcode)));
        }
        assert_eq!(parse(b"\x09"), Err(E::FragmentedControl));
        assert_eq!(parse(b"\x81\x05"), Err(E::Unmasked));
        assert_eq!(Header::parse(b"\x81\x85", Role::Client, Reserved::Clear), Err(E::Masked));
        assert_eq!(parse(b"\x89\xfe"), Err(E::OversizedControl));
        assert_eq!(parse(b"\x82\xfe\x00\x7d"), Err(E::NonMinimalLength));
        assert_eq!(parse(b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff"), Err(E::NonMinimalLength));
        assert_eq!(parse(b"\x82\xff\x80"), Err(E::LengthTopBit));
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let opcode =
            prop_oneof![Just(OpCode::Continuation), Just(OpCode::Text), Just(OpCode::Binary),];
        let length = prop_oneof![0..300u64, 65_000..66_000u64, 0..1u64 << 63];
        (any::<bool>(), any::<bool>(), opcode, any::<[u8; 4]>(), length).prop_map(
            |(fin, rsv1, opcode, key, length)| Header {
                fin,
                compressed: rsv1 && opcode != OpCode::Continuation,
                opcode,
                mask: Some(key),
                length,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_and_every_prefix_is_partial(header in any_header()) {
            let mut out = [0; MAX_HEADER];
            let length = header.emit(&mut out);
            prop_assert_eq!(length, header.encoded_length());
            for end in 0..length {
                let parsed = Header::parse(&out[..end], Role::Server, Reserved::Compression);
                prop_assert_eq!(parsed, Ok(Parsed::Partial));
            }
            let parsed = Header::parse(&out, Role::Server, Reserved::Compression);
            prop_assert_eq!(parsed, Ok(Parsed::Complete(header, length)));
        }

        #[test]
        fn a_refusal_never_turns_into_acceptance(
            bytes in prop::collection::vec(any::<u8>(), 0..15)
        ) {
            let whole = Header::parse(&bytes, Role::Server, Reserved::Clear);
            for end in 0..bytes.len() {
                match Header::parse(&bytes[..end], Role::Server, Reserved::Clear) {
                    Ok(Parsed::Partial) => {}
                    decided => prop_assert_eq!(decided, whole),
                }
            }
        }
    }
}
