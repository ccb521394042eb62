//! Any bytes as a request head, and the opening handshake behind it.

use tidegate::config::Origins;
use tidegate::handler::Request;
use tidegate_proto::http::{OriginHeader, RequestHead, Status, parse_request, parse_response};
use tidegate_proto::websocket::deflate::{Policy, negotiate};
use tidegate_proto::websocket::handshake::server::{Acceptance, Rejection, Upgrade};

use super::Parameters;

/// Room for any response.
const ROOM: usize = 1024;

/// Parameters: the limit of the head (two bytes).
///
/// # Panics
/// A head is not read as the naive reader reads it, what was settled changes with more input, or
/// an answer is no response.
pub fn request_head(data: &[u8]) {
    let mut parameters = Parameters(data);
    let limit = usize::from(parameters.u16());
    let bytes = parameters.rest();
    let outcome = parse_request(bytes, limit);
    settles(bytes, limit, &outcome);
    match outcome {
        Ok(Status::Partial) => {
            assert!(bytes.len() < limit, "{} bytes are no head of at most {limit}", bytes.len());
        }
        Ok(Status::Complete(head)) => complete(bytes, limit, &head),
        Err(error) => refuse(Rejection::Head(error)),
    }
}

/// What a beginning is settles what the whole is; only a beginning that is not settled may become
/// anything.
fn settles(bytes: &[u8], limit: usize, outcome: &Result<Status<RequestHead<'_>>, impl Sized>) {
    let step = 1 + bytes.len() / 64;
    for end in (0..bytes.len()).step_by(step) {
        match (parse_request(&bytes[..end], limit), outcome) {
            (Ok(Status::Partial), _) | (Err(_), Err(_)) => {}
            (Ok(Status::Complete(before)), Ok(Status::Complete(after))) => {
                assert_eq!(before.head_len(), after.head_len(), "at {end}");
            }
            (Ok(Status::Complete(_)), _) => panic!("{end} bytes are a head, and all are none"),
            (Err(error), _) => panic!("{end} bytes are wrong ({error:?}), and all are not"),
        }
    }
}

fn complete(bytes: &[u8], limit: usize, head: &RequestHead<'_>) {
    assert!(head.head_len() <= bytes.len().min(limit));
    let (behind_line, lines) = naive(&bytes[..head.head_len()]);
    let target = format!("{} {} HTTP/1.", head.method(), head.target());
    assert!(behind_line.starts_with(target.as_bytes()), "another request line");
    assert!(head.headers().iter().eq(lines), "other header lines");
    assert!(head.path().starts_with('/'), "the path is {:?}", head.path());
    if let Some(host) = head.host() {
        assert!(!host.is_empty() && head.authority().is_some_and(|all| all.starts_with(host)));
    }
    let mut cut = head.path()[1..].split('/').map(str::to_owned);
    named(head, "/{first}/{*rest}", "first", cut.next().unwrap_or_default());
    named(head, "/{*rest}", "rest", head.path()[1..].to_owned());
    pages(head);
    match Upgrade::check(head) {
        Ok(upgrade) => accept(&upgrade),
        Err(rejection) => refuse(rejection),
    }
}

/// An origin is made of what was sent, and only a page of the host that is asked for is of the same
/// one.
fn pages(head: &RequestHead<'_>) {
    let mut values = head.header_values("origin");
    let Some(value) = values.next() else { return };
    let text = String::from_utf8_lossy(value);
    let is_alone = values.next().is_none();
    let origin = match OriginHeader::parse(value) {
        Some(OriginHeader::Of(origin)) => Some(origin),
        Some(OriginHeader::Null) | None => None,
    };
    if let Some(origin) = origin {
        let port = origin.port.map(|port| port.to_string()).unwrap_or_default();
        let (front, behind) = text.split_once("://").expect("a scheme");
        assert_eq!(front, origin.scheme);
        let written = behind.strip_prefix(origin.host).expect("the host is sent");
        assert_eq!(written.trim_start_matches([':', '0']), port.trim_start_matches('0'));
    }
    let is_own = origin
        .zip(head.host())
        .is_some_and(|(origin, asked)| origin.host.eq_ignore_ascii_case(asked));
    for is_by_tls in [false, true] {
        let is_let_in = Origins::default().let_in(head, is_by_tls);
        assert!(!is_let_in || (is_alone && is_own), "{text} is let in");
        assert!(Origins::any().let_in(head, is_by_tls));
    }
}

/// What the path has for a name of the pattern is what was sent, if that has no escapes; and what
/// cannot be decoded reaches no handler.
fn named(head: &RequestHead<'_>, pattern: &str, name: &str, sent: String) {
    let Ok(request) = Request::new(head, pattern) else {
        return assert!(head.path().contains('%'), "nothing is to be decoded");
    };
    let value = request.parameter(name).expect("the pattern has the name");
    assert!(sent.contains('%') || value == sent, "{sent:?} is {value:?}");
    assert!(value.len() <= sent.len());
    for (key, _) in head.query().unwrap_or_default().split('&').filter_map(|it| it.split_once('='))
    {
        let values = request.query_values(key).count();
        assert!(values > 0 || key.contains(['%', '+']), "{key:?} is there");
    }
}

/// A head that is right, as its request line and its header lines.
fn naive(head: &[u8]) -> (&[u8], impl Iterator<Item = (&str, &[u8])>) {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let head = head.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    let mut lines = split(head);
    let first = lines.next().expect("splitting yields something");
    let lines = lines.map(|line| {
        let colon = line.iter().position(|byte| *byte == b':').expect("a header has a colon");
        let name = std::str::from_utf8(&line[..colon]).expect("a name is ASCII");
        let value = &line[colon + 1..];
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        (name, &value[start..end])
    });
    (first, lines)
}

/// The lines of `text`, without their ends.
fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let line = rest?;
        match line.windows(2).position(|two| two == b"\r\n") {
            Some(end) => {
                rest = Some(&line[end + 2..]);
                Some(&line[..end])
            }
            None => rest.take(),
        }
    })
}

/// The answer to a good handshake is a response, whatever is chosen of what it offers.
fn accept(upgrade: &Upgrade<'_>) {
    let deflate = match negotiate(upgrade.extension_values(), &Policy::default()) {
        Ok(deflate) => deflate,
        Err(_) => return refuse(Rejection::InvalidExtensions),
    };
    let longest = upgrade.subprotocols().max_by_key(|name| name.len());
    let subprotocol = longest.filter(|name| name.len() <= ROOM / 2);
    let acceptance = Acceptance { key: upgrade.key(), subprotocol, deflate };
    let mut response = [0; ROOM];
    let length = acceptance.write(&mut response).expect("there is room");
    let Ok(Status::Complete(head)) = parse_response(&response[..length], ROOM) else {
        panic!("{:?} is no response", String::from_utf8_lossy(&response[..length]));
    };
    assert_eq!((head.status(), head.head_len()), (101, length));
    let chosen = head.headers().first("Sec-WebSocket-Protocol");
    assert_eq!(chosen, subprotocol.map(str::as_bytes));
    assert_eq!(head.headers().contains("Sec-WebSocket-Extensions"), deflate.is_some());
}

fn refuse(rejection: Rejection) {
    let mut response = [0; Rejection::RESPONSE_LEN_MAX];
    let length = rejection.write(&mut response).expect("a rejection fits");
    let Ok(Status::Complete(head)) = parse_response(&response[..length], ROOM) else {
        panic!("{:?} is no response", String::from_utf8_lossy(&response[..length]));
    };
    assert_eq!(head.status(), rejection.status());
    assert!((400..=599).contains(&head.status()));
    let body = length - head.head_len();
    let announced = head.headers().first("Content-Length");
    assert_eq!(announced, Some(body.to_string().as_bytes()));
}
