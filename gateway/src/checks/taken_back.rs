//! Which tokens are taken back, as it is asked of each token that is shown, and of those that
//! connections have.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::Grant;
use super::revocations::{Revocation, TokensOf};

/// Of when a token is that is known by itself: such a one is not issued at any time, and is taken
/// back by whose it is alone.
const NEVER: u64 = u64::MAX - 1;

/// What a connection keeps of its token, to be found: hashes with keys that nobody knows, of so few
/// bits that two which are not the same meet once in 10^14.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenMark {
    /// Of its user; 0 for none.
    pub(super) user: u64,
    /// Of its own id, likewise.
    pub(super) id: u64,
}

/// A token that some connection has.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkedToken<'t> {
    pub(super) mark: TokenMark,
    /// When it was issued, in seconds since 1970; 0 if it does not say.
    pub(super) issued: u64,
    /// What the configuration calls its issuer; `None` of one that is known by itself.
    pub(super) issuer: Option<&'t str>,
}

/// Which tokens are taken back. It is never changed: another one takes its place.
#[derive(Clone)]
pub(super) struct TakenBack {
    /// How many there were before.
    version: u64,
    keys: RandomState,
    /// By the mark of whose they are.
    rules: HashMap<u64, Arc<[RevocationRule]>>,
}

/// What is said of the tokens of somebody.
struct RevocationRule {
    /// One of the revocations that say it: of the others issuer and tokens are the same.
    like: Arc<Revocation>,
    moments: Moments,
}

/// Until when tokens are taken back that were issued before which moment: until seconds since 1970,
/// before milliseconds. In falling order of the first, and in rising order of the second: what ends
/// earlier and says no more is left out.
struct Moments(Vec<(u64, u64)>);

impl Moments {
    fn put_in_order(&mut self) {
        // Of those that end together the one that says most is first, and the rest says no more.
        self.0.sort_unstable_by(|one, other| other.cmp(one));
        let mut most = 0;
        self.0.retain(|(_, before)| {
            let says_more = *before > most;
            most = most.max(*before);
            says_more
        });
    }

    /// Whether a token that was issued then is taken back now.
    fn cover(&self, issued: u64, now: u64) -> bool {
        let in_force = self.0.partition_point(|(until, _)| *until > now);
        self.0[..in_force].last().is_some_and(|(_, before)| issued < *before)
    }
}

impl TakenBack {
    /// None so far.
    pub(super) fn nothing() -> Self {
        Self { version: 0, keys: RandomState::new(), rules: HashMap::new() }
    }

    /// How often it has changed.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The bits that a mark has.
    const BITS: u64 = (1 << 48) - 1;

    fn hash(&self, kind: u8, text: &str) -> u64 {
        // 0 is nobody's.
        (self.keys.hash_one((kind, text)) & Self::BITS).max(1)
    }

    /// Where it is said what of these is taken back.
    pub(super) fn place(&self, tokens: &TokensOf) -> u64 {
        match tokens {
            TokensOf::Anybody => 0,
            TokensOf::User(user) => self.hash(1, user.as_str()),
            TokensOf::Id(id) => self.hash(2, id),
        }
    }

    /// What a connection keeps that was let in by such a token.
    pub(super) fn mark(&self, grant: &Grant) -> TokenMark {
        TokenMark {
            user: grant.user.as_ref().map_or(0, |user| self.hash(1, user.as_str())),
            id: grant.id.as_deref().map_or(0, |id| self.hash(2, id)),
        }
    }

    /// The same with these in place of those that there were.
    pub(super) fn of<'r>(&self, all: impl Iterator<Item = &'r Arc<Revocation>>) -> Self {
        let mut sorted: HashMap<u64, Vec<&Arc<Revocation>>> = HashMap::new();
        for one in all {
            sorted.entry(one.place).or_default().push(one);
        }
        let rules = sorted.into_iter().map(|(place, some)| (place, rules(&some))).collect();
        Self { version: self.version + 1, keys: self.keys.clone(), rules }
    }

    /// The same, where only at this place something has changed. `all` are those that there are.
    pub(super) fn but<'r>(
        &self,
        place: u64,
        all: impl Iterator<Item = &'r Arc<Revocation>>,
    ) -> Self {
        let some: Vec<_> = all.filter(|one| one.place == place).collect();
        let mut next = Self { version: self.version + 1, ..self.clone() };
        if some.is_empty() {
            next.rules.remove(&place);
        } else {
            next.rules.insert(place, rules(&some));
        }
        next
    }

    /// Whether nothing is taken back.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a token that grants this is taken back at this time since 1970.
    pub(super) fn has(&self, grant: &Grant, now: Duration) -> bool {
        if self.is_empty() {
            return false;
        }
        let token = MarkedToken {
            mark: self.mark(grant),
            issued: grant.issued.unwrap_or_default(),
            issuer: grant.issuer.as_deref(),
        };
        let is_meant = |one: &TokensOf| match one {
            TokensOf::Anybody => true,
            TokensOf::User(user) => grant.user.as_ref() == Some(user),
            TokensOf::Id(id) => grant.id.as_deref() == Some(id),
        };
        self.find(&token, now, is_meant)
    }

    /// Whether such a token is, of which no more is known.
    pub(super) fn has_marked(&self, token: &MarkedToken<'_>, now: Duration) -> bool {
        self.find(token, now, |_| true)
    }

    fn find(
        &self,
        token: &MarkedToken<'_>,
        now: Duration,
        is_meant: impl Fn(&TokensOf) -> bool,
    ) -> bool {
        let now = now.as_secs();
        let issued = token.issuer.map_or(NEVER, |_| token.issued.saturating_mul(1000).min(NEVER));
        let of_issuer = |one: &Revocation| match one.issuer.as_deref() {
            None => true,
            issuer => issuer == token.issuer,
        };
        let says_so = |place: u64| {
            self.rules.get(&place).is_some_and(|rules| {
                rules.iter().any(|RevocationRule { like, moments }| {
                    of_issuer(like) && is_meant(&like.tokens) && moments.cover(issued, now)
                })
            })
        };
        let TokenMark { user, id } = token.mark;
        says_so(0) || (user > 0 && says_so(user)) || (id > 0 && says_so(id))
    }
}

/// What is said by revocations that are at one place.
fn rules(some: &[&Arc<Revocation>]) -> Arc<[RevocationRule]> {
    let mut rules: Vec<RevocationRule> = Vec::new();
    for one in some {
        let moment = (one.until, one.before);
        let is_same = |rule: &&mut RevocationRule| {
            rule.like.tokens == one.tokens && rule.like.issuer == one.issuer
        };
        match rules.iter_mut().find(is_same) {
            Some(rule) => rule.moments.0.push(moment),
            None => {
                let (like, moments) = (Arc::clone(one), Moments(vec![moment]));
                rules.push(RevocationRule { like, moments });
            }
        }
    }
    rules.iter_mut().for_each(|rule| rule.moments.put_in_order());
    rules.into()
}
