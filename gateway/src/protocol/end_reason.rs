//! Why connections have ended: a closed list, the same in the log, in metrics, in the API and in
//! the words that a peer is told.

use super::turn::Failing;
use crate::connection::Overstay;
use crate::hub::Cause;

/// Why a connection has ended, whoever ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum EndReason {
    /// All is done that it was for.
    Done,
    /// The peer has closed it, by what is spoken on it.
    PeerClosed,
    /// The peer has ended it without a word.
    PeerLeft,
    /// It broke: the peer reset it, or the network did.
    Lost,
    /// The peer did not answer when it was asked whether it is there.
    PingTimeout,
    /// The peer took nothing of what waited for it.
    Stalled,
    /// The peer broke the protocol.
    ProtocolError,
    /// A message was larger than may be.
    TooBig,
    /// A message did not become whole in time.
    TooLate,
    /// The peer did not keep up: its backlog was full, or it gave way in a shortage.
    SlowPeer,
    /// The shard had no memory for what the peer sent.
    NoMemory,
    /// There was no room for what it wants.
    NoRoom,
    /// The peer did what it may not.
    NotAllowed,
    /// What serves it has failed.
    Failed,
    /// Its handler ended it, with a number of its own.
    Handler,
    /// A system behind the gateway, or another connection's handler, has ended it.
    Admin,
    /// The gateway, or its shard, lets its clients go.
    Drain,
    /// The token that it was let in by has expired.
    TokenExpired,
    /// The token that it was let in by was taken back.
    TokenRevoked,
    /// A change of the configuration has taken its route away.
    RouteGone,
    /// The peer sent more than it may.
    OverRate,
    /// It was there for as long as it may be.
    Lifetime,
    /// The peer sent no message for too long.
    Idle,
    /// The peer sent no first message in time.
    Silent,
}

impl EndReason {
    /// All of them, each at its own number.
    pub const ALL: [Self; 24] = [
        Self::Done,
        Self::PeerClosed,
        Self::PeerLeft,
        Self::Lost,
        Self::PingTimeout,
        Self::Stalled,
        Self::ProtocolError,
        Self::TooBig,
        Self::TooLate,
        Self::SlowPeer,
        Self::NoMemory,
        Self::NoRoom,
        Self::NotAllowed,
        Self::Failed,
        Self::Handler,
        Self::Admin,
        Self::Drain,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::RouteGone,
        Self::OverRate,
        Self::Lifetime,
        Self::Idle,
        Self::Silent,
    ];

    /// Its name in the log, in metrics and in the API; and, of those that a peer is told, the word
    /// that its last words begin with.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::PeerClosed => "peer_closed",
            Self::PeerLeft => "peer_left",
            Self::Lost => "lost",
            Self::PingTimeout => "ping_timeout",
            Self::Stalled => "stalled",
            Self::ProtocolError => "protocol_error",
            Self::TooBig => "too_big",
            Self::TooLate => "too_late",
            Self::SlowPeer => "slow_peer",
            Self::NoMemory => "no_memory",
            Self::NoRoom => "no_room",
            Self::NotAllowed => "not_allowed",
            Self::Failed => "failed",
            Self::Handler => "handler",
            Self::Admin => "admin",
            Self::Drain => "drain",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::RouteGone => "route_gone",
            Self::OverRate => "over_rate",
            Self::Lifetime => "lifetime",
            Self::Idle => "idle",
            Self::Silent => "silent",
        }
    }

    /// What is behind the end of a connection that somebody has told to end.
    pub(super) const fn instructed(cause: Cause) -> Self {
        match cause {
            Cause::Done => Self::Done,
            Cause::GoesAway => Self::Drain,
            Cause::Fault(_) => Self::ProtocolError,
            Cause::Forbidden => Self::NotAllowed,
            Cause::Failed => Self::Failed,
            Cause::NoRoom => Self::NoRoom,
            Cause::Wish(_) | Cause::Unsaid => Self::Handler,
        }
    }
}

impl Failing {
    /// The same in one word.
    #[must_use]
    pub const fn reason(&self) -> EndReason {
        match self {
            Self::Fault(fault) if fault.is_too_big => EndReason::TooBig,
            Self::Fault(_) => EndReason::ProtocolError,
            Self::Slow | Self::GivesWay => EndReason::SlowPeer,
            Self::NoMemory => EndReason::NoMemory,
            Self::TooLate => EndReason::TooLate,
            Self::GoesAway | Self::Drains(_) => EndReason::Drain,
            Self::OverRate => EndReason::OverRate,
            Self::Overstays(Overstay::Lifetime) => EndReason::Lifetime,
            Self::Overstays(Overstay::Idle) => EndReason::Idle,
            Self::Overstays(Overstay::Silent) => EndReason::Silent,
            Self::Instructed(why) => EndReason::instructed(why.cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_at_its_number_and_has_a_name_of_its_own() {
        for (at, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            let same = EndReason::ALL.into_iter().filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1, "{reason:?}");
        }
    }
}
