//! What a handler of an embedding program is told of a request, and what it refuses one with, over
//! real sockets.

use std::net::SocketAddr;

use tidegate::config::{Config, ListenAddress, Route};
use tidegate::gateway::{Gateway, Program};
use tidegate::handler::{self, Body, Context, Decision, Desk, Handler, Piece, Refusal, Response};
use tidegate_tests::{Peer, Request, case, wait_until};

/// Refuses with the status that its query names.
struct Refuses;

/// What it refuses with, by `status` and `body` in the query.
fn refusal(request: &handler::Request<'_>) -> Refusal {
    let value = |name| request.query_value(name).expect("it is right").unwrap_or_default();
    let status = value("status").parse().expect("a number");
    let body = match value("body").parse() {
        Ok(length) => vec![b'x'; length].into(),
        Err(_) => Body::Empty,
    };
    let response = Response::new(status, body)
        .and_then(|response| response.with("WWW-Authenticate", "Bearer"))
        .and_then(|response| response.with("Location", "/elsewhere"));
    response.and_then(Refusal::with).expect("a refusal")
}

impl Handler for Refuses {
    fn request(&mut self, request: &handler::Request<'_>, _: &mut Desk<'_>) -> Decision {
        refusal(request).into()
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {
        panic!("nothing is opened here");
    }
}

/// Answers with what path and query say.
struct Tells;

impl Handler for Tells {
    fn request(&mut self, request: &handler::Request<'_>, _: &mut Desk<'_>) -> Decision {
        let told = ["room", "rest", "other"].map(|name| request.parameter(name));
        let query = request.query_value("name");
        Response::text(200, format!("{told:?} {query:?}")).expect("a response").into()
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {
        panic!("nothing is opened here");
    }
}

fn start() -> Gateway {
    let routes = ["/refuses", "/rooms/{room}", "/files/{room}/{*rest}"]
        .map(|path| format!("[[route]]\npath = \"{path}\"\nhandler = \"embedded\"\n"));
    let text = format!("shards = 1\npin = false\n[limits]\nconnections = 64\n{}", routes.concat());
    let config = Config::parse(&text, "requests").expect("a right configuration");
    let any: ListenAddress = "127.0.0.1:0".parse().expect("an address");
    let handlers = |route: &Route| -> Option<Box<dyn Handler>> {
        match &route.path[..] {
            "/refuses" => Some(Box::new(Refuses)),
            _ => Some(Box::new(Tells)),
        }
    };
    let config = config.with_listen(std::slice::from_ref(&any)).with_admin(Some(any));
    Gateway::start_with(config, Program::default().handlers(handlers)).expect("it starts")
}

fn ask(address: SocketAddr, request: &Request) -> Peer {
    let mut peer = Peer::try_connect(address).expect("it listens");
    peer.request(request);
    peer
}

/// So many were refused, and so many responded to.
#[track_caller]
fn expect_counted(gateway: &Gateway, expected: (u64, u64)) {
    wait_until(&format!("{expected:?} is counted"), || {
        let counters = gateway.counters();
        ((counters.refused, counters.pages) == expected).then_some(())
    });
}

#[test]
fn a_request_is_refused_with_any_status_and_headers_of_the_handlers_own() {
    let gateway = start();
    let address = gateway.addresses()[0].ip().expect("it is over TCP");
    let statuses = [307_u16, 401, 402, 418, 429, 451, 500, 503, 599];
    for status in statuses {
        case(status, || {
            let path = format!("/refuses?status={status}&body=100000");
            let path = path.replace("100000", if status == 401 { "65536" } else { "9" });
            for request in [Request::open(&path), Request::plain("GET", &path)] {
                let response = ask(address, &request).expect_refusal(status);
                assert_eq!(response.header("WWW-Authenticate"), Some("Bearer"));
                assert_eq!(response.header("Location"), Some("/elsewhere"));
                assert_eq!(response.header("Connection"), Some("close"));
                assert_eq!(response.body.len(), if status == 401 { 65_536 } else { 9 });
            }
        });
    }
    // RFC 9110 section 9.3.2: no content to HEAD. Section 15.5.22: what to upgrade to.
    let mut peer = ask(address, &Request::plain("HEAD", "/refuses?status=426&body=9"));
    let response = peer.response_head();
    assert_eq!((response.status, response.header("Content-Length")), (426, Some("9")));
    assert_eq!(response.header("Upgrade"), Some("websocket"));
    assert_eq!(response.header("Connection"), Some("Upgrade, close"));
    peer.expect_eof();
    let empty = ask(address, &Request::open("/refuses?status=404")).expect_refusal(404);
    assert_eq!((empty.header("Content-Length"), empty.body.len()), (Some("0"), 0));
    let refused = 2 * statuses.len() as u64 + 2;
    expect_counted(&gateway, (refused, 0));
    let admin = gateway.admin_address().and_then(|address| address.ip()).expect("there is one");
    let line = format!("tidegate_refusals_total{{reason=\"handler\",shard=\"0\"}} {refused}\n");
    let page = Request::plain("GET", "/metrics").set("Host", "localhost");
    wait_until("they are counted by their ground", || {
        let page = ask(admin, &page.clone().with("Connection", "close"));
        let metrics = std::io::read_to_string(page).expect("text");
        metrics.contains(&line).then_some(())
    });
}

#[test]
fn path_and_query_are_told_decoded() {
    let gateway = start();
    for (target, told) in [
        ("/rooms/lobby?name=ada", r#"[Some("lobby"), None, None] Ok(Some("ada"))"#),
        ("/rooms/a%2Fb", r#"[Some("a/b"), None, None] Ok(None)"#),
        ("/rooms/%00", r#"[Some("\0"), None, None] Ok(None)"#),
        ("/rooms/%c3%A4%25?name=a+%2B", r#"[Some("ä%"), None, None] Ok(Some("a +"))"#),
        ("/files/a/b/c%2fd", r#"[Some("a"), Some("b/c/d"), None] Ok(None)"#),
        ("/rooms/a?name=%zz", r#"[Some("a"), None, None] Err(InvalidQuery)"#),
        ("/rooms/a?name=%ff", r#"[Some("a"), None, None] Err(InvalidQuery)"#),
        ("/rooms/a?name=b&name=b", r#"[Some("a"), None, None] Err(DuplicateQuery)"#),
    ] {
        case(target, || {
            let mut peer = ask(
                gateway.addresses()[0].ip().expect("it is over TCP"),
                &Request::plain("GET", target),
            );
            let response = peer.expect_refusal(200);
            assert_eq!(String::from_utf8_lossy(&response.body), told);
        });
    }
    expect_counted(&gateway, (0, 8));
}

/// No handler sees such a path.
#[test]
fn a_path_that_cannot_be_decoded_is_refused() {
    let gateway = start();
    for target in ["/rooms/%ff", "/rooms/%zz", "/rooms/%", "/files/%ff/a", "/files/a/b%c3/c"] {
        case(target, || {
            let mut peer =
                ask(gateway.addresses()[0].ip().expect("it is over TCP"), &Request::open(target));
            let body = peer.expect_refusal(400).body;
            let said = String::from_utf8(body).expect("text");
            assert!(said.starts_with("the path cannot be decoded: two hex"), "{said}");
        });
    }
    expect_counted(&gateway, (5, 0));
}
