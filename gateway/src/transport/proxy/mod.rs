//! The layer `proxy`: a header in front of all else, in which a proxy says who its peer is (PROXY
//! protocol, `tidegate_proto::proxy`).
//!
//! Whoever may send a header may say that it is anybody, so it is known before whether one is
//! believed: of those that are not listed nothing is read at all. Once a connection's header is
//! there, its bytes are those of what is above. What else it says of the client ([`ProxyFacts`]) is
//! kept until that has opened a connection, and what is above was told.

mod facts;
mod refusal;

use ipnet::IpNet;
use tidegate_proto::proxy::{self, Endpoints, ProxyHeader, ProxyParsed};

use super::Broken;
use crate::config::stack::ProxyLayer;
use crate::kernel::{Peer, Slot, SlotSet};
use facts::FactTable;
pub use facts::{ProxyFacts, TlsToProxy};
pub use refusal::ProxyRefusal;

/// Who is believed, and how much they may say, as a listener's stack has it.
pub(super) struct Believed {
    /// Empty where everybody is.
    from: Vec<IpNet>,
    /// Bytes of the longest header.
    max: usize,
    /// Bytes that are kept of what else is said of a client.
    keep: usize,
}

impl Believed {
    pub(super) fn new(layer: &ProxyLayer) -> Self {
        let ProxyLayer { from, max, keep, .. } = layer;
        Self { from: from.clone(), max: *max as usize, keep: *keep as usize }
    }

    /// Whether what a peer says of who it is holds.
    pub(super) fn has(&self, peer: Peer) -> bool {
        let is_in = |ip| self.from.iter().any(|network| network.contains(&ip));
        self.from.is_empty() || peer.ip().is_some_and(is_in)
    }
}

/// What a header has said of who the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyTold {
    /// It is this one.
    Peer(Peer),
    /// It is who it seems to be: the proxy speaks for itself, or has no words for its peer.
    Nothing,
}

impl ProxyTold {
    fn new(header: &ProxyHeader<'_>) -> Self {
        match header.endpoints {
            Endpoints::Tcp { source, .. } => Self::Peer(source.into()),
            // The names of another machine's sockets mean nothing here, but to whoever reads them.
            Endpoints::Local | Endpoints::Unix { .. } | Endpoints::Unknown => Self::Nothing,
        }
    }
}

/// What a shard keeps of connections that come through proxies, whatever their listeners.
pub struct Proxied {
    /// Whose header is not all there.
    awaited: SlotSet,
    /// Whose header is there, and of what is behind it nothing yet.
    bare: SlotSet,
    /// What else was said of those who have yet to open.
    facts: FactTable,
    /// What the header has said that was read last, and why what was read last is none; until the
    /// shard takes them.
    told: Option<ProxyTold>,
    refusal: Option<ProxyRefusal>,
}

impl Proxied {
    /// The bytes that it holds for so many slots.
    #[must_use]
    pub fn bytes(slots: u32) -> u64 {
        2 * SlotSet::bytes(slots)
    }

    /// None yet, in so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            awaited: SlotSet::new(slots),
            bare: SlotSet::new(slots),
            facts: FactTable::default(),
            told: None,
            refusal: None,
        }
    }

    /// The most bytes that the facts of so many slots take, if of each so many bytes are kept.
    #[must_use]
    pub fn fact_bytes(slots: u32, keep: u32) -> u64 {
        FactTable::bytes(slots, keep)
    }

    /// A connection has come in, which has to begin with a header.
    pub(super) fn begin(&mut self, slot: Slot) {
        self.awaited.insert(slot);
    }

    /// Whether the header of a connection is not all there.
    pub(super) fn awaits(&self, slot: Slot) -> bool {
        self.awaited.contains(slot)
    }

    /// Whether what comes next on a connection has to be looked at here.
    pub(super) fn looks_at(&self, slot: Slot) -> bool {
        self.awaited.contains(slot) || self.bare.contains(slot)
    }

    /// Reads what has come of a connection that is looked at, whose proxy is `believed`: how long
    /// its header is, if there is one and all of it is there, or nothing of it if that has come
    /// before.
    ///
    /// # Errors
    /// It is no header, or there are two: see [`Proxied::take_refusal`].
    pub(super) fn read(
        &mut self,
        believed: &Believed,
        slot: Slot,
        received: &[u8],
    ) -> Result<Option<usize>, Broken> {
        let header = match self.awaited.contains(slot) {
            false => None,
            true => match proxy::parse_within(received, believed.max) {
                Ok(ProxyParsed::Incomplete) => return Ok(None),
                Ok(ProxyParsed::Whole { length, header }) => Some((length, header)),
                Err(mistake) => return Err(self.refuse(ProxyRefusal::Mistake(mistake))),
            },
        };
        let length = header.map_or(0, |(length, _)| length);
        let behind = &received[length..];
        // A header that is cut is not waited for: what is above begins as it likes, and may mean
        // what the first bytes of one are.
        if proxy::looks_like_header(behind) {
            return Err(self.refuse(ProxyRefusal::Twice));
        }
        self.awaited.remove(slot);
        self.bare.remove(slot);
        if behind.is_empty() {
            self.bare.insert(slot);
        }
        self.told = header.map(|(_, header)| ProxyTold::new(&header));
        if let Some(facts) = header.and_then(|(_, header)| ProxyFacts::of(&header, believed.keep)) {
            self.facts.insert(slot, facts);
        }
        Ok(Some(length))
    }

    fn refuse(&mut self, refusal: ProxyRefusal) -> Broken {
        self.refusal = Some(refusal);
        Broken
    }

    /// What the header has said that was read just now, if there was one.
    pub fn take_told(&mut self) -> Option<ProxyTold> {
        self.told.take()
    }

    /// Why what came just now could not be read here, if it could not.
    pub fn take_refusal(&mut self) -> Option<ProxyRefusal> {
        self.refusal.take()
    }

    /// What a proxy has said of a connection that has yet to open, beside its address.
    #[must_use]
    pub fn facts(&self, slot: Slot) -> Option<&ProxyFacts> {
        self.facts.get(slot)
    }

    /// All who are told of it were: it is not kept any longer.
    pub fn forget_facts(&mut self, slot: Slot) {
        self.facts.remove(slot);
    }

    /// The bytes that what is known of clients holds.
    #[must_use]
    pub fn facts_held(&self) -> u64 {
        self.facts.held()
    }

    /// A connection has ended.
    pub(super) fn end(&mut self, slot: Slot) {
        self.awaited.remove(slot);
        self.bare.remove(slot);
        self.facts.remove(slot);
    }

    /// Whether nothing is known of anyone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.awaited.is_empty() && self.bare.is_empty() && self.facts.is_empty()
    }
}

#[cfg(test)]
mod tests;
