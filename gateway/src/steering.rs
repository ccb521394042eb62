//! How a gateway is steered from any thread: the wires to its shards, and its certificates.

mod certificates;
mod considering;
mod drains;
mod in_force;
mod not_changed;
mod plan_bounds;
mod relistening;
mod reload_report;
mod reloader;
mod revoking;
mod taking_over;

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::checks::Revocations;
use crate::config::Config;
use crate::kernel::Waker;
use crate::shard::{Panel, Vitals};
use drains::Drains;

pub use crate::checks::{
    Revocation, RevocationCounts, RevocationOrder, TakenIn, TokensOf, TooManyRevocations,
};
pub use crate::shard::{
    AfterDrain, Counters, DrainPhase, DrainPlan, DrainProgress, DrainRate, DrainScope,
};
pub(crate) use certificates::Reloads;
pub use certificates::{CertificateFacts, Certificates, NotReloaded, Reloaded, WrongFile};
pub use drains::{DrainAsked, DrainState, DrainStatus, NotBegun, NotTakenBack};
pub(crate) use in_force::InForce;
pub use not_changed::NotChanged;
pub use plan_bounds::WrongPlan;
pub(crate) use plan_bounds::{DEADLINE, DELAY};
pub use reload_report::{ReloadOptions, ReloadReport};
pub use reloader::{ConfigSource, Reloader};
pub(crate) use reloader::{Judge, Judged, ReloadCounts, ReloaderParts};

/// Steers a gateway from any thread; cheap to clone. It outlives its gateway, and does nothing
/// then.
#[derive(Clone)]
pub struct Handle {
    wires: Arc<[Wire]>,
    drains: Arc<Drains>,
    revocations: Revocations,
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
    /// The wires to so many shards of this configuration, which nobody listens to yet.
    ///
    /// # Errors
    ///
    /// The kernel refused a descriptor to wake a shard by.
    pub(crate) fn new(shards: usize, config: &Config) -> io::Result<Self> {
        let wires = (0..shards).map(|_| Wire::new()).collect::<io::Result<_>>()?;
        let (drains, revocations) =
            (Arc::new(Drains::new(config)), Revocations::new(config.revocations));
        Ok(Self { wires, drains, revocations })
    }

    /// The wire to each shard.
    pub(crate) fn wires(&self) -> &[Wire] {
        &self.wires
    }

    /// Begins to drain, after the configured delay, during which all goes on: nothing more is
    /// accepted, connections are closed at the configured rate, and those that are left at the
    /// configured time are closed at once. Then the gateway ends. A drain that is under way is
    /// replaced, unless the gateway ends for it already.
    pub fn drain(&self) {
        self.drains.leave(&self.wires);
    }

    /// Begins a drain as `plan` says, if none is under way. One of the whole gateway takes over
    /// from one of some connections.
    ///
    /// # Errors
    /// The plan is out of bounds (those of the configuration; a rate of all shards together is at
    /// most 100,000,000, and a drain of a part has the gateway stay), or another drain is under
    /// way.
    pub fn begin_drain(&self, plan: DrainPlan) -> Result<DrainStatus, NotBegun> {
        self.drains.begin(plan, &self.wires)
    }

    /// Takes back the drain that is under way: connections that were not told yet stay, and after
    /// one of the whole gateway who comes is served again. Returns how far it was.
    ///
    /// # Errors
    /// There is none, or it is too late.
    pub fn take_drain_back(&self) -> Result<DrainStatus, NotTakenBack> {
        self.drains.take_back(&self.wires)
    }

    /// How the last drain is.
    #[must_use]
    pub fn last_drain(&self) -> Option<DrainStatus> {
        self.drains.last()
    }

    /// What the configuration says of a drain.
    #[must_use]
    pub fn usual_drain(&self) -> Arc<DrainPlan> {
        self.drains.usual()
    }

    /// Drains are as this configuration says from now on, where nobody says otherwise.
    fn usually_drain_as(&self, config: &Config) {
        self.drains.usually_are_as(config);
    }

    /// Shows all shards how much of what it may have the process's control group has in use, in
    /// hundredths.
    pub(crate) fn show_group_memory(&self, hundredths: u64) {
        for wire in &*self.wires {
            wire.panel.show_group_memory(hundredths, &wire.waker);
        }
    }

    /// Ends the gateway at once; connections see their sockets close.
    pub fn stop(&self) {
        for wire in &*self.wires {
            wire.panel.stop(&wire.waker);
        }
    }

    /// Whether the gateway ends, and nothing keeps it from that.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_stopped() || self.last_drain().is_some_and(|drain| drain.is_final)
    }

    fn is_stopped(&self) -> bool {
        self.wires.iter().any(|wire| wire.panel.stops())
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

    /// Whether the gateway serves, and nobody has told it to end, or to drain.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        !self.is_stopped() && !self.drains.is_whole()
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
        let handle = Handle::new(3, &Config::default()).unwrap();
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
