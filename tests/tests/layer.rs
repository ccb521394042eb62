//! A transport that a program brings along, on real sockets: echoes and rooms over one that changes
//! every byte, with clients that know nothing of it behind a relay that changes them back.

use std::net::SocketAddr;

use tidegate::gateway::Program;
use tidegate::handler::{
    self, Body, Context, Decision, Desk, Handler, Piece, Response, Sink, Source,
};
use tidegate::kernel::Slot;
use tidegate::transport::{Broken, Layer, OpenedInput, Sealed};
use tidegate_tests::hub::HubGateway;
use tidegate_tests::layered::{self, ROUTES, open};
use tidegate_tests::xor::{Xor, relay};
use tidegate_tests::{Frame, Peer, Request, noise, wait_until};

/// A gateway behind the transport, and where clients connect that know nothing of it.
fn start(shards: usize) -> (HubGateway, SocketAddr) {
    let program = Program::default().layers(|_| Some(Box::new(Xor::default())));
    let gateway = HubGateway::start_with(shards, ROUTES, program);
    let address = relay(gateway.address()).expect("a relay");
    (gateway, address)
}

#[test]
fn messages_of_all_sizes_come_back() {
    let (_gateway, address) = start(1);
    layered::messages_of_all_sizes_come_back(address);
}

#[test]
fn pages_and_refusals_are_sealed_too() {
    let (_gateway, address) = start(1);
    layered::pages_and_refusals_are_sealed_too(address);
}

#[test]
fn a_room_across_shards_hears_everything_in_order() {
    let (gateway, address) = start(3);
    layered::a_room_hears_everything_in_order(&gateway, address);
}

#[test]
fn compressed_messages_are_sealed_behind_compression() {
    let (_gateway, address) = start(1);
    layered::compressed_messages_are_sealed_behind_compression(address);
}

#[test]
fn who_reads_late_gets_every_byte_in_order() {
    let (gateway, address) = start(1);
    layered::who_reads_late_gets_every_byte_in_order(&gateway, address);
}

/// Says so many bytes that can be told apart by their place.
struct Count {
    at: u32,
}

const COUNTED: u32 = 5 << 20;

impl Source for Count {
    fn pull(&mut self, sink: &mut Sink<'_, '_>) {
        let piece: Vec<u8> = (self.at..COUNTED.min(self.at + 10_000)).map(place).collect();
        self.at += sink.write(&piece) as u32;
        if self.at == COUNTED {
            sink.end();
        }
    }
}

fn place(at: u32) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

struct Counts;

impl Handler for Counts {
    fn request(&mut self, _: &handler::Request<'_>, _: &mut Desk<'_>) -> Decision {
        let source = Box::new(Count { at: 0 });
        let body = Body::Stream { length: Some(COUNTED.into()), source };
        Decision::Respond(Response::new(200, body).expect("what can be sent"))
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
}

#[test]
fn a_body_that_comes_piece_by_piece_is_sealed_as_it_leaves() {
    let program = Program::default()
        .layers(|_| Some(Box::new(Xor::default())))
        .handlers(|route| (route.path == "/echo").then(|| Box::new(Counts) as Box<dyn Handler>));
    let gateway = HubGateway::start_with(1, ROUTES, program);
    let address = relay(gateway.address()).expect("a relay");
    let mut peer = Peer::try_connect(address).expect("it listens");
    peer.request(&Request::open("/echo"));
    assert_eq!(peer.response_head().status, 200);
    let mut at = 0;
    while at < COUNTED {
        let bytes = peer.bytes(4096);
        assert!(bytes.iter().zip(at..).all(|(byte, at)| *byte == place(at)), "behind {at}");
        at += 4096;
    }
    peer.expect_eof();
}

/// Says a portion whenever it is asked, but for each second time: so it is asked for the next one
/// only when its peer has taken the one before.
struct Paced {
    portions: u8,
    has_said: bool,
}

const PORTIONS: u8 = 40;
const PORTION: usize = 8 << 10;

impl Source for Paced {
    fn pull(&mut self, sink: &mut Sink<'_, '_>) {
        self.has_said = !self.has_said;
        if self.has_said {
            assert_eq!(sink.write(&[self.portions; PORTION]), PORTION);
            self.portions += 1;
        }
        if self.portions == PORTIONS {
            sink.end();
        }
    }
}

struct Paces;

impl Handler for Paces {
    fn request(&mut self, _: &handler::Request<'_>, _: &mut Desk<'_>) -> Decision {
        let source = Box::new(Paced { portions: 0, has_said: false });
        let length = Some(u64::from(PORTIONS) * PORTION as u64);
        let response = Response::new(200, Body::Stream { length, source });
        Decision::Respond(response.expect("what can be sent"))
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
}

#[test]
fn a_source_that_says_little_at_a_time_is_asked_to_the_end_through_a_layer_as_without() {
    for is_layered in [false, true] {
        let program = Program::default()
            .handlers(|route| (route.path == "/echo").then(|| Box::new(Paces) as Box<dyn Handler>))
            .layers(move |_| is_layered.then(|| Box::new(Xor::default()) as Box<dyn Layer>));
        let gateway = HubGateway::start_with(1, ROUTES, program);
        let address = match is_layered {
            true => relay(gateway.address()).expect("a relay"),
            false => gateway.address(),
        };
        let mut peer = Peer::try_connect(address).expect("it listens");
        peer.request(&Request::open("/echo"));
        assert_eq!(peer.response_head().status, 200);
        for portion in 0..PORTIONS {
            assert!(peer.bytes(PORTION) == [portion; PORTION], "{portion}, {is_layered}");
        }
        peer.expect_eof();
    }
}

/// Answers each message with one that is larger than what may wait for a peer.
struct Large;

const LARGE: usize = 200_000;

impl Handler for Large {
    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        if piece.part.is_last() {
            let _ = context.send_bytes(&noise(LARGE, 1));
        }
    }
}

#[test]
fn what_is_larger_than_a_backlog_comes_through_a_layer_as_it_does_without() {
    for slow_peer in ["pause", "close"] {
        let more = format!(
            "[[route]]\npath = \"/\"\nhandler = \"echo\"\nmax_buffered_message = \"16KiB\"\n\
             backlog = \"64KiB\"\nslow_peer = \"{slow_peer}\"\n"
        );
        for is_layered in [false, true] {
            let program = Program::default()
                .handlers(|_| Some(Box::new(Large) as Box<dyn Handler>))
                .layers(move |_| is_layered.then(|| Box::new(Xor::default()) as Box<dyn Layer>));
            let gateway = HubGateway::start_with(1, &more, program);
            let address = match is_layered {
                true => relay(gateway.address()).expect("a relay"),
                false => gateway.address(),
            };
            let mut peer = open(address, "/");
            let answer = Frame::binary(noise(LARGE, 1)).unmasked();
            let (first, rest) = answer.split_at(LARGE / 4);
            peer.text("ask");
            for _ in 0..5 {
                assert!(peer.bytes(first.len()) == first, "{slow_peer}, {is_layered}");
                if slow_peer == "pause" {
                    // Asked again while the rest is on its way.
                    peer.text("ask");
                }
                assert!(peer.bytes(rest.len()) == rest, "{slow_peer}, {is_layered}");
                if slow_peer == "close" {
                    peer.text("ask");
                }
            }
            assert_eq!(gateway.counters().slow_peers_closed, 0);
        }
    }
}

#[test]
fn who_takes_nothing_through_a_layer_is_closed_where_its_route_says_so() {
    let more = "[[route]]\npath = \"/\"\nhandler = \"echo\"\nmax_buffered_message = \"16KiB\"\n\
                backlog = \"1MiB\"\nslow_peer = \"close\"\n";
    let program = Program::default()
        .handlers(|_| Some(Box::new(Large) as Box<dyn Handler>))
        .layers(|_| Some(Box::new(Xor::default())));
    let gateway = HubGateway::start_with(1, more, program);
    let peer = open(relay(gateway.address()).expect("a relay"), "/");
    // Each question is more than is received at once, so the next comes while an answer waits to be
    // sealed; far more is answered than sockets on the way hold.
    let question = Frame::binary(noise(16 << 10, 1)).masked();
    let _asking = peer.send_meanwhile(question.repeat(1000));
    wait_until("it is closed", || (gateway.counters().slow_peers_closed == 1).then_some(()));
    // Answers that wait only to be sealed are not what is meant by a slow peer.
    assert_eq!(gateway.counters().slow_peers_paused, 0);
}

/// Takes nothing, or lets nothing in.
struct Wrong {
    opens: bool,
}

impl Layer for Wrong {
    fn open(
        &mut self,
        _: Slot,
        received: &mut [u8],
        _: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        if self.opens { Ok(OpenedInput::all(received.len())) } else { Err(Broken) }
    }

    fn seal(&mut self, _: Slot, _: &[u8], _: &mut [u8]) -> Sealed {
        Sealed { taken: 0, written: 0 }
    }
}

#[test]
fn who_cannot_be_opened_or_sealed_for_is_dropped() {
    for opens in [false, true] {
        let program = Program::default().layers(move |_| Some(Box::new(Wrong { opens })));
        let gateway = HubGateway::start_with(1, ROUTES, program);
        let mut peer = Peer::try_connect(gateway.address()).expect("it listens");
        peer.request(&Request::open("/echo"));
        peer.expect_end();
        let counted = gateway.expect_counters("it is gone", |counters| counters.connections == 0);
        assert_eq!(counted.transports_broken, u64::from(!opens));
    }
}

/// Changes nothing, but says something to what comes behind the request.
#[derive(Default)]
struct Talks {
    opened: usize,
}

impl Layer for Talks {
    fn open(
        &mut self,
        _: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        self.opened += 1;
        if self.opened > 1 {
            words.extend(b"words");
        }
        Ok(OpenedInput::all(received.len()))
    }

    fn seal(&mut self, _: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed {
        let count = plain.len().min(wire.len());
        wire[..count].copy_from_slice(&plain[..count]);
        Sealed { taken: count, written: count }
    }
}

#[test]
fn a_layer_with_words_amid_what_is_said_has_its_connection_closed() {
    let program = Program::default().layers(|_| Some(Box::<Talks>::default()));
    let gateway = HubGateway::start_with(1, ROUTES, program);
    let mut peer = open(gateway.address(), "/echo");
    peer.text("more");
    gateway.expect_counters("it is counted", |counters| counters.transports_broken == 1);
    drop(peer);
    gateway.expect_counters("it is gone", |counters| counters.connections == 0);
}

/// Changes nothing, but takes nothing for the first connection once it has had its response.
#[derive(Default)]
struct Fails {
    begun: usize,
    sealed: usize,
}

impl Layer for Fails {
    fn begin(&mut self, _: Slot) {
        self.begun += 1;
    }

    fn open(
        &mut self,
        _: Slot,
        received: &mut [u8],
        _: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        Ok(OpenedInput::all(received.len()))
    }

    fn seal(&mut self, _: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed {
        self.sealed += 1;
        if self.begun == 1 && self.sealed > 1 {
            return Sealed { taken: 0, written: 0 };
        }
        let count = plain.len().min(wire.len());
        wire[..count].copy_from_slice(&plain[..count]);
        Sealed { taken: count, written: count }
    }
}

#[test]
fn who_comes_into_the_slot_of_one_that_was_dropped_is_served() {
    let program = Program::default().layers(|_| Some(Box::new(Fails::default())));
    let gateway = HubGateway::start_with(1, ROUTES, program);
    let mut first = open(gateway.address(), "/echo");
    first.send([Frame::text("a").masked(), Frame::text("b").masked()].concat());
    first.expect_end();
    gateway.expect_counters("it is gone", |counters| counters.connections == 0);
    let mut second = open(gateway.address(), "/echo");
    for number in 0..20 {
        second.echo(&number.to_string());
    }
}
