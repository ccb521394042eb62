//! Secrets on their way out of rustls: it hands them to a [`KeyLog`], in the call that works on
//! what came in.

use std::cell::RefCell;

use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, KeyLog};
use zeroize::{Zeroize, Zeroizing};

use super::records::Suite;

/// The secret of SHA-384, which is the longest.
const LONGEST: usize = 48;

/// What a client's and a server's secrets for application data are called (NSS key log format).
const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

thread_local! {
    static CAPTURED: RefCell<TrafficSecrets> = const { RefCell::new(TrafficSecrets::NONE) };
}

/// An application traffic secret (RFC 8446, 7.1), wiped when it is dropped.
pub struct TrafficSecret {
    bytes: [u8; LONGEST],
    length: u8,
}

impl TrafficSecret {
    const NONE: Self = Self { bytes: [0; LONGEST], length: 0 };

    /// Its bytes: 32 of a suite with SHA-256, 48 of one with SHA-384; none before it is known.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn set(&mut self, secret: &[u8]) {
        self.wipe();
        // No hash of TLS 1.3 is longer; what is would be no secret of it.
        if let Some(place) = self.bytes.get_mut(..secret.len()) {
            place.copy_from_slice(secret);
            self.length = u8::try_from(secret.len()).unwrap_or(0);
        }
    }

    fn wipe(&mut self) {
        self.bytes.zeroize();
        self.length = 0;
    }
}

impl Drop for TrafficSecret {
    fn drop(&mut self) {
        self.wipe();
    }
}

// No secret gets into a log.
impl std::fmt::Debug for TrafficSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrafficSecret({} bytes)", self.length)
    }
}

/// The secrets of both directions.
#[derive(Debug)]
pub struct TrafficSecrets {
    /// Of what the client seals.
    pub client: TrafficSecret,
    /// Of what the server seals.
    pub server: TrafficSecret,
}

impl TrafficSecrets {
    pub(super) const NONE: Self = Self { client: TrafficSecret::NONE, server: TrafficSecret::NONE };

    /// Whether both are known.
    pub(super) fn are_known(&self) -> bool {
        self.client.length > 0 && self.server.length > 0
    }

    /// Whether keys that rustls has derived are derived from these.
    pub(super) fn are_those_of(&self, extracted: &ExtractedSecrets) -> bool {
        let is_of = |secret: &TrafficSecret, keys: &ConnectionTrafficSecrets| {
            let (suite, key, iv) = match keys {
                ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
                ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
                ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                    (Suite::ChaCha20Poly1305, key, iv)
                }
                _ => return false,
            };
            let is_derived = |label: &[u8], expected: &[u8]| {
                let mut made = Zeroizing::new(vec![0; expected.len()]);
                suite.derive(secret.as_bytes(), label, &mut made);
                *made == expected
            };
            is_derived(b"key", key.as_ref()) && is_derived(b"iv", iv.as_ref())
        };
        is_of(&self.client, &extracted.rx.1) && is_of(&self.server, &extracted.tx.1)
    }

    fn wipe(&mut self) {
        self.client.wipe();
        self.server.wipe();
    }
}

/// Keeps application traffic secrets for who has called rustls, on the same thread; nothing else,
/// and for nobody else.
#[derive(Debug)]
pub(super) struct Capture;

impl Capture {
    /// Takes the secrets that rustls has come to know in `work`, if it has.
    pub(super) fn during<T>(secrets: &mut TrafficSecrets, work: impl FnOnce() -> T) -> T {
        let done = work();
        CAPTURED.with_borrow_mut(|captured| {
            if captured.are_known() {
                secrets.client.set(captured.client.as_bytes());
                secrets.server.set(captured.server.as_bytes());
            }
            captured.wipe();
        });
        done
    }
}

impl KeyLog for Capture {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        CAPTURED.with_borrow_mut(|captured| match label {
            CLIENT => captured.client.set(secret),
            SERVER => captured.server.set(secret),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}
