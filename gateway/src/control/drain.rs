//! Drains: closing connections at a pace, of the whole gateway or some of them.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answered};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tidegate_proto::websocket::close::MAX_REASON;
use utoipa::ToSchema;

use super::audit::Concerning;
use super::body::Json;
use super::connections::route_number;
use super::error::{Error, ErrorBody};
use super::{ControlRoom, Shared};
use crate::steering::{
    AfterDrain, DEADLINE, DELAY, DrainAsked, DrainPhase, DrainPlan, DrainProgress, DrainRate,
    DrainScope, DrainState, DrainStatus, NotBegun, NotTakenBack,
};
use crate::units::{Time, time_in};

/// Bytes of the longest reason, beside the word that stands in front.
const REASON_MAX: usize = DrainPlan::room_for_words(MAX_REASON);

/// What is to be drained, and how. Without `route`, `listener` and `address` it is the whole
/// gateway; with several of them, connections are meant to which all apply.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainRequest {
    /// Only connections of the route with this path, as it is configured, such as `/rooms/{room}`.
    route: Option<String>,
    /// Which of the routes with that path: the one of this subprotocol.
    subprotocol: Option<String>,
    /// Only those of the listener at this address, as `listening on` tells it at the start.
    listener: Option<String>,
    /// Only those from this IP address or network, such as `10.0.0.0/8`. Addresses are kept of
    /// connections of routes of the hub, and where the listener logs connections.
    address: Option<String>,
    /// Connections that are closed in a second, of all shards together, 1 to 100000000. Without,
    /// each shard closes as many as `drain_rate` says.
    #[schema(minimum = 1, maximum = 100_000_000)]
    rate: Option<u32>,
    /// How long all goes on before the first is closed, up to `1h`: `drain_delay` without, and
    /// nothing for a part of the gateway.
    #[schema(example = "10s")]
    delay: Option<String>,
    /// How long it may take behind that, `1s` to `24h`; who is left then is cut off. `drain`
    /// without.
    #[schema(example = "2m")]
    deadline: Option<String>,
    /// The close code (RFC 6455 section 7.4), `drain_code` without: one that a server may send.
    #[schema(minimum = 1000, maximum = 4999)]
    code: Option<u16>,
    /// What is told to people behind the word `drain: `, up to 116 bytes.
    #[schema(max_length = 116)]
    reason: Option<String>,
    /// Whether the gateway ends once it is done; it stays without.
    then: Option<ThenJson>,
}

/// What becomes of the gateway when a drain is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Then)]
enum ThenJson {
    /// It stays. After a drain of all of it, whoever comes is answered with 503 until that is taken
    /// back.
    Stay,
    /// It ends.
    Exit,
}

/// How the last drain is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DrainAnswer {
    /// `null` if there was none since the start.
    drain: Option<DrainJson>,
}

/// How a drain is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drain)]
pub(super) struct DrainJson {
    state: DrainStateJson,
    /// Whether it can be taken back: it is in force, and the gateway does not end for it yet.
    can_be_taken_back: bool,
    asked_by: AskedByJson,
    /// `null` of the whole gateway; otherwise what `POST` has named.
    route: Option<String>,
    /// Likewise.
    listener: Option<String>,
    /// Likewise.
    address: Option<String>,
    then: ThenJson,
    /// Connections that are closed in a second, of all shards together.
    rate: u64,
    /// What they are told.
    code: u16,
    /// And in words.
    reason: String,
    /// How long ago it was asked for, in whole seconds.
    elapsed_seconds: u64,
    /// In how many seconds the first is closed; 0 once that has begun.
    delay_left_seconds: u64,
    /// In how many seconds those are cut off that are left; 0 once it is done.
    deadline_left_seconds: u64,
    #[serde(flatten)]
    progress: DrainProgressJson,
    /// How far each shard is.
    shards: Vec<DrainProgressJson>,
}

/// How far a drain is; connections are counted when the delay is over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DrainProgress)]
pub(super) struct DrainProgressJson {
    /// Connections that it is about.
    connections: u32,
    /// Those of them that have gone.
    closed: u32,
    /// Those that are still there: to be told, or told and not gone yet.
    left: u32,
    /// Those of these that were told.
    leaving: u32,
    /// Those that were cut off, because the deadline had passed.
    cut_off: u32,
    /// Connections whose address is not kept, so that nobody knows whether they were meant.
    unknown_address: u32,
    /// Nothing is left to do.
    is_done: bool,
}

/// What has become of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DrainState)]
enum DrainStateJson {
    /// The delay has yet to pass.
    Announced,
    /// Connections are being closed.
    Closing,
    /// Nobody is left whom it is about.
    Done,
    /// It was taken back, or another one has taken over.
    TakenBack,
}

/// Who has asked for a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AskedBy)]
enum AskedByJson {
    /// A signal, or the program that embeds the gateway; also if a request has begun it, and it was
    /// too far to be replaced.
    Signal,
    /// A request.
    Api,
}

/// Drains the gateway, or closes some of its connections, at a pace.
///
/// One of the whole gateway lets `/readyz` fail first, for the delay. Then nobody new is served:
/// who comes to the gateway's own listeners is answered with 503, who comes to those that other
/// programs have as well is left to them. Connections that were there are closed at the pace, at
/// moments that are drawn, until the deadline. One of some connections leaves all others as they
/// are, and new ones too.
///
/// There is one at a time; one of the whole gateway takes over from one of some connections.
#[utoipa::path(
    post, path = "/v1/drain", tag = "drain", request_body = DrainRequest,
    responses(
        (status = 200, description = "It has begun", body = DrainAnswer),
        (status = "4XX", description = "Not done: 409 while another one is under way",
            body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn begin(
    State(control): State<Shared>,
    Json(request): Json<DrainRequest>,
) -> Result<(Extension<Concerning>, Answered<DrainAnswer>), Error> {
    let plan = request.value.plan(&control)?;
    let concerning = Concerning(control.whom(&plan.scope));
    let status = control.handle.begin_drain(plan).map_err(|reason| match reason {
        NotBegun::Wrong(wrong) => Error::invalid(wrong.to_string()),
        NotBegun::UnderWay(other) => control.under_way(&other),
    })?;
    Ok((Extension(concerning), Answered(control.answer(Some(&status)))))
}

/// Tells how the last drain is.
#[utoipa::path(
    get, path = "/v1/drain", tag = "drain",
    responses(
        (status = 200, description = "The last one", body = DrainAnswer),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    )
)]
pub(super) async fn show(State(control): State<Shared>) -> Answered<DrainAnswer> {
    Answered(control.answer(control.handle.last_drain().as_ref()))
}

/// Takes the drain back that is under way.
///
/// Connections that were not told yet stay, and after one of the whole gateway whoever comes is
/// served again. It is too late once the gateway ends for it: after a signal from when the delay is
/// over, because the listeners are closed then, and otherwise once nobody is left.
#[utoipa::path(
    delete, path = "/v1/drain", tag = "drain",
    responses(
        (status = 200, description = "It was taken back", body = DrainAnswer),
        (status = "4XX", description = "Not done: 409 if there is none, or it is too late",
            body = ErrorBody),
    )
)]
pub(super) async fn take_back(
    State(control): State<Shared>,
) -> Result<(Extension<Concerning>, Answered<DrainAnswer>), Error> {
    let status = control.handle.take_drain_back()?;
    let concerning = Concerning(control.whom(&status.plan.scope));
    Ok((Extension(concerning), Answered(control.answer(Some(&status)))))
}

impl DrainRequest {
    fn plan(self, control: &ControlRoom) -> Result<DrainPlan, Error> {
        let scope = self.scope(control)?;
        let after = match self.then {
            None | Some(ThenJson::Stay) => AfterDrain::Stay,
            Some(ThenJson::Exit) if scope.is_whole() => AfterDrain::End,
            Some(ThenJson::Exit) => {
                return Err(Error::invalid(
                    "`then` can only be `exit` if the whole gateway drains: leave `route`, \
                     `listener` and `address` out",
                ));
            }
        };
        let usual = DrainPlan { after, ..DrainPlan::clone(&control.handle.usual_drain()) };
        let usual_delay = if scope.is_whole() { usual.delay } else { Duration::ZERO };
        let time = |name: &str, text: Option<String>, range, usual| match text {
            None => Ok(usual),
            Some(text) => {
                time_in(&text, range).map_err(|wrong| Error::invalid(format!("`{name}` {wrong}")))
            }
        };
        Ok(DrainPlan {
            scope,
            delay: time("delay", self.delay, &DELAY, usual_delay)?,
            time: time("deadline", self.deadline, &DEADLINE, usual.time)?,
            rate: self.rate.map_or(usual.rate, DrainRate::Together),
            code: self.code.unwrap_or(usual.code),
            reason: DrainPlan::words(reason(self.reason.as_deref())?),
            after,
        })
    }

    fn scope(&self, control: &ControlRoom) -> Result<DrainScope, Error> {
        let listener = self.listener.as_ref().map(|written| {
            let is_it = |address: &crate::config::ListenAddress| address.to_string() == *written;
            let listening = control.listening();
            let number = listening.number(is_it);
            let all = || {
                let all = listening.addresses();
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                Error::invalid(format!(
                    "`listener` must be an address that is listened on, {}, is {written:?}",
                    all.join(" or ")
                ))
            };
            number.ok_or_else(all)
        });
        let network = self.address.as_ref().map(|written| {
            network(written).ok_or_else(|| {
                Error::invalid(format!(
                    "`address` must be an IP address or a network such as 10.0.0.0/8, is \
                     {written:?}"
                ))
            })
        });
        let (route, subprotocol) = (self.route.as_deref(), self.subprotocol.as_deref());
        Ok(DrainScope {
            route: route_number(route, subprotocol, &control.routes())?,
            listener: listener.transpose()?,
            network: network.transpose()?,
        })
    }
}

fn network(written: &str) -> Option<IpNet> {
    let address = || written.parse().ok().map(|ip: std::net::IpAddr| ip.to_canonical().into());
    written.parse().ok().or_else(address)
}

fn reason(asked: Option<&str>) -> Result<&str, Error> {
    let reason = asked.unwrap_or_default();
    if reason.len() <= REASON_MAX {
        return Ok(reason);
    }
    let length = reason.len();
    Err(Error::invalid(format!("`reason` must have at most {REASON_MAX} bytes, has {length}")))
}

impl ControlRoom {
    /// What of the gateway is drained, in words.
    fn whom(&self, scope: &DrainScope) -> String {
        let route = self.route_of(scope).map(|path| format!("route {path}"));
        let listener = self.listener_of(scope).map(|address| format!("listener {address}"));
        let network = scope.network.map(|network| format!("address {network}"));
        let parts: Vec<String> = [route, listener, network].into_iter().flatten().collect();
        if parts.is_empty() { "the whole gateway".into() } else { parts.join(", ") }
    }

    fn route_of(&self, scope: &DrainScope) -> Option<String> {
        self.routes().path(scope.route?).map(str::to_owned)
    }

    fn listener_of(&self, scope: &DrainScope) -> Option<String> {
        self.listening().address(scope.listener?).map(ToString::to_string)
    }

    /// Another drain is under way.
    fn under_way(&self, other: &DrainStatus) -> Error {
        let DrainProgress { total, .. } = other.progress;
        let (whom, left) = (self.whom(&other.plan.scope), other.progress.left());
        let until = Time(Duration::from_secs(whole_seconds(other.time_left())));
        let how = match other.state {
            DrainState::Done => "is done, and is in force until it is taken back".to_owned(),
            DrainState::Announced => {
                let delay = Time(Duration::from_secs(whole_seconds(other.delay_left())));
                format!("begins in {delay}")
            }
            _ => format!("is under way: {left} of {total} connections are left, {until} remain"),
        };
        Error::new(
            StatusCode::CONFLICT,
            "drain_under_way",
            format!("a drain of {whom} {how}"),
            "wait for its end, or take it back by DELETE /v1/drain; GET tells how far it is",
        )
    }

    fn answer(&self, status: Option<&DrainStatus>) -> DrainAnswer {
        DrainAnswer { drain: status.map(|status| self.drain_json(status)) }
    }

    /// The drain that is in force.
    pub(super) fn drain_in_force(&self) -> Option<DrainJson> {
        let status = self.handle.last_drain().filter(DrainStatus::is_in_force)?;
        Some(self.drain_json(&status))
    }

    fn drain_json(&self, status: &DrainStatus) -> DrainJson {
        let DrainStatus { plan, by_shard, progress, .. } = status;
        let is_over = matches!(status.state, DrainState::Done | DrainState::TakenBack);
        let left = if is_over { Duration::ZERO } else { status.time_left() };
        DrainJson {
            state: match status.state {
                DrainState::Announced => DrainStateJson::Announced,
                DrainState::Closing => DrainStateJson::Closing,
                DrainState::Done => DrainStateJson::Done,
                DrainState::TakenBack => DrainStateJson::TakenBack,
            },
            can_be_taken_back: status.is_in_force() && !status.is_final,
            asked_by: match status.asked {
                DrainAsked::ToLeave => AskedByJson::Signal,
                DrainAsked::ByPlan => AskedByJson::Api,
            },
            route: self.route_of(&plan.scope),
            listener: self.listener_of(&plan.scope),
            address: plan.scope.network.map(|network| network.to_string()),
            then: match plan.after {
                AfterDrain::Stay => ThenJson::Stay,
                AfterDrain::End | AfterDrain::Leave => ThenJson::Exit,
            },
            rate: plan.rate.together(by_shard.len()),
            code: plan.code,
            reason: plan.reason.to_string(),
            elapsed_seconds: status.elapsed.as_secs(),
            delay_left_seconds: if is_over { 0 } else { whole_seconds(status.delay_left()) },
            deadline_left_seconds: whole_seconds(left),
            progress: DrainProgressJson::of(progress),
            shards: by_shard.iter().map(DrainProgressJson::of).collect(),
        }
    }
}

/// What is left of a time, in seconds of which the last is told as a whole one.
fn whole_seconds(left: Duration) -> u64 {
    left.as_millis().div_ceil(1000) as u64
}

impl DrainProgressJson {
    fn of(progress: &DrainProgress) -> Self {
        Self {
            connections: progress.total,
            closed: progress.closed(),
            left: progress.left(),
            leaving: progress.leaving,
            cut_off: progress.cut_off,
            unknown_address: progress.unknown,
            is_done: progress.phase == DrainPhase::Done,
        }
    }
}

impl From<NotTakenBack> for Error {
    fn from(reason: NotTakenBack) -> Self {
        match reason {
            NotTakenBack::None => Self::new(
                StatusCode::CONFLICT,
                "no_drain",
                "no drain is under way",
                "there is nothing to take back",
            ),
            NotTakenBack::TooLate => Self::new(
                StatusCode::CONFLICT,
                "drain_final",
                "the gateway ends for this drain: its listeners are closed, or are being closed",
                "start another gateway once this one has ended",
            ),
        }
    }
}
