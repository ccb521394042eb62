//! Which pages may read what is answered over plain HTTP (the Fetch standard, section 3.3), and
//! that answers to HEAD have no content.

use tidegate_tests::{Gateway, Peer, Request, Response, case};

const ROUTES: &str = r#"
[[token]]
name = "a"
sha256 = "4195ab5caafe2534eb6b9b2d31cb737b23e35e640b485922a6686c37cd45e80b"
[[route]]
path = "/plain"
handler = "static"
[[route]]
path = "/all"
handler = "health"
cors = { origins = ["any"], max_age = "off" }
[[route]]
path = "/some"
handler = "static"
admission = ["token"]
[route.cors]
origins = ["same", "https://*.b.example"]
methods = ["PUT"]
headers = ["X-A", "X-B"]
credentials = true
[[route]]
path = "/near"
handler = "health"
deny = ["127.0.0.1"]
cors = { origins = ["any"] }
"#;

const PAGE: &str = "https://a.b.example";

fn asked(gateway: &Gateway, request: &Request) -> Response {
    let mut peer = Peer::connect(gateway);
    peer.request(request);
    let response = peer.response();
    peer.expect_eof();
    response
}

fn preflight(path: &str, origin: &str) -> Request {
    Request::plain("OPTIONS", path)
        .with("Origin", origin)
        .with("Access-Control-Request-Method", "PUT")
        .with("Access-Control-Request-Headers", "x-a")
}

/// What a response says to browsers, in this order: whom it lets read, whether with credentials, by
/// which methods and with which headers, for how long, and on what else it depends.
fn said(response: &Response) -> [Option<&str>; 6] {
    [
        "Access-Control-Allow-Origin",
        "Access-Control-Allow-Credentials",
        "Access-Control-Allow-Methods",
        "Access-Control-Allow-Headers",
        "Access-Control-Max-Age",
        "Vary",
    ]
    .map(|name| response.header(name))
}

#[test]
fn a_preflight_is_answered_without_credentials_and_without_the_handler() {
    let gateway = Gateway::start(ROUTES);
    let response = asked(&gateway, &preflight("/some", PAGE));
    assert_eq!((response.status, &*response.body), (204, &b""[..]));
    assert_eq!(response.header("Content-Length"), None, "RFC 9110 section 8.6");
    let methods = Some("GET, HEAD, POST, PUT");
    assert_eq!(
        said(&response),
        [Some(PAGE), Some("true"), methods, Some("x-a, x-b"), Some("600"), Some("Origin")]
    );
    let response = asked(&gateway, &preflight("/all", PAGE));
    assert_eq!(response.status, 204);
    assert_eq!(said(&response), [Some("*"), None, Some("GET, HEAD, POST"), None, None, None]);
    // Pages that may not, routes that say nothing, and clients of networks that may not.
    for (path, origin, status) in [
        ("/some", "https://c.example", 403),
        ("/some", "null", 403),
        ("/some", "", 403),
        ("/near", PAGE, 403),
        ("/plain", PAGE, 405),
        ("/nothing", PAGE, 404),
    ] {
        case(format!("{path} {origin}"), || {
            let response = asked(&gateway, &preflight(path, origin));
            assert_eq!(response.status, status);
            assert_eq!(response.header("Access-Control-Allow-Methods"), None);
        });
    }
    gateway.expect_counter("tidegate_refusals_total{reason=\"origin\"}", 3);
    gateway.expect_counter("tidegate_refusals_total{reason=\"network\"}", 1);
    // What is none is the handler's, or wants the token.
    for (request, status) in [
        (Request::plain("OPTIONS", "/all").with("Origin", PAGE), 405),
        (Request::plain("OPTIONS", "/all").with("Access-Control-Request-Method", "PUT"), 405),
        (Request::plain("OPTIONS", "/some").with("Origin", PAGE), 401),
        (Request::plain("GET", "/some").with("Access-Control-Request-Method", "PUT"), 401),
    ] {
        assert_eq!(asked(&gateway, &request).status, status);
    }
}

#[test]
fn responses_name_the_page_that_may_read_them() {
    let gateway = Gateway::start(ROUTES);
    let by = |path: &str, origin: &str| Request::plain("GET", path).with("Origin", origin);
    let (named, vary) =
        ([Some(PAGE), Some("true"), None, None, None, Some("Origin")], Some("Origin"));
    let nobody = [None, None, None, None, None, vary];
    // Also one that is refused: a page has to see that it needs a token.
    let refused = asked(&gateway, &by("/some", PAGE));
    assert_eq!((refused.status, said(&refused)), (401, named));
    assert!(!refused.body.is_empty());
    let granted = by("/some", PAGE).with("Authorization", "Bearer test-test-test-test");
    let granted = asked(&gateway, &granted);
    assert_eq!((granted.status, said(&granted)), (200, named));
    for origin in ["https://c.example", "null", "https://b.example", "http://a.b.example"] {
        assert_eq!(said(&asked(&gateway, &by("/some", origin))), nobody, "{origin}");
    }
    assert_eq!(said(&asked(&gateway, &Request::plain("GET", "/some"))), nobody, "caches are told");
    let own = format!("http://{}", gateway.address());
    let same = Request::plain("GET", "/some").set("Host", &gateway.address().to_string());
    let same = asked(&gateway, &same.with("Origin", &own));
    assert_eq!(same.header("Access-Control-Allow-Origin"), Some(&*own));
    let all = asked(&gateway, &by("/all", PAGE));
    assert_eq!((all.status, said(&all)), (200, [Some("*"), None, None, None, None, None]));
    let plain = asked(&gateway, &by("/plain", PAGE));
    assert_eq!((plain.status, said(&plain)), (200, [None; 6]));
}

#[test]
fn answers_to_head_have_no_content() {
    let gateway = Gateway::start(ROUTES);
    let long = "x".repeat(9000);
    for (request, status) in [
        ("HEAD /plain HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("HEAD /some HTTP/1.1\r\nHost: a\r\n\r\n", 401),
        ("HEAD /some HTTP/1.1\r\nHost: a\r\nOrigin: https://a.b.example\r\n\r\n", 401),
        ("HEAD /near HTTP/1.1\r\nHost: a\r\n\r\n", 403),
        ("HEAD /plain HTTP/1.1\r\n\r\n", 400),
        ("\r\nHEAD /plain HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400),
        ("HEAD /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 413),
        (&format!("HEAD /plain HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
    ] {
        for is_split in [false, true] {
            case(request, || {
                let mut peer = Peer::connect(&gateway);
                match is_split {
                    false => peer.send(request),
                    true => peer.send_segments(request.as_bytes().chunks(request.len() / 3)),
                }
                let response = peer.response_head();
                assert_eq!(response.status, status);
                peer.expect_eof();
            });
        }
    }
}
