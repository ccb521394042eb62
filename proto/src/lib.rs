//! WebSocket (RFC 6455) and permessage-deflate (RFC 7692) as pure state.
//!
//! Nothing here does I/O, reads a clock, draws randomness or starts a thread: bytes are lent in,
//! pieces of the same bytes are lent back, and time and entropy are arguments.
#![forbid(unsafe_code)]

pub mod close;
pub mod deflate;
pub mod error;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod keepalive;
pub mod mask;
pub mod receiver;
pub mod utf8;
