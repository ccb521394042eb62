//! Whether the process lives, and whether it wants work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Error, ErrorBody};
use super::{ControlRoom, Shared};

/// How it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `ok`, or `ready`.
    status: &'static str,
}

/// Whether the gateway wants clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// All shards serve, and one has a place.
    Ready,
    /// All places are taken.
    Full,
    /// It was told to drain, and serves on for so long: whoever asks here learns it meanwhile.
    Leaving(Duration),
    /// It drains, or ends.
    Draining,
}

impl Readiness {
    /// How it is now.
    pub(super) fn of(control: &ControlRoom) -> Self {
        if !control.handle.is_serving() {
            let left = control.handle.last_drain().map(|drain| drain.delay_left());
            return left.filter(|left| !left.is_zero()).map_or(Self::Draining, Self::Leaving);
        }
        let limit = u64::from(control.config().limits.connections);
        let by_shard = control.handle.by_shard();
        match by_shard.iter().any(|(counters, _)| counters.connections < limit) {
            true => Self::Ready,
            false => Self::Full,
        }
    }
}

/// Whether a path is one of these: load balancers ask them by a name as well, and what they are
/// told is no secret. Neither needs a body, or a shard.
pub(super) fn has(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Tells that the process lives. Needs no token.
#[utoipa::path(
    get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, description = "It lives", body = HealthAnswer))
)]
pub(super) async fn alive() -> Json<HealthAnswer> {
    Json(HealthAnswer { status: "ok" })
}

/// Tells whether all shards serve. Needs no token.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses(
        (status = 200, description = "They do", body = HealthAnswer),
        (status = 503, description = "The gateway drains, or will soon, or all its places are \
                                      taken: send nobody here", body = ErrorBody),
    )
)]
pub(super) async fn ready(State(control): State<Shared>) -> Result<Json<HealthAnswer>, Error> {
    let (code, message, remedy) = match Readiness::of(&control) {
        Readiness::Ready => return Ok(Json(HealthAnswer { status: "ready" })),
        Readiness::Full => (
            "full",
            "all places for connections are taken".into(),
            "send clients to another one; or raise limits.connections, or run more shards",
        ),
        Readiness::Leaving(left) => (
            "draining",
            format!(
                "the gateway drains in {} s, and takes connections until then",
                left.as_millis().div_ceil(1000)
            ),
            "send clients to another one from now on",
        ),
        Readiness::Draining => (
            "draining",
            "the gateway drains, and takes no more connections".into(),
            "send clients to another one",
        ),
    };
    Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, code, message, remedy))
}
