//! Messages into frames, for one connection or for many: the one place where a message gets its
//! headers, and where it is compressed.

use tidegate_proto::message::{Kind, Part};
use tidegate_proto::websocket::frame::{Header, MAX_UNMASKED_HEADER};
use tidegate_proto::websocket::sender::{Cuts, cut};

use crate::hub::Content;
use crate::memory::{Compressor, PIECE};

/// How a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deflating {
    /// 1 (fastest) to 9 (smallest).
    pub(crate) level: u8,
    /// The window in bits, 8 to 15.
    pub(crate) window: u8,
}

/// A header as it travels.
pub(crate) struct Head {
    bytes: [u8; MAX_UNMASKED_HEADER],
    length: usize,
}

/// A part of a message on its way into compressed frames.
pub(crate) struct Compressing {
    kind: Kind,
    how: Deflating,
    cuts: Cuts,
}

impl Head {
    fn of(header: &Header) -> Self {
        let mut bytes = [0; MAX_UNMASKED_HEADER];
        let length = header.emit(&mut bytes);
        Self { bytes, length }
    }

    /// No header: it stands within the bytes already.
    pub(crate) fn none() -> Self {
        Self { bytes: [0; MAX_UNMASKED_HEADER], length: 0 }
    }

    /// Of a message of so many bytes in one plain frame.
    pub(crate) fn plain(kind: Kind, length: usize) -> Self {
        Self::of(&Header::of_message(kind, Part::Whole, false, length))
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Compressing {
    /// Of a part of so many bytes.
    pub(crate) fn new(kind: Kind, part: Part, length: usize, how: Deflating) -> Self {
        Self { kind, how, cuts: cut(part, length, PIECE) }
    }

    /// Compresses up to [`PIECE`] bytes of the part, which are lent anew for each call, into a
    /// frame of their own: its header and its payload; `None` if all of it has left.
    pub(crate) fn next<'c>(
        &mut self,
        bytes: &[u8],
        compressor: &'c mut Compressor,
    ) -> Option<(Header, &'c [u8])> {
        let Self { kind, how, cuts } = self;
        // An empty piece in the middle of a message compresses to nothing.
        let cut = cuts.find(|cut| cut.part != Part::Middle || !cut.range.is_empty())?;
        let is_last = cut.part.is_last();
        let piece = compressor.compress(how.level, how.window, &bytes[cut.range], is_last);
        Some((Header::of_message(*kind, cut.part, true, piece.len()), piece))
    }
}

/// What a message of this content is to WebSocket.
pub(crate) fn kind(content: &Content) -> Kind {
    match content {
        Content::Text(_) | Content::Json(_) => Kind::Text,
        Content::Bytes(_) => Kind::Bytes,
    }
}

/// A message in one plain frame.
pub(crate) fn plain(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    [Head::plain(kind, bytes.len()).bytes(), bytes].concat()
}

/// A message in compressed frames.
pub(crate) fn compressed(
    compressor: &mut Compressor,
    how: Deflating,
    kind: Kind,
    bytes: &[u8],
) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut pieces = Compressing::new(kind, Part::Whole, bytes.len(), how);
    while let Some((header, piece)) = pieces.next(bytes, compressor) {
        frames.extend_from_slice(Head::of(&header).bytes());
        frames.extend_from_slice(piece);
    }
    frames
}

#[cfg(test)]
mod tests {
    use tidegate_proto::websocket::frame::OpCode;

    use super::*;

    const HOW: Deflating = Deflating { level: 1, window: 15 };

    /// The opcodes and lengths of the frames that a part becomes.
    fn frames(part: Part, length: usize) -> Vec<(OpCode, bool, bool)> {
        let (bytes, mut compressor) = (vec![b'a'; length], Compressor::new());
        let mut pieces = Compressing::new(Kind::Text, part, length, HOW);
        let mut frames = Vec::new();
        while let Some((header, piece)) = pieces.next(&bytes, &mut compressor) {
            assert_eq!(header.length, piece.len() as u64);
            assert!(!piece.is_empty() || header.fin, "nothing is sent for nothing");
            frames.push((header.opcode, header.compressed, header.fin));
        }
        frames
    }

    #[test]
    fn each_piece_is_a_frame_of_its_own() {
        use OpCode::{Continuation, Text};
        assert_eq!(frames(Part::Whole, 0), [(Text, true, true)]);
        assert_eq!(frames(Part::Whole, PIECE), [(Text, true, true)]);
        let two = [(Text, true, false), (Continuation, false, true)];
        assert_eq!(frames(Part::Whole, PIECE + 1), two);
        assert_eq!(frames(Part::First, 1), [(Text, true, false)]);
        assert_eq!(frames(Part::Last, 0), [(Continuation, false, true)]);
        assert_eq!(frames(Part::Middle, 0), [], "an empty piece in the middle is left out");
    }

    #[test]
    fn many_are_sent_what_one_is() {
        let bytes: Vec<u8> = (0..3 * PIECE + 7).map(|at| (at % 251) as u8).collect();
        let (mut one, mut other) = (Compressor::new(), Compressor::new());
        let mut pieces = Compressing::new(Kind::Bytes, Part::Whole, bytes.len(), HOW);
        let mut expected = Vec::new();
        while let Some((header, piece)) = pieces.next(&bytes, &mut one) {
            let mut head = [0; 14];
            let length = header.emit(&mut head);
            expected.extend([&head[..length], piece].concat());
        }
        assert_eq!(compressed(&mut other, HOW, Kind::Bytes, &bytes), expected);
        assert_eq!(plain(Kind::Bytes, &[7; 126])[..5], [0x82, 126, 0, 126, 7]);
    }
}
