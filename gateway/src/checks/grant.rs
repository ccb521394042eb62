//! What a token lets its bearer do.

use std::sync::Arc;

use crate::config::TopicPattern;
use crate::names::Name;

/// What a token lets its bearer do, once it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Who it is.
    pub user: Option<Name>,
    /// What it says of topics; `None` if nothing.
    pub permissions: Option<Arc<Permissions>>,
    /// From when on, in seconds since 1970.
    pub from: Option<u64>,
    /// Until when, likewise; the issuer's clock may be off by the leeway.
    pub until: Option<u64>,
    /// The code that who has it is closed with then.
    pub expired: u16,
    /// Its own id (`jti`), if it says one that it can be called by.
    pub id: Option<Box<str>>,
    /// When it was issued (`iat`), in seconds since 1970, if it says so.
    pub issued: Option<u64>,
    /// What the configuration calls its issuer; `None` of one that is known by itself.
    pub issuer: Option<Arc<str>>,
}

/// What a token says of topics: patterns of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permissions {
    /// What its bearer may subscribe to; `None` if it says nothing of that.
    pub subscribe: Option<Box<[TopicPattern]>>,
    /// What it may publish on, likewise.
    pub publish: Option<Box<[TopicPattern]>>,
}

impl Grant {
    /// The bytes that it holds, counted high.
    pub(crate) fn bytes(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.as_str().len());
        let permissions = self.permissions.as_ref().map_or(0, |permissions| permissions.bytes());
        let id = self.id.as_ref().map_or(0, |id| id.len());
        size_of::<Self>() + user + permissions + id
    }
}

impl Permissions {
    /// What belongs to an `Arc` beside the value.
    const COUNTS: usize = 16;

    /// The bytes that they hold, counted high.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = self.subscribe.iter().chain(&self.publish);
        let patterns: usize = lists.flat_map(|list| list.iter()).map(TopicPattern::bytes).sum();
        size_of::<Self>() + Self::COUNTS + patterns
    }
}
