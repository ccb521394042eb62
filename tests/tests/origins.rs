//! Which pages may connect, by the `Origin` that their browsers send (RFC 6454, RFC 6455 section
//! 10.2).

use tidegate_tests::{Gateway, Peer, Request, case};

const CONFIG: &str = r#"
[[route]]
path = "/own"
handler = "echo"
[[route]]
path = "/listed"
handler = "echo"
origins = ["https://*.example.com", "http://localhost:*", "null"]
[[route]]
path = "/open"
handler = "echo"
origins = ["any"]
[[route]]
path = "/closed"
handler = "echo"
origins = []
[[route]]
path = "/page"
handler = "static"
[[route]]
path = "/health"
handler = "health"
"#;

/// The status of an answer to a request of a page of this origin.
fn status(gateway: &Gateway, request: &Request) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(request);
    match peer.response_head().status {
        101 => {
            peer.echo("served");
            101
        }
        status => status,
    }
}

#[test]
fn pages_connect_where_their_origin_is_let_in_and_nowhere_else() {
    let gateway = Gateway::start(CONFIG);
    // What the requests of these tests ask for.
    let own = "http://localhost";
    let mut refused = 0;
    for (path, origin, is_let_in) in [
        ("/own", own, true),
        ("/own", "https://localhost", true),
        ("/own", "http://localhost:8080", false),
        ("/own", "https://evil.example", false),
        ("/own", "null", false),
        ("/own", "", false),
        ("/listed", "https://app.example.com", true),
        ("/listed", "https://example.com", false),
        ("/listed", "https://app.example.com.evil.example", false),
        ("/listed", "http://localhost:5173", true),
        ("/listed", "null", true),
        ("/open", "https://evil.example", true),
        ("/open", "what is no origin", true),
        ("/closed", own, false),
    ] {
        case(format!("{path} {origin:?}"), || {
            let request = Request::open(path).set("Host", "localhost").with("Origin", origin);
            assert_eq!(status(&gateway, &request), if is_let_in { 101 } else { 403 });
        });
        refused += u64::from(!is_let_in);
    }
    // Who is no page is not kept out.
    for path in ["/own", "/listed", "/open", "/closed"] {
        case(path, || assert_eq!(status(&gateway, &Request::open(path)), 101));
    }
    let whatever = || Request::open("/own").with("Origin", "https://evil.example");
    for upgrade in ["h2c, WebSocket", "WEBSOCKET"] {
        case(upgrade, || assert_eq!(status(&gateway, &whatever().set("Upgrade", upgrade)), 403));
    }
    assert_eq!(status(&gateway, &whatever().set("Upgrade", "h2c")), 426, "that is none");
    let absolute = whatever().line("GET http://evil.example/own HTTP/1.1");
    assert_eq!(status(&gateway, &absolute.set("Origin", "http://gateway.example")), 403);
    refused += 4;
    let twice = Request::open("/own").set("Host", "localhost").with("Origin", own);
    assert_eq!(status(&gateway, &twice.with("Origin", own)), 400);
    refused += 1;
    gateway.expect_counter("refused", refused);
}

#[test]
fn who_is_refused_is_told_why_and_the_log_says_whence_and_whither() {
    let gateway = Gateway::start(CONFIG);
    let mut peer = Peer::connect(&gateway);
    let request = Request::open("/own").set("Host", "gate.example:8080");
    peer.request(&request.with("Origin", "https://evil.example"));
    let response = peer.expect_refusal(403);
    let told = String::from_utf8_lossy(&response.body).into_owned();
    assert!(told.contains("`origins` of the route"), "{told}");
    gateway.expect_log(&[
        "tidegate::refused",
        "reason=\"origin\"",
        "status=403",
        "path=\"/own\"",
        "host=\"gate.example:8080\"",
        "origin=\"https://evil.example\"",
    ]);
}

#[test]
fn what_is_no_websocket_is_answered_to_every_page() {
    let gateway = Gateway::start(CONFIG);
    for path in ["/page", "/health"] {
        case(path, || {
            let request = Request::plain("GET", path).with("Origin", "https://evil.example");
            assert_eq!(status(&gateway, &request), 200);
            let request = Request::open(path).with("Origin", "https://evil.example");
            assert_ne!(status(&gateway, &request), 403);
        });
    }
}

#[test]
fn a_path_that_nothing_is_served_at_is_not_told_by_its_origin() {
    let gateway = Gateway::start(CONFIG);
    let request = Request::open("/nowhere").with("Origin", "https://evil.example");
    assert_eq!(status(&gateway, &request), 404);
}
