//! The message that a sender's key changes (RFC 8446 section 4.6.3).

use crate::tls::error::RecordError;

/// The message with its header, in bytes.
pub const LENGTH: usize = 5;

/// The type of the message, and its length of one byte.
const HEADER: [u8; 4] = [24, 0, 0, 1];

/// The next records are sealed with the next key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUpdate {
    /// The receiver has to update its own key as well.
    pub is_requested: bool,
}

impl KeyUpdate {
    /// Reads what may be the first bytes of the message, of which so many were read before;
    /// `None` if more are needed. What is wrong is refused as soon as its byte is there.
    ///
    /// # Errors
    /// It is another message, or one that is not well formed.
    pub fn parse(read: usize, bytes: &[u8]) -> Result<Option<Self>, RecordError> {
        for (at, byte) in (read..).zip(bytes) {
            match HEADER.get(at) {
                Some(expected) if expected == byte => {}
                // Nothing else may come from a client behind its handshake that we have not asked
                // for. Section 4: "A peer which receives a handshake message in an unexpected order
                // MUST abort the handshake with an "unexpected_message" alert."
                Some(_) if at == 0 => return Err(RecordError::Handshake(*byte)),
                // Section 6.2: "decode_error: A message could not be decoded because [...] the
                // length of the message was incorrect."
                Some(_) => return Err(RecordError::MalformedUpdate),
                None => return Self::parse_request(*byte, bytes.len() - (at - read)).map(Some),
            }
        }
        Ok(None)
    }

    /// Reads the last byte of the message, with which so many are left.
    fn parse_request(byte: u8, left: usize) -> Result<Self, RecordError> {
        let is_requested = match byte {
            0 => false,
            1 => true,
            // Section 4.6.3: "If an implementation receives any other value, it MUST terminate the
            // connection with an "illegal_parameter" alert."
            other => return Err(RecordError::UpdateRequest(other)),
        };
        // Section 5.1: "Handshake messages MUST NOT span key changes. Implementations MUST verify
        // that all messages immediately preceding a key change align with a record boundary; if
        // not, then they MUST terminate the connection with an "unexpected_message" alert."
        if left > 1 { Err(RecordError::BehindUpdate) } else { Ok(Self { is_requested }) }
    }

    /// The message as it travels.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; LENGTH] {
        let [kind, high, middle, low] = HEADER;
        [kind, high, middle, low, self.is_requested as u8]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn construct() {
        assert_eq!(KeyUpdate { is_requested: false }.to_bytes(), [24, 0, 0, 1, 0]);
        assert_eq!(KeyUpdate { is_requested: true }.to_bytes(), [24, 0, 0, 1, 1]);
    }

    #[test]
    fn deconstruct_in_any_two_parts() {
        for is_requested in [false, true] {
            let update = KeyUpdate { is_requested };
            let bytes = update.to_bytes();
            for cut in 0..LENGTH {
                assert_eq!(KeyUpdate::parse(0, &bytes[..cut]), Ok(None), "{cut}");
                assert_eq!(KeyUpdate::parse(cut, &bytes[cut..]), Ok(Some(update)), "{cut}");
            }
        }
    }

    #[test]
    fn malformed() {
        use RecordError as E;
        for other in (0..=u8::MAX).filter(|other| *other != 24) {
            assert_eq!(KeyUpdate::parse(0, &[other]), Err(E::Handshake(other)));
        }
        for bytes in [&[24, 1][..], &[24, 0, 1], &[24, 0, 0, 0], &[24, 0, 0, 2, 0, 0]] {
            assert_eq!(KeyUpdate::parse(0, bytes), Err(E::MalformedUpdate), "{bytes:?}");
        }
        for other in 2..=u8::MAX {
            assert_eq!(KeyUpdate::parse(4, &[other]), Err(E::UpdateRequest(other)));
        }
    }

    #[test]
    fn rfc_8446_section_5_1_nothing_stands_behind_it_in_its_record() {
        let parse = |bytes| KeyUpdate::parse(0, bytes);
        assert_eq!(parse(&[24, 0, 0, 1, 0, 24]), Err(RecordError::BehindUpdate));
        assert_eq!(parse(&[24, 0, 0, 1, 1, 24, 0, 0, 1, 1]), Err(RecordError::BehindUpdate));
        assert_eq!(KeyUpdate::parse(3, &[1, 0, 0]), Err(RecordError::BehindUpdate));
    }
}
