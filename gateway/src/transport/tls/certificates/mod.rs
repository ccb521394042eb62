//! Certificates: read from files and checked, chosen by the name that a client asks for, and those
//! that clients show.

mod chooser;
mod held;
mod names;
mod peer;
mod pem;
#[cfg(test)]
mod tests;
mod verifier;

pub(super) use chooser::{ByName, Chooser};
pub use held::CertificateFacts;
pub(super) use held::HeldCertificate;
pub use peer::PeerCertificate;
pub use pem::WrongFile;
pub(super) use pem::{certificates, may_be_read_by_all, read};
pub(super) use verifier::NotingVerifier;
