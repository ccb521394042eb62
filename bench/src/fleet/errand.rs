//! What a connection of a fleet can be sent to do.

use std::io;
use std::rc::Rc;

use tidegate_proto::websocket::frame::{Header, OpCode};

use crate::random::Random;
use crate::target::Target;

/// What a connection does, once; it is done when the server's answer has come.
#[derive(Clone, Debug)]
pub enum Errand {
    /// Connect, and nothing more.
    Connect,
    /// Connect and shake hands.
    Open {
        /// Where to.
        target: Target,
    },
    /// Send a binary message and have it come back.
    Echo {
        /// Its payload; at most [`MESSAGE_MAX`] bytes.
        message: Rc<[u8]>,
    },
    /// Have a message come that another connection publishes, where a message of one goes to all.
    Receive {
        /// Its payload; at most [`MESSAGE_MAX`] bytes.
        message: Rc<[u8]>,
    },
    /// Send a Ping and have the Pong come back.
    Ping,
    /// Send a Close frame and have the server close the connection.
    Close,
    /// Close the socket without a word.
    Drop,
}

/// The longest message that a fleet can send, in bytes.
pub const MESSAGE_MAX: usize = 16 << 10;

impl Errand {
    /// Refuses what a fleet has no room for.
    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Self::Echo { message } | Self::Receive { message } if message.len() > MESSAGE_MAX => {
                let why = format!("a fleet's messages have at most {MESSAGE_MAX} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
            _ => Ok(()),
        }
    }

    /// What the server is waited for to do.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Connect => "accept",
            Self::Open { .. } => "answer the opening handshake",
            Self::Echo { .. } => "echo a message",
            Self::Receive { .. } => "hand on a message",
            Self::Ping => "answer a Ping",
            Self::Close => "answer a Close frame and end the connection",
            Self::Drop => "let go",
        }
    }

    /// The payload of the message that is to come; empty if it has none.
    pub(super) fn message(&self) -> &[u8] {
        match self {
            Self::Echo { message } | Self::Receive { message } => message,
            _ => &[],
        }
    }
}

/// Writes a masked frame to the start of `out`; yields its length.
pub(super) fn put_frame(
    out: &mut [u8],
    opcode: OpCode,
    payload: &[u8],
    random: &mut Random,
) -> usize {
    let key = random.key();
    let length = payload.len() as u64;
    let header = Header { fin: true, compressed: false, opcode, mask: Some(key), length };
    header.emit_frame(payload, out)
}
