//! Where a connection lives.

use crate::kernel::{Generation, Slot};

/// Where a connection lives: what shards of a gateway call it by among each other. Clients hold its
/// name, the [`ConnectionId`](super::ConnectionId), which says where it was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    /// The shard that has it.
    pub(crate) shard: u16,
    /// Its slot there.
    pub(crate) slot: Slot,
    /// Which connection of the slot.
    pub(crate) generation: Generation,
}
