//! The last connections that have ended, and why.

use std::cmp::Reverse;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::respond;
use super::ask::Questions;
use super::body::{QueryParams, page_size};
use super::error::{Error, ErrorBody};
use super::{ControlRoom, Shared, whom};
use crate::handler::{End, EndReason};
use crate::hub::{CalendarTime, EndFilter, EndInfo, Errand, Outcome, PeerFilter};

/// Which ends to tell about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EndsQuery {
    /// How many at most, 1 to 1000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// Only of the connection with this id.
    connection: Option<String>,
    /// Only of this user's connections.
    user: Option<String>,
    /// Only of those from this IP address or network; `unix` for all over Unix sockets, or one of
    /// these as its `address` is told.
    #[param(value_type = Option<String>)]
    address: Option<PeerFilter>,
    /// Only those for this reason, such as `slow_peer`: the words of the log and of
    /// `tidegate_ends_total`.
    reason: Option<String>,
}

/// The last connections that have ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndsAnswer {
    /// The latest first. Each shard keeps its last 512.
    ends: Vec<EndJson>,
}

/// A connection that has ended.
#[derive(Debug, Serialize, ToSchema)]
struct EndJson {
    /// ISO 8601.
    time: String,
    /// Its id.
    connection: String,
    /// The path of its route, as it is configured.
    route: Option<String>,
    /// The peer's IP address and port, or the numbers of a process of this machine, where that was
    /// kept.
    address: Option<String>,
    user: Option<String>,
    /// Why: one word of a closed list.
    reason: &'static str,
    /// The close code (RFC 6455 section 7.4); 1005 if the peer's Close frame had none, 1006 if
    /// there was none.
    code: u16,
    /// The peer began it.
    by_peer: bool,
    /// How long it was open, where that was kept.
    seconds: Option<f64>,
}

/// Tells about the last connections that have ended, and why.
#[utoipa::path(
    get, path = "/v1/ends", tag = "connections", params(EndsQuery),
    responses(
        (status = 200, description = "The latest first", body = EndsAnswer),
        (status = "4XX", description = "A parameter is wrong", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(control): State<Shared>,
    QueryParams(query): QueryParams<EndsQuery>,
) -> Result<Response, Error> {
    let limit = page_size(query.limit)?;
    let filter = query.filter()?;
    let place = control.answers.place().await?;
    let deadline = Questions::deadline();
    let mut ends: Vec<EndInfo> = Vec::new();
    for shard in 0..control.shards.door().shards() {
        let errand = Errand::Ends { filter: filter.clone(), limit };
        match control.shards.ask_shard(shard, errand, deadline).await? {
            Outcome::Ends(some) => ends.extend(some),
            _ => return Err(Error::confused()),
        }
        ends.sort_by_key(|end| Reverse(end.at));
        ends.truncate(limit);
    }
    let ends = ends.iter().map(|end| control.end(end)).collect();
    Ok(respond(place.json(&EndsAnswer { ends })?))
}

impl EndsQuery {
    fn filter(&self) -> Result<EndFilter, Error> {
        let user = whom::name(self.user.as_deref())?;
        let reason = self.reason.as_deref().map(reason).transpose()?;
        let connection = self.connection.as_deref().map(whom::connection_id).transpose()?;
        Ok(EndFilter { connection, user, address: self.address, reason })
    }
}

/// The reason of this name.
fn reason(name: &str) -> Result<&'static str, Error> {
    let mut names = EndReason::ALL.map(EndReason::name).into_iter();
    names.find(|known| *known == name).ok_or_else(|| {
        let known = EndReason::ALL.map(EndReason::name).join(", ");
        Error::invalid(format!("`reason` must be one of {known}; is {name:?}"))
    })
}

impl ControlRoom {
    fn end(&self, end: &EndInfo) -> EndJson {
        EndJson {
            time: CalendarTime(end.at).to_string(),
            connection: end.id.to_string(),
            route: end.route.and_then(|number| self.routes().path(number).map(str::to_owned)),
            address: end.peer.known().map(|peer| peer.to_string()),
            user: end.user.as_ref().map(ToString::to_string),
            reason: end.reason,
            code: End { by_peer: end.by_peer, cause: end.cause }.close_code(),
            by_peer: end.by_peer,
            seconds: end.open_for.map(|open_for| open_for.as_millis() as f64 / 1000.0),
        }
    }
}
