//! Fresh tokens for connections: what is brought, and what comes of it.

use std::fmt;

use zeroize::Zeroizing;

/// A token that is to take the place of the one by which a connection was let in. What is kept of
/// it is wiped when it is dropped, and it is never shown.
pub struct FreshToken(Zeroizing<Box<[u8]>>);

impl FreshToken {
    /// This one.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(Zeroizing::new(Box::from(token.as_bytes())))
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FreshToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FreshToken")
    }
}

/// Why a connection keeps the token that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotRenewed {
    /// The fresh one is not good: why not, as a sentence without its full stop.
    BadToken(&'static str),
    /// It is of another user.
    OtherUser,
    /// The connection was not let in by a token of an issuer.
    NoToken,
    /// Another one for the same connection is being verified.
    UnderWay,
    /// As many tokens wait to be verified as may be, or it was not verified in time.
    Busy,
    /// There is no room for what it says of topics.
    NoRoom,
}

impl NotRenewed {
    /// The word for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadToken(_) => "bad_token",
            Self::OtherUser => "other_user",
            Self::NoToken => "no_token",
            Self::UnderWay => "under_way",
            Self::Busy => "busy",
            Self::NoRoom => "full",
        }
    }

    /// What is wrong and what to do, as a sentence without its full stop.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadToken(why) => why,
            Self::OtherUser => "the token is of another user than the connection's",
            Self::NoToken => "the connection has no token of an issuer: there is none to renew",
            Self::UnderWay => {
                "another token of the connection is being verified: wait for what comes of it"
            }
            Self::Busy => "too many tokens are being verified; try again later",
            Self::NoRoom => "there is no room for what the token says of topics; try again later",
        }
    }
}

impl fmt::Display for NotRenewed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

impl std::error::Error for NotRenewed {}
