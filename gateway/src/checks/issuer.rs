//! An issuer of tokens: its keys, and what its tokens have to say.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Header, decode, decode_header};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::endpoint::Endpoint;
use super::keys::{self, IssuerKey, WrongKeyFile};
use super::{Grant, NotAdmitted, Permissions, Revocations};
use crate::config::{Jwt, TopicPattern};
use crate::names::Name;

/// How many keys are tried for a token that does not say which one it is signed with.
const TRIES_MAX: usize = 4;

/// With an answer of its endpoint that is no older, a key that is not in it is none of the
/// issuer's.
const FRESH: Duration = Duration::from_secs(30);

/// The most patterns of a claim.
const PATTERNS_MAX: usize = 64;

/// What a token claims.
type Claims = Map<String, Value>;

/// An issuer of tokens, with its keys. All shards and verifiers share it.
pub struct Issuer {
    /// What is wanted of its tokens.
    pub config: Jwt,
    /// What it is called, as its tokens have it.
    name: Arc<str>,
    /// From its files.
    keys: Vec<IssuerKey>,
    /// Where it has others, and those, which may be others at any time.
    endpoint: Option<Endpoint>,
    fetched: ArcSwap<Vec<IssuerKey>>,
    /// How often these have changed.
    changes: AtomicU64,
    answers: AtomicU64,
    failures: AtomicU64,
    /// When its endpoint has answered last, in milliseconds from `begun`; 0 for never.
    answered_at: AtomicU64,
    begun: Instant,
    /// A token has a key that is not known.
    is_asked: Notify,
}

/// What is told of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerFacts {
    /// What routes call it.
    pub name: String,
    /// How many keys it has now.
    pub keys: u64,
    /// How often its endpoint has answered rightly.
    pub answers: u64,
    /// How often it has not.
    pub failures: u64,
}

impl Issuer {
    /// One with the keys that are in its files.
    ///
    /// # Errors
    /// Each file that cannot be used.
    pub fn read(config: &Jwt) -> Result<Self, Vec<WrongKeyFile>> {
        let keys = keys::read(config)?;
        let endpoint = Endpoint::of(config).map_err(|wrong| {
            let file = config.jwks_ca.clone().unwrap_or_default();
            vec![WrongKeyFile { kind: "jwt", issuer: config.name.clone(), file, wrong }]
        })?;
        Ok(Self {
            config: config.clone(),
            name: config.name.as_str().into(),
            keys,
            endpoint,
            fetched: ArcSwap::default(),
            changes: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            begun: Instant::now(),
            is_asked: Notify::new(),
        })
    }

    /// Whether another one wants the same of its tokens, and has the same keys in its files.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.config == other.config && self.keys == other.keys
    }

    /// It has the keys that another one was told at its endpoint, if that is its own as well and it
    /// wants the same of its tokens: what is wanted of a token is kept with the key.
    pub(super) fn keep_fetched_of(&self, other: &Self) {
        let Jwt { keys, secrets, .. } = self.config.clone();
        let is_same = self.config == Jwt { keys, secrets, ..other.config.clone() };
        if self.config.jwks.is_some() && is_same {
            self.fetched.store(other.fetched.load_full());
            self.answered_at.store(0, Ordering::Relaxed);
        }
    }

    /// Where it has keys beside those of its files.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Its endpoint has these keys: they take the place of those that it had. Whether they are
    /// others.
    pub(super) fn take_keys(&self, keys: Vec<IssuerKey>) -> bool {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let fetched = self.fetched.load();
        // In any order. Either way: a set that names a key twice may lack another for it.
        let is_same = keys.iter().all(|key| fetched.contains(key))
            && fetched.iter().all(|key| keys.contains(key));
        if !is_same {
            self.fetched.store(Arc::new(keys));
            // Behind the keys: who sees it sees them.
            self.changes.fetch_add(1, Ordering::Release);
        }
        let at = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered_at.store(at.max(1), Ordering::Relaxed);
        !is_same
    }

    /// Its endpoint has not answered rightly.
    pub(super) fn has_failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How often its keys have changed: what was verified before may be signed with one that it
    /// has no longer.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether any key is known.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty() || !self.fetched.load().is_empty()
    }

    /// Waits until a token comes whose key is not known.
    pub(super) async fn is_asked(&self) {
        self.is_asked.notified().await;
    }

    /// What is told of it.
    #[must_use]
    pub fn facts(&self) -> IssuerFacts {
        IssuerFacts {
            name: self.config.name.clone(),
            keys: (self.keys.len() + self.fetched.load().len()) as u64,
            answers: self.answers.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Whether a token takes so little to verify that the shard does it itself: an HMAC takes a
    /// microsecond or two, a signature up to a tenth of a millisecond.
    ///
    /// # Errors
    /// It is not good, as far as its header tells: none of it has to be verified.
    pub fn is_quick(&self, token: &[u8]) -> Result<bool, NotAdmitted> {
        let header = header(token)?;
        let fetched = self.fetched.load();
        self.keys_for(&header, &fetched).map(|_| is_hmac(header.alg))
    }

    /// What a token lets its bearer do, if it is good.
    ///
    /// # Errors
    /// Why it is not. Whether it holds `now` is asked of the grant ([`Grant::holds`]).
    pub fn verify(&self, token: &[u8]) -> Result<Grant, NotAdmitted> {
        let header = header(token)?;
        let fetched = self.fetched.load();
        let mut denied = NotAdmitted::UnknownKey;
        for key in self.keys_for(&header, &fetched)? {
            match decode::<Claims>(token, &key.key, &key.validation) {
                Ok(verified) => return self.grant(&verified.claims),
                Err(error) => denied = denied_for(&error),
            }
            if denied != NotAdmitted::Signature {
                break;
            }
        }
        Err(denied)
    }

    /// The keys that may have signed a token.
    ///
    /// # Errors
    /// None is known. Where they are at an endpoint that may know by now, it is asked, and
    /// whoever has the token is to try again.
    fn keys_for<'k>(
        &'k self,
        header: &Header,
        fetched: &'k [IssuerKey],
    ) -> Result<Vec<&'k IssuerKey>, NotAdmitted> {
        keys_for(header, self.keys.iter().chain(fetched)).map_err(|denied| {
            let Some(last) = self.endpoint.as_ref().map(|_| self.last_answer()) else {
                return denied;
            };
            let Some(age) = last else { return NotAdmitted::NoKeys };
            if denied != NotAdmitted::UnknownKey {
                return denied;
            }
            self.is_asked.notify_one();
            if age > FRESH { NotAdmitted::NoKeys } else { denied }
        })
    }

    /// How long ago its endpoint has answered last, if it has.
    fn last_answer(&self) -> Option<Duration> {
        let at = self.answered_at.load(Ordering::Relaxed);
        let now = self.begun.elapsed();
        (at > 0).then(|| now.saturating_sub(Duration::from_millis(at)))
    }

    /// What the claims of a token that is signed rightly come to.
    fn grant(&self, claims: &Claims) -> Result<Grant, NotAdmitted> {
        let Jwt { user, subscribe, publish, leeway, must_expire, expired, .. } = &self.config;
        let leeway = leeway.as_secs();
        let until = time(claims, "exp")?;
        if until.is_none() && *must_expire {
            return Err(NotAdmitted::Claims);
        }
        let permissions = Permissions {
            subscribe: patterns(claims, subscribe)?,
            publish: patterns(claims, publish)?,
        };
        let says_nothing = permissions == Permissions::default();
        Ok(Grant {
            user: if user.is_empty() { None } else { Some(name(claims, user)?) },
            permissions: (!says_nothing).then(|| Arc::new(permissions)),
            from: time(claims, "nbf")?.map(|from| from.saturating_sub(leeway)),
            until: until.map(|until| until.saturating_add(leeway)),
            expired: *expired,
            id: id(claims),
            // It is wanted for no other check: of one that is wrong it is as if it were not there.
            issued: time(claims, "iat").unwrap_or_default(),
            issuer: Some(Arc::clone(&self.name)),
        })
    }
}

/// The header of a token.
///
/// # Errors
/// It has none, or one that is not understood.
fn header(token: &[u8]) -> Result<Header, NotAdmitted> {
    let header = decode_header(token).map_err(|error| match error.kind() {
        // RFC 7519 section 6: `none` is no algorithm here.
        ErrorKind::Json(_) => NotAdmitted::Algorithm,
        _ => NotAdmitted::Malformed,
    })?;
    // RFC 7515 section 4.1.11: "If any of the listed extension Header Parameters are not
    // understood and supported by the recipient, then the JWS is invalid." None is here.
    if header.crit.is_some() { Err(NotAdmitted::Algorithm) } else { Ok(header) }
}

/// The keys that may have signed a token. RFC 7515 section 4.1.4: `kid` is "a hint indicating which
/// key was used".
///
/// # Errors
/// There is none.
fn keys_for<'k>(
    header: &Header,
    all: impl Iterator<Item = &'k IssuerKey> + Clone,
) -> Result<Vec<&'k IssuerKey>, NotAdmitted> {
    if all.clone().next().is_none() {
        return Err(NotAdmitted::NoKeys);
    }
    let signs: Vec<_> = all.filter(|key| key.validation.algorithms.contains(&header.alg)).collect();
    if signs.is_empty() {
        return Err(NotAdmitted::Algorithm);
    }
    let wanted = header.kid.as_deref();
    let is_it = |key: &&&IssuerKey| wanted.is_some() && key.id.as_deref() == wanted;
    let named: Vec<_> = signs.iter().filter(is_it).copied().collect();
    if !named.is_empty() {
        return Ok(named);
    }
    // A key without a name may be any; one with another is not meant.
    let others = signs.into_iter().filter(|key| wanted.is_none() || key.id.is_none());
    let others: Vec<_> = others.take(TRIES_MAX).collect();
    if others.is_empty() { Err(NotAdmitted::UnknownKey) } else { Ok(others) }
}

impl Grant {
    /// Checks that it holds at this time since 1970.
    ///
    /// # Errors
    /// [`NotAdmitted::TooEarly`], [`NotAdmitted::Expired`].
    pub fn holds(&self, now: Duration) -> Result<(), NotAdmitted> {
        let now = now.as_secs();
        // RFC 7519 section 4.1.5: "the current date/time MUST be after or equal to the not-before
        // date/time".
        if self.from.is_some_and(|from| now < from) {
            return Err(NotAdmitted::TooEarly);
        }
        // Section 4.1.4: "the current date/time MUST be before the expiration date/time".
        if self.until.is_some_and(|until| now >= until) {
            return Err(NotAdmitted::Expired);
        }
        Ok(())
    }
}

const fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

fn denied_for(error: &Error) -> NotAdmitted {
    match error.kind() {
        ErrorKind::InvalidSignature => NotAdmitted::Signature,
        ErrorKind::InvalidIssuer => NotAdmitted::Issuer,
        ErrorKind::InvalidAudience => NotAdmitted::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => NotAdmitted::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => NotAdmitted::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => NotAdmitted::Algorithm,
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Utf8(_) => {
            NotAdmitted::Claims
        }
        _ => NotAdmitted::Malformed,
    }
}

/// RFC 7519 section 2: a `NumericDate` has "the number of seconds from 1970-01-01T00:00:00Z UTC
/// until the specified UTC date/time", and may have a fraction.
fn time(claims: &Claims, name: &str) -> Result<Option<u64>, NotAdmitted> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let whole = number.as_u64();
            let fraction = || number.as_f64().filter(|one| *one >= 0.0).map(|one| one as u64);
            whole.or_else(fraction).map(Some).ok_or(NotAdmitted::Claims)
        }
        Some(_) => Err(NotAdmitted::Claims),
    }
}

/// RFC 7519 section 4.1.7: `jti` is "a case-sensitive string". One that is none, or is too long to
/// be taken back by, is none here.
fn id(claims: &Claims) -> Option<Box<str>> {
    let text = claims.get("jti")?.as_str()?;
    (1..=Revocations::ID_MAX).contains(&text.len()).then(|| text.into())
}

/// The name of the user that a claim has: a text or a whole number.
fn name(claims: &Claims, claim: &str) -> Result<Name, NotAdmitted> {
    let named = match claims.get(claim) {
        Some(Value::String(text)) => Name::new(text),
        Some(Value::Number(number)) if number.is_u64() => Name::new(&number.to_string()),
        _ => return Err(NotAdmitted::Claims),
    };
    named.map_err(|_| NotAdmitted::Claims)
}

/// The patterns that a claim has: a list of them, or one.
fn patterns(claims: &Claims, claim: &str) -> Result<Option<Box<[TopicPattern]>>, NotAdmitted> {
    let one = |value: &Value| {
        let text = value.as_str().ok_or(NotAdmitted::Claims)?;
        TopicPattern::new(text).map_err(|_| NotAdmitted::Claims)
    };
    match claims.get(claim).filter(|_| !claim.is_empty()) {
        None => Ok(None),
        Some(Value::Array(list)) if list.len() <= PATTERNS_MAX => {
            list.iter().map(one).collect::<Result<_, _>>().map(Some)
        }
        Some(Value::Array(_)) => Err(NotAdmitted::Claims),
        Some(value) => one(value).map(|one| Some(Box::new([one]) as Box<[_]>)),
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, keys, .. } = self;
        let mut out = out.debug_struct("Issuer");
        out.field("name", &config.name).field("keys", &keys.len()).finish_non_exhaustive()
    }
}
