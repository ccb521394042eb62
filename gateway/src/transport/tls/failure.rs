//! Why handshakes fail, in words that counters and logs have.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible, PeerMisbehaved};

named! {
    /// Why a handshake has failed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum HandshakeFailure {
        /// A request by HTTP came in plain: the client was told with 400.
        PlainHttp = "plain_http",
        /// The hello was that of SSL 2.0.
        Sslv2 = "sslv2",
        /// What came is not TLS.
        NotTls = "not_tls",
        /// A message was larger than the listener takes.
        Oversized = "oversized_hello",
        /// A handshake came in more records than any honest client sends.
        TooManyRecords = "too_many_records",
        /// The client has no version in common with the listener.
        NoSharedVersion = "no_shared_version",
        /// The client has no suite in common with the listener.
        NoSharedCipher = "no_shared_cipher",
        /// The client has no group for the key exchange in common with the listener.
        NoSharedGroup = "no_shared_group",
        /// The client takes no signature that the certificate's key can make.
        NoSharedSignature = "no_shared_signature",
        /// The client wants protocols by ALPN, of which the listener speaks none.
        NoApplicationProtocol = "no_application_protocol",
        /// No certificate could be chosen.
        NoServerCertificate = "no_server_certificate",
        /// The client's hello lacks something else that this gateway needs.
        Incompatible = "incompatible",
        /// The client has sent no certificate, and has to.
        CertificateRequired = "certificate_required",
        /// The client's certificate is of no authority that the listener trusts.
        UnknownCa = "unknown_ca",
        /// The client's certificate has expired.
        CertificateExpired = "certificate_expired",
        /// The client's certificate is not valid yet.
        CertificateNotYetValid = "certificate_not_yet_valid",
        /// The client's certificate is wrong in another way.
        BadCertificate = "bad_certificate",
        /// The client does not trust the gateway's certificate.
        PeerRefusedCertificate = "peer_refused_certificate",
        /// The client has sent another alert.
        PeerAlert = "peer_alert",
        /// The client has given up, in words of TLS.
        PeerClosed = "peer_closed",
        /// A record, or what closes the handshake, was not made with the keys that were agreed on.
        BadRecord = "bad_record",
        /// A message is not what the protocol says messages are.
        Malformed = "malformed",
        /// A message came that may not come then.
        Unexpected = "unexpected_message",
        /// The client breaks a rule of the protocol.
        Misbehaved = "misbehaved",
        /// It is the gateway's own fault.
        Internal = "internal",
    }
}

impl HandshakeFailure {
    /// What an error of rustls is.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                Self::Unexpected
            }
            Error::InvalidMessage(_) => Self::Malformed,
            Error::NoCertificatesPresented => Self::CertificateRequired,
            Error::DecryptError => Self::BadRecord,
            Error::PeerIncompatible(what) => Self::of_incompatible(what),
            Error::PeerMisbehaved(what) => Self::of_misbehaved(what),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::PeerSentOversizedRecord => Self::Oversized,
            Error::NoApplicationProtocol => Self::NoApplicationProtocol,
            // Only what chooses a certificate is answered so, of what happens here.
            Error::General(text) if text.contains("no server certificate") => {
                Self::NoServerCertificate
            }
            _ => Self::Internal,
        }
    }

    fn of_incompatible(what: &PeerIncompatible) -> Self {
        match what {
            PeerIncompatible::NoCipherSuitesInCommon => Self::NoSharedCipher,
            PeerIncompatible::NoKxGroupsInCommon => Self::NoSharedGroup,
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
                Self::NoSharedSignature
            }
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => Self::NoSharedVersion,
            _ => Self::Incompatible,
        }
    }

    fn of_misbehaved(what: &PeerMisbehaved) -> Self {
        match what {
            PeerMisbehaved::TooManyEmptyFragments => Self::TooManyRecords,
            _ => Self::Misbehaved,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => Self::PeerClosed,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA => Self::PeerRefusedCertificate,
            _ => Self::PeerAlert,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::CertificateExpired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::CertificateNotYetValid
            }
            CertificateError::UnknownIssuer => Self::UnknownCa,
            _ => Self::BadCertificate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_labels_and_differ() {
        let mut names: Vec<_> = HandshakeFailure::ALL.iter().map(|one| one.name()).collect();
        let is_label =
            |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b"_2".contains(&b));
        assert!(names.iter().all(is_label), "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HandshakeFailure::ALL.len());
        for (at, failure) in HandshakeFailure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, at);
        }
    }
}
