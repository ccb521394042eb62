//! What clients of floods say.

use std::io;

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{MZFlush, MZStatus};
use tidegate_proto::websocket::frame::{Header, OpCode};
use tidegate_proto::websocket::handshake::client::UpgradeRequest;

use super::Flood;
use crate::plain;
use crate::random::Random;
use crate::target::Target;
use crate::tls::{Dialer, Dialing, Exchange};

/// What a compressed message inflates to, in bytes.
const BOMB: usize = 1 << 20;

/// Fragments of a message.
const FRAGMENTS: usize = 65_536;

/// Messages of a byte, or Pings, that are said over and over.
const SMALL: usize = 4096;

/// What those say who do not read, in bytes.
const UNREAD: usize = 16 << 10;

/// What is no request.
const NO_REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost localhost\r\n\r\n";

/// What a request for `/token` begins with, up to the signature of its token: `{"alg":"ES256",
/// "typ":"JWT"}`, and a user `x` until the year 2100.
const WITH_TOKEN: &str = "GET /token HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer \
     eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ4IiwiZXhwIjo0MTAyNDQ0ODAwfQ.";

/// A signature of 64 bytes, in characters.
const SIGNATURE: usize = 86;

/// What is said over and over, or once by each who comes.
///
/// # Errors
/// The crypto library refuses to begin a handshake.
pub(super) fn of(flood: Flood, target: &Target, random: &mut Random) -> io::Result<Vec<u8>> {
    Ok(match flood {
        Flood::Topic => Vec::new(),
        Flood::Bombs => bomb(random),
        Flood::Fragments => fragments(random),
        Flood::Frames => small(OpCode::Binary, b".", random),
        Flood::Pings => small(OpCode::Ping, b"?", random),
        Flood::Heads => NO_REQUEST.to_vec(),
        Flood::Slow | Flood::Openings | Flood::Joins => {
            plain::head(&UpgradeRequest::new(&target.host, &target.path, random.nonce()))?
        }
        Flood::Handshakes => client_hello(&target.host)?,
        Flood::Tokens => with_wrong_token(random),
        Flood::Squeeze => {
            let mut frame = Vec::new();
            plain::put_frame(&mut frame, OpCode::Binary, &[b'.'; UNREAD], random);
            frame
        }
    })
}

/// A request with a token whose signature is wrong, and another one each time.
pub(super) fn with_wrong_token(random: &mut Random) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut request = WITH_TOKEN.as_bytes().to_vec();
    let mut bits = 0;
    for index in 0..SIGNATURE - 1 {
        if index % 10 == 0 {
            bits = random.next_u64();
        }
        request.push(ALPHABET[(bits & 63) as usize]);
        bits >>= 6;
    }
    // Of the last character two bits count (RFC 4648 section 3.5).
    request.extend_from_slice(b"A\r\n\r\n");
    request
}

/// What a handshake of TLS begins with.
fn client_hello(host: &str) -> io::Result<Vec<u8>> {
    let mut hello = Vec::new();
    Dialing::new(&Dialer::new(Exchange::default(), false)?, host, Vec::new(), &mut hello)?;
    Ok(hello)
}

/// A frame with a whole message that inflates to [`BOMB`] zeros.
fn bomb(random: &mut Random) -> Vec<u8> {
    // RFC 7692 section 7.2.1: raw DEFLATE, flushed, without the four bytes at its end.
    let mut compressor = CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0));
    let mut payload = vec![0; BOMB / 64];
    let done = deflate(&mut compressor, &vec![0; BOMB], &mut payload, MZFlush::Sync);
    assert_eq!((done.status, done.bytes_consumed), (Ok(MZStatus::Ok), BOMB), "zeros are small");
    payload.truncate(done.bytes_written - 4);
    let header = Header {
        fin: true,
        compressed: true,
        opcode: OpCode::Binary,
        mask: Some(random.key()),
        length: payload.len() as u64,
    };
    let mut frame = vec![0; header.encoded_length() + payload.len()];
    header.emit_frame(&payload, &mut frame);
    frame
}

/// [`SMALL`] frames with this payload.
fn small(opcode: OpCode, payload: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frames = Vec::new();
    for _ in 0..SMALL {
        plain::put_frame(&mut frames, opcode, payload, random);
    }
    frames
}

/// A message of [`FRAGMENTS`] fragments of a byte.
fn fragments(random: &mut Random) -> Vec<u8> {
    let mut frames = Vec::new();
    for index in 0..FRAGMENTS {
        let opcode = if index == 0 { OpCode::Binary } else { OpCode::Continuation };
        let fin = index == FRAGMENTS - 1;
        let header = Header { fin, compressed: false, opcode, mask: Some(random.key()), length: 1 };
        let at = frames.len();
        frames.resize(at + header.encoded_length() + 1, 0);
        header.emit_frame(b".", &mut frames[at..]);
    }
    frames
}
