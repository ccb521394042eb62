//! Which algorithms are offered, and in which order.

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};

/// The algorithms, with these suites in this order.
///
/// Keys are exchanged by X25519MLKEM768, X25519 or P-256. Not by P-384: it takes three times as
/// long, and whoever has it has one of the others.
pub(super) fn provider(suites: &[CipherSuite]) -> Arc<CryptoProvider> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    let found = |suite: &CipherSuite| all.iter().find(|one| one.suite() == *suite).copied();
    let cipher_suites = suites.iter().filter_map(found).collect();
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    Arc::new(CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() })
}
