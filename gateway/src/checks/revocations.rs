//! Tokens that were taken back: a table that the gateway has once, and that all shards look at.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};

use super::taken_back::TakenBack;
use crate::names::Name;

/// Of which tokens it is said that they are taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokensOf {
    /// All of them.
    Anybody,
    /// Those of this user.
    User(Name),
    /// The one with this id (`jti`, RFC 7519 section 4.1.7). Say its issuer as well.
    Id(Box<str>),
}

/// What is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationOrder {
    /// Which tokens.
    pub tokens: TokensOf,
    /// Only those of this issuer, as the configuration calls it; `None` for whatever issuer, and
    /// for the user's tokens that are known by themselves.
    pub issuer: Option<Box<str>>,
    /// Only those that were issued before this moment, counted from 1970; those that do not say
    /// when they were are taken for older. Tokens that are known by themselves are not meant then.
    pub issued_before: Option<Duration>,
    /// Until when, counted from 1970 in whole seconds.
    pub until: Duration,
}

/// A revocation that is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its number: none is given out twice.
    pub number: u64,
    /// When it was said, counted from 1970.
    pub made_at: Duration,
    /// Which tokens.
    pub tokens: TokensOf,
    /// Of which issuer alone.
    pub issuer: Option<Arc<str>>,
    /// Until when, in seconds since 1970.
    pub until: u64,
    /// Issued before this moment, in milliseconds since 1970; `u64::MAX` for whenever.
    pub(super) before: u64,
    /// Where it is looked for.
    pub(super) place: u64,
}

impl Revocation {
    /// Before which moment tokens were issued that it means, counted from 1970; `None` for all.
    #[must_use]
    pub fn issued_before(&self) -> Option<Duration> {
        (self.before < u64::MAX).then(|| Duration::from_millis(self.before))
    }
}

/// There is no room for another revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRevocations {
    /// How many there may be.
    pub most: u32,
}

impl fmt::Display for TooManyRevocations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { most } = self;
        write!(out, "{most} revocations are in force, as many as may be (`revocations`)")
    }
}

impl std::error::Error for TooManyRevocations {}

/// The tokens that were taken back; cheap to clone. All clones are one table.
#[derive(Clone)]
pub struct Revocations(Arc<RevocationsInner>);

struct RevocationsInner {
    most: u32,
    table: Mutex<RevocationTable>,
    current: Arc<ArcSwap<TakenBack>>,
    made: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct RevocationTable {
    entries: BTreeMap<u64, Arc<Revocation>>,
    /// The number of the last one.
    last: u64,
}

/// What is counted of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationCounts {
    /// How many are in force.
    pub in_force: u64,
    /// How many were made.
    pub made: u64,
    /// How many were not, because there was no room.
    pub refused: u64,
}

/// What takes a revocation in: one that there was, or a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenIn {
    /// As it is now.
    pub revocation: Arc<Revocation>,
    /// There was none that says the same.
    pub is_new: bool,
}

impl Revocations {
    /// The most characters of a token's id.
    pub const ID_MAX: usize = 256;

    /// What one takes at most, in bytes, counted high: its texts, its place in the table, and in
    /// what shards look at, of which one may be there that they have yet to let go.
    pub(super) const BYTES: u64 = 1024;

    /// None yet, and never more than so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self(Arc::new(RevocationsInner {
            most,
            table: Mutex::default(),
            current: Arc::new(ArcSwap::from_pointee(TakenBack::nothing())),
            made: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// How shards look at them.
    pub(super) fn reader(&self) -> Cache<Arc<ArcSwap<TakenBack>>, Arc<TakenBack>> {
        Cache::new(Arc::clone(&self.0.current))
    }

    /// Takes tokens back. When this returns no shard lets anybody in by one of them; connections
    /// that were let in are closed once shards have looked, for which they have to be woken. `now`
    /// counts from 1970.
    ///
    /// What was said before stays as it is, and ends later if that is said now.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn take_back(
        &self,
        order: RevocationOrder,
        now: Duration,
    ) -> Result<TakenIn, TooManyRevocations> {
        let RevocationOrder { tokens, issuer, issued_before, until } = order;
        let before = issued_before.map_or(u64::MAX, |at| {
            u64::try_from(at.as_millis()).unwrap_or(u64::MAX).min(u64::MAX - 1)
        });
        let (issuer, until) = (issuer.map(Arc::from), until.as_secs());
        let mut table = self.lock();
        let has_ended = table.forget_ended(now);
        let current = self.0.current.load();
        let place = current.place(&tokens);
        let same = |one: &&Arc<Revocation>| {
            one.place == place
                && one.before == before
                && one.tokens == tokens
                && one.issuer == issuer
        };
        let known = table.entries.values().find(same).map(Arc::clone);
        let is_new = known.is_none();
        let revocation = match known {
            Some(known) if known.until >= until => {
                return Ok(TakenIn { revocation: known, is_new });
            }
            Some(known) => Revocation { until, ..Revocation::clone(&known) },
            None if table.entries.len() >= self.0.most as usize => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                return Err(TooManyRevocations { most: self.0.most });
            }
            None => {
                table.last += 1;
                self.0.made.fetch_add(1, Ordering::Relaxed);
                let number = table.last;
                Revocation { number, made_at: now, tokens, issuer, until, before, place }
            }
        };
        let revocation = Arc::new(revocation);
        table.entries.insert(revocation.number, Arc::clone(&revocation));
        let all = table.entries.values();
        self.0.current.store(Arc::new(match has_ended {
            true => current.of(all),
            false => current.but(place, all),
        }));
        Ok(TakenIn { revocation, is_new })
    }

    /// What it says holds no longer; `None` if there is none of this number.
    pub fn withdraw(&self, number: u64, now: Duration) -> Option<Arc<Revocation>> {
        let mut table = self.lock();
        let gone = table.entries.remove(&number)?;
        table.forget_ended(now);
        self.0.current.store(Arc::new(self.0.current.load().of(table.entries.values())));
        (gone.until > now.as_secs()).then_some(gone)
    }

    /// The one of this number, if it is in force.
    #[must_use]
    pub fn get(&self, number: u64, now: Duration) -> Option<Arc<Revocation>> {
        let table = self.lock();
        table.entries.get(&number).filter(|one| one.until > now.as_secs()).map(Arc::clone)
    }

    /// Those that are in force, behind the one of this number, so many at most.
    #[must_use]
    pub fn list(&self, behind: u64, limit: usize, now: Duration) -> Vec<Arc<Revocation>> {
        let table = self.lock();
        let rest = table.entries.range((Bound::Excluded(behind), Bound::Unbounded));
        let in_force = rest.map(|(_, one)| one).filter(|one| one.until > now.as_secs());
        in_force.take(limit).map(Arc::clone).collect()
    }

    /// What is counted of them.
    #[must_use]
    pub fn counts(&self, now: Duration) -> RevocationCounts {
        let RevocationsInner { made, refused, .. } = &*self.0;
        let table = self.lock();
        let in_force = table.entries.values().filter(|one| one.until > now.as_secs()).count();
        RevocationCounts {
            in_force: in_force as u64,
            made: made.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, RevocationTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RevocationTable {
    /// Forgets those that have ended; whether there were any.
    fn forget_ended(&mut self, now: Duration) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, one| one.until > now.as_secs());
        self.entries.len() < before
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Revocations").field("most", &self.0.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checks::Grant;
    use crate::checks::taken_back::MarkedToken;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn user(name: &str) -> TokensOf {
        TokensOf::User(Name::new(name).expect("a name"))
    }

    fn order(tokens: TokensOf, before: Option<u64>, seconds: u64) -> RevocationOrder {
        RevocationOrder {
            tokens,
            issuer: None,
            issued_before: before.map(Duration::from_millis),
            until: NOW + Duration::from_secs(seconds),
        }
    }

    fn grant(user: &str, issued: u64) -> Grant {
        Grant {
            user: Name::new(user).ok(),
            issued: Some(issued),
            issuer: Some("jwt".into()),
            id: Some(format!("{user}-{issued}").into()),
            ..Grant::default()
        }
    }

    /// Whether a token is taken back, for whom it is shown and for whom has it.
    fn has(revocations: &Revocations, grant: &Grant, now: Duration) -> bool {
        let current = revocations.0.current.load();
        let marked = MarkedToken {
            mark: current.mark(grant),
            issued: grant.issued.unwrap_or_default(),
            issuer: grant.issuer.as_deref(),
        };
        let is_shown = current.has(grant, now);
        assert_eq!(is_shown, current.has_marked(&marked, now));
        is_shown
    }

    #[test]
    fn what_is_taken_back_is_that_and_nothing_else() {
        let all = [
            (order(user("ada"), None, 9), vec!["ada 5", "ada 8", "static ada"]),
            (order(user("ada"), Some(8000), 9), vec!["ada 5"]),
            (order(user("ada"), Some(8001), 9), vec!["ada 5", "ada 8"]),
            (order(TokensOf::Id("ada-5".into()), None, 9), vec!["ada 5"]),
            (order(TokensOf::Anybody, Some(6000), 9), vec!["ada 5", "bob 5"]),
            (
                RevocationOrder { issuer: Some("other".into()), ..order(user("ada"), None, 9) },
                vec![],
            ),
            (
                RevocationOrder { issuer: Some("jwt".into()), ..order(user("ada"), None, 9) },
                vec!["ada 5", "ada 8"],
            ),
        ];
        let known = Grant { issuer: None, issued: None, id: None, ..grant("ada", 0) };
        for (order, expected) in all {
            let revocations = Revocations::new(1);
            let taken = revocations.take_back(order.clone(), NOW).expect("room for one");
            assert!(taken.is_new);
            let tokens = [
                ("ada 5", grant("ada", 5)),
                ("ada 8", grant("ada", 8)),
                ("bob 5", grant("bob", 5)),
                ("static ada", known.clone()),
            ];
            for (name, grant) in tokens {
                let is_meant = expected.contains(&name);
                assert_eq!(has(&revocations, &grant, NOW), is_meant, "{order:?} {name}");
                let end = NOW + Duration::from_secs(8);
                assert_eq!(has(&revocations, &grant, end), is_meant, "{order:?} {name}");
                let end = NOW + Duration::from_secs(9);
                assert!(!has(&revocations, &grant, end), "it has ended: {order:?} {name}");
            }
            let number = taken.revocation.number;
            assert!(revocations.withdraw(number, NOW).is_some());
            assert!(!has(&revocations, &grant("ada", 5), NOW));
            assert!(revocations.withdraw(number, NOW).is_none());
        }
    }

    #[test]
    fn a_token_that_does_not_say_when_it_was_issued_is_taken_for_older() {
        let revocations = Revocations::new(1);
        revocations.take_back(order(user("ada"), Some(1), 9), NOW).expect("room for one");
        let silent = Grant { issued: None, ..grant("ada", 0) };
        assert!(has(&revocations, &silent, NOW));
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_for_what_has_ended() {
        let revocations = Revocations::new(2);
        let take = |name: &str, seconds, now| {
            revocations.take_back(order(user(name), None, seconds), now).map(|one| one.is_new)
        };
        assert_eq!(take("a", 5, NOW), Ok(true));
        assert_eq!(take("b", 9, NOW), Ok(true));
        assert_eq!(take("c", 9, NOW), Err(TooManyRevocations { most: 2 }));
        assert_eq!(take("a", 4, NOW), Ok(false), "it is there, and ends no sooner");
        assert_eq!(revocations.get(1, NOW).map(|one| one.until), Some(NOW.as_secs() + 5));
        assert_eq!(take("a", 6, NOW), Ok(false), "it is there, and ends later");
        assert_eq!(revocations.get(1, NOW).map(|one| one.until), Some(NOW.as_secs() + 6));
        let counts = RevocationCounts { in_force: 2, made: 2, refused: 1 };
        assert_eq!(revocations.counts(NOW), counts);
        let later = NOW + Duration::from_secs(6);
        assert_eq!(revocations.counts(later).in_force, 1);
        assert!(revocations.get(1, later).is_none());
        assert_eq!(take("c", 9, later), Ok(true));
        let list = revocations.list(0, 9, later);
        assert_eq!(list.iter().map(|one| one.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(revocations.list(2, 9, later).len(), 1);
        assert_eq!(revocations.list(0, 1, later).len(), 1);
        assert_eq!(Revocations::new(0).take_back(order(user("a"), None, 1), NOW).ok(), None);
    }

    proptest! {
        /// Beside one that asks each revocation.
        #[test]
        fn many_are_as_each_of_them(
            steps in prop::collection::vec(
                (0..3_u8, prop::option::of(0..8_u64), 1..12_u64, 0..3_u64, any::<bool>()),
                1..60,
            ),
        ) {
            let revocations = Revocations::new(40);
            let mut model: Vec<(u64, RevocationOrder)> = Vec::new();
            let mut now = NOW;
            for (whom, before, seconds, passes, withdraws) in steps {
                now += Duration::from_secs(passes);
                model.retain(|(_, one)| one.until > now);
                let tokens = match whom {
                    0 => TokensOf::Anybody,
                    1 => user("ada"),
                    _ => user("bob"),
                };
                let until = now + Duration::from_secs(seconds);
                let order =
                    RevocationOrder { until, ..order(tokens, before.map(|one| one * 1000), 0) };
                let taken = revocations.take_back(order.clone(), now);
                if let Ok(taken) = taken {
                    let number = taken.revocation.number;
                    let at = model.iter().position(|(other, _)| *other == number);
                    prop_assert_eq!(at.is_none(), taken.is_new);
                    match at {
                        Some(at) => model[at].1.until = model[at].1.until.max(until),
                        None => model.push((number, order)),
                    }
                }
                if withdraws && !model.is_empty() {
                    let (number, _) = model.remove(passes as usize % model.len());
                    prop_assert!(revocations.withdraw(number, now).is_some());
                }
                prop_assert_eq!(revocations.counts(now).in_force, model.len() as u64);
                for name in ["ada", "bob", "cy"] {
                    for issued in 0..8 {
                        let is_meant = model.iter().any(|(_, one)| {
                            let is_whose = match &one.tokens {
                                TokensOf::User(user) => user.as_str() == name,
                                _ => true,
                            };
                            is_whose && one.issued_before.is_none_or(|at| issued < at.as_secs())
                        });
                        prop_assert_eq!(has(&revocations, &grant(name, issued), now), is_meant);
                    }
                }
            }
        }
    }
}
