//! Who the peers are: as long as it is told, and what the layer `log` says of them.

use super::Details;
use crate::kernel::{Peer, Slot};
use crate::memory::SideTable;
use crate::protocol::services::Profile;
use crate::transport::proxy::ProxyTold;

/// The addresses of peers of which something is told or logged.
#[derive(Default)]
pub(super) struct Peers {
    by_slot: SideTable<Peer>,
    /// Of those of whom a proxy has told another address, that of the proxy, if it is logged.
    proxies: SideTable<Peer>,
}

impl Peers {
    /// Keeps the address of a connection that has come in.
    pub(super) fn keep(&mut self, slot: Slot, peer: Peer) {
        self.by_slot.insert(slot, peer);
    }

    /// A proxy has said who the peer is, or that it is who it seems to be; of several the last
    /// holds, and the first is the socket's. `keeps` says whether the peer's address is kept, and
    /// that of the proxy.
    pub(super) fn is_told(
        &mut self,
        slot: Slot,
        told: ProxyTold,
        profile: &Profile,
        [keeps_peer, keeps_proxy]: [bool; 2],
    ) {
        let proxy = self.by_slot.remove(slot);
        let peer = match told {
            ProxyTold::Peer(peer) => Some(peer),
            ProxyTold::Nothing => proxy,
        };
        let Some(peer) = peer.filter(|_| keeps_peer) else { return };
        self.by_slot.insert(slot, peer);
        let (ProxyTold::Peer(_), Some(proxy)) = (told, proxy) else { return };
        if (profile.logs_transport || keeps_proxy) && self.proxies.get(slot).is_none() {
            self.proxies.insert(slot, proxy);
        }
        if profile.logs_transport {
            tracing::info!(target: "tidegate::transport", %peer, %proxy, slot, "told");
        }
    }

    /// The address of the socket's other end, whatever a proxy there has told, if it is kept.
    pub(super) fn at_socket(&self, slot: Slot) -> Peer {
        self.proxy(slot).or_else(|| self.get(slot)).unwrap_or(Peer::Unknown)
    }

    /// The address of the proxy that has told another one, if it is kept.
    pub(super) fn proxy(&self, slot: Slot) -> Option<Peer> {
        self.proxies.get(slot).copied()
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
    pub(super) fn has_opened(&mut self, slot: Slot, is_logged: bool) -> Peer {
        let peer = match is_logged {
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
        let proxy = self.proxies.remove(slot);
        if let Some(peer) = self.by_slot.remove(slot)
            && profile.logs_transport
        {
            let proxy = proxy.map(tracing::field::display);
            tracing::info!(target: "tidegate::transport", %peer, proxy, slot, "closed");
        }
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> u64 {
        self.by_slot.held() + self.proxies.held()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_slot.is_empty() && self.proxies.is_empty()
    }
}
