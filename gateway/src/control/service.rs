//! What is done with each request of a connection: it is answered, and the answer says whether the
//! connection is kept.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONNECTION, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use axum::response::IntoResponse;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::service::TowerToHyperService;
use tidegate_proto::http::list_elements;

use super::aws::{self, AwsError};
use super::error::Error;
use super::health;
use super::pace::{HeadFault, Pace};
use super::server::{House, Seat};

/// Says for how long a connection is kept (RFC 2068 section 19.7.1.1).
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The service of one connection.
pub(super) struct ConnectionService {
    app: TowerToHyperService<Router>,
    house: Rc<House>,
    place: Rc<RefCell<Seat>>,
    pace: Rc<Pace>,
    /// Requests so far.
    requests: Cell<u64>,
}

/// The body of an answer, and that it is not sent yet.
pub(super) struct Answering {
    body: Body,
    _request: Underway,
}

/// A request that is not answered yet.
struct Underway(Rc<Pace>);

impl ConnectionService {
    /// Of the connection at `place`.
    pub(super) fn new(app: Router, house: Rc<House>, place: Seat, pace: Rc<Pace>) -> Self {
        let (app, place) = (TowerToHyperService::new(app), Rc::new(RefCell::new(place)));
        Self { app, house, place, pace, requests: Cell::new(0) }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.requests.set(self.requests.get() + 1);
        let fault = self.pace.fault_of(self.requests.get());
        let (house, pace) = (Rc::clone(&self.house), Rc::clone(&self.pace));
        let place = Rc::clone(&self.place);
        let path = request.uri().path();
        let (is_health, is_aws) = (health::has(path), aws::has(path));
        let underway = Underway(Rc::clone(&pace));
        let wants_more = wants_more(request.version(), request.headers());
        let answer = fault.is_none().then(|| self.app.call(request));
        Box::pin(async move {
            let mut response = match answer {
                Some(answer) if is_health || house.admits(&place).await => {
                    answer.await.unwrap_or_else(|never| match never {})
                }
                Some(_) => crowded(&house, is_aws),
                None => refusal(fault.unwrap_or(HeadFault::Slow), &house),
            };
            let keeps = wants_more && fault.is_none() && !pace.is_in_body() && house.keeps();
            announce(response.headers_mut(), &pace, keeps);
            Ok(response.map(|body| Answering { body, _request: underway }))
        })
    }
}

/// Whether the client wants its connection kept (RFC 9112 section 9.3).
fn wants_more(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        let values = headers.get_all(CONNECTION).into_iter();
        values
            .flat_map(|value| list_elements(value.as_bytes()))
            .any(|token| token.eq_ignore_ascii_case(word.as_bytes()))
    };
    !says("close") && (version != Version::HTTP_10 || says("keep-alive"))
}

/// Says for how long the connection is kept, or that it ends.
fn announce(headers: &mut HeaderMap, pace: &Pace, keeps: bool) {
    match pace.announced().filter(|_| keeps) {
        Some(time) => {
            let seconds = format!("timeout={}", time.as_secs());
            let value = HeaderValue::from_str(&seconds).expect("digits may stand in a header");
            headers.insert(KEEP_ALIVE, value);
            headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        None => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// The answer to a request whose head is refused.
fn refusal(fault: HeadFault, house: &House) -> axum::response::Response {
    let error = Error::from(fault);
    let tally = &house.control().tally;
    tally.answered(error.status.as_u16());
    tally.refused(error.code);
    error.into_response()
}

/// The answer to a request for which there was no place.
fn crowded(house: &House, is_aws: bool) -> axum::response::Response {
    let error = Error::busy("all connections to the admin address are in use");
    let code = error.code;
    let response =
        if is_aws { AwsError::from(error).into_response() } else { error.into_response() };
    let tally = &house.control().tally;
    tally.answered(response.status().as_u16());
    tally.refused(code);
    response
}

impl From<HeadFault> for Error {
    fn from(fault: HeadFault) -> Self {
        const HINT: &str = "send it as RFC 9112 has it: nothing is repaired here, since a proxy \
             might repair it in another way";
        let HeadFault::Head(error) = fault else {
            let message = "the request head took too long to come in";
            let status = StatusCode::REQUEST_TIMEOUT;
            return Self::new(status, "head_too_slow", message, "send it at once");
        };
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let (code, hint) = match error.status() {
            414 | 431 => ("head_too_large", "send fewer or shorter headers, or a shorter target"),
            501 => ("unknown_coding", "send the body in chunks or with its length, not coded"),
            505 => ("unknown_version", "use HTTP/1.1"),
            _ => ("malformed_request", HINT),
        };
        Self::new(status, code, error.reason(), hint)
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}
