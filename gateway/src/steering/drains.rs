//! Drains: one at a time, whoever asks for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::Wire;
use super::plan_bounds::{self, WrongPlan};
use crate::config::Config;
use crate::shard::{AfterDrain, DrainOrder, DrainPhase, DrainPlan, DrainProgress};

/// What was ordered last, and what the configuration says. All who order anything take turns here,
/// so that every shard sees the same orders one after the other.
pub(super) struct Drains {
    usual: ArcSwap<DrainPlan>,
    last: Mutex<Option<LastDrain>>,
}

/// What was ordered last.
struct LastDrain {
    order: Arc<DrainOrder>,
    asked: DrainAsked,
    began: Instant,
}

/// Who has asked for a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainAsked {
    /// A signal, or a program that embeds the gateway; also if it was begun by a plan, and was too
    /// far to be replaced.
    ToLeave,
    /// Somebody by [`Handle::begin_drain`](super::Handle::begin_drain), such as the admin address.
    ByPlan,
}

/// How a drain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainStatus {
    /// What it is to do.
    pub plan: DrainPlan,
    /// Who has asked for it.
    pub asked: DrainAsked,
    /// What has become of it.
    pub state: DrainState,
    /// Whether the gateway ends for it, so that it cannot be taken back.
    pub is_final: bool,
    /// How long ago it was asked for.
    pub elapsed: Duration,
    /// How far all shards are together.
    pub progress: DrainProgress,
    /// How far each is.
    pub by_shard: Vec<DrainProgress>,
}

/// What has become of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainState {
    /// The delay has yet to pass.
    Announced,
    /// Connections are being closed.
    Closing,
    /// None of those is left that it is about. After one of the whole gateway that stays, whoever
    /// comes is refused until it is taken back.
    Done,
    /// It was taken back, or another one has taken over.
    TakenBack,
}

/// Why a drain was not begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBegun {
    /// Its plan is none.
    Wrong(WrongPlan),
    /// Another one is under way: how that is.
    UnderWay(Box<DrainStatus>),
}

impl fmt::Display for NotBegun {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(wrong) => wrong.fmt(out),
            Self::UnderWay(_) => {
                out.write_str("another drain is under way: wait for its end, or take it back")
            }
        }
    }
}

impl std::error::Error for NotBegun {}

/// Why a drain was not taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTakenBack {
    /// There is none under way.
    None,
    /// The gateway ends for it: a shard has begun to close its listeners.
    TooLate,
}

impl Drains {
    pub(super) fn new(config: &Config) -> Self {
        let usual = DrainPlan::configured(config, AfterDrain::Leave);
        Self { usual: ArcSwap::from_pointee(usual), last: Mutex::default() }
    }

    pub(super) fn usual(&self) -> Arc<DrainPlan> {
        self.usual.load_full()
    }

    /// Those that begin from now on are as this configuration says.
    pub(super) fn usually_are_as(&self, config: &Config) {
        self.usual.store(Arc::new(DrainPlan::configured(config, AfterDrain::Leave)));
    }

    /// How the last one is.
    pub(super) fn last(&self) -> Option<DrainStatus> {
        self.lock().as_ref().map(LastDrain::status)
    }

    /// Whether one of the whole gateway is in force.
    pub(super) fn is_whole(&self) -> bool {
        self.lock()
            .as_ref()
            .is_some_and(|last| last.order.plan().scope.is_whole() && !last.order.is_taken_back())
    }

    /// The usual one, so that the gateway ends; unless it does already.
    pub(super) fn leave(&self, wires: &[Wire]) {
        let mut last = self.lock();
        let mut plan = DrainPlan::clone(&self.usual());
        if let Some(before) = &mut *last {
            let is_leaving = before.order.plan().after == AfterDrain::Leave;
            let has_told = before.is_in_force() && before.has_told_the_world();
            if is_leaving && before.is_in_force() {
                return;
            }
            if !before.order.take_back() {
                // The gateway ends for it. Who asks for that once more does not want to wait.
                before.asked = DrainAsked::ToLeave;
                return;
            }
            if has_told {
                // It has said for long enough that it is not ready.
                plan.delay = Duration::ZERO;
            }
        }
        *last = Some(LastDrain::begin(plan, DrainAsked::ToLeave, wires));
    }

    /// See [`Handle::begin_drain`](super::Handle::begin_drain).
    pub(super) fn begin(&self, plan: DrainPlan, wires: &[Wire]) -> Result<DrainStatus, NotBegun> {
        plan_bounds::check(&plan).map_err(NotBegun::Wrong)?;
        let mut last = self.lock();
        if let Some(before) = &*last
            && before.is_in_force()
        {
            let takes_over = plan.scope.is_whole() && !before.order.plan().scope.is_whole();
            if !takes_over || !before.order.take_back() {
                return Err(NotBegun::UnderWay(Box::new(before.status())));
            }
        }
        let begun = last.insert(LastDrain::begin(plan, DrainAsked::ByPlan, wires));
        Ok(begun.status())
    }

    /// See [`Handle::take_drain_back`](super::Handle::take_drain_back).
    pub(super) fn take_back(&self, wires: &[Wire]) -> Result<DrainStatus, NotTakenBack> {
        let last = self.lock();
        let under_way = last.as_ref().filter(|last| last.is_in_force());
        let Some(under_way) = under_way else { return Err(NotTakenBack::None) };
        if !under_way.order.take_back() {
            return Err(NotTakenBack::TooLate);
        }
        for wire in wires {
            wire.panel.drain(None, &wire.waker);
        }
        let status = under_way.status();
        let (closed, stay) = (status.progress.closed(), status.progress.waiting);
        tracing::info!(closed, stay, "the drain is taken back");
        Ok(status)
    }

    fn lock(&self) -> MutexGuard<'_, Option<LastDrain>> {
        // Nothing that is done under it leaves it half done.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LastDrain {
    /// Orders it.
    fn begin(plan: DrainPlan, asked: DrainAsked, wires: &[Wire]) -> Self {
        // Each process and each drain has moments of its own.
        let seed = getrandom::u64().unwrap_or(1);
        let order = Arc::new(DrainOrder::new(plan, wires.len(), seed));
        for wire in wires {
            wire.panel.drain(Some(Arc::clone(&order)), &wire.waker);
        }
        Self { order, asked, began: Instant::now() }
    }

    /// Whether something of it is still to be done, or stays as it has made it until it is taken
    /// back.
    fn is_in_force(&self) -> bool {
        let is_whole = self.order.plan().scope.is_whole();
        !self.order.is_taken_back() && (is_whole || !self.order.is_done())
    }

    /// Whether it has announced for its delay that nobody is served who comes.
    fn has_told_the_world(&self) -> bool {
        let plan = self.order.plan();
        plan.scope.is_whole() && self.began.elapsed() >= plan.delay
    }

    fn status(&self) -> DrainStatus {
        let progress = self.order.progress();
        let state = match progress.phase {
            _ if self.order.is_taken_back() => DrainState::TakenBack,
            DrainPhase::Announced => DrainState::Announced,
            DrainPhase::Closing => DrainState::Closing,
            DrainPhase::Done => DrainState::Done,
        };
        DrainStatus {
            plan: self.order.plan().clone(),
            asked: self.asked,
            state,
            is_final: self.order.is_final(),
            elapsed: self.began.elapsed(),
            progress,
            by_shard: self.order.by_shard().collect(),
        }
    }
}

impl DrainStatus {
    /// How long until connections are closed; zero once they are.
    #[must_use]
    pub fn delay_left(&self) -> Duration {
        self.plan.delay.saturating_sub(self.elapsed)
    }

    /// How long until those that are left are cut off.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.plan.delay.saturating_add(self.plan.time).saturating_sub(self.elapsed)
    }

    /// Whether something of it is still to be done, or stays as it has made it until it is taken
    /// back.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        let is_over = self.state == DrainState::Done && !self.plan.scope.is_whole();
        self.state != DrainState::TakenBack && !is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{DrainScope, Panel};

    fn wires(count: usize) -> Vec<Wire> {
        (0..count).map(|_| Wire::new().unwrap()).collect()
    }

    fn plan(route: Option<u16>, after: AfterDrain) -> DrainPlan {
        let scope = DrainScope { route, ..DrainScope::default() };
        DrainPlan { scope, ..DrainPlan::configured(&Config::default(), after) }
    }

    fn is_ordered(panel: &Panel) -> bool {
        panel.ordered().is_some()
    }

    #[test]
    fn there_is_one_at_a_time_and_the_whole_one_takes_over() {
        let (wires, drains) = (wires(2), Drains::new(&Config::default()));
        assert_eq!(drains.take_back(&wires), Err(NotTakenBack::None));
        drains.begin(plan(Some(3), AfterDrain::Stay), &wires).unwrap();
        assert!(!drains.is_whole());
        let second = drains.begin(plan(Some(4), AfterDrain::Stay), &wires);
        let Err(NotBegun::UnderWay(under_way)) = second else { panic!("{second:?}") };
        assert_eq!(under_way.plan.scope.route, Some(3));
        let begun = drains.begin(plan(None, AfterDrain::Stay), &wires).unwrap();
        assert!(begun.plan.scope.is_whole() && drains.is_whole());
        assert!(drains.begin(plan(None, AfterDrain::End), &wires).is_err());
        assert!(wires.iter().all(|wire| is_ordered(&wire.panel) && wire.panel.drains() == 2));
        let taken_back = drains.take_back(&wires).unwrap();
        assert_eq!(taken_back.state, DrainState::TakenBack);
        assert!(wires.iter().all(|wire| !is_ordered(&wire.panel)) && !drains.is_whole());
        assert_eq!(drains.take_back(&wires), Err(NotTakenBack::None));
    }

    #[test]
    fn a_signal_takes_over_from_any_other_but_not_from_itself() {
        let (wires, drains) = (wires(1), Drains::new(&Config::default()));
        drains.begin(plan(None, AfterDrain::Stay), &wires).unwrap();
        drains.leave(&wires);
        drains.leave(&wires);
        assert_eq!(wires[0].panel.drains(), 2);
        let last = drains.last().unwrap();
        assert_eq!((last.asked, last.plan.after), (DrainAsked::ToLeave, AfterDrain::Leave));
        assert!(drains.begin(plan(None, AfterDrain::Stay), &wires).is_err());
        drains.take_back(&wires).unwrap();
        drains.leave(&wires);
        assert!(is_ordered(&wires[0].panel), "what was taken back is ordered anew");
    }

    #[test]
    fn a_signal_takes_up_what_the_gateway_ends_for_already() {
        let (wires, drains) = (wires(1), Drains::new(&Config::default()));
        drains.begin(plan(None, AfterDrain::End), &wires).unwrap();
        assert!(wires[0].panel.ordered().unwrap().make_final());
        assert_eq!(drains.last().unwrap().asked, DrainAsked::ByPlan);
        drains.leave(&wires);
        assert_eq!(
            (drains.last().unwrap().asked, wires[0].panel.drains()),
            (DrainAsked::ToLeave, 1)
        );
    }

    #[test]
    fn a_wrong_plan_is_not_ordered_nor_takes_it_over() {
        let (wires, drains) = (wires(1), Drains::new(&Config::default()));
        drains.begin(plan(Some(3), AfterDrain::Stay), &wires).unwrap();
        let endless = DrainPlan { time: Duration::MAX, ..plan(None, AfterDrain::Stay) };
        for wrong in [endless, plan(Some(0), AfterDrain::End)] {
            assert!(matches!(drains.begin(wrong, &wires), Err(NotBegun::Wrong(_))));
        }
        assert_eq!(wires[0].panel.drains(), 1);
        let status = drains.last().unwrap();
        assert_eq!((status.plan.scope.route, status.state), (Some(3), DrainState::Announced));
        let plan = DrainPlan { delay: Duration::MAX, time: Duration::MAX, ..status.plan.clone() };
        let endless = DrainStatus { plan, ..status };
        assert!(endless.time_left() >= Duration::MAX - endless.elapsed);
    }

    #[test]
    fn a_delay_that_has_passed_is_not_waited_for_again() {
        let config = Config { drain_delay: Duration::from_secs(9), ..Config::default() };
        let (wires, drains) = (wires(1), Drains::new(&config));
        let stay = plan(None, AfterDrain::Stay);
        drains.begin(DrainPlan { delay: Duration::ZERO, ..stay }, &wires).unwrap();
        drains.leave(&wires);
        assert_eq!(drains.last().unwrap().plan.delay, Duration::ZERO);
        let drains = Drains::new(&config);
        drains.leave(&wires);
        assert_eq!(drains.last().unwrap().delay_left().as_secs_f32().round(), 9.0);
    }
}
