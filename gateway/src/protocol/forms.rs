//! The forms in which connections are sent what is published, and what that is as bytes. A shard
//! says what is to be told to whom; here it is put as each protocol puts it.

use std::borrow::Cow;

use tidegate_proto::message::Kind;

use super::events;
use super::websocket::encode::{Deflating, Head, compressed, kind, plain};
use crate::config::stack::Deflate;
use crate::connection::Connection;
use crate::hub::{Delivery, Encoded, Form, Publication, Standing};
use crate::memory::Compressor;
use crate::names::{ConnectionId, Name, Position};

/// The window of what is compressed for many, in bits: what nearly all clients agree to. There is
/// one: a peer must not choose what work it makes.
const SHARED_WINDOW: u8 = 15;

/// Of a [`Form`]: compressed, with the shared window.
const DEFLATED: u8 = 1;
/// Of a [`Form`]: as an event.
const EVENT: u8 = 2;

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

/// The form in which a connection is sent what is published, as events or as it was published.
pub(crate) fn of(connection: &Connection, events: bool) -> Form {
    form(events, connection.window())
}

/// That of a connection that has agreed to this window, in bits, 0 for none.
fn form(events: bool, window: u8) -> Form {
    let deflated = if window == SHARED_WINDOW { DEFLATED } else { 0 };
    Form(deflated | if events { EVENT } else { 0 })
}

/// Whether it is sent events: those who come and those who go as well.
fn is_event(form: Form) -> bool {
    form.0 & EVENT != 0
}

/// The same, but not compressed.
fn uncompressed(form: Form) -> Form {
    Form(form.0 & !DEFLATED)
}

/// The form in which those who want this one get a delivery; `None` if they are not told of such.
/// `deflate` is what their listener says of compression.
pub(crate) fn of_delivery(
    delivery: &Delivery,
    wanted: Form,
    deflate: Option<Deflate>,
) -> Option<Form> {
    if delivery.publication().is_none() && !is_event(wanted) {
        return None;
    }
    let length = delivery.payload_bytes();
    let is_worth_it = deflate.is_some_and(|deflate| length >= u64::from(deflate.min));
    Some(if is_worth_it { wanted } else { uncompressed(wanted) })
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

/// A delivery as an event for one connection, plain.
pub(crate) fn event(delivery: &Delivery) -> Vec<u8> {
    plain(Kind::Text, &events::event(delivery))
}

/// What a subscriber that wants events is told first, likewise.
pub(crate) fn subscribed(
    id: ConnectionId,
    standing: &Standing,
    position: Option<Position>,
) -> Vec<u8> {
    plain(Kind::Text, &events::subscribed(id, standing, position))
}

/// What a subscriber is told whose replay has a gap in front of what comes next, likewise.
pub(crate) fn gap(topic: &Name, position: Option<Position>) -> Vec<u8> {
    plain(Kind::Text, &events::gap(topic, position))
}

/// What a subscriber is told behind all that was published before, likewise.
pub(crate) fn replayed(topic: &Name, position: Option<Position>) -> Vec<u8> {
    plain(Kind::Text, &events::replayed(topic, position))
}

/// What one is told whose subscription has ended, for the command with this number or because
/// somebody outside has ended it.
pub(crate) fn unsubscribed(topic: &Name, tag: Option<u32>) -> Vec<u8> {
    plain(Kind::Text, &events::unsubscribed(topic, tag))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::hub::{Content, Issue, Message, MessageMemory, What, Who};

    /// A delivery of this content, as the home made it for these forms.
    fn of(content: impl Into<Content>, forms: &[Form], compressor: &mut Compressor) -> Delivery {
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let message = Message::new(content, &memory).expect("room");
        let publication = Publication::new(message);
        let deflate = Some(Deflate { level: 1, min: 10 });
        let once = |form: &Form| once(*form, &publication, &mut *compressor, deflate);
        let encoded = forms.iter().filter_map(once).collect();
        let what =
            What::Message(Issue { publication, time: Duration::ZERO, to_all: false, encoded });
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
        let text =
            br#"{"type":"push","to":"connection","time":"1970-01-01T00:00:00.000Z","text":"hi"}"#;
        assert_eq!(event[2..], text[..]);
        let compressed = said(form(true, 15), &hi).expect("an event");
        assert_eq!(compressed[0], 0xc1);
        assert_eq!(uncompressed(form(true, 15)), form(true, 0));
        let who = Who::User(Name::new("me").expect("a name"));
        let came = Delivery { topic: None, hash: 0, position: None, what: What::Join(who) };
        assert_eq!(said(form(false, 0), &came), None, "who comes is told as an event only");
        assert!(said(form(true, 0), &came).is_some());
    }
}
