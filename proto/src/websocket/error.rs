//! What a peer can do wrong once the connection is open, and the close code that answers it.

use core::fmt;

use crate::websocket::code::CloseCode;

/// A violation by the peer. It ends the connection with [`ProtocolError::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set and no extension that gives it a meaning was agreed on.
    ReservedBit,
    /// RSV1 on a control frame or on a continuation (RFC 7692 section 6.1).
    CompressedBitMisplaced,
    /// An opcode that RFC 6455 reserves.
    ReservedOpCode(u8),
    /// A client sent a frame without a masking key.
    Unmasked,
    /// A server sent a frame with a masking key.
    Masked,
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    OversizedControl,
    /// A length written in more bytes than it needs.
    NonMinimalLength,
    /// A 64-bit length whose top bit is set.
    LengthTopBit,
    /// A continuation while no message is in progress.
    UnexpectedContinuation,
    /// A new data frame while a fragmented message is in progress.
    ExpectedContinuation,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A Close frame whose body is one byte.
    CloseBodyOfOneByte,
    /// A Close frame whose code may not travel.
    InvalidCloseCode(CloseCode),
    /// A Close frame whose reason is not UTF-8.
    InvalidUtf8InCloseReason,
    /// A message longer than the limit, compressed or not.
    MessageTooBig,
    /// Compressed data that is no deflate stream.
    InvalidDeflate,
}

impl ProtocolError {
    /// The code that fails the connection (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::InvalidUtf8InCloseReason | Self::InvalidDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::ReservedBit
            | Self::CompressedBitMisplaced
            | Self::ReservedOpCode(_)
            | Self::Unmasked
            | Self::Masked
            | Self::FragmentedControl
            | Self::OversizedControl
            | Self::NonMinimalLength
            | Self::LengthTopBit
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::CloseBodyOfOneByte
            | Self::InvalidCloseCode(_) => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The reason that stands in the Close frame: what was wrong, in words for whoever debugs the
    /// peer.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ReservedBit => "a reserved bit is set without an extension",
            Self::CompressedBitMisplaced => "RSV1 on a frame that starts no message",
            Self::ReservedOpCode(_) => "a reserved opcode",
            Self::Unmasked => "a client's frame must be masked",
            Self::Masked => "a server's frame must not be masked",
            Self::FragmentedControl => "a control frame must not be fragmented",
            Self::OversizedControl => "a control frame carries at most 125 bytes",
            Self::NonMinimalLength => "the length must take the fewest bytes",
            Self::LengthTopBit => "the top bit of a 64-bit length must be 0",
            Self::UnexpectedContinuation => "a continuation without a message to continue",
            Self::ExpectedContinuation => "a new message inside a fragmented one",
            Self::InvalidUtf8 => "the text is not UTF-8",
            Self::CloseBodyOfOneByte => "a close body of one byte",
            Self::InvalidCloseCode(_) => "a close code that may not be sent",
            Self::InvalidUtf8InCloseReason => "the close reason is not UTF-8",
            Self::MessageTooBig => "the message is over the limit",
            Self::InvalidDeflate => "the compressed data is invalid",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedOpCode(code) => write!(out, "a reserved opcode ({code:#x})"),
            Self::InvalidCloseCode(code) => {
                write!(out, "a close code that may not be sent ({code})")
            }
            other => out.write_str(other.reason()),
        }
    }
}

impl core::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_code() {
        assert_eq!(ProtocolError::Unmasked.close_code(), CloseCode::PROTOCOL_ERROR);
        assert_eq!(ProtocolError::InvalidUtf8.close_code(), CloseCode::INVALID_PAYLOAD);
        assert_eq!(ProtocolError::MessageTooBig.close_code(), CloseCode::MESSAGE_TOO_BIG);
    }

    #[test]
    fn the_message_names_the_value() {
        assert_eq!(ProtocolError::ReservedOpCode(3).to_string(), "a reserved opcode (0x3)");
    }
}
