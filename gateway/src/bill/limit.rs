//! What a bill may come to.

use std::fmt;

use super::Line;
use super::table::{self, grouped, plural};
use crate::machine;
pub use crate::machine::{MemoryBound, MemorySource};
use crate::units::Size;

/// What `memory = "auto"` allows if nothing says how much there is.
const LIMIT_UNKNOWN: u64 = 4 << 30;

/// The most that a bill may come to. Displayed, it says why it is so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How much, in bytes.
    pub bytes: u64,
    /// Where it comes from.
    pub origin: LimitOrigin,
}

/// Where a [`Limit`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOrigin {
    /// The configuration says how much.
    Configured,
    /// It is three quarters of this.
    ShareOf(MemoryBound),
    /// What the process may have could not be read, so it is a guess.
    Guessed,
}

/// The bill is over the limit. Displayed, it lists all lines, and the keys to lower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// Bytes on the bill.
    pub total: u64,
    /// What is allowed.
    pub limit: Limit,
    /// How many shards share the bill.
    pub shards: u64,
    /// All lines, the largest first, those of shards with what all shards hold together.
    pub lines: Vec<Line>,
}

impl Limit {
    /// So many bytes, as the configuration says.
    #[must_use]
    pub fn configured(bytes: u64) -> Self {
        Self { bytes, origin: LimitOrigin::Configured }
    }

    /// What this machine allows as it is now.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::within(machine::memory())
    }

    /// What `auto` allows of what the process may have.
    pub(crate) fn within(bound: Option<MemoryBound>) -> Self {
        match bound {
            // A quarter is left for the kernel, which holds the sockets, and for everyone else.
            Some(bound) => Self { bytes: bound.bytes / 4 * 3, origin: LimitOrigin::ShareOf(bound) },
            None => Self { bytes: LIMIT_UNKNOWN, origin: LimitOrigin::Guessed },
        }
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = Size(self.total.next_multiple_of(1 << 20));
        let all = grouped(self.total);
        let shards = plural(self.shards);
        writeln!(out, "{shards} may come to hold {all} bytes, and {}.", self.limit)?;
        table::rows(out, "all of it", &self.lines)?;
        write!(
            out,
            "Lower the first of these keys, or `shards`, or set memory = \"{needed}\". README.md \
             has limits that fit in 64MiB, without `tls` and `proxy`."
        )
    }
}

impl std::error::Error for OverBudget {}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = grouped(self.bytes);
        let bound = match self.origin {
            LimitOrigin::Configured => {
                let written = Size(self.bytes);
                return write!(out, "memory = \"{written}\" allows {allowed}");
            }
            LimitOrigin::Guessed => {
                return write!(
                    out,
                    "memory = \"auto\" allows {allowed}, because neither /proc/meminfo nor the \
                     control group's memory.max could be read"
                );
            }
            LimitOrigin::ShareOf(bound) => bound,
        };
        let has = match bound.source {
            MemorySource::Machine => "the machine has (MemTotal in /proc/meminfo)",
            MemorySource::ControlGroup => "the control group may have (memory.max)",
        };
        let all = grouped(bound.bytes);
        write!(out, "memory = \"auto\" allows {allowed}, three quarters of the {all} that {has}")
    }
}
