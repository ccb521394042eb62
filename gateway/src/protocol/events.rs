//! What those are told who want events: messages with topic and position, who comes and who goes,
//! as JSON, whatever carries it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::hub::{Author, CalendarTime, Content, Delivery, Issue, Roll, Standing, Text, What, Who};
use crate::names::{ConnectionId, Name, Position};

/// Everything that those who want events are told, as JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum EventJson<'e> {
    Message {
        topic: &'e str,
        #[serde(skip_serializing_if = "Option::is_none", flatten)]
        position: Option<PositionJson>,
        #[serde(flatten)]
        origin: OriginJson<'e>,
        // `text`, `json` or `binary` follows: see [`message`].
    },
    Push {
        to: &'static str,
        #[serde(flatten)]
        origin: OriginJson<'e>,
        // Likewise.
    },
    Join(Someone<'e>),
    Leave(Someone<'e>),
    Subscribed {
        /// Of the command that it answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        topic: &'e str,
        connection: String,
        #[serde(skip_serializing_if = "Option::is_none", flatten)]
        position: Option<PositionJson>,
        /// How many messages follow that were published before.
        #[serde(skip_serializing_if = "is_zero")]
        replay: u64,
        /// Messages that the subscriber missed are no longer kept.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        gap: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        present: Option<RollJson<'e>>,
        /// What the subscription can be asked for with again.
        #[serde(skip_serializing_if = "Option::is_none")]
        resume: Option<&'e str>,
    },
    Unsubscribed {
        /// Of the command that it answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        topic: &'e str,
    },
    Replayed(PlaceJson<'e>),
    Gap(PlaceJson<'e>),
    Presence {
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<&'e str>,
        joined: u32,
        left: u32,
        total: u64,
    },
}

/// What stands around the text of an event, in bytes, with a name of usual length.
const AROUND_TEXT: usize = 224;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

#[derive(Serialize)]
struct Someone<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'e str>,
}

#[derive(Serialize)]
struct PositionJson {
    epoch: String,
    offset: u64,
}

/// Where a topic stands.
#[derive(Serialize)]
struct PlaceJson<'e> {
    topic: &'e str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    position: Option<PositionJson>,
}

impl<'e> PlaceJson<'e> {
    fn new(topic: &'e Name, position: Option<Position>) -> Self {
        Self { topic: topic.as_str(), position: position.map(PositionJson::from) }
    }
}

/// How many are present, and who.
#[derive(Serialize)]
struct RollJson<'e> {
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Someone<'e>>>,
}

impl<'e> From<&'e Roll> for RollJson<'e> {
    fn from(roll: &'e Roll) -> Self {
        let call = roll.members.as_ref();
        let members = call.map(|call| call.who().iter().map(|who| someone(who, None)).collect());
        Self { total: roll.total, members }
    }
}

/// When a message was taken in, and who has published it.
#[derive(Serialize)]
struct OriginJson<'e> {
    time: CalendarTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
}

impl<'e> From<&'e Issue> for OriginJson<'e> {
    fn from(issue: &'e Issue) -> Self {
        let from = issue.publication.from.as_ref();
        Self {
            time: CalendarTime(issue.time),
            user: from.and_then(Author::user),
            connection: from.map(|from| from.connection().to_string()),
        }
    }
}

impl From<Position> for PositionJson {
    fn from(position: Position) -> Self {
        Self { epoch: position.epoch_text(), offset: position.offset }
    }
}

/// A delivery as an event.
pub(crate) fn event(delivery: &Delivery) -> Vec<u8> {
    let topic = delivery.topic.as_ref().filter(|name| name.user().is_none()).map(Name::as_str);
    match &delivery.what {
        What::Message(issue) => message(delivery, issue),
        What::Join(who) => written(&EventJson::Join(someone(who, topic))),
        What::Leave(who) => written(&EventJson::Leave(someone(who, topic))),
        What::Counts { joined, left, total } => {
            written(&EventJson::Presence { topic, joined: *joined, left: *left, total: *total })
        }
    }
}

fn message(delivery: &Delivery, issue: &Issue) -> Vec<u8> {
    let content = issue.publication.message.content();
    let mut event = Vec::with_capacity(content.as_bytes().len() + AROUND_TEXT);
    let origin = OriginJson::from(issue);
    let head = match &delivery.topic {
        Some(name) if name.user().is_none() => {
            let position = delivery.position.map(PositionJson::from);
            EventJson::Message { topic: name.as_str(), position, origin }
        }
        Some(_) => EventJson::Push { to: "user", origin },
        None if issue.to_all => EventJson::Push { to: "all", origin },
        None => EventJson::Push { to: "connection", origin },
    };
    write(&mut event, &head);
    let end = event.pop();
    match content {
        Content::Text(text) => {
            event.extend_from_slice(br#","text":"#);
            write_text(&mut event, text);
        }
        Content::Json(json) => {
            event.extend_from_slice(br#","json":"#);
            event.extend_from_slice(json.as_bytes());
        }
        Content::Bytes(bytes) => {
            event.extend_from_slice(br#","binary":"#);
            write(&mut event, &STANDARD.encode(bytes));
        }
    }
    event.extend(end);
    event
}

/// What a subscriber that wants events is told first.
pub(crate) fn subscribed(
    connection: ConnectionId,
    standing: &Standing,
    position: Option<Position>,
) -> Vec<u8> {
    let Standing { whose, gap, replay, present, tag, resume, .. } = standing;
    written(&EventJson::Subscribed {
        id: *tag,
        topic: whose.name.as_str(),
        connection: connection.to_string(),
        position: position.map(PositionJson::from),
        replay: *replay,
        gap: *gap,
        present: present.as_ref().map(RollJson::from),
        resume: resume.as_deref(),
    })
}

/// What a subscriber is told if messages are missing in front of what it is told next.
pub(crate) fn gap(topic: &Name, position: Option<Position>) -> Vec<u8> {
    written(&EventJson::Gap(PlaceJson::new(topic, position)))
}

/// What a subscriber is told behind what was published before.
pub(crate) fn replayed(topic: &Name, position: Option<Position>) -> Vec<u8> {
    written(&EventJson::Replayed(PlaceJson::new(topic, position)))
}

/// What one is told whose subscription has ended.
pub(crate) fn unsubscribed(topic: &Name, tag: Option<u32>) -> Vec<u8> {
    written(&EventJson::Unsubscribed { id: tag, topic: topic.as_str() })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn written(event: &EventJson<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, event);
    bytes
}

/// Puts it behind what is in `out`.
fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("an event has nothing that JSON cannot say");
}

/// Puts a string in JSON behind what is in `out`. Most have nothing to be escaped, which is found
/// many bytes at a time: those who come back are told each message anew.
fn write_text(out: &mut Vec<u8>, text: &Text) {
    if needs_escapes(text.as_bytes()) {
        return write(out, &text.to_str());
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// RFC 8259 section 7: "All Unicode characters may be placed within the quotation marks, except for
/// the characters that MUST be escaped: quotation mark, reverse solidus, and the control characters
/// (U+0000 through U+001F)."
fn needs_escapes(text: &[u8]) -> bool {
    let must = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a way out in the middle of a block, the compiler uses vectors.
    text.chunks(BLOCK).any(|block| block.iter().fold(false, |any, &byte| any | must(byte)))
}

fn someone<'e>(who: &'e Who, topic: Option<&'e str>) -> Someone<'e> {
    match who {
        Who::User(name) => Someone { topic, user: Some(name.as_str()), connection: None },
        Who::Connection(id) => Someone { topic, user: None, connection: Some(id) },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::hub::{Message, MessageMemory, Publication, Subscribed};
    use crate::names::{Address, Node};

    fn delivery(what: What, position: Option<Position>) -> Delivery {
        Delivery { topic: Some(Name::new("a\"b").expect("a name")), hash: 0, position, what }
    }

    fn says(content: impl Into<Content>) -> What {
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let message = Message::new(content, &memory).expect("room");
        What::said(Publication::new(message), TIME)
    }

    const TIME: Duration = Duration::from_millis(951_782_400_123);

    fn said(delivery: &Delivery) -> String {
        String::from_utf8(event(delivery)).expect("JSON is text")
    }

    #[test]
    fn text_is_escaped_as_any_other_string() {
        let long = "x".repeat(200);
        for special in (0..0x20_u8).chain([b'"', b'\\', b'/', 0x7f]).map(char::from).chain(['ä']) {
            for at in [0, 1, 63, 64, 199, 200] {
                let text = format!("{}{special}{}", &long[..at], &long[at..]);
                let event = event(&delivery(says(&*text), None));
                let read: serde_json::Value = serde_json::from_slice(&event).expect("JSON");
                assert_eq!(read["text"], *text, "{special:?} at {at}");
                let mut written = Vec::new();
                let Content::Text(checked) = Content::from(&*text) else { unreachable!("text") };
                write_text(&mut written, &checked);
                assert_eq!(written, serde_json::to_vec(&text).expect("a string"), "{special:?}");
            }
        }
    }

    #[test]
    fn as_json() {
        let position = Some(Position { epoch: 0xab, offset: 7 });
        assert_eq!(
            said(&delivery(says("ä\n"), position)),
            concat!(
                r#"{"type":"message","topic":"a\"b","epoch":"000000ab","offset":7,"#,
                r#""time":"2000-02-29T00:00:00.123Z","text":"ä\n"}"#
            )
        );
        assert_eq!(
            said(&delivery(says(vec![0xff, 1]), None)),
            concat!(
                r#"{"type":"message","topic":"a\"b","time":"2000-02-29T00:00:00.123Z","#,
                r#""binary":"/wE="}"#
            )
        );
        let user = Who::User(Name::new("me").expect("a name"));
        assert_eq!(
            said(&delivery(What::Join(user), None)),
            r#"{"type":"join","topic":"a\"b","user":"me"}"#
        );
        assert_eq!(
            said(&delivery(says(Content::json("[1, 2]").expect("JSON")), None)),
            concat!(
                r#"{"type":"message","topic":"a\"b","time":"2000-02-29T00:00:00.123Z","#,
                r#""json":[1, 2]}"#
            )
        );
    }

    #[test]
    fn what_is_sent_past_topics_says_to_whom_and_each_message_from_whom() {
        let node = Node { number: 0, start: 0 };
        let id = ConnectionId { node, shard: 0, slot: 0, generation: 0 };
        let me = Name::new("me").expect("a name");
        let by = |user| {
            let What::Message(mut issue) = says("hi") else { unreachable!("a message") };
            issue.publication.from = Some(Author::new(id, user));
            issue
        };
        let of = |topic, to_all, issue: Issue| {
            let what = What::Message(Issue { to_all, ..issue });
            said(&Delivery { topic, hash: 0, position: None, what })
        };
        let time = r#""time":"2000-02-29T00:00:00.123Z""#;
        let from = r#""connection":"AAAAAAAAAAAAAAAAAAA","text":"hi"}"#;
        for (topic, to_all, to) in
            [(None, false, "connection"), (None, true, "all"), (Some(me.of_user()), false, "user")]
        {
            let expected = format!(r#"{{"type":"push","to":"{to}",{time},{from}"#);
            assert_eq!(of(topic.clone(), to_all, by(None)), expected);
            let expected = format!(r#"{{"type":"push","to":"{to}",{time},"user":"me",{from}"#);
            assert_eq!(of(topic, to_all, by(Some(&me))), expected);
        }
    }

    #[test]
    fn where_one_stands() {
        let node = Node { number: 0, start: 0 };
        let id = ConnectionId { node, shard: 0, slot: 0, generation: 0 };
        let name = Name::new("t").expect("a name");
        let address = Address { shard: 0, slot: 0, generation: 0 };
        let whose = Subscribed { name, hash: 0, address, serial: 0 };
        let position = Some(Position { epoch: 0xab, offset: 7 });
        let mut standing = Standing {
            whose,
            position,
            gap: true,
            behind: None,
            replay: 3,
            present: None,
            tag: None,
            again: false,
            resume: None,
        };
        let said = |standing: &Standing| {
            String::from_utf8(subscribed(id, standing, standing.position)).expect("text")
        };
        assert_eq!(
            said(&standing),
            concat!(
                r#"{"type":"subscribed","topic":"t","connection":"AAAAAAAAAAAAAAAAAAA","#,
                r#""epoch":"000000ab","offset":7,"replay":3,"gap":true}"#
            )
        );
        standing = Standing {
            position: None,
            gap: false,
            replay: 0,
            present: Some(Roll { total: 40, members: None }),
            tag: Some(7),
            resume: Some("eyJ0".into()),
            ..standing
        };
        assert_eq!(
            said(&standing),
            concat!(
                r#"{"type":"subscribed","id":7,"topic":"t","connection":"AAAAAAAAAAAAAAAAAAA","#,
                r#""present":{"total":40},"resume":"eyJ0"}"#
            )
        );
        let topic = Name::new("t").expect("a name");
        for (event, expected) in [
            (gap(&topic, position), r#"{"type":"gap","topic":"t","epoch":"000000ab","offset":7}"#),
            (replayed(&topic, None), r#"{"type":"replayed","topic":"t"}"#),
            (unsubscribed(&topic, None), r#"{"type":"unsubscribed","topic":"t"}"#),
            (unsubscribed(&topic, Some(4)), r#"{"type":"unsubscribed","id":4,"topic":"t"}"#),
        ] {
            assert_eq!(String::from_utf8(event).expect("text"), expected);
        }
    }
}
