//! Who may enter: what is checked of a request before its handler is asked, and what those have who
//! were let in by a token.
//!
//! A [`Gatekeeper`] is a shard's own. What it shares with others are the issuers' keys, and the
//! threads that verify signatures.

mod credentials;
mod endpoint;
mod gatekeeper;
mod grant;
mod issuer;
mod keys;
mod known_tokens;
mod lines;
mod not_admitted;
mod permits;
mod remembered;
#[cfg(test)]
mod tests;
mod token_threads;
mod verifiers;

pub(crate) use credentials::BEARER_PROTOCOL;
pub(crate) use gatekeeper::{Entrant, TokenPassed, TokenQuestion};
pub use gatekeeper::{Gatekeeper, GatekeeperParts};
pub use grant::{Grant, Permissions};
pub use issuer::{Issuer, IssuerFacts};
pub use keys::WrongKeyFile;
pub(crate) use lines::lines;
pub use not_admitted::NotAdmitted;
pub use permits::NoRoomForPermissions;
pub(crate) use token_threads::TokenThreads;
pub(crate) use verifiers::Verified;
pub use verifiers::{Verification, Verifiers};
