//! What a request brings: bodies, queries and parts of its path, within bounds.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::Error;
use super::object::Object;
use super::{Shared, ask, gate, runtime, server};

/// Large bodies that are in memory at once, at most, however many connections are allowed; more
/// wait for one of them.
const AT_ONCE: u16 = 8;

/// Bytes up to which a body needs no place among the large ones: each connection may have it.
const SMALL: usize = 64 << 10;

/// How long a body may take to come in, beside a second for each [`BYTES_A_SECOND`] of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long nothing of a body may come.
const SILENCE: Duration = Duration::from_secs(10);

/// What is slower than this, in bytes, is too slow for large bodies.
pub(super) const BYTES_A_SECOND: u64 = 64 << 10;

/// What JSON may have beside a message, in bytes.
const OVERHEAD: usize = 64 << 10;

/// Bytes beyond a limit that are read and thrown away at most.
const DISCARDED_MAX: usize = 64 << 20;

/// The most that a list may tell at once, and what it tells if nothing is asked.
const PAGE_MAX: usize = 1000;
const PAGE: usize = 100;

/// The bounds of bodies.
pub(super) struct Bodies {
    places: Arc<Semaphore>,
    /// Bytes of a plain message.
    message: usize,
}

/// A body, and its place among those in memory.
pub(super) struct HeldBody<T> {
    pub(super) value: T,
    /// `None` of a small one.
    _place: Option<OwnedSemaphorePermit>,
}

/// A body of JSON.
pub(super) struct Json<T>(pub(super) HeldBody<T>);

/// The query of a request.
pub(super) struct QueryParams<T>(pub(super) T);

/// The part of the path that the route leaves open, decoded.
pub(super) struct PathPart(pub(super) String);

/// Bytes of all bodies at once, at most, for messages of so many bytes on so many connections and
/// those beyond: each as it came, as it was understood, and as it is passed on.
pub(super) fn bytes_max(max_message: u32, connections: u16) -> u64 {
    const COPIES: u64 = 3;
    let large = u64::from(at_once(connections)) * (2 * u64::from(max_message) + OVERHEAD as u64);
    let all = u64::from(connections) + server::BRIEF as u64;
    COPIES * (large + all * (SMALL + gate::HEAD_BYTES) as u64)
}

/// Large bodies at once, for so many connections.
fn at_once(connections: u16) -> u16 {
    connections.min(AT_ONCE)
}

impl Bodies {
    /// For messages of so many bytes, on so many connections.
    pub(super) fn new(max_message: u32, connections: u16) -> Self {
        let places = Semaphore::new(at_once(connections).into());
        Self { places: Arc::new(places), message: max_message as usize }
    }

    /// Bytes of the largest JSON: binary messages grow by a third, and text by its escapes.
    fn json_max(&self) -> usize {
        2 * self.message + OVERHEAD
    }

    /// Reads a plain message.
    pub(super) async fn message(&self, body: Body) -> Result<HeldBody<Vec<u8>>, Error> {
        self.read(body, self.message).await
    }

    async fn read(&self, mut body: Body, limit: usize) -> Result<HeldBody<Vec<u8>>, Error> {
        let began = Instant::now();
        let (mut bytes, mut place) = (Vec::new(), None);
        // What is announced to be too large is not waited for.
        let is_too_large = body.size_hint().lower() > limit as u64;
        if !is_too_large && !gather(&mut body, &mut bytes, SMALL.min(limit), began).await? {
            place = Some(self.place().await?);
            gather(&mut body, &mut bytes, limit, began).await?;
        }
        if is_too_large || bytes.len() > limit {
            runtime::spawn(discard(body));
            return Err(too_large(limit));
        }
        Ok(HeldBody { value: bytes, _place: place })
    }

    /// A place among the large bodies, once one is free.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let deadline = Instant::now() + ask::PATIENCE;
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok);
        place.ok_or_else(|| Error::busy("too many requests have a large body just now"))
    }
}

/// Reads on until there are more than `most` bytes of a body that `began` then; returns whether it
/// has ended.
async fn gather(
    body: &mut Body,
    bytes: &mut Vec<u8>,
    most: usize,
    began: Instant,
) -> Result<bool, Error> {
    while bytes.len() <= most {
        let whole = began + PATIENCE + Duration::from_secs(bytes.len() as u64 / BYTES_A_SECOND);
        let deadline = whole.min(Instant::now() + SILENCE);
        let next = timeout_at(deadline, body.frame()).await.map_err(|_| too_slow())?;
        let Some(frame) = next else { return Ok(true) };
        let broken = || {
            Error::invalid(
                "the body ended before its announced length, or a chunk of it is malformed",
            )
        };
        if let Ok(data) = frame.map_err(|_| broken())?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(false)
}

/// Throws away what comes of a body that is answered already, so that the peer gets to read the
/// answer: what is unread when a socket is closed resets its connection.
async fn discard(mut body: Body) {
    let mut beyond = 0;
    let reading = async {
        while let Ok(Some(Ok(frame))) = timeout(SILENCE, body.frame()).await {
            beyond += frame.into_data().map_or(0, |data| data.len());
            if beyond > DISCARDED_MAX {
                break;
            }
        }
    };
    // The answer has been there for so long that it was read, or never will be.
    let _ = timeout_at(Instant::now() + PATIENCE, reading).await;
}

fn too_large(limit: usize) -> Error {
    Error::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body has more than {limit} bytes"),
        "send less at once, or raise hub.max_message",
    )
}

fn too_slow() -> Error {
    let message = format!(
        "the body came in too slowly: nothing of it in {} s, or not all in {} s and one more for \
         each {BYTES_A_SECOND} bytes",
        SILENCE.as_secs(),
        PATIENCE.as_secs()
    );
    let status = StatusCode::REQUEST_TIMEOUT;
    Error::new(status, "body_too_slow", message, "send it at once, or less of it")
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let parsed = serde_json::from_slice(bytes).map(|Object(value)| value);
    parsed.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Error::invalid(error.to_string()),
        _ => Error::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            error.to_string(),
            "send one JSON value in UTF-8, as RFC 8259 has it",
        ),
    })
}

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, control: &Shared) -> Result<Self, Error> {
        // A page of another site cannot send this type without being asked for first.
        if !is_json(request.headers()) {
            return Err(Error::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "the body must be JSON",
                "send it with `Content-Type: application/json`",
            ));
        }
        let bodies = &control.bodies;
        let HeldBody { value, _place } =
            bodies.read(request.into_body(), bodies.json_max()).await?;
        Ok(Self(HeldBody { value: parse(&value)?, _place }))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Shared> for QueryParams<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Error> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => {
                let text = error.body_text();
                let what = text.rsplit_once("query string: ").map_or(&*text, |(_, what)| what);
                Err(Error::invalid(format!("the query is wrong: {what}")))
            }
        }
    }
}

impl FromRequestParts<Shared> for PathPart {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, control: &Shared) -> Result<Self, Error> {
        match Path::from_request_parts(parts, control).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(Error::invalid("the path is not UTF-8 where it is decoded")),
        }
    }
}

/// How many a list is to tell.
pub(super) fn page_size(limit: Option<u64>) -> Result<usize, Error> {
    match limit {
        None => Ok(PAGE),
        Some(limit @ 1..=1000) => Ok(limit as usize),
        Some(limit) => Err(Error::invalid(format!("`limit` must be 1 to {PAGE_MAX}, is {limit}"))),
    }
}
