//! Topics: which there are, who is on them, what was published.

use axum::Json as Answered;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tidegate_proto::receiver::Kind;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::ask::Shards;
use super::body::{Params, Segment, page_size};
use super::clock::iso8601;
use super::cursor::Cursor;
use super::error::{Error, ErrorBody};
use super::publish::{self, PositionText};
use super::subscriptions::{DoneAnswer, done};
use crate::hub::{Answer, History, Kept, Name, Position, Presence, Present, Request, TopicInfo};

/// Questions that one page takes, at most.
const QUESTIONS_MAX: usize = 256;

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
    /// The oldest first.
    messages: Vec<KeptJson>,
    /// The position of the message that was published last.
    position: PositionText,
    /// Messages behind the position that was asked about are no longer kept, or it is of another
    /// epoch.
    gap: bool,
}

/// A message that is kept: with `text` or `binary`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptJson {
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
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
    Params(query): Params<TopicsQuery>,
) -> Result<Answered<TopicsAnswer>, Error> {
    let shards = control.shards.door().shards();
    let limit = page_size(query.limit)?;
    let prefix = query.prefix.unwrap_or_default();
    if prefix.len() > Name::LENGTH_MAX {
        let most = Name::LENGTH_MAX;
        return Err(Error::invalid(format!("`prefix` must have at most {most} bytes")));
    }
    let mut cursor = Some(Cursor::read(query.cursor.as_deref(), shards)?);
    let mut topics: Vec<TopicJson> = Vec::new();
    let deadline = Shards::deadline();
    for _ in 0..QUESTIONS_MAX {
        let Some(at) = cursor.filter(|_| topics.len() < limit) else { break };
        let left = limit - topics.len();
        let request = Request::Topics { from: at.place, prefix: prefix.clone(), limit: left };
        let answer = control.shards.ask_shard(at.shard.into(), request, deadline).await?;
        let Answer::Topics(some, next) = answer else { return Err(Error::confused()) };
        topics.extend(some.into_iter().map(TopicJson::from));
        cursor = match next {
            Some(place) => Some(Cursor { place, ..at }),
            None => Some(Cursor { shard: at.shard + 1, place: 0 })
                .filter(|cursor| usize::from(cursor.shard) < shards),
        };
    }
    let cursor = cursor.map(|cursor| cursor.to_string());
    Ok(Answered(TopicsAnswer { topics, cursor }))
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
    Segment(topic): Segment,
) -> Result<Answered<TopicJson>, Error> {
    match control.shards.ask(Request::Topic(Name::new(&topic)?)).await? {
        Answer::Topics(some, _) => match some.into_iter().next() {
            Some(info) => Ok(Answered(info.into())),
            None => Err(crate::hub::Refusal::Unknown.into()),
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
    Segment(topic): Segment,
) -> Result<Answered<DoneAnswer>, Error> {
    done(control.shards.ask(Request::DestroyTopic(Name::new(&topic)?)).await?)
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
    Params(query): Params<PresenceQuery>,
) -> Result<Answered<PresenceAnswer>, Error> {
    let limit = page_size(query.limit)?;
    let request = Request::Presence { topic: Name::new(&query.topic)?, limit };
    match control.shards.ask(request).await? {
        Answer::Presence(presence) => Ok(Answered(presence.into())),
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
    Params(query): Params<HistoryQuery>,
) -> Result<Answered<HistoryAnswer>, Error> {
    let limit = page_size(query.limit)?;
    let since = match (query.epoch, query.offset) {
        (None, None) => None,
        (Some(epoch), Some(offset)) => Some(Position { epoch: publish::epoch(&epoch)?, offset }),
        _ => return Err(Error::invalid("`epoch` and `offset` go together: give both or none")),
    };
    let request = Request::History { topic: Name::new(&query.topic)?, since, limit };
    match control.shards.ask(request).await? {
        Answer::History(history) => Ok(Answered(history.into())),
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
            since: iso8601(present.since),
        }
    }
}

impl From<History> for HistoryAnswer {
    fn from(history: History) -> Self {
        Self {
            messages: history.messages.iter().map(KeptJson::from).collect(),
            position: history.position.into(),
            gap: history.gap,
        }
    }
}

impl From<&Kept> for KeptJson {
    fn from(kept: &Kept) -> Self {
        let payload = &kept.publication.payload;
        // A payload of text was checked when it came in.
        let text = Some(payload.kind)
            .filter(|kind| *kind == Kind::Text)
            .map(|_| String::from_utf8_lossy(payload.bytes()).into_owned());
        let binary = text.is_none().then(|| STANDARD.encode(payload.bytes()));
        let key = kept.publication.key.as_ref().map(ToString::to_string);
        Self { offset: kept.offset, text, binary, key }
    }
}
