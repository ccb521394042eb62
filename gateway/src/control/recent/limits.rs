//! WatchedLimits that are reached, and left: said in the log once a minute for each at most.

use std::time::Duration;

use crate::control::ControlRoom;
use crate::shard::{Counters, Vitals};

/// A limit is told of again after so long.
const AGAIN: Duration = Duration::from_mins(1);

/// From how much of a limit on it counts as reached, and below how much as left, in hundredths.
const REACHED: u64 = 95;
const LEFT: u64 = 85;

/// One limit, as it is told of.
struct WatchedLimit {
    /// What it bounds, and the key that sets it.
    what: &'static str,
    key: &'static str,
    /// What the shard that has most of it, or the process, has now.
    used: fn(&ControlRoom, &[(Counters, Vitals)]) -> u64,
    most: fn(&ControlRoom) -> u64,
}

/// Those that are watched.
const LIMITS: [WatchedLimit; 7] = [
    WatchedLimit {
        what: "connections of a shard",
        key: "limits.connections",
        used: |_, by_shard| most_of(by_shard, |counters| counters.connections),
        most: |control| control.config().limits.connections.into(),
    },
    WatchedLimit {
        what: "bytes in blocks of a shard",
        key: "limits.blocks",
        used: |_, by_shard| most_of(by_shard, |counters| counters.blocks_used),
        most: |control| control.config().limits.blocks.into(),
    },
    WatchedLimit {
        what: "bytes of messages on their way and in histories",
        key: "hub.messages",
        used: |control, _| control.shards.door().memory().used(),
        most: |control| control.shards.door().memory().limit(),
    },
    WatchedLimit {
        what: "subscriptions of a shard",
        key: "hub.subscriptions",
        used: |_, by_shard| most_of(by_shard, |counters| counters.subscriptions),
        most: |control| control.config().hub.subscriptions.into(),
    },
    WatchedLimit {
        what: "topics of a shard",
        key: "hub.topics",
        used: |_, by_shard| most_of(by_shard, |counters| counters.topics.max(counters.topics_home)),
        most: |control| control.config().hub.topics.into(),
    },
    WatchedLimit {
        what: "handshakes of a shard in progress",
        key: "limits.handshakes",
        used: |_, by_shard| by_shard.iter().map(|(_, vitals)| vitals.handshakes).max().unwrap_or(0),
        most: |control| control.config().limits.handshakes.into(),
    },
    WatchedLimit {
        what: "members whose presence a shard keeps",
        key: "hub.present",
        used: |_, by_shard| most_of(by_shard, |counters| counters.present),
        most: |control| control.config().hub.present.into(),
    },
];

/// Which limits are reached.
#[derive(Default)]
pub(super) struct WatchedLimits {
    states: [LimitState; LIMITS.len()],
}

#[derive(Clone, Copy, Default)]
struct LimitState {
    is_reached: bool,
    told_at: Option<Duration>,
}

/// Something to be told of a limit.
pub(super) struct LimitTold {
    pub(super) is_reached: bool,
    pub(super) text: String,
}

impl WatchedLimits {
    /// Looks at all of them, says in the log which are reached now or left, and yields that.
    pub(super) fn look(
        &mut self,
        control: &ControlRoom,
        by_shard: &[(Counters, Vitals)],
        now: Duration,
    ) -> Vec<LimitTold> {
        let mut told = Vec::new();
        for (limit, state) in LIMITS.iter().zip(&mut self.states) {
            let (used, most) = ((limit.used)(control, by_shard), (limit.most)(control));
            let Some(is_reached) = state.change(used, most, now) else { continue };
            let WatchedLimit { what, key, .. } = limit;
            let text = format!("{what}: {used} of {most} (`{key}`)");
            match is_reached {
                true if used >= most => tracing::warn!("a limit is reached: {text}"),
                true => tracing::warn!("a limit is nearly reached: {text}"),
                false => tracing::info!("a limit is left behind: {text}"),
            }
            told.push(LimitTold { is_reached, text });
        }
        told
    }
}

impl LimitState {
    /// Whether the limit is reached now, if that is to be told: as it changes, but not soon again.
    fn change(&mut self, used: u64, most: u64, now: Duration) -> Option<bool> {
        let share = used.saturating_mul(100) / most.max(1);
        let is_reached = if self.is_reached { share >= LEFT } else { share >= REACHED };
        let is_soon = self.told_at.is_some_and(|told| now.saturating_sub(told) < AGAIN);
        if is_reached == self.is_reached || is_soon {
            return None;
        }
        *self = Self { is_reached, told_at: Some(now) };
        Some(is_reached)
    }
}

/// The most that a shard has of it.
fn most_of(by_shard: &[(Counters, Vitals)], count: fn(&Counters) -> u64) -> u64 {
    by_shard.iter().map(|(counters, _)| count(counters)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_of_as_it_is_reached_and_left_but_once_a_minute() {
        let second = Duration::from_secs(1);
        let mut state = LimitState::default();
        assert_eq!(state.change(94, 100, second), None);
        assert_eq!(state.change(95, 100, second), Some(true));
        assert_eq!(state.change(100, 100, second * 2), None);
        assert_eq!(state.change(10, 100, second * 3), None, "it was told of just now");
        assert_eq!(state.change(90, 100, second * 61), None, "it is not left yet");
        assert_eq!(state.change(84, 100, second * 61), Some(false));
        assert_eq!(state.change(100, 100, second * 120), None);
        assert_eq!(state.change(100, 100, second * 121), Some(true));
        assert_eq!(state.change(0, 0, second * 200), Some(false), "a limit of nothing");
    }
}
