//! TLS on real sockets: echoes and rooms, with clients that know nothing of it behind a relay that
//! speaks it by rustls, and clients that break it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ContentType, SupportedProtocolVersion};
use socket2::SockRef;
use tidegate_tests::hub::HubGateway;
use tidegate_tests::layered::{self, ROUTES, open};
use tidegate_tests::tls::{Authority, Files, TlsEnd, relay};
use tidegate_tests::{Frame, PATIENCE, Peer, Request, noise, read_some};

/// A gateway over TLS, and who has signed its certificate.
struct Over {
    gateway: HubGateway,
    authority: Authority,
    _files: Files,
}

impl Over {
    /// With so many shards, options of the layer `tls`, and limits.
    fn start(shards: usize, options: &str, limits: &str) -> Self {
        let (authority, files) = (Authority::new(), Files::new());
        let layer = files.layer(&authority, options);
        let stack = format!("ws?close=2s&head=2s&message=2s!{layer}!tcp");
        let listener = format!("[[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"{stack}\"\n");
        let gateway = HubGateway::start(shards, &format!("{limits}{listener}{ROUTES}"));
        Self { gateway, authority, _files: files }
    }

    /// Where clients connect that know nothing of TLS.
    fn relay(&self) -> SocketAddr {
        relay(self.gateway.address(), self.authority.trusting()).expect("a relay")
    }

    fn connect(&self) -> Client {
        self.connect_by(&[&TLS13])
    }

    fn connect_by(&self, versions: &[&'static SupportedProtocolVersion]) -> Client {
        let end = TlsEnd::new(&self.authority.trusting_by(versions));
        Client { socket: connect(self.gateway.address()), end }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

/// A client that has its own end of TLS in its hands.
struct Client {
    socket: TcpStream,
    end: TlsEnd,
}

impl Client {
    fn shakes_hands(&mut self) {
        while !self.end.is_ready() {
            let words = self.end.sends();
            self.sends(&words);
            let heard = self.reads().expect("an answer");
            assert!(self.end.hears(&heard).is_empty());
        }
        let words = self.end.sends();
        self.sends(&words);
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("it takes that");
    }

    fn says(&mut self, bytes: &[u8]) {
        let wire = self.end.says(bytes);
        self.sends(&wire);
    }

    /// What comes next on the wire; `None` at the end.
    fn reads(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 64 << 10];
        let count = read_some(&mut self.socket, &mut bytes).expect("something, or the end");
        bytes.truncate(count);
        (count > 0).then_some(bytes)
    }

    /// Hears until so many plain bytes are there.
    fn hears(&mut self, count: usize) -> Vec<u8> {
        let mut plain = Vec::new();
        while plain.len() < count {
            let wire = self.reads().expect("it goes on");
            plain.extend(self.end.hears(&wire));
        }
        plain
    }

    fn opens(&mut self, path: &str) {
        self.shakes_hands();
        self.says(&Request::open(path).bytes());
        let mut plain = Vec::new();
        while !plain.ends_with(b"\r\n\r\n") {
            let wire = self.reads().expect("an answer");
            plain.extend(self.end.hears(&wire));
        }
        assert!(plain.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&plain));
    }
}

#[test]
fn messages_of_all_sizes_come_back() {
    let over = Over::start(1, "", "");
    layered::messages_of_all_sizes_come_back(over.relay());
}

#[test]
fn messages_of_all_sizes_come_back_over_tls_1_2_where_it_is_on() {
    let over = Over::start(1, "&min=1.2", "");
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let config = over.authority.trusting_by(versions);
        let address = relay(over.gateway.address(), config).expect("a relay");
        layered::messages_of_all_sizes_come_back(address);
    }
}

#[test]
fn a_room_across_shards_hears_everything_in_order() {
    let over = Over::start(3, "", "");
    layered::a_room_hears_everything_in_order(&over.gateway, over.relay());
}

#[test]
fn compressed_messages_are_sealed_behind_compression() {
    let over = Over::start(1, "", "");
    layered::compressed_messages_are_sealed_behind_compression(over.relay());
}

#[test]
fn who_reads_late_gets_every_byte_in_order() {
    let over = Over::start(1, "", "");
    layered::who_reads_late_gets_every_byte_in_order(&over.gateway, over.relay());
}

#[test]
fn keys_change_between_messages_in_both_directions() {
    let over = Over::start(1, "", "");
    let mut client = over.connect();
    client.opens("/echo");
    for number in 0..40 {
        let text = format!("message {number}");
        let frame = Frame::text(&text).masked();
        client.end.updates_keys();
        client.says(&frame);
        assert_eq!(client.hears(2 + text.len())[2..], *text.as_bytes());
    }
}

#[test]
fn each_byte_may_come_alone() {
    let over = Over::start(1, "", "");
    let mut client = over.connect();
    client.socket.set_nodelay(true).expect("an option");
    while !client.end.is_ready() {
        for byte in client.end.sends() {
            client.sends(&[byte]);
        }
        let heard = client.reads().expect("an answer");
        client.end.hears(&heard);
    }
    let mut wire = client.end.sends();
    wire.extend(client.end.says(&Request::open("/echo").bytes()));
    wire.extend(client.end.says(&Frame::text("alone").masked()));
    for byte in wire {
        client.sends(&[byte]);
    }
    let mut plain = Vec::new();
    while !plain.ends_with(b"\x81\x05alone") {
        let heard = client.reads().expect("it goes on");
        plain.extend(client.end.hears(&heard));
    }
}

#[test]
fn plain_http_is_told_what_the_port_speaks() {
    let over = Over::start(1, "", "");
    let mut peer = Peer::try_connect(over.gateway.address()).expect("it listens");
    peer.request(&Request::open("/echo"));
    peer.expect_refusal(400);
    let counted = over.gateway.expect_counters("it is counted", |counters| {
        counters.transports_broken == 1 && counters.connections == 0
    });
    assert_eq!(counted.opened, 0);
}

/// What the gateway answers to these bytes, up to the end.
fn answer_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = connect(address);
    socket.write_all(bytes).expect("it takes that");
    let _ = socket.shutdown(Shutdown::Write);
    let mut heard = Vec::new();
    let _ = socket.read_to_end(&mut heard);
    heard
}

#[test]
fn what_is_no_tls_ends_with_an_alert_and_others_go_on() {
    let over = Over::start(1, "", "");
    let address = over.gateway.address();
    let mut beside = open(over.relay(), "/echo");
    let oversized = [&[22, 3, 1, 0x40, 0x01][..], &[0; 16_385]].concat();
    let sslv2 = [0x80, 0x2e, 1, 0, 2];
    for bytes in [&b"\x00\x01\x02\x03garbage"[..], &sslv2, &oversized, &[22, 3, 1, 0, 5, 1, 0]] {
        let heard = answer_to(address, bytes);
        // A half record is no mistake: it ends with its client.
        let is_alert = heard.first() == Some(&21) && heard.len() == 7;
        assert!(heard.is_empty() || is_alert, "{heard:x?}");
        beside.echo("still here");
    }
}

#[test]
fn a_record_that_was_changed_ends_the_connection_with_an_alert() {
    let over = Over::start(1, "", "");
    let mut client = over.connect();
    client.opens("/echo");
    let mut wire = client.end.says(&Frame::text("changed").masked());
    *wire.last_mut().expect("a record") ^= 1;
    client.sends(&wire);
    let mut heard = Vec::new();
    client.socket.read_to_end(&mut heard).expect("the end");
    // A sealed alert: its client can read it, and says so by an error.
    assert_eq!((heard.first(), heard.len()), (Some(&23), 5 + 2 + 1 + 16));
    over.gateway.expect_counters("it is counted", |counters| {
        counters.transports_broken == 1 && counters.connections == 0
    });
}

/// The contents of the records that came up to the end of a connection; the last may be cut off.
///
/// # Panics
/// Something else came.
fn contents(wire: &[u8]) -> Vec<u8> {
    let (mut rest, mut contents) = (wire, Vec::new());
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let is_record = [21, 23].contains(&head[0]) && head[1..3] == [3, 3];
        assert!(is_record && (24..=16_408).contains(&length), "{head:x?} is in plain");
        contents.push(head[0]);
        rest = behind.get(length..).unwrap_or_default();
    }
    contents
}

/// All that comes until a connection ends, in whichever way.
fn hears_to_the_end(socket: &mut TcpStream) -> Vec<u8> {
    let (mut heard, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match read_some(socket, &mut bytes) {
            Ok(0) => return heard,
            Ok(count) => heard.extend(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return heard,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a client of TLS 1.2 would begin once more with.
fn hello(over: &Over) -> Vec<u8> {
    let mut record = TlsEnd::new(&over.authority.trusting_by(&[&TLS12])).sends();
    record.split_off(5)
}

#[test]
fn who_shakes_hands_once_more_is_closed() {
    let over = Over::start(1, "&min=1.2", "");
    let mut client = over.connect_by(&[&TLS12]);
    client.opens("/echo");
    let Client { mut socket, end } = client;
    socket.write_all(&end.seals(ContentType::Handshake, &hello(&over))).expect("it takes that");
    // That nobody negotiates anew, and that the connection has failed.
    assert_eq!(contents(&hears_to_the_end(&mut socket)), [21, 21]);
    over.gateway.expect_counters("it is counted", |counters| {
        counters.transports_broken == 1 && counters.connections == 0
    });
}

#[test]
fn who_shakes_hands_once_more_while_answers_wait_gets_nothing_in_plain() {
    let over = Over::start(1, "&min=1.2", "");
    let mut client = over.connect_by(&[&TLS12]);
    SockRef::from(&client.socket).set_recv_buffer_size(4096).expect("an option");
    client.opens("/hasty");
    // Its answers are more than sockets hold, and less than the route lets wait: the first of those
    // that wait is sealed, the others are not.
    for _ in 0..2 {
        client.says(&Frame::binary(noise(16 << 10, 1)).masked().repeat(96));
        over.gateway.expect_counters("answers wait", |counters| {
            counters.sends_short > 0 && counters.backlog_bytes > 0
        });
    }
    let Client { mut socket, end } = client;
    socket.write_all(&end.seals(ContentType::Handshake, &hello(&over))).expect("it takes that");
    over.gateway.expect_counters("it is counted", |counters| {
        counters.transports_broken == 1 && counters.connections == 0
    });
    let contents = contents(&hears_to_the_end(&mut socket));
    assert!(contents.iter().all(|content| *content == 23), "{contents:?}");
}

#[test]
fn a_record_of_tls_1_2_that_no_suite_makes_so_long_is_the_clients_fault() {
    let over = Over::start(1, "&min=1.2", "");
    let mut client = over.connect_by(&[&TLS12]);
    client.opens("/echo");
    let Client { mut socket, .. } = client;
    let record = [&[23, 3, 3, 0x48, 0][..], &[0; 16_443]].concat();
    // It may have ended before it has taken all.
    let _ = socket.write_all(&record);
    assert_eq!(contents(&hears_to_the_end(&mut socket)), [21]);
    let counted = over.gateway.expect_counters("it is counted", |counters| {
        counters.transports_broken == 1 && counters.connections == 0
    });
    assert_eq!(counted.out_of_blocks, 0);
}

#[test]
fn who_says_that_nothing_follows_is_told_from_who_is_cut_off() {
    let over = Over::start(1, "", "");
    for says_so in [true, false] {
        let mut client = over.connect();
        client.opens("/echo");
        if says_so {
            client.end.ends();
            let words = client.end.sends();
            client.sends(&words);
        }
        client.socket.shutdown(Shutdown::Write).expect("it is open");
        let mut heard = Vec::new();
        client.socket.read_to_end(&mut heard).expect("the end");
        client.end.hears(&heard);
        assert!(heard.len() >= 24, "the gateway says that nothing follows: {heard:x?}");
        let cut_off = u64::from(!says_so);
        over.gateway.expect_counters("it is gone", |counters| counters.connections == 0);
        over.gateway.expect_counters("it is counted", |counters| counters.cut_off == cut_off);
    }
}

#[test]
fn a_client_that_stops_is_dropped_at_the_deadline() {
    let over = Over::start(1, "&handshake=1s", "");
    let address = over.gateway.address();
    let begun = Instant::now();
    // One says nothing, one a part of its hello, one all of it.
    let mut silent = over.connect();
    let (mut half, mut whole) = (over.connect(), over.connect());
    let words = half.end.sends();
    half.sends(&words[..words.len() / 2]);
    let words = whole.end.sends();
    whole.sends(&words);
    for client in [&mut silent, &mut half, &mut whole] {
        while client.reads().is_some() {}
    }
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    over.gateway.expect_counters("all are gone", |counters| counters.handshakes_timed_out == 3);
    open(relay(address, over.authority.trusting()).expect("a relay"), "/echo").echo("served");
}

#[test]
fn as_many_shake_hands_at_once_as_may_and_the_others_wait() {
    let over = Over::start(1, "&handshake=2s", "[limits]\nhandshakes = 2\n");
    let mut holders: Vec<Client> = (0..2).map(|_| over.connect()).collect();
    for holder in &mut holders {
        let words = holder.end.sends();
        holder.sends(&words);
        assert!(holder.reads().is_some());
    }
    // Whoever holds a place without using it gives way: nobody waits for as long as it may.
    let begun = Instant::now();
    let mut waiting: Vec<Client> = (0..8).map(|_| over.connect()).collect();
    for client in &mut waiting {
        client.opens("/echo");
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    let counted = over.gateway.expect_counters("some had to wait", |counters| {
        counters.handshakes_parked > 0 && counters.connections_open == 8
    });
    assert!(counted.handshakes_timed_out <= 2);
}

#[test]
fn pages_and_refusals_are_sealed_too() {
    let over = Over::start(1, "", "");
    layered::pages_and_refusals_are_sealed_too(over.relay());
}

#[test]
fn a_drain_tells_who_is_open_and_drops_who_shakes_hands() {
    let over = Over::start(1, "", "");
    let mut client = over.connect();
    client.opens("/echo");
    let mut amid = over.connect();
    let words = amid.end.sends();
    amid.sends(&words);
    assert!(amid.reads().is_some());
    over.gateway.drain();
    while amid.reads().is_some() {}
    let mut heard = client.hears(4);
    assert_eq!(heard[..4], [0x88, heard.len() as u8 - 2, 0x03, 0xf4], "1012: {heard:x?}");
    heard.clear();
}
