//! Versions of TLS and their cipher suites, by name.

use crate::units::quote;

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[default]
    Tls13,
}

/// A cipher suite: each of TLS 1.3, and of TLS 1.2 those that have forward secrecy and an AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// `TLS13_AES_128_GCM_SHA256` (RFC 8446 appendix B.4).
    Tls13Aes128Gcm,
    /// `TLS13_AES_256_GCM_SHA384` (RFC 8446 appendix B.4).
    Tls13Aes256Gcm,
    /// `TLS13_CHACHA20_POLY1305_SHA256` (RFC 8446 appendix B.4).
    Tls13ChaCha20,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` (RFC 5289).
    EcdsaAes128Gcm,
    /// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` (RFC 5289).
    RsaAes128Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384` (RFC 5289).
    EcdsaAes256Gcm,
    /// `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384` (RFC 5289).
    RsaAes256Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256` (RFC 7905).
    EcdsaChaCha20,
    /// `TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256` (RFC 7905).
    RsaChaCha20,
}

impl TlsVersion {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err(format!("must be `1.3` or `1.2`, is {}", quote(text))),
        }
    }
}

impl CipherSuite {
    /// All of them, in the order in which they are preferred by default.
    pub const ALL: [Self; 9] = [
        Self::Tls13Aes128Gcm,
        Self::Tls13Aes256Gcm,
        Self::Tls13ChaCha20,
        Self::EcdsaAes128Gcm,
        Self::RsaAes128Gcm,
        Self::EcdsaAes256Gcm,
        Self::RsaAes256Gcm,
        Self::EcdsaChaCha20,
        Self::RsaChaCha20,
    ];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// The version of TLS that it belongs to.
    #[must_use]
    pub const fn version(self) -> TlsVersion {
        match self {
            Self::Tls13Aes128Gcm | Self::Tls13Aes256Gcm | Self::Tls13ChaCha20 => TlsVersion::Tls13,
            Self::EcdsaAes128Gcm
            | Self::RsaAes128Gcm
            | Self::EcdsaAes256Gcm
            | Self::RsaAes256Gcm
            | Self::EcdsaChaCha20
            | Self::RsaChaCha20 => TlsVersion::Tls12,
        }
    }

    /// Those that there are where `least` is spoken and what is above it.
    #[must_use]
    pub fn defaults(least: TlsVersion) -> Vec<Self> {
        Self::ALL.into_iter().filter(|suite| suite.version() >= least).collect()
    }

    /// As it is written, and as OpenSSL has it, which of TLS 1.3 is as IANA has it too.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Tls13Aes128Gcm => ("TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
            Self::Tls13Aes256Gcm => ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            Self::Tls13ChaCha20 => {
                ("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256")
            }
            Self::EcdsaAes128Gcm => {
                ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256")
            }
            Self::RsaAes128Gcm => {
                ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256")
            }
            Self::EcdsaAes256Gcm => {
                ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384")
            }
            Self::RsaAes256Gcm => {
                ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384")
            }
            Self::EcdsaChaCha20 => {
                ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305")
            }
            Self::RsaChaCha20 => {
                ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305")
            }
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let is_its = |suite: &Self| {
            let (name, other) = suite.names();
            text == name || text == other
        };
        Self::ALL.into_iter().find(is_its).ok_or_else(|| {
            let all = Self::ALL.map(|suite| format!("`{}`", suite.name())).join(", ");
            format!("has {}, which is not a cipher suite: those are {all}", quote(text))
        })
    }
}

/// Reads cipher suites, joined by commas, for `least` and what is above it.
pub(super) fn read_all(text: &str, least: TlsVersion) -> Result<Vec<CipherSuite>, String> {
    let suites = text.split(',').map(CipherSuite::read).collect::<Result<Vec<_>, _>>()?;
    check_all(&suites, least).map(|()| suites)
}

/// Checks that each is there once and can be spoken, and that TLS 1.3 has one.
pub(super) fn check_all(suites: &[CipherSuite], least: TlsVersion) -> Result<(), String> {
    for (index, suite) in suites.iter().enumerate() {
        let name = suite.name();
        if suites[..index].contains(suite) {
            return Err(format!("has {name} twice: keep one"));
        }
        if suite.version() < least {
            return Err(format!(
                "has {name}, which is of TLS 1.2, and that is not spoken: remove it, or write \
                 `min=1.2`"
            ));
        }
    }
    let is_new = |suite: &CipherSuite| suite.version() == TlsVersion::Tls13;
    match suites.iter().any(is_new) {
        true => Ok(()),
        false => Err(format!(
            "has no suite of TLS 1.3, which is always spoken: add one, such as {}",
            CipherSuite::ALL[0].name()
        )),
    }
}
