//! The operator's page. It may be fetched without a token: it knows nothing, and asks for one.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Shared;

/// The page, which is one file.
const INDEX: &str = include_str!("page.html");

/// Only what is here, and nothing in a frame: a token is typed into this page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; \
     base-uri 'none'";

/// The paths of the page.
pub(super) fn router() -> Router<Shared> {
    Router::new().route("/", get(index))
}

/// Whether a path is one of the page.
pub(super) fn has(path: &str) -> bool {
    path == "/"
}

async fn index() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], INDEX)
}
