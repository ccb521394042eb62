//! Records of an established connection, sealed and opened where they lie.

use std::io;
use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use super::failed;

/// A record's header, in bytes (RFC 8446 section 5.1).
pub const HEADER: usize = 5;

/// Behind the content of a record: its type and the tag (RFC 8446 section 5.2).
const TAIL: usize = 1 + MAX_TAG_LEN;

/// What a record has beside its content, in bytes.
pub const OVERHEAD: usize = HEADER + TAIL;

/// The most content of a record.
///
/// RFC 8446 section 5.1: "The length MUST NOT exceed 2^14 bytes."
pub const PIECE_MAX: usize = 1 << 14;

/// Types of content (RFC 8446 section 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The alert `close_notify` (RFC 8446 section 6).
const CLOSE_NOTIFY: u8 = 0;

/// The handshake message NewSessionTicket (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;

/// How long what is sealed of `plain` bytes is.
#[must_use]
pub const fn sealed_length(plain: usize) -> usize {
    plain + plain.div_ceil(PIECE_MAX) * OVERHEAD
}

/// One direction of a connection, with its key, which is expanded once and kept.
#[derive(Debug)]
pub struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

/// What came of a look at what was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Plain bytes.
    pub plain: Range<usize>,
    /// The start of a record that has not come as a whole.
    pub rest: Range<usize>,
    /// The peer has said that nothing more comes.
    pub is_closed: bool,
}

impl Direction {
    /// With the key that rustls has agreed upon, from the next record on.
    ///
    /// # Errors
    /// The suite is another one than was offered.
    pub fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            return Err(failed("the keys are of a suite that was not offered"));
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).map_err(failed)?;
        let iv = iv.as_ref().try_into().map_err(failed)?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// RFC 8446 section 5.3: "The 64-bit record sequence number is encoded in network byte order
    /// and padded to the left with zeros to iv_length", and XORed with the IV.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals the application data at `plain`, which may be of any length but none, into records
    /// that begin [`HEADER`] bytes in front of it; yields where they are. What does not fit the
    /// first record is moved, and `bytes` must have room for all: [`sealed_length`].
    ///
    /// # Errors
    /// It was too much for one key.
    ///
    /// # Panics
    /// There is no such room.
    pub fn seal(&mut self, bytes: &mut [u8], plain: Range<usize>) -> io::Result<Range<usize>> {
        let count = plain.len().div_ceil(PIECE_MAX);
        for index in (1..count).rev() {
            let start = plain.start + index * PIECE_MAX;
            let end = plain.end.min(start + PIECE_MAX);
            bytes.copy_within(start..end, start + index * OVERHEAD);
        }
        let start = plain.start - HEADER;
        for index in 0..count {
            let length = (plain.len() - index * PIECE_MAX).min(PIECE_MAX);
            let at = start + index * (PIECE_MAX + OVERHEAD);
            self.seal_one(&mut bytes[at..at + length + OVERHEAD])?;
        }
        Ok(start..start + sealed_length(plain.len()))
    }

    /// Seals one record whose content is in its place.
    fn seal_one(&mut self, record: &mut [u8]) -> io::Result<()> {
        let [high, low] = ((record.len() - HEADER) as u16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let (head, body) = record.split_at_mut(HEADER);
        head.copy_from_slice(&header);
        let (inner, room) = body.split_at_mut(body.len() - MAX_TAG_LEN);
        *inner.last_mut().expect("it has room for its type") = APPLICATION_DATA;
        let nonce = self.nonce();
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), inner);
        room.copy_from_slice(sealed.map_err(failed)?.as_ref());
        Ok(())
    }

    /// Opens all records in `wire` that have come as a whole. Their plain bytes are moved behind
    /// those at `plain`, which lie in front of `wire`; if there are none, those of the first record
    /// stay where they are.
    ///
    /// # Errors
    /// A record is not what was sealed, or says something else than this module understands.
    pub fn open(
        &mut self,
        bytes: &mut [u8],
        mut plain: Range<usize>,
        mut wire: Range<usize>,
    ) -> io::Result<Stretch> {
        while let Some(length) = whole(&bytes[wire.clone()])? {
            let record = wire.start..wire.start + length;
            wire.start = record.end;
            let (content, kind) = self.open_one(&mut bytes[record.clone()])?;
            let start = record.start + HEADER;
            match (kind, &bytes[start..start + content]) {
                (APPLICATION_DATA, _) if plain.is_empty() => plain = start..start + content,
                (APPLICATION_DATA, _) => {
                    bytes.copy_within(start..start + content, plain.end);
                    plain.end += content;
                }
                // Whoever wants tickets has waited for one before.
                (HANDSHAKE, [NEW_SESSION_TICKET, ..]) => {}
                (ALERT, [_, CLOSE_NOTIFY]) => {
                    return Ok(Stretch { plain, rest: wire.end..wire.end, is_closed: true });
                }
                (ALERT, alert) => return Err(failed(format!("the peer sent alert {alert:?}"))),
                (kind, _) => return Err(failed(format!("a record of type {kind} has come"))),
            }
        }
        Ok(Stretch { plain, rest: wire, is_closed: false })
    }

    /// Opens one record in its place; yields the length of its content and its type.
    fn open_one(&mut self, record: &mut [u8]) -> io::Result<(usize, u8)> {
        let (head, body) = record.split_at_mut(HEADER);
        let header: [u8; HEADER] = (&*head).try_into().expect("it is as long as that");
        let at = body.len().checked_sub(MAX_TAG_LEN).ok_or_else(|| failed("a record is short"))?;
        let (inner, tag) = body.split_at_mut(at);
        let nonce = self.nonce();
        let opened = self.key.open_in_place_separate_tag(nonce, Aad::from(header), tag, inner);
        let inner =
            opened.map_err(|_| failed("a record was not sealed with the key agreed upon"))?;
        // RFC 8446 section 5.4: the type is the last byte that is not zero.
        let last = inner.iter().rposition(|&byte| byte != 0);
        let last = last.ok_or_else(|| failed("a record has no type"))?;
        Ok((last, inner[last]))
    }
}

/// The length of the first record of `wire`, if it is there as a whole.
///
/// # Errors
/// It is no record, or too long.
pub(crate) fn whole(wire: &[u8]) -> io::Result<Option<usize>> {
    let Some(&[_, major, _, high, low]) = wire.first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446 section 5.2: "The length MUST NOT exceed 2^14 + 256 bytes."
    if major != 3 || length > PIECE_MAX + 256 {
        return Err(failed("what has come is no record"));
    }
    Ok((wire.len() >= HEADER + length).then_some(HEADER + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One end of a direction; all have the same key.
    fn direction() -> Direction {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap();
        Direction { key: LessSafeKey::new(key), iv: [9; NONCE_LEN], sequence: 0 }
    }

    /// What is sealed of `plain`.
    fn sealed(sealer: &mut Direction, plain: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(plain);
        bytes.resize(sealed_length(plain.len()), 0);
        assert_eq!(sealer.seal(&mut bytes, HEADER..HEADER + plain.len()).unwrap(), 0..bytes.len());
        bytes
    }

    #[test]
    fn what_was_sealed_is_opened_whatever_its_length() {
        for length in [1, 64, PIECE_MAX - 1, PIECE_MAX, PIECE_MAX + 1, 3 * PIECE_MAX + 5] {
            let plain: Vec<_> = (0..length).map(|at| at as u8).collect();
            let (mut sealer, mut opener) = (direction(), direction());
            for _ in 0..2 {
                let mut wire = sealed(&mut sealer, &plain);
                let end = wire.len();
                let stretch = opener.open(&mut wire, 0..0, 0..end).unwrap();
                assert_eq!(wire[stretch.plain], plain);
                assert_eq!((stretch.rest, stretch.is_closed), (end..end, false));
            }
        }
    }

    #[test]
    fn plain_bytes_of_earlier_stay_in_front_and_the_start_of_a_record_behind() {
        let (mut sealer, mut opener) = (direction(), direction());
        let mut bytes = b"earlier ".to_vec();
        bytes.extend(sealed(&mut sealer, b"one "));
        bytes.extend(sealed(&mut sealer, b"two"));
        let whole = bytes.len();
        bytes.extend(&sealed(&mut sealer, b"three")[..10]);
        let end = bytes.len();
        let stretch = opener.open(&mut bytes, 0..8, 8..end).unwrap();
        assert_eq!(&bytes[stretch.plain], b"earlier one two");
        assert_eq!(stretch.rest, whole..end);
    }

    #[test]
    fn no_byte_of_a_record_may_be_another() {
        let wire = sealed(&mut direction(), b"plain");
        // What stands for the length may make it one that has not come as a whole.
        for at in (0..wire.len()).filter(|at| !(3..5).contains(at)) {
            let mut wire = wire.clone();
            wire[at] ^= 1;
            let end = wire.len();
            assert!(direction().open(&mut wire, 0..0, 0..end).is_err(), "byte {at}");
        }
        assert!(whole(&[23, 3, 3, 0x41, 1]).is_err(), "longer than a record may be");
        assert_eq!(whole(&[23, 3, 3, 0x41, 0]).unwrap(), None);
    }
}
