//! What a peer can break, what it is told, and what that is called.

use core::fmt;

use crate::tls::alert::Alert;

/// What came in on an established connection cannot be taken, and the connection has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A record of this type that is not protected.
    Unprotected(u8),
    /// A record of another version than the handshake has agreed on.
    Version,
    /// A record that is longer than any may be.
    Overflow,
    /// A record that does not open: it was changed, or sealed with another key.
    BadMac,
    /// A record of nothing but padding.
    NoContentType,
    /// A record whose content is of this type, which may not be protected.
    ContentType(u8),
    /// A message of the handshake, or an alert, without a byte.
    EmptyContent,
    /// An alert of another length than two bytes.
    MalformedAlert,
    /// A message of the handshake of this type, which nobody has asked for.
    Handshake(u8),
    /// A KeyUpdate of another length than one byte.
    MalformedUpdate,
    /// A KeyUpdate that asks for this, which is neither yes nor no.
    UpdateRequest(u8),
    /// Something stands behind a KeyUpdate in its record.
    BehindUpdate,
    /// Something else came before a message of the handshake was whole.
    Interleaved,
    /// Too many records in a row without any data.
    TooManyIdle,
    /// Too many KeyUpdates for so little data.
    TooManyUpdates,
    /// So many records with one key that there is no number left for the next.
    Exhausted,
    /// The peer has said by this alert that the connection has failed.
    PeerAlert(Alert),
    /// The connection has failed or ended before.
    Ended,
}

impl RecordError {
    /// What the peer is told; `None` if nothing is.
    #[must_use]
    pub const fn alert(self) -> Option<Alert> {
        match self {
            Self::Unprotected(_)
            | Self::NoContentType
            | Self::ContentType(_)
            | Self::EmptyContent
            | Self::Handshake(_)
            | Self::BehindUpdate
            | Self::Interleaved
            | Self::TooManyIdle
            | Self::TooManyUpdates => Some(Alert::UNEXPECTED_MESSAGE),
            Self::Version | Self::MalformedAlert | Self::MalformedUpdate => {
                Some(Alert::DECODE_ERROR)
            }
            Self::Overflow => Some(Alert::RECORD_OVERFLOW),
            Self::BadMac => Some(Alert::BAD_RECORD_MAC),
            Self::UpdateRequest(_) => Some(Alert::ILLEGAL_PARAMETER),
            Self::Exhausted => Some(Alert::INTERNAL_ERROR),
            // RFC 8446 section 6.2: "Upon transmission or receipt of a fatal alert message, both
            // parties MUST immediately close the connection."
            Self::PeerAlert(_) | Self::Ended => None,
        }
    }

    /// A word for counters and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unprotected(_) => "unprotected_record",
            Self::Version => "record_version",
            Self::Overflow => "record_overflow",
            Self::BadMac => "bad_record_mac",
            Self::NoContentType => "no_content_type",
            Self::ContentType(_) => "unexpected_content",
            Self::EmptyContent => "empty_content",
            Self::MalformedAlert => "malformed_alert",
            Self::Handshake(_) => "unexpected_handshake",
            Self::MalformedUpdate | Self::UpdateRequest(_) => "malformed_key_update",
            Self::BehindUpdate => "data_behind_key_update",
            Self::Interleaved => "interleaved_handshake",
            Self::TooManyIdle => "too_many_idle_records",
            Self::TooManyUpdates => "too_many_key_updates",
            Self::Exhausted => "sequence_exhausted",
            Self::PeerAlert(_) => "peer_alert",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unprotected(20) => {
                out.write_str("a change_cipher_spec record came after the handshake")
            }
            Self::Unprotected(kind) => {
                write!(out, "a record of type {kind} came, which is not protected")
            }
            Self::Version => out.write_str("a record of another version than 0x0303 came"),
            Self::Overflow => out.write_str("a record of more than 2^14 bytes came"),
            Self::BadMac => out.write_str("a record does not open: it was changed on its way"),
            Self::NoContentType => out.write_str("a record came with nothing but padding"),
            Self::ContentType(kind) => {
                write!(out, "a protected record came with content of type {kind}")
            }
            Self::EmptyContent => {
                out.write_str("a record came with an alert or a handshake message of no bytes")
            }
            Self::MalformedAlert => out.write_str("a record came that is not one alert"),
            Self::Handshake(kind) => {
                write!(out, "a handshake message of type {kind} came, which nobody asked for")
            }
            Self::MalformedUpdate => out.write_str("a KeyUpdate of the wrong length came"),
            Self::UpdateRequest(value) => {
                write!(out, "a KeyUpdate came whose request_update is {value}")
            }
            Self::BehindUpdate => out.write_str("a record goes on behind a KeyUpdate"),
            Self::Interleaved => {
                out.write_str("another record came amid the parts of a handshake message")
            }
            Self::TooManyIdle => out.write_str("too many records came without any data"),
            Self::TooManyUpdates => out.write_str("too many KeyUpdates came for so little data"),
            Self::Exhausted => out.write_str("too many records came with one key"),
            Self::PeerAlert(alert) => write!(out, "the peer has sent the alert {alert}"),
            Self::Ended => out.write_str("the connection has failed before"),
        }
    }
}

impl core::error::Error for RecordError {}
