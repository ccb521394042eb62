//! Records of TLS 1.3 in any stretches, any bytes or what an end says that seals by the letter:
//! the gateway's against a naive end, which has its own key schedule and its own idea of what may
//! be said.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hmac;
use tidegate::kernel::Slot;
use tidegate::transport::tls::records::{Secrets, Sessions, Suite};
use tidegate_proto::tls::alert::Alert;

use super::{Parameters, Stretches};

const SLOT: Slot = 65;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;

/// Parameters: whether what follows are actions (bit 0) or bytes of the wire, and the suite; the
/// stretches; after how many records the gateway changes its key.
///
/// # Panics
/// What is opened or sealed is not what was sealed or said, or something is refused that is right,
/// or with another alert, or what is wrong is not.
pub fn tls_records(data: &[u8]) {
    let mut parameters = Parameters(data);
    let which = parameters.byte();
    let suite = usize::from(which >> 1) % 3;
    let stretches = Stretches::new(parameters.byte());
    let records_per_key = u64::from(parameters.byte()).max(1);
    if which & 1 == 0 {
        let wire = parameters.rest();
        for stretches in [stretches, Stretches::new(0)] {
            let mut run = Run::new(suite, stretches, records_per_key);
            // Nobody can make a record that opens without the key.
            run.expected.said = judge(wire);
            run.wire.extend_from_slice(wire);
            run.deliver();
        }
    } else {
        let mut run = Run::new(suite, stretches, records_per_key);
        while !parameters.0.is_empty() && !run.is_over() {
            run.act(&mut parameters);
        }
        run.deliver();
    }
}

/// What comes of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verdict {
    /// It may go on.
    #[default]
    Open,
    /// The peer has closed.
    Closed,
    /// It has failed, and the peer is told this alert.
    Refused(u8),
    /// It has failed, and the peer is told nothing.
    Failed,
}

/// What comes of a record that is not as it was sealed.
fn judge(wire: &[u8]) -> Verdict {
    let Some(first) = wire.first() else { return Verdict::Open };
    if *first != 23 {
        return Verdict::Refused(UNEXPECTED_MESSAGE);
    }
    if wire[1..].iter().take(2).any(|version| *version != 3) {
        return Verdict::Refused(DECODE_ERROR);
    }
    if wire.len() < 5 {
        return Verdict::Open;
    }
    match usize::from(wire[3]) << 8 | usize::from(wire[4]) {
        length if length > 16_384 + 17 => Verdict::Refused(RECORD_OVERFLOW),
        length if length < 16 || wire.len() >= 5 + length => Verdict::Refused(BAD_RECORD_MAC),
        _ => Verdict::Open,
    }
}

/// One end that seals and opens by the letter.
struct Naive {
    suite: usize,
    secret: Vec<u8>,
    sequence: u64,
}

impl Naive {
    fn new(suite: usize, first: u8) -> Self {
        let length = [32, 48, 32][suite];
        Self { suite, secret: (0..length).map(|at| at ^ first).collect(), sequence: 0 }
    }

    /// HKDF-Expand-Label where one block is enough (RFC 8446 section 7.1, RFC 5869).
    fn derive(&self, label: &str, length: u8) -> Vec<u8> {
        let hash = [hmac::HMAC_SHA256, hmac::HMAC_SHA384, hmac::HMAC_SHA256][self.suite];
        let label = format!("tls13 {label}");
        let head = [0, length, label.len() as u8];
        let info = [&head, label.as_bytes(), &[0, 1]].concat();
        let block = hmac::sign(&hmac::Key::new(hash, &self.secret), &info);
        block.as_ref()[..usize::from(length)].to_vec()
    }

    fn update(&mut self) {
        self.secret = self.derive("traffic upd", self.secret.len() as u8);
        self.sequence = 0;
    }

    /// Key and nonce of the next record.
    fn next(&mut self) -> (LessSafeKey, Nonce) {
        let aeads: [&'static Algorithm; 3] = [&AES_128_GCM, &AES_256_GCM, &CHACHA20_POLY1305];
        let key = self.derive("key", [16, 32, 32][self.suite]);
        let key = UnboundKey::new(aeads[self.suite], &key).expect("a key of its length");
        let mut nonce: [u8; 12] = self.derive("iv", 12).try_into().expect("12 bytes");
        for (at, number) in self.sequence.to_be_bytes().into_iter().enumerate() {
            nonce[4 + at] ^= number;
        }
        self.sequence += 1;
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce))
    }

    /// A record around any inner plaintext.
    fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let (key, nonce) = self.next();
        let length = inner.len() + 16;
        let mut record = vec![23, 3, 3, (length >> 8) as u8, length as u8];
        let mut sealed = inner.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(&record), &mut sealed).expect("sealed");
        record.append(&mut sealed);
        record
    }

    /// Opens the record at the front: its inner plaintext.
    fn open(&mut self, wire: &mut &[u8]) -> Vec<u8> {
        let length = usize::from(wire[3]) << 8 | usize::from(wire[4]);
        let (record, rest) = wire.split_at(5 + length);
        *wire = rest;
        let (key, nonce) = self.next();
        let mut sealed = record[5..].to_vec();
        let inner = key.open_in_place(nonce, Aad::from(&record[..5]), &mut sealed);
        inner.expect("what the gateway seals opens").to_vec()
    }
}

/// What has to come of what was said so far.
#[derive(Default)]
struct Expected {
    data: Vec<u8>,
    said: Verdict,
    /// Records without data in a row.
    idle: usize,
    /// What KeyUpdates have to be made up for.
    debt: usize,
    /// The beginning of a message of the handshake.
    begun: Vec<u8>,
    owes_update: bool,
}

impl Expected {
    /// Takes what is inside a record; returns whether the next key follows.
    fn take(&mut self, inner: &[u8]) -> bool {
        let refused = Verdict::Refused(UNEXPECTED_MESSAGE);
        let content = inner.len() - inner.iter().rev().take_while(|byte| **byte == 0).count();
        let Some((kind, content)) = inner[..content].split_last() else {
            self.said = refused;
            return false;
        };
        self.said = match (kind, content) {
            _ if inner.len() > 16_385 => Verdict::Refused(RECORD_OVERFLOW),
            (21 | 23, _) if !self.begun.is_empty() => refused,
            (23, [_, ..]) => {
                self.data.extend_from_slice(content);
                (self.idle, self.debt) = (0, self.debt.saturating_sub(1));
                return false;
            }
            (23, []) | (21, [_, 90]) => self.nothing(),
            (21, [_, 0]) => Verdict::Closed,
            (21, [_, _]) => Verdict::Failed,
            (21, [_, ..]) => Verdict::Refused(DECODE_ERROR),
            (22, [_, ..]) => return self.take_handshake(content),
            _ => refused,
        };
        false
    }

    fn take_handshake(&mut self, content: &[u8]) -> bool {
        self.begun.extend_from_slice(content);
        let begun = self.begun.as_slice();
        self.said = match begun {
            [kind, ..] if *kind != 24 => Verdict::Refused(UNEXPECTED_MESSAGE),
            _ if !begun.iter().zip([24, 0, 0, 1]).all(|(one, other)| *one == other) => {
                Verdict::Refused(DECODE_ERROR)
            }
            [_, _, _, _, value, ..] if *value > 1 => Verdict::Refused(ILLEGAL_PARAMETER),
            [_, _, _, _, _, _, ..] => Verdict::Refused(UNEXPECTED_MESSAGE),
            [_, _, _, _, value] => {
                self.debt += 16;
                self.owes_update |= *value == 1;
                self.begun.clear();
                let is_flood = self.debt > 64 * 16;
                if is_flood { Verdict::Refused(UNEXPECTED_MESSAGE) } else { return true }
            }
            _ => self.nothing(),
        };
        false
    }

    fn nothing(&mut self) -> Verdict {
        self.idle += 1;
        if self.idle > 32 { Verdict::Refused(UNEXPECTED_MESSAGE) } else { Verdict::Open }
    }
}

/// One connection, from both of its ends.
struct Run {
    sessions: Sessions,
    client: Naive,
    server: Naive,
    expected: Expected,
    stretches: Stretches,
    records_per_key: u64,
    /// What is on its way to the gateway, and the last record of it.
    wire: Vec<u8>,
    last: Vec<u8>,
    /// What the gateway's side keeps of a record, and what it has got.
    kept: Vec<u8>,
    plain: Vec<u8>,
    has_sent_alert: bool,
    /// The wire is not as it was sealed, and nothing can follow.
    is_broken: bool,
}

impl Run {
    fn new(suite: usize, stretches: Stretches, records_per_key: u64) -> Self {
        let (client, server) = (Naive::new(suite, 0xA5), Naive::new(suite, 0x3C));
        let mut sessions = Sessions::new(100, 8);
        sessions.set_records_per_key(records_per_key);
        let secrets = Secrets {
            client: &client.secret,
            server: &server.secret,
            read_sequence: 0,
            write_sequence: 0,
        };
        sessions.begin(SLOT, Suite::ALL[suite], secrets);
        Self {
            sessions,
            client,
            server,
            expected: Expected::default(),
            stretches,
            records_per_key,
            wire: Vec::new(),
            last: Vec::new(),
            kept: Vec::new(),
            plain: Vec::new(),
            has_sent_alert: false,
            is_broken: false,
        }
    }

    fn is_over(&self) -> bool {
        self.is_broken || matches!(self.expected.said, Verdict::Refused(_) | Verdict::Failed)
    }

    fn act(&mut self, parameters: &mut Parameters<'_>) {
        match parameters.byte() % 9 {
            0 => {
                let length = usize::from(parameters.u16() % 16_387);
                let padding =
                    usize::from(parameters.byte()).min(16_384_usize.saturating_sub(length));
                let mut inner: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
                inner.push(23);
                inner.resize(inner.len() + padding, 0);
                self.say(&inner);
            }
            1 => self.say(&[24, 0, 0, 1, parameters.byte(), 22]),
            2 => {
                let cut = usize::from(parameters.byte() % 6);
                let message = [24, 0, 0, 1, parameters.byte()];
                let (one, two) = message.split_at(cut.min(message.len()));
                for part in [one, two] {
                    self.say(&[part, &[22]].concat());
                }
            }
            3 => {
                let length = usize::from(parameters.byte()).min(parameters.0.len());
                let (inner, rest) = parameters.0.split_at(length);
                parameters.0 = rest;
                self.say(inner);
            }
            4 => {
                let (at, bit) = (usize::from(parameters.u16()), parameters.byte() % 8);
                let mut record = self.client.seal(b"changed\x17");
                let length = record.len();
                record[at % length] ^= 1 << bit;
                self.break_with(record);
            }
            5 => {
                let (length, room) = (parameters.u16(), parameters.u16());
                self.seal(usize::from(length), usize::from(room));
            }
            6 => {
                let cut = usize::from(parameters.byte());
                let mut record = self.client.seal(b"cut short\x17");
                record.truncate(record.len().saturating_sub(1 + cut));
                // What comes next is taken for the rest of it.
                record.extend(self.client.seal(b"and behind it\x17"));
                self.break_with(record);
            }
            7 if !self.last.is_empty() => self.break_with(self.last.clone()),
            7 => {}
            _ => self.alert(Alert(parameters.byte())),
        }
    }

    /// The client says something.
    fn say(&mut self, inner: &[u8]) {
        if self.is_over() {
            return;
        }
        self.last = self.client.seal(inner);
        self.wire.extend_from_slice(&self.last);
        if self.expected.said != Verdict::Closed && self.expected.take(inner) {
            self.client.update();
        }
    }

    /// The wire has something that no client has sealed so.
    fn break_with(&mut self, wire: Vec<u8>) {
        if self.expected.said == Verdict::Open {
            self.expected.said = judge(&wire);
        }
        self.wire.extend(wire);
        self.is_broken = true;
    }

    /// What is on its way comes in.
    fn deliver(&mut self) {
        let wire = std::mem::take(&mut self.wire);
        let mut rest = wire.as_slice();
        let mut said = Verdict::Open;
        while !rest.is_empty() {
            let (stretch, after) = rest.split_at(self.stretches.next(rest.len()));
            rest = after;
            self.kept.extend_from_slice(stretch);
            let length = self.kept.len();
            match self.sessions.open(SLOT, &mut self.kept) {
                Ok(opened) => {
                    assert!(opened.plain.end <= opened.rest.start && opened.rest.end == length);
                    self.plain.extend_from_slice(&self.kept[opened.plain]);
                    self.kept.drain(..opened.rest.start);
                    if opened.is_closed {
                        said = Verdict::Closed;
                    }
                }
                Err(fatal) => {
                    let refused = |alert: Alert| Verdict::Refused(alert.0);
                    said = fatal.alert.map_or(Verdict::Failed, refused);
                    break;
                }
            }
        }
        let is_failed = matches!(said, Verdict::Refused(_) | Verdict::Failed);
        if !wire.is_empty() {
            assert_eq!(said, self.expected.said);
        }
        let expected = &self.expected.data;
        assert!(expected.starts_with(&self.plain), "other data than was sealed");
        // Only what came in with the end of a failed connection may be lost.
        assert!(is_failed || self.plain.len() == expected.len(), "data is missing");
    }

    /// The gateway seals so many bytes where there is so much room.
    fn seal(&mut self, length: usize, room: usize) {
        self.deliver();
        if self.is_over() {
            return;
        }
        let plain: Vec<u8> = (0..length).map(|at| (at * 5) as u8).collect();
        let mut wire = vec![0; room];
        let sealed = self.sessions.seal(SLOT, &plain, &mut wire);
        let mut wire = &wire[..sealed.written];
        let mut opened = Vec::new();
        let is_due =
            |run: &Self| run.expected.owes_update || run.server.sequence >= run.records_per_key;
        while !wire.is_empty() {
            let is_update_due = is_due(self);
            let inner = self.server.open(&mut wire);
            if is_update_due {
                assert_eq!(inner, [24, 0, 0, 1, 0, 22], "a KeyUpdate is due");
                self.server.update();
                self.expected.owes_update = false;
                continue;
            }
            let (kind, content) = inner.split_last().expect("a type");
            assert!(*kind == 23 && !content.is_empty() && content.len() <= 16_384);
            opened.extend_from_slice(content);
        }
        assert_eq!(opened, plain[..sealed.taken]);
        let left = room - sealed.written;
        if sealed.taken < length && !self.has_sent_alert {
            let least = if is_due(self) { 27 } else { 23 };
            assert!(left < least, "{left} bytes of room are left");
        }
        assert!(!self.has_sent_alert || sealed.written == 0, "sealed behind an alert");
    }

    fn alert(&mut self, alert: Alert) {
        self.deliver();
        if self.is_over() {
            return;
        }
        let mut wire = [0; 24];
        let length = self.sessions.alert(SLOT, alert, &mut wire);
        assert_eq!(length, if self.has_sent_alert { 0 } else { 24 });
        if length > 0 {
            let inner = self.server.open(&mut &wire[..]);
            let level = if matches!(alert.0, 0 | 90) { 1 } else { 2 };
            assert_eq!(inner, [level, alert.0, 21]);
        }
        self.has_sent_alert = true;
    }
}
