//! How much is in use of the memory that all connections share, and what comes of it.
//!
//! The fullest of three counts: blocks, messages, and the memory of the process's control group,
//! which others fill as well, and the kernel for sockets. Above `limits.memory_high` nobody more is
//! let in; above `limits.memory_critical` those give way at once who hold most ([`super::relief`]).

use super::connections::Connections;
use crate::config::Limits;
use crate::kernel::Ring;

/// How far it has to go down again, in hundredths, for those who are kept out to be let in: else it
/// would begin and end with each block.
const EASED: u64 = 5;

/// How much is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MemoryLevel {
    /// No more than may be.
    #[default]
    Eased,
    /// Above `limits.memory_high`.
    High,
    /// Above `limits.memory_critical`.
    Critical,
}

impl MemoryLevel {
    /// The level when so much is in use, in hundredths, and it was this before.
    fn after(self, used: u64, limits: &Limits) -> Self {
        let is_above = |limit: Option<u8>, level: Self| {
            let slack = if self >= level { EASED } else { 0 };
            limit.is_some_and(|limit| used + slack > u64::from(limit))
        };
        if is_above(limits.memory_critical, Self::Critical) {
            Self::Critical
        } else if is_above(limits.memory_high, Self::High) {
            Self::High
        } else {
            Self::Eased
        }
    }
}

/// Looks how much is in use, `group` hundredths of what the control group may have, and says so
/// where that has become, or is no longer, too much.
pub(super) fn look<R: Ring>(
    connections: &mut Connections<R>,
    before: MemoryLevel,
    group: u64,
) -> MemoryLevel {
    let limits = connections.sockets.limits;
    let blocks = hundredths(connections.sockets.blocks.used_bytes(), limits.blocks.into());
    let memory = connections.hub.memory();
    let messages = hundredths(memory.used(), memory.limit());
    let level = before.after(blocks.max(messages).max(group), &limits);
    connections.turnstile.is_short = level >= MemoryLevel::High;
    connections.sockets.counters.memory_level = level as u64;
    if level == before {
        return level;
    }
    let shard = connections.index;
    if level > before {
        connections.sockets.counters.memory_shortages += 1;
        let consequence = match level {
            MemoryLevel::Critical => "those who hold most give way, and nobody more is let in",
            MemoryLevel::High | MemoryLevel::Eased => "nobody more is let in",
        };
        tracing::warn!(
            shard,
            blocks,
            messages,
            group,
            "memory is short, in hundredths of what there is: {consequence}"
        );
    } else {
        let rest = if level == MemoryLevel::Eased { "clients are let in again" } else { "less so" };
        tracing::info!(shard, blocks, messages, group, "memory is less short: {rest}");
    }
    level
}

fn hundredths(used: u64, of: u64) -> u64 {
    used.saturating_mul(100) / of.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_begins_above_its_limit_and_ends_well_below() {
        let limits =
            Limits { memory_high: Some(80), memory_critical: Some(90), ..Limits::default() };
        let mut level = MemoryLevel::default();
        let mut after = |used| {
            level = level.after(used, &limits);
            level
        };
        use MemoryLevel::{Critical, Eased, High};
        let course = [(80, Eased), (81, High), (76, High), (75, Eased), (91, Critical)];
        for (used, expected) in course {
            assert_eq!(after(used), expected, "{used}");
        }
        for (used, expected) in [(86, Critical), (85, High), (76, High), (75, Eased)] {
            assert_eq!(after(used), expected, "{used}");
        }
        let off = Limits { memory_high: None, memory_critical: None, ..limits };
        assert_eq!(MemoryLevel::Eased.after(100, &off), Eased);
        assert_eq!(hundredths(1, 0), 100);
    }
}
