//! What a client is told by `tidegate.v1` beside what is published: `hello`, and the answers to its
//! commands, as JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::MistakeCode;
use crate::hub::{Author, CalendarTime, Content, Excerpt, Kept, Presence, Present, Published};
use crate::names::{ConnectionId, Name, Position};

/// What an answer with nothing in its list has at most, beside the name of its topic, in bytes.
const AROUND_LIST: usize = 256;

/// An answer, or what is told first.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ClientEvent<'e> {
    Hello {
        protocol: &'static str,
        connection: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<&'e str>,
        time: CalendarTime,
        own: bool,
        max_message: u32,
        commands: u16,
        /// In seconds.
        resume_age: u64,
        /// In seconds.
        idempotency_age: u64,
        /// For how many seconds the token holds, if it ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        token_left: Option<u64>,
    },
    Published {
        id: u32,
        topic: &'e str,
        #[serde(skip_serializing_if = "Option::is_none", flatten)]
        position: Option<AnswerPosition>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        repeated: bool,
    },
    Members {
        id: u32,
        topic: &'e str,
        total: u64,
        members: Vec<Box<RawValue>>,
    },
    History {
        id: u32,
        topic: &'e str,
        #[serde(flatten)]
        position: AnswerPosition,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        gap: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        more: bool,
        /// If there is more: the offset behind which it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
        messages: Vec<Box<RawValue>>,
    },
    Refreshed {
        id: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_left: Option<u64>,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        time: CalendarTime,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        code: MistakeCode,
        message: Cow<'e, str>,
    },
}

/// A position, in its parts.
#[derive(Serialize)]
pub(super) struct AnswerPosition {
    epoch: String,
    offset: u64,
}

/// Someone who is on a topic.
#[derive(Serialize)]
struct ListedMember<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    connections: u32,
    since: CalendarTime,
}

/// A message of a history, with one of `text`, `json` and `binary`.
#[derive(Serialize)]
struct ListedMessage<'e> {
    offset: u64,
    time: CalendarTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'e, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'e RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<String>,
}

/// How long an answer may be, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Lengths {
    /// One with several things in its list.
    pub(super) usual: usize,
    /// One with a single thing in it.
    pub(super) most: usize,
}

/// As it is sent.
pub(super) fn written(event: &impl Serialize) -> String {
    serde_json::to_string(event).expect("an event has nothing that JSON cannot say")
}

/// What a publication is answered.
pub(super) fn published(id: u32, topic: &str, published: Published) -> String {
    let position = published.position.map(AnswerPosition::from);
    let repeated = published.repeated;
    written(&ClientEvent::Published { id, topic, position, repeated })
}

/// Who is on a topic, as many as fit.
pub(super) fn members(id: u32, topic: &str, presence: &Presence, lengths: Lengths) -> String {
    let Presence { members, total } = presence;
    let mut room = ListRoom::new(topic, lengths);
    let mut listed = Vec::new();
    for member in members {
        let text = written(&ListedMember::from(member));
        if !room.takes(text.len()) {
            break;
        }
        listed.push(raw(text));
    }
    written(&ClientEvent::Members { id, topic, total: *total, members: listed })
}

/// What was said on a topic, as much as fits.
pub(super) fn history(id: u32, topic: &str, excerpt: &Excerpt, lengths: Lengths) -> String {
    let Excerpt { messages, position, gap } = excerpt;
    let mut room = ListRoom::new(topic, lengths);
    let mut listed = Vec::new();
    // What is kept is kept without holes up to the topic's position.
    let mut told = messages.first().map_or(position.offset, |first| first.offset - 1);
    for message in messages {
        let text = written(&ListedMessage::from(message));
        if !room.is_ever_enough(text.len()) {
            // It is left out here as it is among events.
            told = message.offset;
            continue;
        }
        if !room.takes(text.len()) {
            break;
        }
        told = message.offset;
        listed.push(raw(text));
    }
    let more = told < position.offset;
    let place = AnswerPosition::from(*position);
    let next = more.then_some(told);
    let gap = *gap;
    written(&ClientEvent::History { id, topic, position: place, gap, more, next, messages: listed })
}

/// What is left of the length of an answer.
struct ListRoom {
    lengths: Lengths,
    taken: usize,
    around: usize,
}

impl ListRoom {
    fn new(topic: &str, lengths: Lengths) -> Self {
        // A letter of a name has six in JSON at most.
        let around = AROUND_LIST + 6 * topic.len();
        Self { lengths, taken: 0, around }
    }

    /// Whether one more thing of this length is in it.
    fn takes(&mut self, length: usize) -> bool {
        let most = if self.taken == 0 { self.lengths.most } else { self.lengths.usual };
        let taken = self.taken + length + 1;
        let fits = self.around + taken <= most;
        if fits {
            self.taken = taken;
        }
        fits
    }

    fn is_ever_enough(&self, length: usize) -> bool {
        self.around + length < self.lengths.most
    }
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("it was just written")
}

impl From<Position> for AnswerPosition {
    fn from(position: Position) -> Self {
        Self { epoch: position.epoch_text(), offset: position.offset }
    }
}

impl<'e> From<&'e Present> for ListedMember<'e> {
    fn from(present: &'e Present) -> Self {
        Self {
            user: present.user.as_ref().map(Name::as_str),
            connection: present.connection.as_ref().map(ConnectionId::to_string),
            connections: present.connections,
            since: CalendarTime(present.since),
        }
    }
}

impl<'e> From<&'e Kept> for ListedMessage<'e> {
    fn from(kept: &'e Kept) -> Self {
        let from = kept.publication.from.as_ref();
        let content = kept.publication.message.content();
        let (mut text, mut json, mut binary) = (None, None, None);
        match content {
            Content::Text(said) => text = Some(said.to_str()),
            Content::Json(said) => json = serde_json::from_slice(said.as_bytes()).ok(),
            Content::Bytes(bytes) => binary = Some(STANDARD.encode(bytes)),
        }
        Self {
            offset: kept.offset,
            time: CalendarTime(kept.time),
            user: from.and_then(Author::user),
            connection: from.map(|from| from.connection().to_string()),
            text,
            json,
            binary,
        }
    }
}
