//! The records of established TLS 1.3 connections (RFC 8446 section 5): opened where they were
//! received, sealed into memory that is lent.
//!
//! A connection that is idle holds its secrets, keys and numbers, and no buffer: what is incomplete
//! of a record its owner keeps. An AEAD's key is expanded for each burst, and kept of a bounded
//! number of connections that have many.

mod expanded;
mod session;
mod suite;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use aws_lc_rs::aead::LessSafeKey;
use tidegate_proto::tls::alert::{self, Alert};
use tidegate_proto::tls::error::RecordError;
use tidegate_proto::tls::incoming::RecordEvent;
use tidegate_proto::tls::key_update::{self, KeyUpdate};
use tidegate_proto::tls::record::{HEADER, MAX_CONTENT, OVERHEAD, RecordHeader};

use self::expanded::ExpandedKeys;
use self::session::{Heard, Session, Wide};
pub use self::suite::Suite;
use crate::kernel::Slot;
use crate::memory::Paged;
use crate::transport::Sealed;

/// After so many records with one key comes the next. Section 5.5: "For AES-GCM, up to 2^24.5
/// full-size records [...] may be encrypted on a given connection while keeping a safety margin".
const RECORDS_PER_KEY: u64 = 1 << 23;

/// An alert as a record, in bytes.
pub(super) const ALERT_RECORD: usize = OVERHEAD + alert::LENGTH;

/// A KeyUpdate as one.
const UPDATE_RECORD: usize = OVERHEAD + key_update::LENGTH;

/// Established TLS 1.3 connections of a shard, by slot; we are their server.
pub struct Sessions {
    entries: Paged<Session>,
    /// What has no room there, of the suites that have longer keys.
    wide: Paged<Wide>,
    /// Keys of those that have many bursts.
    opening: ExpandedKeys,
    sealing: ExpandedKeys,
    records_per_key: u64,
    counts: RecordCounts,
}

/// The application traffic secrets of a connection (section 7.1), as long as the suite's hash, and
/// how far both ends have come with them.
#[derive(Clone, Copy)]
pub struct Secrets<'a> {
    /// What the peer sends is sealed with keys of this.
    pub client: &'a [u8],
    /// What we send is.
    pub server: &'a [u8],
    /// The number of the next record that the peer sends.
    pub read_sequence: u64,
    /// The number of the next record that we send.
    pub write_sequence: u64,
}

/// What [`Sessions::open`] has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// Where plain bytes are, in front of the rest.
    pub plain: Range<usize>,
    /// An incomplete record: what comes next belongs behind it. It may be empty, and is never as
    /// long as [`MAX_RECORD`](tidegate_proto::tls::record::MAX_RECORD).
    pub rest: Range<usize>,
    /// The peer will send nothing more; what is behind that is ignored.
    pub is_closed: bool,
}

/// A connection has failed by what came in on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// What the peer is to be told by [`Sessions::alert`]; `None` if it is told nothing.
    pub alert: Option<Alert>,
    /// What was wrong.
    pub reason: RecordError,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Records that were opened, whatever was in them.
    pub opened: u64,
    /// Records that were sealed, whatever is in them.
    pub sealed: u64,
    /// KeyUpdates of peers.
    pub updates_received: u64,
    /// KeyUpdates of our own.
    pub updates_sent: u64,
    /// Keys that were expanded, because none had stayed.
    pub expanded: u64,
}

impl RecordCounts {
    /// How many numbers there are.
    pub(super) const WORDS: usize = 5;

    /// All numbers, in a fixed order.
    pub(super) fn words(self) -> [u64; Self::WORDS] {
        let Self { opened, sealed, updates_received, updates_sent, expanded } = self;
        [opened, sealed, updates_received, updates_sent, expanded]
    }

    /// What has these numbers.
    pub(super) fn from_words(next: impl FnMut() -> u64) -> Self {
        let mut words = [0; Self::WORDS];
        words.fill_with(next);
        let [opened, sealed, updates_received, updates_sent, expanded] = words;
        Self { opened, sealed, updates_received, updates_sent, expanded }
    }
}

impl Sessions {
    /// None yet, for slots below `slots`; the keys of so many may stay expanded in each direction.
    #[must_use]
    pub fn new(slots: u32, expanded_keys: u32) -> Self {
        let keys = expanded_keys.min(slots);
        Self {
            entries: Paged::new(slots),
            wide: Paged::new(slots),
            opening: ExpandedKeys::new(keys),
            sealing: ExpandedKeys::new(keys),
            records_per_key: RECORDS_PER_KEY,
            counts: RecordCounts::default(),
        }
    }

    /// How many records are sealed with one key, at least 1; for tests, which have to get there.
    pub fn set_records_per_key(&mut self, records: u64) {
        self.records_per_key = records.max(1);
    }

    /// The most bytes that so many connections take, of whatever suites.
    #[must_use]
    pub fn bytes(slots: u32, expanded_keys: u32) -> u64 {
        let expanded = 2 * ExpandedKeys::bytes(expanded_keys.min(slots));
        Paged::<Session>::bytes(slots) + Paged::<Wide>::bytes(slots) + expanded
    }

    /// The bytes that are held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        let expanded = self.opening.held() + self.sealing.held();
        self.entries.held() + self.wide.held() + expanded
    }

    /// What was done so far, on all connections.
    #[must_use]
    pub const fn counts(&self) -> RecordCounts {
        self.counts
    }

    /// Whether a connection is established.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        self.entries.has(slot)
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A connection is established; its slot has nothing of who was there before.
    pub fn begin(&mut self, slot: Slot, suite: Suite, secrets: Secrets<'_>) {
        self.end(slot);
        let mut wide = (suite != Suite::Aes128Gcm).then(|| self.wide.insert(slot));
        let session = self.entries.insert(slot);
        let ends = wide.as_deref_mut().map(|wide| &mut wide.reading);
        session.reading.begin(suite, ends, secrets.client, secrets.read_sequence);
        let ends = wide.map(|wide| &mut wide.writing);
        session.writing.begin(suite, ends, secrets.server, secrets.write_sequence);
        session.writing.state.suite = suite;
    }

    /// Opens the records that are whole, in place, and puts their data together behind that of the
    /// first one.
    ///
    /// # Errors
    /// What came in may not come, or the peer says that the connection has failed. What else came
    /// with it is lost, and nothing more is opened.
    pub fn open(&mut self, slot: Slot, received: &mut [u8]) -> Result<Unsealed, Fatal> {
        let Some(session) = self.entries.get_mut(slot) else {
            return Err(RecordError::Ended.into());
        };
        match session.writing.state.heard {
            Heard::Open => {}
            Heard::Closed => return Ok(Unsealed::closed(0..0, received.len())),
            Heard::Failed => return Err(RecordError::Ended.into()),
        }
        let mut opening = Unsealing {
            session,
            wide: self.wide.get_mut(slot),
            counts: &mut self.counts,
            key: self.opening.take(slot),
            at: 0,
            plain: 0..0,
        };
        let opened = opening.open(received);
        let state = &mut opening.session.writing.state;
        match opened {
            Ok(true) => state.heard = Heard::Closed,
            Ok(false) => {}
            Err(reason) => {
                state.heard = Heard::Failed;
                state.is_ended |= matches!(reason, RecordError::PeerAlert(_));
            }
        }
        let Unsealing { plain, at, key, .. } = opening;
        if opened? {
            return Ok(Unsealed::closed(plain, received.len()));
        }
        if let Some(key) = key {
            self.opening.keep(slot, key);
        }
        Ok(Unsealed { plain, rest: at..received.len(), is_closed: false })
    }

    /// Seals bytes from the front of `plain`, as many as there is room for what they become: one
    /// record for as much as there is, up to 16 KiB each, and in front of them a KeyUpdate if one
    /// is due. Without room for a record, and behind an alert, nothing is taken.
    pub fn seal(&mut self, slot: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed {
        let mut sealed = Sealed { taken: 0, written: 0 };
        let Some(session) = self.entries.get_mut(slot) else { return sealed };
        let wide = &mut self.wide.get_mut(slot);
        let writing = &mut session.writing;
        let suite = writing.state.suite;
        let mut expanded = self.sealing.take(slot);
        while sealed.taken < plain.len() && !writing.state.is_ended {
            let ends = wide.as_deref_mut().map(|wide| &mut wide.writing);
            let key = expanded.get_or_insert_with(|| {
                self.counts.expanded += 1;
                writing.expand(suite, ends.as_deref())
            });
            let wire = &mut wire[sealed.written..];
            if writing.state.owes_update || writing.sequence >= self.records_per_key {
                if wire.len() < UPDATE_RECORD {
                    break;
                }
                sealed.written += writing.seal_update(key, ends, wire);
                expanded = None;
                self.counts.updates_sent += 1;
            } else {
                let rest = &plain[sealed.taken..];
                let length = rest.len().min(MAX_CONTENT).min(wire.len().saturating_sub(OVERHEAD));
                if length == 0 {
                    break;
                }
                sealed.written += writing.seal_data(key, &rest[..length], wire);
                sealed.taken += length;
            }
            self.counts.sealed += 1;
        }
        if let Some(key) = expanded {
            self.sealing.keep(slot, key);
        }
        sealed
    }

    /// Seals an alert, behind which nothing more is sealed. Section 6.1: "Each party MUST send a
    /// "close_notify" alert before closing its write side of the connection, unless it has already
    /// sent some error alert." Returns its length in bytes; that is 0 if there is no room for it,
    /// and if an alert was sent before or a fatal one has come.
    pub fn alert(&mut self, slot: Slot, alert: Alert, wire: &mut [u8]) -> usize {
        let Some(session) = self.entries.get_mut(slot) else { return 0 };
        if session.writing.state.is_ended || wire.len() < ALERT_RECORD {
            return 0;
        }
        let ends = self.wide.get_mut(slot).map(|wide| &wide.writing);
        self.counts.sealed += 1;
        session.writing.seal_alert(ends, alert, wire)
    }

    /// A connection has ended: what is known of it is wiped.
    pub fn end(&mut self, slot: Slot) {
        self.opening.forget(slot);
        self.sealing.forget(slot);
        self.entries.remove(slot);
        self.wide.remove(slot);
    }
}

/// Records of one connection that are being opened.
struct Unsealing<'a> {
    session: &'a mut Session,
    wide: Option<&'a mut Wide>,
    counts: &'a mut RecordCounts,
    /// Expanded, once it is needed.
    key: Option<LessSafeKey>,
    /// Where the next record begins.
    at: usize,
    /// Plain bytes, which are in front of that.
    plain: Range<usize>,
}

impl Unsealing<'_> {
    /// Opens the records that are whole; returns whether the peer has closed.
    fn open(&mut self, received: &mut [u8]) -> Result<bool, RecordError> {
        let suite = self.session.writing.state.suite;
        while let Some(header) = RecordHeader::parse(&received[self.at..])? {
            let (start, end) = (self.at + HEADER, self.at + HEADER + header.length);
            let Some(record) = received.get_mut(self.at..end) else { break };
            let ends = self.wide.as_deref_mut().map(|wide| &mut wide.reading);
            let reading = &mut self.session.reading;
            let key = self.key.get_or_insert_with(|| {
                self.counts.expanded += 1;
                reading.expand(suite, ends.as_deref())
            });
            let (kind, length) = reading.open(key, record)?;
            self.counts.opened += 1;
            self.at = end;
            match reading.state.take(kind, &received[start..start + length])? {
                // What the first record has stays where it is.
                RecordEvent::Data if self.plain.is_empty() => self.plain = start..start + length,
                RecordEvent::Data => {
                    received.copy_within(start..start + length, self.plain.end);
                    self.plain.end += length;
                }
                RecordEvent::Nothing => {}
                RecordEvent::Update(KeyUpdate { is_requested }) => {
                    reading.update(suite, ends);
                    self.key = None;
                    self.counts.updates_received += 1;
                    // Section 4.6.3: "Note that implementations may receive an arbitrary number of
                    // messages between sending a KeyUpdate with request_update set to
                    // "update_requested" and receiving the peer's KeyUpdate": one answers several.
                    self.session.writing.state.owes_update |= is_requested;
                }
                RecordEvent::Close => return Ok(true),
            }
        }
        Ok(false)
    }
}

impl Unsealed {
    /// With so many plain bytes, and nothing that is to be kept.
    const fn closed(plain: Range<usize>, length: usize) -> Self {
        Self { plain, rest: length..length, is_closed: true }
    }
}

impl From<RecordError> for Fatal {
    fn from(reason: RecordError) -> Self {
        Self { alert: reason.alert(), reason }
    }
}

impl fmt::Debug for Secrets<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secrets")
    }
}
