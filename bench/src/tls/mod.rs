//! TLS, as the load generator and the bare loop that the gateway is measured beside speak it:
//! handshakes by rustls, records (RFC 8446 section 5) by this module with keys that are kept.
//!
//! All who are measured do the same work: TLS 1.3, AES-128-GCM, a certificate on P-256 that is made
//! anew for each server, and X25519 unless something else is asked for. Clients take whatever
//! certificate they are shown: what a verification takes is theirs, and not what is measured.

mod certificate;
mod dialing;
mod records;
mod session;
mod store;

pub use self::certificate::Certificate;
pub(crate) use self::certificate::server_config;
pub use self::dialing::{Dialer, Dialing, Exchange, Progress};
pub(crate) use self::records::whole;
pub use self::records::{Direction, HEADER, OVERHEAD, PIECE_MAX, Stretch, sealed_length};
pub use self::session::Session;

use std::io;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};

/// What the bare loop and the clients have of aws-lc-rs: the one suite, and these groups.
pub(crate) fn provider(groups: Vec<&'static dyn SupportedKxGroup>) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|it| it.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider.kx_groups = groups;
    Arc::new(provider)
}

/// What went wrong with TLS, as an error of the connection.
pub(crate) fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("TLS: {error}"))
}
