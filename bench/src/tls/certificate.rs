//! The certificate of a server that is measured.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use tempfile::TempDir;

use super::{failed, provider};

/// Tickets that a server sends behind a handshake: as many as the gateway does.
const TICKETS: usize = 1;

/// A certificate on P-256, signed by itself, and its key, in two files that are gone with it.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// Makes one for `localhost` and `127.0.0.1`, in a folder of its own.
    ///
    /// # Errors
    /// There is no room for the files.
    pub fn new() -> io::Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        // What rcgen takes unless told: ECDSA on P-256 with SHA-256.
        let made = rcgen::generate_simple_self_signed(names).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("tidegate-bench-").tempdir()?;
        let certificate = Self { folder };
        fs::write(certificate.cert(), made.cert.pem())?;
        fs::write(certificate.key(), made.signing_key.serialize_pem())?;
        Ok(certificate)
    }

    /// The file with the certificate.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The file with its key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// The folder with both, where a server may put what it needs as well.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// What rustls is to do as a server with the certificate in these files: as the gateway, with
/// tickets that nothing is kept for.
///
/// # Errors
/// The files are not there, or not what they should be.
pub(crate) fn server_config(cert: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(cert).map_err(failed)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed)?;
    let provider = provider(vec![kx_group::X25519MLKEM768, kx_group::X25519]);
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(failed)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(failed)?;
    config.alpn_protocols = vec![super::dialing::ALPN.to_vec()];
    config.enable_secret_extraction = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(failed)?;
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}
