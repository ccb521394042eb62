//! The connections whose frames the log tells of for a while, because somebody has asked for that.

use std::time::Duration;

use crate::connection::Trace;
use crate::kernel::Slot;

/// How many at once. For one more the one goes that would end first.
const MOST: usize = 8;

/// A connection whose frames are told of.
struct Traced {
    slot: Slot,
    /// By the shard's clock.
    until: Duration,
    trace: Trace,
}

/// The traces of a shard.
#[derive(Default)]
pub(super) struct Traces {
    traced: Vec<Traced>,
}

impl Traces {
    /// Tells of a connection's frames from now on.
    pub(super) fn begin(&mut self, slot: Slot, id: String, until: Duration) {
        self.end(slot);
        if self.traced.len() == MOST {
            let first = (0..MOST).min_by_key(|at| self.traced[*at].until);
            self.traced.swap_remove(first.expect("there are some"));
        }
        self.traced.push(Traced { slot, until, trace: Trace::new(id) });
    }

    /// The trace of a connection.
    pub(super) fn of(&self, slot: Slot) -> Option<&Trace> {
        self.traced.iter().find(|traced| traced.slot == slot).map(|traced| &traced.trace)
    }

    /// Ends that of a connection.
    pub(super) fn end(&mut self, slot: Slot) {
        self.traced.retain(|traced| traced.slot != slot);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Duration) {
        self.traced.retain(|traced| traced.until > now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.traced.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_ends_with_its_time_its_connection_or_for_a_later_one() {
        let mut traces = Traces::default();
        let second = Duration::from_secs;
        for slot in 0..MOST as Slot {
            traces.begin(slot, slot.to_string(), second(100 - u64::from(slot)));
        }
        traces.begin(0, "0".into(), second(50));
        assert_eq!(traces.traced.len(), MOST, "the same once");
        traces.begin(99, "99".into(), second(60));
        assert!(traces.of(0).is_none() && traces.of(99).is_some(), "the first to end goes");
        traces.end(99);
        assert!(traces.of(99).is_none() && traces.of(7).is_some());
        traces.tick(second(93));
        assert!(traces.of(7).is_none() && traces.of(6).is_some());
        traces.tick(second(100));
        assert!(traces.is_empty());
    }
}
