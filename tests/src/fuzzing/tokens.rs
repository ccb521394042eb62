//! Any bytes as a token, or as what is in one that is signed rightly.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Map, Value};
use tidegate::checks::{Grant, Issuer, NotAdmitted};
use tidegate::config::{Jwt, TopicPattern};
use tidegate::names::Name;

use super::Parameters;

/// What tokens of the run are signed by.
const SECRET: &str = "a secret of this target, which no input may be made with";

/// How far the issuer's clock may be off, in seconds.
const LEEWAY: u64 = 30;

/// The first byte says what the rest is: a token as it is sent, the claims of one that is signed
/// rightly, or its header, behind its length, and its claims.
///
/// # Panics
/// A token is taken that nobody has signed, or that is signed by another algorithm; or what is
/// found in the claims is not what they say.
pub fn tokens(data: &[u8]) {
    let mut parameters = Parameters(data);
    let issuer = issuer();
    match parameters.byte() % 3 {
        0 => is_nobodys(issuer, parameters.rest()),
        1 => {
            let claims = parameters.rest();
            let token = signed(br#"{"alg":"HS256","typ":"JWT"}"#, claims);
            says_what_it_says(claims, issuer.verify(&token));
        }
        _ => {
            let length = parameters.u16() as usize;
            let rest = parameters.rest();
            let (header, claims) = rest.split_at(length.min(rest.len()));
            let token = signed(header, claims);
            let found = issuer.verify(&token);
            if found.is_ok() {
                has_its_algorithm(header);
                says_what_it_says(claims, found);
            }
        }
    }
}

/// The issuer, whose secret is read from a file as a gateway does.
fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let file = format!("tidegate-fuzz-tokens-{}", std::process::id());
        let file = std::env::temp_dir().join(file);
        std::fs::write(&file, SECRET).expect("a file");
        let jwt = Jwt { secrets: vec![file.clone()], ..Jwt::new("fuzz") };
        let issuer = Issuer::read(&jwt).expect("a secret");
        let _ = std::fs::remove_file(&file);
        issuer
    })
}

/// A token with this header and these claims, signed by HMAC with SHA-256 whatever the header says.
fn signed(header: &[u8], claims: &[u8]) -> Vec<u8> {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    format!("{message}.{signature}").into_bytes()
}

/// What comes from elsewhere is not taken.
fn is_nobodys(issuer: &Issuer, token: &[u8]) {
    let found = issuer.verify(token);
    assert!(found.is_err(), "taken: {found:?}");
    if let Err(denied) = issuer.is_quick(token) {
        assert_eq!(found, Err(denied), "what its header tells is what is told");
    }
}

/// RFC 7515 section 4.1.1 and 4.1.11: it is signed by the algorithm that it names, and nothing has
/// to be understood that is not.
fn has_its_algorithm(header: &[u8]) {
    let header: Value = serde_json::from_slice(header).expect("it was read as JSON");
    assert_eq!(header["alg"], "HS256", "{header}");
    assert_eq!(header.get("crit").unwrap_or(&Value::Null), &Value::Null, "{header}");
}

/// Claims that are signed rightly come to what they say, or to nothing.
fn says_what_it_says(claims: &[u8], found: Result<Grant, NotAdmitted>) {
    let said = serde_json::from_slice::<Map<String, Value>>(claims).ok();
    match (found, said) {
        (Ok(grant), Some(said)) => {
            assert_eq!(grant.user, name(&said["sub"]), "{said:?}");
            assert!(!is_for_somebody(&said), "{said:?}");
            let exp = seconds(&said["exp"]).expect("it has to expire");
            assert_eq!(grant.until, Some(exp.saturating_add(LEEWAY)), "{said:?}");
            let patterns = grant.permissions.unwrap_or_default();
            for (claim, found) in
                [("subscribe", &patterns.subscribe), ("publish", &patterns.publish)]
            {
                let listed = said.get(claim);
                assert_eq!(listed.is_some(), found.is_some(), "{claim}: {said:?}");
                let all = found.iter().flat_map(|list| list.iter());
                all.for_each(|one| assert!(is_listed(listed, one), "{one:?}: {said:?}"));
            }
        }
        (Ok(grant), None) => panic!("no object comes to {grant:?}"),
        (Err(denied), Some(said)) if is_plain(&said, claims) => panic!("{said:?}: {denied:?}"),
        (Err(_), _) => {}
    }
}

/// A text, or a whole number.
fn name(value: &Value) -> Option<Name> {
    match value {
        Value::String(text) => Name::new(text).ok(),
        number => Name::new(&number.as_u64()?.to_string()).ok(),
    }
}

/// RFC 7519 section 2: a number of seconds, which may have a fraction.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64))
}

/// RFC 7519 section 4.1.3: `aud` is a text, or a list of them.
fn is_for_somebody(said: &Map<String, Value>) -> bool {
    match said.get("aud") {
        Some(Value::String(_)) => true,
        Some(Value::Array(all)) => !all.is_empty() && all.iter().all(Value::is_string),
        _ => false,
    }
}

fn is_listed(listed: Option<&Value>, pattern: &TopicPattern) -> bool {
    match listed {
        Some(Value::String(one)) => one == pattern.as_str(),
        Some(Value::Array(all)) => all.iter().any(|one| one == pattern.as_str()),
        _ => false,
    }
}

/// Whether it says who somebody is and until when, each once, and nothing else that is looked at.
fn is_plain(said: &Map<String, Value>, claims: &[u8]) -> bool {
    let others = ["aud", "iss", "nbf", "subscribe", "publish"];
    let exp = said.get("exp").and_then(Value::as_u64);
    said.get("sub").and_then(name).is_some()
        && exp.is_some_and(|exp| exp < 1 << 40)
        && others.iter().all(|claim| !said.contains_key(*claim))
        && serde_json::to_vec(said).is_ok_and(|again| again == claims)
}
