//! The layer `proxy` on real sockets: who the gateway says its peers are, and whom it believes.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate::config::stack::Stack;
use tidegate::config::{Config, Listener, Route, RouteHandler};
use tidegate::gateway::{self as embedded, Program};
use tidegate::handler::{
    Context, Decision, Desk, Handler, Piece, Refusal, Request as ProgramRequest, Response,
};
use tidegate_proto::proxy::{
    ALPN, AUTHORITY, CHECKSUM, Endpoints, NOTHING, TLS, Tlv, UNIQUE_ID, write_v1, write_v2,
};
use tidegate_tests::tls::{Authority, NAME, TlsEnd};
use tidegate_tests::{
    Exited, Exposition, Frame, Gateway, Launch, PATIENCE, Peer, Request, wait_until,
};

/// A client that no connection of a test really comes from.
const CLIENT: &str = "192.0.2.7:4711";

/// A gateway that believes 127.0.0.1 and nobody else.
#[track_caller]
fn start() -> Gateway {
    start_with("log!ws!log!proxy?from=127.0.0.1&header=1s!tcp", "")
}

#[track_caller]
fn start_with(stack: &str, more: &str) -> Gateway {
    let rooms = "[[route]]\npath = \"/rooms/{room}\"\nhandler = \"hub?topic=rooms/{room}\"\n";
    let echo = "[[route]]\npath = \"/echo\"\nhandler = \"echo\"\n";
    Gateway::with_admin(&format!("{more}{}{rooms}{echo}", Gateway::listener(stack)))
}

fn endpoints(client: &str) -> Endpoints<'static> {
    let source: SocketAddr = client.parse().expect("an address");
    let to = if source.is_ipv4() { "192.0.2.1:443" } else { "[2001:db8::1]:443" };
    Endpoints::Tcp { source, destination: to.parse().expect("an address") }
}

fn version_1(endpoints: &Endpoints<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 107];
    let length = write_v1(&mut bytes, endpoints).expect("room");
    bytes.truncate(length);
    bytes
}

fn version_2(endpoints: &Endpoints<'_>, tlvs: &[Tlv<'_>]) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 17];
    let length = write_v2(&mut bytes, endpoints, tlvs).expect("room");
    bytes.truncate(length);
    bytes
}

/// The TLVs that a proxy in front of TLS would send.
fn tlvs() -> [Tlv<'static>; 5] {
    [
        Tlv { number: ALPN, value: b"http/1.1" },
        Tlv { number: AUTHORITY, value: b"gateway.test" },
        Tlv { number: CHECKSUM, value: &[0; 4] },
        Tlv { number: UNIQUE_ID, value: b"7F0000019CC8-01" },
        Tlv { number: NOTHING, value: &[0; 200] },
    ]
}

/// What the admin address answers.
#[track_caller]
fn ask(gateway: &Gateway, path: &str) -> String {
    let address = gateway.admin_address();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// The addresses in a list of the API.
#[track_caller]
fn addresses(gateway: &Gateway, list: &str, query: &str) -> Vec<String> {
    let body = ask(gateway, &format!("/v1/{list}{query}"));
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let all = answer[list].as_array().expect("a list").iter();
    all.map(|one| one["address"].as_str().unwrap_or("none").to_owned()).collect()
}

/// Waits until so many were refused for this reason.
#[track_caller]
fn expect_refused(gateway: &Gateway, reason: &str, count: u64) {
    wait_until(&format!("{count} refused as {reason}"), || {
        let shown = Exposition::read(&ask(gateway, "/metrics")).expect("an exposition");
        let sample = format!("tidegate_proxy_refused_total{{reason=\"{reason}\",shard=\"0\"}}");
        (shown.get(&sample) as u64 == count).then_some(())
    });
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

/// Opens a connection to a room behind a header.
#[track_caller]
fn open(gateway: &Gateway, header: &[u8]) -> Peer {
    let mut peer = Peer::connect(gateway);
    peer.send([header, &Request::open("/rooms/7").bytes()].concat());
    peer.expect_open();
    peer
}

#[test]
fn the_client_that_a_header_tells_of_is_told_everywhere() {
    let gateway = start();
    for header in [
        version_1(&endpoints(CLIENT)),
        version_2(&endpoints(CLIENT), &[]),
        version_2(&endpoints(CLIENT), &tlvs()),
    ] {
        let mut peer = open(&gateway, &header);
        assert_eq!(addresses(&gateway, "connections", ""), [CLIENT]);
        assert_eq!(addresses(&gateway, "connections", "?address=192.0.2.7"), [CLIENT]);
        assert!(addresses(&gateway, "connections", "?address=127.0.0.1").is_empty());
        peer.frame(&Frame::close(1000, ""));
        peer.expect_close(1000);
        peer.expect_eof();
        gateway.expect_counter("connections", 0);
    }
    assert_eq!(addresses(&gateway, "ends", "?address=192.0.2.7"), [CLIENT; 3]);
    gateway.expect_counter("proxy_headers", 3);
    // What is spoken has the client's address, and of sockets both are told.
    gateway.expect_log(&["tidegate::transport", "accepted", "peer=127.0.0.1:"]);
    gateway.expect_log(&["told", "peer=192.0.2.7:4711", "proxy=127.0.0.1:"]);
    gateway.expect_log(&["closed", "peer=192.0.2.7:4711", "proxy=127.0.0.1:"]);
    let log = gateway.terminate();
    let spoken: Vec<_> = log.lines().filter(|line| line.contains("tidegate::websocket")).collect();
    assert!(!spoken.is_empty(), "{log}");
    for line in spoken {
        assert!(line.contains("192.0.2.7:4711") && !line.contains("127.0.0.1"), "{line}");
    }
}

#[test]
fn addresses_of_version_6_are_told_and_those_of_4_within_them_as_what_they_are() {
    let gateway = start();
    for (client, told) in
        [("[2001:db8::7]:4711", "[2001:db8::7]:4711"), ("[::ffff:192.0.2.7]:4711", CLIENT)]
    {
        for header in [version_1(&endpoints(client)), version_2(&endpoints(client), &[])] {
            let _peer = open(&gateway, &header);
            assert_eq!(addresses(&gateway, "connections", ""), [told]);
            drop(_peer);
            gateway.expect_counter("connections", 0);
        }
    }
}

#[test]
fn where_a_proxy_speaks_for_itself_or_has_no_words_the_address_is_that_of_the_socket() {
    let gateway = start();
    let unix = Endpoints::Unix { source: b"/run/client", destination: b"/run/proxy" };
    for header in [
        version_1(&Endpoints::Unknown),
        version_2(&Endpoints::Unknown, &tlvs()),
        version_2(&Endpoints::Local, &[]),
        version_2(&unix, &[]),
    ] {
        let peer = open(&gateway, &header);
        assert_eq!(addresses(&gateway, "connections", ""), [peer.address().to_string()]);
        drop(peer);
        gateway.expect_counter("connections", 0);
    }
    // So a proxy sees whether somebody answers: it says nothing more, or not even a header.
    let mut peer = Peer::connect(&gateway);
    peer.send(version_2(&Endpoints::Local, &[]));
    peer.finish();
    peer.expect_eof();
    let mut peer = Peer::connect(&gateway);
    peer.finish();
    peer.expect_eof();
}

/// The value of what is told of TLS, with a certificate that was found good or not.
fn tls_value(is_verified: bool) -> Vec<u8> {
    let verify = u8::from(!is_verified);
    let head = [0x03, 0, 0, 0, verify];
    let rest: &[u8] = b"\x21\0\x07TLSv1.3\x22\0\x08device\n7\x23\0\x0bsome-cipher";
    [&head, rest].concat()
}

#[test]
fn what_a_proxy_says_of_its_client_is_in_the_log() {
    let gateway = start_with("log!ws!log!proxy?from=127.0.0.1!tcp", "");
    let whole = tls_value(true);
    let all = [&tlvs()[..2], &tlvs()[3..4], &[Tlv { number: TLS, value: &whole }]].concat();
    let said = "proxied_authority=\"gateway.test\" proxied_alpn=\"http/1.1\" \
                proxied_id=\"7F0000019CC8-01\" proxied_tls=\"TLSv1.3\" \
                proxied_cipher=\"some-cipher\" proxied_cn=\"device\\n7\" \
                proxied_verified=true route=";
    let _one = open(&gateway, &version_2(&endpoints(CLIENT), &all));
    gateway.expect_log(&["opened", "peer=192.0.2.7:4711", said]);
    let wrong = tls_value(false);
    let _other =
        open(&gateway, &version_2(&Endpoints::Unknown, &[Tlv { number: TLS, value: &wrong }]));
    gateway.expect_log(&["opened", "peer=127.0.0.1:", "proxied_verified=false route="]);
    let unix = Endpoints::Unix { source: b"/run/client", destination: b"/run/proxy" };
    let _third = open(&gateway, &version_2(&unix, &[]));
    let line =
        gateway.expect_log(&["opened", "peer=127.0.0.1:", "proxied_peer=\"unix:/run/client\""]);
    assert!(!line.contains("proxied_tls") && !line.contains("proxied_cut"), "{line}");
    gateway.expect_log(&["told", "peer=127.0.0.1:", "proxied_peer=\"unix:/run/client\""]);
    let plain = open(&gateway, &version_1(&endpoints("192.0.2.9:1")));
    let line = gateway.expect_log(&["opened", "peer=192.0.2.9:1"]);
    assert!(!line.contains("proxied"), "{line}");
    drop(plain);
    gateway.expect_counter("proxy_facts_cut", 0);
}

#[test]
fn of_what_a_proxy_says_so_much_is_kept_and_for_as_long_as_it_is_asked_for() {
    let gateway = start_with("log!ws!proxy?from=127.0.0.1&keep=20!tcp", "");
    let held = || {
        let shown = Exposition::read(&ask(&gateway, "/metrics")).expect("an exposition");
        let line = "{line=\"facts told by proxies\",shard=\"0\"}";
        let [used, allowed] = ["used", "allowed"]
            .map(|kind| shown.get(&format!("tidegate_budget_{kind}_bytes{line}")) as u64);
        assert!(used <= allowed, "{used} of {allowed}");
        used
    };
    let header = version_2(&endpoints(CLIENT), &tlvs());
    let mut peer = Peer::connect(&gateway);
    peer.send(&header);
    wait_until("it is kept", || (held() > 32).then_some(()));
    let before = held();
    peer.request(&Request::open("/rooms/7"));
    peer.expect_open();
    let line = gateway.expect_log(&["opened", "proxied_authority=\"gateway.test\" "]);
    assert!(line.contains("proxied_alpn=\"http/1.1\" proxied_cut=true"), "{line}");
    wait_until("it is forgotten", || (held() + 20 <= before).then_some(()));
    gateway.expect_counter("proxy_facts_cut", 1);
}

/// Says what a proxy has said of who asks.
struct Whose;

impl Handler for Whose {
    fn request(&mut self, request: &ProgramRequest<'_>, _: &mut Desk<'_>) -> Decision {
        let Some(facts) = request.proxy_facts() else { return Refusal::Forbidden.into() };
        let name = facts.tls.as_ref().filter(|tls| tls.is_verified);
        let name = name.and_then(|tls| tls.common_name.as_deref()).unwrap_or("nobody");
        let text = format!("{name} at {}", facts.authority.as_deref().unwrap_or_default());
        Response::text(200, text).expect("a status").into()
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
}

#[test]
fn a_handler_is_told_what_a_proxy_says() {
    let stack = Stack::parse("ws!proxy?from=127.0.0.1!tcp").expect("a stack");
    let listener = Listener { stack, ..Listener::new(SocketAddr::from(([127, 0, 0, 1], 0))) };
    let config = Config { listeners: vec![listener], ..Config::default() };
    let config = config.with_routes(vec![Route::new("/whose", RouteHandler::Embedded)]);
    let program = Program::default().handler("/whose", || Whose);
    let gateway =
        embedded::Gateway::start_with(config.with_admin(None), program).expect("it starts");
    let address = gateway.addresses()[0].ip().expect("it is no Unix socket");
    let [good, wrong] = [true, false].map(tls_value);
    let name = Tlv { number: AUTHORITY, value: b"gateway.test" };
    for (tlvs, said) in [
        (&[name, Tlv { number: TLS, value: &good }][..], "device\n7 at gateway.test"),
        (&[name, Tlv { number: TLS, value: &wrong }], "nobody at gateway.test"),
        (&[], ""),
    ] {
        let mut peer = Peer::try_connect(address).expect("it listens");
        let request = Request::open("/whose").bytes();
        peer.send([version_2(&endpoints(CLIENT), tlvs), request].concat());
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8(answer).expect("text");
        let status = if said.is_empty() { "403" } else { "200" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.ends_with(said), "{answer}");
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let gateway = start();
    for header in [version_1(&endpoints(CLIENT)), version_2(&endpoints(CLIENT), &tlvs()[1..3])] {
        let mut peer = Peer::connect(&gateway);
        for byte in &header {
            peer.send([*byte]);
            thread::sleep(Duration::from_millis(2));
        }
        peer.request(&Request::open("/rooms/7"));
        peer.expect_open();
        assert_eq!(addresses(&gateway, "connections", ""), [CLIENT]);
        drop(peer);
        gateway.expect_counter("connections", 0);
    }
}

#[test]
fn the_longest_header_may_come_byte_by_byte_and_fill_a_receive_buffer() {
    let stack = "log!ws!proxy?from=127.0.0.1&header=1m&max=1KiB!tcp";
    let gateway = start_with(stack, "[limits]\nreceive_buffer = 1024\nrequest_head = 512\n");
    let of_length = |length: usize| {
        let filling = vec![0; length - version_2(&endpoints(CLIENT), &[]).len() - 3];
        version_2(&endpoints(CLIENT), &[Tlv { number: 0xE0, value: &filling }])
    };
    let header = of_length(1024);
    let mut peer = Peer::connect(&gateway);
    for byte in &header {
        peer.send([*byte]);
        thread::sleep(Duration::from_millis(1));
    }
    peer.request(&Request::open("/rooms/7"));
    peer.expect_open();
    assert_eq!(addresses(&gateway, "connections", ""), [CLIENT]);
    drop(peer);
    gateway.expect_counter("connections", 0);
    let _peer = open(&gateway, &header);
    assert_eq!(addresses(&gateway, "connections", ""), [CLIENT]);
    let mut peer = Peer::connect(&gateway);
    let _ = peer.try_send(of_length(1025));
    expect_no_answer(&mut peer);
    expect_refused(&gateway, "too_long", 1);
    gateway.expect_log(&["reason=\"too_long\"", "longer than `proxy?max` allows; raise that"]);
}

#[test]
fn what_stands_behind_a_header_is_served_with_all_that_comes_with_it() {
    let gateway = start();
    let mut peer = Peer::connect(&gateway);
    let first = Frame::text("with the header").masked();
    let request = Request::open("/echo").bytes();
    peer.send([version_2(&endpoints(CLIENT), &tlvs()), request, first].concat());
    peer.expect_open();
    peer.expect_text("with the header");
    // Larger than a receive buffer: received as if there were no layer.
    let large = "x".repeat(60_000);
    peer.echo(&large);
    peer.echo("and behind it");
}

#[test]
fn half_a_header_has_a_deadline_and_then_a_request_its_own() {
    let stack = "ws?head=2s!proxy?from=127.0.0.1&header=1s!tcp";
    let gateway = start_with(stack, "");
    let header = version_2(&endpoints(CLIENT), &tlvs());
    let began = Instant::now();
    let mut half = Peer::connect(&gateway);
    half.send(&header[..header.len() - 1]);
    let mut mute = Peer::connect(&gateway);
    let mut whole = Peer::connect(&gateway);
    whole.send(&header);
    expect_no_answer(&mut half);
    expect_no_answer(&mut mute);
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    expect_refused(&gateway, "timed_out", 2);
    whole.expect_refusal(408);
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
}

#[test]
fn what_is_no_right_header_is_closed_without_an_answer_and_counted_by_what_is_wrong() {
    let gateway = start();
    let right = version_2(&endpoints(CLIENT), &tlvs());
    let mut changed = right.clone();
    changed[20] ^= 1;
    let filling = vec![0; 65_000];
    let large = version_2(&Endpoints::Local, &[Tlv { number: NOTHING, value: &filling }]);
    let wrong: [(&str, &[u8]); 8] = [
        ("checksum", &changed),
        // Not waited for.
        ("too_long", &large[..16]),
        ("too_long", &large),
        ("http", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("tls", b"\x16\x03\x01\x02\x00\x01"),
        ("no_header", b"hello"),
        ("line_too_long", &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat()),
        ("line_address", b"PROXY TCP4 ::1 ::1 1 2\r\n"),
    ];
    let mut counts = std::collections::BTreeMap::<_, u64>::new();
    for (reason, bytes) in wrong {
        let mut peer = Peer::connect(&gateway);
        // It may be closed before all was taken.
        let _ = peer.try_send(bytes);
        expect_no_answer(&mut peer);
        *counts.entry(reason).or_default() += 1;
    }
    for (reason, count) in counts {
        expect_refused(&gateway, reason, count);
        gateway.expect_log(&["tidegate::refused", &format!("reason=\"{reason}\""), "127.0.0.1"]);
    }
    gateway.expect_counter("proxy_headers", 0);
    gateway.expect_counter("connections", 0);
    assert_eq!(gateway.counters().get("transports_broken"), 0);
}

#[test]
fn a_header_where_none_is_expected_is_named() {
    let gateway = Gateway::start("");
    let headers = [version_1(&endpoints(CLIENT)), version_2(&endpoints(CLIENT), &[])];
    for mut header in headers {
        header.extend(Request::open("/echo").bytes());
        let mut peer = Peer::connect(&gateway);
        peer.send(&header);
        let answer = peer.expect_refusal(400);
        let told = String::from_utf8_lossy(&answer.body);
        assert!(told.contains("a PROXY header where none is expected"), "{told}");
    }
    gateway.expect_log(&["tidegate::refused", "reason=\"bad_request\"", "the layer `proxy`"]);
}

#[test]
fn a_second_header_is_refused() {
    let gateway = start();
    let [one, two] = [version_1(&endpoints(CLIENT)), version_2(&endpoints(CLIENT), &[])];
    for pair in [[&one, &one], [&one, &two], [&two, &one], [&two, &two]] {
        let mut peer = Peer::connect(&gateway);
        peer.send(pair.map(Vec::as_slice).concat());
        expect_no_answer(&mut peer);
    }
    expect_refused(&gateway, "twice", 4);
    // Nor if it comes later.
    let mut peer = Peer::connect(&gateway);
    peer.send(&one);
    gateway.expect_counter("proxy_headers", 1);
    peer.send(&two);
    expect_no_answer(&mut peer);
    expect_refused(&gateway, "twice", 5);
}

#[test]
fn of_an_address_that_is_not_listed_nothing_is_believed() {
    let gateway = start();
    let stranger: IpAddr = Ipv4Addr::new(127, 0, 0, 9).into();
    for header in [version_1(&endpoints(CLIENT)), version_2(&Endpoints::Local, &[]), Vec::new()] {
        let mut peer =
            Peer::try_connect_from(stranger, gateway.address()).expect("it is this machine");
        let _ = peer.try_send([&header[..], &Request::open("/rooms/7").bytes()].concat());
        expect_no_answer(&mut peer);
    }
    expect_refused(&gateway, "stranger", 3);
    gateway.expect_log(&["tidegate::refused", "reason=\"stranger\"", "peer=127.0.0.9:"]);
    assert!(addresses(&gateway, "connections", "").is_empty());
    // A network has all of them.
    let gateway = start_with("ws!proxy?from=127.0.0.0/8!tcp", "");
    let mut peer = Peer::try_connect_from(stranger, gateway.address()).expect("it is listed");
    peer.send([version_1(&endpoints(CLIENT)), Request::open("/rooms/7").bytes()].concat());
    peer.expect_open();
    assert_eq!(addresses(&gateway, "connections", ""), [CLIENT]);
}

#[test]
fn who_has_yet_to_be_told_of_does_not_keep_a_drain() {
    let gateway = start_with("ws!proxy?from=127.0.0.1&header=1h!tcp", "");
    let mut half = Peer::connect(&gateway);
    half.send(b"PROXY TCP4 ");
    gateway.expect_counter("connections", 1);
    gateway.terminate();
    expect_no_answer(&mut half);
}

#[test]
fn over_a_unix_socket_whoever_may_connect_is_believed() {
    let path = std::env::temp_dir().join(format!("tidegate-proxy-{}.sock", std::process::id()));
    let gateway = launch_behind_unix(&path.display().to_string()).admin().start();
    let told = [
        (version_2(&endpoints(CLIENT), &tlvs()), CLIENT.to_owned()),
        (version_1(&Endpoints::Unknown), format!("unix:pid={},", std::process::id())),
    ];
    for (header, begins) in told {
        // Sockets may come after the first address that is said.
        let stream = wait_until("a connection", || UnixStream::connect(&path).ok());
        let mut peer = Peer::over(stream);
        peer.send([header, Request::open("/rooms/7").bytes()].concat());
        peer.expect_open();
        let all = addresses(&gateway, "connections", "");
        assert!(all.len() == 1 && all[0].starts_with(&begins), "{all:?}");
        drop(peer);
        gateway.expect_counter("connections", 0);
    }
    gateway.terminate();
}

/// Whoever is in the network's namespace may connect to one, as any user.
#[test]
fn over_an_abstract_name_nobody_is_believed() {
    let launch = launch_behind_unix("@tidegate-proxied").argument("--check");
    let Exited { code, stderr, .. } = launch.run();
    assert_eq!(code, Some(2), "{stderr}");
    for words in ["listener[1].stack", "`proxy` cannot stand over unix:@tidegate-proxied", "a path"]
    {
        assert!(stderr.contains(words), "{stderr}");
    }
}

/// A gateway that believes who connects to this Unix socket.
fn launch_behind_unix(name: &str) -> Launch {
    Launch::new().config(&format!(
        "shards = 1\npin = false\n{}[[listener]]\naddress = \"unix:{name}\"\n\
         stack = \"ws!proxy!unix\"\n[[route]]\npath = \"/rooms/{{room}}\"\n\
         handler = \"hub?topic=rooms/{{room}}\"\n",
        Gateway::listener("ws!tcp")
    ))
}

/// Files of a certificate, which go with it.
struct Files(PathBuf);

impl Files {
    fn new(authority: &Authority) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-proxy-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let pair = authority.pair(&[NAME]);
        fs::write(folder.join("cert"), pair.certificate).expect("a file");
        fs::write(folder.join("key"), pair.key).expect("a file");
        Self(folder)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opens a connection over TLS behind a header, of which the last part comes with the hello.
fn open_over_tls(gateway: &Gateway, header: &[u8], authority: &Authority) -> (Peer, TlsEnd) {
    let mut end = TlsEnd::new(&Arc::clone(&authority.trusting()));
    let mut peer = Peer::connect(gateway);
    let (first, rest) = header.split_at(header.len() / 2);
    peer.send(first);
    thread::sleep(Duration::from_millis(20));
    peer.send([rest, &end.sends()].concat());
    while !end.is_ready() {
        hear(&mut peer, &mut end);
    }
    peer.send(end.says(&Request::open("/rooms/7").bytes()));
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        heard.extend(hear(&mut peer, &mut end));
    }
    assert!(heard.starts_with(b"HTTP/1.1 101"), "{}", heard.escape_ascii());
    (peer, end)
}

fn hear(peer: &mut Peer, end: &mut TlsEnd) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let count = peer.read(&mut bytes).expect("more");
    assert!(count > 0, "the end");
    let plain = end.hears(&bytes[..count]);
    peer.send(end.sends());
    plain
}

#[test]
fn a_header_stands_in_front_of_tls() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let [cert, key] = ["cert", "key"].map(|name| files.0.join(name).display().to_string());
    let stack = "ws!log!tls?handshake=2s!proxy?from=127.0.0.1&header=1s!tcp";
    let table = format!("[[certificate]]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let gateway = start_with(stack, &table);
    for header in [version_1(&endpoints(CLIENT)), version_2(&endpoints(CLIENT), &tlvs())] {
        let (mut peer, mut end) = open_over_tls(&gateway, &header, &authority);
        assert_eq!(addresses(&gateway, "connections", ""), [CLIENT]);
        end.ends();
        peer.send(end.sends());
        peer.finish();
        peer.expect_end();
        gateway.expect_counter("connections", 0);
    }
    // What is wrong behind a header is the client's.
    let mut wrong = Peer::connect(&gateway);
    wrong.send([&version_1(&endpoints(CLIENT))[..], b"no hello"].concat());
    wrong.expect_end();
    gateway.expect_log(&["tidegate::tls", "not_tls", "peer=192.0.2.7:4711"]);
    // Behind the header the time of the handshake begins.
    let began = Instant::now();
    let mut silent = Peer::connect(&gateway);
    silent.send(version_1(&endpoints(CLIENT)));
    expect_no_answer(&mut silent);
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
    gateway.expect_counter("handshakes_timed_out", 1);
    // The header goes first, outside of TLS.
    let mut end = TlsEnd::new(&authority.trusting());
    let mut peer = Peer::connect(&gateway);
    peer.send(end.sends());
    expect_no_answer(&mut peer);
    expect_refused(&gateway, "tls", 1);
}
