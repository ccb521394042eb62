//! Connections of TLS 1.2 with clients of rustls, and with those who have its keys.

use std::io::{Read, Write};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::client::ClientConnection;
use rustls::crypto::aws_lc_rs as provider;
use rustls::crypto::cipher::{Nonce as RecordNonce, make_tls12_aad};
use rustls::version::TLS12;
use rustls::{CipherSuite, ConnectionTrafficSecrets, SupportedCipherSuite};

use super::super::connections::TlsConnections;
use super::super::counts::RECORD_ERRORS;
use super::super::handshake::HandshakeStep;
use super::super::tests::{Authority, client, hear, meet, server, terms, with};
use super::*;
use crate::config::Limits;
use crate::transport::Broken;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// What a record of TLS 1.2 needs without a byte in it.
const OF_NOTHING: usize = 29;

const NONE: Sealed = Sealed { taken: 0, written: 0 };

/// A connection whose hands are shaken by one of these suites, and its client.
fn established(suites: &[SupportedCipherSuite]) -> (Box<Established12>, ClientConnection) {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let mut config = with(&authority, suites, &[&TLS12]);
    config.enable_secret_extraction = true;
    let mut one = client(&Arc::new(config));
    let (step, rest) = meet(&server, &mut one, |all| all).unwrap();
    assert!(rest.is_empty());
    let HandshakeStep::Established12(settled, established) = step else { panic!("{step:?}") };
    assert_eq!(settled.version, ProtocolVersion::TLSv1_2);
    (established, one)
}

/// The same with all suites: that is AES-256-GCM.
fn established_by_any() -> (Box<Established12>, ClientConnection) {
    established(provider::ALL_CIPHER_SUITES)
}

/// A client's keys, in hands that seal anything.
struct ClientKeys {
    tx: (u64, ConnectionTrafficSecrets),
    rx: (u64, ConnectionTrafficSecrets),
}

impl ClientKeys {
    fn of(client: ClientConnection) -> Self {
        let secrets = client.dangerous_extract_secrets().unwrap();
        Self { tx: secrets.tx, rx: secrets.rx }
    }

    /// A record of this content.
    fn seals(&mut self, content: u8, plain: &[u8]) -> Vec<u8> {
        let (sequence, secrets) = &mut self.tx;
        let (key, nonce, explicit) = opened_by(secrets, *sequence);
        let mut inside = plain.to_vec();
        let aad = additional(*sequence, content, plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, aad, &mut inside).unwrap();
        *sequence += 1;
        let body = [&explicit, &inside[..], tag.as_ref()].concat();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[content, 3, 3, length[0], length[1]][..], &body].concat()
    }

    /// The contents of records, and what is in them.
    fn opens(&mut self, mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((head, rest)) = wire.split_first_chunk::<HEAD>() {
            let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
            let (sequence, secrets) = &mut self.rx;
            let (key, mut nonce, explicit) = opened_by(secrets, *sequence);
            nonce[12 - explicit.len()..].copy_from_slice(&rest[..explicit.len()]);
            let mut body = rest[explicit.len()..length].to_vec();
            let aad = additional(*sequence, head[0], body.len() - 16);
            let nonce = Nonce::assume_unique_for_key(nonce);
            all.push((head[0], key.open_in_place(nonce, aad, &mut body).unwrap().to_vec()));
            *sequence += 1;
            wire = &rest[length..];
        }
        all
    }
}

/// The key of a record, its nonce, and what of that stands in front of it.
fn opened_by(
    secrets: &ConnectionTrafficSecrets,
    sequence: u64,
) -> (LessSafeKey, [u8; 12], Vec<u8>) {
    let (algorithm, key, iv, explicit) = match secrets {
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, 8),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv, 0),
        _ => panic!("another suite"),
    };
    let nonce = RecordNonce::new(iv, sequence).0;
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap());
    (key, nonce, nonce[12 - explicit..].to_vec())
}

fn additional(sequence: u64, content: u8, length: usize) -> Aad<[u8; 13]> {
    Aad::from(make_tls12_aad(sequence, content.into(), ProtocolVersion::TLSv1_2, length))
}

/// A client's hello, as a message.
fn hello() -> Vec<u8> {
    let mut record = Vec::new();
    let config = Authority::new().trusted();
    client(&Arc::new(config)).write_tls(&mut record).unwrap();
    record.split_off(HEAD)
}

#[test]
fn connections_of_tls_1_2_are_opened_and_sealed() {
    let (mut established, mut one) = established_by_any();
    let said: Vec<u8> = (0..40_000_u32).map(|at| at as u8).collect();
    let (mut received, mut heard, mut sent) = (Vec::new(), Vec::<u8>::new(), Vec::new());
    one.writer().write_all(&said).unwrap();
    one.send_close_notify();
    while one.wants_write() {
        one.write_tls(&mut sent).unwrap();
    }
    let (mut wire, mut is_closed) = (Vec::new(), false);
    for piece in sent.chunks(5_000) {
        received.extend(piece);
        let front = established.open(&mut received, &mut wire).unwrap();
        heard.extend(&received[..front.plain]);
        received.drain(..front.used);
        is_closed |= front.is_closed;
    }
    assert!(heard == said && is_closed && wire.is_empty() && received.is_empty());

    let mut wire = [0; 10_000];
    let (mut taken, mut back) = (0, Vec::new());
    while taken < said.len() {
        let sealed = established.seal(&said[taken..], &mut wire);
        assert!(sealed.taken > 0 && sealed.written <= wire.len());
        taken += sealed.taken;
        hear(&mut one, &wire[..sealed.written]);
        let mut plain = vec![0; sealed.taken];
        one.reader().read_exact(&mut plain).unwrap();
        back.extend(plain);
    }
    assert!(back == said);
    assert_eq!(established.seal(b"no room", &mut wire[..OF_NOTHING]), NONE);
    let length = established.close_notify(&mut wire);
    one.read_tls(&mut &wire[..length]).unwrap();
    assert!(one.process_new_packets().unwrap().peer_has_closed());
    assert_eq!(established.seal(b"too late", &mut wire), NONE);
}

/// What a client is told that has sent such a record, and why it has failed.
fn failed(
    established: &mut Established12,
    keys: &mut ClientKeys,
    mut record: Vec<u8>,
) -> (OlderFailure, Vec<(u8, Vec<u8>)>) {
    let mut wire = b"before".to_vec();
    let failure = established.open(&mut record, &mut wire).unwrap_err();
    assert_eq!(wire[..6], *b"before");
    // Nothing is asked of rustls any more.
    assert_eq!(established.seal(b"more", &mut [0; 100]), NONE);
    assert_eq!(established.close_notify(&mut [0; 100]), 0);
    (failure, keys.opens(&wire[6..]))
}

fn fatal_alert(alert: AlertDescription) -> (u8, Vec<u8>) {
    (ALERT, vec![FATAL, alert.into()])
}

#[test]
fn part_of_a_message_behind_a_handshake_ends_it() {
    let (mut established, one) = established_by_any();
    let mut keys = ClientKeys::of(one);
    let record = keys.seals(HANDSHAKE, &[1, 0]);
    let (failure, told) = failed(&mut established, &mut keys, record);
    assert_eq!(failure, OlderFailure::Handshake);
    assert_eq!(told, [fatal_alert(AlertDescription::UnexpectedMessage)]);
}

#[test]
fn who_shakes_hands_once_more_is_refused() {
    for suite in [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ] {
        let suites = provider::ALL_CIPHER_SUITES.iter().copied();
        let suites: Vec<_> = suites.filter(|one| one.suite() == suite).collect();
        let (mut established, one) = established(&suites);
        let mut keys = ClientKeys::of(one);
        // Something was said before.
        let mut wire = [0; 100];
        let written = established.seal(b"said", &mut wire).written;
        assert_eq!(keys.opens(&wire[..written]), [(DATA, b"said".to_vec())]);
        let record = keys.seals(HANDSHAKE, &hello());
        let (failure, told) = failed(&mut established, &mut keys, record);
        assert_eq!(failure, OlderFailure::Renegotiation);
        let warning = (ALERT, vec![1, AlertDescription::NoRenegotiation.into()]);
        assert_eq!(told, [warning, fatal_alert(AlertDescription::HandshakeFailure)]);
    }
}

#[test]
fn a_record_that_no_suite_makes_so_long_is_refused_by_its_head() {
    let (mut established, one) = established_by_any();
    let mut keys = ClientKeys::of(one);
    // The longest of all is taken.
    let mut record = keys.seals(DATA, &[7; 1 << 14]);
    assert_eq!(record.len(), LARGEST_RECORD);
    let front = established.open(&mut record, &mut Vec::new()).unwrap();
    assert_eq!((front.plain, front.used), (1 << 14, LARGEST_RECORD));
    // One byte more, and more than that, of which nothing has come yet.
    for length in [[0x40, 0x19], [0x48, 0], [0x48, 1], [0xff, 0xff]] {
        let (mut established, one) = established_by_any();
        let mut keys = ClientKeys::of(one);
        let record = vec![DATA, 3, 3, length[0], length[1]];
        let (failure, told) = failed(&mut established, &mut keys, record);
        assert_eq!(failure, OlderFailure::Overflow);
        assert_eq!(told, [fatal_alert(AlertDescription::RecordOverflow)]);
    }
}

#[test]
fn a_record_that_was_changed_is_told_of_by_rustls() {
    let (mut established, one) = established_by_any();
    let mut keys = ClientKeys::of(one);
    let mut record = keys.seals(DATA, b"changed");
    *record.last_mut().unwrap() ^= 1;
    let (failure, told) = failed(&mut established, &mut keys, record);
    assert_eq!(failure, OlderFailure::Refused);
    assert_eq!(told, [fatal_alert(AlertDescription::BadRecordMac)]);
}

#[test]
fn who_breaks_it_is_counted_by_the_reason() {
    let authority = Authority::new();
    let server = server(&terms(), &authority);
    let mut config = with(&authority, provider::ALL_CIPHER_SUITES, &[&TLS12]);
    config.enable_secret_extraction = true;
    let (mut one, mut all) =
        (client(&Arc::new(config)), TlsConnections::new(16, &Limits::default()));
    let slot = 3;
    while !all.is_ready(slot) {
        let (mut received, mut words) = (Vec::new(), Vec::new());
        while one.wants_write() {
            one.write_tls(&mut received).unwrap();
        }
        let opened = all.open(&server, slot, &mut received, &mut words).unwrap();
        assert_eq!(opened.used, received.len());
        hear(&mut one, &words);
    }
    let mut keys = ClientKeys::of(one);
    let (mut received, mut words) = (keys.seals(HANDSHAKE, &hello()), Vec::new());
    assert_eq!(all.open(&server, slot, &mut received, &mut words), Err(Broken));
    assert_eq!(keys.opens(&words).len(), 2);
    let reason = RECORD_ERRORS.iter().position(|name| *name == "renegotiation").unwrap();
    let broken = all.counts().broken;
    assert_eq!((broken[reason], broken.iter().sum()), (1, 1));
    all.end(slot);
    assert!(all.is_empty());
}
