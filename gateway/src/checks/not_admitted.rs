//! Why a check refuses a request.

use std::fmt;

/// Why a check refuses a request, or what was to take the place of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// There is no token in it.
    NoToken,
    /// There is more than one token in a place that has one.
    TwoTokens,
    /// What should be a token is none.
    Malformed,
    /// The token is signed by an algorithm, or has to be understood in a way, that is not allowed.
    Algorithm,
    /// None of the keys is the one that the token says it is signed with.
    UnknownKey,
    /// No key of the issuer is known yet.
    NoKeys,
    /// It is not signed with any key of the issuer.
    Signature,
    /// It has expired.
    Expired,
    /// It was taken back.
    Revoked,
    /// It does not hold yet.
    TooEarly,
    /// It is of another issuer.
    Issuer,
    /// It is for others.
    Audience,
    /// It lacks a claim that it has to have, or what one says is not understood.
    Claims,
    /// It is none of the tokens that are known by themselves.
    UnknownToken,
    /// The token does not let its bearer subscribe to the topic of the path.
    Topic,
    /// The client has shown no certificate.
    NoCertificate,
    /// As many tokens wait to be verified as may be.
    Busy,
    /// There is no user and password in it.
    NoPassword,
    /// There is more than one `Authorization` in it.
    TwoPasswords,
    /// What should be a user and a password is none.
    NotBasic,
    /// There is no such user, or the password is another.
    WrongPassword,
    /// As many passwords wait to be hashed as may be.
    PasswordsBusy,
    /// As many do of its address.
    PasswordsOfAddress,
}

impl NotAdmitted {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::NoToken,
        Self::TwoTokens,
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::NoKeys,
        Self::Signature,
        Self::Expired,
        Self::Revoked,
        Self::TooEarly,
        Self::Issuer,
        Self::Audience,
        Self::Claims,
        Self::UnknownToken,
        Self::Topic,
        Self::NoCertificate,
        Self::Busy,
        Self::NoPassword,
        Self::TwoPasswords,
        Self::NotBasic,
        Self::WrongPassword,
        Self::PasswordsBusy,
        Self::PasswordsOfAddress,
    ];

    /// The HTTP status. RFC 6750 section 3.1: 400 for a request that "uses more than one method for
    /// including an access token", 401 for a token that "is expired, revoked, malformed, or invalid
    /// for other reasons".
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TwoTokens | Self::TwoPasswords => 400,
            Self::Topic | Self::NoCertificate => 403,
            // RFC 6585 section 4: "the user has sent too many requests in a given amount of time".
            Self::PasswordsOfAddress => 429,
            Self::Busy | Self::NoKeys | Self::PasswordsBusy => 503,
            _ => 401,
        }
    }

    /// What `WWW-Authenticate` says; `None` where a token would not help. RFC 6750 section 3: "If
    /// the request lacks any authentication information [...], the resource server SHOULD NOT
    /// include an error code". A route that asks for passwords has a realm of its own in its place.
    #[must_use]
    pub const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::NoToken => Some("Bearer"),
            Self::NoPassword | Self::NotBasic | Self::WrongPassword => {
                Some("Basic realm=\"Tidegate\", charset=\"UTF-8\"")
            }
            _ if self.status() != 401 => None,
            _ => Some("Bearer error=\"invalid_token\""),
        }
    }

    /// Whether it may go well if it is tried again in a moment.
    #[must_use]
    pub const fn is_for_now(self) -> bool {
        matches!(self, Self::Busy | Self::NoKeys | Self::PasswordsBusy | Self::PasswordsOfAddress)
    }

    /// What is wrong and what to do, as a sentence without its full stop. It says nothing of what
    /// the token says.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoToken => {
                "there is no token: send one as `Authorization: Bearer TOKEN`, or as \
                              `from` of the route's check says"
            }
            Self::TwoTokens => "there is more than one token: send one",
            Self::Malformed => "the token is none: three parts of base64url are joined by dots",
            Self::Algorithm => "the token is not signed by an algorithm that is taken here",
            Self::UnknownKey => "the token is signed with a key that is not known here",
            Self::NoKeys => "the keys of the token's issuer are not known yet; try again later",
            Self::Signature => "the token's signature is wrong",
            Self::Expired => "the token has expired: get a new one",
            Self::Revoked => "the token was taken back: get a new one",
            Self::TooEarly => "the token does not hold yet",
            Self::Issuer => "the token is of an issuer that is not taken here",
            Self::Audience => "the token is for others: `aud` does not name this gateway",
            Self::Claims => {
                "the token lacks a claim that is needed here, or one says what is not \
                             understood: `exp`, the user, what may be subscribed and published"
            }
            Self::UnknownToken => "the token is none of those that are taken here",
            Self::Topic => {
                "the token does not let you subscribe to the topic of this path: its claim says \
                            to what it does"
            }
            Self::NoCertificate => "no certificate was shown: connect by TLS with one",
            Self::Busy => "too many tokens are being verified; try again later",
            Self::NoPassword => {
                "there is no password: send user and password by `Authorization: Basic` (RFC 7617)"
            }
            Self::TwoPasswords => "there is more than one `Authorization`: send one",
            Self::NotBasic => {
                "what stands behind `Basic` is no user and password: they are joined by a colon, \
                 in UTF-8 without control characters, at most 1024 bytes, and encoded by base64"
            }
            Self::WrongPassword => "there is no such user with this password",
            Self::PasswordsBusy => "too many passwords are being hashed; try again later",
            Self::PasswordsOfAddress => {
                "too many passwords from your address are being hashed; try again later"
            }
        }
    }
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

impl std::error::Error for NotAdmitted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_a_token_would_help_one_is_asked_for() {
        for denied in NotAdmitted::ALL {
            assert_eq!(denied.challenge().is_some(), denied.status() == 401, "{denied:?}");
        }
    }
}
