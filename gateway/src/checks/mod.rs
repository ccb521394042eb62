//! Who may enter: what is checked of a request before its handler is asked, and what those have who
//! were let in by a token.
//!
//! A [`Gatekeeper`] is a shard's own. What it shares with others are the issuers' keys, what
//! passwords hash to, and the threads that verify signatures and hash passwords.

mod basic;
mod check_passed;
mod check_threads;
mod credentials;
mod endpoint;
mod gatekeeper;
mod gatekeeper_parts;
mod grant;
mod hashers;
mod issuer;
mod keys;
mod known_tokens;
mod lines;
mod look_round;
mod not_admitted;
mod password_file;
mod password_hash;
mod passwords;
mod permits;
mod remembered;
mod renewals;
mod revocations;
mod started_threads;
mod taken_back;
#[cfg(test)]
mod tests;
mod token_counts;
mod token_terms;
mod verifiers;

pub(crate) use check_passed::{CheckPassed, CheckQuestion, TokenQuestion};
pub(crate) use credentials::BEARER_PROTOCOL;
pub use gatekeeper::Gatekeeper;
pub(crate) use gatekeeper::{Entrant, TokenEnd};
pub use gatekeeper_parts::GatekeeperParts;
pub use grant::{Grant, Permissions};
pub(crate) use hashers::PasswordVerified;
pub use hashers::{HashCounts, Hashers, PasswordWork};
pub use issuer::{Issuer, IssuerFacts};
pub use keys::WrongKeyFile;
pub(crate) use lines::{ask_who_comes, lines};
pub use not_admitted::NotAdmitted;
pub(crate) use passwords::{PasswordClient, PasswordRefused};
pub use permits::NoRoomForPermissions;
pub(crate) use renewals::{Bringer, RenewalBegun, Renewed, is_of_renewal};
pub use revocations::{
    Revocation, RevocationCounts, RevocationOrder, Revocations, TakenIn, TokensOf,
    TooManyRevocations,
};
pub(crate) use started_threads::CheckThreads;
pub(crate) use verifiers::Verified;
pub use verifiers::{Verification, Verifiers};

/// What was found out for a check, beside the shards.
#[derive(Clone, Debug)]
pub(crate) enum CheckFound {
    /// About a token.
    Token(Verified),
    /// About a password.
    Password(PasswordVerified),
}

impl CheckFound {
    /// What it is about a token, if it is.
    pub(crate) fn of_token(self) -> Option<Verified> {
        match self {
            Self::Token(verified) => Some(verified),
            Self::Password(_) => None,
        }
    }
}
