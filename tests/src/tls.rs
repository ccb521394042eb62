//! TLS in tests: an authority with its certificates, and rustls' own clients.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    PKCS_ED25519, SanType, SerialNumber,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType,
    ProtocolVersion, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
};
use tidegate::transport::tls::{TlsServer, TlsTerms};

/// Whom its certificates are for.
pub const NAME: &str = "gateway.test";

/// An authority that signs certificates. Its signatures, and those of what it signs, have always
/// the same length.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Pair {
    /// The certificate as it is on the wire.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate")
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = parameters(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("it can sign");
        Self { issuer }
    }

    /// Its own certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn pair(&self, names: &[&str]) -> Pair {
        let (params, key) = (parameters(names), key());
        let certificate = params.signed_by(&key, &self.issuer).expect("it can sign");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate for [`NAME`] that expires after so many days.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn pair_for_days(&self, days: u32) -> Pair {
        let (mut params, key) = (parameters(&[NAME]), key());
        let end = SystemTime::now() + Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        params.not_after = end.into();
        let certificate = params.signed_by(&key, &self.issuer).expect("it can sign");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate for a client, whose subject has this common name and no other.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn client(&self, name: &str) -> Pair {
        let (mut params, key) = (parameters(&["client.test"]), key());
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("it can sign");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate for a client without a subject, whose only names are these URIs: so SPIFFE has
    /// it.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn workload(&self, uris: &[String]) -> Pair {
        let (mut params, key) = (parameters(&[]), key());
        params.distinguished_name = DistinguishedName::new();
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().expect("in ASCII"));
        params.subject_alt_names = uris.iter().map(uri).collect();
        let certificate = params.signed_by(&key, &self.issuer).expect("it can sign");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The settings of clients that trust it and show this certificate.
    ///
    /// # Panics
    /// They cannot be made.
    #[must_use]
    pub fn trusting_as(&self, pair: &Pair) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = builder.with_client_auth_cert(vec![pair.der()], key).expect("they fit");
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// What a gateway shakes hands with that shows a certificate for [`NAME`].
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn server(&self, terms: &TlsTerms) -> Arc<TlsServer> {
        let (params, key) = (parameters(&[NAME]), key());
        let certificate = params.signed_by(&key, &self.issuer).expect("it can sign");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = aws_lc_rs::default_provider();
        let chain = vec![certificate.der().clone()];
        let certified = CertifiedKey::from_der(chain, der, &provider).expect("they fit");
        let shows = Arc::new(SingleCertAndKey::from(certified)) as _;
        let tickets = aws_lc_rs::Ticketer::new().expect("random bytes");
        Arc::new(TlsServer::new(terms, &shows, &tickets).expect("right terms"))
    }

    /// The settings of clients that trust it, and never come back with a ticket.
    ///
    /// # Panics
    /// They cannot be made.
    #[must_use]
    pub fn trusting(&self) -> Arc<ClientConfig> {
        self.trusting_by(rustls::DEFAULT_VERSIONS)
    }

    /// The same of clients that speak these versions.
    ///
    /// # Panics
    /// They cannot be made.
    #[must_use]
    pub fn trusting_by(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_secret_extraction = true;
        Arc::new(config)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// What a certificate says, in as many bytes each time.
fn parameters(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.serial_number = Some(SerialNumber::from(1_u64));
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("random bytes")
}

/// Terms with all suites of TLS 1.3.
#[must_use]
pub fn terms() -> TlsTerms {
    let suites = vec![
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    TlsTerms { suites, is_tls12_on: false, clients: None }
}

/// A client's end of a connection, without a socket.
pub struct TlsEnd {
    connection: ClientConnection,
}

impl TlsEnd {
    /// One that has yet to say its hello.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new(config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(NAME).expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(config), name).expect("settings");
        connection.set_buffer_limit(None);
        Self { connection }
    }

    /// Says bytes; returns what goes on the wire. Before the handshake is done they wait.
    ///
    /// # Panics
    /// It cannot be said.
    pub fn says(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.connection.writer().write_all(bytes).expect("there is no limit");
        self.sends()
    }

    /// What goes on the wire now, though nothing is said.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn sends(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut wire).expect("memory");
        }
        wire
    }

    /// Hears what came on the wire; returns the plain bytes. What it has to say to that is in
    /// [`Self::sends`].
    ///
    /// # Panics
    /// The server may not say so.
    pub fn hears(&mut self, mut wire: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !wire.is_empty() {
            self.connection.read_tls(&mut wire).expect("memory");
            self.connection.process_new_packets().expect("the server speaks TLS");
            match self.connection.reader().read_to_end(&mut plain) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        plain
    }

    /// Whether the handshake is done.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Goes on to the next key, and asks the server to do so as well, if the handshake is done;
    /// [`Self::sends`] has the words.
    pub fn updates_keys(&mut self) {
        if self.is_ready() {
            let _ = self.connection.refresh_traffic_keys();
        }
    }

    /// Says that nothing follows; [`Self::sends`] has the words.
    pub fn ends(&mut self) {
        self.connection.send_close_notify();
    }

    /// What goes on the wire if the next record has this content, which rustls would not send: over
    /// TLS 1.2, with settings that let its secrets be extracted. Nothing is said behind it.
    ///
    /// # Panics
    /// The handshake is not done, or was of another version.
    #[must_use]
    pub fn seals(self, content: ContentType, plain: &[u8]) -> Vec<u8> {
        let Some(SupportedCipherSuite::Tls12(suite)) = self.connection.negotiated_cipher_suite()
        else {
            panic!("it is not of TLS 1.2");
        };
        let secrets = self.connection.dangerous_extract_secrets().expect("hands are shaken");
        let (sequence, secrets) = secrets.tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets
        else {
            panic!("another suite");
        };
        let version = ProtocolVersion::TLSv1_2;
        let message =
            OutboundPlainMessage { typ: content, version, payload: OutboundChunks::Single(plain) };
        let mut encrypter = suite.aead_alg.encrypter(key, &iv.as_ref()[..4], &iv.as_ref()[4..]);
        encrypter.encrypt(message, sequence).expect("it seals").encode()
    }
}

/// Lets clients that know nothing of TLS talk to a gateway over it. It ends with the process.
///
/// # Errors
/// No port could be had.
pub fn relay(gateway: SocketAddr, config: Arc<ClientConfig>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(gateway) else { return };
            let config = Arc::clone(&config);
            thread::spawn(move || pass(&client, &server, &config));
        }
    });
    Ok(address)
}

/// Passes on what both say, until both have ended.
fn pass(client: &TcpStream, server: &TcpStream, config: &Arc<ClientConfig>) {
    let mut end = TlsEnd::new(config);
    let mut bytes = vec![0; 16 * 1024];
    let pause = Some(Duration::from_millis(1));
    let (Ok(()), Ok(())) = (client.set_read_timeout(pause), server.set_read_timeout(pause)) else {
        return;
    };
    let (mut client_ended, mut server_ended) = (false, false);
    while !server_ended {
        if (&*server).write_all(&end.sends()).is_err() {
            break;
        }
        match (&*server).read(&mut bytes) {
            Ok(0) => server_ended = true,
            Ok(count) => {
                let plain = end.hears(&bytes[..count]);
                if (&*client).write_all(&plain).is_err() {
                    break;
                }
            }
            Err(error) if is_nothing(&error) => {}
            Err(_) => break,
        }
        if client_ended {
            continue;
        }
        match (&*client).read(&mut bytes) {
            Ok(0) => {
                client_ended = true;
                end.ends();
                let _ = (&*server).write_all(&end.sends());
                let _ = server.shutdown(Shutdown::Write);
            }
            Ok(count) => {
                let wire = end.says(&bytes[..count]);
                let _ = (&*server).write_all(&wire);
            }
            Err(error) if is_nothing(&error) => {}
            Err(_) => break,
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Files in a folder of their own, which goes with this.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// None yet.
    ///
    /// # Panics
    /// There can be no folder.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder");
        Self { folder }
    }

    /// Writes a file; returns where it is.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("room on the disk");
        path
    }

    /// The layer `tls` that shows a certificate of this authority for [`NAME`], with more options.
    #[must_use]
    pub fn layer(&self, authority: &Authority, options: &str) -> String {
        let Pair { certificate, key } = authority.pair(&[NAME]);
        let cert = self.write("cert.pem", &certificate);
        let key = self.write("key.pem", &key);
        format!("tls?cert={}&key={}{options}", cert.display(), key.display())
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
