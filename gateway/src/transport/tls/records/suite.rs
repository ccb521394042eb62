//! The cipher suites of TLS 1.3 (RFC 8446 appendix B.4), and the keys that come of a secret.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey,
};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};

/// What records are sealed with, and which hash makes its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// TLS_AES_128_GCM_SHA256.
    #[default]
    Aes128Gcm,
    /// TLS_AES_256_GCM_SHA384.
    Aes256Gcm,
    /// TLS_CHACHA20_POLY1305_SHA256.
    ChaCha20Poly1305,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// That of this number in the registry; `None` if it is not one of them.
    #[must_use]
    pub const fn of_code(code: u16) -> Option<Self> {
        match code {
            0x1301 => Some(Self::Aes128Gcm),
            0x1302 => Some(Self::Aes256Gcm),
            0x1303 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Its traffic secrets, in bytes.
    #[must_use]
    pub const fn secret_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => 32,
            Self::Aes256Gcm => 48,
        }
    }

    /// Its keys, in bytes.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// A key that seals and opens, which is another 600 bytes: for what is read from memory that
    /// others have used since, making it anew takes less.
    pub(super) fn expand(self, key: &[u8]) -> LessSafeKey {
        let key = UnboundKey::new(self.aead(), key).expect("a key of the suite's length");
        LessSafeKey::new(key)
    }

    /// HKDF-Expand-Label (section 7.1) without a context: fills `out` from `secret`.
    pub(in crate::transport::tls) fn derive(self, secret: &[u8], label: &[u8], out: &mut [u8]) {
        // Section 7.1: "struct { uint16 length; opaque label<7..255> = "tls13 " + Label; opaque
        // context<0..255>; } HkdfLabel;"
        let head = [0, out.len() as u8, PREFIX.len() as u8 + label.len() as u8];
        let info = [&head[..], PREFIX, label, &[0]];
        let secret = Prk::new_less_safe(self.hkdf(), secret);
        let filled = secret.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out));
        filled.expect("no more than a hash is asked for");
    }

    const fn aead(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    const fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => HKDF_SHA256,
            Self::Aes256Gcm => HKDF_SHA384,
        }
    }
}

/// What stands in front of each label.
const PREFIX: &[u8] = b"tls13 ";

/// So many bytes are derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::bytes;
    use super::*;

    /// The server's application traffic secret of RFC 8448 section 3, and what is made of it.
    #[test]
    fn rfc_8448_section_3_keys_come_of_a_secret() {
        let secret = bytes(
            "a1 1a f9 f0 55 31 f8 56 ad 47 11 6b 45 a9 50 32 82 04 b4 f4 4b fb 6b 3a 4b 4f 1f 3f \
            cb 63 16 43",
        );
        let (mut key, mut iv) = ([0; 16], [0; 12]);
        Suite::Aes128Gcm.derive(&secret, b"key", &mut key);
        Suite::Aes128Gcm.derive(&secret, b"iv", &mut iv);
        assert_eq!(key[..], bytes("9f 02 28 3b 6c 9c 07 ef c2 6b b9 f2 ac 92 e3 56"));
        assert_eq!(iv[..], bytes("cf 78 2b 88 dd 83 54 9a ad f1 e9 84"));
    }

    #[test]
    fn the_registry_has_numbers_for_them() {
        let found: Vec<_> = (0..=u16::MAX).filter_map(Suite::of_code).collect();
        assert_eq!(found, Suite::ALL);
    }
}
