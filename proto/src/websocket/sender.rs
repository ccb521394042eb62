//! What one end sends: which part of which message may follow, and how a part is cut into frames.

use core::fmt;
use core::ops::Range;

use crate::message::Part;

/// What is being sent in one direction, in one byte. Control frames may go between any two frames
/// (RFC 6455 section 5.4), so they leave it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Sender {
    /// No message: one may begin.
    #[default]
    Between,
    /// A message that travels as it is.
    Plain,
    /// A message that travels compressed (RFC 7692).
    Compressed,
    /// A message was cut short: nothing but a Close frame may follow.
    CutShort,
}

/// A message would begin within another, or what is none would go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder;

impl fmt::Display for OutOfOrder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("messages may not overlap")
    }
}

impl core::error::Error for OutOfOrder {}

impl Sender {
    /// A part of a message is sent; returns whether it travels compressed. That is the caller's
    /// wish where the message begins, and stays as it was then.
    ///
    /// # Errors
    /// RFC 6455 section 5.4: "The fragments of one message MUST NOT be interleaved between the
    /// fragments of another message".
    pub const fn send(&mut self, part: Part, compressed: bool) -> Result<bool, OutOfOrder> {
        let compressed = match (*self, part.is_first()) {
            (Self::Between, true) => compressed,
            (Self::Plain, false) => false,
            (Self::Compressed, false) => true,
            _ => return Err(OutOfOrder),
        };
        *self = match (part.is_last(), compressed) {
            (true, _) => Self::Between,
            (false, false) => Self::Plain,
            (false, true) => Self::Compressed,
        };
        Ok(compressed)
    }

    /// What was to be sent last is lost, or some of it.
    pub const fn cut_short(&mut self) {
        *self = Self::CutShort;
    }

    /// Whether a message may begin.
    #[must_use]
    pub const fn is_between(self) -> bool {
        matches!(self, Self::Between)
    }
}

/// Some bytes of a part, which leave as a frame of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which bytes of the part.
    pub range: Range<usize>,
    /// Which part of the message they are.
    pub part: Part,
}

/// The cuts of one part; made by [`cut`].
#[derive(Clone, Debug)]
pub struct Cuts {
    part: Part,
    length: usize,
    /// The bytes of a cut, but for the last.
    size: usize,
    /// Where the next one begins; `None` behind the last.
    next: Option<usize>,
}

/// Cuts `length` bytes, which are `part` of a message, into cuts of `size` bytes and a last one
/// with what is left. No bytes are one cut as well.
///
/// # Panics
/// `size` is 0.
#[must_use]
pub const fn cut(part: Part, length: usize, size: usize) -> Cuts {
    assert!(size > 0, "cuts without bytes have no end");
    Cuts { part, length, size, next: Some(0) }
}

impl Iterator for Cuts {
    type Item = Cut;

    fn next(&mut self) -> Option<Cut> {
        let from = self.next?;
        let until = self.length.min(from.saturating_add(self.size));
        let is_last = until == self.length;
        self.next = (!is_last).then_some(until);
        let part = Part::from_start(self.part.is_first() && from == 0);
        Some(Cut { range: from..until, part: part.to_end(self.part.is_last() && is_last) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Kind;
    use crate::websocket::error::ProtocolError;
    use crate::websocket::frame::{Header, OpCode, Reserved, Role};
    use crate::websocket::receiver::{Decoded, Receiver, Rules};

    #[test]
    fn the_state_is_one_byte() {
        assert_eq!(size_of::<Sender>(), 1);
    }

    #[test]
    fn section_5_4_messages_do_not_overlap() {
        let mut sender = Sender::default();
        assert_eq!(sender.send(Part::Middle, false), Err(OutOfOrder));
        assert_eq!(sender.send(Part::Last, false), Err(OutOfOrder));
        assert_eq!(sender.send(Part::Whole, false), Ok(false));
        assert_eq!(sender.send(Part::First, false), Ok(false));
        assert_eq!(sender.send(Part::First, false), Err(OutOfOrder));
        assert_eq!(sender.send(Part::Whole, false), Err(OutOfOrder));
        assert!(!sender.is_between(), "what was refused changes nothing");
        assert_eq!(sender.send(Part::Last, false), Ok(false));
        assert!(sender.is_between());
    }

    #[test]
    fn a_message_stays_as_it_began() {
        let mut sender = Sender::default();
        assert_eq!(sender.send(Part::First, true), Ok(true));
        assert_eq!(sender.send(Part::Middle, false), Ok(true));
        assert_eq!(sender.send(Part::Last, false), Ok(true));
        assert_eq!(sender.send(Part::First, false), Ok(false));
        assert_eq!(sender.send(Part::Last, true), Ok(false));
    }

    #[test]
    fn nothing_follows_what_was_cut_short() {
        for part in [Part::Whole, Part::First, Part::Middle, Part::Last] {
            let mut sender = Sender::default();
            sender.cut_short();
            assert!(!sender.is_between());
            assert_eq!(sender.send(part, false), Err(OutOfOrder));
        }
    }

    #[test]
    fn cuts() {
        let parts = |part, length| cut(part, length, 4).map(|cut| cut.part).collect::<Vec<_>>();
        assert_eq!(parts(Part::Whole, 0), [Part::Whole]);
        assert_eq!(parts(Part::Whole, 4), [Part::Whole]);
        assert_eq!(parts(Part::Whole, 5), [Part::First, Part::Last]);
        assert_eq!(parts(Part::Whole, 9), [Part::First, Part::Middle, Part::Last]);
        assert_eq!(parts(Part::First, 5), [Part::First, Part::Middle]);
        assert_eq!(parts(Part::Middle, 5), [Part::Middle, Part::Middle]);
        assert_eq!(parts(Part::Last, 5), [Part::Middle, Part::Last]);
    }

    /// A part that somebody wants to send.
    #[derive(Clone, Debug)]
    struct Wish {
        kind: Kind,
        part: Part,
        compressed: bool,
        payload: Vec<u8>,
    }

    /// What has been said in whole messages: text or not, compressed or not, and the bytes.
    type Messages = Vec<(Kind, bool, Vec<u8>)>;

    fn wishes() -> impl Strategy<Value = Vec<Wish>> {
        let kind = prop_oneof![Just(Kind::Text), Just(Kind::Bytes)];
        let part = prop::sample::select(vec![Part::Whole, Part::First, Part::Middle, Part::Last]);
        let payload = prop::collection::vec(b'a'..=b'z', 0..40);
        let wish = (kind, part, any::<bool>(), payload)
            .prop_map(|(kind, part, compressed, payload)| Wish { kind, part, compressed, payload });
        prop::collection::vec(wish, 0..30)
    }

    /// The frames of all wishes that may be sent, a Ping behind each, and the messages that they
    /// make up by a model of their own.
    fn send(wishes: &[Wish], size: usize) -> (Vec<u8>, Messages) {
        let (mut sender, mut stream, mut said) = (Sender::default(), Vec::new(), Messages::new());
        let mut open: Option<(Kind, bool, Vec<u8>)> = None;
        let mut put = |header: Header, payload: &[u8]| {
            let at = stream.len();
            stream.resize(at + header.encoded_length() + payload.len(), 0);
            header.emit_frame(payload, &mut stream[at..]);
        };
        for Wish { kind, part, compressed, payload } in wishes {
            let sent = sender.send(*part, *compressed);
            assert_eq!(sent.is_ok(), part.is_first() == open.is_none());
            let Ok(is_compressed) = sent else { continue };
            let message = open.get_or_insert_with(|| (*kind, *compressed, Vec::new()));
            assert_eq!(is_compressed, message.1);
            message.2.extend_from_slice(payload);
            let kind = message.0;
            for Cut { range, part } in cut(*part, payload.len(), size) {
                let header = Header::of_message(kind, part, is_compressed, range.len());
                put(header, &payload[range]);
                put(Header::of_control(OpCode::Ping, 2), b"hi");
            }
            if part.is_last() {
                said.extend(open.take());
            }
            assert_eq!(sender.is_between(), open.is_none());
        }
        (stream, said)
    }

    fn hear(mut stream: Vec<u8>) -> Result<Messages, ProtocolError> {
        let rules =
            Rules { role: Role::Client, reserved: Reserved::Compression, max_message: u32::MAX };
        let (mut receiver, mut at, mut said) = (Receiver::default(), 0, Messages::new());
        let mut message = Vec::new();
        loop {
            match receiver.handle_input(&mut stream, &mut at, &rules)? {
                Decoded::NeedInput => return Ok(said),
                Decoded::Control(_) => {}
                Decoded::Piece(piece) => {
                    message.extend_from_slice(&stream[piece.start..piece.end]);
                    if piece.part.is_last() {
                        said.push((piece.kind, piece.compressed, core::mem::take(&mut message)));
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_may_be_sent_is_heard(wishes in wishes(), size in 1..50usize) {
            let (stream, said) = send(&wishes, size);
            prop_assert_eq!(hear(stream), Ok(said));
        }

        #[test]
        fn cuts_make_up_the_part(length in 0..200usize, size in 1..250usize, which in 0..4usize) {
            let part = [Part::Whole, Part::First, Part::Middle, Part::Last][which];
            let cuts: Vec<Cut> = cut(part, length, size).collect();
            let mut at = 0;
            for (number, cut) in cuts.iter().enumerate() {
                prop_assert_eq!(cut.range.start, at);
                prop_assert!(cut.range.len() <= size);
                prop_assert_eq!(cut.part.is_first(), part.is_first() && number == 0);
                prop_assert_eq!(cut.part.is_last(), part.is_last() && number + 1 == cuts.len());
                at = cut.range.end;
            }
            prop_assert_eq!(at, length);
            prop_assert_eq!(cuts.len(), length.div_ceil(size).max(1));
        }
    }
}
