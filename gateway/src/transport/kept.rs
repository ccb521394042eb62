//! What transports keep of the input of their connections: bytes that cannot be opened before more
//! comes, such as a part of a record, and that a peer has said that nothing follows. Few have any
//! of it at a time.

use crate::kernel::{BufferId, Slot, SlotSet};
use crate::memory::{BlockId, Share, SideTable};

/// What is kept of some connections.
pub struct KeptInput {
    /// What could not be opened yet.
    pub rests: SideTable<KeptRest>,
    /// Whose peers have said that nothing follows.
    pub ended: SlotSet,
    /// To whom our last words are said.
    pub left: SlotSet,
    /// Who has yet to begin a handshake, for which there is no room.
    pub parked: SlotSet,
}

/// What could not be opened yet.
#[derive(Clone, Copy, Debug)]
pub struct KeptRest {
    /// Where it is.
    pub block: BlockId,
    /// What the block was taken for.
    pub share: Share,
    /// The buffer in which it stands in front of what is being received.
    pub buffer: Option<BufferId>,
}

impl KeptInput {
    /// The most bytes that this takes for so many slots, besides the blocks.
    #[must_use]
    pub fn bytes(slots: u32) -> u64 {
        SideTable::<KeptRest>::bytes(slots) + 3 * SlotSet::bytes(slots)
    }

    /// Nothing yet, of so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            rests: SideTable::default(),
            ended: SlotSet::new(slots),
            left: SlotSet::new(slots),
            parked: SlotSet::new(slots),
        }
    }

    /// Whether something of the connection waits for more.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        !self.rests.is_empty() && self.rests.get(slot).is_some()
    }

    /// The block of what waits, and what it was taken for.
    #[must_use]
    pub fn block(&self, slot: Slot) -> Option<(BlockId, Share)> {
        self.rests.get(slot).map(|rest| (rest.block, rest.share))
    }

    /// The buffers that are received into behind something that waited.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.rests.iter().filter_map(|(_, rest)| rest.buffer)
    }

    /// The peer has said that nothing follows.
    pub fn ends(&mut self, slot: Slot) {
        self.ended.insert(slot);
    }

    /// Whether it has.
    #[must_use]
    pub fn has_ended(&self, slot: Slot) -> bool {
        self.ended.contains(slot)
    }

    /// Our last words are said now; `false` if they were before.
    pub fn leaves(&mut self, slot: Slot) -> bool {
        let is_first = !self.left.contains(slot);
        self.left.insert(slot);
        is_first
    }

    /// The bytes that the table of what waits holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.rests.held()
    }

    /// Whether nothing is known of anyone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let sets = [&self.ended, &self.left, &self.parked];
        self.rests.is_empty() && sets.into_iter().all(SlotSet::is_empty)
    }
}
