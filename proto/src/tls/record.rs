//! The header of a protected record (RFC 8446 section 5.2).

use crate::tls::error::RecordError;

/// The header of a record, in bytes.
pub const HEADER: usize = 5;

/// What each AEAD of TLS 1.3 adds to what it seals, in bytes.
pub const TAG: usize = 16;

/// The most that a record carries, in bytes. Section 5.1: "The length MUST NOT exceed 2^14 bytes."
pub const MAX_CONTENT: usize = 1 << 14;

/// What a record is longer than its content if it has no padding, in bytes: the header, the type
/// of the content, the tag.
pub const OVERHEAD: usize = HEADER + 1 + TAG;

/// The longest record that can be opened, in bytes.
pub const MAX_RECORD: usize = MAX_CONTENT + OVERHEAD;

/// The outer type of a protected record.
const APPLICATION_DATA: u8 = 23;

/// The header of a protected record. Its bytes are what the AEAD is told beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Sealed bytes behind the header, with their tag.
    pub length: usize,
}

impl RecordHeader {
    /// Reads a header from the start of `bytes`; `None` if more are needed. What is wrong is
    /// refused as soon as its byte is there.
    ///
    /// # Errors
    /// It is not that of a protected record, or of one that is too long or too short.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, RecordError> {
        // Section 5.2: "The outer opaque_type field of a TLSCiphertext record is always set to the
        // value 23". Section 5: "A change_cipher_spec record received [...] after the peer's
        // Finished message MUST be treated as an unexpected record type", and "if a TLS
        // implementation receives an unexpected record type, it MUST terminate the connection with
        // an "unexpected_message" alert."
        match bytes.first() {
            Some(&APPLICATION_DATA) => {}
            Some(&other) => return Err(RecordError::Unprotected(other)),
            None => return Ok(None),
        }
        // "The legacy_record_version field is always 0x0303."
        if bytes.iter().skip(1).take(2).any(|version| *version != 3) {
            return Err(RecordError::Version);
        }
        let Some(&[_, _, _, high, low]) = bytes.first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // "The length MUST NOT exceed 2^14 + 256 bytes. An endpoint that receives a record that
        // exceeds this length MUST terminate the connection with a "record_overflow" alert." The
        // AEADs that there are add 16 bytes and not 255, and section 5.4 has padding within the
        // bounds: "the full encoded TLSInnerPlaintext MUST NOT exceed 2^14 + 1 octets." So a
        // longer one cannot be right, and nobody has to wait for its end.
        if length > MAX_CONTENT + 1 + TAG {
            return Err(RecordError::Overflow);
        }
        // Without room for a tag there is nothing that could be opened. Section 5.2: "If the
        // decryption fails, the receiver MUST terminate the connection with a "bad_record_mac"
        // alert."
        if length < TAG {
            return Err(RecordError::BadMac);
        }
        Ok(Some(Self { length }))
    }

    /// That of a record with so many bytes of content, at most [`MAX_CONTENT`], and no padding.
    #[must_use]
    pub const fn of_content(length: usize) -> Self {
        debug_assert!(length <= MAX_CONTENT);
        Self { length: length + 1 + TAG }
    }

    /// The header as it travels.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let [high, low] = (self.length as u16).to_be_bytes();
        [APPLICATION_DATA, 3, 3, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn construct() {
        assert_eq!(RecordHeader::of_content(0).to_bytes(), [23, 3, 3, 0, 17]);
        assert_eq!(RecordHeader::of_content(MAX_CONTENT).to_bytes(), [23, 3, 3, 0x40, 0x11]);
        assert_eq!(MAX_RECORD, HEADER + RecordHeader::of_content(MAX_CONTENT).length);
    }

    #[test]
    fn deconstruct() {
        let header = RecordHeader { length: 0x1234 };
        let bytes = [23, 3, 3, 0x12, 0x34, 0xFF];
        assert_eq!(RecordHeader::parse(&bytes), Ok(Some(header)));
        for end in 0..HEADER {
            assert_eq!(RecordHeader::parse(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn malformed() {
        for other in (0..=u8::MAX).filter(|other| *other != 23) {
            let error = RecordError::Unprotected(other);
            assert_eq!(RecordHeader::parse(&[other]), Err(error), "{other}");
        }
        for version in [[2, 3], [4, 3], [3, 1], [3, 4]] {
            let bytes = [23, version[0], version[1]];
            assert_eq!(RecordHeader::parse(&bytes), Err(RecordError::Version), "{version:?}");
        }
        assert_eq!(RecordHeader::parse(&[23, 2]), Err(RecordError::Version));
    }

    #[test]
    fn rfc_8446_section_5_2_the_length_has_bounds() {
        let parse = |length: u16| {
            let [high, low] = length.to_be_bytes();
            RecordHeader::parse(&[23, 3, 3, high, low])
        };
        for length in [0, 1, 15] {
            assert_eq!(parse(length), Err(RecordError::BadMac), "{length}");
        }
        for length in [16, 17, 16_401] {
            let header = RecordHeader { length: length.into() };
            assert_eq!(parse(length), Ok(Some(header)));
        }
        for length in [16_402, 16_640, 16_641, u16::MAX] {
            assert_eq!(parse(length), Err(RecordError::Overflow), "{length}");
        }
    }
}
