//! What has become of handshakes, and of records, for metrics.

use std::time::Duration;

use rustls::CipherSuite;
use tidegate_proto::tls::error::RecordError;

use super::established12::OlderFailure;
use super::failure::HandshakeFailure;
use super::handshake::Settled;
use super::records::RecordCounts;
use crate::histogram::{BUCKETS, Histogram};

/// The suites that can be agreed on, with their version and their name in the registry.
pub const SUITES: [(CipherSuite, &str, &str); 9] = [
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "1.3", "TLS_AES_128_GCM_SHA256"),
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "1.3", "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "1.2",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "1.2",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "1.2",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "1.2",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "1.2",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "1.2",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
];

/// Why records could not be opened, by the names of [`RecordError`] and [`OlderFailure`].
pub const RECORD_ERRORS: [&str; 18] = [
    "unprotected_record",
    "record_version",
    "record_overflow",
    "bad_record_mac",
    "no_content_type",
    "unexpected_content",
    "empty_content",
    "malformed_alert",
    "unexpected_handshake",
    "malformed_key_update",
    "data_behind_key_update",
    "interleaved_handshake",
    "too_many_idle_records",
    "too_many_key_updates",
    "sequence_exhausted",
    "peer_alert",
    "renegotiation",
    "tls12",
];

/// How many numbers there are.
pub const WORDS: usize = SUITES.len()
    + 1
    + HandshakeFailure::ALL.len()
    + RECORD_ERRORS.len()
    + (BUCKETS + 1)
    + RecordCounts::WORDS;

/// What has become of handshakes and records since the start of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsCounts {
    /// Handshakes that were done, in the order of [`SUITES`].
    pub done: [u64; SUITES.len()],
    /// Those of them that a ticket has made short.
    pub resumed: u64,
    /// Handshakes that have failed, in the order of [`HandshakeFailure::ALL`].
    pub failed: [u64; HandshakeFailure::ALL.len()],
    /// Established connections that have failed by what came in, in the order of
    /// [`RECORD_ERRORS`].
    pub broken: [u64; RECORD_ERRORS.len()],
    /// Nanoseconds from the first bytes of a handshake to its end, of those that were done.
    pub nanoseconds: Histogram,
    /// Records of TLS 1.3.
    pub records: RecordCounts,
}

impl TlsCounts {
    /// A handshake was done.
    pub(super) fn done(&mut self, settled: &Settled, took: Duration) {
        if let Some(at) = SUITES.iter().position(|(suite, ..)| *suite == settled.suite) {
            self.done[at] += 1;
        }
        self.resumed += u64::from(settled.is_resumed);
        self.nanoseconds.record(took.as_nanos() as u64);
    }

    /// A handshake has failed.
    pub(super) fn failed(&mut self, reason: HandshakeFailure) {
        self.failed[reason as usize] += 1;
    }

    /// A connection has failed by a record.
    pub(super) fn broke(&mut self, reason: RecordError) {
        self.broke_by(reason.name());
    }

    /// A connection of TLS 1.2 has.
    pub(super) fn broke_older(&mut self, reason: OlderFailure) {
        self.broke_by(reason.name());
    }

    fn broke_by(&mut self, name: &str) {
        if let Some(at) = RECORD_ERRORS.iter().position(|error| *error == name) {
            self.broken[at] += 1;
        }
    }

    /// All numbers, in a fixed order.
    pub fn words(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { done, resumed, failed, broken, nanoseconds, records } = *self;
        let counts = done.into_iter().chain([resumed]).chain(failed).chain(broken);
        let counts = counts.chain(nanoseconds.buckets).chain([nanoseconds.sum]);
        counts.chain(records.words())
    }

    /// What has these numbers.
    pub fn from_words(mut next: impl FnMut() -> u64) -> Self {
        let mut counts = Self::default();
        counts.done.fill_with(&mut next);
        counts.resumed = next();
        counts.failed.fill_with(&mut next);
        counts.broken.fill_with(&mut next);
        counts.nanoseconds.buckets.fill_with(&mut next);
        counts.nanoseconds.sum = next();
        counts.records = RecordCounts::from_words(next);
        counts
    }
}

impl Default for TlsCounts {
    fn default() -> Self {
        Self {
            done: [0; SUITES.len()],
            resumed: 0,
            failed: [0; HandshakeFailure::ALL.len()],
            broken: [0; RECORD_ERRORS.len()],
            nanoseconds: Histogram::default(),
            records: RecordCounts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read() {
        let mut counts = TlsCounts::default();
        counts.failed(HandshakeFailure::PlainHttp);
        counts.broke(RecordError::BadMac);
        counts.broke_older(OlderFailure::Renegotiation);
        counts.broke_older(OlderFailure::Overflow);
        counts.broke_older(OlderFailure::Handshake);
        counts.broke_older(OlderFailure::Refused);
        counts.resumed = 7;
        counts.nanoseconds.record(1000);
        counts.records.expanded = 5;
        assert_eq!(counts.words().count(), WORDS);
        let mut words = counts.words();
        let read = TlsCounts::from_words(|| words.next().expect("as many as are read"));
        assert_eq!((read, words.next()), (counts, None));
        assert_eq!(read.broken.iter().sum::<u64>(), 5);
    }
}
