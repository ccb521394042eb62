//! Verifying the certificates that clients show.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::super::tickets::TicketEnd;

/// The most certificates that a client may show. Of very small ones thousands would fit its
/// message, and each is kept with some bytes of its own.
const MOST_CERTIFICATES: usize = 16;

/// Verifies as another does, and notes when the first of what it has found right expires: then the
/// client's tickets end, and it has to show another.
#[derive(Debug)]
pub(in super::super) struct NotingVerifier(pub(in super::super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for NotingVerifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() >= MOST_CERTIFICATES {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        let first = intermediates.iter().map(not_after).fold(not_after(end_entity), u64::min);
        TicketEnd::behind(first).note();
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The last second of a certificate's validity, since 1970; the first of all if it cannot be read:
/// then its client shows it each time.
fn not_after(certificate: &CertificateDer<'_>) -> u64 {
    let end = X509Certificate::from_der(certificate)
        .map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp());
    u64::try_from(end).unwrap_or(0)
}
