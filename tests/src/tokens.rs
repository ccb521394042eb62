//! An issuer of tokens in tests, with files of its keys that a gateway reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An issuer with a key of its own and a secret that it shares. Its folder goes with it.
pub struct TokenIssuer {
    folder: PathBuf,
    pair: KeyPair,
    key: EncodingKey,
    secret: String,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// By ES256, which shards have others verify.
    ByKey,
    /// By HS256, which they verify themselves.
    BySecret,
}

impl TokenIssuer {
    /// A new one.
    ///
    /// # Panics
    /// No file can be written.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("tidegate-issuer-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let secret =
            format!("a secret of many bytes for process {}-{number}", pair.public_key_pem());
        fs::write(folder.join("key.pem"), pair.public_key_pem()).expect("a file");
        fs::write(folder.join("secret"), &secret).expect("a file");
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { folder, pair, key, secret }
    }

    /// Its public key as a JSON Web Key of this name.
    ///
    /// # Panics
    /// It is no key of P-256.
    #[must_use]
    pub fn jwk(&self, id: &str) -> Value {
        // Behind the byte that says that it is not compressed.
        let point = self.pair.public_key_raw().last_chunk::<64>().expect("a point");
        let [x, y] = [&point[..32], &point[32..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "use": "sig"})
    }

    /// A token with these claims that is signed with its key, which it calls so.
    ///
    /// # Panics
    /// It cannot be signed.
    #[must_use]
    pub fn sign_as(&self, id: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(id.into());
        encode(&header, claims, &self.key).expect("it is signed")
    }

    /// The file of its public key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// A `[[jwt]]` of this issuer, with more lines.
    #[must_use]
    pub fn config(&self, more: &str) -> String {
        let Self { folder, .. } = self;
        let name = |file: &str| Path::join(folder, file).display().to_string();
        format!(
            "[[jwt]]\nkeys = [{:?}]\nsecrets = [{:?}]\n{more}\n",
            name("key.pem"),
            name("secret")
        )
    }

    /// A token with these claims.
    ///
    /// # Panics
    /// It cannot be signed.
    #[must_use]
    pub fn sign(&self, how: Signed, claims: &Value) -> String {
        let signed = match how {
            Signed::ByKey => encode(&Header::new(Algorithm::ES256), claims, &self.key),
            Signed::BySecret => {
                let secret = self.secret.trim_end_matches('\n');
                let key = EncodingKey::from_secret(secret.as_bytes());
                encode(&Header::new(Algorithm::HS256), claims, &key)
            }
        };
        signed.expect("it is signed")
    }

    /// A token of this user that is good for an hour.
    #[must_use]
    pub fn token(&self, how: Signed, user: &str) -> String {
        self.sign(how, &json!({"sub": user, "exp": now() + 3600}))
    }
}

impl Default for TokenIssuer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TokenIssuer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Seconds since 1970.
///
/// # Panics
/// The clock is before that.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs()
}

/// This many seconds since 1970, as the gateway tells times.
///
/// # Panics
/// They are too many.
#[must_use]
pub fn iso8601(seconds: u64) -> String {
    let at =
        i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let text = at.expect("a moment").format(&Rfc3339).expect("it is written");
    text.replace('Z', ".000Z")
}
