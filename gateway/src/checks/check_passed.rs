//! What comes of a check, and what is to be found out elsewhere first.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::passwords::PasswordQuestion;
use super::verifiers::ReservedPlace;
use super::{Grant, Issuer};
use crate::names::Ticket;

/// What has come of a check that was passed, or is not over.
pub(crate) enum CheckPassed {
    /// With this.
    With(Arc<Grant>),
    /// Its token or its password has to be verified first.
    Later(CheckQuestion),
}

/// What has come of a token: what it grants, or that it has to be verified first.
pub(super) enum TokenPassed {
    With(Arc<Grant>),
    Later(TokenQuestion),
}

/// What is to be verified elsewhere.
pub(crate) enum CheckQuestion {
    /// A token.
    Token(TokenQuestion),
    /// A password.
    Password(PasswordQuestion),
}

impl CheckQuestion {
    /// Has it verified: what is found out is told with this ticket.
    pub(crate) fn ask(self, ticket: Ticket) {
        match self {
            Self::Token(question) => question.ask(ticket),
            Self::Password(question) => question.ask(ticket),
        }
    }
}

/// A token that is to be verified elsewhere.
pub(crate) struct TokenQuestion {
    pub(super) reserved: ReservedPlace,
    pub(super) issuer: Arc<Issuer>,
    pub(super) token: Zeroizing<Box<[u8]>>,
}

impl TokenQuestion {
    /// Has it verified: what is found out is told with this ticket.
    pub(super) fn ask(self, ticket: Ticket) {
        let Self { reserved, issuer, token } = self;
        reserved.submit(issuer, &token, ticket);
    }
}
