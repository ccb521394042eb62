//! Records of rustls, which shares nothing with our own code: it is the client, and has done the
//! handshake with a server of rustls, whose secrets are taken over.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, KeyLog, RootCertStore};
use rustls::{ServerConfig, ServerConnection};

use super::*;

thread_local! {
    /// The traffic secrets of the handshake that this thread has done last.
    static CAUGHT: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

#[derive(Debug)]
struct Catching;

impl KeyLog for Catching {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let which = match label {
            "CLIENT_TRAFFIC_SECRET_0" => 0,
            "SERVER_TRAFFIC_SECRET_0" => 1,
            _ => return,
        };
        CAUGHT.with_borrow_mut(|caught| caught[which] = secret.to_vec());
    }
}

/// What both ends of rustls are configured with.
struct Twins {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Twins {
    fn new(suite: Suite) -> Self {
        let name = match suite {
            Suite::Aes128Gcm => provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
            Suite::Aes256Gcm => provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
            Suite::ChaCha20Poly1305 => provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        };
        let both = CryptoProvider {
            cipher_suites: vec![name],
            kx_groups: vec![provider::kx_group::X25519],
            ..provider::default_provider()
        };
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut server = ServerConfig::builder_with_provider(Arc::new(both.clone()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate");
        server.key_log = Arc::new(Catching);
        server.enable_secret_extraction = true;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(Arc::new(both))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { client: Arc::new(client), server: Arc::new(server) }
    }

    /// A client whose handshake is over, and its other end, which is ours now.
    fn shake_hands(&self, suite: Suite) -> (ClientConnection, Owner, Hand) {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).expect("begun");
        let mut server = ServerConnection::new(Arc::clone(&self.server)).expect("begun");
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).expect("written");
            server.read_tls(&mut wire.as_slice()).expect("read");
            server.process_new_packets().expect("in order");
            let wire = written(&mut server);
            hear(&mut client, &wire);
        }
        let wire = written(&mut server);
        hear(&mut client, &wire);
        let extracted = server.dangerous_extract_secrets().expect("it is established");
        let [of_client, of_server] = CAUGHT.take();
        check_keys(suite, &of_client, &extracted.rx.1);
        check_keys(suite, &of_server, &extracted.tx.1);
        let secrets = Secrets {
            client: &of_client,
            server: &of_server,
            read_sequence: extracted.rx.0,
            write_sequence: extracted.tx.0,
        };
        let owner = Owner::new(suite, secrets);
        (client, owner, Hand { suite, secret: of_server, sequence: extracted.tx.0 })
    }
}

fn written(server: &mut ServerConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).expect("written");
    }
    wire
}

/// The client takes what came in; returns the data of it.
fn hear(client: &mut ClientConnection, mut wire: &[u8]) -> Vec<u8> {
    let (mut heard, mut plain) = (Vec::new(), [0; 20_000]);
    while !wire.is_empty() {
        client.read_tls(&mut wire).expect("read");
        client.process_new_packets().expect("what we seal is in order");
        while let Ok(length @ 1..) = client.reader().read(&mut plain) {
            heard.extend_from_slice(&plain[..length]);
        }
    }
    heard
}

fn check_keys(suite: Suite, secret: &[u8], of_rustls: &ConnectionTrafficSecrets) {
    let (their_key, their_iv) = match of_rustls {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
        _ => unreachable!("no other suite is offered"),
    };
    let (mut key, mut iv) = (vec![0; suite.key_length()], [0; 12]);
    suite.derive(secret, b"key", &mut key);
    suite.derive(secret, b"iv", &mut iv);
    assert_eq!((key.as_slice(), iv.as_slice()), (their_key, their_iv));
}

/// What happens on a connection with a client of rustls.
#[derive(Clone, Debug)]
enum Act {
    /// The client says so many bytes.
    Says(usize),
    /// We say so many bytes, with so much room at a time.
    Told(usize, usize),
    /// The client changes its key, and asks for the same.
    Updates,
    /// We ask for no change, but have sealed so many records with a key.
    RecordsPerKey(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let length = || prop_oneof![4 => 1..200usize, 1 => 16_000..50_000usize];
    let room = prop_oneof![UPDATE_RECORD..200, 16_000..40_000usize];
    let act = prop_oneof![
        3 => length().prop_map(Act::Says),
        3 => (length(), room).prop_map(|(length, room)| Act::Told(length.min(room * 20), room)),
        1 => Just(Act::Updates),
        1 => (1..20u64).prop_map(Act::RecordsPerKey),
    ];
    prop::collection::vec(act, 1..20)
}

/// Does what is said with a client of rustls; its wire comes in stretches of so many bytes.
fn play(suite: Suite, twins: &Twins, acts: &[Act], stretch: usize) {
    let (mut client, mut owner, _) = twins.shake_hands(suite);
    let (mut said, mut told, mut heard) = (Vec::new(), Vec::new(), Vec::new());
    let bytes = |length, at: usize| (0..length).map(|byte| (byte ^ at) as u8).collect::<Vec<_>>();
    for (at, act) in acts.iter().enumerate() {
        match *act {
            Act::Says(length) => {
                let data = bytes(length, at);
                client.writer().write_all(&data).expect("it takes it");
                said.extend(data);
            }
            Act::Updates => client.refresh_traffic_keys().expect("it may"),
            Act::RecordsPerKey(records) => owner.sessions.set_records_per_key(records),
            Act::Told(length, room) => {
                let data = bytes(length, at);
                let wire = owner.send(&data, room);
                told.extend(data);
                heard.extend(hear(&mut client, &wire));
            }
        }
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("written");
        }
        wire.chunks(stretch).for_each(|part| owner.receive(part).expect("rustls is right"));
    }
    assert!(owner.plain == said && heard == told);
    client.send_close_notify();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("written");
    owner.receive(&wire).expect("it closes");
    assert!(owner.is_closed);
    hear(&mut client, &owner.alert(Alert::CLOSE_NOTIFY));
    assert_eq!(client.reader().read(&mut [0; 10]).expect("an end in good order"), 0);
}

#[test]
fn rustls_and_ours_understand_each_other() {
    for suite in Suite::ALL {
        let twins = Twins::new(suite);
        let config = ProptestConfig { cases: 60, ..ProptestConfig::default() };
        let stretch = prop_oneof![1..50usize, 1000..20_000usize];
        proptest!(config, |(acts in acts(), stretch in stretch)| {
            play(suite, &twins, &acts, stretch);
        });
    }
}

/// What we refuse rustls refuses with the same alert. It is milder with an empty message of the
/// handshake, with other records amid one, and with nothing but padding, and finds other words for
/// unknown types and for empty alerts; there we do as the RFC says.
#[test]
fn rustls_takes_the_same_things_amiss() {
    let wrong: [Maker<'_>; 7] = [
        &|hand| hand.seal(20, &[1]),
        &|hand| hand.seal(HANDSHAKE, &[20, 0, 0, 1, 0]),
        &|hand| hand.seal(HANDSHAKE, &[24, 0, 0, 1, 2]),
        &|hand| hand.seal(HANDSHAKE, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]),
        &|hand| hand.seal(ALERT, &[1]),
        &|hand| hand.data(&[0; 16_385]),
        &|hand| {
            let mut record = hand.data(b"hello");
            record[10] ^= 1;
            record
        },
    ];
    for suite in Suite::ALL {
        let twins = Twins::new(suite);
        for (at, make) in wrong.iter().enumerate() {
            let (mut client, mut owner, mut server) = twins.shake_hands(suite);
            let wire = make(&mut server);
            let mut wire = wire.as_slice();
            let mut is_refused = false;
            while !wire.is_empty() && !is_refused {
                client.read_tls(&mut wire).expect("read");
                is_refused = client.process_new_packets().is_err();
            }
            let mut told = Vec::new();
            client.write_tls(&mut told).expect("written");
            let theirs = owner.receive(&told).expect_err("it tells us why");
            let ours = refusal(suite, make).alert().expect("it is told why");
            assert_eq!(theirs.reason, RecordError::PeerAlert(ours), "{at}");
        }
    }
}
