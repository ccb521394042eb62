//! Several shards, each in a world of its own, joined by their mailboxes.
//!
//! One is stepped at a time. While it sleeps the others go on, so that a shard can be parked when
//! mail comes for it: it must be woken, or at the end of its sleep there is no mail.

use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tidegate::bill::Bill;
use tidegate::kernel::Waker;
use tidegate::shard::{ConfigChange, Counters, DrainOrder, Panel, Shard};

use crate::drainer::Meant;
use crate::random::Random;
use crate::ring::SimRing;
use crate::world::World;

/// How often another shard is stepped in each moment of a shard's sleep, per mille.
const MEANWHILE: u32 = 300;

/// How long a shard is left alone, in turns of all.
const LEFT_ALONE: usize = 300;

/// All shards of a run.
pub struct Several {
    stations: Vec<RefCell<Station>>,
    /// What each shard's neighbours can see of it while it is stepped.
    pub outsides: Vec<Outside>,
    random: RefCell<Random>,
    /// Per mille: how often a shard begins to be left alone.
    left_alone: u32,
    /// Turns of all shards so far.
    turns: Cell<usize>,
    /// They were told to drain, or to stop.
    told: Cell<bool>,
}

/// A shard, and what it is held against.
pub struct Station {
    /// `None` once it has ended.
    shard: Option<Shard<SimRing>>,
    outside: Outside,
    bill: Rc<Bill>,
}

/// What is around a shard.
#[derive(Clone)]
pub struct Outside {
    pub world: Rc<RefCell<World>>,
    pub panel: Arc<Panel>,
    pub waker: Waker,
    /// It is not stepped before this turn of all.
    alone_until: Rc<Cell<usize>>,
}

/// What a shard that sleeps lets happen.
#[derive(Clone, Default)]
pub struct Meanwhile(Rc<RefCell<Weak<Several>>>);

impl Meanwhile {
    /// A moment passes for a shard that sleeps.
    pub fn pass(&self) {
        let several = self.0.borrow().upgrade();
        if let Some(several) = several {
            several.meanwhile();
        }
    }
}

impl Outside {
    pub fn new(world: World, panel: Arc<Panel>, waker: Waker) -> Self {
        let world = Rc::new(RefCell::new(world));
        Self { world, panel, waker, alone_until: Rc::default() }
    }

    pub fn counters(&self) -> Counters {
        self.panel.counters.load()
    }

    fn order(&self, order: Option<&Arc<DrainOrder>>) {
        self.panel.drain(order.cloned(), &self.waker);
    }
}

impl Several {
    /// Joins shards that have `meanwhile` in their rings.
    pub fn new(
        shards: Vec<(Shard<SimRing>, Outside)>,
        bill: Bill,
        meanwhile: &Meanwhile,
        mut random: Random,
    ) -> Rc<Self> {
        let bill = Rc::new(bill);
        let outsides = shards.iter().map(|(_, outside)| outside.clone()).collect();
        let station =
            |(shard, outside)| Station { shard: Some(shard), outside, bill: Rc::clone(&bill) };
        let several = Rc::new(Self {
            stations: shards.into_iter().map(station).map(RefCell::new).collect(),
            outsides,
            left_alone: random.pick(&[0, 2, 10]),
            random: RefCell::new(random),
            turns: Cell::new(0),
            told: Cell::new(false),
        });
        *meanwhile.0.borrow_mut() = Rc::downgrade(&several);
        several
    }

    /// How long each shard was at work, or could have been.
    pub fn at_work(&self) -> Vec<Duration> {
        self.outsides.iter().map(|outside| outside.world.borrow().at_work).collect()
    }

    /// Turns of all shards so far.
    pub fn turns(&self) -> usize {
        self.turns.get()
    }

    /// Steps one of the shards.
    pub fn step(&self) {
        let index = self.draw();
        self.step_one(index);
    }

    /// Whether every shard is as it was at the start.
    pub fn is_empty(&self) -> bool {
        self.all(Shard::is_empty)
    }

    /// The trace of all worlds, and how many clients were promised all of their answers and got
    /// them.
    pub fn told(&self) -> (u64, u64) {
        let worlds = self.outsides.iter().map(|outside| outside.world.borrow());
        let add = |(trace, served): (u64, u64), world: Ref<'_, World>| {
            (trace.rotate_left(7) ^ world.trace, served + world.served)
        };
        worlds.fold((self.turns.get() as u64, 0), add)
    }

    /// Whether all clients have seen the end of their connections.
    pub fn is_quiet(&self) -> bool {
        self.outsides.iter().all(|outside| outside.world.borrow().is_quiet())
    }

    /// Nobody is left alone any more.
    pub fn attend_to_all(&self) {
        self.outsides.iter().for_each(|outside| outside.alone_until.set(usize::MAX));
    }

    /// What the shards have taken out of their mailboxes, if nothing else is on its way.
    pub fn rest(&self) -> Option<u64> {
        let is_at_rest = |outside: &Outside| outside.world.borrow().is_at_rest();
        if !self.outsides.iter().all(is_at_rest) {
            return None;
        }
        let mail = |station: &RefCell<Station>| {
            station.borrow().shard.as_ref().map_or(0, |shard| shard.mail().received)
        };
        Some(self.stations.iter().map(mail).sum())
    }

    /// Whether no shard has a connection.
    pub fn is_deserted(&self) -> bool {
        self.all(|shard| shard.live() == 0)
    }

    /// Whether no shard knows anybody who is, was or could not be on a topic.
    pub fn knows_nobody(&self) -> bool {
        self.all(Shard::knows_nobody)
    }

    /// Whether all shards have ended.
    pub fn has_ended(&self) -> bool {
        self.stations.iter().all(|station| station.borrow().shard.is_none())
    }

    /// All shards are to end, as the order says or at once.
    pub fn is_to_end(&self, order: Option<&Arc<DrainOrder>>) {
        self.told.set(true);
        for outside in &self.outsides {
            outside.world.borrow_mut().drains = true;
            match order {
                Some(_) => outside.order(order),
                None => outside.panel.stop(&outside.waker),
            }
        }
    }

    /// All shards are to drain, or no more.
    pub fn order(&self, order: Option<&Arc<DrainOrder>>) {
        self.outsides.iter().for_each(|outside| outside.order(order));
    }

    /// All shards are to change as this says, or no more.
    pub fn change(&self, change: Option<&Arc<ConfigChange>>) {
        for outside in &self.outsides {
            outside.panel.change(change.cloned(), &outside.waker);
        }
    }

    /// Nobody connects any more to what shards call so.
    pub fn comes_nobody_by(&self, listener: u32) {
        for outside in &self.outsides {
            outside.world.borrow_mut().waiting[listener as usize].is_open = false;
        }
    }

    /// These may be closed by a drain, and if they are all, those as well who come.
    pub fn drains(&self, meant: Meant) {
        self.outsides.iter().for_each(|outside| outside.world.borrow_mut().drains(meant));
    }

    /// These may be closed with 1012.
    pub fn marks(&self, meant: Meant) {
        self.outsides.iter().for_each(|outside| outside.world.borrow_mut().marks(meant));
    }

    /// Who comes from now on may not.
    pub fn marks_nobody_more(&self) {
        self.outsides.iter().for_each(|outside| outside.world.borrow_mut().marks_who_come = false);
    }

    /// Ends the shards that have not ended by themselves.
    pub fn end(&self) {
        for station in &self.stations {
            if let Some(shard) = station.borrow_mut().shard.take() {
                shard.end();
            }
        }
    }

    /// What all shards have counted.
    pub fn counters(&self) -> Counters {
        self.outsides.iter().map(Outside::counters).sum()
    }

    /// Whether some shard has not ended, and was at work for no longer than that.
    pub fn has_time(&self, began: &[Duration], longest: Duration) -> bool {
        let mut all = self.stations.iter().zip(self.at_work()).zip(began);
        all.any(|((station, now), began)| {
            station.borrow().shard.is_some() && now - *began <= longest
        })
    }

    /// Whether some shard sends somebody a body.
    pub fn sends_bodies(&self) -> bool {
        self.outsides.iter().any(|outside| outside.world.borrow().sends_bodies())
    }

    fn all(&self, holds: impl Fn(&Shard<SimRing>) -> bool) -> bool {
        self.stations.iter().all(|station| station.borrow().shard.as_ref().is_none_or(&holds))
    }

    fn draw(&self) -> usize {
        self.random.borrow_mut().below(self.stations.len())
    }

    fn meanwhile(&self) {
        if self.stations.len() > 1 && self.random.borrow_mut().chance(MEANWHILE) {
            let index = self.draw();
            self.step_one(index);
        }
    }

    /// Steps a shard, unless it sleeps, has ended, or is left alone.
    fn step_one(&self, index: usize) {
        let turn = self.turns.get() + 1;
        self.turns.set(turn);
        let Ok(mut station) = self.stations[index].try_borrow_mut() else { return };
        let alone_until = &self.outsides[index].alone_until;
        let is_attended = alone_until.get() == usize::MAX;
        if turn < alone_until.get() && !is_attended {
            return;
        }
        let mut random = self.random.borrow_mut();
        if !is_attended && self.stations.len() > 1 && random.chance(self.left_alone) {
            alone_until.set(turn + random.below(LEFT_ALONE));
        }
        drop(random);
        let goes_on = station.step();
        assert!(goes_on || self.told.get(), "nobody told it to end");
    }
}

impl Station {
    /// One turn of the loop, and all checks behind it; whether the shard goes on.
    fn step(&mut self) -> bool {
        let Some(shard) = &mut self.shard else { return true };
        self.outside.world.borrow_mut().slept_through = false;
        let before = shard.mail();
        let goes_on = shard.step().expect("a ring that works");
        let after = shard.mail();
        shard.check();
        self.outside.world.borrow_mut().had_a_turn(|slot| shard.is_held(slot));
        let world = self.outside.world.borrow();
        let from_others = |mail: tidegate::mailbox::Counts| mail.received - mail.own;
        let is_lost = world.slept_through && from_others(after) > from_others(before);
        assert!(!is_lost, "mail came for a parked shard, and nobody woke it");
        let lent = shard.buffers().lent() as usize;
        assert_eq!(lent, world.buffers(), "buffers that the kernel has");
        for (owner, held) in shard.holdings().iter() {
            let line = self.bill.lines().iter().find(|line| line.owner == owner);
            let allowed = line.map_or(0, |line| line.bytes);
            assert!(held <= allowed, "{owner:?}: {held} bytes held, {allowed} on the bill");
        }
        drop(world);
        if !goes_on && let Some(shard) = self.shard.take() {
            shard.end();
        }
        goes_on
    }
}
