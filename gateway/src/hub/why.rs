//! Why a connection ends, in words that each protocol has its own for.

use std::sync::Arc;

/// Why a connection is closed. What is spoken on the connection says how the peer is told.
///
/// ```
/// use tidegate::hub::{Cause, Why};
///
/// let by_number = Why::wish(4003, "not you");
/// assert_eq!(by_number.cause, Cause::Wish(4003));
/// let by_word = Cause::Forbidden.saying("rooms only");
/// assert_eq!(&*by_word.text, "rooms only");
/// assert_eq!(Why::from(Cause::Forbidden), Cause::Forbidden.saying(""));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What is behind it.
    pub cause: Cause,
    /// The same for people, who may be told it. Its memory is the program's: no line of the bill
    /// counts it.
    pub text: Arc<str>,
}

/// What is behind the end of a connection, whoever ends it. Each protocol translates these; over
/// WebSocket they are close codes (RFC 6455 section 7.4), which stand here in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All is done that it was for (1000).
    Done,
    /// One end goes away: a server ends, a browser leaves the page (1001). A drain of the gateway
    /// tells WebSocket connections a code of its own (`drain_code`).
    GoesAway,
    /// The other end broke the protocol, in the way that has this number in it (1002, 1003, 1007,
    /// 1009, 1010). A number that may not be sent is told as [`Cause::Failed`].
    Fault(u16),
    /// The other end did what it may not (1008).
    Forbidden,
    /// What serves it has failed (1011).
    Failed,
    /// There is no room for it, or for what it wants: it may come back later (1013).
    NoRoom,
    /// Someone wants it, and the peer told this number: an application's own (3000 to 4999), or
    /// another that the protocol has. A number that may not be sent is told as [`Cause::Failed`].
    Wish(u16),
    /// Nobody says (a Close frame without a code).
    Unsaid,
}

impl Cause {
    /// With the same for people.
    #[must_use]
    pub fn saying(self, text: impl Into<Arc<str>>) -> Why {
        Why { cause: self, text: text.into() }
    }
}

impl Why {
    /// Someone wants it, with this number and text.
    #[must_use]
    pub fn wish(number: u16, text: impl Into<Arc<str>>) -> Self {
        Cause::Wish(number).saying(text)
    }

    /// The home of a topic has no room for it.
    pub(crate) fn no_room() -> Self {
        Cause::NoRoom.saying("no_room: too many topics")
    }
}

impl From<Cause> for Why {
    fn from(cause: Cause) -> Self {
        Self { cause, text: Arc::default() }
    }
}
