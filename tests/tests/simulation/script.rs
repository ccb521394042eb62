//! What a client says: its request, its frames, and what is wrong with them.

use std::cell::RefCell;

use tidegate_tests::Codec;
use tidegate_tests::reference::Message;

use crate::handlers::Behaviour;
use crate::model::{MAX_BUFFERED, MAX_MESSAGE};
use crate::peer::Temper;
use crate::random::Random;

/// A client's plan.
pub struct Script {
    pub request: Vec<u8>,
    /// Frames, between which others may come.
    pub frames: Vec<Vec<u8>>,
}

/// Draws a plan. `offers`: the client asks for compression; `compression`: and it will be agreed
/// to.
pub fn script(
    random: &mut Random,
    temper: Temper,
    behaviour: Behaviour,
    (offers, compression): (bool, bool),
) -> Script {
    let request = match temper {
        Temper::Stranger => stranger(random),
        _ => request(random, behaviour, offers),
    };
    let mut frames = Vec::new();
    match temper {
        Temper::Flooding => flood(random, &mut frames, compression),
        _ => {
            for _ in 0..random.pick(&[1, 3, 12, 40]) {
                message(random, &mut frames, compression);
            }
        }
    }
    if temper == Temper::Garbage {
        let at = random.below(frames.len() + 1);
        frames.insert(at, garbage(random, compression));
    }
    if temper != Temper::HalfClosing {
        frames.push(close(random));
    }
    Script { request, frames }
}

/// A Close frame with a code that may travel, or without one.
pub fn close(random: &mut Random) -> Vec<u8> {
    match random.pick(&[0, 1000_u16, 1001, 3000, 4999]) {
        0 => frame(0x88, b"", key(random)),
        code => frame(0x88, &code.to_be_bytes(), key(random)),
    }
}

fn stranger(random: &mut Random) -> Vec<u8> {
    let long = format!("GET /echo HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2000));
    random
        .pick(&[
            &b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET /echo HTTP/1.1\nHost: a\n\n",
            b"\r\n\r\n\r\n\r\n",
            long.as_bytes(),
        ])
        .to_vec()
}

fn request(random: &mut Random, behaviour: Behaviour, offers: bool) -> Vec<u8> {
    // So that what is found out about one is not told about another.
    let number = random.bits();
    opening(random, &format!("{}?{number:x}", behaviour.path()), offers)
}

/// A request for a WebSocket at `target`.
pub fn opening(random: &mut Random, target: &str, offers: bool) -> Vec<u8> {
    let padding = "x".repeat(random.pick(&[0, 10, 600]));
    let offer = random.pick(&[
        "permessage-deflate",
        "permessage-deflate; server_max_window_bits=9",
        "unknown, permessage-deflate; client_max_window_bits",
    ]);
    let extensions =
        if offers { format!("Sec-WebSocket-Extensions: {offer}\r\n") } else { String::new() };
    format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         {extensions}X-Padding: {padding}\r\n\r\n"
    )
    .into_bytes()
}

fn message(random: &mut Random, frames: &mut Vec<Vec<u8>>, compression: bool) {
    let length = random.pick(&[0, 1, 125, 126, 300, 2000, MAX_BUFFERED, 5000]);
    let length = random.between(length / 2, length);
    let is_text = random.chance(500);
    let payload: Vec<u8> = if is_text {
        "añ€😀z".bytes().cycle().take(length - length % 11).collect()
    } else {
        (0..length).map(|_| random.bits() as u8).collect()
    };
    let message = Message { is_text, compressed: false, bytes: payload };
    frames.extend(whole(random, &message, compression));
}

/// The frames of a message, which is compressed now and then if that was agreed to.
pub fn whole(random: &mut Random, message: &Message, compression: bool) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut opcode = if message.is_text { 1 } else { 2 };
    let compressed = compression && random.chance(500);
    let payload = if compressed { deflate(random, &message.bytes) } else { message.bytes.clone() };
    if compressed {
        opcode |= 0x40;
    }
    let mut rest = &payload[..];
    while random.chance(300) {
        let (part, after) = rest.split_at(random.below(rest.len() + 1));
        frames.push(frame(opcode, part, key(random)));
        (rest, opcode) = (after, 0);
        if random.chance(300) {
            let ping: Vec<u8> = (0..random.below(126)).map(|i| i as u8).collect();
            frames.push(frame(0x89, &ping, key(random)));
        }
    }
    frames.push(frame(0x80 | opcode, rest, key(random)));
    frames
}

/// Very many small things at once: frames of one byte, pings, or messages that inflate to a
/// hundred times as much.
fn flood(random: &mut Random, frames: &mut Vec<Vec<u8>>, compression: bool) {
    let bomb = deflate(random, &[0; MAX_BUFFERED]);
    let kind = random.below(3);
    for _ in 0..random.pick(&[100, 600]) {
        frames.push(match kind {
            0 => frame(0x82, b"x", key(random)),
            1 => frame(0x89, b"ping", key(random)),
            _ if compression => frame(0xC2, &bomb, key(random)),
            _ => frame(0x82, &[0; 600], key(random)),
        });
    }
}

fn garbage(random: &mut Random, compression: bool) -> Vec<u8> {
    if compression && random.chance(400) {
        return match random.below(4) {
            0 => frame(0xC1, &deflate(random, b"not \xff utf-8"), key(random)),
            1 => frame(0xC2, &deflate(random, &[0; MAX_BUFFERED + 1]), key(random)),
            2 => frame(0xC2, b"\x07no deflate stream", key(random)),
            _ => frame(0xC9, b"compressed ping", key(random)),
        };
    }
    match random.below(9) {
        0 => frame(0xB1, b"reserved bits", key(random)),
        1 => frame(0x83, b"reserved opcode", key(random)),
        2 => frame(0x09, b"fragmented ping", key(random)),
        3 => frame(0x89, &[0; 126], key(random)),
        4 => frame(0x81, b"not \xff utf-8", key(random)),
        5 => frame(0x82, &vec![0; MAX_MESSAGE + 1], key(random)),
        6 => b"\x81\x05plain".to_vec(),
        7 => frame(0x88, b"\x03\xee", key(random)),
        _ => frame(0x80, b"continues nothing", key(random)),
    }
}

/// A masking key.
pub fn key(random: &mut Random) -> [u8; 4] {
    (random.bits() as u32).to_ne_bytes()
}

/// A masked frame.
pub fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}

/// Compressed by another hand, at one of three levels.
fn deflate(random: &mut Random, message: &[u8]) -> Vec<u8> {
    thread_local! {
        // A codec is large, and forgets each message.
        static CODECS: RefCell<[Codec; 3]> = RefCell::new([0, 1, 6].map(Codec::new));
    }
    let level = random.below(3);
    CODECS.with_borrow_mut(|codecs| codecs[level].deflate(message))
}
