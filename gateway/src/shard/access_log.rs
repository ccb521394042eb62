//! What the layer `log` says.

use super::Shard;
use crate::handler::End;
use crate::uring::{Ring, Slot};

impl<R: Ring> Shard<R> {
    pub(super) fn log_open(&self, slot: Slot, path: &str) {
        let listener = usize::from(self.table[slot].listener);
        if let Some(peer) = self.peers.get(&slot)
            && self.config.listeners[listener].stack.log_websocket
        {
            tracing::info!(target: "tidegate::websocket", %peer, slot, path, "opened");
        }
    }

    pub(super) fn log_end(&self, slot: Slot, end: End) {
        let listener = usize::from(self.table[slot].listener);
        if let Some(peer) = self.peers.get(&slot)
            && self.config.listeners[listener].stack.log_websocket
        {
            let End { code, by_peer } = end;
            tracing::info!(target: "tidegate::websocket", %peer, slot, %code, by_peer, "closed");
        }
    }

    pub(super) fn log_closed(&mut self, slot: Slot) {
        let listener = usize::from(self.table[slot].listener);
        if let Some(peer) = self.peers.remove(&slot)
            && self.config.listeners[listener].stack.log_transport
        {
            tracing::info!(target: "tidegate::transport", %peer, slot, "closed");
        }
    }
}
