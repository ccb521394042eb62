//! A certificate with its key: read, and checked for what would not work with any client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::names::{domains, hexadecimal};
use super::pem::{self, WrongFile};

/// A certificate that has so many days left is told of.
const FEW_DAYS: u64 = 14;
const DAY: u64 = 24 * 60 * 60;

/// What is told of a certificate that the gateway shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its file, as it is configured.
    pub file: PathBuf,
    /// The names that are answered with it, in lower case.
    pub names: Vec<String>,
    /// When it expires, in seconds since 1970.
    pub not_after: u64,
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
    /// What may be a mistake.
    pub doubts: Vec<String>,
}

impl CertificateFacts {
    /// Days until it expires, below 0 once it has.
    #[must_use]
    pub fn days_left(&self, now: UnixTime) -> i64 {
        let [end, now] = [self.not_after, now.as_secs()].map(u64::cast_signed);
        end.saturating_sub(now).div_euclid(DAY.cast_signed())
    }
}

/// A certificate with its key, and what is told of it.
#[derive(Clone, Debug)]
pub(in super::super) struct HeldCertificate {
    pub(in super::super) key: Arc<CertifiedKey>,
    pub(in super::super) facts: CertificateFacts,
}

impl HeldCertificate {
    /// Reads a chain and the key of its first. It is for these names, or for its own if there are
    /// none.
    ///
    /// # Errors
    /// No client could be shown it.
    pub(in super::super) fn read(
        cert: &Path,
        key_file: &Path,
        names: &[String],
        now: UnixTime,
    ) -> Result<Self, WrongFile> {
        let chain = pem::chain(cert)?;
        let key = pem::key(key_file)?;
        let key = any_supported_type(&key).map_err(|_| {
            let what = "has a key that is not supported: RSA of 2048 to 8192 bits, ECDSA on \
                        P-256, P-384 or P-521, and Ed25519 are";
            WrongFile::new(key_file, what)
        })?;
        let held = Arc::new(CertifiedKey::new(chain, key));
        check_key(&held, cert, key_file)?;
        let (_, leaf) = X509Certificate::from_der(&held.cert[0])
            .map_err(|error| WrongFile::new(cert, format!("has a broken certificate: {error}")))?;
        let not_after = check_times(&leaf, cert, now)?;
        let own = domains(&leaf);
        let mut doubts = doubts(&own, names);
        let left = (not_after - now.as_secs()) / DAY;
        if left < FEW_DAYS {
            doubts.push(format!("it expires in {left} days"));
        }
        doubts.extend(doubt_of_readers(key_file));
        let names = if names.is_empty() { own } else { names.to_vec() };
        let fingerprint = fingerprint(&held.cert[0]);
        let facts =
            CertificateFacts { file: cert.to_owned(), names, not_after, fingerprint, doubts };
        Ok(Self { key: held, facts })
    }
}

/// Checks that the key is that of the first certificate.
fn check_key(held: &CertifiedKey, cert: &Path, key_file: &Path) -> Result<(), WrongFile> {
    let matches = |at: usize| {
        let one = CertifiedKey::new(held.cert[at..].to_vec(), Arc::clone(&held.key));
        one.keys_match()
    };
    let error = match matches(0) {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => return Ok(()),
        Err(error) => error,
    };
    if !matches!(error, Error::InconsistentKeys(_)) {
        return Err(WrongFile::new(cert, format!("has a broken certificate: {error}")));
    }
    let what = if (1..held.cert.len()).any(|at| matches(at).is_ok()) {
        "has the certificate of the key behind others: put it in front of them".to_owned()
    } else {
        format!("is not the certificate of the key in {}", key_file.display())
    };
    Err(WrongFile::new(cert, what))
}

/// Checks that a certificate is valid now; returns when it expires, in seconds since 1970.
fn check_times(leaf: &X509Certificate<'_>, cert: &Path, now: UnixTime) -> Result<u64, WrongFile> {
    let (from, to) = (leaf.validity().not_before, leaf.validity().not_after);
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    if now.as_secs() < seconds(from.timestamp()) {
        let what =
            format!("has a certificate that is not valid before {from}: is the clock right?");
        return Err(WrongFile::new(cert, what));
    }
    if now.as_secs() >= seconds(to.timestamp()) {
        let what = format!("has a certificate that has expired ({to}): have it renewed");
        return Err(WrongFile::new(cert, what));
    }
    Ok(seconds(to.timestamp()))
}

/// What may be a mistake about names: those that it is for, and those that it has.
fn doubts(own: &[String], names: &[String]) -> Vec<String> {
    if own.is_empty() && names.is_empty() {
        return vec!["it has no names: it is shown only where no other is".to_owned()];
    }
    let is_covered = |name: &str| own.iter().any(|pattern| covers(pattern, name));
    let others = names.iter().filter(|name| !is_covered(name));
    others.map(|name| format!("it does not have the name {name}: clients refuse it")).collect()
}

/// Whether a name of a certificate stands for a domain, or for all that a configured one does.
fn covers(pattern: &str, name: &str) -> bool {
    if pattern == name {
        return true;
    }
    // RFC 9525, 6.3: a wildcard is the whole of the left-most label, and stands for one.
    let rest = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    pattern.strip_prefix("*.").is_some_and(|suffix| rest(name).is_some_and(|rest| rest == suffix))
}

/// That all users of the machine may read a key.
fn doubt_of_readers(key_file: &Path) -> Option<String> {
    let what = || format!("all users may read its key: chmod o-r {}", key_file.display());
    pem::may_be_read_by_all(key_file).then(what)
}

/// SHA-256 of a certificate, in hexadecimal digits.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hexadecimal(digest(&SHA256, certificate).as_ref())
}
