//! What a connection waits for, how long, and what happens when the wait is over.
//!
//! The caller keeps one deadline per connection: on every change of [`Wait`], and on activity while
//! it waits for activity, it sets `now + timings.limit(wait)`; when that passes, [`Wait::expire`]
//! says what to do. What is half received is no wait: it has a deadline that stands whatever else
//! is waited for meanwhile, which is the caller's to keep.

use core::time::Duration;

/// How long each wait may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// From the accept to the end of the header of a proxy in front, where there is one.
    pub proxy_header: Duration,
    /// From then on to the end of the handshake of what is below, where there is one.
    pub handshake: Duration,
    /// From then on to the end of the request head.
    pub head: Duration,
    /// Without a byte from the peer until we send a Ping; `None`: we never do.
    pub ping: Option<Duration>,
    /// From our Ping to any byte from the peer, where nothing stands before the Ping.
    pub pong: Duration,
    /// From our Close frame to the end of the connection.
    pub close: Duration,
    /// How long a peer may take no byte of what is queued for it, and how long nobody may say what
    /// comes next for it where that is awaited.
    pub stall: Duration,
    /// From the end of the request head until it is decided what to answer.
    pub decision: Duration,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wait {
    /// The rest of the header of a proxy in front.
    ProxyHeader,
    /// The handshake of what is below.
    Handshake,
    /// The rest of the request head.
    Head,
    /// Anything at all.
    Activity,
    /// The answer to our Ping.
    Pong,
    /// The peer to take some of its backlog.
    Progress,
    /// The end of the closing handshake and of the connection.
    Close,
    /// What its request is answered, which somebody has yet to decide.
    Decision,
    /// More of what it is being sent, which somebody has yet to say: whatever its peer says.
    Source,
}

/// What to do when a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The header of a proxy took too long: drop the connection.
    ProxyHeaderTimedOut,
    /// The handshake took too long: drop the connection.
    HandshakeTimedOut,
    /// Answer 408 and close.
    RefuseHead,
    /// Send a Ping and wait for [`Wait::Pong`].
    SendPing,
    /// The peer is gone, unless it is taking what was sent before our Ping: drop the connection if
    /// not.
    PeerGone,
    /// The peer does not read: drop the connection.
    PeerStalled,
    /// The closing handshake took too long: drop the connection.
    CloseTimedOut,
    /// Answer 504 and close.
    RefuseUndecided,
    /// Nobody says any more: drop the connection.
    SourceSilent,
}

impl Timings {
    /// How long `wait` may take; `None`: for ever.
    #[must_use]
    pub const fn limit(&self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::ProxyHeader => Some(self.proxy_header),
            Wait::Handshake => Some(self.handshake),
            Wait::Head => Some(self.head),
            Wait::Activity => self.ping,
            Wait::Pong => Some(self.pong),
            Wait::Progress | Wait::Source => Some(self.stall),
            Wait::Close => Some(self.close),
            Wait::Decision => Some(self.decision),
        }
    }
}

impl Wait {
    /// The wait is over.
    #[must_use]
    pub const fn expire(self) -> Expiry {
        match self {
            Self::ProxyHeader => Expiry::ProxyHeaderTimedOut,
            Self::Handshake => Expiry::HandshakeTimedOut,
            Self::Head => Expiry::RefuseHead,
            Self::Activity => Expiry::SendPing,
            Self::Pong => Expiry::PeerGone,
            Self::Progress => Expiry::PeerStalled,
            Self::Close => Expiry::CloseTimedOut,
            Self::Decision => Expiry::RefuseUndecided,
            Self::Source => Expiry::SourceSilent,
        }
    }

    /// A byte came from the peer: what is waited for now. RFC 6455 section 5.5.3 has a Pong answer
    /// a Ping, but any byte shows that the peer lives.
    #[must_use]
    pub const fn handle_activity(self) -> Self {
        match self {
            Self::Pong => Self::Activity,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMINGS: Timings = Timings {
        proxy_header: Duration::from_secs(3),
        handshake: Duration::from_secs(8),
        head: Duration::from_secs(10),
        ping: Some(Duration::from_secs(30)),
        pong: Duration::from_secs(5),
        close: Duration::from_secs(2),
        stall: Duration::from_secs(20),
        decision: Duration::from_secs(15),
    };

    /// Silent from the start: the time until the connection is dropped, by way of one Ping.
    #[test]
    fn a_silent_peer_is_pinged_and_then_dropped() {
        let mut now = Duration::ZERO;
        let mut wait = Wait::Activity;
        let mut pings = 0;
        loop {
            now += TIMINGS.limit(wait).expect("pings are on");
            match wait.expire() {
                Expiry::SendPing => (pings, wait) = (pings + 1, Wait::Pong),
                Expiry::PeerGone => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((now, pings), (Duration::from_secs(35), 1));
    }

    #[test]
    fn any_byte_answers_a_ping_and_nothing_else() {
        assert_eq!(Wait::Pong.handle_activity(), Wait::Activity);
        for wait in [
            Wait::ProxyHeader,
            Wait::Handshake,
            Wait::Head,
            Wait::Activity,
            Wait::Progress,
            Wait::Close,
            Wait::Decision,
        ] {
            assert_eq!(wait.handle_activity(), wait, "a trickle does not lengthen {wait:?}");
        }
        assert_eq!(Wait::Source.handle_activity(), Wait::Source, "nor what is awaited of us");
    }

    #[test]
    fn a_request_that_nobody_decides_is_refused() {
        assert_eq!(TIMINGS.limit(Wait::Decision), Some(Duration::from_secs(15)));
        assert_eq!(Wait::Decision.expire(), Expiry::RefuseUndecided);
    }

    #[test]
    fn without_pings_an_open_connection_waits_for_ever_but_not_for_us() {
        let timings = Timings { ping: None, ..TIMINGS };
        assert_eq!(timings.limit(Wait::Activity), None);
        assert_eq!(timings.limit(Wait::Source), Some(Duration::from_secs(20)));
        assert_eq!(Wait::Source.expire(), Expiry::SourceSilent);
    }
}
