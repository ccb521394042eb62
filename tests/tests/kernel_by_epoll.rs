//! The driver of epoll, held to the rules that a shard builds on: the tests of `kernel`, and what
//! is its own.

#[path = "kernel/accepting.rs"]
mod accepting;
#[path = "kernel/accepting_in_order.rs"]
mod accepting_in_order;
#[path = "kernel/adopting.rs"]
mod adopting;
#[path = "kernel/closing.rs"]
mod closing;
#[path = "kernel/connection.rs"]
mod connection;
#[path = "kernel/edges.rs"]
mod edges;
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
#[path = "kernel/sending.rs"]
mod sending;
#[path = "kernel/unix.rs"]
mod unix;
#[path = "kernel/waking.rs"]
mod waking;

mod driver {
    use tidegate::kernel::{Epoll, RingError, Setup};

    /// What is held to the rules.
    pub type Driver = Epoll;

    pub fn open(setup: Setup<'_>) -> Result<Driver, RingError> {
        Epoll::new(setup)
    }

    /// The most slots that it takes, whatever the limit of open files.
    pub const SLOTS_MAX: u64 = u32::MAX as u64 - 1;
}
