//! Who is let in by a token that is known by itself, and what one lets its bearer do.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_tests::{Gateway, Launch, Peer, Request, case};

const ADA: &str = "ada-0123456789-secret";
const FEED: &str = "feed-0123456789-secret";

/// The file of a token, in a folder of its own, removed at the end.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-tokens-{}-{number}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        fs::write(&file.0, text).expect("it is writable");
        file
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn config(ada: &TokenFile, from: &str) -> String {
    format!(
        r#"
[[token]]
name = "ada"
file = "{}"
user = "ada"
subscribe = ["rooms/a"]
publish = ["rooms/a"]
[[token]]
name = "feed"
env = "TIDEGATE_TEST_FEED"
[[route]]
path = "/open"
handler = "echo"
[[route]]
path = "/echo"
handler = "echo"
admission = ["token{from}"]
[[route]]
path = "/feed"
handler = "echo"
admission = ["token?by=feed"]
[[route]]
path = "/rooms/{{room}}"
handler = "hub?topic=rooms/{{room}}"
admission = ["origin", "token"]
[[route]]
path = "/page"
handler = "static"
admission = ["token"]
"#,
        ada.0.display()
    )
}

fn start(ada: &TokenFile, from: &str) -> Gateway {
    launch(ada, from).start()
}

fn launch(ada: &TokenFile, from: &str) -> Launch {
    let listener = Gateway::listener("log!ws!log!tcp");
    let text = format!("shards = 1\npin = false\n{listener}{}", config(ada, from));
    let launch = Launch::new().config(&text).listen("127.0.0.1:0");
    launch.variable("TIDEGATE_TEST_FEED", FEED)
}

fn with_token(path: &str, token: &str) -> Request {
    Request::open(path).with("Authorization", &format!("Bearer {token}"))
}

fn status(gateway: &Gateway, request: &Request) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(request);
    peer.response_head().status
}

#[test]
fn who_has_a_token_is_let_in_and_nobody_else() {
    let file = TokenFile::new(&format!("{ADA}\n"));
    let gateway = start(&file, "");
    let mut refused = 0;
    for (path, token, expected) in [
        ("/echo", ADA, 101),
        ("/echo", FEED, 101),
        ("/echo", &ADA[1..], 401),
        ("/echo", "ada-0123456789-secret0", 401),
        ("/echo", "", 401),
        ("/feed", FEED, 101),
        ("/feed", ADA, 401),
        ("/rooms/a", ADA, 101),
        ("/rooms/b", ADA, 403),
        ("/rooms/b", FEED, 101),
        ("/open", "whatever", 101),
    ] {
        case(format!("{path} {token}"), || {
            assert_eq!(status(&gateway, &with_token(path, token)), expected);
        });
        refused += u64::from(expected != 101);
    }
    for (token, expected) in [(ADA, 200), ("none-of-these-tokens", 401)] {
        let request = Request::plain("GET", "/page");
        let request = request.with("Authorization", &format!("Bearer {token}"));
        assert_eq!(status(&gateway, &request), expected);
    }
    gateway.expect_counter("refused", refused + 1);
    gateway.expect_counter("tidegate_refusals_total{reason=\"token\"}", refused + 1);
    gateway.expect_log(&["tidegate::websocket", "opened", "user=\"ada\""]);
}

#[test]
fn who_is_refused_is_told_what_is_wanted() {
    let file = TokenFile::new(ADA);
    let gateway = start(&file, "");
    let ask = |request: &Request| {
        let mut peer = Peer::connect(&gateway);
        peer.request(request);
        let refusal = peer.expect_refusal(401);
        let body = String::from_utf8_lossy(&refusal.body).into_owned();
        (refusal.header("WWW-Authenticate").map(str::to_owned), body)
    };
    let (challenge, body) = ask(&Request::open("/echo"));
    assert_eq!(challenge.as_deref(), Some("Bearer"));
    assert!(body.contains("there is no token"), "{body}");
    let (challenge, body) = ask(&with_token("/echo", "none-of-these-tokens"));
    assert_eq!(challenge.as_deref(), Some("Bearer error=\"invalid_token\""));
    assert!(body.contains("none of those that are taken"), "{body}");
    let twice = with_token("/echo", ADA).with("Authorization", &format!("Bearer {ADA}"));
    assert_eq!(status(&gateway, &twice), 400);
}

#[test]
fn a_token_may_be_where_its_route_says_and_nowhere_else() {
    let file = TokenFile::new(ADA);
    let by = |place: &str| match place {
        "bearer" => with_token("/echo", ADA),
        "query.token" => Request::open(&format!("/echo?token={ADA}")),
        "cookie.t" => Request::open("/echo").with("Cookie", &format!("t={ADA}")),
        _ => Request::open("/echo").with("Sec-WebSocket-Protocol", &format!("bearer, {ADA}")),
    };
    let gateway = start(&file, "?from=query.token,cookie.t");
    for (place, expected) in
        [("bearer", 401), ("query.token", 101), ("cookie.t", 101), ("subprotocol", 401)]
    {
        case(place, || assert_eq!(status(&gateway, &by(place)), expected));
    }
    let gateway = start(&file, "");
    let (_, response) = Peer::open_with(&gateway, &by("subprotocol"));
    assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("bearer"));
}

#[test]
fn tokens_reach_no_log() {
    let file = TokenFile::new(ADA);
    let from = "?from=bearer,query.token,cookie.t,subprotocol";
    let gateway = launch(&file, from).variable("TIDEGATE_LOG", "trace").start();
    for token in [ADA, "wrong-0123456789-secret"] {
        for request in [
            with_token("/echo", token),
            Request::open(&format!("/echo?token={token}")),
            Request::open("/echo").with("Cookie", &format!("t={token}")),
            Request::open("/echo").with("Sec-WebSocket-Protocol", &format!("bearer, {token}")),
        ] {
            status(&gateway, &request);
        }
    }
    let log = gateway.terminate();
    assert!(log.contains("refused"), "{log}");
    assert!(!log.contains("0123456789-secret"), "{log}");
}

#[test]
fn tokens_that_cannot_be_used_keep_a_gateway_from_starting() {
    let file = TokenFile::new("too short");
    for check in [false, true] {
        let launch = Launch::new().config(&config(&file, ""));
        let launch = if check { launch.argument("--check") } else { launch };
        let exited = launch.run();
        assert_ne!(exited.code, Some(0), "{}", exited.stdout);
        for words in [
            "token ada: ",
            "it is no token: it must have 16 to 256 characters, has 9",
            "token feed: TIDEGATE_TEST_FEED: there is no such variable: set it to the token",
        ] {
            assert!(exited.stderr.contains(words), "{words}: {}", exited.stderr);
        }
        assert!(!exited.stderr.contains("too short"), "{}", exited.stderr);
    }
}
