//! Tokens by which a client takes up a subscription again that it could not ask for itself.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Name;

/// Bytes of the time at which a token expires.
const EXPIRY: usize = 4;
/// Bytes of what only the holder of the key can make.
const PROOF: usize = 16;
/// What tokens are made of may change: then those of before are none.
const VERSION: u8 = 1;

/// What resume tokens are made with. It is not shown by `Debug`, so that it ends in no log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResumeKey([u8; 32]);

/// The tokens of a gateway: what they are made with, and how long one is good.
#[derive(Clone, Copy, Debug)]
pub struct Resumes {
    /// What they are made with.
    pub key: ResumeKey,
    /// How long one is good.
    pub age: Duration,
}

impl Resumes {
    /// A token for a topic, for this user or for none, that is made now; `now` is counted from
    /// 1970.
    pub(crate) fn token(&self, topic: &Name, user: Option<&Name>, now: Duration) -> Box<str> {
        self.key.token(topic, user, now + self.age)
    }
}

impl ResumeKey {
    /// The key of a secret text.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A token for a topic, for this user or for none, until `expiry`, counted from 1970.
    pub(crate) fn token(&self, topic: &Name, user: Option<&Name>, expiry: Duration) -> Box<str> {
        let expiry = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
        let proof = self.proof(topic, user, expiry).finalize().into_bytes();
        let mut token = [0; EXPIRY + PROOF];
        token[..EXPIRY].copy_from_slice(&expiry);
        token[EXPIRY..].copy_from_slice(&proof[..PROOF]);
        URL_SAFE_NO_PAD.encode(token).into()
    }

    /// Whether a token is one for this topic and this user, and has not expired at `now`, counted
    /// from 1970.
    pub(crate) fn admits(
        &self,
        token: &str,
        topic: &Name,
        user: Option<&Name>,
        now: Duration,
    ) -> bool {
        let mut bytes = [0; EXPIRY + PROOF];
        if URL_SAFE_NO_PAD.decode_slice(token, &mut bytes) != Ok(bytes.len()) {
            return false;
        }
        let (expiry, proof) = bytes.split_at(EXPIRY);
        let expiry: [u8; EXPIRY] = expiry.try_into().expect("it was split there");
        // Compared in a time that tells nothing of how much of it is right.
        let is_right = self.proof(topic, user, expiry).verify_truncated_left(proof).is_ok();
        is_right && now.as_secs() < u32::from_be_bytes(expiry).into()
    }

    fn proof(&self, topic: &Name, user: Option<&Name>, expiry: [u8; EXPIRY]) -> Hmac<Sha256> {
        let mut proof = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        // Each part tells where it ends: a name has 200 bytes at most.
        let part = |proof: &mut Hmac<Sha256>, text: &str| {
            proof.update(&[text.len() as u8]);
            proof.update(text.as_bytes());
        };
        proof.update(&[VERSION]);
        part(&mut proof, topic.as_str());
        proof.update(&[user.is_some().into()]);
        part(&mut proof, user.map_or("", Name::as_str));
        proof.update(&expiry);
        proof
    }
}

const _: () = assert!(Name::LENGTH_MAX <= u8::MAX as usize);

impl fmt::Debug for ResumeKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ResumeKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn a_token_is_for_one_topic_one_user_and_a_time() {
        let key = ResumeKey::of("0123456789abcdef0123456789abcdef");
        let (topic, ann, second) = (name("rooms/a"), name("ann"), Duration::from_secs);
        let token = key.token(&topic, Some(&ann), second(100));
        assert_eq!(token.len(), 27);
        assert!(key.admits(&token, &topic, Some(&ann), second(99)));
        assert!(!key.admits(&token, &topic, Some(&ann), second(100)), "it has expired");
        assert!(!key.admits(&token, &topic, Some(&name("bob")), second(9)));
        assert!(!key.admits(&token, &topic, None, second(9)));
        assert!(!key.admits(&token, &name("rooms/b"), Some(&ann), second(9)));
        assert!(!ResumeKey::new([0; 32]).admits(&token, &topic, Some(&ann), second(9)));
        let of_none = key.token(&topic, None, second(100));
        assert!(key.admits(&of_none, &topic, None, second(9)));
        assert!(!key.admits(&of_none, &topic, Some(&ann), second(9)));
        // What is one name's end is not another's beginning.
        let joined = key.token(&name("rooms/aann"), None, second(100));
        assert!(!key.admits(&joined, &topic, Some(&ann), second(9)));
    }

    #[test]
    fn what_was_changed_is_no_token() {
        let key = ResumeKey::new([7; 32]);
        let topic = name("rooms/a");
        let token = key.token(&topic, None, Duration::from_secs(1 << 31));
        for at in 0..token.len() {
            let mut changed = token.clone().into_string().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("letters");
            assert!(!key.admits(&changed, &topic, None, Duration::ZERO), "{at}");
        }
        for none in ["", "AAAA", &token[1..], &format!("{token}A"), &format!("{token}="), "ä"] {
            assert!(!key.admits(none, &topic, None, Duration::ZERO), "{none}");
        }
        assert_eq!(format!("{key:?}"), "ResumeKey(…)");
    }
}
