//! Messages into frames, for one connection or for many: the one place where a message gets its
//! headers, and where it is compressed.

use std::borrow::Cow;

use tidegate_proto::websocket::frame::{Header, MAX_UNMASKED_HEADER};
use tidegate_proto::websocket::message::{Kind, Part};
use tidegate_proto::websocket::sender::{Cuts, cut};

use crate::config::stack::Deflate;
use crate::hub::{Content, Delivery, Encoded, Form, Publication};
use crate::memory::{Compressor, PIECE};
use crate::protocol::events;

/// The window of what is compressed for many, in bits: what nearly all clients agree to. There is
/// one: a peer must not choose what work it makes.
const SHARED_WINDOW: u8 = 15;

/// Of a [`Form`]: compressed, with the shared window.
const DEFLATED: u8 = 1;
/// Of a [`Form`]: as an event.
const EVENT: u8 = 2;

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

    fn none() -> Self {
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

/// A delivery in bytes: what stands in front, and the rest.
pub(crate) struct Encoding<'d> {
    head: Head,
    bytes: Cow<'d, [u8]>,
}

impl Encoding<'_> {
    /// All of it, in order.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [self.head.bytes(), &self.bytes]
    }
}

/// The form in which a connection that has agreed to this window, 0 for none, is sent what is
/// published, as events or as it was published.
pub(crate) fn form(events: bool, window: u8) -> Form {
    let deflated = if window == SHARED_WINDOW { DEFLATED } else { 0 };
    Form(deflated | if events { EVENT } else { 0 })
}

/// Whether it is sent events: those who come and those who go as well.
pub(crate) fn is_event(form: Form) -> bool {
    form.0 & EVENT != 0
}

/// The same, but not compressed.
pub(crate) fn uncompressed(form: Form) -> Form {
    Form(form.0 & !DEFLATED)
}

/// Whether a message is encoded once for all who want this form. Events differ from what is
/// published, and where a message stands is not known before it is encoded.
pub(crate) fn is_once(form: Form) -> bool {
    form.0 == DEFLATED
}

/// A message encoded once for all who want it in such a form; `None` if it is not worth it, or no
/// memory is left.
pub(crate) fn once(
    form: Form,
    publication: &Publication,
    compressor: &mut Compressor,
    deflate: Option<Deflate>,
) -> Option<Encoded> {
    let Deflate { level, min } = deflate?;
    let message = &publication.message;
    if !is_once(form) || message.bytes().len() < min as usize {
        return None;
    }
    let how = Deflating { level, window: SHARED_WINDOW };
    let frames = compressed(compressor, how, kind(message.content()), message.bytes());
    message.encoded(form, frames)
}

/// A delivery in this form, compressed at this level where it was not at the home; `None` if there
/// is nothing to be told in it.
pub(crate) fn delivery<'d>(
    form: Form,
    delivery: &'d Delivery,
    compressor: &mut Compressor,
    level: u8,
) -> Option<Encoding<'d>> {
    if let Some(encoded) = delivery.encoded(form) {
        return Some(Encoding { head: Head::none(), bytes: Cow::Borrowed(encoded.bytes()) });
    }
    let (kind, bytes): (_, Cow<'d, [u8]>) = if is_event(form) {
        (Kind::Text, events::event(delivery).into())
    } else {
        let content = delivery.publication()?.message.content();
        (kind(content), Cow::Borrowed(content.as_bytes()))
    };
    if form == uncompressed(form) {
        return Some(Encoding { head: Head::plain(kind, bytes.len()), bytes });
    }
    let how = Deflating { level, window: SHARED_WINDOW };
    let frames = compressed(compressor, how, kind, &bytes);
    Some(Encoding { head: Head::none(), bytes: frames.into() })
}

/// What a message of this content is to WebSocket.
pub(crate) fn kind(content: &Content) -> Kind {
    match content {
        Content::Text(_) => Kind::Text,
        Content::Bytes(_) => Kind::Binary,
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
    use std::sync::Arc;

    use tidegate_proto::websocket::frame::OpCode;

    use super::*;
    use crate::hub::{Message, MessageMemory, What, Who};
    use crate::names::Name;

    const HOW: Deflating = Deflating { level: 1, window: SHARED_WINDOW };

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

    /// A delivery of this content, as the home made it for these forms.
    fn of(content: impl Into<Content>, forms: &[Form], compressor: &mut Compressor) -> Delivery {
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let message = Message::new(content, &memory).expect("room");
        let publication = Publication { message, key: None, except: None };
        let deflate = Some(Deflate { level: 1, min: 10 });
        let once = |form: &Form| once(*form, &publication, &mut *compressor, deflate);
        let encoded = forms.iter().filter_map(once).collect();
        let what = What::Message(publication, encoded);
        Delivery { topic: None, hash: 0, position: None, what }
    }

    fn said(form: Form, delivery: &Delivery, compressor: &mut Compressor) -> Option<Vec<u8>> {
        Some(super::delivery(form, delivery, compressor, 1)?.parts().concat())
    }

    #[test]
    fn what_is_encoded_once_for_all_is_what_each_shard_would_make_of_it() {
        let mut compressor = Compressor::new();
        let [plain, deflated, events] = [form(false, 0), form(false, 15), form(true, 15)];
        let forms = [plain, deflated, events];
        let text = "much of a muchness".repeat(5000);
        let one = of(&*text, &forms, &mut compressor);
        assert!(one.encoded(plain).is_none() && one.encoded(events).is_none());
        let encoded = one.encoded(deflated).expect("it is worth it").bytes().to_vec();
        assert_eq!(said(deflated, &one, &mut compressor), Some(encoded.clone()));
        let other = of(&*text, &[], &mut compressor);
        assert_eq!(said(deflated, &other, &mut compressor), Some(encoded));
        assert!(of("short", &forms, &mut compressor).encoded(deflated).is_none());
    }

    #[test]
    fn each_form_says_what_it_is_for() {
        let mut compressor = Compressor::new();
        let hi = of("hi", &[], &mut compressor);
        let mut said = |form, delivery: &Delivery| said(form, delivery, &mut compressor);
        assert_eq!(said(form(false, 0), &hi), Some(b"\x81\x02hi".to_vec()));
        assert_eq!(form(false, 14), form(false, 0), "one window is compressed for");
        let event = said(form(true, 0), &hi).expect("an event");
        assert_eq!(event[2..], br#"{"type":"message","text":"hi"}"#[..]);
        let compressed = said(form(true, 15), &hi).expect("an event");
        assert_eq!(compressed[0], 0xc1);
        assert_eq!(uncompressed(form(true, 15)), form(true, 0));
        let who = Who::User(Name::new("me").expect("a name"));
        let came = Delivery { topic: None, hash: 0, position: None, what: What::Join(who) };
        assert_eq!(said(form(false, 0), &came), None, "who comes is told as an event only");
        assert!(said(form(true, 0), &came).is_some());
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
        let mut pieces = Compressing::new(Kind::Binary, Part::Whole, bytes.len(), HOW);
        let mut expected = Vec::new();
        while let Some((header, piece)) = pieces.next(&bytes, &mut one) {
            let mut head = [0; 14];
            let length = header.emit(&mut head);
            expected.extend([&head[..length], piece].concat());
        }
        assert_eq!(compressed(&mut other, HOW, Kind::Binary, &bytes), expected);
        assert_eq!(plain(Kind::Binary, &[7; 126])[..5], [0x82, 126, 0, 126, 7]);
    }
}
