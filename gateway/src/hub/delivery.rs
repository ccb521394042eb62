//! What goes from a topic's home to its subscribers.

use std::sync::Arc;

use super::{Encoded, Form, Publication};
use crate::names::{ConnectionId, Name, Position};

/// One thing that subscribers are told, the same for all of them.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// `None`: it was sent to connections directly.
    pub(crate) topic: Option<Name>,
    /// The topic's hash.
    pub(crate) hash: u64,
    pub(crate) position: Option<Position>,
    pub(crate) what: What,
}

/// What subscribers are told.
#[derive(Debug)]
pub(crate) enum What {
    /// A message, and what it was encoded to once for all who want it in a form.
    Message(Publication, Vec<Encoded>),
    /// Someone came. Told to those only who want events.
    Join(Who),
    /// Someone left, likewise.
    Leave(Who),
}

/// One who can be present.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// A user, by any number of connections.
    User(Name),
    /// A connection that has no user: its id, printed.
    Connection(Arc<str>),
}

impl Delivery {
    /// The connection that it does not go to.
    pub(crate) fn except(&self) -> Option<ConnectionId> {
        match &self.what {
            What::Message(publication, _) => publication.except,
            What::Join(_) | What::Leave(_) => None,
        }
    }

    /// The message; `None` if it is none.
    pub(crate) fn publication(&self) -> Option<&Publication> {
        match &self.what {
            What::Message(publication, _) => Some(publication),
            What::Join(_) | What::Leave(_) => None,
        }
    }

    /// What was encoded once for all who want it in this form.
    pub(crate) fn encoded(&self, form: Form) -> Option<&Encoded> {
        match &self.what {
            What::Message(_, encoded) => encoded.iter().find(|encoded| encoded.form() == form),
            What::Join(_) | What::Leave(_) => None,
        }
    }

    /// Bytes of the message as it was published; 0 if it is none.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.publication().map_or(0, |publication| publication.message.bytes().len() as u64)
    }
}
