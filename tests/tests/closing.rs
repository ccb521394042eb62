//! The ends of a connection (RFC 6455 sections 5.5.1 and 7), and how silence is noticed.

use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{BINARY, CLOSE, Frame, Gateway, PING, Peer, Request, Witness, case, noise};

/// Waits until only the witness is left and holds nothing.
#[track_caller]
fn expect_nothing_left(gateway: &Gateway) {
    gateway.expect_counter("connections", 1);
    gateway.expect_counter("connections_open", 1);
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn section_5_5_1_a_close_is_answered_with_the_same() {
    let gateway = Gateway::start("");
    let longest = "r".repeat(123);
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
    {
        for reason in ["", "bye", "schön war’s 🌊", &longest] {
            case(format!("{code} \"{reason}\""), || {
                let mut peer = Peer::open(&gateway, "/echo");
                let close = Frame::close(code, reason);
                peer.frame(&close);
                peer.expect(&close);
                peer.expect_eof();
            });
        }
    }
    let _witness = Witness::new(&gateway);
    assert_eq!(gateway.fresh_counters().get("protocol_errors"), 0);
}

#[test]
fn section_5_5_1_an_empty_close_is_answered_with_an_empty_one() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::new(CLOSE, ""));
    peer.expect(&Frame::new(CLOSE, ""));
    peer.expect_eof();
}

#[test]
fn section_5_5_1_a_close_may_be_split_anywhere() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let close = Frame::close(4000, "split");
    let bytes = close.masked();
    for cut in 1..bytes.len() {
        case(format!("split at {cut}"), || {
            let mut peer = Peer::open(&gateway, "/echo");
            witness.send_apart(&mut peer, [&bytes[..cut], &bytes[cut..]]);
            peer.expect(&close);
            peer.expect_eof();
        });
    }
    expect_nothing_left(&gateway);
}

#[test]
fn section_5_5_1_a_close_may_come_inside_of_a_message() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::text("half ").unfinished());
    peer.frame(&Frame::close(1001, "leaving"));
    peer.expect(&Frame::text("half ").unfinished());
    peer.expect(&Frame::close(1001, "leaving"));
    peer.expect_eof();
}

#[test]
fn section_5_5_1_a_close_body_of_one_byte_fails() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::new(CLOSE, "x"));
    peer.expect_failed(1002);
    witness.check();
}

#[test]
fn section_7_4_a_code_that_may_not_travel_fails() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 9999, 32_768, 65_535,
    ] {
        case(code, || {
            let mut peer = Peer::open(&gateway, "/echo");
            peer.frame(&Frame::close(code, "wrong"));
            peer.expect_failed(1002);
            witness.check();
        });
    }
}

#[test]
fn section_5_5_1_a_reason_that_is_not_utf_8_fails() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for reason in [&b"\xff"[..], b"ok\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"bye \xf4\x90\x80\x80"] {
        case(reason.escape_ascii(), || {
            let mut peer = Peer::open(&gateway, "/echo");
            peer.frame(&Frame::close(1000, reason));
            peer.expect_failed(1007);
            witness.check();
        });
    }
}

#[test]
fn section_5_5_1_what_comes_behind_a_close_is_ignored() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for (name, behind) in [
        ("text", Frame::text("too late").masked()),
        ("ping", Frame::ping("too late").masked()),
        ("another close", Frame::close(1001, "").masked()),
        ("a broken frame", b"\xff\xff\xff\xff".to_vec()),
        ("much", noise(100_000, 1)),
    ] {
        case(name, || {
            let mut peer = Peer::open(&gateway, "/echo");
            peer.send([Frame::close(1000, "").masked(), behind].concat());
            peer.expect_close(1000);
            peer.expect_end();
            witness.check();
        });
    }
    assert_eq!(gateway.fresh_counters().get("messages_in"), 1 + 5, "the witness's own");
}

#[test]
fn section_7_1_1_the_gateway_ends_the_connection_first() {
    let gateway = Gateway::start("");
    let _witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::close(1000, ""));
    // We never end it ourselves.
    peer.expect_close(1000);
    peer.expect_eof();
    expect_nothing_left(&gateway);
    assert_eq!(gateway.counters().get("ended_abruptly"), 0);
}

#[test]
fn a_close_behind_messages_comes_behind_their_echo() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    let payload = noise(1 << 20, 2);
    let bytes = [Frame::binary(&payload).masked(), Frame::close(1000, "all").masked()].concat();
    let sending = peer.send_meanwhile(bytes);
    peer.expect_binary(&payload);
    peer.expect(&Frame::close(1000, "all"));
    peer.expect_eof();
    sending.join().unwrap();
}

#[test]
fn a_peer_that_vanishes_leaves_nothing_behind_whatever_it_was_at() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let message = Frame::text("hello").masked();
    let large = Frame::binary(noise(100_000, 1)).masked();
    type Start = fn(&Gateway) -> Peer;
    let connect: Start = Peer::connect;
    let open: Start = |gateway| Peer::open(gateway, "/echo");
    let states = [
        ("before its head", connect, vec![]),
        ("in its head", connect, b"GET /echo HTTP/1.1\r\nHo".to_vec()),
        ("behind its head", connect, Request::open("/echo").bytes()),
        ("behind a page", connect, Request::plain("GET", "/").bytes()),
        ("open and idle", open, vec![]),
        ("in a header", open, message[..1].to_vec()),
        ("in a frame", open, message[..8].to_vec()),
        ("in a large frame", open, large[..50_000].to_vec()),
        ("in a message", open, Frame::text("part").unfinished().masked()),
        ("in a control frame", open, Frame::ping("ping").masked()[..8].to_vec()),
        ("behind its close", open, Frame::close(1000, "").masked()),
    ];
    for (name, start, bytes) in &states {
        case(name, || {
            let mut peer = start(&gateway);
            peer.send(bytes);
            peer.reset();
            let mut peer = start(&gateway);
            witness.send_apart(&mut peer, [bytes]);
            peer.reset();
            let mut peer = start(&gateway);
            witness.send_apart(&mut peer, [bytes]);
            drop(peer);
            witness.check();
        });
    }
    expect_nothing_left(&gateway);
}

#[test]
fn a_peer_that_vanishes_in_a_failed_connection_leaves_nothing_behind() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for wrong in [&b"\x83"[..], b"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00"] {
        for count in 0..10 {
            let mut peer = Peer::open(&gateway, "/echo");
            peer.send(wrong);
            if count % 2 == 0 {
                witness.check();
            }
            peer.reset();
        }
    }
    expect_nothing_left(&gateway);
}

#[test]
fn a_peer_that_has_finished_sending_gets_its_answers() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for length in [0, 1, 1000, 100_000, 1 << 20, 6 << 20] {
        case(format!("{length} bytes"), || {
            let payload = noise(length, 9);
            let mut peer = Peer::open(&gateway, "/echo");
            peer.send_then_finish(Frame::binary(&payload).masked());
            peer.expect_binary(&payload);
            peer.expect_eof();
            witness.check();
        });
    }
    expect_nothing_left(&gateway);
}

#[test]
fn a_peer_that_does_not_answer_a_close_is_given_up() {
    let gateway = Gateway::with_stack("ws?close=1s!tcp");
    let _witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    peer.send(b"\x83");
    peer.expect_failed(1002);
    gateway.expect_counter("close_timeouts", 1);
    expect_nothing_left(&gateway);
}

#[test]
fn a_peer_that_goes_on_sending_after_it_failed_is_given_up() {
    let gateway = Gateway::with_stack("ws?close=1s!tcp");
    let _witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    peer.send(b"\x83");
    peer.expect_failed(1002);
    let begun = Instant::now();
    while peer.try_send(Frame::text("do you hear me").masked()).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the deadline is one second");
    }
    expect_nothing_left(&gateway);
    assert_eq!(gateway.fresh_counters().get("messages_in"), 1, "the witness's own");
}

#[test]
fn a_peer_that_does_not_read_a_page_is_given_up() {
    let gateway = Gateway::with_stack("ws?close=1s!tcp?sndbuf=4KiB");
    let _witness = Witness::new(&gateway);
    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::plain("GET", "/"));
    gateway.expect_counter("pages", 1);
    expect_nothing_left(&gateway);
}

#[test]
fn section_5_5_2_a_silent_peer_is_pinged_and_kept_as_long_as_it_answers() {
    let gateway = Gateway::with_stack("ws?ping=1s&pong=1s!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    for _ in 0..2 {
        let begun = Instant::now();
        let ping = peer.read_frame();
        assert_eq!(ping.opcode, PING, "{ping:?}");
        assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
        peer.frame(&Frame::pong(&ping.payload));
    }
    peer.echo("still here");
    assert_eq!(gateway.fresh_counters().get("peers_gone"), 0);
}

#[test]
fn a_peer_that_does_not_answer_a_ping_is_gone() {
    let gateway = Gateway::with_stack("ws?ping=1s&pong=1s!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    assert_eq!(peer.read_frame().opcode, PING);
    let begun = Instant::now();
    peer.expect_end();
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(gateway.expect_counter_from("peers_gone", 1), 1);
}

#[test]
fn anything_answers_a_ping() {
    let gateway = Gateway::with_stack("ws?ping=1s&pong=1s!tcp");
    let text = Frame::text("hello").masked();
    let answers = [
        ("a pong of something else", Frame::pong("else").masked()),
        ("a ping", Frame::ping("").masked()),
        ("a message", text.clone()),
        ("a byte of a frame", text[..1].to_vec()),
    ];
    // All at once, because each takes some seconds.
    let mut peers = answers.each_ref().map(|_| Peer::open(&gateway, "/echo"));
    for (peer, (name, answer)) in peers.iter_mut().zip(&answers) {
        case(name, || assert_eq!(peer.read_frame().opcode, PING));
        peer.send(answer);
    }
    for (peer, (name, _)) in peers.iter_mut().zip(&answers) {
        // Another ping, which would not come to a peer that is gone.
        case(name, || while peer.read_frame().opcode != PING {});
    }
}

#[test]
fn a_peer_that_sends_anything_at_all_is_not_pinged() {
    let gateway = Gateway::with_stack("ws?ping=1s&pong=1s!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    let payload = noise(2, 1);
    // The time between two bytes is what is tested: nothing could be awaited in its place.
    for byte in Frame::binary(&payload).masked() {
        peer.send([byte]);
        thread::sleep(Duration::from_millis(300));
    }
    peer.expect_binary(&payload);
    assert_eq!(gateway.fresh_counters().get("pings"), 0);
}

#[test]
fn nobody_is_pinged_where_that_is_off() {
    let gateway = Gateway::with_stack("ws?ping=off!tcp");
    let mut pinged = Peer::open(&gateway, "/echo");
    pinged.set_patience(Duration::from_secs(2));
    assert!(pinged.try_read_frame().is_err());
    pinged.echo("still here");
}

#[test]
fn a_silent_peer_is_given_up_inside_of_a_message_too() {
    let gateway = Gateway::with_stack("ws?ping=1s&pong=1s!tcp");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.send(&Frame::binary([0; 10]).masked()[..10]);
    let part = peer.read_frame();
    assert_eq!((part.opcode, part.fin), (BINARY, false));
    assert_eq!(peer.read_frame().opcode, PING);
    peer.expect_end();
}
