//! Subscribing and unsubscribing from outside.

use axum::extract::State;
use axum::{Extension, Json as Answered};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::audit::Concerning;
use super::body::Json;
use super::error::{Error, ErrorBody};
use super::whom::Whom;
use crate::hub::{Errand, Outcome, Target};
use crate::names::Name;

/// Who subscribes to what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionRequest {
    /// A connection or a user.
    target: Whom,
    #[schema(max_length = 200, min_length = 1)]
    topic: String,
}

/// That something was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DoneAnswer {
    /// For how many connections.
    connections: u64,
}

/// Subscribes a connection, or all connections that a user has now.
#[utoipa::path(
    post, path = "/v1/subscribe", tag = "topics", request_body = SubscriptionRequest,
    responses(
        (status = 200, description = "Done", body = DoneAnswer),
        (status = "4XX", description = "Not done", body = ErrorBody),
        (status = "5XX", description = "Not done, or after `no_answer` maybe later: try again",
            body = ErrorBody),
    )
)]
pub(super) async fn subscribe(
    State(control): State<Shared>,
    Json(request): Json<SubscriptionRequest>,
) -> Result<(Extension<Concerning>, Answered<DoneAnswer>), Error> {
    let (target, topic) = request.value.check()?;
    let concerning = Concerning::target_on(&target, &topic);
    let answer = control.shards.ask(Errand::Subscribe(target, topic)).await?;
    Ok((Extension(concerning), done(answer)?))
}

/// Unsubscribes a connection, or all connections that a user has now.
#[utoipa::path(
    post, path = "/v1/unsubscribe", tag = "topics", request_body = SubscriptionRequest,
    responses(
        (status = 200, description = "Done", body = DoneAnswer),
        (status = "4XX", description = "Not done", body = ErrorBody),
        (status = "5XX", description = "Not done, or after `no_answer` maybe later: try again",
            body = ErrorBody),
    )
)]
pub(super) async fn unsubscribe(
    State(control): State<Shared>,
    Json(request): Json<SubscriptionRequest>,
) -> Result<(Extension<Concerning>, Answered<DoneAnswer>), Error> {
    let (target, topic) = request.value.check()?;
    let concerning = Concerning::target_on(&target, &topic);
    let answer = control.shards.ask(Errand::Unsubscribe(target, topic)).await?;
    Ok((Extension(concerning), done(answer)?))
}

impl SubscriptionRequest {
    fn check(&self) -> Result<(Target, Name), Error> {
        match self.target.target()? {
            target @ (Target::Connection(_) | Target::User(_)) => {
                Ok((target, Name::new(&self.topic)?))
            }
            _ => Err(Error::invalid("`target` must be a connection or a user")),
        }
    }
}

pub(super) fn done(answer: Outcome) -> Result<Answered<DoneAnswer>, Error> {
    match answer {
        Outcome::Done(connections) => Ok(Answered(DoneAnswer { connections })),
        _ => Err(Error::confused()),
    }
}
