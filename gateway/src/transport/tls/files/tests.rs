//! Listeners as they are configured: certificates of clients, names, reloading, tickets.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{SignatureScheme, SupportedProtocolVersion};

use super::super::failure::HandshakeFailure;
use super::super::handshake::{HandshakeStep, Settled};
use super::super::tests::{Authority, Folder, client, meet, pem};
use super::*;
use crate::config::stack::{CipherSuite, Stack, Tickets, TlsVersion};
use crate::config::{ListenAddress, Listener};

/// A gateway's files, with an authority that all trust.
struct Site {
    folder: Folder,
    authority: Authority,
    config: Config,
}

impl Site {
    /// With one certificate for `localhost`, and no listener yet.
    fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        let mut config = Config { listeners: Vec::new(), ..Config::default() };
        let files = folder.write_pair("localhost", &authority.issue(&["localhost"], |_| {}));
        config.certificates.push(Certificate::new(files.cert, files.key));
        Self { folder, authority, config }
    }

    fn listen(mut self, layer: TlsLayer) -> Self {
        let stack = Stack { tls: Some(layer), ..Stack::default() };
        let address: ListenAddress = SocketAddr::from(([127, 0, 0, 1], 8443)).into();
        self.config.listeners.push(Listener { stack, ..Listener::new(address) });
        self
    }

    /// A listener that asks clients for certificates of the authority.
    fn listen_for_known(self, is_required: bool) -> Self {
        let ca = self.folder.write("ca.pem", pem(self.authority.certificate()));
        let client = Some(ClientCertificates { ca, is_required });
        self.listen(TlsLayer { client, ..TlsLayer::default() })
    }

    fn read(&self) -> TlsFiles {
        TlsFiles::read(&self.config, UnixTime::now()).unwrap()
    }

    fn anonymous(&self) -> Arc<ClientConfig> {
        Arc::new(self.authority.trusted())
    }

    /// A client with a certificate that was made so.
    fn known(&self, change: impl FnOnce(&mut CertificateParams)) -> Arc<ClientConfig> {
        Arc::new(self.authority.trusted_by(&self.authority.issue(&["device.org"], change)))
    }
}

/// What a client and a listener agree on.
fn agree(
    files: &TlsFiles,
    listener: usize,
    config: &Arc<ClientConfig>,
) -> Result<Settled, HandshakeFailure> {
    let server = files.servers()[listener].clone().unwrap();
    let met = meet(&server, &mut client(config), |all| all);
    match met.map_err(|failed| failed.reason)?.0 {
        HandshakeStep::Established13(established) => Ok(established.settled),
        HandshakeStep::Established12(settled, _) => Ok(settled),
        HandshakeStep::GoesOn => panic!("it is not done"),
    }
}

#[test]
fn clients_have_to_show_certificates_that_are_trusted() {
    let site = Site::new().listen_for_known(true);
    let files = site.read();
    let settled = agree(&files, 0, &site.known(|_| {})).unwrap();
    assert_eq!(settled.peer().unwrap().names, ["device.org"]);
    let reason = |config: &Arc<ClientConfig>| agree(&files, 0, config).unwrap_err();
    assert_eq!(reason(&site.anonymous()), HandshakeFailure::CertificateRequired);
    let expired = site.known(|params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_eq!(reason(&expired), HandshakeFailure::CertificateExpired);
    let early = site.known(|params| params.not_before = date_time_ymd(4000, 1, 1));
    assert_eq!(reason(&early), HandshakeFailure::CertificateNotYetValid);
    let stranger = Authority::new().issue(&["device.org"], |_| {});
    let stranger = Arc::new(site.authority.trusted_by(&stranger));
    assert_eq!(reason(&stranger), HandshakeFailure::UnknownCa);
    let of_servers = site.known(|params| params.extended_key_usages.truncate(1));
    assert_eq!(reason(&of_servers), HandshakeFailure::BadCertificate);
}

#[test]
fn certificates_of_clients_may_be_optional() {
    let site = Site::new().listen_for_known(false);
    let files = site.read();
    assert_eq!(agree(&files, 0, &site.anonymous()).unwrap().peer(), None);
    assert!(agree(&files, 0, &site.known(|_| {})).unwrap().peer().is_some());
    let stranger = Authority::new().issue(&["device.org"], |_| {});
    let stranger = Arc::new(site.authority.trusted_by(&stranger));
    assert_eq!(agree(&files, 0, &stranger).unwrap_err(), HandshakeFailure::UnknownCa);
}

#[test]
fn a_resumed_session_has_the_certificate_that_was_shown() {
    let site = Site::new().listen_for_known(true);
    let files = site.read();
    let config = site.known(|_| {});
    let first = agree(&files, 0, &config).unwrap();
    let second = agree(&files, 0, &config).unwrap();
    assert!(!first.is_resumed && second.is_resumed);
    assert_eq!(first.peer().unwrap(), second.peer().unwrap());
}

/// A certificate with its key.
type Issued = (CertificateDer<'static>, KeyPair);

/// Shows a certificate that can be renewed.
#[derive(Debug)]
struct Renewed(Mutex<Arc<CertifiedKey>>);

impl Renewed {
    fn certified((certificate, key): &Issued) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = aws_lc_rs::default_provider();
        Arc::new(CertifiedKey::from_der(vec![certificate.clone()], key, &provider).unwrap())
    }
}

impl ResolvesClientCert for Renewed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn who_has_a_new_certificate_comes_back_once_the_old_one_has_expired() {
    let site = Site::new().listen_for_known(true);
    let mut older = site.config.listeners[0].stack.tls.clone().unwrap();
    older.least = TlsVersion::Tls12;
    older.suites = CipherSuite::defaults(older.least);
    let site = site.listen(older);
    let files = site.read();
    let end = SystemTime::now() + Duration::from_secs(3);
    let short = site.authority.issue(&["old.org"], |params| params.not_after = end.into());
    let long = site.authority.issue(&["new.org"], |_| {});
    let of = |versions: &[&'static SupportedProtocolVersion]| {
        let shown = Arc::new(Renewed(Mutex::new(Renewed::certified(&short))));
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        let builder = builder.with_root_certificates(site.authority.roots());
        (Arc::new(builder.with_client_cert_resolver(Arc::clone(&shown) as _)), shown)
    };
    let clients = [(0, of(&[&TLS13])), (1, of(&[&TLS12]))];
    for (listener, (config, _)) in &clients {
        for is_resumed in [false, true, true] {
            assert_eq!(agree(&files, *listener, config).unwrap().is_resumed, is_resumed);
        }
    }
    while SystemTime::now() < end + Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
    }
    for (listener, (config, shown)) in &clients {
        // It is told by an alert, and has to show another.
        let reason = agree(&files, *listener, config).unwrap_err();
        assert_eq!(reason, HandshakeFailure::CertificateExpired);
        *shown.0.lock().unwrap() = Renewed::certified(&long);
        for is_resumed in [false, true] {
            let settled = agree(&files, *listener, config).unwrap();
            assert_eq!(settled.is_resumed, is_resumed);
            assert_eq!(settled.peer().unwrap().names, ["new.org"]);
        }
    }
}

/// A client that shows this certificate, and so many times the other behind it.
fn with_chain(
    site: &Site,
    end_entity: &Issued,
    behind: &Issued,
    count: usize,
) -> Arc<ClientConfig> {
    let mut chain = vec![end_entity.0.clone()];
    chain.resize(1 + count, behind.0.clone());
    let key = PrivateKeyDer::try_from(end_entity.1.serialize_der()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(site.authority.roots());
    Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
}

#[test]
fn a_ticket_ends_with_the_first_of_its_clients_chain() {
    let site = Site::new().listen_for_known(true);
    let files = site.read();
    let end = SystemTime::now() + Duration::from_secs(3);
    let short = site.authority.issue(&["short.org"], |params| params.not_after = end.into());
    let long = site.authority.issue(&["long.org"], |_| {});
    let config = with_chain(&site, &long, &short, 1);
    for is_resumed in [false, true] {
        assert_eq!(agree(&files, 0, &config).unwrap().is_resumed, is_resumed);
    }
    while SystemTime::now() < end + Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!agree(&files, 0, &config).unwrap().is_resumed);
}

#[test]
fn a_chain_of_very_many_is_refused() {
    let site = Site::new().listen_for_known(true);
    let files = site.read();
    let one = site.authority.issue(&["one.org"], |_| {});
    agree(&files, 0, &with_chain(&site, &one, &one, 15)).unwrap();
    let reason = agree(&files, 0, &with_chain(&site, &one, &one, 16)).unwrap_err();
    assert_eq!(reason, HandshakeFailure::BadCertificate);
}

#[test]
fn chains_that_no_ticket_has_room_for_are_shown_each_time() {
    let site = Site::new().listen_for_known(true);
    let files = site.read();
    let large = |params: &mut CertificateParams| {
        let filler = (0..900).map(|at| format!("n{at}.device.org").try_into().unwrap());
        params.subject_alt_names.extend(filler.map(rcgen::SanType::DnsName));
    };
    let config = site.known(large);
    for _ in 0..2 {
        let settled = agree(&files, 0, &config).unwrap();
        assert!(!settled.is_resumed);
        assert!(settled.certificates[0].len() > 8 << 10);
    }
}

#[test]
fn sessions_are_not_resumed_where_other_rules_are() {
    let site = Site::new().listen_for_known(false).listen_for_known(true).listen_for_known(true);
    let mut site = site.listen(TlsLayer::default());
    let other = site.folder.write("other.pem", pem(Authority::new().certificate()));
    let client = Some(ClientCertificates { ca: other, is_required: false });
    site = site.listen(TlsLayer { client, ..TlsLayer::default() });
    let files = site.read();
    // Without a certificate at a listener where that may be, then where it may not.
    let config = site.anonymous();
    assert!(!agree(&files, 0, &config).unwrap().is_resumed);
    assert_eq!(agree(&files, 1, &config).unwrap_err(), HandshakeFailure::CertificateRequired);
    for (from, to, is_resumed) in
        [(0, 0, true), (1, 2, true), (0, 1, false), (1, 0, false), (0, 3, false), (3, 4, false)]
    {
        let config = site.known(|_| {});
        agree(&files, from, &config).unwrap();
        let settled = agree(&files, to, &config);
        // At the last, the certificate is a stranger's.
        let is_refused =
            settled.as_ref().is_err_and(|reason| *reason == HandshakeFailure::UnknownCa);
        assert_eq!(is_refused, to == 4);
        assert_eq!(settled.is_ok_and(|settled| settled.is_resumed), is_resumed, "{from} to {to}");
    }
}

#[test]
fn gateways_with_the_same_keys_resume_each_others_sessions() {
    let site = Site::new();
    let keys = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
    let keys = site.folder.write("keys", keys);
    let shared = TlsLayer { tickets: Some(Tickets { keys: Some(keys) }), ..TlsLayer::default() };
    let off = TlsLayer { tickets: None, ..TlsLayer::default() };
    let site = site.listen(shared).listen(TlsLayer::default()).listen(off);
    let (one, other) = (site.read(), site.read());
    for (listener, is_shared) in [(0, true), (1, false), (2, false)] {
        let config = site.anonymous();
        assert!(!agree(&one, listener, &config).unwrap().is_resumed);
        assert_eq!(agree(&other, listener, &config).unwrap().is_resumed, is_shared);
        let config = site.anonymous();
        agree(&one, listener, &config).unwrap();
        assert_eq!(agree(&one, listener, &config).unwrap().is_resumed, listener != 2);
    }
}

#[test]
fn keys_of_tickets_that_all_may_read_are_doubted() {
    let site = Site::new();
    let keys = site.folder.write("keys", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=");
    let tickets = Some(Tickets { keys: Some(keys.clone()) });
    let site = site.listen(TlsLayer { tickets, ..TlsLayer::default() });
    let files = site.read();
    let mode = |mode| std::fs::set_permissions(&keys, Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    assert_eq!(files.doubts(), [""; 0]);
    mode(0o644);
    let told = files.doubts();
    assert!(told[0].starts_with(&format!("{}: all users may read", keys.display())), "{told:?}");
    assert_eq!(told.len(), 1);
}

/// The certificate that a client of `localhost` is shown.
fn shown(files: &TlsFiles, config: &Arc<ClientConfig>) -> Option<CertificateDer<'static>> {
    let server = files.servers()[0].clone().unwrap();
    let mut client = client(config);
    meet(&server, &mut client, |all| all).ok()?;
    client.peer_certificates().map(|chain| chain[0].clone())
}

#[test]
fn certificates_are_replaced_under_those_who_come() {
    let site = Site::new().listen(TlsLayer { tickets: None, ..TlsLayer::default() });
    let files = site.read();
    let before = files.certificates();
    let config = site.anonymous();
    let first = shown(&files, &config).unwrap();
    // Half of a pair is there: nothing changes, and all that is wrong is told.
    let next = site.authority.issue(&["localhost"], |_| {});
    let cert = &site.config.certificates[0].cert;
    std::fs::write(cert, pem(&next.0)).unwrap();
    let wrong = files.reload(UnixTime::now()).unwrap_err();
    assert_eq!((wrong.len(), &wrong[0].file), (1, cert));
    assert!(Arc::ptr_eq(&before, &files.certificates()));
    assert_eq!(shown(&files, &config).unwrap(), first);
    // A handshake goes on with what it began with.
    let server = files.servers()[0].clone().unwrap();
    let mut amid = client(&config);
    let mut has_reloaded = false;
    let met = meet(&server, &mut amid, |all| {
        if all < 200 && !has_reloaded {
            site.folder.write_pair("localhost", &next);
            files.reload(UnixTime::now()).unwrap();
            has_reloaded = true;
        }
        all
    });
    assert!(met.is_ok() && has_reloaded);
    assert_eq!(shown(&files, &config).unwrap(), next.0);
    assert_ne!(files.certificates()[0].fingerprint, before[0].fingerprint);
}

#[test]
fn authorities_and_keys_of_tickets_are_read_anew() {
    let keys = [
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=",
    ];
    let site = Site::new();
    let file = site.folder.write("keys", keys[0]);
    let layer = TlsLayer { tickets: Some(Tickets { keys: Some(file) }), ..TlsLayer::default() };
    let site = site.listen_for_known(true).listen(layer);
    let files = site.read();
    let (known, anonymous) = (site.known(|_| {}), site.anonymous());
    agree(&files, 0, &known).unwrap();
    agree(&files, 1, &anonymous).unwrap();
    site.folder.write("ca.pem", pem(Authority::new().certificate()));
    site.folder.write("keys", keys[1]);
    files.reload(UnixTime::now()).unwrap();
    // Who was trusted by those before has a ticket, and may not come in by it.
    assert_eq!(agree(&files, 0, &known).unwrap_err(), HandshakeFailure::UnknownCa);
    assert!(!agree(&files, 1, &anonymous).unwrap().is_resumed);
    assert!(agree(&files, 1, &anonymous).unwrap().is_resumed);
}

#[test]
fn a_listener_has_its_own_certificate_and_all_names() {
    let site = Site::new();
    let own = site.folder.write_pair("own", &site.authority.issue(&["own.org"], |_| {}));
    let cert = own.cert.clone();
    let site = site.listen(TlsLayer { certificate: Some(own), ..TlsLayer::default() });
    let mut site = site.listen(TlsLayer::default());
    site.config.listeners.push(Listener::default());
    let files = site.read();
    assert!(files.servers()[2].is_none());
    assert!(agree(&files, 0, &site.anonymous()).is_ok(), "localhost is a name of the table");
    let facts = files.certificates();
    assert_eq!(
        facts.iter().map(|one| one.names.join(" ")).collect::<Vec<_>>(),
        ["localhost", "own.org"]
    );
    assert_eq!(facts[1].file, cert);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut site = Site::new().listen_for_known(true);
    site.config.certificates.push(Certificate::new("/nonexistent/cert", "/nonexistent/key"));
    let layer = site.config.listeners[0].stack.tls.as_mut().unwrap();
    layer.tickets = Some(Tickets { keys: Some("/nonexistent/tickets".into()) });
    std::fs::write(&layer.client.as_ref().unwrap().ca, "nothing").unwrap();
    let wrong = TlsFiles::read(&site.config, UnixTime::now()).err().unwrap();
    let told: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    for text in ["/nonexistent/cert", "/nonexistent/tickets", "ca.pem has no certificate"] {
        assert!(told.iter().any(|line| line.contains(text)), "{text}: {told:#?}");
    }
}

#[test]
fn names_of_two_certificates_are_doubted() {
    let mut site = Site::new().listen(TlsLayer::default());
    let pair: (CertificateDer<'_>, KeyPair) = site.authority.issue(&["localhost"], |_| {});
    let files = site.folder.write_pair("second", &pair);
    site.config.certificates.push(Certificate::new(files.cert, files.key));
    let facts = site.read().certificates();
    assert!(facts[0].doubts.is_empty());
    assert!(facts[1].doubts[0].contains("localhost.pem"), "{:?}", facts[1].doubts);
}

#[test]
fn files_are_on_the_bill_as_large_as_they_are() {
    let bytes = |config: &Config| lines(config).map_or(0, |line| line.bytes);
    assert_eq!(bytes(&Config::default()), 0);
    let site = Site::new();
    let Certificate { cert, key, .. } = &site.config.certificates[0];
    let before = bytes(&site.config);
    let length = |file: &Path| std::fs::metadata(file).unwrap().len();
    assert!(before > 2 * (length(cert) + length(key)));
    std::fs::write(cert, [std::fs::read(cert).unwrap(), vec![b'\n'; 1000]].concat()).unwrap();
    let longer = bytes(&site.config);
    assert_eq!(longer, before + 2 * 1000);
    // Authorities are read for each listener.
    let site = site.listen_for_known(true).listen_for_known(false);
    let ca =
        length(&site.config.listeners[0].stack.tls.as_ref().unwrap().client.as_ref().unwrap().ca);
    assert!(bytes(&site.config) > longer + 2 * 2 * ca);
}
