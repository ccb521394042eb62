//! Handshakes of clients, without their sockets.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
};

use super::records::whole;
use super::session::Session;
use super::store::Store;
use super::{failed, provider};

/// What is spoken within (RFC 7301): WebSocket begins as HTTP/1.1.
pub(super) const ALPN: &[u8] = b"http/1.1";

/// How a key is agreed upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Exchange {
    /// X25519, which every server has.
    #[default]
    X25519,
    /// X25519 with ML-KEM-768, and X25519 alone for who has not got that.
    X25519Mlkem768,
}

/// How clients shake hands.
#[derive(Clone)]
pub struct Dialer {
    config: Arc<ClientConfig>,
    /// Whether a client waits for a ticket, with which a later one resumes.
    is_resuming: bool,
    counts: Arc<Counts>,
}

/// Handshakes that clients were through with.
#[derive(Debug, Default)]
struct Counts {
    full: AtomicU64,
    resumed: AtomicU64,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_resuming, counts, .. } = self;
        let mut out = out.debug_struct("Dialer");
        out.field("is_resuming", is_resuming).field("counts", counts).finish_non_exhaustive()
    }
}

impl Dialer {
    /// Clients that all shake hands in full, or, if `is_resuming`, resume what an earlier one has
    /// begun.
    ///
    /// # Errors
    /// The crypto library has none of what is wanted.
    pub fn new(exchange: Exchange, is_resuming: bool) -> io::Result<Self> {
        let groups = match exchange {
            Exchange::X25519 => vec![kx_group::X25519],
            Exchange::X25519Mlkem768 => vec![kx_group::X25519MLKEM768, kx_group::X25519],
        };
        let builder = ClientConfig::builder_with_provider(provider(groups));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(failed)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_secret_extraction = true;
        config.resumption = if is_resuming {
            Resumption::store(Arc::new(Store::default()))
        } else {
            Resumption::disabled()
        };
        Ok(Self { config: Arc::new(config), is_resuming, counts: Arc::default() })
    }

    /// Full and resumed handshakes that clients were through with so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let Counts { full, resumed } = &*self.counts;
        (full.load(Ordering::Relaxed), resumed.load(Ordering::Relaxed))
    }
}

/// A handshake under way.
pub struct Dialing {
    connection: Box<ClientConnection>,
    /// What is said behind the Finished; empty once it is.
    first: Vec<u8>,
    is_resuming: bool,
    counts: Arc<Counts>,
    /// What has come and is not understood yet.
    held: Vec<u8>,
}

/// Where a handshake is.
pub enum Progress {
    /// It goes on.
    Dialing(Dialing),
    /// It is over. What came behind it is held: [`Session::take_in`] with nothing more opens it.
    Open(Box<Session>),
}

impl Dialing {
    /// Begins a handshake with `host`, which may have a port, and puts the ClientHello behind what
    /// is in `wire`. `first` is what is said in the same breath as the Finished.
    ///
    /// # Errors
    /// The host's name is none.
    pub fn new(
        dialer: &Dialer,
        host: &str,
        first: Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<Self> {
        let name = server_name(host)?;
        let connection = ClientConnection::new(Arc::clone(&dialer.config), name).map_err(failed)?;
        let (is_resuming, counts) = (dialer.is_resuming, Arc::clone(&dialer.counts));
        let connection = Box::new(connection);
        let mut dialing = Self { connection, first, is_resuming, counts, held: Vec::new() };
        dialing.say(wire)?;
        Ok(dialing)
    }

    /// Takes in what has come, and puts what is to be said behind what is in `wire`. Records are
    /// taken one by one, so that nothing is opened here that comes behind the handshake.
    ///
    /// # Errors
    /// The server says something that it must not say, or refuses.
    pub fn advance(mut self, input: &[u8], wire: &mut Vec<u8>) -> io::Result<Progress> {
        self.held.extend_from_slice(input);
        let mut at = 0;
        while let Some(length) = whole(&self.held[at..])? {
            let mut record = &self.held[at..at + length];
            at += length;
            while !record.is_empty() {
                self.connection.read_tls(&mut record)?;
            }
            self.connection.process_new_packets().map_err(failed)?;
            if !self.connection.is_handshaking() && !self.first.is_empty() {
                self.count();
                self.connection.writer().write_all(&std::mem::take(&mut self.first))?;
            }
            self.say(wire)?;
            if self.is_over()? {
                let held = self.held.split_off(at);
                let secrets = self.connection.dangerous_extract_secrets().map_err(failed)?;
                return Ok(Progress::Open(Box::new(Session::new(secrets, held)?)));
            }
        }
        self.held.drain(..at);
        Ok(Progress::Dialing(self))
    }

    fn say(&mut self, wire: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(wire)?;
        }
        Ok(())
    }

    /// Whether both sides are done, and a ticket has come if one is waited for.
    fn is_over(&mut self) -> io::Result<bool> {
        if self.connection.is_handshaking() {
            return Ok(false);
        }
        if !self.is_resuming || self.connection.tls13_tickets_received() > 0 {
            return Ok(true);
        }
        // The server answers only what it was asked with the Finished, and tickets come before.
        match self.connection.reader().read_exact(&mut [0]) {
            Ok(()) => Err(failed("the server gives no tickets")),
            Err(_) => Ok(false),
        }
    }

    fn count(&self) {
        let count = match self.connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => &self.counts.resumed,
            _ => &self.counts.full,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(name).map_err(failed)
}

/// Believes whoever answers.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_names_and_addresses() {
        for (host, name) in [
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]:8080", "::1"),
            ("example.org", "example.org"),
            ("localhost:443", "localhost"),
        ] {
            assert_eq!(server_name(host).unwrap().to_str(), name);
        }
        assert!(server_name("a b:80").is_err());
    }
}
