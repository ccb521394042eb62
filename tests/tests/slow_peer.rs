//! Peers that send and do not read: what they may cost the gateway, what they may cost the
//! others, and what becomes of them.
//!
//! What was measured is printed: call with `-- --nocapture`.
#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tidegate_proto::http::{Status, parse_response};
use tidegate_proto::mask::Mask;
use tidegate_proto::message::{Kind, Part};
use tidegate_proto::websocket::close::CloseReason;
use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::frame::{Header, MAX_HEADER, OpCode, Reserved, Role};
use tidegate_proto::websocket::handshake::client::{Accepted, UpgradeRequest};
use tidegate_proto::websocket::receiver::{ControlPiece, Decoded, MessagePiece, Receiver, Rules};
use tidegate_tests::Gateway;

/// SO_RCVBUF of a slow peer, in bytes; the kernel doubles it.
const PEER_RCVBUF: usize = 16 << 10;

/// SO_SNDBUF of a slow peer, in bytes; the kernel doubles it.
const PEER_SNDBUF: usize = 64 << 10;

/// SO_SNDBUF and SO_RCVBUF of the gateway's sockets, in bytes; the kernel doubles them.
const GATEWAY_SOCKET_BUFFER: u64 = 64 << 10;

/// `limits.receive_buffer`, in bytes.
const RECEIVE_BUFFER: u64 = 16_448;

/// The largest block that a receive buffer's bytes go to: blocks are powers of two.
const RECEIVE_BUFFER_BLOCK: u64 = 32 << 10;

/// `backlog` of the route that closes slow peers, in bytes.
const SMALL_BACKLOG: u64 = 48 << 10;

/// `stall` of the listener.
const STALL: Duration = Duration::from_secs(2);

/// The payload of a slow peer's message, in bytes.
const MESSAGE: usize = 4096;

/// What a peer on a thin line takes every 100 ms, in bytes.
///
/// The kernel wakes a sender once a third of its send buffer is free, 43 KiB of 128 KiB here, and
/// this peer takes less within `stall`: the gateway must look closer. A peer that takes much less
/// than this is not seen to take anything, because its kernel announces no window before half of
/// the receive buffer is free.
const TRICKLE: usize = 2048;

/// How long a socket must take nothing to be called full.
const QUIET: Duration = Duration::from_millis(300);

/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(30);

const RULES: Rules = Rules { role: Role::Client, reserved: Reserved::Clear, max_message: 1 << 20 };

const CONFIGURATION: &str = r#"
    [limits]
    receive_buffer = 16448
    [[listener]]
    address = "127.0.0.1:0"
    stack = "ws?stall=2s!tcp?rcvbuf=64KiB&sndbuf=64KiB"
    [[route]]
    path = "/pause"
    handler = "echo"
    slow_peer = "pause"
    [[route]]
    path = "/close"
    handler = "echo"
    slow_peer = "close"
    max_buffered_message = "16KiB"
    backlog = "48KiB"
"#;

#[test]
fn a_peer_that_does_not_read_is_paused_within_its_bound_and_dropped_when_it_stalls() {
    const PEERS: u64 = 8;
    let gateway = Gateway::start(CONFIGURATION);
    let mut peers: Vec<Peer> =
        (0..PEERS).map(|_| Peer::connect(gateway.address(), "/pause")).collect();
    let handshakes = gateway.counters().get("bytes_in");
    thread::scope(|scope| {
        for peer in &mut peers {
            scope.spawn(|| peer.send_until_full());
        }
    });
    let full_at = Instant::now();
    assert!(gateway.counters().get("slow_peers_paused") >= PEERS);
    assert_eq!(gateway.counters().get("peers_stalled"), 0);
    let taken = (gateway.counters().get("bytes_in") - handshakes) / PEERS;
    let blocks = gateway.counters().get("blocks_used_max") / PEERS;
    println!("of each slow peer: {taken} B taken, {blocks} B in blocks");
    check_pause_bounds(taken, blocks);

    gateway.expect_counter("peers_stalled", PEERS);
    // The last byte was taken up to `QUIET` and some before the peers were seen to be full.
    let stalled_after = full_at.elapsed() + QUIET;
    println!("stalled after {stalled_after:.2?}");
    assert!(stalled_after + Duration::from_millis(500) > STALL);
    gateway.expect_counter("connections", 0);
    gateway.expect_counter("blocks_used", 0);
    for peer in &mut peers {
        peer.read_to_end();
    }
}

/// What was taken from a peer that reads nothing lies in the gateway's send buffer, in the peer's
/// receive buffer, or in the backlog. Reading stops as soon as there is a backlog, but one more
/// buffer may be received together with the send that falls short.
fn check_pause_bounds(taken: u64, blocks: u64) {
    let kernel = 2 * GATEWAY_SOCKET_BUFFER + 2 * PEER_RCVBUF as u64;
    assert!(taken <= kernel + 2 * RECEIVE_BUFFER, "{taken} B were taken");
    assert!(blocks <= 2 * RECEIVE_BUFFER_BLOCK, "{blocks} B are in blocks");
}

#[test]
fn a_slow_peer_that_reads_again_in_time_gets_every_byte_in_order() {
    const TOTAL: u64 = 8 << 20;
    let gateway = Gateway::start(CONFIGURATION);
    let mut peer = Peer::connect(gateway.address(), "/pause");
    let mut pauses = 0;
    while peer.sent < TOTAL {
        peer.send_until_full();
        pauses += 1;
        thread::sleep(STALL / 4);
        peer.exchange(peer.sent + (TOTAL / 4));
    }
    peer.exchange_rest();
    println!("{} B in order after {pauses} pauses", peer.received);
    assert_eq!(peer.received, peer.sent);
    assert!(gateway.counters().get("slow_peers_paused") >= pauses);
    assert_eq!(gateway.counters().get("peers_stalled"), 0);
    assert_eq!(gateway.counters().get("connections_open"), 1);
    drop(peer);
    gateway.expect_counter("blocks_used", 0);
}

/// A peer on a thin line is slow, but it does not stall: it takes something all the time.
#[test]
fn a_peer_that_always_takes_a_little_is_not_stalled() {
    let gateway = Gateway::start(CONFIGURATION);
    let mut peer = Peer::connect(gateway.address(), "/pause");
    peer.send_until_full();
    let started = Instant::now();
    peer.scratch.truncate(TRICKLE);
    while started.elapsed() < 3 * STALL {
        peer.read_some();
        peer.send_some();
        assert!(!peer.has_ended, "after {:?} and {} B", started.elapsed(), peer.received);
        thread::sleep(Duration::from_millis(100));
    }
    println!("{} B in {:?}", peer.received, started.elapsed());
    assert_eq!(gateway.counters().get("peers_stalled"), 0);
}

#[test]
fn with_the_policy_close_a_slow_peer_is_closed_with_1013() {
    let gateway = Gateway::start(CONFIGURATION);
    let mut peer = Peer::connect(gateway.address(), "/close");
    peer.send_up_to(1 << 20);
    gateway.expect_counter("slow_peers_closed", 1);
    let blocks = gateway.counters().get("blocks_used_max");
    println!("{blocks} B in blocks when the peer was closed");
    // What fell short is exempt from the bound: at most one receive buffer. Blocks are powers of
    // two, so up to half of each may be unused.
    assert!(blocks <= 2 * (SMALL_BACKLOG + RECEIVE_BUFFER));
    peer.read_to_end();
    assert_eq!(peer.close_code, Some(CloseCode::TRY_AGAIN_LATER));
    assert!(peer.received >= SMALL_BACKLOG / 2, "{} B in order", peer.received);
    assert_eq!(gateway.counters().get("slow_peers_paused"), 0);
    drop(peer);
    gateway.expect_counter("connections", 0);
    gateway.expect_counter("blocks_used", 0);
}

/// Phases without and with slow peers take turns, so that whatever else the machine does falls on
/// both. Compared are the medians of the phases' 99th percentiles. The criterion is meant to be
/// robust on a busy machine and still see a gateway that waits for a slow peer, which would cost
/// others tens of milliseconds: half as much again, and two milliseconds, which is about the slice
/// that a scheduler gives to a competing thread.
#[test]
fn slow_peers_cost_the_others_no_latency() {
    const PHASES: usize = 5;
    let gateway = Gateway::start(CONFIGURATION);
    let address = gateway.address();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..PHASES {
        without.push(echo_p99(address));
        with.push(beside_slow_peers(address, || echo_p99(address)));
        gateway.expect_counter("connections", 0);
    }
    println!("p99 without slow peers {without:?}, with {with:?}");
    let (without, with) = (median(without), median(with));
    println!("medians {without:?} and {with:?}");
    assert!(gateway.counters().get("slow_peers_paused") > 0);
    assert!(with <= without * 3 / 2 + Duration::from_millis(2));
}

/// Runs `measurement` while eight peers have stopped reading and eight others read a little now
/// and then, all of them sending as much as is taken.
fn beside_slow_peers<T>(address: SocketAddr, measurement: impl FnOnce() -> T) -> T {
    let mut stuck: Vec<Peer> = (0..8).map(|_| Peer::connect(address, "/pause")).collect();
    let mut trickling: Vec<Peer> = (0..8).map(|_| Peer::connect(address, "/pause")).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                stuck.iter_mut().chain(&mut trickling).for_each(|peer| _ = peer.send_some());
                trickling.iter_mut().for_each(|peer| _ = peer.read_some());
                thread::sleep(Duration::from_millis(10));
            }
        });
        let result = measurement();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// The 99th percentile of the time from sending a message of 64 bytes to having its echo, of four
/// peers one after the other in a closed loop of half a second.
fn echo_p99(address: SocketAddr) -> Duration {
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::connect(address, "/pause")).collect();
    // Who sleeps while it waits is woken at once, even by a busy scheduler.
    peers.iter().for_each(|peer| peer.stream.set_nonblocking(false).unwrap());
    let mut times = Vec::new();
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        for peer in &mut peers {
            let started = Instant::now();
            peer.echo(64);
            times.push(started.elapsed());
        }
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

/// A peer that sends one endless stream of bytes in messages, and checks that it comes back.
struct Peer {
    stream: TcpStream,
    receiver: Receiver,
    /// The frame that is being written, and how much of it was.
    frame: Vec<u8>,
    written: usize,
    /// Payload bytes of the frames that were begun.
    sent: u64,
    /// Payload bytes that came back.
    received: u64,
    close_code: Option<CloseCode>,
    /// The gateway has ended the connection.
    has_ended: bool,
    scratch: Vec<u8>,
}

impl Peer {
    fn connect(address: SocketAddr, path: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(PEER_RCVBUF).unwrap();
        socket.set_send_buffer_size(PEER_SNDBUF).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        shake_hands(&mut stream, path);
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            receiver: Receiver::default(),
            frame: Vec::new(),
            written: 0,
            sent: 0,
            received: 0,
            close_code: None,
            has_ended: false,
            scratch: vec![0; 16 << 10],
        }
    }

    /// Sends until the gateway has taken nothing for [`QUIET`].
    fn send_until_full(&mut self) {
        let started = Instant::now();
        let mut progress = Instant::now();
        while progress.elapsed() < QUIET && !self.has_ended {
            assert!(started.elapsed() < PATIENCE, "the gateway takes everything");
            if self.send_some() > 0 {
                progress = Instant::now();
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Sends so many payload bytes, or what is taken of them. [`Peer::send_until_full`] would go on
    /// for long: a gateway that has closed reads on, to throw away.
    fn send_up_to(&mut self, target: u64) {
        let mut progress = Instant::now();
        while self.sent < target && progress.elapsed() < QUIET {
            if self.send_frame() > 0 {
                progress = Instant::now();
            }
        }
    }

    /// Sends up to `target` payload bytes and reads what comes back.
    fn exchange(&mut self, target: u64) {
        let until = Instant::now() + PATIENCE;
        while self.sent < target {
            assert!(Instant::now() < until, "{} of {target} B sent", self.sent);
            let count = self.send_frame() + self.read_some();
            assert!(!self.has_ended);
            if count == 0 {
                thread::yield_now();
            }
        }
    }

    /// Ends the frame that was begun, and reads until everything is back.
    fn exchange_rest(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.received < self.sent {
            assert!(Instant::now() < until, "{} of {} B back", self.received, self.sent);
            self.continue_frame();
            self.read_some();
            assert!(!self.has_ended);
        }
    }

    /// Sends one message and waits for its echo.
    fn echo(&mut self, length: usize) {
        self.begin_frame(length);
        self.exchange_rest();
    }

    /// Reads until the gateway has ended the connection.
    fn read_to_end(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.has_ended {
            assert!(Instant::now() < until, "no end after {} B", self.received);
            if self.read_some() == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Sends as much as the socket takes now; returns how many bytes that was.
    fn send_some(&mut self) -> usize {
        let mut total = 0;
        loop {
            let count = self.send_frame();
            total += count;
            if count == 0 {
                return total;
            }
        }
    }

    /// Goes on with the frame, or begins the next one; returns how many bytes the socket took.
    fn send_frame(&mut self) -> usize {
        if self.written == self.frame.len() {
            self.begin_frame(MESSAGE);
        }
        self.continue_frame()
    }

    fn begin_frame(&mut self, length: usize) {
        let key = (self.sent as u32).wrapping_mul(0x9e37_79b9).to_be_bytes();
        let header = Header::of_message(Kind::Bytes, Part::Whole, false, length).masked(key);
        self.frame.resize(MAX_HEADER, 0);
        let header_length = header.emit(&mut self.frame);
        self.frame.truncate(header_length);
        self.frame.extend((self.sent..).take(length).map(byte_at));
        Mask::new(key).apply(&mut self.frame[header_length..]);
        self.written = 0;
        self.sent += length as u64;
    }

    fn continue_frame(&mut self) -> usize {
        let outcome = self.stream.write(&self.frame[self.written..]);
        let count = self.check(outcome);
        self.written += count;
        count
    }

    /// Reads what is there, up to 16 KiB; returns how many bytes that was.
    fn read_some(&mut self) -> usize {
        let outcome = self.stream.read(&mut self.scratch);
        self.has_ended |= matches!(outcome, Ok(0));
        let count = self.check(outcome);
        let mut scratch = std::mem::take(&mut self.scratch);
        self.handle_bytes(&mut scratch[..count]);
        self.scratch = scratch;
        count
    }

    /// The bytes that a socket has taken or given; none if it would have to wait, or if the
    /// gateway has reset the connection.
    fn check(&mut self, outcome: io::Result<usize>) -> usize {
        match outcome {
            Ok(count) => count,
            Err(error) => {
                let is_reset =
                    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
                assert!(is_reset || error.kind() == ErrorKind::WouldBlock, "{error}");
                self.has_ended |= is_reset;
                0
            }
        }
    }

    fn handle_bytes(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while self.close_code.is_none() {
            match self.receiver.handle_input(bytes, &mut at, &RULES).unwrap() {
                Decoded::NeedInput => return,
                Decoded::Piece(piece) => self.handle_piece(&piece, bytes),
                Decoded::Control(control) => self.handle_control(&control, bytes),
            }
        }
    }

    fn handle_piece(&mut self, piece: &MessagePiece, bytes: &[u8]) {
        let bytes = &bytes[piece.start..piece.end];
        let is_right = bytes.iter().copied().eq((self.received..).take(bytes.len()).map(byte_at));
        assert!(is_right, "not what was sent, from byte {} on", self.received);
        self.received += bytes.len() as u64;
    }

    fn handle_control(&mut self, control: &ControlPiece, bytes: &[u8]) {
        assert_eq!(control.opcode, OpCode::Close);
        assert_eq!(control.part, Part::Whole, "a Close frame in parts");
        let reason = CloseReason::parse(&bytes[control.start..control.end]).unwrap();
        self.close_code = reason.code;
    }
}

impl Drop for Peer {
    /// With a reset, so that no test waits for what nobody reads.
    fn drop(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// The byte at `position` of every peer's stream: one that is lost, doubled or moved shows.
fn byte_at(position: u64) -> u8 {
    (position ^ position >> 8 ^ position >> 16) as u8
}

fn shake_hands(stream: &mut TcpStream, path: &str) {
    let request = UpgradeRequest::new("localhost", path, *b"sixteen of bytes");
    let mut bytes = [0; 1024];
    let length = request.write(&mut bytes).unwrap();
    stream.write_all(&bytes[..length]).unwrap();
    let mut filled = 0;
    loop {
        let count = stream.read(&mut bytes[filled..]).unwrap();
        assert_ne!(count, 0, "the gateway ended the handshake");
        filled += count;
        if let Status::Complete(head) = parse_response(&bytes[..filled], 1024).unwrap() {
            let accepted = Accepted::check(&head, &request).unwrap();
            assert_eq!(accepted.head_len(), filled, "nothing was asked for yet");
            return;
        }
    }
}
