//! How a gateway is steered from any thread: the wires to its shards.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::kernel::Waker;
use crate::shard::{Command, Panel, Vitals};

pub use crate::shard::Counters;

/// Steers a gateway from any thread; cheap to clone. It outlives its gateway, and does nothing
/// then.
#[derive(Clone)]
pub struct Handle {
    wires: Arc<[Wire]>,
}

/// The wire to one shard.
pub(crate) struct Wire {
    pub(crate) panel: Arc<Panel>,
    pub(crate) waker: Waker,
}

impl Handle {
    /// The wires to so many shards, which nobody listens to yet.
    ///
    /// # Errors
    ///
    /// The kernel refused a descriptor to wake a shard by.
    pub(crate) fn new(shards: usize) -> io::Result<Self> {
        Ok(Self { wires: (0..shards).map(|_| Wire::new()).collect::<io::Result<_>>()? })
    }

    /// The wire to each shard.
    pub(crate) fn wires(&self) -> &[Wire] {
        &self.wires
    }

    /// Begins to drain: nothing more is accepted, connections are closed at the configured rate,
    /// and those that are left at the configured time are closed at once. Then the gateway ends.
    pub fn drain(&self) {
        self.tell(Command::Drain);
    }

    /// Ends the gateway at once; connections see their sockets close.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// What all shards have counted, as each has shown it last: at its last tick, so some seconds
    /// ago in a shard without connections, or at its end.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.wires.iter().map(|wire| wire.panel.counters.load()).sum()
    }

    /// What each shard has counted and shown of itself, likewise.
    pub(crate) fn by_shard(&self) -> Vec<(Counters, Vitals)> {
        let shown = |wire: &Wire| (wire.panel.counters.load(), wire.panel.vitals.load());
        self.wires.iter().map(shown).collect()
    }

    /// Whether the gateway serves, and nobody has told it to end.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.wires.iter().all(|wire| wire.panel.command() == Command::Run)
    }

    fn tell(&self, command: Command) {
        for wire in &*self.wires {
            wire.panel.tell(command, &wire.waker);
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handle").field("shards", &self.wires.len()).finish_non_exhaustive()
    }
}

impl Wire {
    fn new() -> io::Result<Self> {
        Ok(Self { panel: Arc::new(Panel::default()), waker: Waker::new()? })
    }
}
