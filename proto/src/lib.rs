//! WebSocket (RFC 6455), permessage-deflate (RFC 7692), the records of TLS 1.3 (RFC 8446) and the
//! PROXY protocol as pure state.
//!
//! Nothing here does I/O, reads a clock, draws randomness or starts a thread: bytes are lent in,
//! pieces of the same bytes are lent back, and time and entropy are arguments. The crate does
//! without the standard library, in which those things live, so the compiler holds it to that.
//!
//! | module | what it is |
//! |---|---|
//! | [`http`] | request and response heads from bytes, and responses into bytes |
//! | [`message`] | text or bytes, and which part of it, whatever carries it |
//! | [`websocket`] | handshakes, frames, messages and what compresses them |
//! | [`tls`] | records, alerts and KeyUpdates, once the handshake is over |
//! | [`proxy`] | what a proxy says in front of a connection that it passes on |
//! | [`keepalive`] | what a connection waits for, and for how long |
//! | [`mask`], [`utf8`] | payload bytes in pieces: unmask, check |
//! | [`token`] | the grammar of tokens |
//!
//! A connection is driven like this: parse the request head until it is whole, check the upgrade,
//! write the acceptance; then hand every stretch of input to the receiver until it wants more.
//!
//! ```
//! use tidegate_proto::websocket::frame::{Reserved, Role};
//! use tidegate_proto::websocket::handshake::server::{Acceptance, Upgrade};
//! use tidegate_proto::http::{Status, parse_request};
//! use tidegate_proto::message::Part;
//! use tidegate_proto::websocket::receiver::{Decoded, Receiver, Rules};
//!
//! // The opening handshake, with a frame right behind it.
//! let mut input = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
//!     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//!     Sec-WebSocket-Version: 13\r\n\r\n\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
//!     .to_vec();
//! let Status::Complete(head) = parse_request(&input, 8192)? else { panic!("more is needed") };
//! let upgrade = Upgrade::check(&head)?;
//! let mut response = [0; 512];
//! let acceptance = Acceptance { key: upgrade.key(), subprotocol: None, deflate: None };
//! let length = acceptance.write(&mut response)?;
//! assert!(response[..length].starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
//!
//! // Frames, unmasked where they lie.
//! let rules = Rules { role: Role::Server, reserved: Reserved::Clear, max_message: 1 << 20 };
//! let mut receiver = Receiver::default();
//! let mut at = head.head_len();
//! let Decoded::Piece(piece) = receiver.handle_input(&mut input, &mut at, &rules)? else {
//!     panic!("a message came in")
//! };
//! assert_eq!(piece.part, Part::Whole);
//! assert_eq!(&input[piece.start..piece.end], b"Hello");
//! assert_eq!(receiver.handle_input(&mut input, &mut at, &rules)?, Decoded::NeedInput);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]

pub mod http;
pub mod keepalive;
pub mod mask;
pub mod message;
pub mod proxy;
pub mod tls;
pub mod token;
pub mod utf8;
pub mod websocket;
