//! The shard's pooled blocks with the memory that all spans name.

use super::Blocks;
use crate::kernel::Memory;

/// The pool for the length of a call.
pub struct Pool<'a> {
    /// Which blocks are taken.
    pub blocks: &'a mut Blocks,
    /// The shard's memory.
    pub memory: &'a mut Memory,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kernel::{AreaName, AreaSizes, Span};

    /// A pool with memory around it.
    pub(crate) struct World {
        pub(crate) blocks: Blocks,
        pub(crate) memory: Memory,
        received: u32,
    }

    impl World {
        /// With so many bytes of blocks, and a MiB of all else.
        pub(crate) fn new(blocks: u32) -> Self {
            let (other, length) = (1 << 20, blocks as usize);
            let sizes =
                AreaSizes { receive: other, staging: other, blocks: length, scratch: other };
            let memory = Memory::new(sizes).expect("memory");
            Self { blocks: Blocks::new(blocks), memory, received: 0 }
        }

        pub(crate) fn pool(&mut self) -> Pool<'_> {
            Pool { blocks: &mut self.blocks, memory: &mut self.memory }
        }

        /// These bytes are received; where they are.
        pub(crate) fn received(&mut self, bytes: &[u8]) -> Span {
            let (start, length) = (self.received, bytes.len() as u32);
            let span = Span { area: AreaName::Receive, start, length };
            self.memory.bytes_mut(span).copy_from_slice(bytes);
            self.received += length;
            span
        }
    }
}
