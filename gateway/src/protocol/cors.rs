//! What pages of other origins may read of what is answered over plain HTTP, and what browsers ask
//! about that first (the Fetch standard, section 3.3, "CORS protocol").

use tidegate_proto::http::RequestHead;

use super::refusal::Refusal;
use super::response::{Body, Response, ResponseError};
use super::turn::Turn;
use crate::config::Cors;

/// The longest origin that is said again, in bytes: names of hosts have 253 at most (RFC 1035).
const ORIGIN_MAX: usize = 300;

/// What is added to a response, each with its line break.
pub(super) type CorsLines = String;

/// Answers what a browser asks before it lets a page ask something (section 3.3.2: a preflight is
/// an `OPTIONS` with `Access-Control-Request-Method`), if the route says which pages may. It has no
/// credentials (section 4.8, "CORS-preflight fetch"), and nothing that wants some is asked of it.
/// What the page may not do its browser finds out by the answer.
///
/// # Errors
/// [`Refusal::Network`]; [`Refusal::Origin`].
pub(super) fn preflight(
    turn: &Turn<'_>,
    head: &RequestHead<'_>,
) -> Result<Option<Response>, Refusal> {
    let offer = &turn.services[turn.work.output.connection.service].offer;
    let is_preflight = head.method() == "OPTIONS"
        && head.header_values("access-control-request-method").next().is_some()
        && head.header_values("origin").next().is_some();
    let Some(cors) = offer.cors.as_ref().filter(|_| is_preflight) else { return Ok(None) };
    if !offer.networks.let_in(turn.peer) {
        return Err(Refusal::Network);
    }
    if allowed(cors, head, turn.work.output.seals).is_none() {
        return Err(Refusal::Origin);
    }
    Ok(Some(permission(cors).expect("the configuration was checked")))
}

/// The answer to a preflight of a page that may ask; [`lines`] go with it.
fn permission(cors: &Cors) -> Result<Response, ResponseError> {
    let mut methods = String::from("GET, HEAD, POST");
    for method in &cors.methods {
        methods = methods + ", " + method;
    }
    let mut response =
        Response::new(204, Body::Empty)?.with("Access-Control-Allow-Methods", &methods)?;
    if !cors.headers.is_empty() {
        response = response.with("Access-Control-Allow-Headers", &cors.headers.join(", "))?;
    }
    match cors.max_age {
        Some(age) => response.with("Access-Control-Max-Age", &age.as_secs().to_string()),
        None => Ok(response),
    }
}

/// What a response to this request has, so that those pages may read it which may.
pub(super) fn lines(turn: &Turn<'_>, head: &RequestHead<'_>) -> CorsLines {
    let offer = &turn.services[turn.work.output.connection.service].offer;
    offer.cors.as_ref().map_or(String::new(), |cors| said(cors, head, turn.work.output.seals))
}

fn said(cors: &Cors, head: &RequestHead<'_>, is_by_tls: bool) -> CorsLines {
    let is_for_all = cors.origins.iter().any(|one| one == "any");
    let Some(origin) = allowed(cors, head, is_by_tls) else {
        // RFC 9110 section 12.5.5: the answer to another origin is another.
        return if is_for_all { String::new() } else { "Vary: Origin\r\n".into() };
    };
    // Section 3.3.5: `*` is for requests without credentials, and the configuration has it for no
    // others.
    let (origin, vary) = if is_for_all { ("*", "") } else { (origin, "Vary: Origin\r\n") };
    let credentials = match cors.credentials {
        true => "Access-Control-Allow-Credentials: true\r\n",
        false => "",
    };
    format!("Access-Control-Allow-Origin: {origin}\r\n{credentials}{vary}")
}

/// The origin of the page that asks, if it may.
fn allowed<'h>(cors: &Cors, head: &RequestHead<'h>, is_by_tls: bool) -> Option<&'h str> {
    let origin = str::from_utf8(head.header_values("origin").next()?).ok()?;
    let is_plain = origin.len() <= ORIGIN_MAX && origin.bytes().all(|byte| byte.is_ascii_graphic());
    (is_plain && cors.origins.let_in(head, is_by_tls)).then_some(origin)
}

#[cfg(test)]
mod tests {
    use tidegate_proto::http::{Status, parse_request};

    use super::*;
    use crate::config::Origins;

    fn of(cors: &Cors, lines: &str) -> CorsLines {
        let text = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
        let Ok(Status::Complete(head)) = parse_request(text.as_bytes(), 8192) else {
            panic!("no request: {text}")
        };
        said(cors, &head, false)
    }

    #[test]
    fn only_pages_that_may_are_named_and_caches_are_told() {
        let some = Cors::new(Origins::new(["https://b.example"]).expect("an origin"));
        let with = Cors { credentials: true, ..some.clone() };
        let all = Cors::new(Origins::any());
        let named = "Access-Control-Allow-Origin: https://b.example\r\n";
        let vary = "Vary: Origin\r\n";
        let allowed = "Origin: https://b.example\r\n";
        assert_eq!(of(&some, allowed), format!("{named}{vary}"));
        let credentials = "Access-Control-Allow-Credentials: true\r\n";
        assert_eq!(of(&with, allowed), format!("{named}{credentials}{vary}"));
        assert_eq!(of(&all, allowed), "Access-Control-Allow-Origin: *\r\n");
        assert_eq!(of(&all, ""), "");
        for lines in [
            "",
            "Origin: https://c.example\r\n",
            "Origin: null\r\n",
            "Origin: https://b.example https://c.example\r\n",
            "Origin: https://b.example\r\nOrigin: https://c.example\r\n",
            "Origin: \u{e4}\r\n",
        ] {
            assert_eq!(of(&with, lines), vary, "{lines}");
        }
        let long = format!("Origin: https://{}.example\r\n", "x".repeat(300));
        let below = Cors::new(Origins::new(["https://*.example"]).expect("a pattern"));
        assert_eq!(of(&below, &long), vary);
    }
}
