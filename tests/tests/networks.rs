//! From which networks clients may come: to a route, and to a listener.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;

use tidegate_proto::proxy::{Endpoints, write_v2};
use tidegate_tests::{Gateway, Launch, Peer, Request, case};

const ROUTES: &str = r#"
[[route]]
path = "/free"
handler = "echo"
[[route]]
path = "/allowed"
handler = "echo"
allow = ["127.0.0.0/30", "2001:db8::/32"]
deny = ["127.0.0.2"]
[[route]]
path = "/denied"
handler = "health"
deny = ["127.0.0.3", "unix"]
[[route]]
path = "/behind"
handler = "echo"
allow = ["127.0.0.1"]
admission = ["origin", "network"]
"#;

/// The status of what 127.0.0.`last` is answered.
#[track_caller]
fn status(gateway: &Gateway, last: u8, request: &Request) -> u16 {
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    let mut peer = Peer::try_connect_from(from, gateway.address()).expect("it listens");
    peer.request(request);
    peer.response_head().status
}

fn refused(reason: &str) -> String {
    format!("tidegate_refusals_total{{reason=\"{reason}\"}}")
}

/// A connection ends, and nothing was said on it.
#[track_caller]
fn expect_no_answer(peer: &mut Peer) {
    let mut bytes = Vec::new();
    if let Err(error) = peer.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    assert!(bytes.is_empty(), "answered with {}", bytes.escape_ascii());
}

/// What a proxy says of a client.
fn header(client: &str) -> Vec<u8> {
    let source: SocketAddr = client.parse().expect("an address");
    let to = if source.is_ipv4() { "192.0.2.1:443" } else { "[2001:db8::1]:443" };
    let endpoints = Endpoints::Tcp { source, destination: to.parse().expect("an address") };
    let mut bytes = vec![0; 536];
    let length = write_v2(&mut bytes, &endpoints, &[]).expect("room");
    bytes.truncate(length);
    bytes
}

#[test]
fn a_route_lets_in_whom_its_networks_do_and_nobody_else() {
    let gateway = Gateway::start(ROUTES);
    let mut count = 0;
    for (path, last, expected) in [
        ("/free", 9, 101),
        ("/allowed", 1, 101),
        ("/allowed", 2, 403),
        ("/allowed", 3, 101),
        ("/allowed", 4, 403),
        ("/behind", 1, 101),
        ("/behind", 2, 403),
    ] {
        case(format!("{path} {last}"), || {
            assert_eq!(status(&gateway, last, &Request::open(path)), expected);
        });
        count += u64::from(expected == 403);
    }
    // What is no WebSocket is checked as well, and before a handler looks at it.
    for (method, last, expected) in
        [("GET", 1, 200), ("GET", 3, 403), ("POST", 1, 405), ("POST", 3, 403)]
    {
        assert_eq!(status(&gateway, last, &Request::plain(method, "/denied")), expected);
        count += u64::from(expected == 403);
    }
    gateway.expect_counter(&refused("network"), count);
    gateway.expect_counter(&refused("listener_network"), 0);
}

#[test]
fn who_is_refused_is_told_why_in_the_order_of_the_checks() {
    let gateway = Gateway::start(ROUTES);
    let page = |path: &str| Request::open(path).with("Origin", "https://evil.example");
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, 4));
    for (path, words) in [("/allowed", "`allow` and `deny` of the route"), ("/behind", "`origins`")]
    {
        let mut peer = Peer::try_connect_from(from, gateway.address()).expect("it listens");
        peer.request(&page(path));
        let response = peer.expect_refusal(403);
        let told = String::from_utf8_lossy(&response.body).into_owned();
        assert!(told.contains(words), "{path}: {told}");
    }
    gateway.expect_log(&[
        "tidegate::refused",
        "peer=127.0.0.4:",
        "reason=\"network\"",
        "status=403",
        "path=\"/allowed\"",
    ]);
}

#[test]
fn a_listener_closes_whom_its_networks_keep_out_without_an_answer() {
    let listener = Gateway::listener("ws!tcp") + "deny = [\"127.0.0.2\"]\n";
    let gateway = Gateway::start(&(listener + ROUTES));
    let mut peer =
        Peer::try_connect_from(Ipv4Addr::new(127, 0, 0, 2).into(), gateway.address()).expect("it");
    expect_no_answer(&mut peer);
    gateway.expect_log(&["tidegate::refused", "peer=127.0.0.2:", "reason=\"listener_network\""]);
    assert_eq!(status(&gateway, 3, &Request::open("/free")), 101);
    assert_eq!(status(&gateway, 1, &Request::open("/allowed")), 101);
    gateway.expect_counter(&refused("listener_network"), 1);
    gateway.expect_counter(&refused("network"), 0);
    gateway.expect_counter("connections", 0);
}

#[test]
fn behind_a_proxy_the_address_is_that_of_the_client() {
    let listener = Gateway::listener("ws!proxy?from=127.0.0.1!tcp") + "deny = [\"192.0.2.0/24\"]\n";
    let gateway = Gateway::start(&(listener + ROUTES));
    let ask = |client: &str, path: &str| {
        let mut peer = Peer::connect(&gateway);
        peer.send([header(client), Request::open(path).bytes()].concat());
        peer
    };
    for (client, path, expected) in [
        ("127.0.0.3:80", "/allowed", 101),
        ("127.0.0.2:80", "/allowed", 403),
        ("[::ffff:127.0.0.1]:80", "/allowed", 101),
        ("[::ffff:127.0.0.2]:80", "/allowed", 403),
        ("[2001:db8::7]:80", "/allowed", 101),
        ("[2001:db9::7]:80", "/allowed", 403),
        ("198.51.100.1:80", "/free", 101),
    ] {
        case(format!("{client} {path}"), || {
            assert_eq!(ask(client, path).response_head().status, expected);
        });
    }
    for client in ["192.0.2.7:80", "[::ffff:192.0.2.7]:80"] {
        expect_no_answer(&mut ask(client, "/free"));
    }
    gateway.expect_counter(&refused("network"), 3);
    gateway.expect_counter(&refused("listener_network"), 2);
}

#[test]
fn who_comes_by_a_unix_socket_has_no_address_and_is_named_so() {
    let name = format!("tidegate-networks-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let path = path.to_str().expect("a text");
    let tcp = "[[listener]]\naddress = '127.0.0.1:0'\n";
    let listener = format!("{tcp}[[listener]]\naddress = 'unix:{path}'\nstack = 'ws!unix'\n");
    let local = "[[route]]\npath = '/local'\nhandler = 'echo'\nallow = ['unix']\n";
    let text = format!("shards = 1\npin = false\n{listener}{ROUTES}{local}");
    let gateway = Launch::new().config(&text).start_with_addresses(1);
    let ask = |request: &Request| {
        let mut peer = Peer::over(UnixStream::connect(path).expect("it listens"));
        peer.request(request);
        peer.response_head().status
    };
    assert_eq!(ask(&Request::open("/local")), 101);
    assert_eq!(ask(&Request::open("/free")), 101);
    assert_eq!(ask(&Request::open("/allowed")), 403, "it is in no network");
    assert_eq!(ask(&Request::plain("GET", "/denied")), 403);
    assert_eq!(status(&gateway, 1, &Request::open("/local")), 403);
    gateway.expect_counter(&refused("network"), 3);
}

#[test]
fn a_listener_of_peers_without_addresses_takes_no_networks() {
    let text = "[[listener]]\naddress = 'unix:/run/x'\nstack = 'ws!unix'\ndeny = ['10.0.0.0/8']\n";
    let checked = Launch::new().config(text).argument("--check").run();
    assert_ne!(checked.code, Some(0));
    let said = "listener[0].deny: means nothing over `unix`, whose peers have no address";
    assert!(checked.stderr.contains(said), "{}", checked.stderr);
}
