//! Topics: which there are, who is on them, what was published.

use axum::Json as Answered;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::answer::{ENOUGH, length_in_json, respond};
use super::body::{PathPart, QueryParams, page_size};
use super::error::{Error, ErrorBody};
use super::listing::{self, ListPage, Listed, ShardPart, Wanted};
use super::publish::{self, PositionText};
use super::subscriptions::{DoneAnswer, done};
use crate::hub::{
    Author, CalendarTime, Content, Errand, Excerpt, Kept, Outcome, Past, Presence, Present,
    Publication, TopicInfo,
};
use crate::names::{Name, Position};

/// Bytes of a topic in a list, beside its name.
const BYTES: usize = 160;

/// Bytes of a message in a history, beside its payload, its key and the user.
const KEPT_BYTES: usize = 150;

/// Which topics to tell about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopicsQuery {
    /// Only those whose name begins so.
    #[param(max_length = 200)]
    prefix: Option<String>,
    /// What the page before has said.
    cursor: Option<String>,
    /// How many at most, 1 to 1000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// A page of topics.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopicsAnswer {
    topics: Vec<TopicJson>,
    /// Where the next page begins; `null` if this was the last. A page may have few, or none, and
    /// yet not be the last.
    cursor: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TopicJson {
    name: String,
    /// How many connections are subscribed.
    pub(super) subscribers: u64,
    /// The position of the message that was published last.
    position: Option<PositionText>,
    /// How many messages are kept as history.
    kept: u64,
    /// How many are present; `null` if presence is not kept.
    present: Option<u64>,
}

/// Who to tell about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PresenceQuery {
    topic: String,
    /// How many at most, 1 to 1000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// Who is on a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PresenceAnswer {
    members: Vec<MemberJson>,
    /// How many there are.
    total: u64,
}

/// Someone who is on a topic: a user, or a connection without one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberJson {
    user: Option<String>,
    connection: Option<String>,
    /// How many connections; 0 for one who has just left and may come back.
    connections: u32,
    /// ISO 8601.
    since: String,
}

/// What to tell of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    topic: String,
    /// Behind which message: its epoch, 8 hexadecimal digits; all that is kept without.
    epoch: Option<String>,
    /// Behind which message: its offset.
    offset: Option<u64>,
    /// How many at most, 1 to 1000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// What was published on a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryAnswer {
    /// The oldest first; those of about 1 MiB at most.
    messages: Vec<KeptJson>,
    /// The position to ask on from, as `epoch` and `offset`; `null` if these were the last.
    next: Option<PositionText>,
    /// The position of the message that was published last.
    position: PositionText,
    /// Messages behind the position that was asked about are no longer kept, or it is of another
    /// epoch.
    gap: bool,
}

/// A message that is kept: with `text`, `json` or `binary`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptJson {
    offset: u64,
    /// When the gateway took it in: ISO 8601.
    time: String,
    /// The user that it was published by.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The connection that it was published by; not there if it came from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Any JSON value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    json: Option<Box<RawValue>>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// Tells about topics, shard after shard.
#[utoipa::path(
    get, path = "/v1/topics", tag = "topics", params(TopicsQuery),
    responses(
        (status = 200, description = "A page of them", body = TopicsAnswer),
        (status = "4XX", description = "A parameter is wrong", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(control): State<Shared>,
    QueryParams(query): QueryParams<TopicsQuery>,
) -> Result<Response, Error> {
    let wanted = Wanted { cursor: query.cursor.as_deref(), limit: page_size(query.limit)? };
    let prefix = query.prefix.unwrap_or_default();
    if prefix.len() > Name::LENGTH_MAX {
        let most = Name::LENGTH_MAX;
        return Err(Error::invalid(format!("`prefix` must have at most {most} bytes")));
    }
    let place = control.answers.place().await?;
    let question = |from, limit| Errand::Topics { from, prefix: prefix.clone(), limit };
    let told = |answer| match answer {
        Outcome::Topics(some, next) => {
            Ok(ShardPart { items: some.into_iter().map(TopicJson::from).collect(), next })
        }
        _ => Err(Error::confused()),
    };
    let ListPage { items, cursor } = listing::page(&control, wanted, question, told).await?;
    Ok(respond(place.json(&TopicsAnswer { topics: items, cursor })?))
}

/// Tells about one topic, whose name may have slashes, plain or as `%2F`.
#[utoipa::path(
    get, path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "The topic's name, percent-encoded")),
    responses(
        (status = 200, description = "The topic", body = TopicJson),
        (status = "4XX", description = "There is none, or this is no name", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn show(
    State(control): State<Shared>,
    PathPart(topic): PathPart,
) -> Result<Answered<TopicJson>, Error> {
    match control.shards.ask(Errand::Topic(Name::new(&topic)?)).await? {
        Outcome::Topics(some, _) => match some.into_iter().next() {
            Some(info) => Ok(Answered(info.into())),
            None => Err(crate::hub::NotDone::Unknown.into()),
        },
        _ => Err(Error::confused()),
    }
}

/// Ends all subscriptions of a topic, and forgets its history.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "The topic's name, percent-encoded")),
    responses(
        (status = 200, description = "Done", body = DoneAnswer),
        (status = "4XX", description = "There is none, or this is no name", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn destroy(
    State(control): State<Shared>,
    PathPart(topic): PathPart,
) -> Result<Answered<DoneAnswer>, Error> {
    done(control.shards.ask(Errand::DestroyTopic(Name::new(&topic)?)).await?)
}

/// Tells who is on a topic.
#[utoipa::path(
    get, path = "/v1/presence", tag = "topics", params(PresenceQuery),
    responses(
        (status = 200, description = "Who is there", body = PresenceAnswer),
        (status = "4XX", description = "There is no such topic", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn presence(
    State(control): State<Shared>,
    QueryParams(query): QueryParams<PresenceQuery>,
) -> Result<Response, Error> {
    let limit = page_size(query.limit)?;
    let errand = Errand::Presence { topic: Name::new(&query.topic)?, limit };
    let place = control.answers.place().await?;
    match control.shards.ask(errand).await? {
        Outcome::Presence(presence) => Ok(respond(place.json(&PresenceAnswer::from(presence))?)),
        _ => Err(Error::confused()),
    }
}

/// Tells what was published on a topic behind a position, or all that is kept.
#[utoipa::path(
    get, path = "/v1/history", tag = "topics", params(HistoryQuery),
    responses(
        (status = 200, description = "The messages", body = HistoryAnswer),
        (status = "4XX", description = "There is no such topic", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn history(
    State(control): State<Shared>,
    QueryParams(query): QueryParams<HistoryQuery>,
) -> Result<Response, Error> {
    let limit = page_size(query.limit)?;
    let since = match (query.epoch, query.offset) {
        (None, None) => None,
        (Some(epoch), Some(offset)) => Some(Position { epoch: publish::epoch(&epoch)?, offset }),
        _ => return Err(Error::invalid("`epoch` and `offset` go together: give both or none")),
    };
    let errand =
        Errand::History { topic: Name::new(&query.topic)?, past: since.map(Past::Since), limit };
    let place = control.answers.place_for_messages().await?;
    match control.shards.ask(errand).await? {
        Outcome::History(history) => Ok(respond(place.json(&HistoryAnswer::from(history))?)),
        _ => Err(Error::confused()),
    }
}

impl From<TopicInfo> for TopicJson {
    fn from(info: TopicInfo) -> Self {
        Self {
            name: info.name.to_string(),
            subscribers: info.subscribers,
            position: info.position.map(PositionText::from),
            kept: info.kept,
            present: info.present,
        }
    }
}

impl From<Presence> for PresenceAnswer {
    fn from(presence: Presence) -> Self {
        let members = presence.members.into_iter().map(MemberJson::from).collect();
        Self { members, total: presence.total }
    }
}

impl From<Present> for MemberJson {
    fn from(present: Present) -> Self {
        Self {
            user: present.user.map(|user| user.to_string()),
            connection: present.connection.map(|id| id.to_string()),
            connections: present.connections,
            since: CalendarTime(present.since).to_string(),
        }
    }
}

impl From<Excerpt> for HistoryAnswer {
    fn from(history: Excerpt) -> Self {
        let Position { epoch, offset: last } = history.position;
        let mut messages: Vec<KeptJson> = Vec::new();
        let mut bytes = 0;
        for kept in &history.messages {
            bytes += length(kept);
            // One is told however large it is, or nobody would get past it.
            if bytes > ENOUGH && !messages.is_empty() {
                break;
            }
            messages.push(kept.into());
        }
        let told = messages.last().map(|message| message.offset).filter(|told| *told < last);
        Self {
            messages,
            next: told.map(|offset| Position { epoch, offset }.into()),
            position: history.position.into(),
            gap: history.gap,
        }
    }
}

impl Listed for TopicJson {
    fn bytes(&self) -> usize {
        BYTES + length_in_json(&self.name)
    }
}

/// Bytes of a message as JSON.
fn length(kept: &Kept) -> usize {
    let content = match kept.publication.message.content() {
        Content::Text(text) => length_in_json(&text.to_str()),
        Content::Json(json) => json.as_bytes().len(),
        Content::Bytes(bytes) => bytes.len().div_ceil(3) * 4,
    };
    let key = kept.publication.key.as_ref().map_or(0, |key| length_in_json(key.as_str()));
    let user = kept.publication.from.as_ref().and_then(Author::user).map_or(0, length_in_json);
    KEPT_BYTES + content + key + user
}

impl From<&Kept> for KeptJson {
    fn from(kept: &Kept) -> Self {
        let Publication { message, key, from, .. } = &*kept.publication;
        let (mut text, mut json, mut binary) = (None, None, None);
        match message.content() {
            Content::Text(said) => text = Some(said.to_str().into_owned()),
            Content::Json(said) => json = RawValue::from_string(said.to_str().into_owned()).ok(),
            Content::Bytes(said) => binary = Some(STANDARD.encode(said)),
        }
        Self {
            offset: kept.offset,
            time: CalendarTime(kept.time).to_string(),
            user: from.as_ref().and_then(Author::user).map(str::to_owned),
            connection: from.as_ref().map(|from| from.connection().to_string()),
            text,
            json,
            binary,
            key: key.as_ref().map(ToString::to_string),
        }
    }
}
