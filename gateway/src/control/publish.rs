//! Publishing from outside.

use std::collections::VecDeque;

use axum::Json as Answered;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Shared;
use super::answer::respond;
use super::ask::{Asked, Questions};
use super::body::Json;
use super::error::{Error, ErrorBody, ErrorDetail};
use super::object;
use super::whom::{self, Whom};
use crate::hub::{Content, Door, Errand, Outcome, Publication, Published, Target};
use crate::names::Position;

/// The most messages of a batch, and the most targets of all of them together.
const BATCH_MAX: usize = 1000;

/// Questions of one batch that are on their way at once.
const WINDOW: usize = 64;

/// One message to one target. Of `text`, `binary` and `json`, one must be there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishRequest {
    target: Whom,
    /// Sent as a text message.
    text: Option<String>,
    /// Base64 with padding (RFC 4648 section 4), sent as a binary message.
    binary: Option<String>,
    /// Any JSON value, sent as a text message, as it stands here, and as a value to those who want
    /// events.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<serde_json::Value>)]
    json: Option<Box<RawValue>>,
    /// Of messages with the same key, a slow peer whose route conflates keeps the newest only.
    #[schema(max_length = 200, min_length = 1)]
    key: Option<String>,
    /// The id of a connection that does not get it.
    except: Option<String>,
    /// Drawn anew for each message to a topic: the same message with the same key is published once
    /// while the key is kept (`hub.idempotency_keys`, `hub.idempotency_age`), and answered as it
    /// was the first time. For topics only.
    #[schema(max_length = 64, min_length = 1)]
    idempotency_key: Option<String>,
}

/// Several messages, each to several targets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// Up to 1000 messages, which have up to 1000 targets together.
    #[serde(deserialize_with = "object::list")]
    #[schema(max_items = 1000, min_items = 1)]
    messages: Vec<BatchMessage>,
}

/// One message to several targets. Of `text`, `binary` and `json`, one must be there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchMessage {
    #[schema(max_items = 1000, min_items = 1)]
    targets: Vec<Whom>,
    /// Sent as a text message.
    text: Option<String>,
    /// Base64 with padding, sent as a binary message.
    binary: Option<String>,
    /// Any JSON value, sent as a text message, as it stands here, and as a value to those who want
    /// events.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<serde_json::Value>)]
    json: Option<Box<RawValue>>,
    /// As of a single message. One that is no name is told in the results, as all that is wrong
    /// with one message of several is, and so the schema has no bounds for it.
    key: Option<String>,
    /// The id of a connection that does not get it.
    except: Option<String>,
    /// As of a single message: for each of its targets, which have to be topics.
    idempotency_key: Option<String>,
}

/// What became of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PublishAnswer {
    /// How many connections it is for.
    connections: u64,
    /// Its place among the messages of the topic; `null` if the target is no topic, or no history
    /// is kept.
    position: Option<PositionText>,
    /// `true` if it was published before with the same `idempotency_key`, and not once more; else
    /// it is not there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    repeated: bool,
}

/// A place among the messages of a topic.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PositionText {
    /// 8 hexadecimal digits. Offsets of two epochs have nothing to do with each other.
    #[schema(example = "00c0ffee")]
    epoch: String,
    /// Counted from 1 within the epoch; 0 before the first message.
    offset: u64,
}

/// What became of the messages of a batch: for each target of each message, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    results: Vec<BatchResult>,
}

/// What became of a message for one target.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchResult {
    /// It was published.
    Published {
        /// 200.
        status: u16,
        /// How many connections it is for.
        connections: u64,
        /// Its place among the messages of the topic.
        position: Option<PositionText>,
        /// As of a single message.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        #[schema(required = false)]
        repeated: bool,
    },
    /// It was not.
    Failed {
        /// The status that a request of its own would have been answered with.
        status: u16,
        error: ErrorDetail,
    },
}

/// What is published, before it is checked.
struct UncheckedMessage {
    text: Option<String>,
    binary: Option<String>,
    json: Option<Box<RawValue>>,
    key: Option<String>,
    except: Option<String>,
    idempotency_key: Option<String>,
}

/// What is published, and by which key it is known if it is sent again.
#[derive(Clone)]
struct Checked {
    publication: Publication,
    once: Option<Box<str>>,
}

/// The most bytes of an idempotency key.
const IDEMPOTENCY_KEY_MAX: usize = 64;

/// Takes `null` for a value, where it would count as left out.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}

impl PublishRequest {
    /// Whom it is for, and what it is.
    fn parts(self) -> (Whom, UncheckedMessage) {
        let Self { target, text, binary, json, key, except, idempotency_key } = self;
        (target, UncheckedMessage { text, binary, json, key, except, idempotency_key })
    }
}

impl BatchMessage {
    /// Whom it is for, and what it is.
    fn parts(self) -> (Vec<Whom>, UncheckedMessage) {
        let Self { targets, text, binary, json, key, except, idempotency_key } = self;
        (targets, UncheckedMessage { text, binary, json, key, except, idempotency_key })
    }
}

impl UncheckedMessage {
    fn checked(self, door: &Door) -> Result<Checked, Error> {
        let publication = Publication {
            key: whom::name(self.key.as_deref())?,
            except: self.except.as_deref().map(whom::connection_id).transpose()?,
            from: None,
            message: door.message(content(self.text, self.binary, self.json)?)?,
        };
        let once = self.idempotency_key.map(once).transpose()?;
        Ok(Checked { publication, once })
    }
}

impl Checked {
    /// What is asked of the hub for one target.
    fn errand(self, target: Target) -> Result<Errand, Error> {
        let Self { publication, once } = self;
        match (target, once) {
            (target, None) => Ok(Errand::Publish(target, publication)),
            (Target::Topic(topic), Some(key)) => Ok(Errand::PublishOnce(topic, publication, key)),
            (_, Some(_)) => Err(Error::invalid(
                "`idempotency_key` is for messages to a topic: leave it out, or name a topic",
            )),
        }
    }
}

fn once(key: String) -> Result<Box<str>, Error> {
    if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) {
        return Ok(key.into());
    }
    Err(Error::invalid(format!(
        "`idempotency_key` must have 1 to {IDEMPOTENCY_KEY_MAX} bytes, has {}",
        key.len()
    )))
}

/// What is published: the one of these that is there. None of it is copied.
fn content(
    text: Option<String>,
    binary: Option<String>,
    json: Option<Box<RawValue>>,
) -> Result<Content, Error> {
    match (text, binary, json) {
        (Some(text), None, None) => Ok(text.into()),
        (None, Some(text), None) => {
            let bytes = STANDARD.decode(text).map_err(|error| {
                Error::invalid(format!("`binary` is not base64 with its padding: {error}"))
            })?;
            Ok(bytes.into())
        }
        (None, None, Some(json)) => Content::json(Box::<str>::from(json).into_string())
            .map_err(|wrong| Error::invalid(format!("`json`: {wrong}"))),
        _ => Err(Error::invalid("one of `text`, `binary` and `json` must be there, and only one")),
    }
}

/// Publishes one message.
#[utoipa::path(
    post, path = "/v1/publish", tag = "messages", request_body = PublishRequest,
    responses(
        (status = 200, description = "It is published", body = PublishAnswer),
        (status = "4XX", description = "It is not, and should not be tried again",
         body = ErrorBody),
        (status = "5XX", description = "It is not, or after `no_answer` maybe later: try again",
            body = ErrorBody),
    )
)]
pub(super) async fn publish(
    State(control): State<Shared>,
    Json(request): Json<PublishRequest>,
) -> Result<Answered<PublishAnswer>, Error> {
    let (whom, unchecked) = request.value.parts();
    let target = whom.target()?;
    let errand = unchecked.checked(control.shards.door())?.errand(target)?;
    let answer = control.shards.ask(errand).await?;
    Ok(Answered(published(answer)?.into()))
}

/// Publishes several messages, each to several targets.
///
/// Messages to the same target arrive in their order. Some may be published though others are not:
/// each target has its own result.
#[utoipa::path(
    post, path = "/v1/publish/batch", tag = "messages", request_body = BatchRequest,
    responses(
        (status = 200, description = "What became of each", body = BatchAnswer),
        (status = "4XX", description = "Nothing was published", body = ErrorBody),
        (status = "5XX", description = "Nothing was published: try again", body = ErrorBody),
    )
)]
pub(super) async fn batch(
    State(control): State<Shared>,
    Json(request): Json<BatchRequest>,
) -> Result<Response, Error> {
    let messages = request.value.messages;
    let targets: usize = messages.iter().map(|message| message.targets.len()).sum();
    if messages.len() > BATCH_MAX || targets > BATCH_MAX {
        let is = format!("has {} messages to {targets} targets", messages.len());
        return Err(Error::invalid(format!("the batch {is}, and may have {BATCH_MAX} of each")));
    }
    // Without a target, what is wrong with a message would be told nowhere.
    if messages.is_empty() || messages.iter().any(|message| message.targets.is_empty()) {
        return Err(Error::invalid("the batch has no message, or a message without a target"));
    }
    let place = control.answers.place().await?;
    let mut batch = PublishBatch::new(&control.shards, targets);
    for message in messages {
        let (targets, unchecked) = message.parts();
        let checked = unchecked.checked(control.shards.door());
        for whom in &targets {
            let one = checked.clone();
            batch.publish(one.and_then(|one| one.errand(whom.target()?))).await;
        }
    }
    let results = batch.finish().await;
    for result in &results {
        if let BatchResult::Failed { error, .. } = result {
            control.tally.refused(error.code);
        }
    }
    Ok(respond(place.json(&BatchAnswer { results })?))
}

/// The questions of a batch, some of which are on their way.
struct PublishBatch<'s> {
    shards: &'s Questions,
    deadline: tokio::time::Instant,
    sent: VecDeque<Result<Asked, Error>>,
    results: Vec<BatchResult>,
}

impl<'s> PublishBatch<'s> {
    fn new(shards: &'s Questions, targets: usize) -> Self {
        Self {
            shards,
            deadline: Questions::deadline(),
            sent: VecDeque::with_capacity(WINDOW),
            results: Vec::with_capacity(targets),
        }
    }

    async fn publish(&mut self, checked: Result<Errand, Error>) {
        if self.sent.len() == WINDOW {
            self.take_first().await;
        }
        let sent = match checked {
            Ok(errand) => self.shards.send(errand, self.deadline).await,
            Err(error) => Err(error),
        };
        self.sent.push_back(sent);
    }

    async fn take_first(&mut self) {
        let answer = match self.sent.pop_front() {
            Some(Ok(asked)) => asked.answer().await.and_then(published),
            Some(Err(error)) => Err(error),
            None => return,
        };
        self.results.push(match answer {
            Ok(published) => {
                let PublishAnswer { connections, position, repeated } = published.into();
                BatchResult::Published { status: 200, connections, position, repeated }
            }
            Err(error) => {
                BatchResult::Failed { status: error.status.as_u16(), error: error.detail() }
            }
        });
    }

    async fn finish(mut self) -> Vec<BatchResult> {
        while !self.sent.is_empty() {
            self.take_first().await;
        }
        self.results
    }
}

fn published(answer: Outcome) -> Result<Published, Error> {
    match answer {
        Outcome::Published(published) => Ok(published),
        _ => Err(Error::confused()),
    }
}

impl From<Published> for PublishAnswer {
    fn from(published: Published) -> Self {
        Self {
            connections: published.connections,
            position: published.position.map(PositionText::from),
            repeated: published.repeated,
        }
    }
}

impl From<Position> for PositionText {
    fn from(position: Position) -> Self {
        Self { epoch: position.epoch_text(), offset: position.offset }
    }
}

/// The epoch that `text` is.
pub(super) fn epoch(text: &str) -> Result<u32, Error> {
    Position::parse_epoch(text)
        .ok_or_else(|| Error::invalid("`epoch` must be 8 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_eight_digits() {
        assert_eq!(epoch("00c0ffee"), Ok(0x00c0_ffee));
        for text in ["", "c0ffee", "+0c0ffee", "00c0ffeg", "000c0ffee"] {
            assert!(epoch(text).is_err(), "{text}");
        }
    }
}
