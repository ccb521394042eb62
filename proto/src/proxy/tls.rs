//! What a proxy says of the TLS between the client and itself (section 2.2.6).

use super::ProxyMistake;
use super::tlv::{TLS, Tlvs};

/// The client connected over TLS.
const OVER_TLS: u8 = 0x01;
/// The client has shown a certificate on this connection.
const CERTIFICATE_NOW: u8 = 0x02;
/// The client has shown one in the session that this connection belongs to.
const CERTIFICATE_BEFORE: u8 = 0x04;

const VERSION: u8 = 0x21;
const COMMON_NAME: u8 = 0x22;
const CIPHER: u8 = 0x23;
const SIGNATURE_ALGORITHM: u8 = 0x24;
const KEY_ALGORITHM: u8 = 0x25;

/// What TLS was between the client and the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxiedTls<'a> {
    client: u8,
    /// What came of checking the client's certificate: 0 if it was good. There need not have been
    /// one for that ([`is_verified`](ProxiedTls::is_verified)).
    pub verify: u32,
    tlvs: Tlvs<'a>,
}

impl<'a> ProxiedTls<'a> {
    /// Takes a value apart that [`check`](ProxiedTls::check) has passed.
    pub(super) fn new(value: &'a [u8]) -> Option<Self> {
        let (head, tlvs) = value.split_first_chunk::<5>()?;
        let [client, verify @ ..] = *head;
        Some(Self { client, verify: u32::from_be_bytes(verify), tlvs: Tlvs(tlvs) })
    }

    /// Whether `value` is what its type has.
    pub(super) fn check(value: &'a [u8]) -> Result<(), ProxyMistake> {
        let Self { tlvs, .. } = Self::new(value).ok_or(ProxyMistake::TlvValue(TLS))?;
        tlvs.check(|tlv, _| match tlv.number {
            VERSION | CIPHER | SIGNATURE_ALGORITHM | KEY_ALGORITHM => {
                tlv.known_if(tlv.value.is_ascii())
            }
            COMMON_NAME => tlv.known_if(core::str::from_utf8(tlv.value).is_ok()),
            _ => Ok(false),
        })
    }

    /// Whether the client connected over TLS at all.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.client & OVER_TLS != 0
    }

    /// Whether the client has shown a certificate, on this connection or before in its session.
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.client & (CERTIFICATE_NOW | CERTIFICATE_BEFORE) != 0
    }

    /// Whether the certificate was shown on this connection.
    #[must_use]
    pub const fn has_shown_certificate(&self) -> bool {
        self.client & CERTIFICATE_NOW != 0
    }

    /// Whether the client has shown a certificate, and the proxy found it good.
    ///
    /// "The verify field will be zero if the client presented a certificate and it was successfully
    /// verified, and non-zero otherwise", yet HAProxy sends zero also where no certificate was
    /// asked for.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.has_certificate() && self.verify == 0
    }

    /// The version, such as `TLSv1.3`, in ASCII.
    #[must_use]
    pub fn version(&self) -> Option<&'a str> {
        self.tlvs.text(VERSION)
    }

    /// The common name in the client's certificate. Unless that [is verified](Self::is_verified),
    /// the client chose it.
    #[must_use]
    pub fn common_name(&self) -> Option<&'a str> {
        self.tlvs.text(COMMON_NAME)
    }

    /// The cipher, such as `ECDHE-RSA-AES128-GCM-SHA256`, in ASCII.
    #[must_use]
    pub fn cipher(&self) -> Option<&'a str> {
        self.tlvs.text(CIPHER)
    }

    /// By what the proxy's certificate was signed, such as `RSA-SHA256`, in ASCII.
    #[must_use]
    pub fn signature_algorithm(&self) -> Option<&'a str> {
        self.tlvs.text(SIGNATURE_ALGORITHM)
    }

    /// Of what kind the key of the proxy's certificate is, such as `RSA2048`, in ASCII.
    #[must_use]
    pub fn key_algorithm(&self) -> Option<&'a str> {
        self.tlvs.text(KEY_ALGORITHM)
    }

    /// All that is said of it, in the order in which it was sent.
    #[must_use]
    pub fn tlvs(&self) -> Tlvs<'a> {
        self.tlvs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"\x05\0\0\0\0\
        \x21\0\x07TLSv1.3\x22\0\x04J\xc3\xb6e\x23\0\x03AES\x24\0\x0aRSA-SHA256\x25\0\x02EC\
        \x26\0\x06x25519";

    #[test]
    fn section_2_2_6_all_of_it() {
        assert_eq!(ProxiedTls::check(VALUE), Ok(()));
        let tls = ProxiedTls::new(VALUE).unwrap();
        assert!(tls.is_there() && tls.has_certificate() && !tls.has_shown_certificate());
        assert!(tls.is_verified());
        assert_eq!((tls.version(), tls.common_name()), (Some("TLSv1.3"), Some("Jöe")));
        assert_eq!((tls.cipher(), tls.key_algorithm()), (Some("AES"), Some("EC")));
        assert_eq!(tls.signature_algorithm(), Some("RSA-SHA256"));
        assert_eq!(tls.tlvs().count(), 6, "also what has no method");
    }

    #[test]
    fn nobody_is_verified_without_a_certificate() {
        for (value, expected) in [
            (b"\x01\0\0\0\0", false),
            (b"\x03\0\0\0\0", true),
            (b"\x05\0\0\0\0", true),
            (b"\x07\0\0\0\x14", false),
            (b"\x07\x80\0\0\0", false),
        ] {
            let tls = ProxiedTls::new(value).unwrap();
            assert_eq!(tls.is_verified(), expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_malformed() {
        for end in 0..5 {
            let mistake = Err(ProxyMistake::TlvValue(TLS));
            assert_eq!(ProxiedTls::check(&VALUE[..end]), mistake, "{end}");
        }
        assert_eq!(ProxiedTls::check(&VALUE[..5]), Ok(()));
        assert_eq!(ProxiedTls::check(&VALUE[..6]), Err(ProxyMistake::TlvLength));
        for (tlvs, mistake) in [
            (&b"\x21\0\x02\xc3\xb6"[..], ProxyMistake::TlvValue(VERSION)),
            (b"\x22\0\x01\xff", ProxyMistake::TlvValue(COMMON_NAME)),
            (b"\x22\0\x01a\x22\0\x01b", ProxyMistake::TlvTwice(COMMON_NAME)),
        ] {
            let value = [&b"\x01\0\0\0\0"[..], tlvs].concat();
            assert_eq!(ProxiedTls::check(&value), Err(mistake), "{tlvs:?}");
        }
    }
}
