//! Connections: who is there, and closing them.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json as Answered};
use serde::{Deserialize, Serialize};
use tidegate_proto::websocket::close::MAX_REASON;
use tidegate_proto::websocket::code::CloseCode;
use utoipa::{IntoParams, ToSchema};

use super::answer::{length_in_json, respond};
use super::audit::Concerning;
use super::body::{Json, PathPart, QueryParams, page_size};
use super::clock::iso8601;
use super::error::{Error, ErrorBody};
use super::listing::{self, ListPage, Listed, ShardPart, Wanted};
use super::subscriptions::{DoneAnswer, done};
use super::whom::{self, Whom};
use super::{ControlRoom, Shared};
use crate::hub::{ConnectionFilter, ConnectionInfo, Errand, Outcome, PeerFilter, Target, Why};
use crate::shard::RouteTable;

/// Bytes of a connection in a list, beside its texts.
const BYTES: usize = 420;

/// For how many seconds a connection may be traced.
const TRACED: RangeInclusive<u64> = 1..=600;
/// For how many it is if nothing is said.
const TRACED_BY_DEFAULT: u64 = 60;

/// Which connections to tell about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectionsQuery {
    /// What the page before has said.
    cursor: Option<String>,
    /// How many at most, 1 to 1000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// Only this user's.
    user: Option<String>,
    /// Only those that are subscribed to this topic.
    topic: Option<String>,
    /// Only those of the route with this path, as it is configured, such as `/rooms/{room}`.
    route: Option<String>,
    /// Which of the routes with that path: the one of this subprotocol.
    subprotocol: Option<String>,
    /// Only those from this IP address or network; `unix` for all over Unix sockets, or one of
    /// these as its `address` is told.
    #[param(value_type = Option<String>)]
    address: Option<PeerFilter>,
}

/// A page of connections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionsAnswer {
    connections: Vec<ConnectionJson>,
    /// Where the next page begins; `null` if this was the last. A page may have few, or none, and
    /// yet not be the last.
    cursor: Option<String>,
}

/// A connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionJson {
    id: String,
    /// The path of its route, as it is configured.
    route: Option<String>,
    /// The peer's IP address and port, or `unix:pid=1,uid=2,gid=3` with the numbers of a process
    /// of this machine, where that is kept.
    address: Option<String>,
    user: Option<String>,
    /// The topics that it is subscribed to: up to 20 of them in a list.
    topics: Vec<String>,
    /// How many there are.
    topics_total: u32,
    /// ISO 8601, where it is kept.
    connected_at: Option<String>,
    /// When something came from the peer last: ISO 8601, as far as it is known.
    active_at: Option<String>,
    /// Bytes that wait for the peer to take them.
    backlog: u32,
    /// What its request calls the peer's program, its first 128 bytes; this and what follows is
    /// kept where the listener logs connections, and `null` elsewhere.
    agent: Option<String>,
    /// Messages that were received.
    messages_in: Option<u64>,
    /// Bytes that were received.
    bytes_in: Option<u64>,
    /// Messages that were sent, or wait to be.
    messages_out: Option<u64>,
    /// Payload bytes of these.
    bytes_out: Option<u64>,
}

/// How to close a connection.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CloseQuery {
    /// The close code (RFC 6455 section 7.4), 1000 if it is left out.
    #[param(minimum = 1000, maximum = 4999)]
    code: Option<u16>,
    /// The reason, up to 123 bytes.
    #[param(max_length = 123)]
    reason: Option<String>,
}

/// Whom to disconnect, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectRequest {
    target: Whom,
    /// The close code (RFC 6455 section 7.4), 1000 if it is left out.
    #[schema(minimum = 1000, maximum = 4999)]
    code: Option<u16>,
    /// The reason, up to 123 bytes.
    #[schema(max_length = 123)]
    reason: Option<String>,
}

/// Tells about connections, shard after shard.
///
/// Connections that come or go meanwhile may be missed, or have gone when they are read about.
#[utoipa::path(
    get, path = "/v1/connections", tag = "connections", params(ConnectionsQuery),
    responses(
        (status = 200, description = "A page of them", body = ConnectionsAnswer),
        (status = "4XX", description = "A parameter is wrong", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(control): State<Shared>,
    QueryParams(query): QueryParams<ConnectionsQuery>,
) -> Result<Response, Error> {
    let wanted = Wanted { cursor: query.cursor.as_deref(), limit: page_size(query.limit)? };
    let filter = query.filter(&control.routes())?;
    let place = control.answers.place().await?;
    let question = |from, limit| Errand::Connections { from, filter: filter.clone(), limit };
    let told = |answer| match answer {
        Outcome::Connections(some, next) => {
            let items = some.iter().map(|info| control.connection(info)).collect();
            Ok(ShardPart { items, next })
        }
        _ => Err(Error::confused()),
    };
    let ListPage { items, cursor } = listing::page(&control, wanted, question, told).await?;
    Ok(respond(place.json(&ConnectionsAnswer { connections: items, cursor })?))
}

/// Tells about one connection.
#[utoipa::path(
    get, path = "/v1/connections/{id}", tag = "connections",
    params(("id" = String, Path, description = "The connection's id")),
    responses(
        (status = 200, description = "The connection", body = ConnectionJson),
        (status = "4XX", description = "It is gone, or this is no id", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn show(
    State(control): State<Shared>,
    PathPart(id): PathPart,
) -> Result<Answered<ConnectionJson>, Error> {
    Ok(Answered(control.connection(&*find(&control, &id).await?)))
}

/// Closes one connection.
#[utoipa::path(
    delete, path = "/v1/connections/{id}", tag = "connections",
    params(("id" = String, Path, description = "The connection's id"), CloseQuery),
    responses(
        (status = 200, description = "It is closing", body = DoneAnswer),
        (status = "4XX", description = "It is gone, or a parameter is wrong", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn close(
    State(control): State<Shared>,
    PathPart(id): PathPart,
    QueryParams(query): QueryParams<CloseQuery>,
) -> Result<Answered<DoneAnswer>, Error> {
    let target = Target::Connection(whom::connection_id(&id)?);
    let order = order(target, query.code, query.reason.as_deref())?;
    done(control.shards.ask(order).await?)
}

/// Closes connections.
#[utoipa::path(
    post, path = "/v1/disconnect", tag = "connections", request_body = DisconnectRequest,
    responses(
        (status = 200, description = "They are closing", body = DoneAnswer),
        (status = "4XX", description = "Not done", body = ErrorBody),
        (status = "5XX", description = "Not done, or after `no_answer` maybe later: try again",
            body = ErrorBody),
    )
)]
pub(super) async fn disconnect(
    State(control): State<Shared>,
    Json(request): Json<DisconnectRequest>,
) -> Result<(Extension<Concerning>, Answered<DoneAnswer>), Error> {
    let DisconnectRequest { target, code, reason } = request.value;
    let target = target.target()?;
    let concerning = Concerning::target(&target);
    let order = order(target, code, reason.as_deref())?;
    Ok((Extension(concerning), done(control.shards.ask(order).await?)?))
}

/// Which connection to trace, and for how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceRequest {
    /// Its id.
    connection: String,
    /// For how many seconds, 1 to 600; 60 if it is left out.
    #[schema(minimum = 1, maximum = 600)]
    seconds: Option<u64>,
}

/// Tells in the log of each frame of a connection for a while.
///
/// A line of the target `tidegate::frames` has its kind and length, and nothing of what is in it;
/// one that does not come at once has a line for each piece. A trace has 10,000 lines at most. Of
/// each shard eight connections are traced at once: for one more the one goes that would end first.
#[utoipa::path(
    post, path = "/v1/trace", tag = "connections", request_body = TraceRequest,
    responses(
        (status = 200, description = "The log tells of it", body = DoneAnswer),
        (status = "4XX", description = "It is gone, or a parameter is wrong", body = ErrorBody),
        (status = "5XX", description = "Not done, or after `no_answer` maybe later: try again",
            body = ErrorBody),
    )
)]
pub(super) async fn trace(
    State(control): State<Shared>,
    Json(request): Json<TraceRequest>,
) -> Result<(Extension<Concerning>, Answered<DoneAnswer>), Error> {
    let TraceRequest { connection, seconds } = request.value;
    let id = whom::connection_id(&connection)?;
    let seconds = seconds.unwrap_or(TRACED_BY_DEFAULT);
    if !TRACED.contains(&seconds) {
        return Err(Error::invalid(format!("`seconds` must be 1 to 600, is {seconds}")));
    }
    if !tracing::enabled!(target: "tidegate::frames", tracing::Level::INFO) {
        return Err(Error::unlogged("tidegate::frames"));
    }
    let concerning = Concerning::target(&Target::Connection(id));
    let errand = Errand::Trace(id, Duration::from_secs(seconds));
    Ok((Extension(concerning), done(control.shards.ask(errand).await?)?))
}

/// What the hub knows of a connection.
pub(super) async fn find(control: &ControlRoom, id: &str) -> Result<Box<ConnectionInfo>, Error> {
    let id = whom::connection_id(id)?;
    match control.shards.ask(Errand::Connection(id)).await? {
        Outcome::Connection(info) => Ok(info),
        _ => Err(Error::confused()),
    }
}

/// The order to close.
pub(super) fn order(
    target: Target,
    code: Option<u16>,
    reason: Option<&str>,
) -> Result<Errand, Error> {
    let code = code.map_or(CloseCode::NORMAL, CloseCode);
    if !code.may_travel() {
        return Err(Error::invalid(format!(
            "`code` must be one that may be sent (RFC 6455 section 7.4): 1000 to 1003, 1007 to \
             1014, 3000 to 4999; is {code}"
        )));
    }
    let reason = reason.unwrap_or_default();
    if reason.len() > MAX_REASON {
        let length = reason.len();
        return Err(Error::invalid(format!(
            "`reason` must have at most {MAX_REASON} bytes, has {length}"
        )));
    }
    Ok(Errand::Disconnect(target, Why::wish(code.0, reason)))
}

impl ConnectionsQuery {
    fn filter(&self, routes: &RouteTable) -> Result<ConnectionFilter, Error> {
        Ok(ConnectionFilter {
            user: whom::name(self.user.as_deref())?,
            topic: whom::name(self.topic.as_deref())?,
            route: route_number(self.route.as_deref(), self.subprotocol.as_deref(), routes)?,
            address: self.address,
        })
    }
}

/// The number of the route with this path and subprotocol, if it is there or was.
pub(super) fn route_number(
    path: Option<&str>,
    subprotocol: Option<&str>,
    routes: &RouteTable,
) -> Result<Option<u16>, Error> {
    let Some(path) = path else {
        return match subprotocol {
            None => Ok(None),
            Some(_) => Err(Error::invalid("`subprotocol` needs `route` beside it")),
        };
    };
    match routes.number(path, subprotocol) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::invalid(format!(
            "`route` must be the path of a configured route, is {path:?}"
        ))),
    }
}

impl Listed for ConnectionJson {
    fn bytes(&self) -> usize {
        let texts = self.topics.iter().chain(&self.user).chain(&self.route).chain(&self.agent);
        BYTES + texts.map(|text| length_in_json(text)).sum::<usize>()
    }
}

impl ControlRoom {
    fn connection(&self, info: &ConnectionInfo) -> ConnectionJson {
        let account = info.account.as_ref();
        ConnectionJson {
            id: info.id.to_string(),
            route: info.route.and_then(|number| self.routes().path(number).map(str::to_owned)),
            address: info.peer.known().map(|peer| peer.to_string()),
            user: info.user.as_ref().map(ToString::to_string),
            topics: info.topics.iter().map(ToString::to_string).collect(),
            topics_total: info.topics_total,
            connected_at: info.connected_at.map(iso8601),
            active_at: info.active_at.map(iso8601),
            backlog: info.backlog,
            agent: account.and_then(|account| account.agent.as_deref()).map(str::to_owned),
            messages_in: account.map(|account| account.messages_in),
            bytes_in: account.map(|account| account.bytes_in),
            messages_out: account.map(|account| account.messages_out),
            bytes_out: account.map(|account| account.bytes_out),
        }
    }
}
