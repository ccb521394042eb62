//! Having the gateway take over its configuration anew.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::Shared;
use super::answer::respond;
use super::audit::Concerning;
use super::body::Json;
use super::error::{Error, ErrorBody};
use crate::config::{Difference, HowDifferent};
use crate::steering::{NotChanged, ReloadOptions, ReloadReport};

/// Differences that are told one by one.
const TOLD_MAX: usize = 1000;

/// How the configuration is taken over. All of it may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReloadBody {
    /// Only tell what would change.
    dry_run: bool,
    /// What becomes of connections whose route is there no longer.
    gone: GoneJson,
}

/// What becomes of connections whose route is there no longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum GoneJson {
    /// They stay on it until they end.
    #[default]
    Stay,
    /// They are closed, with 1012 over WebSocket, at `drain_rate`.
    Close,
}

/// What is in force, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReloadAnswer {
    /// Whether anything was done.
    dry_run: bool,
    /// How long it took.
    #[schema(example = 12)]
    took_ms: u64,
    /// What is otherwise than before, up to 1000.
    changed: Vec<DifferenceJson>,
    /// What is otherwise in the file and in force only after a restart, up to 1000.
    needs_restart: Vec<DifferenceJson>,
    /// How many of both are not told.
    left_out: usize,
    /// What may be a mistake about the configuration.
    warnings: Vec<String>,
}

/// One thing that is otherwise.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DifferenceJson {
    /// A key as the file has it, or a table with what it is called by.
    #[schema(example = "route /echo")]
    what: String,
    /// `added`, `removed`, `changed` or `set`.
    how: &'static str,
    /// The value before, of what is `set`.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// And the one that it has now.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
}

/// Reads the configuration anew and has the gateway take it over: routes and what they check and
/// limit, listeners, what is kept of topics, issuers of tokens, certificates, what clients are
/// counted by, what of the limits sizes nothing, the access log, drains, the log's filter, admin
/// tokens. The file of the access log is opened anew. Connections stay.
///
/// All shards have it from one moment on. If anything is wrong with it all stays as it was, and the
/// error says why.
#[utoipa::path(
    post, path = "/v1/reload", tag = "configuration", request_body = ReloadBody,
    responses(
        (status = 200, description = "What is in force, or would be", body = ReloadAnswer),
        (status = "4XX", description = "Not done: 422 for a configuration that is wrong",
            body = ErrorBody),
        (status = "5XX", description = "Not done: try again", body = ErrorBody),
    )
)]
pub(super) async fn reload(
    State(control): State<Shared>,
    Json(request): Json<ReloadBody>,
) -> Result<(Extension<Concerning>, Response), Error> {
    let body = request.value;
    let place = control.answers.place().await?;
    let options =
        ReloadOptions { dry_run: body.dry_run, closes_gone: body.gone == GoneJson::Close };
    let (tells, told_of) = oneshot::channel();
    // Whoever asked may be gone.
    control.reloader.reload_aside(options, |reloaded| _ = tells.send(reloaded))?;
    let report = told_of.await.map_err(|_| Error::confused())??;
    if let Some(access_log) = control.reloader.access_log().filter(|_| !body.dry_run) {
        access_log.reopen();
    }
    let concerning = Concerning(match body.dry_run {
        true => "the configuration, looked at".into(),
        false => format!("the configuration, {} differences", report.differences.len()),
    });
    let answer = ReloadAnswer::of(report, body.dry_run);
    Ok((Extension(concerning), respond(place.json(&answer)?)))
}

impl ReloadAnswer {
    fn of(report: ReloadReport, dry_run: bool) -> Self {
        let ReloadReport { differences, warnings, took } = report;
        let (late, changed): (Vec<_>, Vec<_>) =
            differences.iter().partition(|one| one.needs_restart);
        let told = |all: &[&Difference]| {
            all.iter().take(TOLD_MAX).map(|one| DifferenceJson::of(one)).collect::<Vec<_>>()
        };
        let (changed, needs_restart) = (told(&changed), told(&late));
        let left_out = differences.len() - changed.len() - needs_restart.len();
        let took_ms = took.as_millis() as u64;
        Self { dry_run, took_ms, changed, needs_restart, left_out, warnings }
    }
}

impl DifferenceJson {
    fn of(difference: &Difference) -> Self {
        let (how, values) = match &difference.how {
            HowDifferent::Added => ("added", None),
            HowDifferent::Removed => ("removed", None),
            HowDifferent::Changed => ("changed", None),
            HowDifferent::Set(before, now) => ("set", Some((before.clone(), now.clone()))),
        };
        let (before, now) = values.unzip();
        Self { what: difference.what.clone(), how, before, now }
    }
}

impl From<NotChanged> for Error {
    fn from(reason: NotChanged) -> Self {
        let message = reason.to_string();
        match reason {
            NotChanged::UnderWay | NotChanged::Thread(_) | NotChanged::Late(_) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "busy", message, "try again in a moment, more slowly")
            }
            NotChanged::Ending => Self::new(
                StatusCode::CONFLICT,
                "ending",
                message,
                "ask the gateway that takes its place",
            ),
            NotChanged::NoSource => Self::new(
                StatusCode::CONFLICT,
                "no_configuration",
                message,
                "have the program call `Reloader::have_source`, or `Reloader::change_to`",
            ),
            _ => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong_configuration",
                message,
                "nothing has changed: correct it, and ask again",
            ),
        }
    }
}
