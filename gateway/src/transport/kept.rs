//! What transports keep of the input of their connections: bytes that cannot be opened before more
//! comes, such as a part of a record, and that a peer has said that nothing follows. Few have any
//! of it at a time.

use crate::config::Config;
use crate::kernel::{BufferId, Slot, SlotSet};
use crate::memory::{BlockId, Share, SideTable};

/// What is kept of some connections.
pub struct KeptInput {
    /// What could not be opened yet.
    pub rests: SideTable<KeptRest>,
    /// Whose peers have said that nothing follows.
    ended: SlotSet,
    /// To whom our last words are said.
    left: SlotSet,
    /// Who has yet to begin a handshake, for which there is no room.
    parked: SlotSet,
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

    /// Whether a gateway has transports that keep something: some listener has a layer, or a
    /// program may make one for it.
    #[must_use]
    pub fn is_needed(config: &Config, brings_layers: bool) -> bool {
        let mut stacks = config.listeners.iter().map(|listener| &listener.stack);
        brings_layers || stacks.any(|stack| stack.tls.is_some() || stack.proxy.is_some())
    }

    /// Nothing yet, of so many slots; of none where it is not needed.
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
        has(&self.ended, slot)
    }

    /// Our last words are said now; `false` if they were before.
    pub fn leaves(&mut self, slot: Slot) -> bool {
        let is_first = !self.left.contains(slot);
        self.left.insert(slot);
        is_first
    }

    /// The connection has to wait with its handshake.
    pub fn park(&mut self, slot: Slot) {
        self.parked.insert(slot);
    }

    /// Whether it has.
    #[must_use]
    pub fn is_parked(&self, slot: Slot) -> bool {
        has(&self.parked, slot)
    }

    /// How many have.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// One of those, which has no longer.
    pub fn unpark_one(&mut self) -> Option<Slot> {
        self.parked.pop()
    }

    /// The connection does not wait with its handshake, or no longer.
    pub fn unpark(&mut self, slot: Slot) {
        forget(&mut self.parked, slot);
    }

    /// The connection is closed: of what it has said, and we have, nothing is kept.
    pub fn forget(&mut self, slot: Slot) {
        for set in [&mut self.ended, &mut self.left, &mut self.parked] {
            forget(set, slot);
        }
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

/// Whether a slot is in a set, which has no place for any where it is not needed.
fn has(set: &SlotSet, slot: Slot) -> bool {
    !set.is_empty() && set.contains(slot)
}

/// Takes a slot out of such a set, if it is there.
fn forget(set: &mut SlotSet, slot: Slot) {
    if !set.is_empty() {
        set.remove(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Listener, Stack};

    #[test]
    fn it_is_needed_by_whoever_has_a_layer() {
        let needed = |stacks: &[&str], brings_layers| {
            let listeners = stacks.iter().map(|text| {
                let stack = Stack::parse(text).expect("a stack");
                Listener { stack, ..Listener::default() }
            });
            let config = Config { listeners: listeners.collect(), ..Config::default() };
            KeptInput::is_needed(&config, brings_layers)
        };
        assert!(!needed(&["ws!tcp", "log!ws!log!tcp"], false));
        assert!(needed(&["ws!tcp"], true));
        assert!(needed(&["ws!tcp", "ws!tls!tcp"], false));
        assert!(needed(&["ws!proxy?from=::1!tcp"], false));
    }

    #[test]
    fn where_it_is_not_needed_nothing_is_known_of_anyone() {
        let mut kept = KeptInput::new(0);
        assert!(!kept.has(7) && !kept.has_ended(7) && !kept.is_parked(7));
        kept.unpark(7);
        kept.forget(7);
        assert_eq!((kept.unpark_one(), kept.parked(), kept.held()), (None, 0, 0));
        assert!(kept.is_empty());
    }
}
