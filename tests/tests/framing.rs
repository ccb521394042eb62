//! Frames and messages, right and wrong (RFC 6455 sections 5, 7.4.1 and 8.1).

use tidegate_tests::{
    BINARY, CLOSE, CONTINUATION, Frame, Gateway, PING, PONG, Peer, TEXT, Witness, case, noise,
};

/// The most that a message of [`small`] may have, in bytes.
const MAX: usize = 1000;

/// Text of characters of one, two, three and four bytes.
const TEXTS: &str = "aé€𝄞zß水🌊";

/// Texts that end with their first byte that is wrong, by what is wrong with it (RFC 3629).
const WRONG_TEXTS: [(&str, &[u8]); 16] = [
    ("a continuation that continues nothing", b"ok\x80"),
    ("another one", b"ok\xbf"),
    ("an overlong character of two bytes", b"ok\xc0"),
    ("another one of two bytes", b"ok\xc1"),
    ("an overlong character of three bytes", b"ok\xe0\x9f"),
    ("an overlong character of four bytes", b"ok\xf0\x8f"),
    ("a surrogate", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0"),
    ("another surrogate", b"ok\xed\xbf"),
    ("a code point over U+10FFFF", b"ok\xf4\x90"),
    ("a lead of five bytes", b"ok\xf8"),
    ("a lead of six bytes", b"ok\xfc"),
    ("0xFE", b"ok\xfe"),
    ("0xFF", b"ok\xff"),
    ("a character of two bytes broken off", b"ok\xc3("),
    ("a character of three bytes broken off", b"ok\xe2\x82("),
    ("a character of four bytes broken off", b"ok\xf0\x9f\x8c("),
];

/// A gateway that takes messages of up to [`MAX`] bytes.
fn small() -> Gateway {
    Gateway::start(&format!(
        "[[route]]\npath = \"/echo\"\nhandler = \"echo\"\nmax_message = {MAX}\n"
    ))
}

/// Each of these bytes, on a connection of its own, fails it with `code`; so do they byte by byte.
#[track_caller]
fn fail(gateway: &Gateway, code: u16, cases: &[(&str, Vec<u8>)]) {
    let mut witness = Witness::new(gateway);
    for (name, bytes) in cases {
        case(name, || {
            let mut peer = Peer::open(gateway, "/echo");
            peer.send(bytes);
            peer.expect_failed(code);
            witness.check();
            let mut peer = Peer::open(gateway, "/echo");
            witness.send_apart(&mut peer, bytes.chunks(1));
            peer.expect_failed(code);
            witness.check();
        });
    }
    gateway.expect_counter("protocol_errors", 2 * cases.len() as u64);
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn section_5_1_an_unmasked_frame_fails() {
    let gateway = Gateway::start("");
    // What comes behind the two bytes that are wrong is not looked at, so it is not sent either:
    // nothing is in flight when the connection ends.
    let start = |frame: Frame| frame.unmasked()[..2].to_vec();
    fail(
        &gateway,
        1002,
        &[
            ("text", start(Frame::text("hello"))),
            ("text without payload", start(Frame::text(""))),
            ("bytes with a long length", start(Frame::binary(vec![0; 70_000]))),
            ("ping", start(Frame::ping("hello"))),
            ("close", start(Frame::close(1000, ""))),
        ],
    );
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::text("masked").unfinished());
    peer.expect(&Frame::text("masked").unfinished());
    peer.send(start(Frame::continuation("not")));
    peer.expect_failed(1002);
}

#[test]
fn section_5_2_reserved_bits_fail() {
    let gateway = Gateway::start("");
    for rsv in 1..8 {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            case(format!("bits {rsv:03b} on opcode {opcode:#x}"), || {
                let mut peer = Peer::open(&gateway, "/echo");
                peer.send(&Frame::new(opcode, "").with_rsv(rsv).masked()[..1]);
                peer.expect_failed(1002);
            });
        }
    }
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::text("a").unfinished());
    peer.expect(&Frame::text("a").unfinished());
    peer.frame(&Frame::continuation("b").with_rsv(0b100));
    peer.expect_failed(1002);
}

#[test]
fn section_5_2_reserved_opcodes_fail() {
    let gateway = Gateway::start("");
    let cases: Vec<_> = [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF]
        .map(|opcode| (format!("opcode {opcode:#x}"), vec![0x80 | opcode]))
        .to_vec();
    let cases: Vec<_> = cases.iter().map(|(name, bytes)| (&name[..], bytes.clone())).collect();
    fail(&gateway, 1002, &cases);
}

#[test]
fn section_5_2_a_length_that_is_not_the_shortest_fails() {
    let gateway = Gateway::start("");
    let frame = |payload: usize| Frame::binary(vec![0; payload]);
    let short = |length: usize| frame(length).masked_with_length(126, length as u64)[..4].to_vec();
    let long = |length: usize| frame(length).masked_with_length(127, length as u64)[..10].to_vec();
    fail(
        &gateway,
        1002,
        &[
            ("0 in two bytes", short(0)),
            ("125 in two bytes", short(125)),
            ("0 in eight bytes", long(0)),
            ("125 in eight bytes", long(125)),
            ("126 in eight bytes", long(126)),
            ("65535 in eight bytes", long(65_535)),
        ],
    );
}

#[test]
fn section_5_2_the_top_bit_of_a_long_length_fails() {
    let gateway = Gateway::start("");
    fail(
        &gateway,
        1002,
        &[
            ("alone", b"\x82\xff\x80".to_vec()),
            ("with all others", b"\x82\xff\xff".to_vec()),
            ("of a text", b"\x81\xff\x80".to_vec()),
        ],
    );
}

#[test]
fn section_5_4_fragments_out_of_order_fail() {
    let gateway = small();
    let mut witness = Witness::new(&gateway);
    let started = [Frame::text("a").unfinished()];
    let ended = [Frame::text("a").unfinished(), Frame::continuation("b")];
    for (name, before, wrong) in [
        ("a continuation of nothing", &[][..], Frame::continuation("a")),
        ("one that is not the last", &[][..], Frame::continuation("a").unfinished()),
        ("a continuation of what has ended", &ended, Frame::continuation("c")),
        ("a text inside of a text", &started, Frame::text("b")),
        ("bytes inside of a text", &started, Frame::binary("b")),
        ("a start inside of a text", &started, Frame::text("b").unfinished()),
    ] {
        case(name, || {
            let mut peer = Peer::open(&gateway, "/echo");
            for frame in before {
                peer.frame(frame);
                peer.expect(frame);
            }
            peer.frame(&wrong);
            peer.expect_failed(1002);
            witness.check();
        });
    }
}

#[test]
fn section_5_4_control_frames_may_come_between_fragments() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::text("one ").unfinished());
    peer.frame(&Frame::ping("and"));
    peer.frame(&Frame::pong("ignored"));
    peer.frame(&Frame::continuation("").unfinished());
    peer.frame(&Frame::ping(""));
    peer.frame(&Frame::continuation("two"));
    peer.expect(&Frame::text("one ").unfinished());
    peer.expect(&Frame::pong("and"));
    peer.expect(&Frame::continuation("").unfinished());
    peer.expect(&Frame::pong(""));
    peer.expect(&Frame::continuation("two"));
}

#[test]
fn section_5_4_a_control_frame_may_be_split_between_the_parts_of_a_message() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    let frames = [Frame::text("€").unfinished(), Frame::ping("between"), Frame::continuation("€")];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::masked).collect();
    witness.send_apart(&mut peer, bytes.chunks(1));
    let mut text = Vec::new();
    loop {
        let frame = peer.read_frame();
        match frame.opcode {
            PONG => assert_eq!(frame, Frame::pong("between")),
            _ => text.extend(frame.payload),
        }
        if frame.fin && frame.opcode == CONTINUATION {
            break;
        }
    }
    assert_eq!(text, "€€".as_bytes());
}

#[test]
fn section_5_5_a_fragmented_control_frame_fails() {
    let gateway = Gateway::start("");
    fail(
        &gateway,
        1002,
        &[
            ("ping", Frame::ping("").unfinished().masked()[..1].to_vec()),
            ("pong", Frame::pong("").unfinished().masked()[..1].to_vec()),
            ("close", Frame::close(1000, "").unfinished().masked()[..1].to_vec()),
        ],
    );
}

#[test]
fn section_5_5_an_oversized_control_frame_fails() {
    let gateway = Gateway::start("");
    fail(
        &gateway,
        1002,
        &[
            ("ping of 126", Frame::ping([0; 126]).masked()[..2].to_vec()),
            ("pong of 126", Frame::pong([0; 126]).masked()[..2].to_vec()),
            ("close of 126", Frame::close(1000, [b'a'; 124]).masked()[..2].to_vec()),
            ("ping of 65536", Frame::ping(vec![0; 65_536]).masked()[..2].to_vec()),
            ("ping of 5 in two bytes", Frame::ping("12345").masked_with_length(126, 5)[..2].into()),
        ],
    );
}

#[test]
fn section_5_5_2_a_ping_is_answered_with_its_payload() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    for length in [0, 1, 2, 124, 125] {
        let payload = noise(length, length as u64);
        let bytes = Frame::ping(&payload).masked();
        case(format!("of {length} bytes"), || {
            peer.send(&bytes);
            peer.expect(&Frame::pong(&payload));
        });
        for cut in 1..bytes.len() {
            case(format!("of {length} bytes, split at {cut}"), || {
                witness.send_apart(&mut peer, [&bytes[..cut], &bytes[cut..]]);
                peer.expect(&Frame::pong(&payload));
            });
        }
    }
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn section_5_5_2_a_ping_is_answered_byte_by_byte_too() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    let payload = noise(125, 1);
    witness.send_apart(&mut peer, Frame::ping(&payload).masked().chunks(1));
    peer.expect(&Frame::pong(&payload));
}

#[test]
fn section_5_5_3_an_unsolicited_pong_is_ignored() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    for payload in ["", "unasked", &"x".repeat(125)] {
        peer.frame(&Frame::pong(payload));
        peer.echo("hello");
    }
}

#[test]
fn section_5_6_text_stays_text_and_bytes_stay_bytes() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    for frame in [Frame::text("text"), Frame::binary(b"\xff\x00\x80"), Frame::text(TEXTS)] {
        peer.frame(&frame);
        peer.expect(&frame);
    }
    peer.frame(&Frame::binary(b"\xff").unfinished());
    peer.frame(&Frame::continuation(b"\xfe"));
    peer.expect_binary(b"\xff\xfe");
}

#[test]
fn section_5_6_empty_messages_are_messages() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::text(""));
    peer.expect(&Frame::text(""));
    peer.frame(&Frame::binary("").unfinished());
    peer.frame(&Frame::continuation("").unfinished());
    peer.frame(&Frame::continuation(""));
    assert_eq!(peer.message(), (BINARY, vec![]));
    peer.echo("behind");
}

#[test]
fn section_8_1_wrong_text_fails_at_its_first_wrong_byte() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for (name, text) in WRONG_TEXTS {
        case(name, || {
            // The header announces more than is ever sent.
            let whole = [text, b"and the rest"].concat();
            let frame = Frame::text(&whole).masked();
            let sent = &frame[..frame.len() - b"and the rest".len()];
            let mut peer = Peer::open(&gateway, "/echo");
            peer.send(sent);
            expect_failed_text(&mut peer);
            let mut peer = Peer::open(&gateway, "/echo");
            witness.send_apart(&mut peer, sent.chunks(1));
            expect_failed_text(&mut peer);
            witness.check();
        });
    }
}

#[test]
fn section_8_1_wrong_text_fails_wherever_its_fragments_are_split() {
    let gateway = Gateway::start("");
    for (name, text) in WRONG_TEXTS {
        for cut in 0..=text.len() {
            case(format!("{name}, fragments of {cut} and the rest"), || {
                let mut peer = Peer::open(&gateway, "/echo");
                peer.frame(&Frame::text(&text[..cut]).unfinished());
                peer.frame(&Frame::continuation(&text[cut..]));
                expect_failed_text(&mut peer);
            });
        }
    }
}

#[test]
fn section_8_1_text_that_ends_within_a_character_fails() {
    let gateway = Gateway::start("");
    for text in ["é", "€", "𝄞"] {
        for cut in 1..text.len() {
            let start = &text.as_bytes()[..cut];
            case(format!("{text} after {cut} bytes"), || {
                let mut peer = Peer::open(&gateway, "/echo");
                peer.frame(&Frame::text(start));
                expect_failed_text(&mut peer);
                let mut peer = Peer::open(&gateway, "/echo");
                peer.frame(&Frame::text(start).unfinished());
                peer.frame(&Frame::continuation(""));
                expect_failed_text(&mut peer);
            });
        }
    }
}

#[test]
fn section_8_1_right_text_passes_wherever_it_is_split() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    let frame = Frame::text(TEXTS).masked();
    for cut in 1..frame.len() {
        case(format!("segments split at {cut}"), || {
            witness.send_apart(&mut peer, [&frame[..cut], &frame[cut..]]);
            peer.expect_text(TEXTS);
        });
    }
    let text = TEXTS.as_bytes();
    for first in 0..=text.len() {
        for second in first..=text.len() {
            case(format!("fragments split at {first} and {second}"), || {
                peer.frame(&Frame::text(&text[..first]).unfinished());
                peer.frame(&Frame::continuation(&text[first..second]).unfinished());
                peer.frame(&Frame::continuation(&text[second..]));
                peer.expect_text(TEXTS);
            });
        }
    }
}

#[test]
fn a_message_of_just_the_limit_is_echoed_and_one_more_byte_is_too_big() {
    let gateway = small();
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    let most = noise(MAX, 1);
    peer.frame(&Frame::binary(&most));
    peer.expect_binary(&most);
    peer.frame(&Frame::binary(&most[..600]).unfinished());
    peer.frame(&Frame::continuation(&most[600..]));
    peer.expect_binary(&most);
    // Refused by the header, before any payload is sent.
    peer.send(&Frame::binary(vec![0; MAX + 1]).masked()[..8]);
    peer.expect_failed(1009);
    witness.check();
}

#[test]
fn a_message_can_be_too_big_by_its_fragments_together() {
    let gateway = small();
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    peer.frame(&Frame::binary([0; 600]).unfinished());
    peer.frame(&Frame::continuation([0; 400]).unfinished());
    peer.expect(&Frame::binary([0; 600]).unfinished());
    peer.expect(&Frame::continuation([0; 400]).unfinished());
    peer.frame(&Frame::continuation("").unfinished());
    peer.expect(&Frame::continuation("").unfinished());
    peer.send(&Frame::continuation("x").masked()[..6]);
    peer.expect_failed(1009);
    witness.check();
}

#[test]
fn a_length_beyond_any_memory_is_too_big() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    for length in [(64 << 20) + 1, 1 << 32, 1 << 40, u64::MAX >> 1] {
        case(length, || {
            let mut peer = Peer::open(&gateway, "/echo");
            peer.send(Frame::binary("").masked_with_length(127, length));
            peer.expect_failed(1009);
            let mut peer = Peer::open(&gateway, "/echo");
            peer.frame(&Frame::text("a").unfinished());
            peer.expect(&Frame::text("a").unfinished());
            peer.send(Frame::continuation("").masked_with_length(127, length));
            peer.expect_failed(1009);
            witness.check();
        });
    }
}

#[test]
fn messages_of_all_sizes_come_back_however_they_are_split() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    for length in [0, 1, 2, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 100_000] {
        let payload = noise(length, length as u64);
        let bytes = Frame::binary(&payload).masked();
        case(format!("{length} bytes"), || {
            peer.send(&bytes);
            peer.expect_binary(&payload);
        });
        // All of the header and some of the payload, its middle and its end; and the sizes of a
        // receive buffer, with and without a header in front.
        let cuts = (1..20).chain([length / 2, length, 16_434, 16_440, 16_447, 16_448, 16_449]);
        for cut in cuts.filter(|cut| (1..bytes.len()).contains(cut)) {
            case(format!("{length} bytes split at {cut}"), || {
                witness.send_apart(&mut peer, [&bytes[..cut], &bytes[cut..]]);
                peer.expect_binary(&payload);
            });
        }
    }
}

/// RFC 6455 says nothing of urgent data (RFC 9293 section 3.8.5); the kernel keeps it apart.
#[test]
fn urgent_data_is_no_part_of_the_stream() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    let text = Frame::text("hello").masked();
    peer.send(&text[..3]);
    peer.socket().send_out_of_band(b"!").unwrap();
    witness.check();
    peer.send(&text[3..]);
    peer.expect_text("hello");
}

#[test]
fn a_message_comes_back_byte_by_byte() {
    let gateway = Gateway::start("");
    let mut witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    let payload = noise(300, 3);
    witness.send_apart(&mut peer, Frame::binary(&payload).masked().chunks(1));
    peer.expect_binary(&payload);
}

#[test]
fn frames_in_one_segment_come_back_in_order() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    let mut expected = Vec::new();
    for index in 0..500_usize {
        let payload = noise(index % 130, index as u64);
        expected.push(Frame::binary(&payload));
        if index % 7 == 0 {
            expected.push(Frame::ping(index.to_string()));
        }
        if index % 50 == 0 {
            expected.push(Frame::binary(noise(20_000, index as u64)).unfinished());
            expected.push(Frame::ping("inside"));
            expected.push(Frame::continuation(noise(3, 1)));
        }
    }
    let sending = peer.send_meanwhile(expected.iter().flat_map(Frame::masked).collect());
    let mut rest: Vec<u8> = Vec::new();
    for (index, frame) in expected.iter().enumerate() {
        case(format!("frame {index}"), || match frame.opcode {
            PING => peer.expect(&Frame::pong(&frame.payload)),
            // A frame may come back in several, as the gateway received it.
            _ => {
                rest.clear();
                loop {
                    let part = peer.read_frame();
                    assert!(matches!(part.opcode, BINARY | CONTINUATION), "{part:?}");
                    rest.extend(&part.payload);
                    if rest.len() == frame.payload.len() {
                        break;
                    }
                }
                assert!(rest == frame.payload);
            }
        });
    }
    sending.join().unwrap();
}

#[test]
fn many_small_messages_at_once_come_back_in_order() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    let texts: Vec<String> = (0..20_000).map(|index| format!("message {index}")).collect();
    let bytes = texts.iter().flat_map(|text| Frame::text(text).masked()).collect();
    let sending = peer.send_meanwhile(bytes);
    for text in &texts {
        peer.expect_text(text);
    }
    sending.join().unwrap();
    gateway.expect_counter("messages_out", 20_000);
}

#[test]
fn a_large_message_in_small_fragments_comes_back_whole() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    let payload = noise(1 << 20, 5);
    let mut frames: Vec<Frame> =
        payload.chunks(64).map(|part| Frame::continuation(part).unfinished()).collect();
    let last = frames.len() - 1;
    frames[0].opcode = BINARY;
    frames[last].fin = true;
    let sending = peer.send_meanwhile(frames.iter().flat_map(Frame::masked).collect());
    peer.expect_binary(&payload);
    sending.join().unwrap();
    peer.echo("and the connection goes on");
}

#[test]
fn a_large_message_in_one_frame_comes_back_whole() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    let payload = noise(8 << 20, 6);
    let sending = peer.send_meanwhile(Frame::binary(&payload).masked());
    peer.expect_binary(&payload);
    sending.join().unwrap();
    gateway.expect_counter("blocks_used", 0);
}

/// Reads what was echoed of a text before it went wrong, and the failure.
#[track_caller]
fn expect_failed_text(peer: &mut Peer) {
    loop {
        let frame = peer.read_frame();
        if frame.opcode == CLOSE {
            assert_eq!(frame.close_reason().0, Some(1007));
            break;
        }
        assert!(matches!(frame.opcode, TEXT | CONTINUATION) && !frame.fin, "{frame:?}");
    }
    peer.expect_eof();
}
