//! The certificate that a client has shown.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::held::fingerprint;
use super::names::{
    LONGEST_NAMES, LONGEST_SUBJECT, MOST_NAMES, ToldNames, all, hexadecimal, subject,
};

/// The bytes of a serial number that are told (RFC 5280, 4.1.2.2: "up to 20 octets").
const LONGEST_SERIAL: usize = 32;

/// A digest in hexadecimal digits.
const FINGERPRINT: usize = 64;

/// Who a client is by its certificate, which an authority of the listener has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject's name in one line, at most 512 bytes.
    pub subject: String,
    /// The subject's other names: domains, addresses, URIs, mail; at most 16 of at most 255 bytes,
    /// and 1024 bytes of them together. What is more is left out.
    pub names: Vec<String>,
    /// How many other names it has that were left out: there are more, they are longer, or of
    /// another kind.
    pub names_left_out: u32,
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint_sha256: String,
}

impl PeerCertificate {
    /// The most bytes that one holds.
    pub(crate) const BYTES: usize = size_of::<Self>()
        + LONGEST_SUBJECT
        + LONGEST_NAMES
        + MOST_NAMES * size_of::<String>()
        + 2 * LONGEST_SERIAL
        + FINGERPRINT;

    /// The bytes that this one holds.
    pub(crate) fn held(&self) -> u64 {
        let Self { subject, names, names_left_out: _, serial, fingerprint_sha256 } = self;
        let texts = names.iter().chain([subject, serial, fingerprint_sha256]);
        let texts: usize = texts.map(String::capacity).sum();
        (size_of::<Self>() + texts + names.capacity() * size_of::<String>()) as u64
    }

    /// What a client's certificate says, which is the first of its chain; `None` if it has shown
    /// none.
    #[must_use]
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let first = chain.first()?;
        let fingerprint_sha256 = fingerprint(first);
        Some(match X509Certificate::from_der(first) {
            Ok((_, certificate)) => {
                let serial = certificate.raw_serial();
                let ToldNames { names, left_out } = all(&certificate);
                Self {
                    subject: subject(&certificate),
                    names,
                    names_left_out: left_out,
                    serial: hexadecimal(&serial[..serial.len().min(LONGEST_SERIAL)]),
                    fingerprint_sha256,
                }
            }
            // It was verified, so what is odd about it is something else: it has no names.
            Err(_) => Self {
                subject: String::new(),
                names: Vec::new(),
                names_left_out: 0,
                serial: String::new(),
                fingerprint_sha256,
            },
        })
    }
}
