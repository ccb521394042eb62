//! Nothing is allocated on the heap for a message, once a gateway has warmed up.
//!
//! All allocations of this process are counted: the gateway runs in it, and the client is made so
//! that it has none of its own. For that, this file has one test only: a second one would run
//! beside it. What was allocated, and where, is in the file that a failure names.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use tidegate::config::{Config, Route};
use tidegate::gateway::{Gateway, Program};
use tidegate::handler::{Context, Handler, Piece};
use tidegate::kernel::Driver;
use tidegate::transport::Layer;
use tidegate_tests::xor::{Xor, relay};
use tidegate_tests::{BINARY, Codec, Frame, PONG, Peer, RSV1, Request, TEXT, case, inflate, noise};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Exchanges before anything is counted: whatever grows with use has grown then.
const WARM_UP: usize = 500;

/// Exchanges of each kind in which nothing may be allocated.
const COUNTED: usize = 10_000;

/// The most that a client receives for one message, in bytes.
const RECEIVED_MAX: usize = 128 << 10;

/// Without a context that is kept, a message is compressed to the same bytes each time.
const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Echoes, and allocates for each piece of a message once on purpose.
struct Wasteful;

impl Handler for Wasteful {
    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        drop(black_box(Box::new(0_u64)));
        context.echo(piece).expect("there is room");
    }
}

/// Where the listener is whose sockets have a transport of the program's own.
const SEALED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A gateway of one shard.
fn start(driver: Driver) -> Gateway {
    let routes = ["/echo", "/wasteful"]
        .map(|path| format!("[[route]]\npath = \"{path}\"\nhandler = \"echo\"\n"));
    // Nor does anybody read files to see how full the control group is.
    let limits = "[limits]\nconnections = 256\nmemory_high = \"off\"\nmemory_critical = \"off\"\n";
    let root = format!("shards = 1\npin = false\ndriver = \"{driver}\"\n");
    let text = format!("{root}{limits}{}", routes.concat());
    let config = Config::parse(&text, "allocations").expect("a right configuration");
    let listen =
        [Ipv4Addr::LOCALHOST.into(), SEALED].map(|address| SocketAddr::new(address, 0).into());
    let config = config.with_listen(&listen).with_admin(None);
    let handlers =
        |route: &Route| (route.path == "/wasteful").then(|| Box::new(Wasteful) as Box<dyn Handler>);
    let program = Program::default().handlers(handlers).layers(|listener| {
        (listener.address.ip().is_some_and(|address| address.ip() == SEALED))
            .then(|| Box::new(Xor::default()) as Box<dyn Layer>)
    });
    Gateway::start_with(config, program).expect("the gateway starts")
}

/// What a client sends, and what must come back.
struct Exchange {
    name: &'static str,
    /// Masked frames of one message, or a Ping.
    sent: Vec<u8>,
    opcode: u8,
    payload: Vec<u8>,
}

impl Exchange {
    fn message(name: &'static str, opcode: u8, fragments: &[Vec<u8>]) -> Self {
        let last = fragments.len() - 1;
        let mut sent = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let frame = if index == 0 {
                Frame::new(opcode, fragment)
            } else {
                Frame::continuation(fragment)
            };
            let frame = if index == last { frame } else { frame.unfinished() };
            sent.extend(frame.masked());
        }
        Self { name, sent, opcode, payload: fragments.concat() }
    }

    /// A compressed message; its echo, as it travels, is what `client` now gets.
    fn compressed(client: &mut Client) -> Self {
        let text = "wörter: ".repeat(128).into_bytes();
        let frame = Frame::text(Codec::new(6).deflate(&text)).with_rsv(RSV1);
        let sent = frame.masked();
        let (opcode, answer) = client.answer(&sent);
        assert!(answer.len() < text.len() && inflate(answer) == text);
        Self { name: "1 KiB of text, compressed", opcode, payload: answer.to_vec(), sent }
    }

    fn all() -> [Self; 6] {
        let ping = noise(125, 5);
        [
            Self::message("64 bytes", BINARY, &[noise(64, 1)]),
            Self::message("1 KiB of text", TEXT, &["wörter: ".repeat(128).into_bytes()]),
            Self::message("16 KiB", BINARY, &[noise(16 << 10, 2)]),
            Self::message("100 KiB, in pieces", BINARY, &[noise(100 << 10, 3)]),
            Self::message("fragments", BINARY, &[300, 0, 5000, 64].map(|size| noise(size, 4))),
            Self { name: "a Ping", sent: Frame::ping(&ping).masked(), opcode: PONG, payload: ping },
        ]
    }
}

/// A client that allocates when it is made, and never again.
struct Client {
    peer: Peer,
    received: Vec<u8>,
}

impl Client {
    fn open(gateway: &Gateway, request: &Request) -> Self {
        Self::open_at(gateway.addresses()[0].ip().expect("it is over TCP"), request)
    }

    fn open_at(address: SocketAddr, request: &Request) -> Self {
        let (peer, _) = Peer::open_at(address, request);
        Self { peer, received: vec![0; RECEIVED_MAX] }
    }

    /// Sends, and yields the opcode and the payload of what comes back.
    fn answer(&mut self, sent: &[u8]) -> (u8, &[u8]) {
        let socket = self.peer.socket();
        (&*socket).write_all(sent).expect("the gateway takes a message");
        let (opcode, length) = receive(&mut &*socket, &mut self.received);
        (opcode, &self.received[..length])
    }

    #[track_caller]
    fn exchange(&mut self, exchange: &Exchange) {
        let (opcode, payload) = self.answer(&exchange.sent);
        assert_eq!(opcode, exchange.opcode);
        assert!(payload == exchange.payload, "another payload came back");
    }

    #[track_caller]
    fn repeat(&mut self, exchange: &Exchange, count: usize) {
        (0..count).for_each(|_| self.exchange(exchange));
    }
}

/// Receives frames up to one with FIN; yields the first one's opcode and the length of all their
/// payloads, which are in `into`.
fn receive(from: &mut impl Read, into: &mut [u8]) -> (u8, usize) {
    let (mut opcode, mut length) = (None, 0);
    loop {
        let [first, second] = read(from);
        let size = match second {
            126 => u16::from_be_bytes(read(from)).into(),
            127 => u64::from_be_bytes(read(from)) as usize,
            size => usize::from(size),
        };
        from.read_exact(&mut into[length..length + size]).expect("a whole payload comes");
        length += size;
        let opcode = *opcode.get_or_insert(first & 0xF);
        if first & 0x80 != 0 {
            return (opcode, length);
        }
    }
}

fn read<const N: usize>(from: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).expect("a whole header comes");
    bytes
}

/// Does `work`, in which this process must allocate, or enlarge, so many blocks.
#[track_caller]
fn expect_allocations(expected: u64, work: impl FnOnce()) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("allocations.json");
    // Frames of a library's inside are left out unless there are many.
    let profiler = dhat::Profiler::builder().testing().trim_backtraces(Some(30)).file_name(&file);
    let _profiler = profiler.build();
    work();
    let blocks = dhat::HeapStats::get().total_blocks;
    dhat::assert_eq!(blocks, expected, "allocations; where they were is in {}", file.display());
}

/// That the count counts: without it, none would prove nothing.
fn the_count_counts(gateway: &Gateway) {
    expect_allocations(3, || {
        drop(black_box(Box::new(0_u64)));
        drop(black_box(vec![0_u8; 4096]));
        let mut grown = black_box(Vec::<u8>::new());
        grown.reserve_exact(16);
        drop(black_box(grown));
    });
    let mut grown = vec![0_u8; 16];
    expect_allocations(1, || grown.reserve_exact(4096));
    // What the shard's thread allocates counts too.
    let [message, ..] = Exchange::all();
    let mut client = Client::open(gateway, &Request::open("/wasteful"));
    client.repeat(&message, WARM_UP);
    expect_allocations(100, || client.repeat(&message, 100));
}

#[test]
fn an_echo_allocates_nothing() {
    for driver in Driver::ALL {
        case(driver, || an_echo_allocates_nothing_by(driver));
    }
}

fn an_echo_allocates_nothing_by(driver: Driver) {
    let gateway = start(driver);
    case("the count", || the_count_counts(&gateway));
    let exchanges = Exchange::all();
    let mut clients = [(); 3].map(|()| Client::open(&gateway, &Request::open("/echo")));
    for client in &mut clients {
        exchanges.iter().for_each(|exchange| client.repeat(exchange, WARM_UP));
    }
    for exchange in &exchanges {
        case(exchange.name, || {
            expect_allocations(0, || clients[0].repeat(exchange, COUNTED));
        });
    }
    let deflate = Request::open("/echo").with("Sec-WebSocket-Extensions", OFFER);
    let mut client = Client::open(&gateway, &deflate);
    let compressed = Exchange::compressed(&mut client);
    client.repeat(&compressed, WARM_UP);
    case(compressed.name, || expect_allocations(0, || client.repeat(&compressed, COUNTED)));
    case("what a transport seals", || {
        let address = relay(gateway.addresses()[1].ip().expect("it is over TCP")).expect("a relay");
        let mut client = Client::open_at(address, &Request::open("/echo"));
        let few = &exchanges[..2];
        few.iter().for_each(|exchange| client.repeat(exchange, WARM_UP));
        expect_allocations(0, || few.iter().for_each(|one| client.repeat(one, COUNTED / 10)));
    });
    case("all in turn, on all connections", || {
        expect_allocations(0, || {
            for index in 0..COUNTED {
                clients[index % 3].exchange(&exchanges[index / 3 % exchanges.len()]);
            }
        });
    });
}
