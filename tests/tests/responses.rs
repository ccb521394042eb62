//! Responses of a handler's own: over real sockets, to peers that read and to such that do not.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tidegate::bill::Owner;
use tidegate::config::{Config, Route};
use tidegate::gateway::{Gateway, Program};
use tidegate::handler::{
    self, Body, Context, Decision, Desk, Handler, Piece, Response, Sink, Source,
};
use tidegate::hub::{Cause, ConnectionFilter, Errand, NotDone, Outcome, Publication, Target, Why};
use tidegate::names::Name;
use tidegate_tests::{Peer, Request, case, noise, read_some, wait_until};

/// How many bytes the long body has.
const LONG: u64 = 50 << 20;

/// How many bytes may wait for one peer.
const BACKLOG: u64 = 256 << 10;

/// Bytes that can be told apart by their place.
struct Count {
    at: u64,
    end: u64,
    /// What it does not say at all.
    withheld: u64,
    books: Arc<Books>,
}

/// What all sources did.
#[derive(Default)]
struct Books {
    said: AtomicU64,
    dropped: AtomicU64,
}

fn byte(at: u64) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

impl Source for Count {
    fn pull(&mut self, sink: &mut Sink<'_, '_>) {
        let end = self.end - self.withheld;
        let piece: Vec<u8> = (self.at..end.min(self.at + 10_000)).map(byte).collect();
        let said = sink.write(&piece) as u64;
        self.at += said;
        self.books.said.fetch_add(said, Ordering::Relaxed);
        if self.at == end && self.withheld != 1 {
            sink.end();
            assert_eq!(sink.room(), 0, "nothing behind an end");
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.books.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers by the query.
struct Answers(Arc<Books>);

impl Answers {
    fn body(&self, words: &str) -> Body {
        let stream = |end, withheld, length| {
            let books = Arc::clone(&self.0);
            Body::Stream { length, source: Box::new(Count { at: 0, end, withheld, books }) }
        };
        match words {
            "long" => stream(LONG, 0, Some(LONG)),
            "chunks" => stream(1 << 20, 0, None),
            "nothing" => stream(0, 0, Some(0)),
            "no-chunks" => stream(0, 0, None),
            // One byte less than announced, and silence.
            "silent" => stream(1000, 1, Some(1000)),
            "short" => stream(1000, 2, Some(1000)),
            "shared" => Body::Shared(noise(1 << 20, 1).into()),
            "small" => Body::Shared(b"small"[..].into()),
            _ => Body::Empty,
        }
    }
}

impl Handler for Answers {
    fn request(&mut self, request: &handler::Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        let body = self.body(request.query().unwrap_or_default());
        let response = Response::new(203, body).and_then(|one| one.with("X-Mark", "yes"));
        Decision::Respond(response.expect("what can be sent"))
    }

    fn message(&mut self, _context: &mut Context<'_, '_>, _piece: Piece<'_>) {
        panic!("nothing is opened here");
    }
}

fn start(stack: &str) -> (Gateway, Arc<Books>) {
    start_with(stack, "")
}

/// With these limits besides.
fn start_with(stack: &str, limits: &str) -> (Gateway, Arc<Books>) {
    let route = format!(
        "[[route]]\npath = \"/\"\nhandler = \"embedded\"\nbacklog = \"{BACKLOG}B\"\n\
         max_buffered_message = \"64KiB\"\n"
    );
    let limits = format!("[limits]\nconnections = 64\n{limits}");
    let listener = tidegate_tests::Gateway::listener(stack);
    let text = format!("shards = 1\npin = false\ndrain = \"5s\"\n{limits}{listener}{route}");
    let config = Config::parse(&text, "responses").expect("a right configuration");
    let config = config.with_listen(&["127.0.0.1:0".parse().expect("an address")]);
    let books = Arc::new(Books::default());
    let kept = Arc::clone(&books);
    let program = Program::default()
        .handlers(move |_: &Route| Some(Box::new(Answers(Arc::clone(&kept))) as Box<dyn Handler>));
    let gateway = Gateway::start_with(config.with_admin(None), program).expect("it starts");
    (gateway, books)
}

const STACK: &str = "ws?ping=1s&pong=1s&stall=1s!tcp?sndbuf=16KiB";

/// Asks, and yields the head of the response and the socket behind it.
fn ask(gateway: &Gateway, method: &str, words: &str) -> (tidegate_tests::Response, Peer) {
    let mut peer = Peer::try_connect(gateway.addresses()[0].ip().expect("it is over TCP"))
        .expect("it listens");
    peer.request(&Request::plain(method, &format!("/?{words}")));
    let response = peer.response_head();
    assert_eq!((response.status, response.header("X-Mark")), (203, Some("yes")));
    assert_eq!(response.header("Connection"), Some("close"));
    (response, peer)
}

/// All that comes until the end.
fn rest(mut socket: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("an end");
    bytes
}

fn counted(count: u64) -> Vec<u8> {
    (0..count).map(byte).collect()
}

/// The bytes of a body in chunks, and how many chunks those were.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut all, mut chunks) = (Vec::new(), 0);
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a size has a line");
        let size = str::from_utf8(&bytes[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        bytes = &bytes[end + 2..];
        let (chunk, behind) = bytes.split_at(size);
        assert_eq!(&behind[..2], b"\r\n");
        all.extend_from_slice(chunk);
        bytes = &behind[2..];
        if size == 0 {
            assert!(bytes.is_empty(), "nothing behind the last chunk");
            return (all, chunks);
        }
        chunks += 1;
    }
}

#[test]
fn bodies_come_whole_and_their_length_is_told() {
    let (gateway, books) = start(STACK);
    let cases: [(&str, Vec<u8>); 4] = [
        ("", vec![]),
        ("small", b"small".to_vec()),
        ("shared", noise(1 << 20, 1)),
        ("nothing", vec![]),
    ];
    for (words, body) in cases {
        case(words, || {
            let (response, socket) = ask(&gateway, "GET", words);
            assert_eq!(response.header("Content-Length"), Some(&body.len().to_string()[..]));
            assert_eq!(response.header("Transfer-Encoding"), None);
            assert!(rest(socket) == body);
        });
    }
    for (words, length) in [("chunks", 1 << 20), ("no-chunks", 0)] {
        case(words, || {
            let (response, socket) = ask(&gateway, "GET", words);
            assert_eq!(response.header("Content-Length"), None);
            assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
            let (body, chunks) = unchunked(&rest(socket));
            assert!(body == counted(length) && chunks >= usize::from(length > 0));
        });
    }
    wait_until("all are given up", || (books.dropped.load(Ordering::Relaxed) == 3).then_some(()));
    wait_until("nobody is left", || (gateway.counters().connections == 0).then_some(()));
}

#[test]
fn a_head_is_answered_without_a_body() {
    let (gateway, books) = start(STACK);
    for (words, length) in [
        ("small", Some("5")),
        ("shared", Some("1048576")),
        ("long", Some("52428800")),
        ("chunks", None),
    ] {
        case(words, || {
            let (response, socket) = ask(&gateway, "HEAD", words);
            assert_eq!(response.header("Content-Length"), length);
            assert_eq!(response.header("Transfer-Encoding").is_some(), length.is_none());
            assert!(rest(socket).is_empty());
        });
    }
    assert_eq!(books.said.load(Ordering::Relaxed), 0, "no source was asked");
    assert_eq!(books.dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn a_long_body_to_a_slow_reader_takes_no_more_than_its_backlog() {
    let (gateway, books) = start(STACK);
    let (_, mut socket) = ask(&gateway, "GET", "long");
    let (mut at, mut most) = (0, 0);
    let mut buffer = vec![0; 256 << 10];
    while at < LONG {
        let count = read_some(&mut socket, &mut buffer).expect("it goes on");
        assert!(count > 0, "it ends at {at}: {:?}", gateway.counters());
        let right = buffer[..count].iter().zip(at..).all(|(one, at)| *one == byte(at));
        assert!(right, "other bytes behind {at}");
        at += count as u64;
        let counters = gateway.counters();
        most = most.max(counters.blocks_used);
        // Slower than it could be said, and slower than the machine.
        if at % (8 << 20) < count as u64 {
            thread::sleep(Duration::from_millis(100));
        }
    }
    assert!(rest(socket).is_empty(), "nothing behind it");
    assert!(most > 0, "it had to wait");
    // Blocks are larger than what is in them.
    assert!(most <= 2 * BACKLOG, "{most} bytes waited");
    assert_eq!(books.said.load(Ordering::Relaxed), LONG);
    wait_until("the source is given up", || {
        (books.dropped.load(Ordering::Relaxed) == 1).then_some(())
    });
}

#[test]
fn many_long_bodies_at_once_come_whole_to_those_who_read() {
    // Of 2 MiB of blocks, 768 KiB are for what is to be sent, and 512 KiB for all.
    let (gateway, _) = start_with("ws?stall=60s!tcp?sndbuf=16KiB", "blocks = \"2MiB\"\n");
    let sockets: Vec<_> = (0..40).map(|_| ask(&gateway, "GET", "shared").1).collect();
    let readers = sockets.into_iter().map(|socket| thread::spawn(move || rest(socket)));
    for reader in readers.collect::<Vec<_>>() {
        let body = reader.join().expect("it reads");
        assert!(body == noise(1 << 20, 1), "{} bytes: {:?}", body.len(), gateway.counters());
    }
    wait_until("nobody is left", || (gateway.counters().connections == 0).then_some(()));
    let counters = gateway.counters();
    assert_eq!((counters.out_of_blocks, counters.bodies_broken_off), (0, 0));
    assert!(counters.deliveries_without_block > 0, "some had to wait");
}

#[test]
fn who_does_not_read_is_dropped_and_so_is_its_source() {
    let (gateway, books) = start(STACK);
    let (_, socket) = ask(&gateway, "GET", "long");
    wait_until("it is dropped", || (gateway.counters().peers_stalled == 1).then_some(()));
    wait_until("so is the source", || (books.dropped.load(Ordering::Relaxed) == 1).then_some(()));
    assert!(books.said.load(Ordering::Relaxed) < LONG / 2);
    drop(socket);
}

#[test]
fn who_leaves_ends_its_source() {
    let (gateway, books) = start(STACK);
    let (_, socket) = ask(&gateway, "GET", "long");
    drop(socket);
    wait_until("it is given up", || (books.dropped.load(Ordering::Relaxed) == 1).then_some(()));
    wait_until("nobody is left", || (gateway.counters().connections == 0).then_some(()));
    assert_eq!(gateway.counters().connections_open, 0);
}

#[test]
fn a_body_that_is_shorter_than_announced_shows() {
    let (gateway, books) = start(STACK);
    for (words, most) in [("short", 998), ("silent", 999)] {
        case(words, || {
            let (response, mut socket) = ask(&gateway, "GET", words);
            assert_eq!(response.header("Content-Length"), Some("1000"));
            let mut bytes = Vec::new();
            // A reset may come before the last bytes are read.
            let _ = socket.read_to_end(&mut bytes);
            assert!(bytes.len() <= most && bytes == counted(bytes.len() as u64));
        });
    }
    assert_eq!(gateway.counters().messages_too_slow, 1, "one was silent");
    assert_eq!(gateway.counters().bodies_broken_off, 1, "one said that it was over");
    wait_until("both are given up", || (books.dropped.load(Ordering::Relaxed) == 2).then_some(()));
}

#[test]
fn what_the_peer_says_meanwhile_is_not_heard_and_a_publication_does_not_break_in() {
    let (gateway, _) = start(STACK);
    let (_, mut socket) = ask(&gateway, "GET", "shared");
    socket.request(&Request::plain("GET", "/?small"));
    let message = gateway.door().message("for all").expect("room");
    let publication = Publication::new(message);
    let request = Errand::Publish(Target::All, publication);
    gateway.door().ask(request, |_| {});
    assert!(rest(socket) == noise(1 << 20, 1));
}

#[test]
fn a_source_that_is_silent_is_given_up_whatever_its_peer_says() {
    for stack in ["ws?ping=off&stall=1s!tcp", "ws?ping=2s&stall=1s!tcp"] {
        let (gateway, books) = start(stack);
        let (_, mut socket) = ask(&gateway, "GET", "silent");
        case(stack, || {
            wait_until("it is given up", || {
                // What it says is not heard, and it may be too late for it.
                let _ = socket.try_send(b"x");
                thread::sleep(Duration::from_millis(50));
                (books.dropped.load(Ordering::Relaxed) == 1).then_some(())
            });
        });
        wait_until("it is counted", || (gateway.counters().messages_too_slow == 1).then_some(()));
    }
}

/// What is answered to `errand`.
fn asked(gateway: &Gateway, errand: Errand) -> Outcome {
    let (answers, answer) = mpsc::channel();
    gateway.door().ask(errand, move |outcome| answers.send(outcome).expect("somebody waits"));
    answer.recv_timeout(Duration::from_secs(10)).expect("an answer")
}

#[test]
fn who_is_sent_a_body_can_be_disconnected_and_told_nothing_else() {
    let (gateway, books) = start("ws?stall=60s!tcp?sndbuf=16KiB");
    let why = || Why::from(Cause::Done);
    for (number, by_id) in [true, false].into_iter().enumerate() {
        let (_, mut socket) = ask(&gateway, "GET", "long");
        let filter = ConnectionFilter::default();
        let list = asked(&gateway, Errand::Connections { from: 0, filter, limit: 9 });
        let Outcome::Connections(infos, None) = list else { panic!("{list:?}") };
        assert_eq!(infos.len(), 1, "it is listed");
        let id = infos[0].id;
        let topic = Name::new("topic").expect("a name");
        let other = asked(&gateway, Errand::Subscribe(Target::Connection(id), topic));
        assert!(matches!(other, Outcome::NotDone(NotDone::NotOpen)), "{other:?}");
        let target = if by_id { Target::Connection(id) } else { Target::All };
        let done = asked(&gateway, Errand::Disconnect(target, why()));
        assert!(matches!(done, Outcome::Done(1)), "by its id: {by_id}: {done:?}");
        // A reset may come before the last bytes are read.
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes);
        assert!((bytes.len() as u64) < LONG, "it does not come to its end");
        wait_until("its source is given up", || {
            (books.dropped.load(Ordering::Relaxed) == number as u64 + 1).then_some(())
        });
        wait_until("nobody is left", || (gateway.counters().connections == 0).then_some(()));
    }
}

#[test]
fn a_drain_lets_a_body_end() {
    let (gateway, _) = start(STACK);
    let (_, socket) = ask(&gateway, "GET", "shared");
    gateway.drain();
    thread::sleep(Duration::from_millis(300));
    assert!(rest(socket) == noise(1 << 20, 1));
    gateway.join().expect("a drain is no failure");
}

#[test]
fn the_bill_has_a_line_for_sources() {
    let (gateway, _) = start(STACK);
    assert!(gateway.bill().lines().iter().any(|line| line.owner == Owner::Sources));
}
