//! Tokens that are taken back in the middle of a run, and are good again, or not; and what whoever
//! has one may see of that.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidegate::checks::{RevocationOrder, Revocations, TokensOf};
use tidegate::names::Name;

use crate::bearer::{self, Token};
use crate::random::Random;
use crate::several::Several;
use crate::world::BEGINNING;

/// How many may be in force.
pub const MOST: u32 = 5;

/// Longer than any calendar goes on.
const FOR_EVER: Duration = Duration::from_secs(4_000_000_000);

/// What was taken back, and when, as the outside knows it.
#[derive(Clone, Default)]
pub struct Takings(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// How often something has changed.
    changes: Cell<usize>,
    all: RefCell<Vec<Taking>>,
}

struct Taking {
    number: u64,
    order: RevocationOrder,
    /// With which change it was said, and with which it has ended.
    from: usize,
    until: Option<usize>,
}

impl Takings {
    /// How often something has changed so far.
    pub fn changes(&self) -> usize {
        self.0.changes.get()
    }

    fn change(&self) -> usize {
        self.0.changes.set(self.changes() + 1);
        self.changes()
    }

    /// Whether a token is taken back now.
    pub fn hold(&self, token: &Token) -> bool {
        self.any(token, |taking| taking.until.is_none())
    }

    /// Whether it was all the time since then.
    pub fn hold_since(&self, token: &Token, since: usize) -> bool {
        self.any(token, |taking| taking.from <= since && taking.until.is_none())
    }

    /// Whether it was at some time since then.
    pub fn held_since(&self, token: &Token, since: usize) -> bool {
        self.any(token, |taking| taking.until.is_none_or(|until| until > since))
    }

    fn any(&self, token: &Token, when: impl Fn(&Taking) -> bool) -> bool {
        let all = self.0.all.borrow();
        all.iter().any(|taking| when(taking) && is_meant(&taking.order, token))
    }
}

/// Whether a token is one of those.
fn is_meant(order: &RevocationOrder, token: &Token) -> bool {
    let is_older = |before: Duration| Duration::from_secs(token.issued) < before;
    let is_whose = match &order.tokens {
        TokensOf::Anybody => true,
        TokensOf::User(user) => user.as_str() == token.user,
        TokensOf::Id(id) => **id == *token.id,
    };
    is_whose && order.issued_before.is_none_or(is_older)
}

/// Takes them back.
pub struct Revoker {
    random: Random,
    /// Turns between two changes, on average; `None` for none.
    each: Option<usize>,
    next_at: usize,
    revocations: Revocations,
    takings: Takings,
}

impl Revoker {
    /// What happens in a run, of which these are.
    pub fn draw(random: &mut Random, revocations: &Revocations, takings: &Takings) -> Self {
        // Drawn apart, so that a run in which nothing is taken back is as if nothing could.
        let mut random = Random::new(!random.clone().bits() ^ 0xE7);
        let each = random.chance(400).then(|| random.pick(&[20, 200, 1000]));
        Self {
            each,
            next_at: random.below(1000),
            random,
            revocations: revocations.clone(),
            takings: takings.clone(),
        }
    }

    /// Does what is due.
    pub fn act(&mut self, several: &Several) {
        let Some(each) = self.each.filter(|_| several.turns() >= self.next_at) else { return };
        self.next_at = several.turns() + self.random.between(1, 2 * each);
        if self.random.chance(400) {
            return self.withdraw();
        }
        self.take_back();
        // Who is not woken sees it at a tick.
        if self.random.chance(800) {
            several.outsides.iter().for_each(|outside| outside.waker.wake());
        }
    }

    fn take_back(&mut self) {
        let token = Token::draw(&mut self.random);
        let before = Duration::from_secs(token.issued + self.random.below(2) as u64);
        let user = || TokensOf::User(Name::new(token.user).expect("a name"));
        let (tokens, issued_before) = match self.random.below(4) {
            0 => (user(), None),
            1 => (user(), Some(before)),
            2 => (TokensOf::Id(token.id.as_str().into()), None),
            _ => (TokensOf::Anybody, Some(before)),
        };
        let issuer = self.random.chance(300).then(|| bearer::ISSUER.into());
        let order = RevocationOrder { tokens, issuer, issued_before, until: FOR_EVER };
        let Ok(taken) = self.revocations.take_back(order.clone(), BEGINNING) else {
            let in_force = self.revocations.counts(BEGINNING).in_force;
            return assert_eq!(in_force, u64::from(MOST), "there was room");
        };
        if taken.is_new {
            let (number, from) = (taken.revocation.number, self.takings.change());
            let taking = Taking { number, order, from, until: None };
            self.takings.0.all.borrow_mut().push(taking);
        }
    }

    fn withdraw(&mut self) {
        let mut all = self.takings.0.all.borrow_mut();
        let mut in_force: Vec<_> = all.iter_mut().filter(|one| one.until.is_none()).collect();
        if in_force.is_empty() {
            return;
        }
        let place = self.random.below(in_force.len());
        let gone = &mut in_force[place];
        assert!(self.revocations.withdraw(gone.number, BEGINNING).is_some());
        gone.until = Some(self.takings.change());
    }
}
