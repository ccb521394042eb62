//! What one client may send, and how long it may stay.

use std::time::{Duration, Instant};

use tidegate_tests::{Frame, Gateway, PONG, Peer};

/// An echo on which each client may do what these lines say.
fn gateway(lines: &str) -> Gateway {
    Gateway::start(&format!("[[route]]\npath = '/echo'\nhandler = 'echo'\n{lines}\n"))
}

/// So many messages in one piece.
fn burst(count: usize, payload: &str) -> Vec<u8> {
    (0..count).flat_map(|_| Frame::text(payload).masked()).collect()
}

/// How long it takes until so many echoes are there.
fn echoes(peer: &mut Peer, count: usize, payload: &str) -> Duration {
    let began = Instant::now();
    (0..count).for_each(|_| peer.expect_text(payload));
    began.elapsed()
}

#[test]
fn who_sends_more_messages_than_it_may_is_read_from_later_and_loses_none() {
    let gateway = gateway("message_rate = 20\nmessage_burst = 10");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.send(burst(10, "all at once"));
    echoes(&mut peer, 10, "all at once");
    assert_eq!(gateway.fresh_counters().get("clients_slowed"), 0, "that is within its bound");
    // What one receive has brought is answered at once; what comes behind it is read when it may.
    peer.send(burst(20, "far more"));
    echoes(&mut peer, 20, "far more");
    peer.send(burst(5, "behind it"));
    let took = echoes(&mut peer, 5, "behind it");
    // Twenty-one of thirty-six are beyond the bound, less what has come to be allowed meanwhile.
    assert!(took > Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    gateway.expect_counter_from("clients_slowed", 1);
    // Others are none of its business.
    let mut other = Peer::open(&gateway, "/echo");
    other.echo("at once");
}

#[test]
fn the_rate_holds_in_the_long_run() {
    let gateway = gateway("message_rate = 100\nmessage_burst = 10");
    let mut peer = Peer::open(&gateway, "/echo");
    let began = Instant::now();
    for _ in 0..150 {
        peer.echo("again and again");
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1300), "{took:?} for 140 more than at once");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn bytes_are_counted_with_their_headers() {
    let gateway = gateway("byte_rate = '4KiB'\nbyte_burst = '8KiB'");
    let mut peer = Peer::open(&gateway, "/echo");
    let payload = "x".repeat(1000);
    for _ in 0..8 {
        peer.echo(&payload);
    }
    assert_eq!(gateway.fresh_counters().get("clients_slowed"), 0);
    let began = Instant::now();
    for _ in 0..8 {
        peer.echo(&payload);
    }
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    gateway.expect_counter_from("clients_slowed", 1);
}

#[test]
fn who_sends_too_much_is_closed_where_the_route_says_so() {
    let gateway = gateway("message_rate = 1\nmessage_burst = 10\nover_rate = 'close'");
    let mut peer = Peer::open(&gateway, "/echo");
    for _ in 0..10 {
        peer.echo("within");
    }
    peer.text("one too many");
    let reason = peer.expect_close(1008);
    assert_eq!(reason, "over_rate: it sends more than it may");
    // All that comes before it in the same piece is answered.
    let mut peer = Peer::open(&gateway, "/echo");
    peer.send(burst(15, "some of it"));
    echoes(&mut peer, 10, "some of it");
    peer.expect_close(1008);
}

/// The Close frame that comes behind whatever else does: its code and reason.
fn close_of(peer: &mut Peer) -> (Option<u16>, String) {
    let close = (0..1000).find_map(|_| Some(peer.read_frame()).filter(|one| one.opcode == 8));
    close.expect("it is closed").close_reason()
}

#[test]
fn who_owes_more_than_half_a_minute_is_closed_wherever_it_is_slowed() {
    let gateway = gateway("message_rate = 1\nmessage_burst = 5");
    let mut peer = Peer::open(&gateway, "/echo");
    let pings = |count: usize| (0..count).flat_map(|_| Frame::ping("").masked());
    peer.send(pings(2700).collect::<Vec<u8>>());
    let over_rate = (Some(1008), "over_rate: it sends more than it may".to_owned());
    assert_eq!(close_of(&mut peer), over_rate);
    // What may be paid for in less is answered.
    let mut peer = Peer::open(&gateway, "/echo");
    peer.send(pings(30).collect::<Vec<u8>>());
    for _ in 0..30 {
        assert_eq!(peer.read_frame().opcode, PONG);
    }
    gateway.expect_counter_from("clients_slowed", 1);
}

#[test]
fn half_a_message_of_a_slowed_client_has_twice_its_time_and_no_more() {
    let gateway = Gateway::start(
        "[[listener]]\naddress = '127.0.0.1:0'\nstack = 'ws?message=1s!tcp'\n\
         [[route]]\npath = '/room'\nhandler = 'hub?topic=room'\nmessage_rate = 1\n",
    );
    let mut peer = Peer::open(&gateway, "/room");
    let began = Instant::now();
    let mut bytes = Frame::text("half of it").unfinished().masked();
    bytes.extend((0..25).flat_map(|_| Frame::ping("").masked()));
    peer.send(bytes);
    let (code, reason) = close_of(&mut peer);
    let took = began.elapsed();
    assert_eq!(code, Some(1008), "{reason}");
    assert!(reason.starts_with("too_late"), "{reason}");
    assert!(took > Duration::from_millis(1900), "{took:?}");
    // It would be read from again after 24 seconds.
    assert!(took < Duration::from_secs(15), "{took:?}");
    gateway.expect_counter_from("clients_slowed", 1);
}

#[test]
fn pings_count_as_messages_because_they_are_answered() {
    let gateway = gateway("message_rate = 1\nmessage_burst = 3\nover_rate = 'close'");
    let mut peer = Peer::open(&gateway, "/echo");
    for _ in 0..3 {
        peer.frame(&Frame::ping("there?"));
        assert_eq!(peer.read_frame().opcode, PONG);
    }
    peer.frame(&Frame::ping("there?"));
    peer.expect_close(1008);
    let mut peer = Peer::open(&gateway, "/echo");
    (0..20).for_each(|_| peer.frame(&Frame::pong("")));
    peer.echo("these are answers");
}

#[test]
fn a_message_may_come_in_so_many_frames() {
    let gateway = gateway("max_frames = 5");
    let message = |frames: usize| {
        let frames = (0..frames).map(|at| {
            let frame = if at == 0 { Frame::text("a") } else { Frame::continuation("a") };
            if at + 1 == frames { frame } else { frame.unfinished() }
        });
        frames.flat_map(|frame| frame.masked()).collect::<Vec<_>>()
    };
    let mut peer = Peer::open(&gateway, "/echo");
    for frames in [1, 5, 2, 5] {
        peer.send(message(frames));
        assert_eq!(peer.message().1, "a".repeat(frames).as_bytes(), "{frames}");
    }
    // Two who take turns are counted each by itself, and one that goes leaves nothing behind.
    let mut other = Peer::open(&gateway, "/echo");
    for at in 0..4 {
        for peer in [&mut peer, &mut other] {
            let frame = if at == 0 { Frame::text("a") } else { Frame::continuation("a") };
            peer.frame(&frame.unfinished());
            assert_eq!(peer.read_frame().payload, b"a");
        }
    }
    other.reset();
    peer.frame(&Frame::continuation("a"));
    assert_eq!(peer.read_frame().payload, b"a");
    let mut other = Peer::open(&gateway, "/echo");
    other.send(message(5));
    assert_eq!(other.message().1, b"aaaaa");
    peer.send(message(6));
    let close = (0..6).find_map(|_| Some(peer.read_frame()).filter(|frame| frame.opcode == 8));
    let close = close.expect("it is closed");
    assert_eq!(close.payload[..2], 1009_u16.to_be_bytes());
    assert_eq!(&close.payload[2..], b"too_big: the message has more frames than it may");
}

#[test]
fn a_connection_lasts_as_long_as_its_route_says() {
    let gateway = gateway("lifetime = '2s'");
    let began = Instant::now();
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::open(&gateway, "/echo")).collect();
    for peer in &mut peers {
        peer.echo("what it says does not matter");
    }
    for peer in &mut peers {
        assert_eq!(peer.expect_close(1001), "lifetime: it was open for as long as it may be");
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1700), "{took:?}");
}

#[test]
fn who_says_nothing_is_closed_and_who_talks_is_not() {
    let gateway = gateway("idle = '2s'\nfirst_message = '1s'");
    let (mut silent, mut talks) = (Peer::open(&gateway, "/echo"), Peer::open(&gateway, "/echo"));
    let mut stops = Peer::open(&gateway, "/echo");
    stops.echo("once");
    let began = Instant::now();
    let until = |seconds| began + Duration::from_secs(seconds);
    while Instant::now() < until(1) {
        talks.echo("still here");
        // A Ping is no message.
        silent.frame(&Frame::ping(""));
        assert_eq!(silent.read_frame().opcode, PONG);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(silent.expect_close(1008), "silent: its first message did not come in time");
    talks.echo("still here");
    assert_eq!(stops.expect_close(1001), "idle: it has sent no message for too long");
    assert!(began.elapsed() > Duration::from_secs(2));
    talks.echo("and now");
}
