//! How a gateway is steered from any thread: the wires to its shards, and its certificates.

mod certificates;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::kernel::Waker;
use crate::shard::{Command, Panel, Vitals};

pub use crate::shard::Counters;
pub(crate) use certificates::Reloads;
pub use certificates::{CertificateFacts, Certificates, NotReloaded, Reloaded, WrongFile};

/// Steers a gateway from any thread; cheap to clone. It outlives its gateway, and does nothing
/// then.
#[derive(Clone)]
pub struct Handle {
    wires: Arc<[Wire]>,
    /// When it was told to drain.
    drained: Arc<OnceLock<Instant>>,
}

/// Whether the shards of a gateway have turns of their loops.
#[derive(Debug)]
pub struct Pulse {
    handle: Handle,
    /// How many turns each shard had shown when it was looked at last.
    turns: Vec<u64>,
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
        let wires = (0..shards).map(|_| Wire::new()).collect::<io::Result<_>>()?;
        Ok(Self { wires, drained: Arc::default() })
    }

    /// The wire to each shard.
    pub(crate) fn wires(&self) -> &[Wire] {
        &self.wires
    }

    /// Begins to drain, after the configured delay, during which all goes on: nothing more is
    /// accepted, connections are closed at the configured rate, and those that are left at the
    /// configured time are closed at once. Then the gateway ends.
    pub fn drain(&self) {
        self.drained.get_or_init(Instant::now);
        self.tell(Command::Drain);
    }

    /// How long ago the gateway was told to drain, if it was.
    #[must_use]
    pub fn told_to_drain(&self) -> Option<Duration> {
        self.drained.get().map(Instant::elapsed)
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

impl Pulse {
    /// Begins to look at the shards behind `handle`.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        let mut pulse = Self { handle, turns: Vec::new() };
        pulse.turns = pulse.look();
        pulse
    }

    /// The shards that have had no turn since they were looked at last. Shards that sleep are
    /// woken, so that they have one until the next time, which should be half a second from now, or
    /// later: a shard with connections shows its turns at its ticks. Shards that have ended have
    /// none.
    pub fn still(&mut self) -> Vec<usize> {
        let turns = self.look();
        let before = std::mem::replace(&mut self.turns, turns);
        let pairs = self.turns.iter().zip(before).enumerate();
        pairs.filter(|(_, (now, before))| *now == before).map(|(shard, _)| shard).collect()
    }

    /// How many turns each shard has shown; wakes all of them.
    fn look(&self) -> Vec<u64> {
        let wires = self.handle.wires().iter();
        let shown = wires.map(|wire| {
            let turns = wire.panel.counters.load().loops;
            wire.waker.wake();
            turns
        });
        shown.collect()
    }
}

impl Wire {
    fn new() -> io::Result<Self> {
        Ok(Self { panel: Arc::new(Panel::default()), waker: Waker::new()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_without_turns_is_told_of() {
        let handle = Handle::new(3).unwrap();
        let show = |shard: usize, loops| {
            handle.wires()[shard].panel.counters.store(&Counters { loops, ..Counters::default() });
        };
        let mut pulse = Pulse::new(handle.clone());
        assert!(handle.wires().iter().all(|wire| wire.waker.clear()), "all were woken");
        (0..3).for_each(|shard| show(shard, 7));
        assert_eq!(pulse.still(), [0; 0]);
        show(0, 8);
        assert_eq!(pulse.still(), [1, 2]);
        (1..3).for_each(|shard| show(shard, 8));
        assert_eq!(pulse.still(), [0]);
        assert!(handle.wires().iter().all(|wire| wire.waker.clear()), "all were woken again");
    }
}
