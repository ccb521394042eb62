//! Alerts (RFC 8446 section 6).

use core::fmt;

use crate::tls::error::RecordError;

/// An alert with its level, in bytes.
pub const LENGTH: usize = 2;

/// How bad the sender of an alert takes it to be. Section 6: "the severity is implicit in the type
/// of alert being sent, and the "level" field can safely be ignored."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AlertLevel {
    /// The connection ends in good order.
    Warning = 1,
    /// The connection has failed.
    Fatal = 2,
}

/// The description of an alert. Any byte can be held.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

/// Defines the alerts by their codes and the names that the registry has for them.
macro_rules! alerts {
    ($($(#[$doc:meta])* $constant:ident = $code:literal, $name:literal;)*) => {
        impl Alert {
            $($(#[$doc])* pub const $constant: Self = Self($code);)*

            /// All that have a name.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The name that section 6 has for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($code => $name,)*
                    _ => "unknown_alert",
                }
            }
        }
    };
}

alerts! {
    /// The sender will not send any more.
    CLOSE_NOTIFY = 0, "close_notify";
    /// A message that does not fit the state of the connection.
    UNEXPECTED_MESSAGE = 10, "unexpected_message";
    /// A record that cannot be opened.
    BAD_RECORD_MAC = 20, "bad_record_mac";
    /// A record that is too long.
    RECORD_OVERFLOW = 22, "record_overflow";
    /// No parameters that both ends accept.
    HANDSHAKE_FAILURE = 40, "handshake_failure";
    /// A certificate that is corrupt.
    BAD_CERTIFICATE = 42, "bad_certificate";
    /// A certificate of a kind that is not supported.
    UNSUPPORTED_CERTIFICATE = 43, "unsupported_certificate";
    /// A certificate that was revoked.
    CERTIFICATE_REVOKED = 44, "certificate_revoked";
    /// A certificate that is not valid now.
    CERTIFICATE_EXPIRED = 45, "certificate_expired";
    /// A certificate that is not accepted for another reason.
    CERTIFICATE_UNKNOWN = 46, "certificate_unknown";
    /// A field that is out of its range, or contradicts another.
    ILLEGAL_PARAMETER = 47, "illegal_parameter";
    /// Nobody who is trusted has signed the certificate.
    UNKNOWN_CA = 48, "unknown_ca";
    /// A valid certificate whose owner may not go on.
    ACCESS_DENIED = 49, "access_denied";
    /// A message that cannot be read.
    DECODE_ERROR = 50, "decode_error";
    /// A signature or a Finished that is wrong.
    DECRYPT_ERROR = 51, "decrypt_error";
    /// A version of the protocol that is not supported.
    PROTOCOL_VERSION = 70, "protocol_version";
    /// The server wants more security than the client has.
    INSUFFICIENT_SECURITY = 71, "insufficient_security";
    /// Something that the peer is not to blame for.
    INTERNAL_ERROR = 80, "internal_error";
    /// A client that tries again with a lower version than need be.
    INAPPROPRIATE_FALLBACK = 86, "inappropriate_fallback";
    /// The handshake is given up for no fault of the protocol.
    USER_CANCELED = 90, "user_canceled";
    /// An extension that has to be there is missing.
    MISSING_EXTENSION = 109, "missing_extension";
    /// An extension that must not be there.
    UNSUPPORTED_EXTENSION = 110, "unsupported_extension";
    /// No server of that name is here.
    UNRECOGNIZED_NAME = 112, "unrecognized_name";
    /// An OCSP response that is not accepted.
    BAD_CERTIFICATE_STATUS_RESPONSE = 113, "bad_certificate_status_response";
    /// A key that was agreed on outside is not known.
    UNKNOWN_PSK_IDENTITY = 115, "unknown_psk_identity";
    /// A client without a certificate, where one is required.
    CERTIFICATE_REQUIRED = 116, "certificate_required";
    /// No protocol that both ends speak.
    NO_APPLICATION_PROTOCOL = 120, "no_application_protocol";
}

impl Alert {
    /// Reads the content of a record.
    ///
    /// # Errors
    /// It is not one alert.
    pub fn parse(content: &[u8]) -> Result<Self, RecordError> {
        match content {
            // Section 5.4: "Implementations MUST NOT send Handshake and Alert records that have a
            // zero-length TLSInnerPlaintext.content; if such a message is received, the receiving
            // implementation MUST terminate the connection with an "unexpected_message" alert."
            [] => Err(RecordError::EmptyContent),
            [_, description] => Ok(Self(*description)),
            // Section 5.1: "a record with an Alert type MUST contain exactly one message."
            _ => Err(RecordError::MalformedAlert),
        }
    }

    /// The level that goes with it. Section 6.1: close_notify and user_canceled are closure
    /// alerts; section 6: all others "MUST be sent with AlertLevel=fatal".
    #[must_use]
    pub const fn level(self) -> AlertLevel {
        match self {
            Self::CLOSE_NOTIFY | Self::USER_CANCELED => AlertLevel::Warning,
            _ => AlertLevel::Fatal,
        }
    }

    /// The alert as it travels.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; LENGTH] {
        [self.level() as u8, self.0]
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Alert({}, {})", self.0, self.name())
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            name @ "unknown_alert" => write!(out, "{name} {}", self.0),
            name => out.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn construct() {
        assert_eq!(Alert::CLOSE_NOTIFY.to_bytes(), [1, 0]);
        assert_eq!(Alert::USER_CANCELED.to_bytes(), [1, 90]);
        assert_eq!(Alert::BAD_RECORD_MAC.to_bytes(), [2, 20]);
        assert_eq!(Alert::ALL.len(), 27, "those of section 6");
    }

    #[test]
    fn deconstruct() {
        for alert in Alert::ALL {
            assert_eq!(Alert::parse(&alert.to_bytes()), Ok(*alert));
        }
        // Section 6: the level can be ignored.
        assert_eq!(Alert::parse(&[2, 0]), Ok(Alert::CLOSE_NOTIFY));
        assert_eq!(Alert::parse(&[77, 255]), Ok(Alert(255)));
    }

    #[test]
    fn malformed() {
        assert_eq!(Alert::parse(&[]), Err(RecordError::EmptyContent));
        assert_eq!(Alert::parse(&[1]), Err(RecordError::MalformedAlert));
        assert_eq!(Alert::parse(&[1, 0, 1, 0]), Err(RecordError::MalformedAlert));
    }

    #[test]
    fn it_is_called_by_its_name() {
        assert_eq!(Alert::UNKNOWN_CA.to_string(), "unknown_ca");
        assert_eq!(Alert(200).to_string(), "unknown_alert 200");
        assert_eq!(format!("{:?}", Alert(20)), "Alert(20, bad_record_mac)");
    }
}
