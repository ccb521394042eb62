//! The token that a client was let in with, and those that the outside brings in its place.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bearer::Token;

/// What a client has, as far as it is known: the outside shares it.
#[derive(Clone)]
pub struct Bearing(Rc<RefCell<Tokens>>);

struct Tokens {
    held: Token,
    /// What was brought in its place, and may have taken that already.
    brought: Vec<(u64, Token)>,
}

impl Bearing {
    /// A client comes with this one.
    pub fn new(token: Token) -> Self {
        Self(Rc::new(RefCell::new(Tokens { held: token, brought: Vec::new() })))
    }

    /// Whether each is so that it may have now.
    pub fn all(&self, is_so: impl Fn(&Token) -> bool) -> bool {
        let tokens = self.0.borrow();
        // One that never holds takes no other's place.
        let brought = tokens.brought.iter().map(|(_, token)| token);
        let mut brought = brought.filter(|token| token.until.is_some());
        is_so(&tokens.held) && brought.all(is_so)
    }

    /// Whether one is so that it may have now.
    pub fn any(&self, is_so: impl Fn(&Token) -> bool) -> bool {
        !self.all(|token| !is_so(token))
    }

    /// Whose it is.
    pub fn user(&self) -> &'static str {
        self.0.borrow().held.user
    }

    /// How many are brought of which it is not known what has come.
    pub fn brought(&self) -> usize {
        self.0.borrow().brought.len()
    }

    /// The outside brings one, which it calls by this number.
    pub fn brings(&self, number: u64, token: &Token) {
        self.0.borrow_mut().brought.push((number, token.clone()));
    }

    /// It is known what has come of that one: it has taken the other's place, or has not.
    pub fn is_told(&self, number: u64, has_taken: bool) {
        let mut tokens = self.0.borrow_mut();
        let place = tokens.brought.iter().position(|(one, _)| *one == number);
        let (_, token) = tokens.brought.remove(place.expect("it was brought"));
        if has_taken {
            tokens.held = token;
        }
    }
}
