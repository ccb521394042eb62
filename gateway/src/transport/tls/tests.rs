//! Certificates and clients, for the tests of this folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};

use super::handshake::{Handshake, HandshakeFailed, HandshakeStep};
use super::server::{TlsServer, TlsTerms};
use crate::config::stack::CertificateFiles;

/// The suites of TLS 1.3, in the order of the gateway's defaults. Those of TLS 1.2 come behind
/// them, AES-256 first.
pub(super) const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// An authority, which makes certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Each has a name of its own: by its name the authority of a certificate is found.
        let name = key.public_key_raw()[1..9].iter().map(|byte| format!("{byte:02x}"));
        params.distinguished_name.push(DnType::CommonName, name.collect::<String>());
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Those who trust only it.
    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate for these names, after `change`, and its key.
    pub(super) fn issue(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, KeyPair) {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }

    /// Its own certificate.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    /// The settings of clients that trust it and show a certificate.
    pub(super) fn trusted_by(&self, pair: &(CertificateDer<'static>, KeyPair)) -> ClientConfig {
        let key = PrivateKeyDer::try_from(pair.1.serialize_der()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(self.roots());
        builder.with_client_auth_cert(vec![pair.0.clone()], key).unwrap()
    }

    /// What shows one certificate of it to all.
    pub(super) fn shows(&self, names: &[&str]) -> Arc<dyn ResolvesServerCert> {
        let (certificate, key) = self.issue(names, |_| {});
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(vec![certificate], key, &provider).unwrap();
        Arc::new(SingleCertAndKey::from(key))
    }

    /// The settings of clients that trust it.
    pub(super) fn trusted(&self) -> ClientConfig {
        ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth()
    }
}

/// A folder for one test, which is removed with it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file; returns its name.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes a certificate and its key, which only we may read; returns their names.
    pub(super) fn write_pair(
        &self,
        name: &str,
        pair: &(CertificateDer<'_>, KeyPair),
    ) -> CertificateFiles {
        let cert = self.write(&format!("{name}.pem"), pem(&pair.0));
        let key = self.write(&format!("{name}.key"), pair.1.serialize_pem());
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        CertificateFiles { cert, key }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate as PEM.
pub(super) fn pem(certificate: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A client's settings with these suites and versions.
pub(super) fn with(
    authority: &Authority,
    suites: &[SupportedCipherSuite],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = suites.to_vec();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(authority.roots()).with_no_client_auth()
}

/// Terms with all suites.
pub(super) fn terms() -> TlsTerms {
    let suites = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(SupportedCipherSuite::suite);
    let others = suites.filter(|suite| !SUITES.contains(suite));
    let suites = SUITES.into_iter().chain(others).collect();
    TlsTerms { suites, is_tls12_on: true, clients: None }
}

/// rustls' own tickets.
pub(super) fn tickets() -> Arc<dyn ProducesTickets> {
    aws_lc_rs::Ticketer::new().unwrap()
}

/// A server of these terms for `localhost`.
pub(super) fn server(terms: &TlsTerms, authority: &Authority) -> Arc<TlsServer> {
    Arc::new(TlsServer::new(terms, &authority.shows(&["localhost"]), &tickets()).unwrap())
}

/// A client of `localhost`.
pub(super) fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// What a server's side has come to: what is left of what came in goes with it.
pub(super) type Met = Result<(HandshakeStep, Vec<u8>), HandshakeFailed>;

/// Has both meet. What the client sends arrives in pieces: `cut` says how long the next is, of so
/// many bytes that the client has sent.
pub(super) fn meet(
    server: &Arc<TlsServer>,
    client: &mut ClientConnection,
    mut cut: impl FnMut(usize) -> usize,
) -> Met {
    let mut handshake = Handshake::new(server);
    let mut received = Vec::new();
    for _ in 0..10 {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        while !sent.is_empty() {
            let length = cut(sent.len()).clamp(1, sent.len());
            received.extend(sent.drain(..length));
            let mut wire = Vec::new();
            let advanced = handshake.advance(&mut received, &mut wire);
            hear(client, &wire);
            let advanced = advanced?;
            received.drain(..advanced.used);
            if !matches!(advanced.step, HandshakeStep::GoesOn) {
                received.extend(sent);
                return Ok((advanced.step, received));
            }
        }
    }
    panic!("neither has anything to say");
}

/// The client hears what the server sends; what it makes of it, it will say.
pub(super) fn hear(client: &mut ClientConnection, mut wire: &[u8]) {
    while !wire.is_empty() && client.read_tls(&mut wire).is_ok() {
        if client.process_new_packets().is_err() {
            break;
        }
    }
}
