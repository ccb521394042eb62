//! What the listeners of a gateway shake hands with.

use std::sync::Arc;

use super::server::TlsServer;

/// What handshakes are made with, by listener, in the order of the configuration.
#[derive(Clone, Default)]
pub struct TlsServers(Arc<[Option<Arc<TlsServer>>]>);

impl TlsServers {
    /// Those of all listeners; `None` for one without the layer `tls`.
    #[must_use]
    pub fn new(by_listener: Vec<Option<Arc<TlsServer>>>) -> Self {
        Self(by_listener.into())
    }

    /// That of a listener, if its stack has the layer.
    #[must_use]
    pub fn of(&self, listener: usize) -> Option<Arc<TlsServer>> {
        self.0.get(listener).cloned().flatten()
    }
}
