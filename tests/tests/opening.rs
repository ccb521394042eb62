//! The opening handshake, and every answer to a request that is none (RFC 6455 section 4 and RFC
//! 9112).

use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{Frame, Gateway, Peer, Request, Witness, case, noise};

/// What the head of the default configuration may have, in bytes.
const HEAD_MAX: usize = 8192;

/// A request whose head has exactly `length` bytes.
fn head_of(length: usize) -> Vec<u8> {
    let rest = length - Request::open("/echo").with("X-Long", "").bytes().len();
    let bytes = Request::open("/echo").with("X-Long", &"x".repeat(rest)).bytes();
    assert_eq!(bytes.len(), length);
    bytes
}

/// Sends `bytes` as a request, and expects it to be refused with `status`.
#[track_caller]
fn refused(gateway: &Gateway, bytes: impl AsRef<[u8]>, status: u16) {
    let mut peer = Peer::connect(gateway);
    peer.send(bytes);
    let response = peer.expect_refusal(status);
    assert!(response.header("Connection").is_some_and(|options| options.contains("close")));
    assert!(!response.body.is_empty(), "a refusal says why");
}

#[test]
fn the_page_is_served_at_the_root() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::plain("GET", "/"));
    let page = peer.response();
    assert_eq!(page.status, 200);
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(page.body.to_ascii_lowercase().starts_with(b"<!doctype html>"));
    peer.expect_eof();

    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::plain("HEAD", "/"));
    let head = peer.response_head();
    assert_eq!((head.status, head.headers), (200, page.headers));
    peer.expect_eof();
}

#[test]
fn the_page_refuses_other_methods_and_says_which_it_knows() {
    let gateway = Gateway::start("");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
        case(method, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&Request::plain(method, "/"));
            assert_eq!(peer.expect_refusal(405).header("Allow"), Some("GET, HEAD"));
        });
    }
}

#[test]
fn the_page_is_no_websocket() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::open("/"));
    assert_eq!(peer.response().status, 200);
    peer.expect_eof();
}

/// RFC 3986 section 6.2.2.2.
#[test]
fn escapes_that_mean_nothing_make_no_other_path() {
    let gateway = Gateway::start("");
    for path in ["/%65cho", "/ech%6F", "/%65%63%68%6f"] {
        case(path, || Peer::open(&gateway, path).echo("served"));
    }
}

#[test]
fn an_unknown_path_is_not_found() {
    let gateway = Gateway::start("");
    for path in ["/other", "/echo/", "/Echo", "/echo/more", "//", "/echo%2F"] {
        case(path, || {
            refused(&gateway, Request::open(path).bytes(), 404);
            refused(&gateway, Request::plain("GET", path).bytes(), 404);
        });
    }
}

#[test]
fn a_query_and_an_absolute_target_lead_to_the_same_route() {
    let gateway = Gateway::start("");
    for target in ["/echo?", "/echo?a=/other", "http://gateway.example/echo", "http://a:1/echo?b"] {
        case(target, || {
            let (mut peer, _) = Peer::open_with(&gateway, &Request::open(target));
            peer.echo("hello");
        });
    }
}

#[test]
fn section_4_2_1_what_a_handshake_may_look_like() {
    let gateway = Gateway::start("");
    let open = || Request::open("/echo");
    for (name, request) in [
        ("Upgrade in any case", open().set("upgrade", "WebSocket")),
        ("Upgrade as a list", open().set("Upgrade", "h2c, websocket")),
        ("Upgrade on two lines", open().with("Upgrade", "h2c")),
        ("Connection as a list", open().set("Connection", "keep-alive, upgrade")),
        ("Connection on two lines", open().with("connection", "keep-alive")),
        ("a length of no body", open().with("Content-Length", "0")),
        ("an origin", open().with("Origin", "https://gateway.example")),
        ("subprotocols that no route asks for", open().with("Sec-WebSocket-Protocol", "a, b")),
        ("an empty list of subprotocols", open().with("Sec-WebSocket-Protocol", "")),
        ("an empty list of extensions", open().with("Sec-WebSocket-Extensions", "")),
        ("extensions that are not known", open().with("Sec-WebSocket-Extensions", "x; y=1")),
        ("a host with a port", open().set("Host", "[::1]:8080")),
    ] {
        case(name, || {
            let (mut peer, response) = Peer::open_with(&gateway, &request);
            assert_eq!(response.header("Sec-WebSocket-Protocol"), None);
            assert_eq!(response.header("Sec-WebSocket-Extensions"), None);
            peer.echo(name);
        });
    }
}

#[test]
fn section_4_2_2_a_request_without_an_upgrade_is_told_to_upgrade() {
    let gateway = Gateway::start("");
    let open = || Request::open("/echo");
    for (name, request) in [
        ("a plain request", Request::plain("GET", "/echo")),
        ("a plain request to send", Request::plain("POST", "/echo")),
        ("Upgrade missing", open().without("Upgrade")),
        ("Upgrade to something else", open().set("Upgrade", "h2c")),
        ("Upgrade to a version", open().set("Upgrade", "websocket/13")),
        ("HTTP/1.0", open().line("GET /echo HTTP/1.0")),
        ("HTTP/1.0 without a host", open().line("GET /echo HTTP/1.0").without("Host")),
    ] {
        case(name, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&request);
            let response = peer.expect_refusal(426);
            assert_eq!(response.header("Upgrade"), Some("websocket"));
            assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
        });
    }
}

#[test]
fn section_4_2_1_another_method_is_not_allowed() {
    let gateway = Gateway::start("");
    for method in ["POST", "HEAD", "get", "CONNECT"] {
        case(method, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&Request::open("/echo").line(&format!("{method} /echo HTTP/1.1")));
            assert_eq!(peer.response_head().header("Allow"), Some("GET"));
        });
    }
}

#[test]
fn section_4_2_1_what_is_missing_doubled_or_wrong_is_a_bad_request() {
    let gateway = Gateway::start("");
    let open = || Request::open("/echo");
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for (name, request) in [
        ("Connection missing", open().without("Connection")),
        ("Connection without Upgrade", open().set("Connection", "keep-alive")),
        ("key missing", open().without("Sec-WebSocket-Key")),
        ("key doubled", open().with("Sec-WebSocket-Key", key)),
        ("key empty", open().set("Sec-WebSocket-Key", "")),
        ("key of 15 bytes", open().set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA")),
        ("key of 17 bytes", open().set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA=")),
        ("key that is no base64", open().set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZ!==")),
        ("version doubled", open().with("Sec-WebSocket-Version", "13")),
        ("host missing", open().without("Host")),
        ("host doubled", open().with("Host", "gateway.example")),
        ("host with a path", open().set("Host", "gateway.example/echo")),
        ("subprotocol twice", open().with("Sec-WebSocket-Protocol", "a, a")),
        ("subprotocol with a space", open().with("Sec-WebSocket-Protocol", "a b")),
        ("extensions malformed", open().with("Sec-WebSocket-Extensions", "a;;b")),
        ("origin doubled", open().with("Origin", "http://a").with("Origin", "http://a")),
    ] {
        case(name, || refused(&gateway, request.bytes(), 400));
    }
}

#[test]
fn section_4_4_another_version_is_told_the_right_one() {
    let gateway = Gateway::start("");
    let version = |value| Request::open("/echo").set("Sec-WebSocket-Version", value);
    for (name, request) in [
        ("version missing", Request::open("/echo").without("Sec-WebSocket-Version")),
        ("version 8", version("8")),
        ("version 14", version("14")),
        ("version 013", version("013")),
        ("versions as a list", version("13, 8")),
    ] {
        case(name, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&request);
            assert_eq!(peer.expect_refusal(426).header("Sec-WebSocket-Version"), Some("13"));
        });
    }
}

#[test]
fn another_version_of_http_is_not_supported() {
    let gateway = Gateway::start("");
    for line in ["GET /echo HTTP/2.0", "GET /echo HTTP/3", "PRI * HTTP/2.0"] {
        case(line, || refused(&gateway, Request::open("/echo").line(line).bytes(), 505));
    }
}

#[test]
fn what_a_proxy_may_read_otherwise_is_refused() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let start = "GET /echo HTTP/1.1\r\nHost: a\r\n";
    for (name, rest, status) in [
        ("two lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("two lengths, the other way", "Transfer-Encoding: x\r\nContent-Length: 0\r\n\r\n", 400),
        ("chunks", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("identity", "Transfer-Encoding: identity\r\n\r\n", 400),
        ("a body", "Content-Length: 5\r\n\r\nhello", 413),
        ("a length twice", "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        ("a length as a list", "Content-Length: 0, 0\r\n\r\n", 400),
        ("a length with a sign", "Content-Length: +0\r\n\r\n", 400),
        ("a length that is no number", "Content-Length: 0x0\r\n\r\n", 400),
        ("a bare LF", "X: y\n\r\n", 400),
        ("an end of bare LFs", "X: y\n\n", 400),
        ("a bare CR", "X: y\rz\r\n\r\n", 400),
        ("a folded line", "X: y\r\n z\r\n\r\n", 400),
        ("a folded line by a tab", "X: y\r\n\tz\r\n\r\n", 400),
        ("NUL in a value", "X: y\0z\r\n\r\n", 400),
        ("NUL in a name", "X\0: y\r\n\r\n", 400),
        ("a space before the colon", "X : y\r\n\r\n", 400),
        ("a line without a colon", "XY\r\n\r\n", 400),
        ("a line without a name", ": y\r\n\r\n", 400),
        ("a name with a space", "X Y: z\r\n\r\n", 400),
        ("a name outside of ASCII", "X\u{e9}: z\r\n\r\n", 400),
    ] {
        case(name, || {
            refused(&gateway, [start, rest].concat(), status);
            witness.check();
        });
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    let gateway = Gateway::start("");
    for line in [
        "GET",
        "GET /echo",
        "GET  /echo HTTP/1.1",
        "GET /echo  HTTP/1.1",
        "GET /echo HTTP/1.1 ",
        "GET /ec ho HTTP/1.1",
        "GET echo HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /echo#part HTTP/1.1",
        "GET ftp://a/echo HTTP/1.1",
        "GET /\u{e9}cho HTTP/1.1",
        "G(T /echo HTTP/1.1",
        " GET /echo HTTP/1.1",
        "GET /echo http/1.1",
    ] {
        case(line, || refused(&gateway, Request::open("/echo").line(line).bytes(), 400));
    }
}

#[test]
fn one_empty_line_before_the_request_is_ignored_and_two_are_not() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.send([b"\r\n", &Request::open("/echo").bytes()[..]].concat());
    peer.expect_open();
    refused(&gateway, b"\r\n\r\n", 400);
}

#[test]
fn a_second_request_behind_the_first_is_not_answered() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.send(Request::plain("GET", "/other").bytes().repeat(2));
    peer.expect_refusal(404);
}

#[test]
fn a_head_of_just_the_limit_is_taken_and_one_more_byte_is_not() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.send(head_of(HEAD_MAX));
    peer.expect_open();
    peer.echo("hello");
    refused(&gateway, head_of(HEAD_MAX + 1), 431);
    refused(&gateway, head_of(HEAD_MAX * 2), 431);
}

#[test]
fn a_head_over_the_limit_is_refused_however_it_comes() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for part in [1000, 4096, 8191] {
        case(format!("in parts of {part}"), || {
            let bytes = head_of(HEAD_MAX + 1000);
            let mut peer = Peer::connect(&gateway);
            witness.send_apart(&mut peer, bytes[..HEAD_MAX].chunks(part));
            peer.expect_refusal(431);
        });
    }
}

#[test]
fn a_request_line_over_the_limit_is_too_long() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let line = format!("GET /{}", "x".repeat(HEAD_MAX));
    refused(&gateway, &line, 414);
    let mut peer = Peer::connect(&gateway);
    witness.send_apart(&mut peer, line.as_bytes()[..HEAD_MAX].chunks(3000));
    peer.expect_refusal(414);
}

#[test]
fn more_header_lines_than_a_head_may_have_are_refused() {
    let gateway = Gateway::start("");
    let many = |count| (5..count).fold(Request::open("/echo"), |head, _| head.with("X", "y"));
    let (mut peer, _) = Peer::open_with(&gateway, &many(64));
    peer.echo("hello");
    refused(&gateway, many(65).bytes(), 431);
}

#[test]
fn frames_behind_the_request_are_answered_behind_the_response() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let request = Request::open("/echo").bytes();
    let frames = [Frame::text("one").masked(), Frame::ping("two").masked()].concat();
    let expect_answers = |peer: &mut Peer| {
        peer.expect_open();
        peer.expect_text("one");
        peer.expect(&Frame::pong("two"));
    };
    let mut peer = Peer::connect(&gateway);
    peer.send([&request[..], &frames].concat());
    expect_answers(&mut peer);
    for cut in 0..frames.len() {
        case(format!("{cut} bytes of frames in the same segment"), || {
            let mut peer = Peer::connect(&gateway);
            let first = [&request[..], &frames[..cut]].concat();
            witness.send_apart(&mut peer, [&first[..], &frames[cut..]]);
            expect_answers(&mut peer);
        });
    }
}

#[test]
fn what_comes_behind_the_request_does_not_count_as_head() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let message = noise(HEAD_MAX * 2, 1);
    let frame = Frame::binary(&message).masked();
    let request = Request::open("/echo").bytes();
    for cut in [0, 50] {
        let mut peer = Peer::connect(&gateway);
        witness.send_apart(&mut peer, [&request[..cut]]);
        peer.send([&request[cut..], &frame].concat());
        peer.expect_open();
        peer.expect_binary(&message);
    }
}

#[test]
fn a_peer_that_finishes_behind_its_request_gets_the_answer() {
    let gateway = Gateway::start("");
    let page = |peer: &mut Peer| peer.response().body.len();
    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::plain("GET", "/"));
    let length = page(&mut peer);
    for (name, request) in
        [("a page", Request::plain("GET", "/")), ("a refusal", Request::plain("GET", "/x"))]
    {
        case(name, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&request);
            peer.finish();
            let response = peer.response();
            assert!(response.status == 404 || response.body.len() == length);
            peer.expect_eof();
        });
    }
    let mut peer = Peer::connect(&gateway);
    peer.send([Request::open("/echo").bytes(), Frame::text("last").masked()].concat());
    peer.finish();
    peer.expect_open();
    peer.expect_text("last");
    peer.expect_eof();
}

#[test]
fn a_peer_that_is_refused_while_it_sends_can_read_why() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::connect(&gateway);
    let upload = Request::plain("POST", "/").with("Content-Length", "4000000").bytes();
    let sending = peer.send_meanwhile([upload, noise(4_000_000, 1)].concat());
    assert_eq!(peer.response().status, 413);
    sending.join().unwrap();
    peer.expect_eof();
    witness.check();
}

#[test]
fn a_broken_frame_behind_the_request_fails_the_connection_once_it_is_open() {
    let gateway = Gateway::start("");
    let mut peer = Peer::connect(&gateway);
    peer.send([&Request::open("/echo").bytes()[..], b"\x83"].concat());
    peer.expect_open();
    peer.expect_failed(1002);
}

#[test]
fn the_head_may_be_split_anywhere() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let bytes = Request::open("/echo").bytes();
    let mut peers: Vec<Peer> = (1..bytes.len()).map(|_| Peer::connect(&gateway)).collect();
    for (cut, peer) in (1..).zip(&mut peers) {
        peer.send(&bytes[..cut]);
    }
    witness.check();
    let hello = Frame::text("hello").masked();
    for (cut, peer) in (1..).zip(&mut peers) {
        peer.send([&bytes[cut..], &hello].concat());
    }
    for (cut, peer) in (1..).zip(&mut peers) {
        case(format!("split at {cut}"), || {
            peer.expect_open();
            peer.expect_text("hello");
        });
    }
}

#[test]
fn the_head_may_come_byte_by_byte() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::connect(&gateway);
    witness.send_apart(&mut peer, Request::open("/echo").bytes().chunks(1));
    peer.expect_open();
    peer.echo("hello");
}

#[test]
fn a_fault_is_answered_before_the_head_is_whole() {
    let gateway = Gateway::start("");
    for (name, start) in [
        ("a control character", &b"\x01"[..]),
        ("a bare LF", b"GET /echo HTTP/1.1\n"),
        ("a space before the colon", b"GET /echo HTTP/1.1\r\nHost "),
        ("another version", b"GET /echo HTTP/2.0\r\n"),
    ] {
        case(name, || {
            let mut peer = Peer::connect(&gateway);
            peer.send(start);
            assert!(peer.response().status >= 400);
            peer.expect_eof();
        });
    }
}

#[test]
fn what_is_no_http_is_refused_at_once() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x9a\x61\x5e\x10\x8e\x42\xb1\x7f";
    refused(&gateway, hello, 400);
    refused(&gateway, b"SSH-2.0-OpenSSH_9.9\r\n", 400);
    refused(&gateway, Frame::text("no request first").masked(), 400);
    for seed in 0..20 {
        case(format!("noise of seed {seed}"), || {
            let mut peer = Peer::connect(&gateway);
            peer.send(noise(1000, seed));
            assert!(peer.response().status >= 400);
            peer.expect_eof();
        });
    }
    witness.check();
}

#[test]
fn a_head_that_does_not_come_is_given_up_at_its_deadline() {
    let gateway = Gateway::with_stack("ws?head=1s!tcp");
    for (name, start) in [("nothing", &b""[..]), ("half a head", b"GET /echo HTTP/1.1\r\nHost:")] {
        case(name, || {
            let begun = Instant::now();
            let mut peer = Peer::connect(&gateway);
            peer.send(start);
            peer.expect_refusal(408);
            assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        });
    }
    gateway.expect_counter("refused_head_timeout", 2);
}

#[test]
fn a_head_that_trickles_in_does_not_extend_its_deadline() {
    let gateway = Gateway::with_stack("ws?head=1s!tcp");
    let bytes = Request::open("/echo").bytes();
    let begun = Instant::now();
    let mut peer = Peer::connect(&gateway);
    let mut trickle = bytes.iter();
    peer.set_patience(Duration::from_millis(100));
    while let Err(nothing_yet) = peer.try_peek() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{nothing_yet}");
        peer.send([*trickle.next().expect("the head takes longer than its deadline")]);
    }
    peer.expect_refusal(408);
}

#[test]
fn an_opened_connection_is_not_held_to_the_deadline_of_its_head() {
    let gateway = Gateway::with_stack("ws?head=1s!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    let mut late = Peer::connect(&gateway);
    late.expect_refusal(408);
    peer.echo("still here");
}

#[test]
fn section_4_2_2_the_route_selects_its_subprotocol() {
    let gateway = Gateway::start(
        r#"
        [[route]]
        path = "/chat"
        handler = "echo"
        subprotocol = "chat.v2"
        [[route]]
        path = "/chat"
        handler = "echo"
        subprotocol = "chat.v1"
        [[route]]
        path = "/any"
        handler = "echo"
        "#,
    );
    let offer = |path, value| Request::open(path).with("Sec-WebSocket-Protocol", value);
    for (name, request, selected) in [
        ("the only one", offer("/chat", "chat.v1"), Some("chat.v1")),
        ("one of several", offer("/chat", "soap, chat.v2, mqtt"), Some("chat.v2")),
        ("the route's order counts", offer("/chat", "chat.v1, chat.v2"), Some("chat.v2")),
        (
            "on two lines",
            offer("/chat", "soap").with("Sec-WebSocket-Protocol", "chat.v1"),
            Some("chat.v1"),
        ),
        ("a route for any", offer("/any", "chat.v1"), None),
    ] {
        case(name, || {
            let (mut peer, response) = Peer::open_with(&gateway, &request);
            assert_eq!(response.header("Sec-WebSocket-Protocol"), selected);
            peer.echo("hello");
        });
    }
    for (name, request) in [
        ("none offered", Request::open("/chat")),
        ("another offered", offer("/chat", "chat")),
        ("in another case", offer("/chat", "Chat.v1")),
    ] {
        case(name, || refused(&gateway, request.bytes(), 404));
    }
}

#[test]
fn a_pattern_takes_what_it_names() {
    let gateway = Gateway::start(
        r#"
        [[route]]
        path = "/rooms/{room}"
        handler = "echo"
        [[route]]
        path = "/rooms/lobby"
        handler = "static"
        [[route]]
        path = "/files/{*rest}"
        handler = "echo"
        "#,
    );
    for path in ["/rooms/7", "/rooms/%20", "/rooms/lobby2", "/files/a", "/files/a/b/c"] {
        case(path, || Peer::open(&gateway, path).echo(path));
    }
    for path in ["/rooms", "/rooms/", "/rooms/7/8", "/files", "/files/", "/"] {
        case(path, || refused(&gateway, Request::open(path).bytes(), 404));
    }
    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::plain("GET", "/rooms/lobby"));
    assert_eq!(peer.response().status, 200);
}

#[test]
fn the_client_library_is_beside_the_page() {
    let gateway = Gateway::start("");
    for (path, kind, word) in [
        ("/", "text/html; charset=utf-8", "./client.js"),
        ("/client.js", "text/javascript; charset=utf-8", "export function connect"),
        ("/client.d.ts", "text/plain; charset=utf-8", "export function connect"),
    ] {
        case(path, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&Request::plain("GET", path));
            let response = peer.response();
            assert_eq!(response.status, 200);
            assert_eq!(response.header("Content-Type"), Some(kind));
            assert!(String::from_utf8_lossy(&response.body).contains(word));
        });
    }
}

#[test]
fn connections_that_end_before_a_request_leave_nothing_behind() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for _ in 0..50 {
        drop(Peer::connect(&gateway));
        Peer::connect(&gateway).reset();
        let mut peer = Peer::connect(&gateway);
        peer.finish();
        peer.expect_eof();
        let mut peer = Peer::connect(&gateway);
        peer.send(b"GET /ec");
        peer.finish();
        peer.expect_eof();
    }
    witness.check();
    gateway.expect_counter("connections", 1);
    gateway.expect_counter("blocks_used", 0);
    assert_eq!(gateway.fresh_counters().get("refused"), 0);
}

#[test]
fn many_open_at_once() {
    let gateway = Gateway::start("");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut peers: Vec<Peer> = (0..100).map(|_| Peer::connect(&gateway)).collect();
                for peer in &mut peers {
                    peer.request(&Request::open("/echo"));
                }
                for (index, peer) in peers.iter_mut().enumerate() {
                    peer.expect_open();
                    peer.echo(&index.to_string());
                }
            });
        }
    });
    assert_eq!(gateway.expect_counter_from("opened", 400), 400);
}
