//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692).
//!
//! | module | what it is |
//! |---|---|
//! | [`handshake`] | the opening handshake, for a server and for a client |
//! | [`extension`] | the grammar of `Sec-WebSocket-Extensions` |
//! | [`frame`] | the header of one frame: parse, emit |
//! | [`receiver`] | what comes in: frames and messages of one direction, in 28 bytes |
//! | [`sender`] | what goes out: which part may follow, and its cuts, in one byte |
//! | [`code`], [`close`] | close codes; the Close frame, the closing handshake |
//! | [`deflate`] | negotiation and codecs of permessage-deflate |
//! | [`error`] | what a peer can do wrong, and the close code that answers it |

pub mod close;
pub mod code;
pub mod deflate;
pub mod error;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod receiver;
pub mod sender;
