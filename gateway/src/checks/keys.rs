//! The keys of an issuer, from the files that have them.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::config::{Jwt, JwtAlgorithm};

/// The longest file of keys, in bytes.
pub(super) const FILE_MAX: u64 = 256 << 10;
/// The most keys of an issuer.
pub(super) const KEYS_MAX: usize = 64;
/// RFC 7518 section 3.2: "A key of the same size as the hash output [...] or larger MUST be used".
const SECRET_MIN: usize = 32;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// One key, and what it verifies.
pub(super) struct IssuerKey {
    /// What tokens call it.
    pub(super) id: Option<String>,
    pub(super) key: DecodingKey,
    /// What tokens are held to, with the algorithms that the key is for.
    pub(super) validation: Validation,
}

/// A file of keys, of a token or of passwords that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongKeyFile {
    /// What it is for: `jwt`, `token` or `passwords`.
    pub kind: &'static str,
    /// The issuer, or the name of the token or of the passwords.
    pub issuer: String,
    /// The file, or the variable of the environment.
    pub file: PathBuf,
    /// What is wrong with it, and what to do.
    pub wrong: String,
}

impl fmt::Display for WrongKeyFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, issuer, file, wrong } = self;
        write!(out, "{kind} {issuer}: {}: {wrong}", file.display())
    }
}

impl std::error::Error for WrongKeyFile {}

/// Reads the keys of an issuer.
///
/// # Errors
/// Each file that cannot be used.
pub(super) fn read(jwt: &Jwt) -> Result<Vec<IssuerKey>, Vec<WrongKeyFile>> {
    let (mut keys, mut wrong) = (Vec::new(), Vec::new());
    let mut add = |file: &Path, read: Result<Vec<IssuerKey>, String>| match read {
        Ok(read) => keys.extend(read),
        Err(why) => {
            wrong.push(WrongKeyFile {
                kind: "jwt",
                issuer: jwt.name.clone(),
                file: file.to_owned(),
                wrong: why,
            });
        }
    };
    for file in &jwt.keys {
        add(file, contents(file).and_then(|bytes| public_keys(&bytes, jwt)));
    }
    for file in &jwt.secrets {
        add(file, contents(file).and_then(|bytes| secret(&bytes, jwt)));
    }
    if keys.len() > KEYS_MAX {
        let file = jwt.keys.first().or(jwt.secrets.first()).cloned().unwrap_or_default();
        let why = format!("with the others there are {} keys, and may be {KEYS_MAX}", keys.len());
        wrong.push(WrongKeyFile { kind: "jwt", issuer: jwt.name.clone(), file, wrong: why });
    }
    if wrong.is_empty() { Ok(keys) } else { Err(wrong) }
}

pub(super) fn contents(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    contents_up_to(file, FILE_MAX)
}

/// What is in a file of at most so many bytes.
pub(super) fn contents_up_to(file: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let cannot = |error: std::io::Error| format!("it cannot be read: {error}");
    let mut bytes = Zeroizing::new(Vec::new());
    let file = fs::File::open(file).map_err(cannot)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
    match bytes.len() as u64 > most {
        true => Err(format!("it has more than {most} bytes, which no such file has")),
        false => Ok(bytes),
    }
}

/// The shared secret of a file.
fn secret(bytes: &[u8], jwt: &Jwt) -> Result<Vec<IssuerKey>, String> {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < SECRET_MIN {
        return Err(format!(
            "the secret has {} bytes, and needs {SECRET_MIN} or more, so that nobody tries them \
             all: `openssl rand -base64 48` makes one",
            secret.len()
        ));
    }
    let all = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    if secret.starts_with(b"-----BEGIN ") {
        return Err(
            "it is a key or a certificate as PEM, which others may have and could sign tokens \
                    with: public keys belong into `keys`"
                .into(),
        );
    }
    let key = DecodingKey::from_secret(secret);
    let key = IssuerKey::new(None, key, &all, jwt);
    key.map(|key| vec![key]).ok_or_else(|| not_taken("a shared secret"))
}

/// The public keys of a file.
fn public_keys(bytes: &[u8], jwt: &Jwt) -> Result<Vec<IssuerKey>, String> {
    match bytes.trim_ascii_start().first() {
        Some(b'{') => of_json(bytes, jwt),
        _ => of_pem(bytes, jwt),
    }
}

fn of_pem(bytes: &[u8], jwt: &Jwt) -> Result<Vec<IssuerKey>, String> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "it has a private key, which stays with the issuer: name a file of the public \
                    one (`openssl pkey -in KEY -pubout`)"
                .into(),
        );
    }
    let sections: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(bytes).collect();
    let sections = sections.map_err(|error| format!("it is no PEM: {error}"))?;
    if sections.is_empty() {
        return Err("it has no `BEGIN PUBLIC KEY`, and is no JSON Web Key: `openssl pkey -pubin \
                    -pubout` and `openssl x509 -pubkey` write one"
            .into());
    }
    let one = |section: &SubjectPublicKeyInfoDer<'_>| {
        let (key, algorithms) = of_der(section)?;
        IssuerKey::new(None, key, algorithms, jwt).ok_or_else(|| not_taken("one of its keys"))
    };
    sections.iter().map(one).collect()
}

/// A key, and what it is for.
fn of_der(der: &[u8]) -> Result<(DecodingKey, &'static [Algorithm]), String> {
    /// RFC 8410 section 3: `id-Ed25519`.
    const ED25519: &str = "1.3.101.112";
    /// RFC 5480 section 2.1.1.1: `secp256r1` and `secp384r1`.
    const P256: &str = "1.2.840.10045.3.1.7";
    const P384: &str = "1.3.132.0.34";
    const KINDS: &str = "a key is RSA of 2048 bits or more, on P-256, on P-384, or Ed25519";
    let (_, info) = SubjectPublicKeyInfo::from_der(der)
        .map_err(|error| format!("it has a public key that is none: {error}"))?;
    let bits = &info.subject_public_key.data;
    let parameters = info.algorithm.parameters.as_ref();
    let curve = parameters.and_then(|one| one.as_oid().ok()).map(|oid| oid.to_id_string());
    match info.parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() >= 2048 => {
            Ok((DecodingKey::from_rsa_der(bits), &RSA))
        }
        Ok(PublicKey::EC(_)) if curve.as_deref() == Some(P256) => {
            Ok((DecodingKey::from_ec_der(bits), &[Algorithm::ES256]))
        }
        Ok(PublicKey::EC(_)) if curve.as_deref() == Some(P384) => {
            Ok((DecodingKey::from_ec_der(bits), &[Algorithm::ES384]))
        }
        _ if info.algorithm.algorithm.to_id_string() == ED25519 => {
            Ok((DecodingKey::from_ed_der(bits), &[Algorithm::EdDSA]))
        }
        _ => Err(format!("it has a key of another kind: {KINDS}")),
    }
}

fn of_json(bytes: &[u8], jwt: &Jwt) -> Result<Vec<IssuerKey>, String> {
    let keys = parse_jwks(bytes)?;
    let mut taken = Vec::new();
    for jwk in &keys {
        let key = of_jwk(jwk, jwt).map_err(|wrong| match &jwk.common.key_id {
            Some(id) => format!("its key {id:?}: {wrong}"),
            None => format!("one of its keys: {wrong}"),
        })?;
        taken.extend(key);
    }
    match taken.is_empty() {
        true => Err("it has no key that is for signatures".into()),
        false => Ok(taken),
    }
}

/// A set of keys (RFC 7517 section 5), or one of them. RFC 7517 section 5: "Implementations SHOULD
/// ignore JWKs within a JWK Set that use "kty" (key type) values that are not understood by them,
/// that are missing required members, or for which values are out of the supported ranges."
///
/// # Errors
/// It is neither.
pub(super) fn parse_jwks(bytes: &[u8]) -> Result<Vec<Jwk>, String> {
    let wrong = |error: &dyn fmt::Display| {
        format!("it is neither a JSON Web Key nor a set of them, {{\"keys\": […]}}: {error}")
    };
    let said: Value = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    match said.get("keys") {
        Some(Value::Array(keys)) => {
            Ok(keys.iter().filter_map(|one| Jwk::deserialize(one).ok()).collect())
        }
        Some(_) => Err(wrong(&"`keys` is no list")),
        None => Jwk::deserialize(&said).map(|one| vec![one]).map_err(|error| wrong(&error)),
    }
}

/// The key that a JSON Web Key is; `None` if it is not for signatures.
pub(super) fn of_jwk(jwk: &Jwk, jwt: &Jwt) -> Result<Option<IssuerKey>, String> {
    // RFC 7517 section 4.2.
    if jwk.common.public_key_use.as_ref().is_some_and(|one| *one != PublicKeyUse::Signature) {
        return Ok(None);
    }
    let all: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &RSA,
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return Err("its curve is neither P-256 nor P-384".into()),
        },
        AlgorithmParameters::OctetKeyPair(pair) => match pair.curve {
            EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return Err("its curve is not Ed25519".into()),
        },
        AlgorithmParameters::OctetKey(_) => {
            return Err("it is a shared secret: put it into a file of `secrets`".into());
        }
        _ => return Err("it is of a kind that is not known here".into()),
    };
    // RFC 7517 section 4.4: "The "alg" (algorithm) parameter identifies the algorithm intended for
    // use with the key."
    let named = jwk.common.key_algorithm.map(|one| one.to_string().parse::<Algorithm>());
    let only = match named {
        None => all.to_vec(),
        Some(Ok(one)) if all.contains(&one) => vec![one],
        Some(_) => return Err("its `alg` is not one that such a key signs by".into()),
    };
    check_lengths(&jwk.algorithm)?;
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    let id = jwk.common.key_id.clone();
    IssuerKey::new(id, key, &only, jwt).map(Some).ok_or_else(|| not_taken("it"))
}

/// Checks that the numbers of a key are as long as they have to be.
fn check_lengths(parameters: &AlgorithmParameters) -> Result<(), String> {
    let length = |text: &str| {
        URL_SAFE_NO_PAD.decode(text).map(|bytes| bytes.len()).map_err(|error| error.to_string())
    };
    let has = |text: &str, wanted: usize| Ok::<_, String>(length(text)? == wanted);
    let is_right = match parameters {
        AlgorithmParameters::RSA(key) => length(&key.n)? >= 256,
        AlgorithmParameters::EllipticCurve(key) => {
            let wanted = if key.curve == EllipticCurve::P384 { 48 } else { 32 };
            has(&key.x, wanted)? && has(&key.y, wanted)?
        }
        AlgorithmParameters::OctetKeyPair(key) => has(&key.x, 32)?,
        _ => true,
    };
    match is_right {
        true => Ok(()),
        false => Err("its numbers are too short, or too long: RSA needs 2048 bits or more".into()),
    }
}

fn not_taken(what: &str) -> String {
    format!("{what} is for none of `algorithms`: add its own, or remove the key")
}

impl PartialEq for IssuerKey {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, key, validation } = self;
        let same = |one: &DecodingKeyKind, other: &DecodingKeyKind| match (one, other) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(other)) => {
                one == other
            }
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: other_n, e: other_e },
            ) => n == other_n && e == other_e,
            _ => false,
        };
        *id == other.id
            && same(key.kind(), other.key.kind())
            && validation.algorithms == other.validation.algorithms
    }
}

impl IssuerKey {
    /// A key that verifies by these algorithms, as far as the issuer's tokens may be signed so;
    /// `None` if by none.
    fn new(
        id: Option<String>,
        key: DecodingKey,
        algorithms: &[Algorithm],
        jwt: &Jwt,
    ) -> Option<Self> {
        let taken = |one: &Algorithm| {
            jwt.algorithms.is_empty() || jwt.algorithms.iter().any(|taken| of(*taken) == *one)
        };
        let algorithms: Vec<_> = algorithms.iter().copied().filter(taken).collect();
        let mut validation = Validation::new(*algorithms.first()?);
        validation.algorithms = algorithms;
        // The time is the shard's, and what is remembered is held against it again.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut required = Vec::new();
        if !jwt.issuers.is_empty() {
            validation.set_issuer(&jwt.issuers);
            required.push("iss");
        }
        if !jwt.audiences.is_empty() {
            validation.set_audience(&jwt.audiences);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Some(Self { id, key, validation })
    }
}

/// The same in the library's word.
const fn of(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Hs384 => Algorithm::HS384,
        JwtAlgorithm::Hs512 => Algorithm::HS512,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Ps384 => Algorithm::PS384,
        JwtAlgorithm::Ps512 => Algorithm::PS512,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}
