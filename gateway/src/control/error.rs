//! What is answered when something is not done.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::tally::ErrorCode;
use crate::hub::NotDone;
use crate::names::{NameError, NoConnectionId};

/// Something was not done. As a response, it is a status and an [`ErrorBody`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    hint: &'static str,
}

/// What every error looks like.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// The error.
    error: ErrorDetail,
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// For programs: a word in snake case, which stays as it is.
    #[schema(example = "connection_gone")]
    pub(super) code: &'static str,
    /// For people: what was wrong, and where.
    message: String,
    /// For people: what to do.
    hint: &'static str,
}

/// When to come back, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

const DOCUMENT: &str = "see /openapi.json for what is expected here";

impl Error {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        Self { status, code, message: message.into(), hint }
    }

    /// The request does not say what it must.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message, DOCUMENT)
    }

    /// No shard has answered in time.
    pub(super) fn late() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_answer",
            "a shard did not answer in time; what was asked may still happen",
            "try again, and see the loop times in /metrics if it stays so",
        )
    }

    /// The control thread has too much to do.
    pub(super) fn busy(message: &'static str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "busy", message, "try again in a moment, more slowly")
    }

    /// There is nothing at this path.
    pub(super) fn no_such_path() -> Self {
        let message = "there is nothing at this path";
        Self::new(StatusCode::NOT_FOUND, "unknown_path", message, DOCUMENT)
    }

    /// The path does not know the method.
    pub(super) fn no_such_method() -> Self {
        let message = "this path does not know the method";
        let hint = "the Allow header lists those that it knows";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", message, hint)
    }

    /// What would be said at this target of the log is not logged.
    pub(super) fn unlogged(target: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "not_logged",
            format!("the filter of the log leaves out {target} at the level info"),
            "set `log`, or TIDEGATE_LOG, to a filter that has it, such as \"info\", and start anew",
        )
    }

    /// An answer that does not belong to the question.
    pub(super) fn confused() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "a shard answered something else than was asked",
            "this is a defect of the gateway: please report it",
        )
    }

    pub(super) fn detail(self) -> ErrorDetail {
        ErrorDetail { code: self.code, message: self.message, hint: self.hint }
    }
}

impl From<NotDone> for Error {
    fn from(refusal: NotDone) -> Self {
        let (status, code, hint) = match refusal {
            NotDone::Gone => (
                StatusCode::GONE,
                "connection_gone",
                "the peer may come back as another connection: forget this id",
            ),
            NotDone::Unknown => (
                StatusCode::NOT_FOUND,
                "unknown_target",
                "a topic is there while someone subscribes or history is kept, a user while one \
                 of its connections is open",
            ),
            NotDone::NotOpen => (
                StatusCode::CONFLICT,
                "connection_not_open",
                "try again if it has just connected; otherwise forget this id",
            ),
            NotDone::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "try again in a moment; if it stays so, raise hub.mailbox, or hub.messages if \
                 tidegate_messages_used_bytes is near its limit",
            ),
            NotDone::Slow => (
                StatusCode::TOO_MANY_REQUESTS,
                "slow_peer",
                "send less, or raise `backlog` of its route",
            ),
            NotDone::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "message_too_large",
                "send less at once, or raise hub.max_message",
            ),
            NotDone::NotUtf8 => {
                (StatusCode::BAD_REQUEST, "not_utf8", "send it as binary, or mend the text")
            }
            NotDone::NotJson => {
                (StatusCode::BAD_REQUEST, "not_json", "mend it, or send it as text")
            }
            NotDone::TooManySubscriptions => (
                StatusCode::CONFLICT,
                "too_many_subscriptions",
                "unsubscribe it from something first, or raise hub.subscriptions_per_connection",
            ),
            NotDone::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "full",
                "use fewer topics or subscriptions, or raise hub.topics or hub.subscriptions",
            ),
            NotDone::Ended => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "ask another gateway, or this one again once it has been started anew",
            ),
        };
        Self::new(status, code, refusal.to_string(), hint)
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        let hint = "a name has 1 to 200 bytes of UTF-8 without control characters";
        Self::new(StatusCode::BAD_REQUEST, "invalid_name", error.to_string(), hint)
    }
}

impl From<NoConnectionId> for Error {
    fn from(error: NoConnectionId) -> Self {
        let hint = "take ids from /v1/connections, or from what the gateway told the connection";
        Self::new(StatusCode::BAD_REQUEST, "invalid_connection_id", error.to_string(), hint)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, code) = (self.status, ErrorCode(self.code));
        let body = ErrorBody { error: self.detail() };
        let mut response = (status, Json(body)).into_response();
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            // RFC 6750 section 3: "If the protected resource request does not include
            // authentication credentials [...], the resource server MUST include the HTTP
            // |WWW-Authenticate| response header field".
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer realm=\"tidegate\"");
                headers.insert(WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        response
    }
}
