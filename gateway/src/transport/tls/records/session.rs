//! What is kept of one connection between two bursts: 144 bytes, and 64 more with keys or secrets
//! that are longer than those of the smallest suite. Nobody sees them in a log, and they are wiped.

use std::fmt;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use tidegate_proto::tls::alert::Alert;
use tidegate_proto::tls::content::{self, ContentType};
use tidegate_proto::tls::error::RecordError;
use tidegate_proto::tls::incoming::Incoming;
use tidegate_proto::tls::key_update::KeyUpdate;
use tidegate_proto::tls::nonce::{NONCE, nonce};
use tidegate_proto::tls::record::{HEADER, OVERHEAD, RecordHeader, TAG};
use zeroize::{Zeroize, Zeroizing};

use super::suite::Suite;

/// The longest secret, and the longest key, in bytes; an entry has room for [`SECRET`] and [`KEY`],
/// and the rest is in a [`Wide`].
const MAX_SECRET: usize = 48;
const MAX_KEY: usize = 32;
const SECRET: usize = 32;
const KEY: usize = 16;

const _: () = assert!(size_of::<Session>() == 144 && size_of::<Wide>() == 64);

/// One connection.
#[derive(Default)]
pub(super) struct Session {
    pub(super) reading: Direction<Incoming>,
    pub(super) writing: Direction<WritingState>,
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Direction<T> {
    /// Records that were opened or sealed with the key: the number of the next one.
    pub(super) sequence: u64,
    secret: [u8; SECRET],
    key: [u8; KEY],
    iv: [u8; NONCE],
    /// What else is known of it, in 4 bytes.
    pub(super) state: T,
}

/// What of the keys and secrets of a connection has no room in its [`Session`].
#[derive(Default)]
pub(super) struct Wide {
    pub(super) reading: Ends,
    pub(super) writing: Ends,
}

/// The ends of a secret and of a key.
#[derive(Default)]
pub(super) struct Ends {
    secret: [u8; MAX_SECRET - SECRET],
    key: [u8; MAX_KEY - KEY],
}

/// What is known of what is sent, and of the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WritingState {
    pub(super) suite: Suite,
    /// The peer has asked for a KeyUpdate.
    pub(super) owes_update: bool,
    /// An alert was sent, or a fatal one has come: nothing more is sealed.
    pub(super) is_ended: bool,
    /// What comes in is ignored or refused.
    pub(super) heard: Heard,
}

/// Whether anything more may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Heard {
    /// It may.
    #[default]
    Open,
    /// The peer has closed.
    Closed,
    /// Something came that may not.
    Failed,
}

impl<T> Direction<T> {
    /// Begins with a secret, whose keys have been used for so many records.
    pub(super) fn begin(
        &mut self,
        suite: Suite,
        ends: Option<&mut Ends>,
        secret: &[u8],
        sequence: u64,
    ) {
        self.keep_secret(suite, ends, secret);
        self.sequence = sequence;
    }

    /// Goes on to the next secret and its keys. RFC 8446 section 7.2: "application_traffic_secret_
    /// N+1 = HKDF-Expand-Label(application_traffic_secret_N, "traffic upd", "", Hash.length)".
    /// Section 5.3: the number "is set to zero at the beginning of a connection and whenever the
    /// key is changed".
    pub(super) fn update(&mut self, suite: Suite, ends: Option<&mut Ends>) {
        let secret = join::<MAX_SECRET>(&self.secret, ends.as_deref().map(|ends| &ends.secret[..]));
        let length = suite.secret_length();
        let mut next = Zeroizing::new([0; MAX_SECRET]);
        suite.derive(&secret[..length], b"traffic upd", &mut next[..length]);
        self.keep_secret(suite, ends, &next[..length]);
        self.sequence = 0;
    }

    /// Keeps a secret with the key and the IV that come of it (section 7.3).
    fn keep_secret(&mut self, suite: Suite, ends: Option<&mut Ends>, secret: &[u8]) {
        debug_assert_eq!(secret.len(), suite.secret_length());
        let mut key = Zeroizing::new([0; MAX_KEY]);
        let key = &mut key[..suite.key_length()];
        suite.derive(secret, b"key", key);
        suite.derive(secret, b"iv", &mut self.iv);
        let (mut secret_end, mut key_end) = (&mut [][..], &mut [][..]);
        if let Some(ends) = ends {
            (secret_end, key_end) = (&mut ends.secret, &mut ends.key);
        }
        split(secret, &mut self.secret, secret_end);
        split(key, &mut self.key, key_end);
    }

    /// Its key, to seal or open with.
    pub(super) fn expand(&self, suite: Suite, ends: Option<&Ends>) -> LessSafeKey {
        let key = join::<MAX_KEY>(&self.key, ends.map(|ends| &ends.key[..]));
        suite.expand(&key[..suite.key_length()])
    }

    /// The number of the next record, as its nonce.
    fn nonce(&self) -> Nonce {
        Nonce::assume_unique_for_key(nonce(&self.iv, self.sequence))
    }

    /// Opens the next record, in place; returns what its content is and how long, in bytes. It
    /// stands behind the header.
    pub(super) fn open(
        &mut self,
        key: &LessSafeKey,
        record: &mut [u8],
    ) -> Result<(ContentType, usize), RecordError> {
        let (header, sealed) = record.split_at_mut(HEADER);
        // RFC 8446 section 5.3: "If a TLS implementation would need to wrap a sequence number, it
        // MUST either rekey or terminate the connection."
        let next = self.sequence.checked_add(1).ok_or(RecordError::Exhausted)?;
        // Section 5.2: "additional_data = TLSCiphertext.opaque_type ||
        // TLSCiphertext.legacy_record_version || TLSCiphertext.length".
        let opened = key.open_in_place(self.nonce(), Aad::from(&*header), sealed);
        let inner = opened.map_err(|_| RecordError::BadMac)?;
        self.sequence = next;
        content::split(inner)
    }
}

impl Direction<WritingState> {
    /// Seals `content` as the next record at the start of `wire`, which has room for it; returns
    /// how long it is, in bytes.
    fn seal(
        &mut self,
        key: &LessSafeKey,
        kind: ContentType,
        content: &[u8],
        wire: &mut [u8],
    ) -> usize {
        let header = RecordHeader::of_content(content.len()).to_bytes();
        let (head, rest) = wire.split_at_mut(HEADER);
        let (sealed, end) = rest.split_at_mut(content.len());
        head.copy_from_slice(&header);
        let (nonce, aad) = (self.nonce(), Aad::from(header));
        // ChaCha20-Poly1305 takes 130 ns longer for a type that stands apart from the content, and
        // copying costs less than that.
        let done = if self.state.suite == Suite::ChaCha20Poly1305 {
            sealed.copy_from_slice(content);
            end[0] = kind as u8;
            let (inner, tag) = rest.split_at_mut(content.len() + 1);
            key.seal_in_place_scatter(nonce, aad, inner, &[], &mut tag[..TAG])
        } else {
            let end = &mut end[..1 + TAG];
            key.seal_out_of_place_scatter(nonce, aad, content, sealed, &[kind as u8], end)
        };
        done.expect("no record is longer than an AEAD can seal");
        // Only a KeyUpdate, behind which the numbers begin anew, and an alert, behind which there
        // is no other record, may have the last number there is.
        self.sequence = self.sequence.saturating_add(1);
        content.len() + OVERHEAD
    }

    /// Seals data, of which there may be up to [`MAX_CONTENT`]; the key is not due for an update.
    ///
    /// [`MAX_CONTENT`]: tidegate_proto::tls::record::MAX_CONTENT
    pub(super) fn seal_data(&mut self, key: &LessSafeKey, data: &[u8], wire: &mut [u8]) -> usize {
        self.seal(key, ContentType::ApplicationData, data, wire)
    }

    /// Seals an alert, which is the last record.
    pub(super) fn seal_alert(
        &mut self,
        ends: Option<&Ends>,
        alert: Alert,
        wire: &mut [u8],
    ) -> usize {
        self.state.is_ended = true;
        let key = self.expand(self.state.suite, ends);
        self.seal(&key, ContentType::Alert, &alert.to_bytes(), wire)
    }

    /// Seals a KeyUpdate and goes on to the next key.
    pub(super) fn seal_update(
        &mut self,
        key: &LessSafeKey,
        ends: Option<&mut Ends>,
        wire: &mut [u8],
    ) -> usize {
        // RFC 8446 section 4.6.3: the answer to a KeyUpdate has "request_update set to
        // "update_not_requested""; and when to change its own key is each sender's to know.
        let update = KeyUpdate { is_requested: false }.to_bytes();
        // "Both sender and receiver MUST encrypt their KeyUpdate messages with the old keys."
        let written = self.seal(key, ContentType::Handshake, &update, wire);
        self.update(self.state.suite, ends);
        self.state.owes_update = false;
        written
    }
}

/// Splits `whole` into an entry and what has no room there.
fn split(whole: &[u8], entry: &mut [u8], end: &mut [u8]) {
    let (front, back) = whole.split_at(whole.len().min(entry.len()));
    entry[..front.len()].copy_from_slice(front);
    let length = back.len().min(end.len());
    debug_assert_eq!(length, back.len(), "it has room");
    end[..length].copy_from_slice(&back[..length]);
}

/// Puts together again what was split.
fn join<const LENGTH: usize>(entry: &[u8], end: Option<&[u8]>) -> Zeroizing<[u8; LENGTH]> {
    let mut whole = Zeroizing::new([0; LENGTH]);
    whole[..entry.len()].copy_from_slice(entry);
    if let Some(end) = end {
        whole[entry.len()..].copy_from_slice(end);
    }
    whole
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reading.wipe();
        self.writing.wipe();
    }
}

impl<T> Direction<T> {
    fn wipe(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        for ends in [&mut self.reading, &mut self.writing] {
            ends.secret.zeroize();
            ends.key.zeroize();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its keys are nobody's business.
        out.debug_struct("Session")
            .field("reading", &self.reading.state)
            .field("writing", &self.writing.state)
            .finish_non_exhaustive()
    }
}
