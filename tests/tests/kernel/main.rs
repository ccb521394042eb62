//! What a shard and its simulated kernel believe of the real one, each belief a test: a kernel that
//! behaves differently fails here, by the name of the rule that it breaks.
//!
//! Whatever has to come is awaited. What must not come is given [`fixture::MOMENT`]: a machine
//! that is too busy can hide a failure there, and never make one up.

mod accepting;
mod accepting_in_order;
mod adopting;
mod closing;
mod connection;
mod driver {
    use tidegate::kernel::{RingError, Setup, Uring};

    /// What is held to the rules.
    pub type Driver = Uring;

    pub fn open(setup: Setup<'_>) -> Result<Driver, RingError> {
        Uring::new(setup)
    }

    /// The most slots that it takes, whatever the limit of open files (`IORING_MAX_FIXED_FILES`).
    pub const SLOTS_MAX: u64 = 1 << 20;
}
mod fixture;
mod peer;
mod polling;
mod queues;
mod receiving;
mod rings;
mod sending;
mod unix;
mod waking;
