//! The description of the API, derived from the code that answers.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::error::ErrorBody;
use super::{
    aws, certificates, configuration, connections, drain, ends, exposition, health, overview,
    publish, recent, reload, renewing, revocations, subscriptions, topics,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate",
        description = "Steering and watching a Tidegate gateway. Errors are \
            `{\"error\": {\"code\", \"message\", \"hint\"}}`. Behind a proxy: always tokens; \
            without any, what came through one is answered with 403.",
    ),
    modifiers(&Bearer),
    security(("bearer" = []), ()),
    tags(
        (name = "messages", description = "Publishing"),
        (name = "connections", description = "Who is there"),
        (name = "tokens", description = "Taking tokens back, and giving connections fresh ones"),
        (name = "drain", description = "Closing connections at a pace"),
        (name = "topics", description = "Topics, subscriptions, presence and history"),
        (name = "certificates", description = "What listeners speak TLS with"),
        (name = "configuration", description = "Taking the configuration over anew"),
        (name = "watching", description = "How the gateway is"),
        (name = "health", description = "For load balancers and supervisors"),
        (name = "amazon", description = "What clients of Amazon API Gateway's Management API use"),
    ),
    paths(
        publish::publish,
        publish::batch,
        subscriptions::subscribe,
        subscriptions::unsubscribe,
        connections::list,
        connections::show,
        connections::close,
        connections::disconnect,
        connections::trace,
        renewing::renew,
        revocations::revoke,
        revocations::list,
        revocations::show,
        revocations::withdraw,
        drain::begin,
        drain::show,
        drain::take_back,
        ends::list,
        topics::list,
        topics::show,
        topics::destroy,
        topics::presence,
        topics::history,
        certificates::list,
        certificates::reload,
        reload::reload,
        overview::show,
        configuration::show,
        recent::show,
        exposition::show,
        health::alive,
        health::ready,
        aws::post,
        aws::get,
        aws::delete,
        show,
    )
)]
pub(super) struct Document;

/// Adds how tokens are sent.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "One of admin.tokens; not needed if there are none. Behind a proxy: always \
                 tokens",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "watching",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    )
)]
pub(super) async fn show() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
