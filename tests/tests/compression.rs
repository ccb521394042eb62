//! permessage-deflate: what is agreed on, and what then travels (RFC 7692).

use std::time::{Duration, Instant};

use tidegate_tests::{
    BINARY, CONTINUATION, Codec, Frame, Gateway, PONG, Peer, RSV1, Request, TEXT, Witness, case,
    inflate, noise,
};

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// The largest message that is held whole by default, in bytes.
const BUFFERED_MAX: usize = 1 << 20;

/// Opens a connection with this offer; yields the answer too.
#[track_caller]
fn open(gateway: &Gateway, offer: &str) -> (Peer, Option<String>) {
    let request = Request::open("/echo").with(EXTENSIONS, offer);
    let (peer, response) = Peer::open_with(gateway, &request);
    (peer, response.header(EXTENSIONS).map(str::to_owned))
}

/// Opens a connection that is compressed.
#[track_caller]
fn compressed(gateway: &Gateway) -> Peer {
    let (peer, answer) = open(gateway, "permessage-deflate");
    assert!(answer.is_some());
    peer
}

/// Reads a message, whether it is compressed or not: its opcode, itself and its length as it
/// travelled.
#[track_caller]
fn message(peer: &mut Peer) -> (u8, Vec<u8>, usize) {
    let first = peer.read_frame();
    assert!(matches!(first.opcode, TEXT | BINARY), "{first:?}");
    assert!(matches!(first.rsv, 0 | RSV1), "{first:?}");
    let (mut fin, mut payload) = (first.fin, first.payload);
    while !fin {
        let next = peer.read_frame();
        // RFC 7692 section 6.1: RSV1 on the first frame only.
        assert_eq!((next.opcode, next.rsv), (CONTINUATION, 0), "{next:?}");
        payload.extend(next.payload);
        fin = next.fin;
    }
    let travelled = payload.len();
    let message = if first.rsv == RSV1 { inflate(&payload) } else { payload };
    (first.opcode, message, travelled)
}

/// `payload` is the message compressed; it is sent, and comes back.
#[track_caller]
fn expect_echo(peer: &mut Peer, opcode: u8, expected: &[u8]) {
    let (found, message, _) = message(peer);
    assert_eq!((found, message.len()), (opcode, expected.len()));
    assert!(message == expected, "the message is another one");
}

/// `message` as a compressed frame.
fn deflated(opcode: u8, message: impl AsRef<[u8]>) -> Frame {
    Frame::new(opcode, Codec::new(6).deflate(message.as_ref())).with_rsv(RSV1)
}

#[test]
fn section_7_1_offers_and_answers() {
    let gateway = Gateway::start("");
    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let with = |more: &str| Some(format!("{PLAIN}; {more}"));
    for (offer, answer) in [
        ("permessage-deflate", Some(PLAIN.into())),
        ("permessage-deflate; server_no_context_takeover", Some(PLAIN.into())),
        ("permessage-deflate; client_no_context_takeover", Some(PLAIN.into())),
        ("permessage-deflate; client_max_window_bits", Some(PLAIN.into())),
        ("permessage-deflate; server_max_window_bits=15", with("server_max_window_bits=15")),
        ("permessage-deflate; server_max_window_bits=9", with("server_max_window_bits=9")),
        ("permessage-deflate; server_max_window_bits=8", with("server_max_window_bits=8")),
        ("permessage-deflate; server_max_window_bits=\"10\"", with("server_max_window_bits=10")),
        ("permessage-deflate; client_max_window_bits=9", with("client_max_window_bits=9")),
        // The first one that can be accepted is.
        ("permessage-deflate; unknown, permessage-deflate", Some(PLAIN.into())),
        ("other, permessage-deflate", Some(PLAIN.into())),
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            with("server_max_window_bits=9"),
        ),
        // Declined, and the connection opens without.
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; unknown=1", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=09", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-Deflate", None),
        ("x-webkit-deflate-frame", None),
        // Some clients send the line without anything in it.
        ("", None),
    ] {
        case(offer, || {
            let (mut peer, found) = open(&gateway, offer);
            assert_eq!(found.as_deref().map(parameters), answer.as_deref().map(parameters));
            peer.echo("hello");
        });
    }
}

/// The parts of an extension, in an order that does not depend on how it was written.
fn parameters(extension: &str) -> Vec<String> {
    let mut parts: Vec<String> = extension.split(';').map(|part| part.trim().into()).collect();
    parts.sort();
    parts
}

#[test]
fn section_9_1_a_malformed_offer_is_a_bad_request() {
    let gateway = Gateway::start("");
    for offer in ["permessage-deflate;", "permessage-deflate; =1", "permessage-deflate; a=\"\""] {
        case(offer, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&Request::open("/echo").with(EXTENSIONS, offer));
            peer.expect_refusal(400);
        });
    }
}

#[test]
fn section_7_1_2_1_a_small_window_is_kept_to() {
    let gateway = Gateway::start("");
    // The second half repeats the first, so far behind it: only a larger window reaches back there.
    for (bits, distance, reaches) in [
        (8, 257, false),
        (9, 513, false),
        (9, 200, true),
        (10, 1025, false),
        (10, 700, true),
        (12, 4097, false),
        (12, 3000, true),
        (15, 7000, true),
    ] {
        case(format!("{distance} bytes back with {bits} bits"), || {
            let half = noise(distance, 1);
            let text = half.repeat(2);
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let (mut peer, _) = open(&gateway, &offer);
            peer.frame(&Frame::binary(&text));
            let (_, message, travelled) = message(&mut peer);
            assert!(message == text);
            assert_eq!(travelled < distance * 7 / 4, reaches, "{travelled} bytes");
        });
    }
}

#[test]
fn deflate_off_declines() {
    let gateway = Gateway::with_stack("ws?deflate=off!tcp");
    let (mut peer, answer) = open(&gateway, "permessage-deflate");
    assert_eq!(answer, None);
    peer.echo("hello");
    peer.send(&deflated(TEXT, "hello").masked()[..1]);
    peer.expect_failed(1002);
}

#[test]
fn section_7_2_compressed_messages_come_back() {
    let gateway = Gateway::start("");
    let mut peer = compressed(&gateway);
    for level in [0, 1, 6, 10] {
        for length in [0, 1, 5, 255, 256, 257, 32_767, 32_768, 32_769, 70_000, BUFFERED_MAX] {
            case(format!("{length} bytes at level {level}"), || {
                let text = "abcdefg hijklmnop qrs tuv wxyz ".repeat(length / 31 + 1);
                let text = &text.as_bytes()[..length];
                let payload = Codec::new(level).deflate(text);
                if payload.len() > BUFFERED_MAX {
                    return;
                }
                peer.frame(&Frame::text(&payload).with_rsv(RSV1));
                expect_echo(&mut peer, TEXT, text);
                let bytes = noise(length.min(BUFFERED_MAX / 2), level.into());
                peer.frame(&deflated(BINARY, &bytes));
                expect_echo(&mut peer, BINARY, &bytes);
            });
        }
    }
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn section_7_2_3_the_examples_of_the_rfc_come_back() {
    let gateway = Gateway::start("");
    let mut peer = compressed(&gateway);
    for (name, frames) in [
        ("one block", &[&b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"[..]][..]),
        ("two fragments", &[b"\x41\x03\xf2\x48\xcd", b"\x80\x04\xc9\xc9\x07\x00"]),
        ("no compression", &[b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"]),
        ("a block with BFINAL", &[b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"]),
        ("two blocks", &[b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"]),
    ] {
        case(name, || {
            for frame in frames {
                // As the examples are written, but masked, by a key of zeros.
                let head = [frame[0], 0x80 | frame[1], 0, 0, 0, 0];
                peer.send([&head[..], &frame[2..]].concat());
            }
            expect_echo(&mut peer, TEXT, b"Hello");
        });
    }
}

#[test]
fn section_6_a_message_may_stay_uncompressed() {
    let gateway = Gateway::start("");
    let mut peer = compressed(&gateway);
    let long = "not compressed by us ".repeat(100);
    for text in ["short", &long] {
        peer.text(text);
        expect_echo(&mut peer, TEXT, text.as_bytes());
        peer.frame(&deflated(TEXT, text));
        expect_echo(&mut peer, TEXT, text.as_bytes());
    }
}

#[test]
fn small_messages_are_sent_plain_and_large_ones_are_not() {
    let gateway = Gateway::with_stack("ws?deflate_min=100!tcp");
    let mut peer = compressed(&gateway);
    for (length, is_plain) in [(0, true), (99, true), (100, false), (5000, false)] {
        case(length, || {
            peer.frame(&Frame::binary(vec![b'a'; length]));
            let frame = peer.read_frame();
            assert!(frame.fin, "{frame:?}");
            assert_eq!(frame.rsv == 0, is_plain, "{frame:?}");
        });
    }
}

#[test]
fn section_6_1_fragments_with_a_ping_between_come_back() {
    let gateway = Gateway::start("");
    let mut peer = compressed(&gateway);
    let text = "compressed, and in fragments, ".repeat(50);
    let payload = deflated(TEXT, &text).payload;
    for cut in 0..=payload.len() {
        case(format!("split at {cut}"), || {
            peer.frame(&Frame::text(&payload[..cut]).with_rsv(RSV1).unfinished());
            peer.frame(&Frame::ping("between"));
            peer.frame(&Frame::continuation(&payload[cut..]));
            peer.expect(&Frame::pong("between"));
            expect_echo(&mut peer, TEXT, text.as_bytes());
        });
    }
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn a_compressed_message_comes_back_however_its_segments_are_split() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = compressed(&gateway);
    let bytes = noise(200, 1);
    let sent = deflated(BINARY, &bytes).masked();
    for cut in 1..sent.len() {
        case(format!("split at {cut}"), || {
            witness.send_apart(&mut peer, [&sent[..cut], &sent[cut..]]);
            expect_echo(&mut peer, BINARY, &bytes);
        });
    }
    witness.send_apart(&mut peer, sent.chunks(1));
    expect_echo(&mut peer, BINARY, &bytes);
}

#[test]
fn section_6_rsv1_without_agreement_fails() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.send(&deflated(TEXT, "hello").masked()[..1]);
    peer.expect_failed(1002);
}

#[test]
fn section_6_1_rsv1_where_it_may_not_be_fails() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let started = deflated(TEXT, "hello").unfinished();
    for (name, before, wrong) in [
        ("on a continuation", Some(&started), Frame::continuation("")),
        ("on a continuation of nothing", None, Frame::continuation("")),
        ("on a ping", None, Frame::ping("")),
        ("on a pong", None, Frame::pong("")),
        ("on a close", None, Frame::close(1000, "")),
    ] {
        case(name, || {
            let mut peer = compressed(&gateway);
            if let Some(frame) = before {
                peer.frame(frame);
            }
            peer.send(&wrong.with_rsv(RSV1).masked()[..1]);
            peer.expect_failed(1002);
            witness.check();
        });
    }
    for rsv in [0b010, 0b001, 0b110] {
        let mut peer = compressed(&gateway);
        peer.send(&Frame::text("").with_rsv(rsv).masked()[..1]);
        peer.expect_failed(1002);
    }
    gateway.expect_counter("connections", 1);
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn section_7_2_2_what_is_no_deflate_stream_fails() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let good = deflated(TEXT, "hello, this is cut before its end").payload;
    for (name, payload) in [
        ("a reserved type of block", b"\x07".to_vec()),
        ("a stored block with a wrong length", b"\x00\x05\x00\x00\x00hello".to_vec()),
        ("a distance before the start", b"\x02\x0c\x01\x00".to_vec()),
        ("noise", [&[0xFF], &noise(1000, 1)[..]].concat()),
        ("a stream that is cut", good[..good.len() - 5].to_vec()),
        ("a stored block that is cut", b"\x00\x05\x00\xfa\xffhel".to_vec()),
    ] {
        case(name, || {
            let mut peer = compressed(&gateway);
            peer.frame(&Frame::text(&payload).with_rsv(RSV1));
            expect_failed(&mut peer, 1007);
            let mut peer = compressed(&gateway);
            peer.frame(&Frame::text(&payload[..1]).with_rsv(RSV1).unfinished());
            peer.frame(&Frame::continuation(&payload[1..]));
            expect_failed(&mut peer, 1007);
            witness.check();
        });
    }
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn rfc_6455_section_8_1_compressed_text_must_be_utf_8() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let long = [&b"a".repeat(32_767)[..], "é".as_bytes()].concat();
    for (name, text, is_right) in [
        ("a wrong byte", &b"ok\xff"[..], false),
        ("an end within a character", b"ok\xc3", false),
        ("a character over what is inflated at once", &long, true),
        ("the same, broken off", &long[..long.len() - 1], false),
    ] {
        case(name, || {
            let mut peer = compressed(&gateway);
            peer.frame(&deflated(TEXT, text));
            if is_right {
                expect_echo(&mut peer, TEXT, text);
            } else {
                expect_failed(&mut peer, 1007);
            }
            let mut peer = compressed(&gateway);
            peer.frame(&deflated(BINARY, text));
            expect_echo(&mut peer, BINARY, text);
            witness.check();
        });
    }
}

#[test]
fn a_message_that_inflates_to_just_the_limit_is_echoed_and_one_more_byte_is_too_big() {
    let gateway = Gateway::start("");
    let mut peer = compressed(&gateway);
    let zeros = vec![0; BUFFERED_MAX + 1];
    peer.frame(&deflated(BINARY, &zeros[..BUFFERED_MAX]));
    expect_echo(&mut peer, BINARY, &zeros[..BUFFERED_MAX]);
    peer.frame(&deflated(BINARY, &zeros));
    expect_failed(&mut peer, 1009);
}

#[test]
fn section_8_a_bomb_is_too_big_and_takes_no_memory() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    // What is set up once, by the first compressed message, is not the bomb's.
    let mut peer = compressed(&gateway);
    peer.frame(&deflated(BINARY, vec![0; 100_000]));
    expect_echo(&mut peer, BINARY, &vec![0; 100_000]);
    let bomb = deflated(BINARY, vec![0; 64 << 20]).masked();
    let before = gateway.process().most_resident_bytes();
    for _ in 0..5 {
        let mut peer = compressed(&gateway);
        peer.send(&bomb);
        expect_failed(&mut peer, 1009);
        witness.check();
    }
    let grown = gateway.process().most_resident_bytes() - before;
    assert!(grown < 4 << 20, "{grown} bytes more");
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn a_large_compressed_message_comes_back_from_a_thousand_segments() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = compressed(&gateway);
    // Noise does not get shorter: 1 MiB less than what its blocks need for themselves.
    let bytes = noise(BUFFERED_MAX - 400, 1);
    let sent = deflated(BINARY, &bytes);
    assert!((bytes.len()..=BUFFERED_MAX).contains(&sent.payload.len()), "{sent:?}");
    let sent = sent.masked();
    witness.send_apart(&mut peer, sent.chunks(sent.len() / 1000));
    expect_echo(&mut peer, BINARY, &bytes);
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn a_compressed_message_over_the_limit_as_it_travels_is_too_big_at_once() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for length in [BUFFERED_MAX as u64 + 1, 10 << 20] {
        let mut peer = compressed(&gateway);
        // A header and one byte of the payload.
        peer.send(Frame::binary("x").with_rsv(RSV1).masked_with_length(127, length));
        expect_failed(&mut peer, 1009);
        witness.check();
    }
    let mut peer = compressed(&gateway);
    let half = vec![0; BUFFERED_MAX / 2 + 1];
    peer.frame(&Frame::binary(&half).with_rsv(RSV1).unfinished());
    peer.send(&Frame::continuation(&half).masked()[..20]);
    expect_failed(&mut peer, 1009);
    drop(peer);
    witness.check();
    gateway.expect_counter("connections", 1);
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn compressed_connections_do_not_mix() {
    let gateway = Gateway::start("");
    let mut peers: Vec<Peer> = (0..20).map(|_| compressed(&gateway)).collect();
    let text = |index: usize| format!("the text of peer {index} ").repeat(100);
    let frame = |index| deflated(TEXT, text(index)).masked();
    for part in 0..3 {
        for (index, peer) in peers.iter_mut().enumerate() {
            let frame = frame(index);
            let third = frame.len() / 3;
            let end = if part == 2 { frame.len() } else { (part + 1) * third };
            peer.send(&frame[part * third..end]);
        }
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        case(index, || expect_echo(peer, TEXT, text(index).as_bytes()));
    }
}

#[test]
fn pings_and_closes_are_not_compressed() {
    let gateway = Gateway::with_stack("ws?deflate_min=0!tcp");
    let mut peer = compressed(&gateway);
    let payload = [b'a'; 125];
    peer.frame(&Frame::ping(payload));
    let pong = peer.read_frame();
    assert_eq!((pong.opcode, pong.rsv, &pong.payload[..]), (PONG, 0, &payload[..]));
    peer.frame(&Frame::text(""));
    expect_echo(&mut peer, TEXT, b"");
    let close = Frame::close(1000, [b'a'; 123]);
    peer.frame(&close);
    peer.expect(&close);
    peer.expect_eof();
}

/// Reads what was echoed before it went wrong, and the failure.
#[track_caller]
fn expect_failed(peer: &mut Peer, code: u16) {
    loop {
        let frame = peer.read_frame();
        if !matches!(frame.opcode, TEXT | BINARY | CONTINUATION) {
            assert_eq!(frame.close_reason().0, Some(code));
            break;
        }
        assert!(!frame.fin, "{frame:?}");
    }
    peer.expect_eof();
}

/// Peers that make the gateway inflate a thousand times what they send delay each other, and not
/// those beside them: neither plain peers, nor compressed ones that send little.
#[test]
fn peers_whose_messages_inflate_much_wait_for_each_other_alone() {
    const BOMBS: usize = 40;
    const MESSAGES: usize = 12;
    let gateway = Gateway::start("");
    let mut plain = Peer::open(&gateway, "/echo");
    let mut small = compressed(&gateway);
    let message = deflated(BINARY, vec![0; BUFFERED_MAX]).masked();
    let mut bombs: Vec<Peer> = (0..BOMBS).map(|_| compressed(&gateway)).collect();
    for peer in &mut bombs {
        peer.send(message.repeat(MESSAGES));
    }
    let mut slowest = Duration::ZERO;
    while gateway.counters().get("messages_in") < (BOMBS * MESSAGES) as u64 {
        let started = Instant::now();
        plain.echo("beside");
        small.echo("beside too");
        slowest = slowest.max(started.elapsed());
    }
    // All of it takes seconds: whoever had to wait for it would be far over this.
    assert!(slowest < Duration::from_millis(500), "an echo took {slowest:?}");
    assert!(gateway.counters().get("inputs_put_off") > 0);
    for peer in &mut bombs {
        for _ in 0..MESSAGES {
            expect_echo(peer, BINARY, &vec![0; BUFFERED_MAX]);
        }
    }
    gateway.expect_counter("blocks_used", 0);
}

/// What must be whole before it is looked at takes memory meanwhile, and may not for ever.
#[test]
fn a_message_that_does_not_become_whole_in_time_is_given_up() {
    let gateway = Gateway::with_stack("ws?message=1s!tcp");
    let mut witness = Witness::new(&gateway);
    let half = Frame::text("half").with_rsv(RSV1).unfinished().masked();
    let ping = Frame::ping("half").masked();
    for (name, begun) in [("a message", &half[..]), ("a control frame", &ping[..8])] {
        case(name, || {
            let mut peer = compressed(&gateway);
            peer.send(begun);
            peer.expect_failed(1008);
            witness.check();
        });
    }
    assert_eq!(gateway.expect_counter_from("messages_too_slow", 2), 2);
    gateway.expect_counter("blocks_used", 0);
}
