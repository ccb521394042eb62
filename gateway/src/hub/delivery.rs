//! What goes from a topic's home to its subscribers.

use std::sync::Arc;
use std::time::Duration;

use super::{Encoded, Form, Publication};
use crate::names::{ConnectionId, Name, Position};

/// One thing that subscribers are told, the same for all of them.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Of a topic, or one that stands for a user; `None`: it was sent to one connection, or all.
    pub(crate) topic: Option<Name>,
    /// The topic's hash.
    pub(crate) hash: u64,
    pub(crate) position: Option<Position>,
    pub(crate) what: What,
}

/// What subscribers are told.
#[derive(Debug)]
pub(crate) enum What {
    Message(Issue),
    /// Someone came. Told to those only who want events.
    Join(Who),
    /// Someone left, likewise.
    Leave(Who),
    /// So many came and left since this was told last, and so many are there now: told in place of
    /// each by itself where many are present.
    Counts {
        joined: u32,
        left: u32,
        total: u64,
    },
}

/// A message, as it is told.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) publication: Publication,
    /// When it was taken in, counted from 1970.
    pub(crate) time: Duration,
    /// It was sent to all connections, whatever they are subscribed to.
    pub(crate) to_all: bool,
    /// What it was encoded to once for all who want it in a form.
    pub(crate) encoded: Vec<Encoded>,
}

/// One who can be present.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// A user, by any number of connections.
    User(Name),
    /// A connection that has no user: its id, printed.
    Connection(Arc<str>),
}

impl Who {
    /// What one more record of it may hold, in bytes.
    pub(super) fn held(&self) -> u64 {
        let text = match self {
            Self::User(name) => name.as_str(),
            Self::Connection(id) => id,
        };
        (size_of::<Self>() + text.len() + 2 * size_of::<usize>()) as u64
    }
}

impl What {
    /// A message that was taken in at this time, counted from 1970.
    pub(crate) fn said(publication: Publication, time: Duration) -> Self {
        Self::Message(Issue { publication, time, to_all: false, encoded: Vec::new() })
    }
}

impl Delivery {
    /// The connection that it does not go to.
    pub(crate) fn except(&self) -> Option<ConnectionId> {
        match &self.what {
            What::Message(message) => message.publication.except,
            What::Join(_) | What::Leave(_) | What::Counts { .. } => None,
        }
    }

    /// The message; `None` if it is none.
    pub(crate) fn publication(&self) -> Option<&Publication> {
        match &self.what {
            What::Message(message) => Some(&message.publication),
            What::Join(_) | What::Leave(_) | What::Counts { .. } => None,
        }
    }

    /// What was encoded once for all who want it in this form.
    pub(crate) fn encoded(&self, form: Form) -> Option<&Encoded> {
        match &self.what {
            What::Message(message) => message.encoded.iter().find(|encoded| encoded.form() == form),
            What::Join(_) | What::Leave(_) | What::Counts { .. } => None,
        }
    }

    /// Bytes of the message as it was published; 0 if it is none.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.publication().map_or(0, |publication| publication.message.bytes().len() as u64)
    }
}
