//! Revocations: tokens that are taken back.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json as Answered};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};

use super::answer::respond;
use super::audit::Concerning;
use super::body::{Json, PathPart, QueryParams, page_size};
use super::clock::{iso8601, since_1970};
use super::error::{Error, ErrorBody};
use super::{ControlRoom, Shared};
use crate::checks::{
    Revocation, RevocationOrder, Revocations, TokensOf, TooManyRevocations, ask_who_comes,
};
use crate::hub::CalendarTime;
use crate::names::Name;
use crate::units::{Time, quote, time_in};

/// For how long one may be in force, and for how long it is if nothing is said.
const FOR: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);
const USUALLY_FOR: Duration = Duration::from_secs(86_400);

/// How far the moment may be in the future before which tokens were issued: as far as clocks are
/// off.
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// Which tokens are taken back: those of a user, the one with an id, or all that were issued before
/// a moment, with or without a user.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationRequest {
    /// Those of this user. Without `issued_before` also those that are issued from now on, and the
    /// user's `[[token]]`.
    #[schema(max_length = 200, min_length = 1)]
    user: Option<String>,
    /// The one whose claim `jti` is this; it needs `issuer` beside it.
    #[schema(max_length = 256, min_length = 1)]
    jti: Option<String>,
    /// Only those of this issuer, by the name of its `[[jwt]]`.
    issuer: Option<String>,
    /// Only those that were issued (`iat`) before this moment: RFC 3339, or `now`. Those that do
    /// not say when they were are taken for older.
    #[schema(example = "now")]
    issued_before: Option<String>,
    /// For how long, `1s` to `8784h`: as long as the tokens may live. `24h` without.
    #[serde(rename = "for")]
    #[schema(example = "24h")]
    lasting: Option<String>,
    /// Until when, in place of `for`: RFC 3339.
    until: Option<String>,
}

/// Tokens that are taken back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revocation)]
pub(super) struct RevocationJson {
    id: u64,
    /// Whose.
    user: Option<String>,
    /// Which one.
    jti: Option<String>,
    /// By which issuer.
    issuer: Option<String>,
    /// Issued before this moment: ISO 8601.
    issued_before: Option<String>,
    /// When that was said: ISO 8601.
    made_at: String,
    /// Until when it holds: ISO 8601.
    until: String,
}

/// A page of revocations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevocationsAnswer {
    revocations: Vec<RevocationJson>,
    /// Where the next page begins; `null` if this was the last.
    cursor: Option<String>,
}

/// Which of them to tell.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RevocationsQuery {
    /// What the page before has said.
    cursor: Option<String>,
    /// How many at most, 1 to 1000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// Takes tokens back.
///
/// Who shows one from then on is refused with 401, and connections that were let in by one are
/// closed at once, with the code that their issuer has for tokens that have expired, 4401 by
/// default. It is kept in memory: a gateway that is started anew has to be told again, and each
/// gateway by itself.
#[utoipa::path(
    post, path = "/v1/revocations", tag = "tokens", request_body = RevocationRequest,
    responses(
        (status = 201, description = "They are taken back", body = RevocationJson),
        (status = 200, description = "They were; it ends later, if that was said",
            body = RevocationJson),
        (status = "4XX", description = "Not done: 409 if no route asks for tokens",
            body = ErrorBody),
        (status = "5XX", description = "Not done: as many are in force as may be",
            body = ErrorBody),
    )
)]
pub(super) async fn revoke(
    State(control): State<Shared>,
    Json(request): Json<RevocationRequest>,
) -> Result<(StatusCode, Extension<Concerning>, Answered<RevocationJson>), Error> {
    let order = request.value.order(&control, since_1970())?;
    let taken = control.handle.revoke(order)?;
    let status = if taken.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let concerning = concerning(&taken.revocation);
    Ok((status, Extension(concerning), Answered(RevocationJson::of(&taken.revocation))))
}

/// Tells which tokens are taken back.
#[utoipa::path(
    get, path = "/v1/revocations", tag = "tokens", params(RevocationsQuery),
    responses(
        (status = 200, description = "A page of them, the oldest first", body = RevocationsAnswer),
        (status = "4XX", description = "A parameter is wrong", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(control): State<Shared>,
    QueryParams(query): QueryParams<RevocationsQuery>,
) -> Result<Response, Error> {
    let limit = page_size(query.limit)?;
    let behind = match query.cursor.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(behind)) => behind,
        Some(Err(_)) => {
            let wrong = "`cursor` is not one that an earlier answer has said: leave it out";
            return Err(Error::invalid(wrong));
        }
    };
    let place = control.answers.place().await?;
    let some = control.handle.revocations_in_force(behind, limit + 1);
    let told = &some[..some.len().min(limit)];
    let cursor = told.last().filter(|_| some.len() > limit).map(|last| last.number.to_string());
    let revocations = told.iter().map(|one| RevocationJson::of(one)).collect();
    Ok(respond(place.json(&RevocationsAnswer { revocations, cursor })?))
}

/// Tells about one revocation.
#[utoipa::path(
    get, path = "/v1/revocations/{id}", tag = "tokens",
    params(("id" = u64, Path, description = "The revocation's id")),
    responses(
        (status = 200, description = "The revocation", body = RevocationJson),
        (status = "4XX", description = "There is none of this id", body = ErrorBody),
    )
)]
pub(super) async fn show(
    State(control): State<Shared>,
    PathPart(id): PathPart,
) -> Result<Answered<RevocationJson>, Error> {
    let found = id.parse().ok().and_then(|number| control.handle.revocation(number));
    found.map(|one| Answered(RevocationJson::of(&one))).ok_or_else(unknown)
}

/// Ends a revocation: the tokens that it has taken back are as good as they were.
///
/// Connections that it has closed are not opened by that.
#[utoipa::path(
    delete, path = "/v1/revocations/{id}", tag = "tokens",
    params(("id" = u64, Path, description = "The revocation's id")),
    responses(
        (status = 200, description = "As it was", body = RevocationJson),
        (status = "4XX", description = "There is none of this id", body = ErrorBody),
    )
)]
pub(super) async fn withdraw(
    State(control): State<Shared>,
    PathPart(id): PathPart,
) -> Result<(Extension<Concerning>, Answered<RevocationJson>), Error> {
    let gone = id.parse().ok().and_then(|number| control.handle.withdraw_revocation(number));
    let gone = gone.ok_or_else(unknown)?;
    Ok((Extension(concerning(&gone)), Answered(RevocationJson::of(&gone))))
}

/// What is said of one in the log: of a token that has an id, whose it is.
fn concerning(one: &Revocation) -> Concerning {
    let number = one.number;
    let whose = match &one.tokens {
        TokensOf::Anybody => "of anybody".to_owned(),
        TokensOf::User(user) => format!("of user {user}"),
        TokensOf::Id(_) => "of one id".to_owned(),
    };
    let issuer = one.issuer.as_deref().map(|issuer| format!(" by {issuer}")).unwrap_or_default();
    Concerning(format!("revocation {number}, tokens {whose}{issuer}"))
}

fn unknown() -> Error {
    Error::new(
        StatusCode::NOT_FOUND,
        "unknown_revocation",
        "no revocation of this id is in force",
        "GET /v1/revocations tells those that are",
    )
}

impl RevocationRequest {
    fn order(&self, control: &ControlRoom, now: Duration) -> Result<RevocationOrder, Error> {
        let config = control.config();
        if !ask_who_comes(&config) {
            return Err(Error::new(
                StatusCode::CONFLICT,
                "no_tokens",
                "no route asks for tokens",
                "put `jwt` or `token` into `admission` of a route",
            ));
        }
        if let Some(issuer) = &self.issuer
            && !config.jwts.iter().any(|jwt| jwt.name == *issuer)
        {
            let issuer = quote(issuer);
            return Err(Error::invalid(format!("`issuer` must name a `[[jwt]]`, is {issuer}")));
        }
        Ok(RevocationOrder {
            tokens: self.tokens()?,
            issuer: self.issuer.as_deref().map(Into::into),
            issued_before: self.issued_before(now)?,
            until: self.until(now)?,
        })
    }

    fn tokens(&self) -> Result<TokensOf, Error> {
        match (&self.user, &self.jti) {
            (Some(_), Some(_)) => {
                Err(Error::invalid("`user` and `jti` exclude each other: send one"))
            }
            (Some(user), None) => Ok(TokensOf::User(Name::new(user)?)),
            (None, Some(_)) if self.issuer.is_none() => {
                Err(Error::invalid("`jti` needs `issuer` beside it: others may have the same"))
            }
            (None, Some(_)) if self.issued_before.is_some() => {
                Err(Error::invalid("`jti` is of one token: leave `issued_before` out"))
            }
            (None, Some(id)) if (1..=Revocations::ID_MAX).contains(&id.len()) => {
                Ok(TokensOf::Id(id.as_str().into()))
            }
            (None, Some(id)) => {
                let (most, length) = (Revocations::ID_MAX, id.len());
                Err(Error::invalid(format!("`jti` must have 1 to {most} bytes, has {length}")))
            }
            (None, None) if self.issued_before.is_some() => Ok(TokensOf::Anybody),
            (None, None) => Err(Error::invalid(
                "say which tokens: `user`, `jti` with `issuer`, or `issued_before`",
            )),
        }
    }

    fn issued_before(&self, now: Duration) -> Result<Option<Duration>, Error> {
        let Some(text) = self.issued_before.as_deref() else { return Ok(None) };
        if text == "now" {
            return Ok(Some(now));
        }
        let moment = moment("issued_before", text)?;
        if moment > now + AHEAD_MAX {
            let ahead = Time(AHEAD_MAX);
            let wrong = format!("`issued_before` may be {ahead} from now at most, is {text}");
            return Err(Error::invalid(wrong));
        }
        Ok(Some(moment))
    }

    fn until(&self, now: Duration) -> Result<Duration, Error> {
        let lasting = match (&self.lasting, &self.until) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("`for` and `until` exclude each other: send one"));
            }
            (None, None) => USUALLY_FOR,
            (Some(text), None) => {
                time_in(text, &FOR).map_err(|wrong| Error::invalid(format!("`for` {wrong}")))?
            }
            (None, Some(text)) => {
                let lasting = moment("until", text)?.saturating_sub(now);
                if !FOR.contains(&lasting) {
                    let (least, most) = (Time(*FOR.start()), Time(*FOR.end()));
                    return Err(Error::invalid(format!(
                        "`until` must be {least} to {most} from now, is {text}"
                    )));
                }
                lasting
            }
        };
        // A whole second more than a part of one.
        let until = (now + lasting).as_millis().div_ceil(1000) as u64;
        Ok(Duration::from_secs(until))
    }
}

/// A moment as RFC 3339 has it, counted from 1970.
fn moment(key: &str, text: &str) -> Result<Duration, Error> {
    let read = OffsetDateTime::parse(text, &Rfc3339).ok();
    let since = read.and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok());
    since.map(Duration::from_millis).ok_or_else(|| {
        let text = quote(text);
        Error::invalid(format!(
            "`{key}` must be a moment since 1970 by RFC 3339, such as 2026-11-24T12:00:00Z, is \
             {text}"
        ))
    })
}

impl RevocationJson {
    fn of(one: &Revocation) -> Self {
        let (user, jti) = match &one.tokens {
            TokensOf::Anybody => (None, None),
            TokensOf::User(user) => (Some(user.to_string()), None),
            TokensOf::Id(id) => (None, Some(id.to_string())),
        };
        let time = |at| CalendarTime(at).to_string();
        Self {
            id: one.number,
            user,
            jti,
            issuer: one.issuer.as_deref().map(str::to_owned),
            issued_before: one.issued_before().map(time),
            made_at: time(one.made_at),
            until: iso8601(one.until),
        }
    }
}

impl From<TooManyRevocations> for Error {
    fn from(reason: TooManyRevocations) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "revocations_full",
            reason.to_string(),
            "delete those that are needed no longer, say a shorter `for`, take tokens back by \
             `issued_before` rather than one by one, or raise `revocations`",
        )
    }
}
