//! Certificates and keys as files have them: PEM (RFC 7468), within bounds.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// No file is read that has more bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// A chain has no more bytes: peers refuse it (RFC 8446, 4.4.2, and what rustls reads).
const LARGEST_CHAIN: usize = 60 << 10;

/// A file that cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongFile {
    /// Its name, as it is configured.
    pub file: PathBuf,
    /// What is wrong with it; it follows the file's name.
    pub what: String,
}

impl WrongFile {
    pub(in super::super) fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.into() }
    }
}

impl fmt::Display for WrongFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file.display(), self.what)
    }
}

impl std::error::Error for WrongFile {}

/// The bytes of a file, wiped when they are dropped.
pub(in super::super) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, WrongFile> {
    let wrong = |what: &str| WrongFile::new(file, what);
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => wrong("is not there: correct the name, or put the file there"),
        ErrorKind::PermissionDenied => {
            wrong("may not be read: let the gateway's user read it, and its folders be searched")
        }
        _ => wrong(&format!("cannot be read: {error}")),
    };
    let about = fs::metadata(file).map_err(failed)?;
    if about.is_dir() {
        return Err(wrong("is a directory: name the file in it"));
    }
    if !about.is_file() {
        // Opening a named pipe would wait for its other end.
        return Err(wrong("is not a file, but a device, a pipe or a socket"));
    }
    let most = usize::try_from(about.len().min(LARGEST_FILE) + 1).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    let source = File::open(file).map_err(failed)?;
    source.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 {
        0 => Err(wrong("is empty")),
        length if length > LARGEST_FILE => Err(wrong("has more than 1 MiB: it is another file")),
        _ => Ok(bytes),
    }
}

/// Whether all users of the machine may read a file (stat(2)); not if that cannot be known.
pub(in super::super) fn may_be_read_by_all(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
}

/// The certificates of a file, in its order.
pub(in super::super) fn certificates(
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, WrongFile> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| broken(file, &error))?;
    if found.is_empty() {
        return Err(WrongFile::new(file, format!("has no certificate in it: {}", instead(&bytes))));
    }
    Ok(found)
}

/// A chain: as [`certificates`], but not more than a handshake may have.
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, WrongFile> {
    let chain = certificates(file)?;
    let length: usize = chain.iter().map(|one| one.len()).sum();
    if length > LARGEST_CHAIN {
        let what = format!(
            "has {} certificates of {length} bytes, more than clients take: leave the gateway's \
             own, and those between it and its authority",
            chain.len(),
        );
        return Err(WrongFile::new(file, what));
    }
    Ok(chain)
}

/// The first private key of a file.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, WrongFile> {
    let bytes = read(file)?;
    let has = |text: &[u8]| bytes.windows(text.len()).any(|one| one == text);
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        let what = "has a key that is encrypted, and nobody can be asked for its password: \
                    decrypt it with `openssl pkey -in FILE -out NEW`, and let only the gateway's \
                    user read that";
        return Err(WrongFile::new(file, what));
    }
    match PrivateKeyDer::pem_slice_iter(&bytes).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(broken(file, &error)),
        None => Err(WrongFile::new(file, format!("has no private key in it: {}", instead(&bytes)))),
    }
}

/// What is broken of a file. Nothing of its content is told: that may be a key, and goes to logs.
fn broken(file: &Path, error: &pem::Error) -> WrongFile {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no line `-----END …-----`",
        pem::Error::IllegalSectionStart { .. } => "a line `-----BEGIN …-----` is cut, or not alone",
        pem::Error::Base64Decode(_) => "what is between `BEGIN` and `END` is not Base64",
        _ => "it cannot be read",
    };
    let advice = "write it anew, with line breaks as they were";
    WrongFile::new(file, format!("is broken PEM: {what}; {advice}"))
}

/// What a file seems to have instead of what was looked for.
fn instead(bytes: &[u8]) -> &'static str {
    let has = |text: &[u8]| bytes.windows(text.len()).any(|one| one == text);
    match bytes {
        // A sequence of ASN.1 with a length of two bytes.
        [0x30, 0x82, ..] => "it seems to be DER, and has to be PEM: convert it with openssl",
        _ if has(b"PRIVATE KEY-----") => "it has a private key; are `cert` and `key` exchanged?",
        _ if has(b"BEGIN CERTIFICATE REQUEST") => "it has a request for a certificate",
        _ if has(b"BEGIN CERTIFICATE") => "it has a certificate; are `cert` and `key` exchanged?",
        _ => "it has to be PEM, with a line `-----BEGIN …-----`",
    }
}
