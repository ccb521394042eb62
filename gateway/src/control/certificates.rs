//! The certificates that listeners show, and reading them anew.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rustls::pki_types::UnixTime;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::Shared;
use super::answer::{Room, respond};
use super::audit::Concerning;
use super::clock::iso8601;
use super::error::{Error, ErrorBody};
use crate::steering::{CertificateFacts, NotReloaded, WrongFile};

/// Names of one certificate that are told; of more, the first.
const NAMES_MAX: usize = 100;

/// What listeners prove with who the gateway is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificatesAnswer {
    /// Those of `[[certificate]]` in the order of the file, then those of listeners' own.
    certificates: Vec<CertificateJson>,
}

/// A certificate that is in use.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificateJson {
    /// Its file, as it is configured.
    file: String,
    /// The names that are answered with it, up to 100 of them.
    names: Vec<String>,
    /// When it expires; ISO 8601.
    not_after: String,
    /// Whole days until then, below 0 once it has expired.
    days_left: i64,
    /// SHA-256 of it, in hexadecimal digits.
    fingerprint_sha256: String,
    /// What may be a mistake about it, in words for people, as it was when it was read.
    doubts: Vec<String>,
}

/// Tells which certificates are in use.
#[utoipa::path(
    get, path = "/v1/certificates", tag = "certificates",
    responses(
        (status = 200, description = "Those in use", body = CertificatesAnswer),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn list(State(control): State<Shared>) -> Result<Response, Error> {
    let place = control.answers.place().await?;
    Ok(respond(told(place, &control.certificates.facts())?))
}

/// Reads all files anew that listeners speak TLS with: certificates, keys, authorities of clients
/// and keys of tickets, under the names that the configuration has that is in force.
///
/// Handshakes that begin are made with what was read. If any file cannot be used, all stays as it
/// was, and the error names each of them.
#[utoipa::path(
    post, path = "/v1/certificates/reload", tag = "certificates",
    responses(
        (status = 200, description = "Those in use from now on", body = CertificatesAnswer),
        (status = "4XX", description = "Not done: 422 for files that cannot be used",
            body = ErrorBody),
        (status = "5XX", description = "Not done: try again", body = ErrorBody),
    )
)]
pub(super) async fn reload(
    State(control): State<Shared>,
) -> Result<(Extension<Concerning>, Response), Error> {
    let place = control.answers.place().await?;
    let (tells, told_of) = oneshot::channel();
    // Whoever asked may be gone.
    control.certificates.reload_aside(|reloaded| _ = tells.send(reloaded))?;
    let facts = told_of.await.map_err(|_| Error::confused())?.map_err(|wrong| refused(&wrong))?;
    let concerning = Concerning(format!("{} certificates", facts.len()));
    Ok((Extension(concerning), respond(told(place, &facts)?)))
}

fn told(place: Room, facts: &[CertificateFacts]) -> Result<Bytes, Error> {
    place
        .json(&CertificatesAnswer { certificates: facts.iter().map(CertificateJson::of).collect() })
}

/// Files cannot be used.
fn refused(wrong: &[WrongFile]) -> Error {
    let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Error::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "wrong_files",
        all.join("; "),
        "nothing has changed: correct these files, and ask again",
    )
}

/// Those that expire soonest, so many of them.
pub(super) fn soonest(facts: &[CertificateFacts], most: usize) -> Vec<CertificateJson> {
    let mut sorted: Vec<_> = facts.iter().collect();
    sorted.sort_by_key(|one| one.not_after);
    sorted.into_iter().take(most).map(CertificateJson::of).collect()
}

impl CertificateJson {
    fn of(facts: &CertificateFacts) -> Self {
        let CertificateFacts { file, names, not_after, fingerprint, doubts } = facts;
        Self {
            file: file.display().to_string(),
            names: names.iter().take(NAMES_MAX).cloned().collect(),
            not_after: iso8601(*not_after),
            days_left: facts.days_left(UnixTime::now()),
            fingerprint_sha256: fingerprint.clone(),
            doubts: doubts.clone(),
        }
    }
}

impl From<NotReloaded> for Error {
    fn from(reason: NotReloaded) -> Self {
        match reason {
            NotReloaded::Underway => Self::busy("files are read anew already, and once more after"),
            NotReloaded::Thread(_) => Self::busy("the thread that reads them cannot be started"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_expire_soonest_come_first_with_their_days() {
        let now = UnixTime::now().as_secs();
        let of = |file: &str, not_after| CertificateFacts {
            file: file.into(),
            names: vec!["a.org".into(); 200],
            not_after,
            fingerprint: "00".into(),
            doubts: Vec::new(),
        };
        let day = 24 * 60 * 60;
        let all = [of("late", now + 90 * day), of("gone", now - 1), of("soon", now + 3 * day + 60)];
        let told = soonest(&all, 2);
        let told: Vec<_> = told.iter().map(|one| (one.file.as_str(), one.days_left)).collect();
        assert_eq!(told, [("gone", -1), ("soon", 3)]);
        assert_eq!(CertificateJson::of(&all[0]).names.len(), NAMES_MAX);
    }
}
