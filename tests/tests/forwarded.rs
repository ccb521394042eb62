//! Who the client is where a proxy that speaks HTTP says it in a header, and whom the gateway
//! believes.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use tidegate::config::stack::Stack;
use tidegate::config::{Config, Listener, Route, RouteHandler};
use tidegate::gateway::{self as embedded, Program};
use tidegate::handler::{
    Context, Decision, Desk, Handler, Piece, Request as ProgramRequest, Response,
};
use tidegate_proto::proxy::{Endpoints, write_v1};
use tidegate_tests::{Frame, Gateway, Launch, PATIENCE, Peer, Request, case};

const ROUTES: &str = r#"
[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}"
[[route]]
path = "/echo"
handler = "echo"
[[route]]
path = "/inside"
handler = "echo"
allow = ["192.0.2.0/24"]
"#;

/// Believes 127.0.0.1 and 127.0.0.8, and nobody else.
const STACK: &str = "log!ws?forwarded=x-forwarded-for&from=127.0.0.1,127.0.0.8!log!tcp";

fn start(stack: &str, more: &str) -> Gateway {
    Gateway::with_admin(&format!("{more}{}{ROUTES}", Gateway::listener(stack)))
}

fn from(gateway: &Gateway, last: u8) -> Peer {
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    Peer::try_connect_from(from, gateway.address()).expect("it listens")
}

/// Asks from 127.0.0.`last` with this header, if it is not empty.
fn ask(gateway: &Gateway, last: u8, path: &str, header: &str) -> (Peer, u16) {
    let mut peer = from(gateway, last);
    let request = Request::open(path);
    peer.request(&match header {
        "" => request,
        header => request.with("X-Forwarded-For", header),
    });
    let status = peer.response_head().status;
    (peer, status)
}

fn refused(reason: &str) -> String {
    format!("tidegate_refusals_total{{reason=\"{reason}\"}}")
}

/// The addresses in a list of the API.
#[track_caller]
fn addresses(gateway: &Gateway, list: &str, query: &str) -> Vec<String> {
    let address = gateway.admin_address();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head =
        format!("GET /v1/{list}{query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let answer: Value = serde_json::from_str(body).expect("JSON");
    let all = answer[list].as_array().expect("a list").iter();
    all.map(|one| one["address"].as_str().unwrap_or("none").to_owned()).collect()
}

#[test]
fn the_client_that_a_header_tells_of_is_told_everywhere() {
    let gateway = start(STACK, "");
    for (header, told) in [
        ("192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7:4711", "192.0.2.7:4711"),
        ("6.6.6.6, 2001:db8::7, 127.0.0.8", "2001:db8::7"),
        ("unknown, 127.0.0.8", "127.0.0.8"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ] {
        case(header, || {
            let (mut peer, status) = ask(&gateway, 1, "/rooms/7", header);
            assert_eq!(status, 101);
            assert_eq!(addresses(&gateway, "connections", ""), [told]);
            peer.frame(&Frame::close(1000, ""));
            peer.expect_close(1000);
            drop(peer);
            gateway.expect_counter("connections", 0);
        });
    }
    let (_peer, _) = ask(&gateway, 8, "/rooms/7", "192.0.2.9");
    assert_eq!(addresses(&gateway, "connections", "?address=192.0.2.9"), ["192.0.2.9"]);
    assert!(addresses(&gateway, "connections", "?address=127.0.0.8").is_empty());
    assert_eq!(addresses(&gateway, "ends", "?address=192.0.2.7").len(), 3);
    gateway.expect_counter("forwarded_requests", 6);
    gateway.expect_log(&["told", "peer=192.0.2.7", "proxy=127.0.0.1:"]);
    gateway.expect_log(&["tidegate::websocket", "opened", "peer=192.0.2.7:4711"]);
    gateway.expect_log(&["closed", "peer=192.0.2.7", "proxy=127.0.0.1:"]);
}

#[test]
fn who_is_not_believed_is_who_it_seems_to_be() {
    let gateway = start(STACK, "");
    let (peer, status) = ask(&gateway, 2, "/rooms/7", "192.0.2.7");
    assert_eq!((status, addresses(&gateway, "connections", "")), (101, vec![own(&peer)]));
    assert_eq!(ask(&gateway, 2, "/inside", "192.0.2.7").1, 403);
    gateway.expect_counter("forwarded_requests", 0);
    drop(peer);
    gateway.expect_counter("connections", 0);
    // Nor is a header of another name, and a proxy that says nothing speaks for itself.
    let mut peer = from(&gateway, 1);
    peer.request(&Request::open("/rooms/7").with("Forwarded", "for=192.0.2.7"));
    peer.expect_open();
    assert_eq!(addresses(&gateway, "connections", ""), [own(&peer)]);
    let (_other, status) = ask(&gateway, 1, "/inside", "_hidden");
    assert_eq!(status, 403);
    gateway.expect_counter("forwarded_untold", 2);
    let off = start("ws!tcp", "");
    assert_eq!(ask(&off, 1, "/inside", "192.0.2.7").1, 403);
}

fn own(peer: &Peer) -> String {
    peer.address().to_string()
}

#[test]
fn networks_and_limits_are_those_of_the_client() {
    let stack = Gateway::listener(STACK) + "deny = [\"203.0.113.0/24\", \"127.0.0.1\"]\n";
    let limits = "[clients]\nconnections_per_address = 2\n";
    let gateway = Gateway::with_admin(&format!("{limits}{stack}{ROUTES}"));
    // The proxy's own address is not what counts, nor what a listener keeps out.
    let mut peers: Vec<Peer> = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        let (peer, status) = ask(&gateway, 1, "/inside", client);
        assert_eq!(status, 101, "{client}");
        peers.push(peer);
    }
    assert_eq!(ask(&gateway, 1, "/inside", "192.0.2.1").1, 429);
    assert_eq!(ask(&gateway, 1, "/inside", "6.6.6.6, 192.0.2.1").1, 429);
    assert_eq!(ask(&gateway, 1, "/inside", "198.51.100.1").1, 403);
    assert_eq!(ask(&gateway, 1, "/echo", "203.0.113.9").1, 403);
    assert_eq!(ask(&gateway, 1, "/echo", "").1, 403, "it speaks for itself, and is kept out");
    gateway.expect_counter(&refused("address_full"), 2);
    gateway.expect_counter(&refused("network"), 1);
    gateway.expect_counter(&refused("listener_network"), 2);
    gateway.expect_log(&["refused", "peer=203.0.113.9 ", "reason=\"listener_network\""]);
    // Places are given back by the address that they were taken for.
    peers.remove(0).reset();
    gateway.expect_counter("connections_open", 4);
    let (_peer, status) = ask(&gateway, 1, "/inside", "192.0.2.1");
    assert_eq!(status, 101);
}

#[test]
fn the_header_of_the_standard_is_read_where_it_is_named() {
    let gateway = start("ws?forwarded=forwarded&from=127.0.0.1!tcp", "");
    for (header, told) in [
        ("for=192.0.2.7;proto=https", "192.0.2.7"),
        ("for=\", for=\"[2001:db8::7]:4711\";by=\"x,y\"", "[2001:db8::7]:4711"),
    ] {
        case(header, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&Request::open("/rooms/7").with("Forwarded", header));
            peer.expect_open();
            assert_eq!(addresses(&gateway, "connections", ""), [told]);
            drop(peer);
            gateway.expect_counter("connections", 0);
        });
    }
}

#[test]
fn behind_another_proxy_its_client_has_to_be_believed() {
    let gateway =
        start("ws?forwarded=x-forwarded-for&from=10.0.0.0/8!proxy?from=127.0.0.1!tcp", "");
    for (proxy, status) in [("10.0.0.1:80", 101), ("11.0.0.1:80", 403)] {
        let source = proxy.parse().expect("an address");
        let destination = "192.0.2.1:443".parse().expect("an address");
        let mut header = [0; 107];
        let length = write_v1(&mut header, &Endpoints::Tcp { source, destination }).expect("room");
        let mut peer = Peer::connect(&gateway);
        let request = Request::open("/inside").with("X-Forwarded-For", "192.0.2.7");
        peer.send([&header[..length], &request.bytes()].concat());
        assert_eq!(peer.response_head().status, status, "{proxy}");
    }
}

#[test]
fn who_comes_by_a_unix_socket_is_believed() {
    let name = format!("tidegate-forwarded-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let path = path.to_str().expect("a text");
    let text = format!(
        "shards = 1\npin = false\n[[listener]]\naddress = '127.0.0.1:0'\n\
         [[listener]]\naddress = 'unix:{path}'\nstack = 'ws?forwarded=x-forwarded-for!unix'\n\
         {ROUTES}"
    );
    let _gateway = Launch::new().config(&text).start_with_addresses(1);
    for (header, status) in [("192.0.2.7", 101), ("192.0.2.7, 198.51.100.1", 403), ("x", 403)] {
        let mut peer = Peer::over(UnixStream::connect(path).expect("it listens"));
        peer.request(&Request::open("/inside").with("X-Forwarded-For", header));
        assert_eq!(peer.response_head().status, status, "{header}");
    }
}

/// Says from which address it is asked.
struct Whence;

impl Handler for Whence {
    fn request(&mut self, request: &ProgramRequest<'_>, _: &mut Desk<'_>) -> Decision {
        let address = request.address().map_or("none".into(), |address| address.to_string());
        Response::text(200, address).expect("a status").into()
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
}

#[test]
fn a_handler_is_told_who_the_client_is() {
    let stack = Stack::parse("ws?forwarded=x-forwarded-for&from=127.0.0.1!tcp").expect("a stack");
    let listener = Listener { stack, ..Listener::new(SocketAddr::from(([127, 0, 0, 1], 0))) };
    let config = Config { listeners: vec![listener], ..Config::default() };
    let config = config.with_routes(vec![Route::new("/whence", RouteHandler::Embedded)]);
    let program = Program::default().handler("/whence", || Whence);
    let gateway =
        embedded::Gateway::start_with(config.with_admin(None), program).expect("it starts");
    let address = gateway.addresses()[0].ip().expect("it is no Unix socket");
    for (last, header, said) in
        [(1, "192.0.2.7", "192.0.2.7"), (1, "unknown", "127.0.0.1"), (2, "192.0.2.7", "127.0.0.2")]
    {
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        let mut peer = Peer::try_connect_from(from, address).expect("it listens");
        peer.request(&Request::plain("GET", "/whence").with("X-Forwarded-For", header));
        let response = peer.response();
        assert_eq!(String::from_utf8_lossy(&response.body), said);
    }
}
