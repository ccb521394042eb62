//! Which path is answered by what.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::access::Access;
use super::audit::{Change, Credential};
use super::aws::AwsError;
use super::error::Error;
use super::tally::ErrorCode;
use super::{
    Shared, aws, certificates, configuration, connections, drain, ends, exposition, health,
    openapi, overview, page, publish, recent, reload, renewing, revocations, subscriptions, topics,
};

/// Everything that is answered.
pub(super) fn new(control: Shared) -> Router {
    let aws = || get(aws::get).post(aws::post).delete(aws::delete);
    page::router()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(exposition::show))
        .route("/openapi.json", get(openapi::show))
        .route("/v1/overview", get(overview::show))
        .route("/v1/config", get(configuration::show))
        .route("/v1/recent", get(recent::show))
        .route("/v1/certificates", get(certificates::list))
        .route("/v1/certificates/reload", post(certificates::reload))
        .route("/v1/reload", post(reload::reload))
        .route("/v1/publish", post(publish::publish))
        .route("/v1/publish/batch", post(publish::batch))
        .route("/v1/subscribe", post(subscriptions::subscribe))
        .route("/v1/unsubscribe", post(subscriptions::unsubscribe))
        .route("/v1/connections", get(connections::list))
        .route("/v1/connections/{id}", get(connections::show).delete(connections::close))
        .route("/v1/connections/{id}/token", post(renewing::renew))
        .route("/v1/disconnect", post(connections::disconnect))
        .route("/v1/revocations", get(revocations::list).post(revocations::revoke))
        .route("/v1/revocations/{id}", get(revocations::show).delete(revocations::withdraw))
        .route("/v1/trace", post(connections::trace))
        .route("/v1/drain", get(drain::show).post(drain::begin).delete(drain::take_back))
        .route("/v1/ends", get(ends::list))
        .route("/v1/topics", get(topics::list))
        .route("/v1/topics/{*topic}", get(topics::show).delete(topics::destroy))
        .route("/v1/presence", get(topics::presence))
        .route("/v1/history", get(topics::history))
        .route("/@connections/{id}", aws())
        // Some clients escape the sign.
        .route("/%40connections/{id}", aws())
        .fallback(async || Error::no_such_path())
        .method_not_allowed_fallback(async || Error::no_such_method())
        .layer(middleware::from_fn_with_state(Shared::clone(&control), guard))
        .with_state(control)
}

/// Lets in who may, and says to browsers what must be said of every answer.
async fn guard(State(control): State<Shared>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let is_page = page::has(path) && matches!(parts.method, Method::GET | Method::HEAD);
    let checked = match health::has(path) {
        true => Ok(Credential::None),
        false => Access::new(&control.config().admin.tokens).check(&parts, is_page),
    };
    let mut change = None;
    let mut response = match checked {
        Ok(credential) => {
            change = Change::of(&parts, credential);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) if aws::has(path) => AwsError::from(error).into_response(),
        Err(error) => error.into_response(),
    };
    if let Some(change) = change {
        change.tell(&control.last_hour, response.status().as_u16(), response.extensions().get());
    }
    control.tally.answered(response.status().as_u16());
    if let Some(ErrorCode(code)) = response.extensions().get() {
        control.tally.refused(code);
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
