//! The floods that there are.

use serde::Serialize;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Flood {
    /// 100 messages a second to a topic with 2,000 subscribers, who read them.
    Topic,
    /// 50 clients send compressed messages of 1 MiB as fast as these are taken, and read the
    /// echoes.
    Bombs,
    /// 50 clients send messages of 65,536 fragments of a byte as fast as these are taken, and read
    /// the echoes.
    Fragments,
    /// 50 clients send messages of a byte as fast as these are taken, and read the echoes.
    Frames,
    /// 50 clients send Pings as fast as these are taken, and read the Pongs.
    Pings,
    /// 50 clients at a time send what is no request, are answered with 400, and connect again.
    Heads,
    /// 5,000 clients send a request of which a byte comes each second.
    Slow,
    /// 50 clients at a time open a WebSocket, end once it is open, and connect again.
    Openings,
    /// 50 clients at a time begin a handshake of TLS, end once it is answered, and connect again.
    /// The others echo over TLS as well.
    Handshakes,
    /// 50 clients at a time show a token whose signature by ES256 is wrong, are answered with 401,
    /// and connect again.
    Tokens,
    /// 2,000 clients send messages of 16 KiB as fast as these are taken, and never read the echoes.
    Squeeze,
    /// 9,500 clients join a room with presence at once, and never read.
    Joins,
}

impl Flood {
    pub(super) const ALL: [Self; 12] = [
        Self::Topic,
        Self::Bombs,
        Self::Fragments,
        Self::Frames,
        Self::Pings,
        Self::Heads,
        Self::Slow,
        Self::Openings,
        Self::Handshakes,
        Self::Tokens,
        Self::Squeeze,
        Self::Joins,
    ];

    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Topic => "2,000 subscribers of a topic, 100 messages of 64 B a second",
            Self::Bombs => "50 clients with compressed messages of 1 MiB",
            Self::Fragments => "50 clients with messages of 65,536 fragments",
            Self::Frames => "50 clients with messages of one byte",
            Self::Pings => "50 clients with Pings",
            Self::Heads => "50 clients at a time with heads that are no requests",
            Self::Slow => "5,000 clients with heads of which a byte comes each second",
            Self::Openings => "50 clients at a time that open a WebSocket, and end",
            Self::Handshakes => "50 clients at a time that begin a handshake of TLS, and end",
            Self::Tokens => "50 clients at a time with tokens whose signatures are wrong",
            Self::Squeeze => "2,000 clients with messages of 16 KiB that never read",
            Self::Joins => "9,500 clients that join a room with presence, and never read",
        }
    }

    /// Whether it can be made of any server with an echo.
    pub(super) fn is_of_any_echo(self) -> bool {
        !matches!(self, Self::Topic | Self::Bombs | Self::Tokens | Self::Joins)
    }

    /// Whether its clients come, say one thing, hear one, and come again as others.
    pub(super) fn comes_again(self) -> bool {
        matches!(self, Self::Heads | Self::Openings | Self::Handshakes | Self::Tokens)
    }

    /// Whether its clients read what they are sent.
    pub(super) fn reads(self) -> bool {
        !matches!(self, Self::Squeeze | Self::Joins)
    }
}
