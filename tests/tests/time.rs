//! Deadlines: what was said in time counts as said in time, whatever the process had time for, and
//! each cause has one.

use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::hub::{HubGateway, topic};
use tidegate_tests::{Frame, Gateway, PING, Peer, RSV1, Request, Signal, case};

/// Stops the process, and lets it go on after a pause.
fn pause(gateway: &Gateway, meanwhile: impl FnOnce()) {
    gateway.signal(Signal::STOP);
    meanwhile();
    thread::sleep(Duration::from_secs(3));
    gateway.signal(Signal::CONT);
}

#[test]
fn a_pong_that_came_during_a_pause_of_the_process_counts() {
    let gateway = Gateway::with_stack("ws?ping=1s&pong=1s!tcp");
    for round in 0..5 {
        case(round, || {
            let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(&gateway, "/echo")).collect();
            for peer in &mut peers {
                assert_eq!(peer.read_frame().opcode, PING);
            }
            pause(&gateway, || peers.iter_mut().for_each(|peer| peer.frame(&Frame::pong(""))));
            for peer in &mut peers {
                peer.echo("still here");
            }
        });
    }
    assert_eq!(gateway.fresh_counters().get("peers_gone"), 0);
}

#[test]
fn a_head_and_an_answered_close_that_came_during_a_pause_of_the_process_count() {
    let gateway = Gateway::with_stack("ws?head=1s&close=1s!tcp");
    let head = Request::open("/echo").bytes();
    let (first, rest) = head.split_at(20);
    let mut late = Peer::connect(&gateway);
    late.send(first);
    // Closed for what it says, while it goes on.
    let mut failing = Peer::open(&gateway, "/echo");
    pause(&gateway, || {
        late.send(rest);
        failing.frame(&Frame::close(1000, "bye"));
    });
    late.expect_open();
    late.echo("served");
    failing.expect_close(1000);
    failing.expect_eof();
    let counters = gateway.fresh_counters();
    assert_eq!((counters.get("refused_head_timeout"), counters.get("close_timeouts")), (0, 0));
    assert!(counters.get("pauses") > 0);
}

#[test]
fn who_reads_slowly_and_acknowledges_is_not_gone() {
    let gateway = HubGateway::start(
        1,
        &ROOM.replace("message=2s", "ping=1s&pong=1s").replace("16KiB", "128KiB"),
    );
    let mut peer = gateway.open("/room").peer;
    peer.socket().set_recv_buffer_size(4096).expect("an option of every socket");
    // Less than the send buffer takes: nothing waits in the gateway itself.
    let payload = vec![b'x'; 120_000];
    gateway.try_publish(topic("room"), TEXT_KIND, &payload).expect("room for it");
    // At 16 kB a second, the Ping that follows is read after seven seconds.
    let began = Instant::now();
    let header = 10;
    let mut left = payload.len() + header;
    while left > 0 {
        let count = left.min(1600);
        peer.bytes(count);
        left -= count;
        thread::sleep(Duration::from_millis(100));
    }
    assert!(began.elapsed() > Duration::from_secs(5));
    assert_eq!(peer.read_frame().opcode, PING);
    peer.frame(&Frame::pong(""));
    gateway.publish(topic("room"), "still here");
    peer.expect_text("still here");
    assert_eq!(gateway.counters().peers_gone, 0);
}

#[test]
fn who_does_not_answer_a_ping_is_gone_in_time() {
    let gateway = Gateway::with_stack("ws?ping=1s&pong=1s!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    let began = Instant::now();
    assert_eq!(peer.read_frame().opcode, PING);
    peer.expect_eof();
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(5), "{took:?}");
}

/// A member of a room whose half messages may take a second.
fn half(gateway: &HubGateway) -> Peer {
    let mut member = gateway.open("/room");
    member.peer.frame(&Frame::text("half").unfinished());
    member.peer
}

const ROOM: &str = r#"
    [[listener]]
    address = "127.0.0.1:0"
    stack = "ws?message=2s&close=1s!tcp?sndbuf=16KiB"
    [[route]]
    path = "/room"
    handler = "hub?topic=room"
"#;

#[test]
fn a_half_message_has_one_deadline_whatever_else_is_said_and_read() {
    let gateway = HubGateway::start(1, ROOM);
    let mut peer = half(&gateway);
    peer.socket().set_recv_buffer_size(4096).expect("an option of every socket");
    let began = Instant::now();
    // It stops reading, so that much waits for it, and reads again; and sends Pings all the while.
    let frame = loop {
        assert!(began.elapsed() < Duration::from_secs(8), "it has all the time");
        for _ in 0..20 {
            let _ = gateway.try_publish(topic("room"), TEXT_KIND, &[b'x'; 20_000]);
        }
        if peer.try_send(Frame::ping("").masked()).is_err() {
            break None;
        }
        thread::sleep(Duration::from_millis(300));
        let mut last = None;
        peer.set_patience(Duration::from_millis(50));
        while let Ok(frame) = peer.try_read_frame() {
            last = Some(frame);
        }
        if last.as_ref().is_some_and(|frame| frame.opcode == tidegate_tests::CLOSE) {
            break last;
        }
    };
    if let Some(frame) = frame {
        assert_eq!(frame.payload[..2], 1008_u16.to_be_bytes(), "{frame:?}");
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(5), "{took:?}");
    gateway.expect_counters("one was too slow", |now| now.messages_too_slow == 1);
}

const TEXT_KIND: tidegate_proto::message::Kind = tidegate_proto::message::Kind::Text;

/// The last half of a message and the first of the next in each write, as from a buffer of fixed
/// size.
#[test]
fn the_deadline_of_a_half_message_is_not_that_of_the_next() {
    let gateway = HubGateway::start(1, ROOM);
    let mut member = gateway.open("/room");
    let message = Frame::text("x".repeat(1000)).masked();
    let (first, rest) = message.split_at(500);
    let straddling = [rest, first].concat();
    member.peer.send(first);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        member.peer.send(&straddling);
        assert_eq!(member.peer.read_frame().payload.len(), 1000);
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn pieces_that_trickle_in_put_no_deadline_off() {
    let gateway = Gateway::with_stack("ws?message=1s!tcp");
    let deflate = Request::open("/echo").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut peer = Peer::open_with(&gateway, &deflate).0;
    let began = Instant::now();
    peer.send(Frame::binary("x").with_rsv(RSV1).masked_with_length(127, 100_000));
    peer.set_patience(Duration::from_millis(1));
    while peer.try_peek().is_err() && began.elapsed() < Duration::from_secs(5) {
        let _ = peer.try_send([0]);
        thread::sleep(Duration::from_millis(300));
    }
    peer.set_patience(tidegate_tests::PATIENCE);
    peer.expect_close(1008);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn bytes_that_trickle_in_put_the_end_of_a_closing_connection_off_no_further() {
    let gateway = HubGateway::start(1, ROOM);
    let mut member = gateway.open("/room");
    let id = member.id;
    let request = tidegate::hub::Errand::Disconnect(
        tidegate::hub::Target::Connection(id),
        tidegate::hub::Why::wish(4000, "away"),
    );
    assert_eq!(gateway.done(request), Ok(1));
    let began = Instant::now();
    // The beginning of a large message, byte by byte, and never the Close frame.
    let _ = member.peer.try_send(Frame::binary("x").masked_with_length(127, 100_000));
    while member.peer.try_send([0]).is_ok() && began.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(200));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    gateway.expect_counters("a closing handshake took too long", |now| now.close_timeouts == 1);
}
