//! Tokens that are known by themselves: what is kept of each is its SHA-256.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tidegate_proto::http::RequestHead;
use zeroize::Zeroizing;

use super::keys::{WrongKeyFile, contents};
use super::{Grant, NotAdmitted, Permissions, credentials};
use crate::config::{BearerToken, Jwt, StaticToken, TokenCheck, TokenSecret};

/// One of them.
struct KnownToken {
    name: String,
    digest: [u8; 32],
    grant: Arc<Grant>,
}

/// Those of a configuration.
#[derive(Default)]
pub(super) struct KnownTokens(Vec<KnownToken>);

impl KnownTokens {
    /// Reads where they are said.
    ///
    /// # Errors
    /// Each that cannot be used. None of them shows a token.
    pub(super) fn read(tokens: &[StaticToken]) -> Result<Self, Vec<WrongKeyFile>> {
        let (mut known, mut all_wrong) = (Vec::<KnownToken>::new(), Vec::new());
        for token in tokens {
            let same = |digest: &[u8; 32]| known.iter().find(|other| other.digest == *digest);
            let read = read(&token.secret).and_then(|digest| match same(&digest) {
                Some(other) => {
                    Err(format!("it is the token {} too: give each its own", other.name))
                }
                None => Ok(digest),
            });
            match read {
                Ok(digest) => {
                    let grant = Arc::new(grant(token));
                    known.push(KnownToken { name: token.name.clone(), digest, grant });
                }
                Err(wrong) => all_wrong.push(WrongKeyFile {
                    kind: "token",
                    issuer: token.name.clone(),
                    file: place(&token.secret),
                    wrong,
                }),
            }
        }
        if all_wrong.is_empty() { Ok(Self(known)) } else { Err(all_wrong) }
    }

    /// What the token of a request lets its bearer do.
    ///
    /// # Errors
    /// It has none that is taken.
    pub(super) fn check(
        &self,
        check: &TokenCheck,
        head: &RequestHead<'_>,
    ) -> Result<Arc<Grant>, NotAdmitted> {
        let token = credentials::find(head, &check.from)?;
        let digest = digest(&SHA256, &token);
        // All are compared, so that the time says nothing of which one it was.
        let (mut place, mut found) = (0, Choice::from(0));
        for (at, known) in self.0.iter().enumerate() {
            let is_it = known.digest.ct_eq(digest.as_ref());
            let is_it = is_it & Choice::from(u8::from(check.takes(&known.name)));
            place = u64::conditional_select(&place, &(at as u64), is_it);
            found |= is_it;
        }
        let known = self.0.get(place as usize).filter(|_| found.into());
        known.map(|known| Arc::clone(&known.grant)).ok_or(NotAdmitted::UnknownToken)
    }
}

impl fmt::Debug for KnownTokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|known| &known.name)).finish()
    }
}

/// The SHA-256 of a token.
fn read(secret: &TokenSecret) -> Result<[u8; 32], String> {
    let bytes = match secret {
        TokenSecret::Sha256(digest) => return Ok(*digest),
        TokenSecret::File(file) => contents(file)?,
        TokenSecret::Env(name) => {
            let value =
                env::var_os(name).ok_or("there is no such variable: set it to the token")?;
            Zeroizing::new(value.into_encoded_bytes())
        }
    };
    let token = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let token = token.strip_suffix(b"\r").unwrap_or(token);
    let text = str::from_utf8(token).map_err(|_| "it is no token: it is not text")?;
    BearerToken::new(text).map_err(|wrong| format!("it is no token: it {wrong}"))?;
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, token).as_ref());
    Ok(name)
}

fn place(secret: &TokenSecret) -> PathBuf {
    match secret {
        TokenSecret::File(file) => file.clone(),
        TokenSecret::Env(name) => name.into(),
        TokenSecret::Sha256(_) => "sha256".into(),
    }
}

fn grant(token: &StaticToken) -> Grant {
    let list = |list: &Option<Vec<_>>| list.clone().map(Vec::into_boxed_slice);
    let permissions =
        Permissions { subscribe: list(&token.subscribe), publish: list(&token.publish) };
    let says_nothing = permissions == Permissions::default();
    Grant {
        user: token.user.clone(),
        permissions: (!says_nothing).then(|| Arc::new(permissions)),
        // It may be taken back.
        expired: Jwt::EXPIRED,
        ..Grant::default()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::http::{Status, parse_request};

    use super::*;
    use crate::names::Name;

    const TOKEN: &str = "0123456789abcdef";

    fn file(name: &str, text: &str) -> PathBuf {
        let name = format!("tidegate-token-{name}-{}", std::process::id());
        let path = env::temp_dir().join(name);
        std::fs::write(&path, text).expect("it is writable");
        path
    }

    fn of(token: &str) -> [u8; 32] {
        digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("32 bytes")
    }

    fn ask(
        known: &KnownTokens,
        check: &TokenCheck,
        lines: &str,
    ) -> Result<Arc<Grant>, NotAdmitted> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let Ok(Status::Complete(head)) = parse_request(text.as_bytes(), 8192) else {
            panic!("no request: {text}")
        };
        known.check(check, &head)
    }

    #[test]
    fn a_token_is_found_among_those_that_a_route_takes() {
        let ada = StaticToken {
            user: Name::new("ada").ok(),
            publish: Some(Vec::new()),
            ..StaticToken::new("ada", TokenSecret::File(file("good", &format!("{TOKEN}\r\n"))))
        };
        let other = "another-token-of-somebody";
        let bob = StaticToken::new("bob", TokenSecret::Sha256(of(other)));
        let known = KnownTokens::read(&[bob, ada]).expect("right");
        let (all, bob) =
            (TokenCheck::default(), TokenCheck { by: vec!["bob".into()], ..TokenCheck::default() });
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let grant = ask(&known, &all, &bearer(TOKEN)).expect("it is known");
        assert_eq!(grant.user, Name::new("ada").ok());
        assert!(grant.permissions.as_ref().is_some_and(|one| one.subscribe.is_none()));
        assert!(ask(&known, &bob, &bearer(other)).is_ok_and(|grant| grant.permissions.is_none()));
        for (check, lines, denied) in [
            (&bob, bearer(TOKEN), NotAdmitted::UnknownToken),
            (&all, bearer(&TOKEN[1..]), NotAdmitted::UnknownToken),
            (&all, bearer(&format!("{TOKEN}0")), NotAdmitted::UnknownToken),
            (&all, String::new(), NotAdmitted::NoToken),
            (&all, format!("Cookie: t={TOKEN}\r\n"), NotAdmitted::NoToken),
            (&all, bearer(TOKEN) + &bearer(TOKEN), NotAdmitted::TwoTokens),
        ] {
            assert_eq!(ask(&known, check, &lines), Err(denied), "{lines}");
        }
        assert_eq!(
            ask(&KnownTokens::default(), &all, &bearer(TOKEN)),
            Err(NotAdmitted::UnknownToken)
        );
    }

    #[test]
    fn what_is_no_token_is_named_and_not_shown() {
        let secrets = [
            (TokenSecret::File("/nowhere/at/all".into()), "cannot be read"),
            (TokenSecret::Env("TIDEGATE_TEST_NO_SUCH_VARIABLE".into()), "no such variable"),
            (
                TokenSecret::File(file("short", "tooshort1")),
                "must have 16 to 256 characters, has 9",
            ),
            (TokenSecret::File(file("blank", "has a blank in the middle")), "visible ASCII"),
        ];
        for (secret, why) in secrets {
            let wrong = KnownTokens::read(&[StaticToken::new("x", secret)]).expect_err(why);
            let said = wrong[0].to_string();
            assert!(said.starts_with("token x: ") && said.contains(why), "{said}");
            assert!(!said.contains("tooshort1") && !said.contains("middle"), "{said}");
        }
        let twice = ["a", "b"].map(|name| StaticToken::new(name, TokenSecret::Sha256([1; 32])));
        let wrong = KnownTokens::read(&twice).expect_err("one twice");
        assert_eq!(
            wrong[0].to_string(),
            "token b: sha256: it is the token a too: give each its own"
        );
    }
}
