//! What a line is made of.

use std::sync::Arc;
use std::time::Duration;

use crate::kernel::Peer;
use crate::names::{ConnectionId, Name};
use crate::protocol::asked::AskedFor;

/// The most bytes of a route's path that are said.
const ROUTE_BYTES: usize = 256;

/// What a line says, as a shard hands it over: nothing of it is written out yet.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    /// When, since 1970.
    pub(crate) at: Duration,
    pub(crate) event: AccessEvent,
    pub(crate) id: ConnectionId,
    pub(crate) peer: Option<Peer>,
    pub(crate) proxied_by: Option<Peer>,
    /// The address of the listener, as configured.
    pub(crate) listener: Option<Arc<str>>,
    /// The path pattern of the route.
    pub(crate) route: Option<Arc<str>>,
    pub(crate) spoken: &'static str,
    pub(crate) tls: Option<&'static str>,
    pub(crate) user: Option<Name>,
    pub(crate) asked: Option<Arc<AskedFor>>,
    pub(crate) status: Option<u16>,
    pub(crate) reason: Option<&'static str>,
    /// The bytes of the body, or of the payloads that were said.
    pub(crate) bytes_out: Option<u64>,
    /// Of one that was open.
    pub(crate) stay: Option<AccessStay>,
    /// Refusals without a line since the shard's last one.
    pub(crate) left_out: u64,
}

/// What there is to say of a connection that was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessStay {
    pub(crate) open_for: Duration,
    /// The close code, where WebSocket is spoken.
    pub(crate) code: Option<u16>,
    pub(crate) by_peer: bool,
    pub(crate) messages_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) messages_out: u64,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessEvent {
    /// A connection has opened.
    Opened,
    /// One that was open has ended.
    Closed,
    /// A response was sent.
    Answered,
    /// Who came, or asked, was refused.
    Refused,
}

impl AccessEvent {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Answered => "answered",
            Self::Refused => "refused",
        }
    }
}

impl AccessRecord {
    /// The most bytes that one holds.
    pub(crate) const BYTES: usize = size_of::<Self>() + AskedFor::BYTES + Name::LENGTH_MAX + 16;

    /// The path pattern of the route, or the beginning of a long one.
    pub(super) fn route(&self) -> Option<&str> {
        let path = self.route.as_deref()?;
        Some(&path[..path.floor_char_boundary(ROUTE_BYTES)])
    }
}

#[cfg(test)]
impl AccessRecord {
    /// Of somebody who has asked by this head.
    pub(super) fn of(head: &[u8]) -> Self {
        use crate::names::Node;
        let node = Node { number: 7, start: 1 };
        Self {
            at: Duration::from_millis(1_796_000_000_123),
            event: AccessEvent::Refused,
            id: ConnectionId { node, shard: 0, slot: 3, generation: 0 },
            peer: Some(Peer::Ip(([192, 0, 2, 1], 4711).into())),
            proxied_by: None,
            listener: Some("127.0.0.1:8080".into()),
            route: None,
            spoken: "http",
            tls: None,
            user: None,
            asked: Some(Arc::new(AskedFor::of(head, None))),
            status: Some(404),
            reason: Some("not_found"),
            bytes_out: Some(34),
            stay: None,
            left_out: 0,
        }
    }
}
