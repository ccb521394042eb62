//! Connections as the Management API of Amazon API Gateway has them, so that its clients work
//! against the gateway: `POST`, `GET` and `DELETE` of `/@connections/{id}`. Errors have its names
//! in `x-amzn-ErrorType`, where its clients look for them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::body::PathPart;
use super::clock::iso8601;
use super::error::Error;
use super::tally::ErrorCode;
use super::{connections, whom};
use crate::hub::{Content, Errand, Publication, Target};

/// An error in the manner of that API.
pub(super) struct AwsError(Error);

/// What its errors look like.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AwsErrorBody {
    message: String,
}

/// What is known of a connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AwsConnection {
    /// ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at: Option<String>,
    identity: AwsIdentity,
    /// ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_active_at: Option<String>,
}

/// Who a connection is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AwsIdentity {
    source_ip: String,
    /// Not kept, and so empty.
    user_agent: &'static str,
}

/// Sends the body to a connection: as text if it is UTF-8, else as a binary message.
#[utoipa::path(
    post, path = "/@connections/{id}", tag = "amazon",
    params(("id" = String, Path, description = "The connection's id")),
    request_body(content = String, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "It is sent"),
        (status = "4XX", description = "GoneException (410), PayloadTooLargeException (413), \
            LimitExceededException (429), ForbiddenException (403) or BadRequestException (400) \
            in `x-amzn-ErrorType`", body = AwsErrorBody),
        (status = "5XX", description = "Try again", body = AwsErrorBody),
    )
)]
pub(super) async fn post(
    State(control): State<Shared>,
    PathPart(id): PathPart,
    body: Body,
) -> Result<StatusCode, AwsError> {
    let message = control.bodies.message(body).await?;
    let id = whom::connection_id(&id)?;
    let content = match String::from_utf8(message.value) {
        Ok(text) => Content::from(text),
        Err(error) => error.into_bytes().into(),
    };
    let message = control.shards.door().message(content).map_err(Error::from)?;
    let publication = Publication::new(message);
    control.shards.ask(Errand::Publish(Target::Connection(id), publication)).await?;
    Ok(StatusCode::OK)
}

/// Tells about a connection.
#[utoipa::path(
    get, path = "/@connections/{id}", tag = "amazon",
    params(("id" = String, Path, description = "The connection's id")),
    responses(
        (status = 200, description = "What is known", body = AwsConnection),
        (status = "4XX", description = "As of POST", body = AwsErrorBody),
        (status = "5XX", description = "Try again", body = AwsErrorBody),
    )
)]
pub(super) async fn get(
    State(control): State<Shared>,
    PathPart(id): PathPart,
) -> Result<Json<AwsConnection>, AwsError> {
    let info = connections::find(&control, &id).await?;
    let source_ip = info.peer.ip().map(|ip| ip.to_string()).unwrap_or_default();
    Ok(Json(AwsConnection {
        connected_at: info.connected_at.map(iso8601),
        identity: AwsIdentity { source_ip, user_agent: "" },
        last_active_at: info.active_at.map(iso8601),
    }))
}

/// Closes a connection.
#[utoipa::path(
    delete, path = "/@connections/{id}", tag = "amazon",
    params(("id" = String, Path, description = "The connection's id")),
    responses(
        (status = 204, description = "It is closing"),
        (status = "4XX", description = "As of POST", body = AwsErrorBody),
        (status = "5XX", description = "Try again", body = AwsErrorBody),
    )
)]
pub(super) async fn delete(
    State(control): State<Shared>,
    PathPart(id): PathPart,
) -> Result<StatusCode, AwsError> {
    let target = Target::Connection(whom::connection_id(&id)?);
    control.shards.ask(connections::order(target, None, None)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a path is one of this API.
pub(super) fn has(path: &str) -> bool {
    path.starts_with("/@connections/") || path.starts_with("/%40connections/")
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for AwsError {
    fn into_response(self) -> Response {
        let (status, name) = match self.0.status {
            // A connection that is closing, or never was, is gone for that API.
            StatusCode::GONE | StatusCode::CONFLICT => (StatusCode::GONE, "GoneException"),
            StatusCode::PAYLOAD_TOO_LARGE => {
                (StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException")
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException")
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                (StatusCode::FORBIDDEN, "ForbiddenException")
            }
            status if status.is_client_error() => (status, "BadRequestException"),
            status => (status, "InternalServerErrorException"),
        };
        let code = ErrorCode(self.0.code);
        let body = Json(AwsErrorBody { message: self.0.message });
        let mut response = (status, [("x-amzn-ErrorType", name)], body).into_response();
        response.extensions_mut().insert(code);
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        response
    }
}
