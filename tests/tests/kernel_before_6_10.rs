//! A ring as it is before Linux 6.10, where connections are accepted beside it, held to the rules
//! that a shard builds on: the tests of `kernel`.

#[path = "kernel/accepting.rs"]
mod accepting;
#[path = "kernel/adopting.rs"]
mod adopting;
#[path = "kernel/closing.rs"]
mod closing;
#[path = "kernel/connection.rs"]
mod connection;
#[path = "kernel/fixture.rs"]
mod fixture;
#[path = "kernel/peer.rs"]
mod peer;
#[path = "kernel/polling.rs"]
mod polling;
#[path = "kernel/queues.rs"]
mod queues;
#[path = "kernel/receiving.rs"]
mod receiving;
#[path = "kernel/rings.rs"]
mod rings;
#[path = "kernel/sending.rs"]
mod sending;
#[path = "kernel/unix.rs"]
mod unix;
#[path = "kernel/waking.rs"]
mod waking;

mod driver {
    use tidegate::kernel::{RingError, Setup, Uring};

    /// What is held to the rules.
    pub type Driver = Uring;

    pub fn open(setup: Setup<'_>) -> Result<Driver, RingError> {
        Uring::with_plain_accepts(setup)
    }

    /// The most slots that it takes, whatever the limit of open files (`IORING_MAX_FIXED_FILES`).
    pub const SLOTS_MAX: u64 = 1 << 20;
}
