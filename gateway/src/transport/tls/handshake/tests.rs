//! Handshakes with clients of rustls, and with those who speak something else.

use std::io::Write;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion};

use super::super::tests::{Authority, SUITES, client, hear, meet, server, terms, with};
use rustls::ExtractedSecrets;

use super::*;

fn established(step: HandshakeStep) -> Established13 {
    match step {
        HandshakeStep::Established13(established) => established,
        step => panic!("{step:?}"),
    }
}

/// The secrets are those of the client: it has the same keys, and expects the same numbers.
fn check_secrets(established: &Established13, client: ClientConnection) {
    let theirs = client.dangerous_extract_secrets().unwrap();
    assert_eq!(theirs.rx.0, established.write_sequence);
    assert_eq!(theirs.tx.0, established.read_sequence);
    let theirs = ExtractedSecrets { tx: theirs.rx, rx: theirs.tx };
    assert!(established.secrets.are_those_of(&theirs));
}

fn extractable(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.enable_secret_extraction = true;
    Arc::new(config)
}

#[test]
fn the_secrets_of_each_suite_are_those_of_the_client() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    for suite in aws_lc_rs::ALL_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()) {
        let config = extractable(with(&authority, &[*suite], &[&TLS13]));
        let mut one = client(&config);
        let (step, rest) = meet(&server, &mut one, |all| all).unwrap();
        let established = established(step);
        assert!(rest.is_empty());
        assert_eq!(established.settled.suite, suite.suite());
        assert_eq!(established.settled.version, ProtocolVersion::TLSv1_3);
        assert!(!established.settled.is_resumed);
        assert_eq!(established.write_sequence, 1, "a ticket was sent");
        check_secrets(&established, one);
    }
}

#[test]
fn a_ticket_resumes_and_sends_another() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let config = extractable(authority.trusted());
    for round in 0..3 {
        let mut one = client(&config);
        let (step, _) = meet(&server, &mut one, |all| all).unwrap();
        let established = established(step);
        assert_eq!(established.settled.is_resumed, round > 0);
        assert_eq!(established.write_sequence, 1);
        check_secrets(&established, one);
    }
}

#[test]
fn flights_may_be_split_anywhere() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let config = extractable(authority.trusted());
    // First of a full handshake, then of a resumed one: the second has a larger hello.
    for _ in 0..2 {
        let mut lengths = Vec::new();
        let mut one = client(&config);
        meet(&server, &mut one, |all| {
            lengths.push(all);
            all
        })
        .unwrap();
        assert_eq!(lengths.len(), 2, "{lengths:?}");
        let splits = (1..lengths[0]).step_by(13).map(|at| [at, lengths[1]]);
        let splits = splits.chain((1..lengths[1]).map(|at| [lengths[0], at]));
        for split in splits {
            let mut config = ClientConfig::clone(&config);
            config.resumption = Resumption::disabled();
            let mut one = client(&Arc::new(config));
            let (mut flight, mut before) = (0, 0);
            let cut = |left: usize| {
                // A flight begins where more is there than was left.
                let is_first = flight == 0 || left > before;
                flight += usize::from(is_first);
                let length = if is_first { split[flight - 1].min(left) } else { left };
                before = left - length;
                length
            };
            let (step, rest) = meet(&server, &mut one, cut).unwrap();
            assert!(rest.is_empty());
            check_secrets(&established(step), one);
        }
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    for versions in [[&TLS13], [&TLS12]] {
        let config = Arc::new(with(&authority, aws_lc_rs::ALL_CIPHER_SUITES, &versions));
        for is_resumed in [false, true] {
            let mut one = client(&config);
            let (step, rest) = meet(&server, &mut one, |_| 1).unwrap();
            assert!(rest.is_empty());
            let settled = match &step {
                HandshakeStep::Established13(established) => &established.settled,
                HandshakeStep::Established12(settled, _) => settled,
                HandshakeStep::GoesOn => panic!("it is not done"),
            };
            assert_eq!(settled.is_resumed, is_resumed);
            assert_eq!(settled.version, versions[0].version);
        }
    }
}

/// The hello of a client, as one record.
fn hello(config: &Arc<ClientConfig>) -> (ClientConnection, Vec<u8>) {
    let mut client = client(config);
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    (client, hello)
}

/// The same message in records of so many bytes.
fn in_records(record: &[u8], most: usize) -> Vec<u8> {
    let records = record[HEAD..].chunks(most).map(|piece| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, length[0], length[1]], piece].concat()
    });
    records.collect::<Vec<_>>().concat()
}

#[test]
fn a_hello_may_come_in_many_records() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let config = extractable(authority.trusted());
    for most in [1, 2, 7, 100] {
        let (mut one, record) = hello(&config);
        let mut hello = in_records(&record, most);
        let mut handshake = Handshake::new(&server);
        let mut wire = Vec::new();
        let advanced = handshake.advance(&mut hello, &mut wire).unwrap();
        assert_eq!(advanced.used, hello.len());
        assert!(!wire.is_empty());
        hear(&mut one, &wire);
        let mut finished = Vec::new();
        one.write_tls(&mut finished).unwrap();
        wire.clear();
        let advanced = handshake.advance(&mut finished, &mut wire).unwrap();
        hear(&mut one, &wire);
        check_secrets(&established(advanced.step), one);
    }
}

#[test]
fn what_stands_behind_the_handshake_is_left_as_it_came() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let config = Arc::new(authority.trusted());
    let (mut one, mut hello) = hello(&config);
    let mut handshake = Handshake::new(&server);
    let mut wire = Vec::new();
    handshake.advance(&mut hello, &mut wire).unwrap();
    hear(&mut one, &wire);
    let mut received = Vec::new();
    one.write_tls(&mut received).unwrap();
    let flight = received.len();
    one.writer().write_all(b"at once").unwrap();
    one.write_tls(&mut received).unwrap();
    let behind = received[flight..].to_vec();
    let advanced = handshake.advance(&mut received, &mut wire).unwrap();
    let established = established(advanced.step);
    assert_eq!(advanced.used, flight);
    assert_eq!(received[flight..], behind, "nobody has opened it");
    assert_eq!(established.read_sequence, 0);
}

/// Why a server refuses what comes in, and what it says to that.
fn refused(server: &Arc<TlsServer>, received: &[u8]) -> (HandshakeFailure, Vec<u8>) {
    let mut wire = Vec::new();
    let mut received = received.to_vec();
    let failed = Handshake::new(server).advance(&mut received, &mut wire).unwrap_err();
    (failed.reason, wire)
}

#[test]
fn a_request_in_plain_is_told_what_to_do() {
    let server = server(&terms(), &Authority::new());
    let (reason, answer) = refused(&server, b"GET /chat HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(reason, HandshakeFailure::PlainHttp);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("wss://"), "{body}");
}

#[test]
fn what_is_not_tls_is_named_and_answered_by_an_alert() {
    let server = server(&terms(), &Authority::new());
    let cases: [(&[u8], HandshakeFailure, u8); 5] = [
        (b"SSH-2.0-OpenSSH_9.2\r\n", HandshakeFailure::NotTls, 10),
        (&[0; 64], HandshakeFailure::NotTls, 10),
        (&[0x80, 0x2e, 1, 3, 1, 0, 0], HandshakeFailure::Sslv2, 70),
        (&[22, 3, 1, 0x40, 0], HandshakeFailure::Oversized, 22),
        (&[22, 3, 1, 0, 0], HandshakeFailure::Malformed, 50),
    ];
    for (bytes, reason, alert) in cases {
        assert_eq!(refused(&server, bytes), (reason, vec![21, 3, 3, 0, 2, 2, alert]), "{bytes:?}");
    }
    let (reason, _) = refused(&server, &[21, 3, 1, 0, 2, 2, 90]);
    assert_eq!(reason, HandshakeFailure::PeerClosed);
    let (reason, _) = refused(&server, &[21, 3, 1, 0, 2, 2, 48]);
    assert_eq!(reason, HandshakeFailure::PeerRefusedCertificate);
}

#[test]
fn a_hello_that_is_too_large_is_refused_by_what_is_there() {
    let server = server(&terms(), &Authority::new());
    // A message of 64 KiB in records of 1 KiB.
    let mut message = vec![1, 0, 0xff, 0xff];
    message.resize(65_539, 0);
    let records = in_records(&[&[0; HEAD], &message[..]].concat(), 1024);
    let mut handshake = Handshake::new(&server);
    let (mut received, mut most) = (Vec::new(), 0);
    for piece in records.chunks(100) {
        received.extend(piece);
        match handshake.advance(&mut received, &mut Vec::new()) {
            Ok(advanced) => drop(received.drain(..advanced.used)),
            Err(failed) => {
                assert_eq!(failed.reason, HandshakeFailure::Oversized);
                assert!(most <= LARGEST_MESSAGE, "{most} bytes had to be kept");
                return;
            }
        }
        most = most.max(received.len());
    }
    panic!("it was taken");
}

#[test]
fn the_suite_is_the_servers_choice_unless_the_client_prefers_chacha20() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    let find = |suite: CipherSuite| *all.iter().find(|one| one.suite() == suite).unwrap();
    let [aes128, aes256, chacha] = SUITES.map(find);
    for (suites, chosen) in [
        (vec![aes256, aes128, chacha], aes128),
        (vec![aes256, chacha, aes128], aes128),
        (vec![chacha, aes256, aes128], chacha),
    ] {
        let config = Arc::new(with(&authority, &suites, &[&TLS13]));
        let (step, _) = meet(&server, &mut client(&config), |all| all).unwrap();
        assert_eq!(established(step).settled.suite, chosen.suite());
    }
}

#[test]
fn protocols_other_than_http_are_refused() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let offers = |names: &[&str]| {
        let mut config = authority.trusted();
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        meet(&server, &mut client(&Arc::new(config)), |all| all)
    };
    assert!(offers(&[]).is_ok());
    assert!(offers(&["h2", "http/1.1"]).is_ok());
    let failed = offers(&["h2"]).unwrap_err();
    assert_eq!(failed.reason, HandshakeFailure::NoApplicationProtocol);
}

#[test]
fn who_has_nothing_in_common_is_told_apart() {
    let authority = Authority::new();
    let mut narrow = terms();
    narrow.suites = vec![SUITES[0]];
    narrow.is_tls12_on = false;
    let server = server(&narrow, &authority);
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    let other: Vec<_> = all.iter().copied().filter(|one| one.suite() == SUITES[1]).collect();
    let failed = |config: ClientConfig| {
        meet(&server, &mut client(&Arc::new(config)), |all| all).unwrap_err().reason
    };
    assert_eq!(failed(with(&authority, &other, &[&TLS13])), HandshakeFailure::NoSharedCipher);
    assert_eq!(failed(with(&authority, all, &[&TLS12])), HandshakeFailure::NoSharedVersion);
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::SECP384R1];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(authority.roots()).with_no_client_auth();
    assert_eq!(failed(config), HandshakeFailure::NoSharedGroup);
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_told_apart() {
    let server = server(&terms(), &Authority::new());
    let config = Arc::new(Authority::new().trusted());
    let failed = meet(&server, &mut client(&config), |all| all).unwrap_err();
    assert_eq!(failed.reason, HandshakeFailure::PeerRefusedCertificate);
}

#[test]
fn a_record_that_was_changed_fails() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let config = Arc::new(authority.trusted());
    let (mut one, mut hello) = hello(&config);
    let mut handshake = Handshake::new(&server);
    let mut wire = Vec::new();
    handshake.advance(&mut hello, &mut wire).unwrap();
    hear(&mut one, &wire);
    let mut received = Vec::new();
    one.write_tls(&mut received).unwrap();
    *received.last_mut().unwrap() ^= 1;
    wire.clear();
    let failed = handshake.advance(&mut received, &mut wire).unwrap_err();
    assert_eq!(failed.reason, HandshakeFailure::BadRecord);
    assert!(!wire.is_empty(), "an alert is sealed");
    let again = handshake.advance(&mut received, &mut wire).unwrap_err();
    assert_eq!(again.reason, HandshakeFailure::Internal, "it is over");
}

#[test]
fn floods_of_records_without_a_message_end() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let config = Arc::new(authority.trusted());
    let (_, hello) = hello(&config);
    for flood in [&[20, 3, 3, 0, 1, 1][..], &[23, 3, 3, 0, 0], &[22, 3, 3, 0, 0], &[20, 3, 3, 0, 0]]
    {
        let mut handshake = Handshake::new(&server);
        let mut wire = Vec::new();
        handshake.advance(&mut hello.clone(), &mut wire).unwrap();
        let mut received = flood.repeat(40);
        handshake.advance(&mut received, &mut wire).unwrap_err();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_gets_far(
        bytes in vec(any::<u8>(), 0..300),
        head in prop_oneof![
            Just(vec![]), Just(vec![22, 3, 1]), Just(vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
        ],
        cuts in vec(1..50_usize, 1..10),
    ) {
        let server = server_of_all();
        let mut handshake = Handshake::new(&server);
        let (mut left, mut received) = ([head, bytes].concat(), Vec::new());
        for at in (0..10).cycle().take(400) {
            let length = cuts[at % cuts.len()].min(left.len());
            received.extend(left.drain(..length));
            let mut wire = Vec::new();
            match handshake.advance(&mut received, &mut wire) {
                Ok(advanced) => {
                    prop_assert!(matches!(advanced.step, HandshakeStep::GoesOn));
                    received.drain(..advanced.used);
                }
                Err(failed) => {
                    prop_assert!(failed.reason != HandshakeFailure::Internal);
                    break;
                }
            }
        }
    }

    #[test]
    fn a_hello_with_something_changed_never_panics(
        at in 0..1800_usize, value in any::<u8>(), length in 0..1800_usize,
    ) {
        let server = server_of_all();
        let (_, mut record) = hello(&client_of_all());
        if let Some(byte) = record.get_mut(at) {
            *byte = value;
        }
        record.truncate(record.len().saturating_sub(length % 7 * 100));
        let mut wire = Vec::new();
        if let Err(failed) = Handshake::new(&server).advance(&mut record, &mut wire) {
            prop_assert!(!wire.is_empty(), "{failed:?} without an alert");
        }
    }
}

fn all() -> &'static (Arc<TlsServer>, Arc<ClientConfig>) {
    static ALL: std::sync::OnceLock<(Arc<TlsServer>, Arc<ClientConfig>)> =
        std::sync::OnceLock::new();
    ALL.get_or_init(|| {
        let authority = Authority::new();
        (server(&terms(), &authority), Arc::new(authority.trusted()))
    })
}

fn server_of_all() -> Arc<TlsServer> {
    Arc::clone(&all().0)
}

fn client_of_all() -> Arc<ClientConfig> {
    Arc::clone(&all().1)
}

/// Flights of so many clients, answered by `serve`; returns the microseconds that the server took
/// for each, the best and the mean.
fn measure(
    config: &Arc<ClientConfig>,
    mut serve: impl FnMut(&mut ClientConnection) -> std::time::Duration,
) -> [f64; 2] {
    let took: Vec<f64> =
        (0..2000).map(|_| serve(&mut client(config)).as_secs_f64() * 1e6).collect();
    [took.iter().copied().fold(f64::MAX, f64::min), took.iter().sum::<f64>() / 2000.0]
}

/// What the server takes for both flights, by ourselves.
fn by_us(server: &Arc<TlsServer>, client: &mut ClientConnection) -> std::time::Duration {
    let (mut took, mut handshake) = (std::time::Duration::ZERO, None);
    let mut wire = Vec::new();
    for _ in 0..2 {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).unwrap();
        wire.clear();
        let began = std::time::Instant::now();
        let one = handshake.get_or_insert_with(|| Handshake::new(server));
        let advanced = one.advance(&mut flight, &mut wire).unwrap();
        took += began.elapsed();
        hear(client, &wire);
        if let HandshakeStep::Established13(established) = advanced.step {
            assert!(established.secrets.are_known());
            return took;
        }
    }
    panic!("it is not done");
}

/// The same by rustls with nothing around it, which is left with a connection of its own.
fn by_rustls(
    settings: &Arc<rustls::ServerConfig>,
    client: &mut ClientConnection,
) -> std::time::Duration {
    let (mut took, mut connection) = (std::time::Duration::ZERO, None);
    for _ in 0..2 {
        let (mut flight, mut wire) = (Vec::new(), Vec::new());
        client.write_tls(&mut flight).unwrap();
        let began = std::time::Instant::now();
        let one = connection
            .get_or_insert_with(|| rustls::ServerConnection::new(Arc::clone(settings)).unwrap());
        one.read_tls(&mut flight.as_slice()).unwrap();
        one.process_new_packets().unwrap();
        while one.wants_write() {
            one.write_tls(&mut wire).unwrap();
        }
        took += began.elapsed();
        hear(client, &wire);
    }
    assert!(!connection.is_some_and(|one| one.is_handshaking()));
    took
}

/// Run it alone: `cargo test -p tidegate --lib measure_handshakes -- --ignored --nocapture`.
#[test]
#[ignore = "it measures, and takes a few seconds"]
fn measure_handshakes() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let settings = server.settings(false);
    for (what, resumption) in [("full", Resumption::disabled()), ("resumed", Resumption::default())]
    {
        let mut config = with(&authority, aws_lc_rs::ALL_CIPHER_SUITES, &[&TLS13]);
        config.resumption = resumption;
        let config = Arc::new(config);
        for round in 0..3 {
            let [best, mean] = measure(&config, |client| by_us(&server, client));
            println!("{what} {round}: by us {best:.0} us at best, {mean:.0} us on average");
            let [best, mean] = measure(&config, |client| by_rustls(&settings, client));
            println!("{what} {round}: by rustls {best:.0} us at best, {mean:.0} us on average");
        }
    }
}
