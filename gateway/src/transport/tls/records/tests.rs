//! Records that were made by hand, by the letter of the RFC.

use aws_lc_rs::aead::{Aad, Nonce};
use tidegate_proto::tls::incoming::{MAX_IDLE, MAX_UPDATES};
use tidegate_proto::tls::nonce::nonce;
use tidegate_proto::tls::record::MAX_RECORD;

use super::*;

mod twin;

/// Bytes of digits as RFC 8448 writes them.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

const SLOT: Slot = 70;
const SLOTS: u32 = 128;
const EXPANDED: u32 = 64;
const REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];
const NOT_REQUESTED: [u8; 5] = [24, 0, 0, 1, 0];
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// Makes bytes of the wire.
type Maker<'a> = &'a dyn Fn(&mut Hand) -> Vec<u8>;

/// One end that seals and opens by the letter, record by record.
#[derive(Clone)]
struct Hand {
    suite: Suite,
    secret: Vec<u8>,
    sequence: u64,
}

impl Hand {
    fn new(suite: Suite, first: u8) -> Self {
        Self { suite, secret: vec![first; suite.secret_length()], sequence: 0 }
    }

    /// Key and nonce of the next record.
    fn next(&mut self) -> (aws_lc_rs::aead::LessSafeKey, Nonce) {
        let (mut key, mut iv) = (vec![0; self.suite.key_length()], [0; 12]);
        self.suite.derive(&self.secret, b"key", &mut key);
        self.suite.derive(&self.secret, b"iv", &mut iv);
        self.sequence += 1;
        (self.suite.expand(&key), Nonce::assume_unique_for_key(nonce(&iv, self.sequence - 1)))
    }

    fn update(&mut self) {
        let mut next = self.secret.clone();
        self.suite.derive(&self.secret, b"traffic upd", &mut next);
        (self.secret, self.sequence) = (next, 0);
    }

    /// A record around any inner plaintext.
    fn seal_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let (key, nonce) = self.next();
        let length = (inner.len() + 16) as u16;
        let header = [&[23, 3, 3][..], &length.to_be_bytes()].concat();
        let mut sealed = inner.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut sealed).expect("sealed");
        [header, sealed].concat()
    }

    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.seal_inner(&[content, &[kind]].concat())
    }

    fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.seal(DATA, content)
    }

    /// A KeyUpdate; what comes next is sealed with the next key.
    fn key_update(&mut self, message: &[u8]) -> Vec<u8> {
        let record = self.seal(HANDSHAKE, message);
        self.update();
        record
    }

    /// Opens the record at the front of `wire`: its type and content.
    fn open(&mut self, wire: &mut &[u8]) -> (u8, Vec<u8>) {
        let length = usize::from(u16::from_be_bytes([wire[3], wire[4]]));
        let (record, rest) = wire.split_at(5 + length);
        *wire = rest;
        let (key, nonce) = self.next();
        let mut sealed = record[5..].to_vec();
        let inner = key.open_in_place(nonce, Aad::from(&record[..5]), &mut sealed).expect("opens");
        let (kind, content) = inner.split_last().expect("a type");
        (*kind, content.to_vec())
    }
}

/// A shard's records with one connection, and what its owner keeps.
struct Owner {
    sessions: Sessions,
    kept: Vec<u8>,
    plain: Vec<u8>,
    is_closed: bool,
}

impl Owner {
    fn new(suite: Suite, secrets: Secrets<'_>) -> Self {
        let mut sessions = Sessions::new(SLOTS, EXPANDED);
        sessions.begin(SLOT, suite, secrets);
        Self { sessions, kept: Vec::new(), plain: Vec::new(), is_closed: false }
    }

    /// With the two hands that are at its other end: what they send, what they are sent.
    fn by_hand(suite: Suite) -> (Self, Hand, Hand) {
        let (client, server) = (Hand::new(suite, 1), Hand::new(suite, 2));
        let owner = Self::new(suite, new_secrets(&client.secret, &server.secret));
        (owner, client, server)
    }

    /// Takes what came in, behind what was kept.
    fn receive(&mut self, wire: &[u8]) -> Result<(), Fatal> {
        self.kept.extend_from_slice(wire);
        let length = self.kept.len();
        let opened = self.sessions.open(SLOT, &mut self.kept)?;
        assert!(opened.plain.end <= opened.rest.start && opened.rest.end == length);
        assert!(opened.rest.len() < MAX_RECORD);
        self.plain.extend_from_slice(&self.kept[opened.plain]);
        self.is_closed |= opened.is_closed;
        self.kept.drain(..opened.rest.start);
        Ok(())
    }

    /// Seals all of `plain`, with so much room at a time.
    fn send(&mut self, plain: &[u8], room: usize) -> Vec<u8> {
        let (mut at, mut wire) = (0, Vec::new());
        while at < plain.len() {
            let mut lent = vec![0; room];
            let sealed = self.sessions.seal(SLOT, &plain[at..], &mut lent);
            assert!(sealed.written > 0, "there is room");
            wire.extend_from_slice(&lent[..sealed.written]);
            at += sealed.taken;
        }
        wire
    }

    fn alert(&mut self, alert: Alert) -> Vec<u8> {
        let mut wire = [0; 64];
        let length = self.sessions.alert(SLOT, alert, &mut wire);
        wire[..length].to_vec()
    }
}

/// Secrets with which nothing was opened or sealed.
fn new_secrets<'a>(client: &'a [u8], server: &'a [u8]) -> Secrets<'a> {
    Secrets { client, server, read_sequence: 0, write_sequence: 0 }
}

/// What came of bytes that a peer must not send.
fn refusal(suite: Suite, make: impl Fn(&mut Hand) -> Vec<u8>) -> RecordError {
    let (mut owner, mut client, _) = Owner::by_hand(suite);
    let wire = make(&mut client);
    let fatal = owner.receive(&wire).expect_err("it may not be sent");
    assert_eq!(fatal.alert, fatal.reason.alert());
    assert_eq!(owner.receive(b"").map_err(|fatal| fatal.reason), Err(RecordError::Ended));
    let told = fatal.alert.map_or(0, |alert| owner.alert(alert).len());
    assert_eq!(told > 0, fatal.alert.is_some(), "it is told, if anything is");
    assert_eq!(owner.alert(Alert::CLOSE_NOTIFY), b"", "nothing comes behind an alert");
    fatal.reason
}

/// RFC 8448 section 3: the application data of both ends and their close_notify.
#[test]
fn rfc_8448_section_3_application_data() {
    let client = bytes(
        "9e 40 64 6c e7 9a 7f 9d c0 5a f8 88 9b ce 65 52 87 5a fa 0b 06 df 00 87 f7 92 eb b7 c1 \
        75 04 a5",
    );
    let server = bytes(
        "a1 1a f9 f0 55 31 f8 56 ad 47 11 6b 45 a9 50 32 82 04 b4 f4 4b fb 6b 3a 4b 4f 1f 3f cb \
        63 16 43",
    );
    // The server has sent a NewSessionTicket before.
    let secrets = Secrets { write_sequence: 1, ..new_secrets(&client, &server) };
    let mut owner = Owner::new(Suite::Aes128Gcm, secrets);
    let data: Vec<u8> = (0..50).collect();
    let from_client = bytes(
        "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 \
        bc ab 3f 2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 \
        bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4",
    );
    owner.receive(&from_client).expect("it opens");
    assert_eq!(owner.plain, data);
    let from_server = bytes(
        "17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 \
        aa 1b 36 e3 0e fa f9 7d 90 e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 \
        c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d",
    );
    assert_eq!(owner.send(&data, 1000), from_server);
    let closes = bytes("17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3");
    owner.receive(&closes).expect("it opens");
    assert!(owner.is_closed);
    let closes = bytes("17 03 03 00 13 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9");
    assert_eq!(owner.alert(Alert::CLOSE_NOTIFY), closes);
}

#[test]
fn records_close_up_wherever_the_wire_is_cut() {
    for suite in Suite::ALL {
        let (_, mut client, _) = Owner::by_hand(suite);
        let wire = [
            client.data(b"one"),
            client.data(b""),
            client.key_update(&REQUESTED),
            client.seal_inner(b"two\x17\0\0\0\0"),
            client.seal(HANDSHAKE, &NOT_REQUESTED[..2]),
            client.key_update(&NOT_REQUESTED[2..]),
            client.data(b"three"),
            client.seal(ALERT, &[1, 90]),
            client.seal(ALERT, &[1, 0]),
            b"ignored, whatever it is".to_vec(),
        ]
        .concat();
        for cut in 0..=wire.len() {
            let (mut owner, _, _) = Owner::by_hand(suite);
            owner.receive(&wire[..cut]).expect("the first part");
            owner.receive(&wire[cut..]).expect("the second part");
            assert_eq!((owner.plain.as_slice(), owner.is_closed), (&b"onetwothree"[..], true));
            assert_eq!(owner.kept, b"", "nothing is kept");
        }
        let (mut owner, _, _) = Owner::by_hand(suite);
        wire.chunks(1).for_each(|byte| owner.receive(byte).expect("byte by byte"));
        assert_eq!((owner.plain.as_slice(), owner.is_closed), (&b"onetwothree"[..], true));
        let counts = owner.sessions.counts();
        assert_eq!((counts.opened, counts.updates_received), (9, 2));
    }
}

#[test]
fn a_record_that_was_changed_is_refused_at_each_byte() {
    for suite in Suite::ALL {
        let (_, mut client, _) = Owner::by_hand(suite);
        let wire = [client.data(b"hello"), client.data(&[7; 9000])].concat();
        for (at, bit) in (0..27).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))) {
            let mut changed = wire.clone();
            changed[at] ^= bit;
            let length = usize::from(u16::from_be_bytes([changed[3], changed[4]]));
            let expected = match at {
                0 => RecordError::Unprotected(changed[0]),
                1 | 2 => RecordError::Version,
                _ if length > 16_401 => RecordError::Overflow,
                _ if 5 + length > wire.len() => {
                    let (mut owner, _, _) = Owner::by_hand(suite);
                    owner.receive(&changed).expect("its end has yet to come");
                    assert_eq!((owner.plain.len(), owner.kept.len()), (0, wire.len()));
                    continue;
                }
                _ => RecordError::BadMac,
            };
            assert_eq!(refusal(suite, |_| changed.clone()), expected, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn records_that_are_lost_or_come_again_do_not_open() {
    let twice = |client: &mut Hand| client.data(b"hello").repeat(2);
    let second = |client: &mut Hand| {
        client.data(b"lost");
        client.data(b"hello")
    };
    let old_key = |client: &mut Hand| {
        let mut old = client.clone();
        let update = client.key_update(&NOT_REQUESTED);
        old.sequence += 1;
        [update, old.data(b"hello")].concat()
    };
    let makers: [Maker<'_>; 3] = [&twice, &second, &old_key];
    for suite in Suite::ALL {
        for make in makers {
            assert_eq!(refusal(suite, make), RecordError::BadMac);
        }
    }
}

#[test]
fn what_may_not_be_said_is_refused_with_its_alert() {
    use RecordError as E;
    let of = |kind, content: &'static [u8]| {
        refusal(Suite::Aes128Gcm, move |client| client.seal(kind, content))
    };
    assert_eq!(of(20, &[1]), E::ContentType(20));
    assert_eq!(of(24, &[1]), E::ContentType(24));
    assert_eq!(of(HANDSHAKE, &[]), E::EmptyContent);
    assert_eq!(of(HANDSHAKE, &[4, 0, 0, 1, 0]), E::Handshake(4));
    assert_eq!(of(HANDSHAKE, &[24, 0, 0, 2, 0, 0]), E::MalformedUpdate);
    assert_eq!(of(HANDSHAKE, &[24, 0, 0, 1, 2]), E::UpdateRequest(2));
    assert_eq!(of(HANDSHAKE, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]), E::BehindUpdate);
    assert_eq!(of(ALERT, &[]), E::EmptyContent);
    assert_eq!(of(ALERT, &[1]), E::MalformedAlert);
    assert_eq!(of(ALERT, &[2, 80]), E::PeerAlert(Alert::INTERNAL_ERROR));
    assert_eq!(of(ALERT, &[1, 80]), E::PeerAlert(Alert::INTERNAL_ERROR));
    let with = |make: Maker<'_>| refusal(Suite::Aes128Gcm, make);
    assert_eq!(with(&|client| client.seal_inner(&[])), E::NoContentType);
    assert_eq!(with(&|client| client.seal_inner(&[0; 100])), E::NoContentType);
    assert_eq!(with(&|_| vec![20, 3, 3, 0, 1, 1]), E::Unprotected(20));
    assert_eq!(with(&|_| vec![21, 3, 3, 0, 2, 2, 40]), E::Unprotected(21));
    assert_eq!(with(&|client| client.data(&[0; 16_385])), E::Overflow);
    assert_eq!(with(&|_| vec![23, 3, 3, 0x40, 0x12]), E::Overflow);
    assert_eq!(with(&|_| vec![23, 3, 3, 0, 15]), E::BadMac);
    let interleaved =
        |client: &mut Hand| [client.seal(HANDSHAKE, &[24]), client.data(b"x")].concat();
    assert_eq!(with(&interleaved), E::Interleaved);
    let idle = |client: &mut Hand| (0..=MAX_IDLE).flat_map(|_| client.data(b"")).collect();
    assert_eq!(with(&idle), E::TooManyIdle);
    let updates = |client: &mut Hand| {
        (0..=MAX_UPDATES).flat_map(|_| client.key_update(&NOT_REQUESTED)).collect()
    };
    assert_eq!(with(&updates), E::TooManyUpdates);
}

#[test]
fn rfc_8446_section_5_3_numbers_do_not_wrap() {
    let (_, mut client, mut server) = Owner::by_hand(Suite::Aes128Gcm);
    let secrets = Secrets {
        read_sequence: u64::MAX - 1,
        write_sequence: u64::MAX,
        ..new_secrets(&client.secret, &server.secret)
    };
    let mut owner = Owner::new(Suite::Aes128Gcm, secrets);
    client.sequence = u64::MAX - 1;
    let wire = client.data(b"last");
    owner.receive(&wire).expect("it has a number");
    assert_eq!(owner.plain, b"last");
    let (reason, alert) = (RecordError::Exhausted, Some(Alert::INTERNAL_ERROR));
    assert_eq!(owner.receive(&wire), Err(Fatal { alert, reason }));
    // What we seal has a new key long before; even the last number is one of the old key.
    let sealed = owner.send(b"data", 100);
    assert_eq!(sealed.len(), UPDATE_RECORD + OVERHEAD + 4);
    server.update();
    assert_eq!(server.open(&mut &sealed[UPDATE_RECORD..]), (DATA, b"data".to_vec()));
}

#[test]
fn rfc_8446_section_4_6_3_an_update_is_answered_once_before_the_next_data() {
    for suite in Suite::ALL {
        let (mut owner, mut client, mut server) = Owner::by_hand(suite);
        let asked = [REQUESTED, REQUESTED, NOT_REQUESTED];
        let asked = asked.iter().flat_map(|message| client.key_update(message)).collect::<Vec<_>>();
        owner.receive(&asked).expect("it may ask");
        assert_eq!(owner.sessions.seal(SLOT, b"", &mut [0; 100]), Sealed { taken: 0, written: 0 });
        // Where there is room for the update alone, the data has its turn later.
        let wire = [owner.send(b"one", UPDATE_RECORD), owner.send(b"two", 100)].concat();
        let mut wire = wire.as_slice();
        assert_eq!(server.open(&mut wire), (HANDSHAKE, NOT_REQUESTED.to_vec()));
        server.update();
        let mut said = Vec::new();
        while !wire.is_empty() {
            let (kind, content) = server.open(&mut wire);
            assert_eq!(kind, DATA);
            said.extend(content);
        }
        assert_eq!(said, b"onetwo");
        owner.receive(&client.key_update(&NOT_REQUESTED)).expect("it may say so");
        let wire = owner.send(b"three", 100);
        assert_eq!(server.open(&mut &wire[..]), (DATA, b"three".to_vec()));
        assert_eq!(owner.sessions.counts().updates_sent, 1);
    }
}

#[test]
fn after_so_many_records_comes_the_next_key() {
    for suite in Suite::ALL {
        let (mut owner, _, mut server) = Owner::by_hand(suite);
        owner.sessions.set_records_per_key(3);
        let wire = (0..10).flat_map(|at| owner.send(&[at], 100)).collect::<Vec<_>>();
        let mut wire = wire.as_slice();
        for at in 0..10 {
            if at > 0 && at % 3 == 0 {
                assert_eq!(server.open(&mut wire), (HANDSHAKE, NOT_REQUESTED.to_vec()));
                server.update();
            }
            assert_eq!(server.open(&mut wire), (DATA, vec![at]));
        }
        assert_eq!(wire, b"");
    }
}

#[test]
fn without_room_for_a_record_nothing_is_taken() {
    let (mut owner, mut client, mut server) = Owner::by_hand(Suite::ChaCha20Poly1305);
    let nothing = Sealed { taken: 0, written: 0 };
    for room in 0..=OVERHEAD {
        assert_eq!(owner.sessions.seal(SLOT, b"data", &mut vec![0; room]), nothing);
    }
    for room in 0..ALERT_RECORD {
        assert_eq!(owner.sessions.alert(SLOT, Alert::CLOSE_NOTIFY, &mut vec![0; room]), 0);
    }
    let mut wire = [0; OVERHEAD + 1];
    let sealed = owner.sessions.seal(SLOT, b"data", &mut wire);
    assert_eq!(sealed, Sealed { taken: 1, written: OVERHEAD + 1 });
    assert_eq!(server.open(&mut &wire[..]), (DATA, b"d".to_vec()));
    owner.receive(&client.key_update(&REQUESTED)).expect("it may ask");
    for room in 0..UPDATE_RECORD {
        assert_eq!(owner.sessions.seal(SLOT, b"data", &mut vec![0; room]), nothing);
    }
    let wire = owner.alert(Alert::CLOSE_NOTIFY);
    assert_eq!(server.open(&mut &wire[..]), (ALERT, vec![1, 0]), "an alert needs no new key");
    assert_eq!(owner.sessions.seal(SLOT, b"data", &mut [0; 100]), nothing, "it was the last");
    // Section 6.1: the other direction goes on.
    owner.receive(&client.data(b"more")).expect("it is not closed");
    assert_eq!(owner.plain, b"more");
}

/// An end's connection, in a slot.
fn begin_by_hand(sessions: &mut Sessions, slot: Slot, suite: Suite, first: u8) -> [Hand; 2] {
    let ends = [Hand::new(suite, first), Hand::new(suite, first + 1)];
    sessions.begin(slot, suite, new_secrets(&ends[0].secret, &ends[1].secret));
    ends
}

#[test]
fn keys_that_stay_expanded_are_those_of_their_connections() {
    // Two share a place. The second pair has the slots of the first.
    let slots = [3, 3 + EXPANDED];
    for suite in Suite::ALL {
        let mut sessions = Sessions::new(SLOTS, EXPANDED);
        for pair in [10, 20] {
            let mut ends = [0, 1]
                .map(|at| begin_by_hand(&mut sessions, slots[at], suite, pair + 2 * at as u8));
            for at in 0..103_u8 {
                // Several times the same one, and in turn; the last keys that stay are the first's.
                let which = usize::from(at < 100 && at.wrapping_mul(at) % 7 > 2);
                let [client, server] = &mut ends[which];
                let mut wire = client.data(&[at]);
                if at % 10 == 9 {
                    wire.extend(client.key_update(&REQUESTED));
                }
                let opened = sessions.open(slots[which], &mut wire).expect("it opens");
                assert_eq!(wire[opened.plain], [at]);
                let mut wire = [0; 100];
                let written = sessions.seal(slots[which], &[at], &mut wire).written;
                let mut wire = &wire[..written];
                if at % 10 == 9 {
                    assert_eq!(server.open(&mut wire), (HANDSHAKE, NOT_REQUESTED.to_vec()));
                    server.update();
                }
                assert_eq!(server.open(&mut wire), (DATA, vec![at]));
            }
        }
    }
}

#[test]
fn what_is_held_is_what_is_used_and_a_slot_has_nothing_of_who_was_there_before() {
    let mut sessions = Sessions::new(SLOTS, EXPANDED);
    assert_eq!(sessions.held(), 0, "whoever has none pays nothing");
    // Two pages, of each size.
    let list = 2 * 8;
    let secrets = new_secrets(&[1; 32], &[2; 32]);
    sessions.begin(0, Suite::Aes128Gcm, secrets);
    assert_eq!(sessions.held(), list + 64 * 144 + 8);
    sessions.begin(0, Suite::ChaCha20Poly1305, secrets);
    assert_eq!(sessions.held(), 2 * list + 64 * 208 + 16);
    let long = new_secrets(&[1; 48], &[2; 48]);
    sessions.begin(64, Suite::Aes256Gcm, long);
    assert_eq!(sessions.held(), Sessions::bytes(SLOTS, 0));
    sessions.begin(0, Suite::Aes128Gcm, secrets);
    assert_eq!(sessions.held(), 2 * list + 2 * (64 * 144 + 8) + 64 * 64 + 8);
    sessions.end(0);
    sessions.end(64);
    sessions.end(64);
    assert_eq!((sessions.held(), sessions.is_empty()), (2 * list, true));
    let ended = sessions.open(0, &mut [23]).map_err(|fatal| fatal.reason);
    assert_eq!(ended, Err(RecordError::Ended));
    assert_eq!(sessions.alert(0, Alert::CLOSE_NOTIFY, &mut [0; 64]), 0);
    assert_eq!(sessions.seal(0, b"x", &mut [0; 64]), Sealed { taken: 0, written: 0 });
}

#[test]
fn nobody_sees_a_secret() {
    let mut sessions = Sessions::new(SLOTS, EXPANDED);
    let secrets = new_secrets(&[0xAB; 32], &[0xCD; 32]);
    sessions.begin(0, Suite::Aes128Gcm, secrets);
    let entry = sessions.entries.get_mut(0).expect("it has begun");
    let said = format!("{secrets:?} {entry:?}");
    assert!(["171", "205", "ab", "cd"].iter().all(|secret| !said.contains(secret)), "{said}");
}
