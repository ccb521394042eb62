//! Whom a request is for, as JSON says it.

use serde::Deserialize;
use utoipa::ToSchema;

use super::error::Error;
use super::object::Object;
use crate::hub::Target;
use crate::names::{ConnectionId, Name};

/// Whom something is for: an object with one of these keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "Object<RawWhom>")]
pub(super) enum Whom {
    /// All subscribers of this topic.
    Topic(String),
    /// All connections of this user.
    User(String),
    /// The connection with this id.
    Connection(String),
    /// All open connections: `true`.
    All(bool),
}

/// The same as it comes in. An enum would read it as well, but call a second key a mistake of
/// syntax.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWhom {
    topic: Option<String>,
    user: Option<String>,
    connection: Option<String>,
    all: Option<bool>,
}

impl TryFrom<Object<RawWhom>> for Whom {
    type Error = &'static str;

    fn try_from(Object(raw): Object<RawWhom>) -> Result<Self, &'static str> {
        match (raw.topic, raw.user, raw.connection, raw.all) {
            (Some(name), None, None, None) => Ok(Self::Topic(name)),
            (None, Some(name), None, None) => Ok(Self::User(name)),
            (None, None, Some(id), None) => Ok(Self::Connection(id)),
            (None, None, None, Some(all)) => Ok(Self::All(all)),
            _ => Err("a target has one of `topic`, `user`, `connection` and `all`, and only one"),
        }
    }
}

impl Whom {
    pub(super) fn target(&self) -> Result<Target, Error> {
        match self {
            Self::Topic(name) => Ok(Target::Topic(Name::new(name)?)),
            Self::User(name) => Ok(Target::User(Name::new(name)?)),
            Self::Connection(id) => Ok(Target::Connection(connection_id(id)?)),
            Self::All(true) => Ok(Target::All),
            Self::All(false) => {
                Err(Error::invalid("`all` can only be true: name someone else in its place"))
            }
        }
    }
}

/// The connection id that `text` is.
pub(super) fn connection_id(text: &str) -> Result<ConnectionId, Error> {
    Ok(text.parse::<ConnectionId>()?)
}

/// A name that may be left out.
pub(super) fn name(text: Option<&str>) -> Result<Option<Name>, Error> {
    Ok(text.map(Name::new).transpose()?)
}
