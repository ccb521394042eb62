//! What a listener agrees to by TLS.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, Error, RootCertStore, ServerConfig};

use super::capture::Capture;
use super::certificates::NotingVerifier;
use super::first_bytes::is_chacha;
use super::provider::provider;
use crate::config::stack::{self as config, TlsLayer, TlsVersion};

/// What is spoken behind the handshake, as ALPN names it (RFC 7301).
const HTTP: &[u8] = b"http/1.1";

/// With names of authorities that are more bytes together, clients are told none.
const MOST_HINTS: usize = 8 << 10;

/// A message of a client may have so many bytes on the wire, the one with its certificates as well:
/// it has to be whole in a receive buffer.
pub(super) const LARGEST_MESSAGE: usize = 16 << 10;

/// What a listener agrees to, however its certificates are found.
pub struct TlsTerms {
    /// Suites in the order of preference.
    pub suites: Vec<CipherSuite>,
    /// Whether TLS 1.2 is agreed to as well.
    pub is_tls12_on: bool,
    /// Whose certificates clients may show, if they are asked for any.
    pub clients: Option<ClientRule>,
}

/// Which certificates clients show.
pub struct ClientRule {
    /// The authorities whose certificates are trusted.
    pub roots: Arc<RootCertStore>,
    /// Whether a client without a certificate is refused.
    pub is_required: bool,
}

impl TlsTerms {
    /// Those of a layer, whose clients are asked for certificates by this rule.
    pub(super) fn of(layer: &TlsLayer, clients: Option<ClientRule>) -> Self {
        let suites = layer.suites.iter().map(|suite| code(*suite)).collect();
        Self { suites, is_tls12_on: layer.least == TlsVersion::Tls12, clients }
    }
}

/// What handshakes of a listener are made with. All shards share it.
pub struct TlsServer {
    settings: ArcSwap<ServerSettings>,
}

/// What handshakes are made with, until certificates are read anew.
pub(super) struct ServerSettings {
    /// In the listener's order of suites.
    usual: Arc<ServerConfig>,
    /// With ChaCha20 in front, for clients that have it in front: to those AES is dear.
    for_chacha: Arc<ServerConfig>,
}

impl TlsServer {
    /// A server of these terms and certificates. Its tickets are of `tickets`.
    ///
    /// # Errors
    /// The suites are none of TLS, or no certificate of clients could be verified.
    pub fn new(
        terms: &TlsTerms,
        certificates: &Arc<dyn ResolvesServerCert>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, Error> {
        ServerSettings::new(terms, certificates, tickets).map(Self::with)
    }

    pub(super) fn with(settings: ServerSettings) -> Self {
        Self { settings: ArcSwap::from_pointee(settings) }
    }

    /// Handshakes that begin from now on are made with these.
    pub(super) fn replace(&self, settings: ServerSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The settings for a client.
    pub(super) fn settings(&self, prefers_chacha: bool) -> Arc<ServerConfig> {
        let settings = self.settings.load();
        Arc::clone(if prefers_chacha { &settings.for_chacha } else { &settings.usual })
    }
}

impl ServerSettings {
    pub(super) fn new(
        terms: &TlsTerms,
        certificates: &Arc<dyn ResolvesServerCert>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, Error> {
        let config = |suites: &[CipherSuite]| {
            settings(terms, provider(suites), certificates, tickets).map(Arc::new)
        };
        let usual = config(&terms.suites)?;
        let for_chacha = match with_chacha_in_front(&terms.suites) {
            Some(suites) => config(&suites)?,
            None => Arc::clone(&usual),
        };
        Ok(Self { usual, for_chacha })
    }
}

/// The suites with those of ChaCha20 moved to the front, if that changes their order.
fn with_chacha_in_front(suites: &[CipherSuite]) -> Option<Vec<CipherSuite>> {
    let mut sorted = suites.to_vec();
    sorted.sort_by_key(|suite| !is_chacha(*suite));
    (sorted != suites).then_some(sorted)
}

/// A suite's number in the registry.
fn code(suite: config::CipherSuite) -> CipherSuite {
    match suite {
        config::CipherSuite::Tls13Aes128Gcm => CipherSuite::TLS13_AES_128_GCM_SHA256,
        config::CipherSuite::Tls13Aes256Gcm => CipherSuite::TLS13_AES_256_GCM_SHA384,
        config::CipherSuite::Tls13ChaCha20 => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        config::CipherSuite::EcdsaAes128Gcm => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        config::CipherSuite::RsaAes128Gcm => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        config::CipherSuite::EcdsaAes256Gcm => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        config::CipherSuite::RsaAes256Gcm => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        config::CipherSuite::EcdsaChaCha20 => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        config::CipherSuite::RsaChaCha20 => {
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
    }
}

fn settings(
    terms: &TlsTerms,
    provider: Arc<CryptoProvider>,
    certificates: &Arc<dyn ResolvesServerCert>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Error> {
    let has_12 =
        terms.is_tls12_on && provider.cipher_suites.iter().any(|one| one.tls13().is_none());
    let versions: &[_] = if has_12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions)?;
    let builder = match &terms.clients {
        None => builder.with_no_client_auth(),
        Some(rule) => {
            let roots = Arc::clone(&rule.roots);
            // Clients choose by the authorities' names, which have to fit beside all else.
            let names: usize = roots.subjects().iter().map(|name| name.as_ref().len()).sum();
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            if names > MOST_HINTS {
                verifier = verifier.clear_root_hint_subjects();
            }
            if !rule.is_required {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(Arc::new(NotingVerifier(verifier)))
        }
    };
    let mut settings = builder.with_cert_resolver(Arc::clone(certificates));
    settings.ignore_client_order = true;
    settings.alpn_protocols = vec![HTTP.to_vec()];
    // Nothing is kept for those who may come back: what they need is in their tickets.
    settings.session_storage = Arc::new(NoServerSessionStorage {});
    settings.ticketer = Arc::clone(tickets);
    settings.send_tls13_tickets = usize::from(tickets.enabled());
    // What comes early could be a request that somebody sends once more.
    settings.max_early_data_size = 0;
    settings.enable_secret_extraction = true;
    settings.key_log = Arc::new(Capture);
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chacha_is_moved_in_front_of_the_others() {
        let [aes128, aes256, chacha] = [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        let old = CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
        let moved = with_chacha_in_front(&[aes128, chacha, aes256, old]);
        assert_eq!(moved, Some(vec![chacha, old, aes128, aes256]));
        assert_eq!(with_chacha_in_front(&[chacha, aes128]), None);
        assert_eq!(with_chacha_in_front(&[aes128]), None);
    }
}
