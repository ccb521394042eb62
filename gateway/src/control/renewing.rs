//! Fresh tokens for connections.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answered};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::Concerning;
use super::body::{Json, PathPart};
use super::error::{Error, ErrorBody};
use super::{Shared, whom};
use crate::hub::{CalendarTime, Errand, FreshToken, NotRenewed, Outcome, Target};

/// A fresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// The token (JWT), of the same issuer and user as the connection's.
    #[schema(min_length = 1)]
    token: String,
}

/// The connection has it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    /// Until when it holds, with the leeway of its issuer: ISO 8601; `null` if that does not end.
    until: Option<String>,
}

/// Gives a connection a fresh token in place of the one that it was let in by.
///
/// It is checked as that one was, and has to be of the same issuer and user. From then on what it
/// says of topics holds, and when it expires. What the connection is subscribed to stays.
#[utoipa::path(
    post, path = "/v1/connections/{id}/token", tag = "tokens", request_body = TokenRequest,
    params(("id" = String, Path, description = "The connection's id")),
    responses(
        (status = 200, description = "The connection has it", body = TokenAnswer),
        (status = "4XX", description = "The connection has the token that it had: 400 if this one \
            is not good (`bad_token`) or of another user (`other_user`), 409 if it has none of an \
            issuer (`no_token`) or another one is being verified (`under_way`)", body = ErrorBody),
        (status = "5XX", description = "Not done, or after `no_answer` maybe later: try again",
            body = ErrorBody),
    )
)]
pub(super) async fn renew(
    State(control): State<Shared>,
    PathPart(id): PathPart,
    Json(request): Json<TokenRequest>,
) -> Result<(Extension<Concerning>, Answered<TokenAnswer>), Error> {
    let id = whom::connection_id(&id)?;
    let token = FreshToken::new(&request.value.token);
    let concerning = Concerning::target(&Target::Connection(id));
    match control.shards.ask(Errand::Renew(id, token)).await? {
        Outcome::Renewed(until) => {
            let until = until.map(|until| CalendarTime(until).to_string());
            Ok((Extension(concerning), Answered(TokenAnswer { until })))
        }
        Outcome::NotRenewed(why) => Err(why.into()),
        _ => Err(Error::confused()),
    }
}

impl From<NotRenewed> for Error {
    fn from(why: NotRenewed) -> Self {
        let (status, hint) = match why {
            NotRenewed::BadToken(_) => {
                (StatusCode::BAD_REQUEST, "get one of the issuer that the connection's is of")
            }
            NotRenewed::OtherUser => {
                (StatusCode::BAD_REQUEST, "let the other user connect by itself")
            }
            NotRenewed::NoToken => (
                StatusCode::CONFLICT,
                "only a token of a `[[jwt]]` expires, and takes the place of one",
            ),
            NotRenewed::UnderWay => (StatusCode::CONFLICT, "try again in a moment"),
            NotRenewed::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "try again in a moment; if it stays so, raise `verifiers` or `verifications`",
            ),
            NotRenewed::NoRoom => (
                StatusCode::SERVICE_UNAVAILABLE,
                "give clients the same patterns, or raise limits.permissions",
            ),
        };
        Self::new(status, why.code(), why.reason(), hint)
    }
}
