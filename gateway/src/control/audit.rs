//! What the log says of those who steer the gateway: who has asked for what, and what came of it.

use std::fmt;

use axum::http::Method;
use axum::http::request::Parts;

use super::aws;
use super::recent::LastHour;
use crate::hub::Target;
use crate::kernel::Peer;
use crate::names::Name;

/// Who is on the other end of a connection to the admin address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) Peer);

/// By what a request was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// The token at this place of `admin.tokens`.
    Token(usize),
    /// It needs none: there are no tokens, or its path is open to anyone.
    None,
}

/// What is changed, and for whom: said of an answer by whatever has made it.
#[derive(Clone, Debug)]
pub(super) struct Concerning(pub(super) String);

impl Concerning {
    /// Something is done with these.
    pub(super) fn target(target: &Target) -> Self {
        Self(match target {
            Target::Connection(id) => format!("connection {id}"),
            Target::User(name) => format!("user {name}"),
            Target::Topic(name) => format!("topic {name}"),
            Target::All => "all connections".into(),
        })
    }

    /// Something is done with these on a topic.
    pub(super) fn target_on(target: &Target, topic: &Name) -> Self {
        let Self(target) = Self::target(target);
        Self(format!("{target}, topic {topic}"))
    }
}

/// A request that changes something.
pub(super) struct Change {
    caller: Option<Peer>,
    credential: Credential,
    method: Method,
    path: Box<str>,
}

impl Change {
    /// What a request changes; `None` if it only asks.
    pub(super) fn of(request: &Parts, credential: Credential) -> Option<Self> {
        if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        let caller = request.extensions.get().map(|Caller(peer)| *peer);
        let path = request.uri.path().into();
        Some(Self { caller, credential, method: request.method.clone(), path })
    }

    /// Says that it was answered with this status. Messages that are published are many, and said
    /// at the level `debug`; all else at `info`.
    pub(super) fn tell(self, hour: &LastHour, status: u16, concerning: Option<&Concerning>) {
        let Self { caller, credential, method, path } = self;
        let peer = caller.map(tracing::field::display);
        let concerning = concerning.map(|Concerning(what)| what.as_str());
        let path = &*path;
        if path.starts_with("/v1/publish") || (method == Method::POST && aws::has(path)) {
            tracing::debug!(
                target: "tidegate::admin", peer, by = %credential, %method, path, status, "asked"
            );
        } else {
            let what = concerning.unwrap_or_default();
            hour.happened("change", &format!("{method} {path} {what} by {credential}: {status}"));
            tracing::info!(
                target: "tidegate::admin",
                peer, by = %credential, %method, path, concerning, status,
                "asked"
            );
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(place) => write!(out, "token {place}"),
            Self::None => out.write_str("nobody's token"),
        }
    }
}
