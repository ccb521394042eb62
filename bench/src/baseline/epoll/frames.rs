//! Frames, as a bare loop takes them: no check of anything.

use std::ops::Range;

use tidegate_proto::mask::Mask;

const TEXT_OR_BINARY_MAX: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The longest frame, in bytes.
const FRAME_MAX: u64 = 16 << 20;

/// What a stretch of frames was answered by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// Frames that answer, one behind the other.
    pub(super) reply: Range<usize>,
    /// Those of them that are for all, if there is a room.
    pub(super) for_room: Vec<u8>,
    /// The start of a frame that has not come as a whole.
    pub(super) rest: Range<usize>,
    pub(super) is_closing: bool,
}

/// Answers the frames at `plain` where they lie; `None` if one of them is too long. What is said in
/// a room is put aside.
pub(super) fn answer(bytes: &mut [u8], plain: Range<usize>, in_room: bool) -> Option<Answered> {
    let (mut at, mut is_closing, mut for_room) = (plain.start, false, Vec::new());
    let mut reply = at..at;
    while !is_closing {
        let Some((header, length)) = header(&bytes[at..plain.end]) else { break };
        if length > FRAME_MAX {
            return None;
        }
        let (payload, end) = (at + header, at + header + length as usize);
        if end > plain.end {
            break;
        }
        let (first, opcode) = (bytes[at], bytes[at] & 0xf);
        at = end;
        if opcode == PONG {
            continue;
        }
        let key = bytes[payload - 4..payload].try_into().expect("four bytes");
        Mask::new(key).apply(&mut bytes[payload..end]);
        let first = if opcode == PING { 0x80 | PONG } else { first };
        let start = put_header(bytes, payload, length, first);
        if in_room && opcode <= TEXT_OR_BINARY_MAX {
            for_room.extend_from_slice(&bytes[start..end]);
        } else if reply.is_empty() {
            reply = start..end;
        } else {
            bytes.copy_within(start..end, reply.end);
            reply.end += end - start;
        }
        is_closing = opcode == CLOSE;
    }
    Some(Answered { reply, for_room, rest: at..plain.end, is_closing })
}

/// The lengths of the header and of the payload, as soon as they can be told.
fn header(frame: &[u8]) -> Option<(usize, u64)> {
    match frame.get(1)? & 0x7f {
        126 => Some((8, u16::from_be_bytes(*frame.get(2..)?.first_chunk()?).into())),
        127 => Some((14, u64::from_be_bytes(*frame.get(2..)?.first_chunk()?))),
        short => Some((6, short.into())),
    }
}

/// Writes the header of an answer in front of its payload, and yields where it begins.
fn put_header(bytes: &mut [u8], payload: usize, length: u64, first: u8) -> usize {
    match length {
        0..126 => {
            bytes[payload - 2..payload].copy_from_slice(&[first, length as u8]);
            payload - 2
        }
        126..65536 => {
            let [high, low] = (length as u16).to_be_bytes();
            bytes[payload - 4..payload].copy_from_slice(&[first, 126, high, low]);
            payload - 4
        }
        _ => {
            bytes[payload - 10..payload - 8].copy_from_slice(&[first, 127]);
            bytes[payload - 8..payload].copy_from_slice(&length.to_be_bytes());
            payload - 10
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_answered_where_they_lie_and_an_incomplete_one_is_left() {
        // "Hello" (RFC 6455 section 5.7), a Ping with the key 0, and the start of another frame.
        let mut bytes = b"..\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
        bytes.extend_from_slice(b"\x89\x81\0\0\0\0p\x82\x85\0\0");
        let end = bytes.len();
        let answered = answer(&mut bytes, 2..end, false).unwrap();
        assert_eq!(&bytes[answered.reply], b"\x81\x05Hello\x8a\x01p");
        assert_eq!((answered.rest, answered.is_closing), (end - 4..end, false));
        assert!(answered.for_room.is_empty());
    }

    #[test]
    fn what_is_for_a_room_is_put_aside() {
        let mut bytes = b"\x82\x81\0\0\0\0a\x89\x80\0\0\0\0\x88\x80\0\0\0\0\x82".to_vec();
        let end = bytes.len();
        let answered = answer(&mut bytes, 0..end, true).unwrap();
        assert_eq!(answered.for_room, b"\x82\x01a");
        assert_eq!(&bytes[answered.reply], b"\x8a\0\x88\0");
        assert!(answered.is_closing, "nothing behind a Close is looked at");
        let mut long = [&b"\x82\xff"[..], &(FRAME_MAX + 1).to_be_bytes(), &[0; 4]].concat();
        assert_eq!(answer(&mut long, 0..14, false), None);
    }
}
