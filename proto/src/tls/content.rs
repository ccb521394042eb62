//! What is inside a record once it is opened (RFC 8446 sections 5.1 and 5.4).

use crate::tls::error::RecordError;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentType {
    /// One alert.
    Alert = 21,
    /// Messages of the handshake, whole or in part.
    Handshake = 22,
    /// Bytes of what is spoken on the connection.
    ApplicationData = 23,
}

impl ContentType {
    /// Reads the type of what was protected.
    ///
    /// # Errors
    /// Nothing that was protected may have it.
    pub const fn parse(byte: u8) -> Result<Self, RecordError> {
        match byte {
            21 => Ok(Self::Alert),
            22 => Ok(Self::Handshake),
            23 => Ok(Self::ApplicationData),
            // Section 5: "An implementation which receives [...] a protected change_cipher_spec
            // record MUST abort the handshake with an "unexpected_message" alert." And: "If a TLS
            // implementation receives an unexpected record type, it MUST terminate the connection
            // with an "unexpected_message" alert."
            other => Err(RecordError::ContentType(other)),
        }
    }
}

/// Finds the type in what was opened, and how long the content in front of it is, in bytes.
///
/// # Errors
/// There is no type, or an unknown one, or the content is too long.
pub fn split(inner: &[u8]) -> Result<(ContentType, usize), RecordError> {
    // Section 5.4: "the receiving implementation scans the field from the end toward the beginning
    // until it finds a non-zero octet. This non-zero octet is the content type of the message."
    let at = inner.iter().rposition(|byte| *byte != 0);
    // "If a receiving implementation does not find a non-zero octet in the cleartext, it MUST
    // terminate the connection with an "unexpected_message" alert."
    let at = at.ok_or(RecordError::NoContentType)?;
    Ok((ContentType::parse(inner[at])?, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8446_section_5_4_the_type_is_the_last_byte_that_is_not_zero() {
        assert_eq!(split(b"ab\x17"), Ok((ContentType::ApplicationData, 2)));
        assert_eq!(split(b"ab\x15\0\0\0"), Ok((ContentType::Alert, 2)));
        assert_eq!(split(b"\0\0\x16\0"), Ok((ContentType::Handshake, 2)));
        assert_eq!(split(b"\x17"), Ok((ContentType::ApplicationData, 0)));
        for zeros in [0, 1, 300] {
            assert_eq!(split(&vec![0; zeros]), Err(RecordError::NoContentType), "{zeros}");
        }
    }

    #[test]
    fn rfc_8446_section_5_other_types_are_unexpected() {
        for other in (1..=u8::MAX).filter(|other| !(21..=23).contains(other)) {
            assert_eq!(split(&[5, other, 0]), Err(RecordError::ContentType(other)));
        }
    }
}
