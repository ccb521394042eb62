//! What a client says by `tidegate.v1`: commands, as JSON. `proto/CLIENT.md` says what they mean.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::MistakeCode;
use super::query;
use super::value::{Whole, Wording, present};
use crate::hub::{Content, Past};
use crate::names::{Name, Position};

/// The most bytes of an idempotency key.
const IDEMPOTENCY_KEY_MAX: usize = 64;
/// The most that may be asked for of a list.
const LIST_MAX: u16 = 1000;
/// What is told of a list if nothing is said.
const LIST_DEFAULT: u16 = 100;
/// The largest count that is read: what may be asked for is less, and is told by name.
const LARGEST_COUNT: u32 = u16::MAX as u32;
/// What is said of a mistake at most, in bytes: what it tells of may be long.
const SAID_MAX: usize = 200;

/// A command.
#[doc(hidden)]
#[derive(Debug, PartialEq)]
pub struct ClientCommand {
    /// It is to be answered with this.
    pub id: Option<u32>,
    /// What it asks for.
    pub what: Wish,
}

/// What it asks for.
#[doc(hidden)]
#[derive(Debug, PartialEq)]
pub enum Wish {
    Subscribe { topic: Name, past: Option<Past>, resume: Option<Box<str>> },
    Unsubscribe { topic: Name },
    Publish { topic: Option<Name>, content: Content, key: Option<Name>, once: Option<Box<str>> },
    Presence { topic: Name, limit: u16 },
    History { topic: Name, past: Option<Past>, limit: u16 },
    Refresh { token: Box<str> },
    Ping,
}

/// What is wrong with a command, for the client.
#[doc(hidden)]
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Which command it was, if that can be told.
    pub id: Option<u32>,
    /// For programs.
    pub code: MistakeCode,
    /// For people.
    pub message: Cow<'static, str>,
}

/// All that a command may have.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandJson<'c> {
    #[serde(borrow, rename = "type")]
    kind: Wording<'c>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Whole<{ u32::MAX }>>,
    #[serde(borrow, default, deserialize_with = "present")]
    topic: Option<Wording<'c>>,
    #[serde(borrow, default, deserialize_with = "present")]
    since: Option<Wording<'c>>,
    #[serde(default, deserialize_with = "present")]
    last: Option<Whole<LARGEST_COUNT>>,
    #[serde(borrow, default, deserialize_with = "present")]
    resume: Option<Wording<'c>>,
    #[serde(borrow, default, deserialize_with = "present")]
    text: Option<Wording<'c>>,
    #[serde(borrow, default, deserialize_with = "present")]
    json: Option<&'c RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    binary: Option<Wording<'c>>,
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<Wording<'c>>,
    #[serde(borrow, default, deserialize_with = "present")]
    idempotency_key: Option<Wording<'c>>,
    #[serde(default, deserialize_with = "present")]
    limit: Option<Whole<LARGEST_COUNT>>,
    #[serde(borrow, default, deserialize_with = "present")]
    token: Option<Wording<'c>>,
}

/// What of a command that is wrong tells what it was, and whom to answer.
#[derive(serde::Deserialize)]
struct Outline<'c> {
    #[serde(borrow, default, rename = "type", deserialize_with = "present")]
    kind: Option<Wording<'c>>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Whole<{ u32::MAX }>>,
}

/// The types of commands, each with the members that it may have beside `type` and `id`.
const KINDS: [(&str, &[&str]); 7] = [
    ("subscribe", &["topic", "since", "last", "resume"]),
    ("unsubscribe", &["topic"]),
    ("publish", &["topic", "text", "json", "binary", "key", "idempotency_key"]),
    ("presence", &["topic", "limit"]),
    ("history", &["topic", "since", "last", "limit"]),
    ("refresh", &["token"]),
    ("ping", &[]),
];

/// Why a command is not carried out.
pub(super) type Wrong = (MistakeCode, Cow<'static, str>);

/// Reads a command.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<ClientCommand, Mistake> {
    // A list of the values of all members would be read as well.
    if !text.trim_ascii_start().starts_with('{') {
        let message = "a command is a JSON object, such as {\"type\":\"ping\",\"id\":1}".into();
        return Err(Mistake { id: None, code: MistakeCode::BadCommand, message });
    }
    let members: CommandJson<'_> = match serde_json::from_str(text) {
        Ok(members) => members,
        Err(wrong) => return Err(misread(text, &wrong)),
    };
    let id = members.id.map(|Whole(id)| id);
    match wish(members) {
        Ok(what) => Ok(ClientCommand { id, what }),
        Err((code, message)) => Err(Mistake { id, code, message }),
    }
}

/// Why this is no command.
fn misread(text: &str, wrong: &serde_json::Error) -> Mistake {
    // What is no JSON is not read twice.
    let outline = if wrong.is_data() { serde_json::from_str(text).ok() } else { None };
    let outline: Option<Outline<'_>> = outline;
    let id = outline.as_ref().and_then(|outline| outline.id).map(|Whole(id)| id);
    if let Some(Wording(kind)) = outline.and_then(|outline| outline.kind)
        && !KINDS.iter().any(|(known, _)| *known == kind)
    {
        return Mistake { id, code: MistakeCode::UnknownCommand, message: unknown(&kind) };
    }
    let message = shortened(format!("this is no command: {wrong}")).into();
    Mistake { id, code: MistakeCode::BadCommand, message }
}

fn unknown(kind: &str) -> Cow<'static, str> {
    shortened(format!("there is no command {kind:?}")).into()
}

fn shortened(mut text: String) -> String {
    if text.len() > SAID_MAX {
        text.truncate(text.floor_char_boundary(SAID_MAX));
        text.push('…');
    }
    text
}

fn wish(members: CommandJson<'_>) -> Result<Wish, Wrong> {
    let kind = members.kind.0.as_ref();
    let Some((kind, may_have)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return Err((MistakeCode::UnknownCommand, unknown(kind)));
    };
    if let Some(more) = members.names().find(|name| !may_have.contains(name)) {
        return Err(bad(format!("`{kind}` has no member `{more}`: leave it out")));
    }
    let CommandJson {
        topic,
        since,
        last,
        resume,
        key,
        idempotency_key,
        limit,
        text,
        json,
        binary,
        token,
        ..
    } = members;
    if *kind == "ping" {
        return Ok(Wish::Ping);
    }
    if *kind == "refresh" {
        let Wording(token) = token.ok_or_else(|| bad("`refresh` needs a `token`"))?;
        return Ok(Wish::Refresh { token: token.into() });
    }
    let topic = topic.map(|Wording(topic)| named(&topic)).transpose()?;
    if *kind == "publish" {
        let content = content(text, json, binary)?;
        let key = key.map(|Wording(key)| conflation(&key)).transpose()?;
        let once = idempotency_key.map(once).transpose()?;
        return Ok(Wish::Publish { topic, content, key, once });
    }
    let topic = topic.ok_or_else(|| bad(format!("`{kind}` needs a `topic`")))?;
    let resume = resume.map(|Wording(resume)| resume.into());
    Ok(match *kind {
        "subscribe" => Wish::Subscribe { topic, past: past(since, last)?, resume },
        "unsubscribe" => Wish::Unsubscribe { topic },
        "presence" => Wish::Presence { topic, limit: listed("limit", limit)? },
        _ => Wish::History { topic, past: past(since, last)?, limit: listed("limit", limit)? },
    })
}

impl CommandJson<'_> {
    /// The members that are there, beside `type` and `id`.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let Self { topic, since, last, resume, text, json, binary, key, limit, token, .. } = self;
        let all = [
            ("topic", topic.is_some()),
            ("since", since.is_some()),
            ("last", last.is_some()),
            ("resume", resume.is_some()),
            ("text", text.is_some()),
            ("json", json.is_some()),
            ("binary", binary.is_some()),
            ("key", key.is_some()),
            ("idempotency_key", self.idempotency_key.is_some()),
            ("limit", limit.is_some()),
            ("token", token.is_some()),
        ];
        all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name)
    }
}

fn bad(message: impl Into<Cow<'static, str>>) -> Wrong {
    (MistakeCode::BadCommand, message.into())
}

fn named(topic: &str) -> Result<Name, Wrong> {
    Name::new(topic).map_err(|wrong| (MistakeCode::BadTopic, format!("`topic`: {wrong}").into()))
}

fn conflation(key: &str) -> Result<Name, Wrong> {
    Name::new(key).map_err(|wrong| bad(format!("`key`: {wrong}")))
}

fn once(Wording(key): Wording<'_>) -> Result<Box<str>, Wrong> {
    if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) {
        return Ok(key.into());
    }
    Err(bad("`idempotency_key` must have 1 to 64 bytes"))
}

/// What is published: exactly one of these.
fn content(
    text: Option<Wording<'_>>,
    json: Option<&RawValue>,
    binary: Option<Wording<'_>>,
) -> Result<Content, Wrong> {
    match (text, json, binary) {
        (Some(Wording(text)), None, None) => Ok(text.into_owned().into()),
        (None, Some(json), None) => {
            Content::json(json.get().to_owned()).map_err(|wrong| bad(format!("`json`: {wrong}")))
        }
        (None, None, Some(Wording(binary))) => STANDARD
            .decode(binary.as_bytes())
            .map(Content::bytes)
            .map_err(|_| bad("`binary` must be base64 by RFC 4648 section 4, with its padding")),
        _ => Err(bad("`publish` needs one of `text`, `json` and `binary`, and no other of them")),
    }
}

/// What of the past is asked for.
fn past(
    since: Option<Wording<'_>>,
    last: Option<Whole<LARGEST_COUNT>>,
) -> Result<Option<Past>, Wrong> {
    match (since, last) {
        (None, None) => Ok(None),
        (Some(Wording(since)), None) => match query::position(&since) {
            Some(Position { epoch, offset }) => Ok(Some(Past::Since(Position { epoch, offset }))),
            None => Err((
                MistakeCode::BadPosition,
                "`since` must be EPOCH:OFFSET, such as \"00c0ffee:17\"".into(),
            )),
        },
        (None, Some(_)) => Ok(Some(Past::Last(listed("last", last)?))),
        (Some(_), Some(_)) => Err(bad("`since` and `last` exclude each other: send one")),
    }
}

/// How much of a list is asked for.
fn listed(key: &str, count: Option<Whole<LARGEST_COUNT>>) -> Result<u16, Wrong> {
    let count = count.map_or(LIST_DEFAULT.into(), |Whole(count)| count);
    match u16::try_from(count) {
        Ok(count) if (1..=LIST_MAX).contains(&count) => Ok(count),
        _ => Err(bad(format!("`{key}` must be between 1 and {LIST_MAX}, is {count}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ClientCommand {
        parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn each_command_is_read() {
        assert_eq!(read(r#"{"type":"ping"}"#), ClientCommand { id: None, what: Wish::Ping });
        let position = Position { epoch: 0x00c0_ffee, offset: 17 };
        for (text, what) in [
            (
                r#"{"type":"subscribe","id":9,"topic":"a","since":"00c0ffee:17","resume":"x"}"#,
                Wish::Subscribe {
                    topic: name("a"),
                    past: Some(Past::Since(position)),
                    resume: Some("x".into()),
                },
            ),
            (
                r#"{"id":9,"topic":"a","last":1000,"type":"subscribe"}"#,
                Wish::Subscribe { topic: name("a"), past: Some(Past::Last(1000)), resume: None },
            ),
            (
                r#"{"type":"unsubscribe","id":9,"topic":"\u0061"}"#,
                Wish::Unsubscribe { topic: name("a") },
            ),
            (
                r#"{"type":"publish","id":9,"json":null,"key":"k","idempotency_key":"i"}"#,
                Wish::Publish {
                    topic: None,
                    content: Content::json("null").expect("JSON"),
                    key: Some(name("k")),
                    once: Some("i".into()),
                },
            ),
            (
                r#"{"type":"publish","id":9,"topic":"a","binary":"/wE="}"#,
                Wish::Publish {
                    topic: Some(name("a")),
                    content: Content::bytes(vec![0xff, 1]),
                    key: None,
                    once: None,
                },
            ),
            (
                r#"{"type":"refresh","id":9,"token":"a.b.c"}"#,
                Wish::Refresh { token: "a.b.c".into() },
            ),
            (
                r#"{"type":"presence","id":9,"topic":"a"}"#,
                Wish::Presence { topic: name("a"), limit: 100 },
            ),
            (
                r#"{"type":"history","id":9,"topic":"a","limit":3}"#,
                Wish::History { topic: name("a"), past: None, limit: 3 },
            ),
        ] {
            assert_eq!(read(text), ClientCommand { id: Some(9), what }, "{text}");
        }
        let escaped = read(r#"{"type":"publish","text":"\n"}"#).what;
        assert!(matches!(escaped, Wish::Publish { content, .. } if content == Content::from("\n")));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_id() {
        use MistakeCode::{BadCommand, BadPosition, BadTopic, UnknownCommand};
        for (text, id, code) in [
            ("", None, BadCommand),
            ("[]", None, BadCommand),
            (r#"["ping"]"#, None, BadCommand),
            (r#" ["ping",77]"#, None, BadCommand),
            (r#""ping""#, None, BadCommand),
            ("nothing", None, BadCommand),
            (r#"{"type":"ping"} {}"#, None, BadCommand),
            (r#"{"type":"ping","id":1,"id":1}"#, None, BadCommand),
            (r#"{"type":"ping","id":1,"type":"ping"}"#, None, BadCommand),
            (r#"{"type":"ping","id":-1}"#, None, BadCommand),
            (r#"{"type":"ping","id":4294967296}"#, None, BadCommand),
            (r#"{"type":"ping","id":1.5}"#, None, BadCommand),
            (r#"{"type":"ping","id":null}"#, None, BadCommand),
            (r#"{"id":1}"#, Some(1), BadCommand),
            (r#"{"type":"ping","id":1,"topic":"a"}"#, Some(1), BadCommand),
            (r#"{"type":"ping","id":1,"other":"a"}"#, Some(1), BadCommand),
            (r#"{"type":"dance","id":1}"#, Some(1), UnknownCommand),
            (r#"{"type":"dance","id":1,"steps":2}"#, Some(1), UnknownCommand),
            (r#"{"type":"subscribe","id":1}"#, Some(1), BadCommand),
            (r#"{"type":"subscribe","id":1,"topic":null}"#, Some(1), BadCommand),
            (r#"{"type":"subscribe","id":1,"topic":""}"#, Some(1), BadTopic),
            (r#"{"type":"subscribe","id":1,"topic":"\u0001ann"}"#, Some(1), BadTopic),
            (r#"{"type":"subscribe","id":1,"topic":"a","since":"7"}"#, Some(1), BadPosition),
            (r#"{"type":"subscribe","id":1,"topic":"a","last":0}"#, Some(1), BadCommand),
            (r#"{"type":"subscribe","id":1,"topic":"a","last":1001}"#, Some(1), BadCommand),
            (
                r#"{"type":"subscribe","id":1,"topic":"a","since":"00000001:1","last":1}"#,
                Some(1),
                BadCommand,
            ),
            (r#"{"type":"refresh","id":1}"#, Some(1), BadCommand),
            (r#"{"type":"refresh","id":1,"token":"a","topic":"a"}"#, Some(1), BadCommand),
            (r#"{"type":"publish","id":1}"#, Some(1), BadCommand),
            (r#"{"type":"publish","id":1,"text":"a","json":1}"#, Some(1), BadCommand),
            (r#"{"type":"publish","id":1,"binary":"_w"}"#, Some(1), BadCommand),
            (r#"{"type":"publish","id":1,"text":"a","idempotency_key":""}"#, Some(1), BadCommand),
            (r#"{"type":"history","id":1,"topic":"a","limit":1001}"#, Some(1), BadCommand),
        ] {
            let wrong = parse(text).expect_err(text);
            assert_eq!((wrong.id, wrong.code), (id, code), "{text}: {}", wrong.message);
            assert!(wrong.message.len() <= SAID_MAX + 3, "{}", wrong.message);
        }
        let deep = |depth: usize| {
            let json = "[".repeat(depth) + &"]".repeat(depth);
            format!(r#"{{"type":"publish","id":1,"json":{json}}}"#)
        };
        assert!(parse(&deep(64)).is_ok());
        for depth in [65, 100_000] {
            let text = deep(depth);
            assert_eq!(parse(&text).expect_err("deep").code, BadCommand, "{depth}");
        }
        let long = format!(r#"{{"type":"{}"}}"#, "ä".repeat(10_000));
        assert!(parse(&long).expect_err("long").message.len() <= SAID_MAX + 3);
    }

    #[test]
    fn what_was_expected_is_told_in_words_of_json() {
        for (text, told) in [
            (
                r#"{"type":"ping","id":"1"}"#,
                "string \"1\", expected a whole number from 0 to 4294967295",
            ),
            (r#"{"type":"ping","id":1.5}"#, "`1.5`, expected a whole number from 0 to 4294967295"),
            (r#"{"type":"ping","id":-1}"#, "`-1`, expected a whole number from 0 to 4294967295"),
            (r#"{"type":7}"#, "integer `7`, expected a string"),
            (
                r#"{"type":"history","id":1,"topic":"a","limit":70000}"#,
                "integer `70000`, expected a whole number from 0 to 65535",
            ),
            (r#"{"id":1}"#, "missing field `type`"),
        ] {
            let said = parse(text).expect_err(text).message;
            assert!(said.contains(told), "{text}: {said}");
        }
    }

    #[test]
    fn strings_without_escapes_are_not_copied() {
        let text = r#"{"type":"subscribe","topic":"a"}"#;
        let members: CommandJson<'_> = serde_json::from_str(text).expect("a command");
        assert!(matches!(members.topic, Some(Wording(Cow::Borrowed("a")))));
    }
}
