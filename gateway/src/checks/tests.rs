//! Tokens of every kind, good and bad, and what a gatekeeper makes of them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::{rand, rsa, signature};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tidegate_proto::http::{Status, parse_request};

use super::gatekeeper::Entrant;
use super::*;
use crate::config::{Jwt, JwtAlgorithm, Limits, TokenSource};
use crate::hub::NotRenewed;

/// A folder that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, bytes).expect("a file");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A key of an issuer, both ways that its public part is written.
struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    pem: String,
    jwk: Value,
}

fn pem(spki: &[u8]) -> String {
    let text = STANDARD.encode(spki);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn ecdsa(curve: &'static signature::EcdsaSigningAlgorithm, algorithm: Algorithm) -> Signer {
    let random = rand::SystemRandom::new();
    let key = signature::EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
    let pair = signature::EcdsaKeyPair::from_pkcs8(curve, key.as_ref()).expect("the same");
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let name = if algorithm == Algorithm::ES256 { "P-256" } else { "P-384" };
    let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
    let spki = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(
        pair.public_key(),
    );
    Signer {
        algorithm,
        key: EncodingKey::from_ec_der(key.as_ref()),
        pem: pem(spki.expect("DER").as_ref()),
        jwk: json!({"kty": "EC", "crv": name, "x": x, "y": y}),
    }
}

fn ed25519() -> Signer {
    let random = rand::SystemRandom::new();
    let key = signature::Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
    let pair = signature::Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("the same");
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let spki = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(
        pair.public_key(),
    );
    Signer {
        algorithm: Algorithm::EdDSA,
        key: EncodingKey::from_ed_der(key.as_ref()),
        pem: pem(spki.expect("DER").as_ref()),
        jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
    }
}

fn rsa(algorithm: Algorithm) -> Signer {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
    let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair);
    let public = pair.public_key();
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (public.modulus(), public.exponent());
    let (n, e) =
        (part(n.big_endian_without_leading_zero()), part(e.big_endian_without_leading_zero()));
    let spki =
        aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(public);
    // The library signs with the key as PKCS #1 has it.
    let pkcs1 = pkcs1_of(pkcs8.expect("DER").as_ref());
    Signer {
        algorithm,
        key: EncodingKey::from_rsa_der(&pkcs1),
        pem: pem(spki.expect("DER").as_ref()),
        jwk: json!({"kty": "RSA", "n": n, "e": e}),
    }
}

/// The key within a PKCS #8 key (RFC 5208 section 5): the octets behind version and algorithm.
fn pkcs1_of(pkcs8: &[u8]) -> Vec<u8> {
    let at = pkcs8.windows(4).skip(20).position(|four| four[0] == 0x30 && four[1] == 0x82);
    pkcs8[at.expect("a sequence within") + 20..].to_vec()
}

fn sign(signer: &Signer, id: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(signer.algorithm);
    header.kid = id.map(str::to_owned);
    encode(&header, claims, &signer.key).expect("signed")
}

/// A secret that an issuer shares.
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

fn shared() -> Signer {
    Signer {
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(SECRET.as_bytes()),
        pem: String::new(),
        jwk: Value::Null,
    }
}

/// A time at which tests take place, in seconds since 1970.
const NOW: u64 = 2_000_000_000;

fn claims() -> Value {
    json!({"sub": "ada", "exp": NOW + 60})
}

#[test]
fn each_algorithm_is_taken_by_its_own_keys_alone() {
    let folder = Folder::new("algorithms");
    let signers = [
        ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256),
        ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384),
        ed25519(),
        rsa(Algorithm::RS256),
        rsa(Algorithm::PS512),
    ];
    for signer in &signers {
        let name = format!("{:?}", signer.algorithm);
        let set = json!({"keys": [signer.jwk]}).to_string();
        let files = [
            folder.write("key.pem", format!("# a comment\n{}", signer.pem)),
            folder.write("set.json", set),
            folder.write("one.json", signer.jwk.to_string()),
        ];
        for file in files {
            let issuer = Issuer::read(&Jwt { keys: vec![file], ..Jwt::new("a") }).expect(&name);
            let grant = issuer.verify(sign(signer, None, &claims()).as_bytes()).expect(&name);
            assert_eq!(grant.user.expect("a user").as_str(), "ada");
            assert_eq!(grant.until, Some(NOW + 90), "with the leeway");
            for other in &signers {
                let token = sign(other, None, &claims());
                let is_same = other.algorithm == signer.algorithm;
                let denied = issuer.verify(token.as_bytes()).err();
                match (is_same, denied) {
                    (true, None)
                    | (false, Some(NotAdmitted::Algorithm | NotAdmitted::Signature)) => {}
                    (_, denied) => panic!("{:?} by {name}: {denied:?}", other.algorithm),
                }
            }
        }
    }
}

#[test]
fn a_public_key_is_no_secret_and_none_is_no_signature() {
    let folder = Folder::new("confusion");
    let signer = ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256);
    let keys = vec![folder.write("key.pem", &signer.pem)];
    let issuer = Issuer::read(&Jwt { keys: keys.clone(), ..Jwt::new("a") }).expect("a key");
    let forged = encode(
        &Header::new(Algorithm::HS256),
        &claims(),
        &EncodingKey::from_secret(signer.pem.as_bytes()),
    );
    let forged = forged.expect("signed");
    assert_eq!(issuer.verify(forged.as_bytes()).err(), Some(NotAdmitted::Algorithm));
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    for (header, denied) in [
        (json!({"alg": "none"}), NotAdmitted::Algorithm),
        (json!({"alg": "None"}), NotAdmitted::Algorithm),
        (json!({"typ": "JWT"}), NotAdmitted::Algorithm),
        (json!({"alg": "ES256", "crit": ["exp"]}), NotAdmitted::Algorithm),
    ] {
        for signature in ["", "AAAA"] {
            let token = format!("{}.{}.{signature}", part(header.clone()), part(claims()));
            assert_eq!(issuer.verify(token.as_bytes()).err(), Some(denied), "{header}");
        }
    }
    // What is signed rightly, but has to be understood in a way that nobody here does.
    let mut header = Header::new(Algorithm::ES256);
    header.crit = Some(vec!["b64".into()]);
    let token = encode(&header, &claims(), &signer.key).expect("signed");
    assert_eq!(issuer.verify(token.as_bytes()).err(), Some(NotAdmitted::Algorithm));
    let only = Jwt { keys, algorithms: vec![JwtAlgorithm::Es384], ..Jwt::new("a") };
    let wrong = Issuer::read(&only).expect_err("none is for it");
    assert!(wrong[0].to_string().contains("for none of `algorithms`"), "{}", wrong[0]);
}

#[test]
fn what_is_no_token_is_refused() {
    let folder = Folder::new("malformed");
    let secrets = vec![folder.write("secret", SECRET)];
    let issuer = Issuer::read(&Jwt { secrets, ..Jwt::new("a") }).expect("a secret");
    let good = sign(&shared(), None, &claims());
    assert!(issuer.verify(good.as_bytes()).is_ok());
    for wrong in ["", ".", "..", "a.b", "a.b.c.d", "%", "e30.e30", "e30.e30.e30"] {
        let denied = issuer.verify(wrong.as_bytes()).expect_err(wrong);
        assert!(
            matches!(denied, NotAdmitted::Malformed | NotAdmitted::Algorithm),
            "{wrong}: {denied:?}"
        );
    }
    // Any byte of it that is another one.
    for at in 0..good.len() {
        let mut other = good.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        if let Ok(grant) = issuer.verify(&other) {
            // The last letter of a signature has bits that mean nothing.
            assert_eq!(at, good.len() - 1, "{grant:?}");
        }
    }
}

#[test]
fn keys_are_found_by_their_names() {
    let folder = Folder::new("names");
    let of = || ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256);
    let signers: Vec<_> = (0..6).map(|_| of()).collect();
    let named = |(at, signer): (usize, &Signer)| {
        let mut jwk = signer.jwk.clone();
        jwk["kid"] = format!("key-{at}").into();
        jwk
    };
    let keys: Vec<_> = signers.iter().enumerate().map(named).collect();
    let file = folder.write("set.json", json!({"keys": keys}).to_string());
    let issuer = Issuer::read(&Jwt { keys: vec![file], ..Jwt::new("a") }).expect("six keys");
    let verify = |at: usize, id: Option<&str>| {
        issuer.verify(sign(&signers[at], id, &claims()).as_bytes()).err()
    };
    assert_eq!(verify(5, Some("key-5")), None);
    assert_eq!(verify(5, Some("key-4")), Some(NotAdmitted::Signature));
    assert_eq!(verify(5, Some("key-9")), Some(NotAdmitted::UnknownKey));
    assert_eq!(verify(3, None), None, "it is among the first four");
    assert_eq!(verify(5, None), Some(NotAdmitted::Signature), "and this one is not");
}

#[test]
fn a_key_that_an_endpoint_names_no_longer_is_forgotten_whatever_it_names_twice() {
    let folder = Folder::new("withdrawn");
    let signers =
        [(); 2].map(|()| ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256));
    let files = [("a.pem", &signers[0]), ("b.pem", &signers[1])]
        .map(|(name, signer)| folder.write(name, &signer.pem));
    let config = Jwt { jwks: Some("http://127.0.0.1:1/".into()), ..Jwt::new("a") };
    let issuer = Issuer::read(&config).expect("an endpoint");
    let named = |places: &[usize]| {
        let keys = places.iter().map(|place| files[*place].clone()).collect();
        keys::read(&Jwt { keys, ..config.clone() }).expect("keys")
    };
    let tokens = signers.each_ref().map(|signer| sign(signer, None, &claims()));
    let verified = || tokens.each_ref().map(|token| issuer.verify(token.as_bytes()).is_ok());
    assert!(issuer.take_keys(named(&[0, 1])));
    assert_eq!(verified(), [true, true]);
    assert!(!issuer.take_keys(named(&[1, 0])), "the same in another order");
    assert!(issuer.take_keys(named(&[0, 0])), "one is gone");
    assert_eq!(verified(), [true, false]);
}

#[test]
fn claims_have_to_say_what_is_wanted() {
    let folder = Folder::new("claims");
    let secrets = vec![folder.write("secret", format!("{SECRET}\r\n"))];
    let usual = Jwt { secrets, ..Jwt::new("a") };
    let wants = |config: Jwt, claims: Value| {
        let issuer = Issuer::read(&config).expect("a secret");
        issuer.verify(sign(&shared(), None, &claims).as_bytes())
    };
    let list = |texts: &[&str]| texts.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let of = Jwt { issuers: list(&["x", "y"]), ..usual.clone() };
    let to = Jwt { audiences: list(&["x", "y"]), ..usual.clone() };
    let lasting = Jwt { must_expire: false, ..usual.clone() };
    let nobody = Jwt { user: String::new(), ..usual.clone() };
    for (config, claims, denied) in [
        (&usual, json!({"sub": "a", "exp": NOW}), None),
        (&usual, json!({"sub": 17, "exp": NOW}), None),
        (&usual, json!({"sub": "a", "exp": NOW as f64 + 0.5}), None),
        (&usual, json!({"sub": "a"}), Some(NotAdmitted::Claims)),
        (&lasting, json!({"sub": "a"}), None),
        (&usual, json!({"sub": "a", "exp": "soon"}), Some(NotAdmitted::Claims)),
        (&usual, json!({"sub": "a", "exp": -1}), Some(NotAdmitted::Claims)),
        (&usual, json!({"exp": NOW}), Some(NotAdmitted::Claims)),
        (&nobody, json!({"exp": NOW}), None),
        (&usual, json!({"sub": "", "exp": NOW}), Some(NotAdmitted::Claims)),
        (&usual, json!({"sub": "a\nb", "exp": NOW}), Some(NotAdmitted::Claims)),
        (&usual, json!({"sub": null, "exp": NOW}), Some(NotAdmitted::Claims)),
        (&usual, json!({"sub": "a", "exp": NOW, "nbf": "x"}), Some(NotAdmitted::Claims)),
        (&usual, json!({"sub": "a", "exp": NOW, "aud": "x"}), Some(NotAdmitted::Audience)),
        (&to, json!({"sub": "a", "exp": NOW, "aud": ["z", "y"]}), None),
        (&to, json!({"sub": "a", "exp": NOW, "aud": "z"}), Some(NotAdmitted::Audience)),
        (&to, json!({"sub": "a", "exp": NOW}), Some(NotAdmitted::Audience)),
        (&of, json!({"sub": "a", "exp": NOW, "iss": "y"}), None),
        (&of, json!({"sub": "a", "exp": NOW, "iss": "z"}), Some(NotAdmitted::Issuer)),
        (&of, json!({"sub": "a", "exp": NOW}), Some(NotAdmitted::Issuer)),
        (&usual, json!({"sub": "a", "exp": NOW, "subscribe": ["a/*", "b"]}), None),
        (&usual, json!({"sub": "a", "exp": NOW, "subscribe": "a/*"}), None),
        (&usual, json!({"sub": "a", "exp": NOW, "publish": [1]}), Some(NotAdmitted::Claims)),
        (&usual, json!({"sub": "a", "exp": NOW, "publish": ["a**"]}), Some(NotAdmitted::Claims)),
        (
            &usual,
            json!({"sub": "a", "exp": NOW, "publish": vec!["a"; 65]}),
            Some(NotAdmitted::Claims),
        ),
    ] {
        assert_eq!(wants(config.clone(), claims.clone()).err(), denied, "{claims}");
    }
    let said = json!({"sub": "a", "exp": NOW, "subscribe": [], "publish": "a"});
    let permissions = wants(usual, said).expect("good").permissions.expect("some");
    assert_eq!(permissions.subscribe.as_deref().map(<[_]>::len), Some(0), "which is not nothing");
    assert_eq!(permissions.publish.as_deref().map(|list| list[0].as_str()), Some("a"));
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let folder = Folder::new("files");
    let small = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
    let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&small);
    let private = STANDARD.encode(pkcs8.expect("DER").as_ref());
    let private = format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n");
    let oct = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}).to_string();
    for (bytes, wrong) in [
        (String::new(), "it has no `BEGIN PUBLIC KEY`"),
        (private, "it has a private key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(), "that is none"),
        ("{".into(), "neither a JSON Web Key nor a set"),
        (oct, "put it into a file of `secrets`"),
        (json!({"keys": []}).to_string(), "no key that is for signatures"),
        (json!({"kty": "EC", "crv": "P-521", "x": "", "y": ""}).to_string(), "its curve"),
        ("x".repeat(300 << 10), "more than 262144 bytes"),
    ] {
        let keys = vec![folder.write("key", &bytes)];
        let error = Issuer::read(&Jwt { keys, ..Jwt::new("a") }).expect_err(wrong);
        assert!(error[0].to_string().contains(wrong), "{}", error[0]);
    }
    let keys = vec![folder.0.join("gone")];
    let secrets = vec![folder.write("short", "0123456789abcdef")];
    let both = Issuer::read(&Jwt { keys, secrets, ..Jwt::new("a") }).expect_err("two");
    assert_eq!(both.len(), 2, "all are told");
    assert!(both[1].to_string().contains("the secret has 16 bytes, and needs 32"), "{}", both[1]);
}

/// A gatekeeper of an issuer with a secret and a key, and what it has verified elsewhere.
fn gatekeeper(places: usize) -> (Gatekeeper, crossbeam_channel::Receiver<Verification>, Signer) {
    gatekeeper_with(places, &Revocations::new(0))
}

/// The same, of tokens that may be taken back.
fn gatekeeper_with(
    places: usize,
    revocations: &Revocations,
) -> (Gatekeeper, crossbeam_channel::Receiver<Verification>, Signer) {
    let folder = Folder::new(&format!("gatekeeper-{places}"));
    let signer = ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256);
    let config = Jwt {
        keys: vec![folder.write("key.pem", &signer.pem)],
        secrets: vec![folder.write("secret", SECRET)],
        from: vec![TokenSource::Bearer],
        ..Jwt::new("a")
    };
    let issuer = Issuer::read(&config).expect("keys");
    let (verifiers, tokens) = Verifiers::new(places);
    let parts = GatekeeperParts::new(vec![Arc::new(issuer)], verifiers);
    let parts = parts.with_revocations(revocations.clone());
    (Gatekeeper::new(parts, &Limits::default()), tokens, signer)
}

/// Checks a token at this time.
fn check(
    gatekeeper: &mut Gatekeeper,
    token: &str,
    at: u64,
    verified: Option<CheckFound>,
) -> Result<CheckPassed, NotAdmitted> {
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let Ok(Status::Complete(head)) = parse_request(text.as_bytes(), 8192) else {
        panic!("no request: {text}")
    };
    let asked = Entrant { head: &head, now: Duration::from_secs(at) };
    gatekeeper.check_token("a", asked, verified)
}

#[test]
fn secrets_are_quick_and_signatures_are_verified_elsewhere() {
    let (mut gatekeeper, tokens, signer) = gatekeeper(1);
    let quick = sign(&shared(), None, &claims());
    assert!(matches!(check(&mut gatekeeper, &quick, NOW, None), Ok(CheckPassed::With(_))));
    let slow = sign(&signer, None, &claims());
    let Ok(CheckPassed::Later(question)) = check(&mut gatekeeper, &slow, NOW, None) else {
        panic!("it takes too long for a shard")
    };
    assert_eq!(
        check(&mut gatekeeper, &slow, NOW, None).err(),
        Some(NotAdmitted::Busy),
        "one place"
    );
    let hub = crate::names::Node { number: 0, start: 0 };
    let connection = crate::names::ConnectionId { node: hub, shard: 0, slot: 0, generation: 0 };
    question.ask(crate::names::Ticket { connection, round: 0 });
    let asked = tokens.try_recv().expect("it was handed over");
    let verified = asked.verify().take::<CheckFound>().expect("what was found out");
    assert_eq!(check(&mut gatekeeper, &slow, NOW, None).err(), Some(NotAdmitted::Busy));
    drop(asked);
    assert!(matches!(check(&mut gatekeeper, &slow, NOW, Some(verified)), Ok(CheckPassed::With(_))));
    let again = check(&mut gatekeeper, &slow, NOW + 1, None);
    assert!(matches!(again, Ok(CheckPassed::With(_))), "it is remembered");
    assert_eq!(check(&mut gatekeeper, &slow, NOW + 90, None).err(), Some(NotAdmitted::Expired));
}

#[test]
fn a_token_holds_from_its_beginning_to_its_end_give_or_take_the_leeway() {
    let (mut gatekeeper, ..) = gatekeeper(1);
    let said = json!({"sub": "ada", "nbf": NOW, "exp": NOW + 100});
    let token = sign(&shared(), None, &said);
    for (at, denied) in [
        (NOW - 31, Some(NotAdmitted::TooEarly)),
        (NOW - 30, None),
        (NOW + 129, None),
        (NOW + 130, Some(NotAdmitted::Expired)),
    ] {
        assert_eq!(check(&mut gatekeeper, &token, at, None).err(), denied, "{at}");
    }
}

#[test]
fn what_has_a_place_in_a_line_is_no_secret() {
    let (gatekeeper, ..) = gatekeeper(1);
    let issuer = format!("{:?}", gatekeeper.issuer("a").expect("the one"));
    assert!(!issuer.contains(SECRET) && issuer.contains("keys: 2"), "{issuer}");
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Takes the tokens of a user back.
fn take_back(revocations: &Revocations, user: &str) -> u64 {
    let order = RevocationOrder {
        tokens: TokensOf::User(crate::names::Name::new(user).expect("a name")),
        issuer: None,
        issued_before: None,
        until: at(NOW + 50),
    };
    revocations.take_back(order, at(NOW)).expect("room").revocation.number
}

#[test]
fn a_token_that_was_remembered_is_refused_once_it_is_taken_back() {
    let revocations = Revocations::new(9);
    let (mut gatekeeper, ..) = gatekeeper_with(11, &revocations);
    let token = sign(&shared(), None, &claims());
    for _ in 0..2 {
        assert!(matches!(check(&mut gatekeeper, &token, NOW, None), Ok(CheckPassed::With(_))));
    }
    take_back(&revocations, "somebody else");
    assert!(check(&mut gatekeeper, &token, NOW, None).is_ok());
    let number = take_back(&revocations, "ada");
    assert_eq!(check(&mut gatekeeper, &token, NOW, None).err(), Some(NotAdmitted::Revoked));
    let other = sign(&shared(), None, &json!({"sub": "ada", "exp": NOW + 61}));
    assert_eq!(check(&mut gatekeeper, &other, NOW, None).err(), Some(NotAdmitted::Revoked));
    assert!(check(&mut gatekeeper, &token, NOW + 50, None).is_ok(), "it has ended");
    revocations.withdraw(number, at(NOW));
    assert!(check(&mut gatekeeper, &other, NOW, None).is_ok());
}

/// Lets somebody in.
fn let_in(gatekeeper: &mut Gatekeeper, slot: u32, token: &str) {
    let Ok(CheckPassed::With(grant)) = check(gatekeeper, token, NOW, None) else {
        panic!("it is good")
    };
    gatekeeper.keep(slot, grant);
    gatekeeper.open(slot).expect("room");
}

/// Those who are closed for their tokens, once all were looked at.
fn closed(gatekeeper: &mut Gatekeeper, now: u64) -> Vec<(u32, TokenEnd)> {
    gatekeeper.hear_of_revocations();
    gatekeeper.find_expired(at(now));
    let mut closed = Vec::new();
    while gatekeeper.has_work() {
        gatekeeper.find_taken_back(at(now));
        while let Some(slot) = gatekeeper.take_due() {
            closed.extend(gatekeeper.ends(slot, at(now)).map(|end| (slot, end)));
        }
    }
    closed.sort_by_key(|(slot, _)| *slot);
    closed
}

#[test]
fn those_are_found_whose_token_was_taken_back_or_has_expired() {
    let revocations = Revocations::new(9);
    let (mut gatekeeper, ..) = gatekeeper_with(12, &revocations);
    for slot in 0..300 {
        let (user, until) = if slot % 3 == 0 { ("ada", NOW + 60) } else { ("bob", NOW + 9) };
        let token = sign(&shared(), None, &json!({"sub": user, "exp": until}));
        let_in(&mut gatekeeper, slot, &token);
    }
    assert_eq!(closed(&mut gatekeeper, NOW), []);
    take_back(&revocations, "ada");
    let adas: Vec<_> = (0..300).step_by(3).map(|slot| (slot, TokenEnd::Revoked(4401))).collect();
    assert_eq!(closed(&mut gatekeeper, NOW), adas);
    (0..300).step_by(3).for_each(|slot| gatekeeper.forget(slot));
    assert_eq!(closed(&mut gatekeeper, NOW + 38), []);
    let rest = closed(&mut gatekeeper, NOW + 39);
    assert!(rest.len() == 200 && rest.iter().all(|(_, end)| *end == TokenEnd::Expired(4401)));
    (0..300).for_each(|slot| gatekeeper.forget(slot));
    assert!(gatekeeper.is_empty());
}

#[test]
fn who_was_let_in_before_is_asked_again_before_it_opens() {
    let revocations = Revocations::new(9);
    let (mut gatekeeper, ..) = gatekeeper_with(13, &revocations);
    let token = sign(&shared(), None, &claims());
    let Ok(CheckPassed::With(grant)) = check(&mut gatekeeper, &token, NOW, None) else {
        panic!("it is good")
    };
    gatekeeper.keep(7, grant);
    assert_eq!(gatekeeper.check_still(7, at(NOW)), Ok(()));
    assert_eq!(gatekeeper.check_still(7, at(NOW + 99)), Err(NotAdmitted::Expired));
    take_back(&revocations, "ada");
    assert_eq!(gatekeeper.check_still(7, at(NOW)), Err(NotAdmitted::Revoked));
    assert_eq!(gatekeeper.check_still(8, at(NOW)), Ok(()), "it has no token");
}

#[test]
fn a_fresh_token_takes_the_place_of_the_other_one_if_it_is_the_same_users() {
    let revocations = Revocations::new(9);
    let (mut gatekeeper, tokens, signer) = gatekeeper_with(2, &revocations);
    let_in(&mut gatekeeper, 7, &sign(&shared(), None, &claims()));
    let until = |gatekeeper: &Gatekeeper| gatekeeper.until(7).map(|until| until.as_secs() - 30);
    assert_eq!(until(&gatekeeper), Some(NOW + 60));
    let said = |user: &str, seconds: u64| json!({"sub": user, "exp": NOW + seconds});
    for (slot, token, why) in [
        (7, sign(&shared(), None, &said("bob", 99)), NotRenewed::OtherUser),
        (8, sign(&shared(), None, &said("ada", 99)), NotRenewed::NoToken),
        (7, "a.b.c".into(), NotRenewed::BadToken(NotAdmitted::Malformed.reason())),
    ] {
        match gatekeeper.renew(slot, token.as_bytes(), at(NOW)) {
            RenewalBegun::Done(done) => assert_eq!(done, Err(why)),
            RenewalBegun::Later(_) => panic!("{why:?}"),
        }
    }
    assert_eq!(until(&gatekeeper), Some(NOW + 60), "it is as it was");
    let slow = sign(&signer, None, &said("ada", 500));
    let RenewalBegun::Later(question) = gatekeeper.renew(7, slow.as_bytes(), at(NOW)) else {
        panic!("it takes too long for a shard")
    };
    let node = crate::names::Node { number: 0, start: 0 };
    let connection = crate::names::ConnectionId { node, shard: 0, slot: 7, generation: 0 };
    gatekeeper.wait_for_renewal(connection, question, Bringer::Handler(Some(9)), at(1));
    let RenewalBegun::Done(Err(NotRenewed::UnderWay)) =
        gatekeeper.renew(7, slow.as_bytes(), at(NOW))
    else {
        panic!("one at a time")
    };
    let asked = tokens.try_recv().expect("it was handed over");
    assert!(is_of_renewal(asked.ticket.round));
    let found = || asked.verify().take::<CheckFound>().and_then(CheckFound::of_token);
    let verified = || found().expect("what was found out");
    let wrong = asked.ticket.round - 1;
    assert!(gatekeeper.finish_renewal(7, wrong, verified(), at(NOW)).is_none());
    let finished = gatekeeper.finish_renewal(7, asked.ticket.round, verified(), at(NOW));
    let Some((Bringer::Handler(Some(9)), Ok(Some(renewed)))) = finished else {
        panic!("it is good")
    };
    assert_eq!((renewed, until(&gatekeeper)), (at(NOW + 530), Some(NOW + 500)));
    let again = gatekeeper.finish_renewal(7, asked.ticket.round, verified(), at(NOW));
    assert!(again.is_none(), "that was told");
    assert!(
        check(&mut gatekeeper, &slow, NOW, None)
            .is_ok_and(|passed| { matches!(passed, CheckPassed::With(_)) }),
        "it is remembered"
    );
    gatekeeper.forget(7);
    assert!(gatekeeper.is_empty());
}

#[test]
fn a_fresh_token_that_is_not_verified_in_time_is_told_of() {
    let (mut gatekeeper, _tokens, signer) = gatekeeper(3);
    let_in(&mut gatekeeper, 7, &sign(&shared(), None, &claims()));
    let slow = sign(&signer, None, &claims());
    let RenewalBegun::Later(question) = gatekeeper.renew(7, slow.as_bytes(), at(NOW)) else {
        panic!("it takes too long for a shard")
    };
    let node = crate::names::Node { number: 0, start: 0 };
    let connection = crate::names::ConnectionId { node, shard: 0, slot: 7, generation: 0 };
    gatekeeper.wait_for_renewal(connection, question, Bringer::Handler(None), at(1));
    assert!(gatekeeper.overdue_renewal(at(15)).is_none());
    let overdue = gatekeeper.overdue_renewal(at(16));
    assert!(matches!(overdue, Some((7, Bringer::Handler(None), Err(NotRenewed::Busy)))));
    assert!(gatekeeper.overdue_renewal(at(99)).is_none());
    gatekeeper.forget(7);
    assert!(gatekeeper.is_empty());
}
