//! Drains in the middle of a run: of everybody or of some, and taken back, or not.

use std::sync::Arc;
use std::time::Duration;

use tidegate::config::Config;
use tidegate::shard::{AfterDrain, DrainOrder, DrainPlan, DrainRate, DrainScope};

use crate::HUSHED_AT;
use crate::handlers::Behaviour;
use crate::random::Random;
use crate::several::Several;

/// Whom a drain is about, as the outside knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    All,
    /// Clients of the listener with this number.
    Listener(usize),
    /// Clients that asked for this path.
    Path(&'static str),
}

/// What is to happen.
pub struct Drainer {
    planned: Option<Planned>,
    under_way: Option<Arc<DrainOrder>>,
}

struct Planned {
    begins_at: usize,
    taken_back_at: usize,
    meant: Meant,
    plan: DrainPlan,
}

impl Drainer {
    /// What happens in a run.
    pub fn draw(random: &mut Random, config: &Config) -> Self {
        // Drawn apart, so that a run without a drain is as if there were none.
        let mut random = Random::new(!random.clone().bits() ^ 0xD1);
        let planned = random.chance(250).then(|| Planned::draw(&mut random, config));
        Self { planned, under_way: None }
    }

    /// Does what is planned for now.
    pub fn act(&mut self, several: &Several) {
        let Some(planned) = &self.planned else { return };
        if self.under_way.is_none() && several.turns() >= planned.begins_at {
            several.drains(planned.meant);
            let order = DrainOrder::new(planned.plan.clone(), several.outsides.len(), 7);
            let order = Arc::new(order);
            several.order(Some(&order));
            self.under_way = Some(order);
        }
        let Some(order) = &self.under_way else { return };
        if several.turns() >= planned.taken_back_at {
            assert!(order.take_back(), "it ends nothing");
            several.order(None);
            several.marks_nobody_more();
            self.planned = None;
        }
    }
}

impl Planned {
    fn draw(random: &mut Random, config: &Config) -> Self {
        let path = random.pick(&Behaviour::ALL).path();
        let route = config.routes.iter().position(|route| route.path == path);
        let listener = random.below(2);
        let all = DrainScope::default();
        let (meant, scope) = random.pick(&[
            (Meant::All, all),
            (Meant::Listener(listener), DrainScope { listener: Some(listener as u16), ..all }),
            (Meant::Path(path), DrainScope { route: route.map(|route| route as u16), ..all }),
        ]);
        let begins_at = random.between(300, HUSHED_AT);
        let lasts = random.pick(&[1, 50, 500, 10_000]);
        Self {
            begins_at,
            taken_back_at: begins_at + lasts,
            meant,
            plan: DrainPlan {
                scope,
                delay: random.pick(&[Duration::ZERO, Duration::from_secs(1)]),
                time: Duration::from_secs(random.pick(&[1, 20])),
                rate: random.pick(&[
                    DrainRate::OfEach(1),
                    DrainRate::Together(20),
                    DrainRate::Together(100_000),
                ]),
                ..DrainPlan::configured(config, AfterDrain::Stay)
            },
        }
    }
}
