//! The gateway as a library, with handlers of the embedding program.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate::config::{Config, Route};
use tidegate::gateway::{Gateway, NoHandler, Program, StartError};
use tidegate::handler::{
    self, Admission, Context, Decision, Desk, End, Handler, ImportError, Piece, Refusal, Wants,
};
use tidegate::hub::{Cause, Why};
use tidegate::names::ConnectionId;
use tidegate_proto::message::Part;
use tidegate_tests::{
    BINARY, CONTINUATION, Codec, Frame, Peer, RSV1, Request, case, inflate, noise, wait_until,
};

/// What the handlers of all shards have seen.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// The numbers given to connections as they opened.
    opened: Vec<u32>,
    /// The numbers of connections that ended, and how.
    closed: Vec<(u32, End)>,
    /// The lengths of whole messages.
    messages: Vec<usize>,
    /// Pieces that were not whole messages, for handlers that want none.
    pieces: usize,
}

impl Diary {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the next connection its number.
    fn open(&self) -> u32 {
        let mut entries = self.entries();
        let number = entries.opened.len() as u32 + 1;
        entries.opened.push(number);
        number
    }

    fn close(&self, number: u32, end: End) {
        self.entries().closed.push((number, end));
    }

    /// So many messages were delivered, each of them whole.
    #[track_caller]
    fn expect_whole_messages(&self, count: usize) {
        let entries = self.entries();
        assert_eq!((entries.messages.len(), entries.pieces), (count, 0));
    }

    /// Waits until so many connections have ended, and checks that they are those that opened, each
    /// once; yields how they ended, in the order in which they opened.
    #[track_caller]
    fn expect_closed(&self, count: usize) -> Vec<End> {
        wait_until(&format!("{count} ends"), || {
            (self.entries().closed.len() >= count).then_some(())
        });
        let entries = self.entries();
        let mut closed = entries.closed.clone();
        closed.sort_by_key(|(number, _)| *number);
        let (numbers, ends): (Vec<u32>, Vec<End>) = closed.into_iter().unzip();
        assert_eq!(numbers, entries.opened, "each connection ends once");
        ends
    }
}

/// Sends whole messages back, the last byte first.
struct Reverse {
    diary: Diary,
    /// Messages of each connection, by its number.
    counts: HashMap<u32, u32>,
}

impl Handler for Reverse {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, _admission: Admission) {
        context.set_state(self.diary.open());
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let mut bytes = context.bytes(&piece).to_vec();
        let mut entries = self.diary.entries();
        entries.messages.push(bytes.len());
        entries.pieces += usize::from(piece.part != Part::Whole);
        drop(entries);
        let count = self.counts.entry(context.state()).or_default();
        *count += 1;
        if bytes == b"how many?" {
            bytes = count.to_string().into_bytes();
        } else {
            bytes.reverse();
        }
        context.send_piece(piece.kind, piece.part, &bytes).expect("there is room");
    }

    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, state: u32, end: End) {
        self.diary.close(state, end);
    }
}

/// Says who is there before it is asked.
struct Greet(Diary);

impl Handler for Greet {
    fn request(&mut self, request: &handler::Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        match request.query() {
            Some("stranger") => Decision::Refuse(Refusal::Forbidden),
            name => {
                Decision::Admit(Admission::default().with_note(name.unwrap_or("nobody").to_owned()))
            }
        }
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, admission: Admission) {
        context.set_state(self.0.open());
        let name: &String = admission.note().expect("the request has left one");
        context.send_text(&format!("hello, {name}")).expect("there is room");
        if name == "leave" {
            context.close(Why::wish(4003, "as it asked for"));
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        context.echo(piece).expect("there is room");
    }

    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, state: u32, end: End) {
        self.0.close(state, end);
    }
}

/// Answers one message and closes.
struct Once(Diary);

impl Handler for Once {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, _admission: Admission) {
        context.set_state(self.0.open());
    }

    fn message(&mut self, context: &mut Context<'_, '_>, _piece: Piece<'_>) {
        // Messages may still come in while the peer has not seen the Close frame.
        if context.send_text("once").is_ok() {
            context.close(Cause::Wish(4000));
            assert!(context.send_text("twice").is_err(), "nothing behind a close");
        }
    }

    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, state: u32, end: End) {
        self.0.close(state, end);
    }
}

/// Sends so many bytes as it is asked for, as fast as the peer takes them.
struct Stream {
    /// What each connection has yet to get, by its number.
    left: HashMap<u32, usize>,
    last: u32,
}

impl Stream {
    fn go_on(&mut self, context: &mut Context<'_, '_>) {
        let left = self.left.entry(context.state()).or_default();
        while *left > 0 && !context.is_choked() {
            let count = (*left).min(50_000);
            let message = vec![(*left % 251) as u8; count];
            context.send_bytes(&message).expect("there is room");
            *left -= count;
        }
    }
}

impl Handler for Stream {
    fn opened(&mut self, context: &mut Context<'_, '_>, _admission: Admission) {
        self.last += 1;
        context.set_state(self.last);
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let text = String::from_utf8_lossy(context.bytes(&piece));
        let count = text.parse().expect("a number of bytes");
        self.left.insert(context.state(), count);
        self.go_on(context);
    }

    fn writable(&mut self, context: &mut Context<'_, '_>) {
        self.go_on(context);
    }
}

/// Counts the messages of each connection, and gives it what another goes on with: by its query.
#[derive(Default)]
struct Count {
    /// The messages of each connection, by its number.
    counts: HashMap<u32, u64>,
    last: u32,
}

impl Count {
    /// A connection with so many messages; yields its number.
    fn begin(&mut self, count: u64) -> u32 {
        self.last += 1;
        self.counts.insert(self.last, count);
        self.last
    }
}

impl Handler for Count {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn request(&mut self, request: &handler::Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        let state = match request.query() {
            None => Ok(self.begin(0)),
            Some(query) => self.import(&from_hex(query)),
        };
        match state {
            Ok(state) => Decision::Admit(Admission::default().with_state(state)),
            Err(_) => Decision::Refuse(Refusal::Forbidden),
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let state = context.state();
        if context.bytes(&piece) == b"hand me on" {
            let mut bytes = Vec::new();
            self.export(state, &mut bytes);
            context.send_bytes(&bytes).expect("there is room");
            return context.close(Cause::Wish(4100));
        }
        let count = self.counts.get_mut(&state).expect("each has one");
        *count += 1;
        context.send_text(&count.to_string()).expect("there is room");
    }

    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, state: u32, _end: End) {
        assert!(self.counts.remove(&state).is_some(), "each ends once");
    }

    fn export(&self, state: u32, out: &mut Vec<u8>) {
        out.extend(self.counts[&state].to_be_bytes());
    }

    fn import(&mut self, bytes: &[u8]) -> Result<u32, ImportError> {
        let count = bytes.try_into().map(u64::from_be_bytes);
        let count = count.map_err(|_| ImportError::Length { expected: 8, found: bytes.len() })?;
        Ok(self.begin(count))
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Panics.
struct Panic;

impl Handler for Panic {
    fn message(&mut self, _context: &mut Context<'_, '_>, _piece: Piece<'_>) {
        panic!("a handler's mistake");
    }
}

/// We ended it for this.
fn by_us(cause: Cause) -> End {
    End::of_ours(cause)
}

fn handler(route: &Route, diary: &Diary) -> Option<Box<dyn Handler>> {
    match &route.path[..] {
        "/reverse" => Some(Box::new(Reverse { diary: diary.clone(), counts: HashMap::new() })),
        "/greet" => Some(Box::new(Greet(diary.clone()))),
        "/once" => Some(Box::new(Once(diary.clone()))),
        "/stream" => Some(Box::new(Stream { left: HashMap::new(), last: 0 })),
        "/count" => Some(Box::new(Count::default())),
        "/panic" => Some(Box::new(Panic)),
        _ => None,
    }
}

/// Starts a gateway of one shard with all handlers; `more` is the start of its configuration.
fn start(more: &str) -> (Gateway, Diary) {
    let route = |path, handler| format!("[[route]]\npath = \"{path}\"\nhandler = \"{handler}\"\n");
    let own = ["/reverse", "/greet", "/once", "/stream", "/count", "/panic"];
    let routes = own.map(|path| route(path, "embedded")).concat() + &route("/echo", "echo");
    // Fewer connections than by default, so that no limit of open files has to be raised.
    let limits = "[limits]\nconnections = 256\n";
    let text = format!("shards = 1\npin = false\n{more}\n{limits}{routes}");
    let config = Config::parse(&text, "embedded").expect("a right configuration");
    let config = config.with_listen(&["127.0.0.1:0".parse().expect("an address")]);
    let config = config.with_admin(None);
    let diary = Diary::default();
    let handlers = diary.clone();
    let gateway = Gateway::start_with(
        config,
        Program::default().handlers(move |route| handler(route, &handlers)),
    )
    .expect("the gateway starts");
    (gateway, diary)
}

/// A configuration's listener with this stack.
fn stack(stack: &str) -> String {
    tidegate_tests::Gateway::listener(stack)
}

fn open(gateway: &Gateway, path: &str) -> Peer {
    Peer::open_at(address(gateway), &Request::open(path)).0
}

fn open_compressed(gateway: &Gateway, path: &str) -> Peer {
    let request = Request::open(path).with("Sec-WebSocket-Extensions", "permessage-deflate");
    Peer::open_at(address(gateway), &request).0
}

fn address(gateway: &Gateway) -> SocketAddr {
    gateway.addresses()[0].ip().expect("it is over TCP")
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

/// Reads a compressed message.
fn inflated(peer: &mut Peer) -> Vec<u8> {
    let first = peer.read_frame();
    assert_eq!(first.rsv, RSV1, "{first:?}");
    let (mut fin, mut payload) = (first.fin, first.payload);
    while !fin {
        let next = peer.read_frame();
        assert_eq!((next.opcode, next.rsv), (CONTINUATION, 0), "{next:?}");
        payload.extend(next.payload);
        fin = next.fin;
    }
    inflate(&payload)
}

#[test]
fn whole_messages_are_delivered_whole() {
    let (gateway, diary) = start("");
    let mut peer = open(&gateway, "/reverse");
    let lengths = [0, 1, 125, 126, 16_434, 16_448, 16_449, 100_000, 1 << 20];
    for length in lengths {
        case(format!("{length} bytes"), || {
            let message = noise(length, 1);
            let sending = peer.send_meanwhile(Frame::binary(&message).masked());
            peer.expect_binary(&reversed(&message));
            sending.join().unwrap();
        });
    }
    peer.text("text");
    peer.expect_text("txet");
    let entries = diary.entries();
    assert_eq!(entries.messages[..lengths.len()], lengths);
    assert_eq!(entries.pieces, 0);
}

#[test]
fn fragments_are_put_together() {
    let (gateway, diary) = start("");
    let mut peer = open(&gateway, "/reverse");
    for part in [1, 7, 1000, 20_000, 70_000] {
        case(format!("fragments of {part}"), || {
            let message = noise(part * 6, 2);
            let mut frames: Vec<Frame> =
                message.chunks(part).map(|part| Frame::continuation(part).unfinished()).collect();
            frames[0].opcode = BINARY;
            frames.insert(3, Frame::ping("between"));
            frames.push(Frame::continuation(""));
            let sending = peer.send_meanwhile(frames.iter().flat_map(Frame::masked).collect());
            peer.expect(&Frame::pong("between"));
            peer.expect_binary(&reversed(&message));
            sending.join().unwrap();
        });
    }
    diary.expect_whole_messages(5);
}

#[test]
fn a_large_message_is_put_together_from_small_segments() {
    let (gateway, diary) = start("");
    let mut peer = open(&gateway, "/reverse");
    let message = noise(1 << 20, 3);
    for part in [100, 1000, 16_448, 50_000] {
        case(format!("segments of {part}"), || {
            peer.send_segments(Frame::binary(&message).masked().chunks(part));
            peer.expect_binary(&reversed(&message));
        });
    }
    diary.expect_whole_messages(4);
}

#[test]
fn compressed_messages_are_delivered_whole() {
    let (gateway, diary) = start("");
    let mut peer = open_compressed(&gateway, "/reverse");
    let long = "a text that is longer than what is inflated at once ".repeat(30_000);
    let texts = [&long[..300], &long[..32_768], &long[..100_000], &long[..1 << 20]];
    for text in texts {
        case(format!("{} bytes", text.len()), || {
            let payload = Codec::new(6).deflate(text.as_bytes());
            peer.frame(&Frame::text(&payload).with_rsv(RSV1));
            assert!(inflated(&mut peer) == reversed(text.as_bytes()));
            let (one, two) = payload.split_at(payload.len() / 2);
            peer.frame(&Frame::text(one).with_rsv(RSV1).unfinished());
            peer.frame(&Frame::ping("between"));
            peer.frame(&Frame::continuation(two));
            peer.expect(&Frame::pong("between"));
            assert!(inflated(&mut peer) == reversed(text.as_bytes()));
        });
    }
    diary.expect_whole_messages(2 * texts.len());
}

#[test]
fn a_message_over_what_is_buffered_is_too_big() {
    let (gateway, diary) = start("");
    let over = (1 << 20) + 1;
    let mut peer = open(&gateway, "/reverse");
    peer.send(Frame::binary("x").masked_with_length(127, over));
    peer.expect_failed(1009);
    let mut peer = open(&gateway, "/reverse");
    peer.send_meanwhile(Frame::binary(vec![0; 1 << 20]).unfinished().masked()).join().unwrap();
    peer.frame(&Frame::continuation("x"));
    peer.expect_failed(1009);
    let mut peer = open_compressed(&gateway, "/reverse");
    let bomb = Codec::new(6).deflate(&vec![0; over as usize]);
    peer.frame(&Frame::binary(bomb).with_rsv(RSV1));
    peer.expect_failed(1009);
    for end in diary.expect_closed(3) {
        assert_eq!(end, by_us(Cause::Fault(1009)));
    }
    assert!(diary.entries().messages.is_empty());
}

#[test]
fn each_connection_has_its_own_state() {
    let (gateway, _) = start("");
    let mut peers: Vec<Peer> = (0..20).map(|_| open(&gateway, "/reverse")).collect();
    for round in 0..20 {
        for peer in &mut peers[round..] {
            peer.text("ab");
            peer.expect_text("ba");
        }
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.text("how many?");
        peer.expect_text(&(index + 2).to_string());
    }
}

#[test]
fn a_slot_that_is_used_again_has_a_new_state() {
    let (gateway, diary) = start("");
    for round in 1..=20 {
        let mut peer = open(&gateway, "/reverse");
        peer.text("how many?");
        peer.expect_text("1");
        peer.frame(&Frame::close(1000, ""));
        peer.expect_close(1000);
        peer.expect_eof();
        diary.expect_closed(round);
    }
}

#[test]
fn a_handler_may_speak_first() {
    let (gateway, _) = start("");
    let mut peer = open(&gateway, "/greet?ada");
    peer.expect_text("hello, ada");
    peer.echo("hello too");
    // What came with the request is answered behind the greeting.
    let mut peer = Peer::try_connect(address(&gateway)).unwrap();
    let request = Request::open("/greet?bob").bytes();
    peer.send([request, Frame::text("at once").masked()].concat());
    peer.expect_open();
    peer.expect_text("hello, bob");
    peer.expect_text("at once");
}

#[test]
fn a_handler_may_refuse() {
    let (gateway, diary) = start("");
    let mut peer = Peer::try_connect(address(&gateway)).unwrap();
    peer.request(&Request::open("/greet?stranger"));
    peer.expect_refusal(403);
    assert!(diary.entries().opened.is_empty());
}

#[test]
fn a_handler_may_close_as_it_opens() {
    let (gateway, diary) = start("");
    let mut peer = open(&gateway, "/greet?leave");
    peer.expect_text("hello, leave");
    assert_eq!(peer.expect_close(4003), "as it asked for");
    peer.frame(&Frame::close(4003, ""));
    peer.expect_eof();
    assert_eq!(diary.expect_closed(1)[0].close_code(), 4003);
}

#[test]
fn a_handler_may_close_in_a_message() {
    let (gateway, diary) = start("");
    let mut peer = open(&gateway, "/once");
    peer.text("a");
    peer.expect_text("once");
    peer.agree_to_close(4000);
    let end = diary.expect_closed(1)[0];
    assert_eq!(end, by_us(Cause::Wish(4000)));
}

/// RFC 6455 section 7.1.3: both ends may start the closing handshake at the same time.
#[test]
fn what_comes_with_the_message_that_a_handler_closes_in_is_read() {
    let (gateway, diary) = start(&stack("ws?close=30s!tcp"));
    let whole = [Frame::text("a"), Frame::text("b"), Frame::close(1000, "")];
    let bytes: Vec<u8> = whole.iter().flat_map(Frame::masked).collect();
    let begun = Instant::now();
    let mut peer = open(&gateway, "/once");
    peer.send(&bytes);
    peer.expect_text("once");
    peer.expect_close(4000);
    peer.expect_eof();
    assert!(begun.elapsed() < Duration::from_secs(15), "the peer's close was lost");
    assert_eq!(diary.expect_closed(1).len(), 1);
}

#[test]
fn a_frame_that_is_half_there_when_a_handler_closes_is_read_to_its_end() {
    let (gateway, diary) = start(&stack("ws?close=30s!tcp"));
    let behind = Frame::text("behind").masked();
    for cut in 1..behind.len() {
        case(format!("{cut} bytes of it"), || {
            let mut peer = open(&gateway, "/once");
            peer.send([&Frame::text("a").masked()[..], &behind[..cut]].concat());
            peer.expect_text("once");
            peer.expect_close(4000);
            peer.send(&behind[cut..]);
            peer.frame(&Frame::close(4000, ""));
            peer.expect_eof();
            let end = *diary.expect_closed(cut).last().expect("an end");
            assert_eq!(end, by_us(Cause::Wish(4000)));
        });
    }
}

#[test]
fn a_handler_may_send_more_than_fits_as_it_becomes_writable() {
    let (gateway, _) = start(&stack("ws!tcp?sndbuf=16KiB"));
    let total = 5 << 20;
    let mut peer = open(&gateway, "/stream");
    peer.text(&total.to_string());
    let mut left = total;
    while left > 0 {
        let (opcode, message) = peer.message();
        assert_eq!((opcode, message.len()), (BINARY, left.min(50_000)));
        assert!(message.iter().all(|byte| *byte == (left % 251) as u8));
        left -= message.len();
    }
    peer.text("10");
    assert_eq!(peer.message().1.len(), 10);
}

#[test]
fn each_connection_that_opens_ends_once_however_it_ends() {
    let (gateway, diary) = start(&stack("ws?ping=1s&pong=1s&close=1s!tcp"));
    let by_peer = |cause: Option<Cause>| cause.map_or(End::ABRUPT, End::of_peer);
    // What the peer does, and whether it then stays; how it ends, and the code that was seen.
    type Act = fn(Peer) -> Option<Peer>;
    let cases: [(&str, Act, End, u16); 8] = [
        (
            "a close",
            |peer| say(peer, &Frame::close(4321, "x").masked()),
            by_peer(Some(Cause::Wish(4321))),
            4321,
        ),
        ("an empty close", |peer| say(peer, b"\x88\x80mask"), by_peer(Some(Cause::Unsaid)), 1005),
        ("an end", |peer| finish(peer, b""), by_peer(None), 1006),
        ("an end in a message", |peer| finish(peer, b"\x81\x84mask"), by_peer(None), 1006),
        ("a reset", reset, by_peer(None), 1006),
        ("a broken frame", |peer| say(peer, b"\x83"), by_us(Cause::Fault(1002)), 1002),
        (
            "no text",
            |peer| say(peer, &Frame::text(b"\xff").masked()),
            by_us(Cause::Fault(1007)),
            1007,
        ),
        ("a ping without an answer", Some, by_peer(None), 1006),
    ];
    for (index, (name, act, expected, code)) in cases.into_iter().enumerate() {
        case(name, || {
            let mut peer = open(&gateway, "/reverse");
            peer.text("ab");
            peer.expect_text("ba");
            let _kept = act(peer);
            let end = *diary.expect_closed(index + 1).last().expect("an end");
            assert_eq!((end.cause, end.close_code()), (expected.cause, code));
            // Of a peer that is silent, nobody can say that it began to end.
            assert!(end.by_peer == expected.by_peer || name == "a ping without an answer");
        });
    }
    wait_until("nobody is left", || (gateway.counters().connections == 0).then_some(()));
    assert_eq!(diary.entries().closed.len(), 8, "no end came late");
}

fn say(mut peer: Peer, bytes: &[u8]) -> Option<Peer> {
    peer.send(bytes);
    Some(peer)
}

fn finish(mut peer: Peer, bytes: &[u8]) -> Option<Peer> {
    peer.send(bytes);
    peer.finish();
    Some(peer)
}

fn reset(peer: Peer) -> Option<Peer> {
    peer.reset();
    None
}

#[test]
fn what_a_handler_exports_goes_on_where_it_is_imported() {
    let ((one, _), (other, _)) = (start(""), start(""));
    let mut leaving = open(&one, "/count");
    let mut staying = open(&other, "/count");
    for count in ["1", "2"] {
        leaving.text("count");
        leaving.expect_text(count);
    }
    staying.text("count");
    staying.expect_text("1");
    leaving.text("hand me on");
    let (_, exported) = leaving.message();
    leaving.agree_to_close(4100);
    let hex: String = exported.iter().map(|byte| format!("{byte:02x}")).collect();
    // In another instance of the handler, and in the same one.
    for gateway in [&other, &one] {
        let mut back = open(gateway, &format!("/count?{hex}"));
        back.text("count");
        back.expect_text("3");
        back.text("count");
        back.expect_text("4");
    }
    staying.text("count");
    staying.expect_text("2");
    // What is none of its bytes is not taken.
    let mut peer = Peer::try_connect(address(&other)).expect("it listens");
    peer.request(&Request::open(&format!("/count?{}", &hex[2..])));
    peer.expect_refusal(403);
}

#[test]
fn a_drain_ends_each_connection_once() {
    let (gateway, diary) = start(&stack("ws?close=1s!tcp"));
    let mut peers: Vec<Peer> = (0..30).map(|_| open(&gateway, "/reverse")).collect();
    gateway.drain();
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.expect_close(1012);
        // Some answer, some leave, some do nothing.
        match index % 3 {
            0 => peer.frame(&Frame::close(1012, "")),
            1 => peer.finish(),
            _ => {}
        }
    }
    gateway.join().expect("a drain is no failure");
    for (index, end) in diary.expect_closed(30).into_iter().enumerate() {
        match index % 3 {
            0 => assert_eq!(end, by_us(Cause::Wish(1012)), "{index}"),
            // RFC 6455 section 7.1.5: 1006 where no Close frame was received.
            _ => assert_eq!(end.close_code(), 1006, "{index}"),
        }
    }
}

#[test]
fn a_drain_that_takes_too_long_ends_each_connection_once() {
    let listener = stack("ws?close=1h!tcp");
    let (gateway, diary) = start(&format!("drain = \"1s\"\n{listener}"));
    let mut peers: Vec<Peer> = (0..5).map(|_| open(&gateway, "/reverse")).collect();
    gateway.drain();
    gateway.join().expect("a drain is no failure");
    diary.expect_closed(5);
    for peer in &mut peers {
        peer.expect_close(1012);
        peer.expect_end();
    }
}

#[test]
fn a_stop_ends_each_connection_once() {
    let (gateway, diary) = start("");
    let mut peers: Vec<Peer> = (0..5).map(|_| open(&gateway, "/reverse")).collect();
    gateway.stop();
    gateway.join().expect("a stop is no failure");
    for peer in &mut peers {
        peer.expect_end();
    }
    diary.expect_closed(5);
}

#[test]
fn routes_without_a_handler_of_their_own_have_the_built_in_one() {
    let (gateway, _) = start("");
    open(&gateway, "/echo").echo("hello");
}

#[test]
fn a_route_that_nobody_answers_keeps_the_gateway_from_starting() {
    let text = "[limits]\nconnections = 64\n[[route]]\npath = \"/here\"\nhandler = \"embedded\"\n\
                [[route]]\npath = \"/there\"\nhandler = \"embedded\"\n";
    let config = || {
        let config = Config::parse(text, "embedded").expect("a right configuration");
        config.with_listen(&["127.0.0.1:0".parse().expect("an address")]).with_admin(None)
    };
    let half = |route: &Route| {
        (route.path == "/here").then(|| Box::new(Once(Diary::default())) as Box<dyn Handler>)
    };
    for error in [
        Gateway::start_with(config(), Program::default().handlers(half)).expect_err("/there"),
        Gateway::rehearse_with(config(), Program::default().handlers(half)).expect_err("/there"),
    ] {
        let StartError::NoHandler(NoHandler { path }) = &error else { panic!("{error}") };
        assert_eq!(path, "/there");
        let said = error.to_string();
        assert!(said.starts_with("route /there: ") && said.contains("Program::handler`"), "{said}");
    }
    let whole = |_: &Route| Some(Box::new(Once(Diary::default())) as Box<dyn Handler>);
    let program = Program::default().handlers(whole);
    assert!(Gateway::rehearse_with(config(), program.clone()).is_ok());
    let gateway = Gateway::start_with(config(), program).expect("it starts");
    let mut peer = open(&gateway, "/there");
    peer.text("go on");
    peer.expect_text("once");
}

#[test]
fn handlers_are_for_the_paths_that_they_were_given_for() {
    let route = |path, handler| format!("[[route]]\npath = \"{path}\"\nhandler = \"{handler}\"\n");
    let routes = [("/a/{b}", "embedded"), ("/c", "echo"), ("/d", "embedded"), ("/e", "echo")];
    let routes = routes.map(|(path, handler)| route(path, handler)).concat();
    let start = |program| {
        let text = format!("shards = 1\n[limits]\nconnections = 64\n{routes}");
        let config = Config::parse(&text, "paths").expect("a right configuration");
        let config = config.with_listen(&["127.0.0.1:0".parse().expect("an address")]);
        Gateway::start_with(config.with_admin(None), program)
    };
    let once = || Once(Diary::default());
    let reverse = || Reverse { diary: Diary::default(), counts: HashMap::new() };
    let program = Program::default()
        .handlers(move |route| (route.path == "/d").then(|| Box::new(once()) as Box<dyn Handler>))
        .handler("/%61/{b}", once)
        .handler("/c", reverse);
    let gateway = start(program.clone()).expect("each route has a handler");
    for (path, answer) in [("/a/x", "once"), ("/c", "ba"), ("/d", "once"), ("/e", "ab")] {
        let mut peer = open(&gateway, path);
        peer.text("ab");
        peer.expect_text(answer);
    }
    let error = start(program.handler("/a/{c}", once)).expect_err("no route has that path");
    assert!(matches!(&error, StartError::NoRoute(path) if path == "/a/{c}"), "{error}");
    assert!(error.to_string().contains("for the path /a/{c}, and no route has it"), "{error}");
}

#[test]
fn each_shard_makes_its_own_handlers() {
    let made = Arc::new(Mutex::new(Vec::new()));
    let config =
        Config::parse("shards = 3\npin = false\n[limits]\nconnections = 256\n", "embedded");
    let config = config.unwrap().with_listen(&["127.0.0.1:0".parse().unwrap()]);
    let config = config.with_admin(None);
    let note = Arc::clone(&made);
    let factory = move |route: &Route| {
        note.lock().unwrap().push((route.path.clone(), std::thread::current().id()));
        None
    };
    let gateway = Gateway::start_with(config, Program::default().handlers(factory)).unwrap();
    open(&gateway, "/echo").echo("hello");
    drop(gateway);
    let made = made.lock().unwrap();
    assert_eq!(made.len(), 9, "three routes on three shards: {made:?}");
    let mut threads: Vec<_> = made.iter().map(|(_, thread)| *thread).collect();
    threads.dedup();
    assert_eq!(threads.len(), 3, "each on its own: {made:?}");
}

#[test]
fn a_handler_that_panics_ends_the_gateway_and_is_quoted() {
    let (gateway, diary) = start("");
    let mut other = open(&gateway, "/reverse");
    let mut peer = open(&gateway, "/panic");
    peer.text("go on");
    peer.expect_end();
    other.expect_end();
    let error = gateway.join().expect_err("a shard has failed");
    assert!(error.to_string().contains("a handler's mistake"), "{error}");
    assert_eq!(diary.entries().opened.len(), 1);
}

#[test]
fn gateways_can_stand_side_by_side_and_be_dropped() {
    let (one, diary) = start("");
    let (other, _) = start("");
    let mut kept = open(&other, "/echo");
    let mut lost = open(&one, "/reverse");
    drop(one);
    lost.expect_end();
    kept.echo("hello");
    assert_eq!(diary.entries().opened.len(), 1);
}
