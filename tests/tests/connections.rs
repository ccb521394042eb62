//! Many connections opened, idle, used and closed in every way, again and again: nothing of them
//! is left.
//!
//! By default 2,000 connections a round, a few seconds in all; with `TIDEGATE_FULL=1` in the
//! environment 15,000, which needs `ulimit -n 20000`. What it costs is printed: call with
//! `-- --nocapture`.
#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use tidegate_proto::http::{Status, parse_response};
use tidegate_proto::websocket::close::CloseReason;
use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::frame::{Header, OpCode, Reserved, Role};
use tidegate_proto::websocket::handshake::client::{Accepted, UpgradeRequest};
use tidegate_proto::websocket::receiver::{ControlPiece, Decoded, MessagePiece, Receiver, Rules};
use tidegate_tests::{Gateway, Launch, Witness};

/// How often all connections come and go.
const ROUNDS: usize = 10;

/// Opening handshakes that are under way at once: fewer than a listener's backlog holds.
const OPENING_MAX: usize = 512;

/// How many connections share a source address, so that those of earlier rounds that the kernel
/// keeps in TIME-WAIT leave enough ports.
const PORTS_PER_ADDRESS: usize = 8000;

/// How long any step may take. A debug build on a busy machine needs a small part of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections that stay: a shard without any shows its counters only every few seconds. So many
/// that each shard of two has one.
const WITNESSES: usize = 16;

/// How much the gateway may grow from the first round to the last, as a part of what it had.
const GROWTH_MAX: f64 = 0.02;

const RULES: Rules = Rules { role: Role::Client, reserved: Reserved::Clear, max_message: 1 << 20 };

/// Both tests fill the process's descriptor table, so they take turns.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_left_of_ten_rounds_on_one_shard() {
    run_rounds(1);
}

#[test]
fn nothing_is_left_of_ten_rounds_on_two_shards() {
    run_rounds(2);
}

/// What the gateway holds while only the witnesses are connected.
#[derive(Clone, Copy, Debug)]
struct Holding {
    resident_bytes: u64,
    descriptors: usize,
}

impl Holding {
    fn of(gateway: &Gateway) -> Self {
        let process = gateway.process();
        Self { resident_bytes: process.resident_bytes(), descriptors: process.descriptors() }
    }
}

fn run_rounds(shards: usize) {
    let _turn = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = if is_full() { 15_000 } else { 2_000 };
    let gateway = Launch::new().config(&configuration(shards, count)).listen("127.0.0.1:0").start();
    let mut witnesses: Vec<Witness> = (0..WITNESSES).map(|_| Witness::new(&gateway)).collect();
    let before = Holding::of(&gateway);
    println!("{shards} shards, {count} connections a round; at the start {before:?}");
    let mut after = Vec::new();
    for round in 0..ROUNDS {
        let report = run_round(&gateway, count, (shards, round));
        settle(&gateway, WITNESSES as u64);
        witnesses.iter_mut().for_each(Witness::check);
        after.push(Holding::of(&gateway));
        println!("round {round}: {report}; then {:?}", after[round]);
    }
    check_growth(before, &after);
    drop(witnesses);
    settle(&gateway, 0);
}

/// One round of all connections; says what it took.
fn run_round(gateway: &Gateway, count: usize, (shards, round): (usize, usize)) -> String {
    let started = Instant::now();
    let mut swarm = Swarm::new(gateway.address(), [shards as u8, round as u8]);
    swarm.open(count);
    let opened = started.elapsed();
    gateway.expect_counter("connections_open", (WITNESSES + count) as u64);
    swarm.echo(round);
    let echoed = started.elapsed();
    swarm.close();
    drop(swarm);
    let per_second = count as f64 / opened.as_secs_f64();
    format!(
        "{per_second:.0} connects/s, echoed after {echoed:.2?}, closed {:.2?}",
        started.elapsed()
    )
}

/// Waits until the gateway has seen the ends of all connections but `left`.
fn settle(gateway: &Gateway, left: u64) {
    gateway.expect_counter("connections", left);
    gateway.expect_counter("connections_open", left);
    gateway.expect_counter("blocks_used", 0);
}

fn check_growth(before: Holding, after: &[Holding]) {
    for holding in after {
        assert_eq!(holding.descriptors, before.descriptors, "descriptors are left: {holding:?}");
    }
    let first = after[0].resident_bytes as f64;
    let last = after[after.len() - 1].resident_bytes as f64;
    let growth = last / first - 1.0;
    println!("resident memory from the first round to the last: {:+.2} %", growth * 100.0);
    assert!(growth <= GROWTH_MAX, "the gateway has grown: {after:#?}");
}

fn is_full() -> bool {
    std::env::var("TIDEGATE_FULL").is_ok_and(|value| value == "1")
}

/// A gateway with little room to spare, so that the first round touches all of its memory. With
/// room to spare, a later round that happens to have more under way at once would come by slots
/// and buffers that were never used before. Clients spread over the shards by a hash, with a
/// deviation that is small against a tenth of their number.
fn configuration(shards: usize, count: usize) -> String {
    let slots = if shards == 1 { count } else { count * 11 / 10 / shards } + 4 * WITNESSES;
    format!("shards = {shards}\n[limits]\nconnections = {slots}\nreceive_buffers = 8\n")
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The closing handshake.
    Close,
    /// RST out of the blue.
    Reset,
    /// FIN without a Close frame.
    Finish,
    /// RST within a Ping, of which the gateway keeps the first part in a block.
    ResetInPing,
    /// FIN within a frame's header.
    FinishInHeader,
}

const ENDINGS: [Ending; 5] =
    [Ending::Close, Ending::Reset, Ending::Finish, Ending::ResetInPing, Ending::FinishInHeader];

/// What a connection waits for.
#[derive(Debug)]
enum Stage {
    /// The TCP handshake.
    Connecting,
    /// The response, of which this much has come.
    Upgrading(Vec<u8>),
    /// Nothing.
    Open,
    /// The rest of its message: how many bytes have come.
    Echoing(usize),
    /// The answer to its Close frame.
    Closing,
    /// FIN.
    Ending,
    /// Nothing any more.
    Ended,
}

/// All connections of a round, on one epoll.
struct Swarm {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    /// The middle of the source addresses.
    source: [u8; 2],
    links: Vec<Link>,
    /// How many of them wait for something.
    waiting: usize,
    scratch: Vec<u8>,
}

impl Swarm {
    fn new(address: SocketAddr, source: [u8; 2]) -> Self {
        Self {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1024),
            address,
            source,
            links: Vec::new(),
            waiting: 0,
            scratch: vec![0; 1 << 16],
        }
    }

    fn open(&mut self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.links.len() < count || self.waiting > 0 {
            while self.links.len() < count && self.waiting < OPENING_MAX {
                self.connect();
            }
            self.turn(until);
        }
    }

    fn echo(&mut self, round: usize) {
        for link in &mut self.links {
            link.start_echo(round);
        }
        self.waiting = self.links.len();
        self.wait();
    }

    fn close(&mut self) {
        for (index, link) in self.links.iter_mut().enumerate() {
            link.end(ENDINGS[index % ENDINGS.len()]);
        }
        self.waiting = self.links.iter().filter(|link| link.is_waiting()).count();
        self.wait();
    }

    fn wait(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.waiting > 0 {
            self.turn(until);
        }
    }

    fn connect(&mut self) {
        let index = self.links.len();
        let mut link = Link::connect(self.address, self.source, index);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, Token(index), both).unwrap();
        self.links.push(link);
        self.waiting += 1;
    }

    /// Waits for events once, and handles them.
    fn turn(&mut self, until: Instant) {
        let stages = || self.links.iter().filter(|link| link.is_waiting()).map(|link| &link.stage);
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{} wait too long, first {:?}", self.waiting, stages().next());
        self.poll.poll(&mut self.events, Some(left)).unwrap();
        for event in &self.events {
            let link = &mut self.links[event.token().0];
            let was_waiting = link.is_waiting();
            link.handle_ready(&mut self.scratch);
            self.waiting -= usize::from(was_waiting && !link.is_waiting());
        }
    }
}

/// One connection.
struct Link {
    index: usize,
    stream: TcpStream,
    stage: Stage,
    receiver: Receiver,
    message: Vec<u8>,
}

impl Link {
    fn connect(address: SocketAddr, [second, third]: [u8; 2], index: usize) -> Self {
        let fourth = 1 + index / PORTS_PER_ADDRESS;
        let source = Ipv4Addr::new(127, second + 1, third, fourth as u8);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        if let Err(error) = socket.connect(&address.into()) {
            assert_eq!(Errno::from_io_error(&error), Some(Errno::INPROGRESS), "{error}");
        }
        Self {
            index,
            stream: TcpStream::from_std(socket.into()),
            stage: Stage::Connecting,
            receiver: Receiver::default(),
            message: Vec::new(),
        }
    }

    fn is_waiting(&self) -> bool {
        !matches!(self.stage, Stage::Open | Stage::Ended)
    }

    /// The socket has changed: edge-triggered, so everything that is there is read.
    fn handle_ready(&mut self, scratch: &mut [u8]) {
        if matches!(self.stage, Stage::Connecting) && !self.is_connected() {
            return;
        }
        while !matches!(self.stage, Stage::Ended) {
            match self.stream.read(scratch) {
                Ok(0) => self.handle_end(),
                Ok(count) => self.handle_bytes(&mut scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("connection {} in {:?}: {error}", self.index, self.stage),
            }
        }
    }

    /// Whether the TCP handshake is done; then asks for the upgrade.
    fn is_connected(&mut self) -> bool {
        if let Some(error) = self.stream.take_error().unwrap() {
            panic!("connection {}: {error}", self.index);
        }
        if self.stream.peer_addr().is_err() {
            return false;
        }
        let mut head = [0; 512];
        let length = request(&self.nonce()).write(&mut head).unwrap();
        self.stage = Stage::Upgrading(Vec::new());
        self.write(&head[..length]);
        true
    }

    fn nonce(&self) -> [u8; 16] {
        (self.index as u128).to_be_bytes()
    }

    fn handle_bytes(&mut self, bytes: &mut [u8]) {
        match &mut self.stage {
            Stage::Upgrading(so_far) => {
                so_far.extend_from_slice(bytes);
                let so_far = std::mem::take(so_far);
                self.handle_response(so_far);
            }
            _ => self.handle_frames(bytes),
        }
    }

    fn handle_response(&mut self, so_far: Vec<u8>) {
        match parse_response(&so_far, 4096).unwrap() {
            Status::Partial => self.stage = Stage::Upgrading(so_far),
            Status::Complete(head) => {
                let nonce = self.nonce();
                let accepted = Accepted::check(&head, &request(&nonce)).unwrap();
                assert_eq!(accepted.head_len(), so_far.len(), "nothing was asked for yet");
                self.stage = Stage::Open;
            }
        }
    }

    fn handle_frames(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        loop {
            match self.receiver.handle_input(bytes, &mut at, &RULES).unwrap() {
                Decoded::NeedInput => return,
                Decoded::Piece(piece) => self.handle_piece(&piece, bytes),
                Decoded::Control(control) => self.handle_control(&control, bytes),
            }
        }
    }

    fn handle_piece(&mut self, piece: &MessagePiece, bytes: &[u8]) {
        let Stage::Echoing(so_far) = self.stage else { panic!("unasked: {piece:?}") };
        let after = so_far + piece.end - piece.start;
        assert!(self.message[so_far..after] == bytes[piece.start..piece.end], "not what was sent");
        assert_eq!(piece.part.is_last(), after == self.message.len());
        self.stage = if piece.part.is_last() { Stage::Open } else { Stage::Echoing(after) };
    }

    fn handle_control(&mut self, control: &ControlPiece, bytes: &[u8]) {
        assert!(matches!(self.stage, Stage::Closing), "unasked: {control:?}");
        assert_eq!(control.opcode, OpCode::Close);
        let reason = CloseReason::parse(&bytes[control.start..control.end]).unwrap();
        assert_eq!(reason.code, Some(CloseCode::NORMAL));
        self.stage = Stage::Ending;
    }

    fn handle_end(&mut self) {
        assert!(matches!(self.stage, Stage::Ending), "an end in {:?}", self.stage);
        self.stage = Stage::Ended;
    }

    /// Sends a message: of up to 300 bytes, or, one in fifty, of more than a receive buffer.
    fn start_echo(&mut self, round: usize) {
        let short = 1 + (self.index * 7 + round * 31) % 300;
        let length = if self.index % 50 == 49 { 20_000 + short } else { short };
        let seed = self.index * 31 + round * 17;
        self.message = (0..length).map(|at| (seed + at * 7) as u8).collect();
        self.stage = Stage::Echoing(0);
        let frame = frame(OpCode::Binary, &self.message, self.index as u32);
        self.write(&frame);
    }

    fn end(&mut self, ending: Ending) {
        let key = self.index as u32;
        self.stage = Stage::Ending;
        match ending {
            Ending::Close => {
                self.stage = Stage::Closing;
                self.write(&frame(OpCode::Close, &CloseCode::NORMAL.0.to_be_bytes(), key));
            }
            Ending::Reset => self.reset(),
            Ending::Finish => self.stream.shutdown(Shutdown::Write).unwrap(),
            Ending::ResetInPing => {
                self.write(&frame(OpCode::Ping, b"never whole", key)[..10]);
                self.reset();
            }
            Ending::FinishInHeader => {
                self.write(&frame(OpCode::Text, &[b'a'; 200], key)[..3]);
                self.stream.shutdown(Shutdown::Write).unwrap();
            }
        }
    }

    fn reset(&mut self) {
        self.stage = Stage::Ended;
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Writes what fits the socket's buffer at once: at most one message is ever under way.
    fn write(&mut self, bytes: &[u8]) {
        assert_eq!(self.stream.write(bytes).unwrap(), bytes.len());
    }
}

fn request(nonce: &[u8; 16]) -> UpgradeRequest<'_> {
    UpgradeRequest::new("localhost", "/echo", *nonce)
}

/// A whole masked frame.
fn frame(opcode: OpCode, payload: &[u8], key: u32) -> Vec<u8> {
    let key = key.wrapping_mul(0x9e37_79b9).to_be_bytes();
    let length = payload.len() as u64;
    let header = Header { fin: true, compressed: false, opcode, mask: Some(key), length };
    let mut bytes = vec![0; header.encoded_length() + payload.len()];
    header.emit_frame(payload, &mut bytes);
    bytes
}
