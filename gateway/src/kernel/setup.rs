//! What a kernel is opened with.

use super::{ListeningSocket, Memory, Waker};

/// What a shard's ring is made of.
pub struct Setup<'a> {
    /// Slots: entries of the direct-descriptor table.
    pub connections: u32,
    /// Submission entries, a power of two.
    pub submissions: u32,
    /// Completion entries, a power of two up to 65,536.
    pub completions: u32,
    /// Receive buffers, a power of two up to 32,768.
    pub buffers: u16,
    /// The size of a receive buffer without the room around it, in bytes.
    pub buffer_size: usize,
    /// The listeners, by [`ListenerId`](super::ListenerId).
    pub listeners: Vec<ListeningSocket>,
    /// What wakes the shard.
    pub waker: Waker,
    /// The shard's memory.
    pub memory: &'a Memory,
}
