//! Who the peers are: as long as it is told, and what the layer `log` says of them.

use super::Details;
use crate::kernel::{Peer, Slot};
use crate::memory::SideTable;
use crate::protocol::services::Profile;

/// The addresses of peers of which something is told or logged.
#[derive(Default)]
pub(super) struct Peers {
    by_slot: SideTable<Peer>,
}

impl Peers {
    /// Keeps the address of a connection that has come in.
    pub(super) fn keep(&mut self, slot: Slot, peer: Peer) {
        self.by_slot.insert(slot, peer);
    }

    /// The address, if it is kept.
    pub(super) fn get(&self, slot: Slot) -> Option<Peer> {
        self.by_slot.get(slot).copied()
    }

    /// The address of an open connection, where it is kept: here, or among the hub's details.
    pub(super) fn known(&self, slot: Slot, details: &Details) -> Peer {
        let kept = details.get(slot).map(|(peer, _)| peer);
        kept.or_else(|| self.get(slot)).unwrap_or(Peer::Unknown)
    }

    /// The address of a connection that has opened; it is forgotten here, unless it is logged.
    pub(super) fn has_opened(&mut self, slot: Slot, profile: &Profile) -> Peer {
        let peer = match profile.logs() {
            true => self.get(slot),
            false => self.by_slot.remove(slot),
        };
        peer.unwrap_or(Peer::Unknown)
    }

    /// Whose opening and end is logged of those with this profile.
    pub(super) fn logged(&self, slot: Slot, profile: &Profile) -> Option<Peer> {
        if profile.logs_spoken { self.get(slot) } else { None }
    }

    /// The connection is closed, and its address forgotten.
    pub(super) fn has_closed(&mut self, slot: Slot, profile: &Profile) {
        if let Some(peer) = self.by_slot.remove(slot)
            && profile.logs_transport
        {
            tracing::info!(target: "tidegate::transport", %peer, slot, "closed");
        }
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> u64 {
        self.by_slot.held()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }
}
