//! Where a request has its token.

use std::borrow::Cow;

use tidegate_proto::http::{RequestHead, list_elements};

use super::NotAdmitted;
use crate::config::TokenSource;
use crate::escapes;

/// The subprotocol in front of a token that is offered as one, and which is selected in its place.
pub const BEARER_PROTOCOL: &str = "bearer";

/// The token of a request: of the first of these places that has one.
///
/// # Errors
/// [`NotAdmitted::NoToken`]; [`NotAdmitted::TwoTokens`]: the place has more than one;
/// [`NotAdmitted::Malformed`]: what it has cannot be one.
pub(super) fn find<'h>(
    head: &RequestHead<'h>,
    places: &[TokenSource],
) -> Result<Cow<'h, [u8]>, NotAdmitted> {
    for place in places {
        let found = match place {
            TokenSource::Bearer => only(bearer(head))?.map(Cow::Borrowed),
            TokenSource::Cookie(name) => only(cookies(head, name.as_bytes()))?.map(Cow::Borrowed),
            TokenSource::Subprotocol => only(offered(head))?.map(Cow::Borrowed),
            TokenSource::Query(name) => match only(escapes::query_values(head.query(), name))? {
                None => None,
                Some(value) => Some(match value.ok_or(NotAdmitted::Malformed)? {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                }),
            },
        };
        if let Some(token) = found {
            return Ok(token);
        }
    }
    Err(NotAdmitted::NoToken)
}

fn only<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, NotAdmitted> {
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(NotAdmitted::TwoTokens),
    }
}

/// RFC 6750 section 2.1: `credentials = "Bearer" 1*SP b64token`, and RFC 9110 section 11.1: the
/// scheme is "a case-insensitive token". What is of another scheme is no token.
fn bearer<'h>(head: &RequestHead<'h>) -> impl Iterator<Item = &'h [u8]> {
    head.header_values("authorization").filter_map(|value| {
        let (scheme, rest) = value.split_at_checked("bearer".len())?;
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first() == Some(&b' ');
        is_bearer.then(|| rest.trim_ascii())
    })
}

/// RFC 6265 section 4.2.1: `cookie-string = cookie-pair *( ";" SP cookie-pair )`; a value may stand
/// in quotes, which are none of it here, as servers have it.
fn cookies<'h>(head: &RequestHead<'h>, name: &[u8]) -> impl Iterator<Item = &'h [u8]> {
    let pairs = head.header_values("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(quoted.unwrap_or(value))
    })
}

/// What is offered behind each `bearer`.
fn offered<'h>(head: &RequestHead<'h>) -> impl Iterator<Item = &'h [u8]> {
    let mut was_bearer = false;
    let elements = head.header_values("sec-websocket-protocol").flat_map(list_elements);
    elements.filter(move |element| {
        let is_token = was_bearer;
        was_bearer = !is_token && *element == BEARER_PROTOCOL.as_bytes();
        is_token
    })
}

#[cfg(test)]
mod tests {
    use tidegate_proto::http::{Status, parse_request};

    use super::*;

    /// The token of a request with this target and these lines.
    fn of(places: &[&str], target: &str, lines: &str) -> Result<String, NotAdmitted> {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let Ok(Status::Complete(head)) = parse_request(text.as_bytes(), 8192) else {
            panic!("no request: {text}")
        };
        let place = |text: &&str| match text.split_once('.') {
            Some(("cookie", name)) => TokenSource::Cookie(name.into()),
            Some((_, name)) => TokenSource::Query(name.into()),
            None if *text == "bearer" => TokenSource::Bearer,
            None => TokenSource::Subprotocol,
        };
        let places: Vec<_> = places.iter().map(place).collect();
        find(&head, &places).map(|token| String::from_utf8_lossy(&token).into_owned())
    }

    #[test]
    fn each_place_has_one_or_none() {
        for (places, target, lines, found) in [
            (&["bearer"][..], "/", "Authorization: Bearer a.b.c\r\n", Ok("a.b.c")),
            (&["bearer"], "/", "authorization: BEARER  a.b.c \r\n", Ok("a.b.c")),
            (&["bearer"], "/", "Authorization: Basic YTpi\r\n", Err(NotAdmitted::NoToken)),
            (&["bearer"], "/", "Authorization: Bearera.b.c\r\n", Err(NotAdmitted::NoToken)),
            (&["bearer"], "/", "Authorization: Bear\r\n", Err(NotAdmitted::NoToken)),
            (
                &["bearer"],
                "/",
                "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
                Err(NotAdmitted::TwoTokens),
            ),
            (&["bearer"], "/?token=a", "", Err(NotAdmitted::NoToken)),
            (&["query.token"], "/?x=1&token=a.b%2Ec", "", Ok("a.b.c")),
            (&["query.token"], "/?token=a&token=b", "", Err(NotAdmitted::TwoTokens)),
            (&["query.token"], "/?token=%ff", "", Err(NotAdmitted::Malformed)),
            (&["cookie.t"], "/", "Cookie: a=b; t=x.y.z; c=d\r\n", Ok("x.y.z")),
            (&["cookie.t"], "/", "Cookie: t=\"x\"\r\n", Ok("x")),
            (&["cookie.t"], "/", "Cookie: tt=x; T=y\r\n", Err(NotAdmitted::NoToken)),
            (&["cookie.t"], "/", "Cookie: t=x; t=y\r\n", Err(NotAdmitted::TwoTokens)),
            (&["subprotocol"], "/", "Sec-WebSocket-Protocol: chat, bearer, x.y.z\r\n", Ok("x.y.z")),
            (
                &["subprotocol"],
                "/",
                "Sec-WebSocket-Protocol: bearer\r\nSec-WebSocket-Protocol: x\r\n",
                Ok("x"),
            ),
            (
                &["subprotocol"],
                "/",
                "Sec-WebSocket-Protocol: bearer, x, bearer, y\r\n",
                Err(NotAdmitted::TwoTokens),
            ),
            (&["subprotocol"], "/", "Sec-WebSocket-Protocol: chat\r\n", Err(NotAdmitted::NoToken)),
            (
                &["subprotocol"],
                "/",
                "Sec-WebSocket-Protocol: bearer\r\n",
                Err(NotAdmitted::NoToken),
            ),
            (&["cookie.t", "bearer"], "/", "Cookie: t=x\r\nAuthorization: Bearer y\r\n", Ok("x")),
            (&["cookie.t", "bearer"], "/", "Authorization: Bearer y\r\n", Ok("y")),
        ] {
            let found = found.map(str::to_owned);
            assert_eq!(of(places, target, lines), found, "{places:?} {target} {lines}");
        }
    }
}
