//! What the layer `log` says.

use super::connections::Connections;
use crate::kernel::{Ring, Slot};
use crate::protocol::serve::End;
use crate::protocol::turn::Opened;

impl<R: Ring> Connections<R> {
    pub(super) fn log_open(&self, slot: Slot, opened: &Opened) {
        if let (Some(peer), Some(path)) = (self.peers.get(&slot), &opened.path) {
            tracing::info!(target: "tidegate::websocket", %peer, slot, path, "opened");
        }
    }

    pub(super) fn log_end(&self, slot: Slot, end: End) {
        if let Some(peer) = self.peers.get(&slot)
            && self.sockets.profile(slot).logs_websocket
        {
            let End { code, by_peer } = end;
            tracing::info!(target: "tidegate::websocket", %peer, slot, %code, by_peer, "closed");
        }
    }

    pub(super) fn log_closed(&mut self, slot: Slot) {
        if let Some(peer) = self.peers.remove(&slot)
            && self.sockets.profile(slot).logs_transport
        {
            tracing::info!(target: "tidegate::transport", %peer, slot, "closed");
        }
    }
}
