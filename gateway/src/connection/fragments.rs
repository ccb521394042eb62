//! In how many frames messages have come that are half there.

use crate::kernel::Slot;
use crate::memory::SideTable;

/// The frames of messages that have not ended, of those that have come in more than one.
#[derive(Debug, Default)]
pub struct Fragments {
    /// Whose frames were counted last, and how many: who sends many sends them one after another.
    last: Option<(Slot, u32)>,
    others: SideTable<u32>,
}

impl Fragments {
    /// The most bytes that it holds for so many slots.
    pub(crate) fn bytes(slots: u32) -> u64 {
        SideTable::<u32>::bytes(slots)
    }

    /// A frame has ended behind which more of its message is to come: how many have.
    pub fn count(&mut self, slot: Slot) -> u32 {
        let before = match self.last {
            Some((last, count)) if last == slot => count,
            last => {
                if let Some((other, count)) = last {
                    self.others.insert(other, count);
                }
                self.others.remove(slot).unwrap_or(0)
            }
        };
        let count = before.saturating_add(1);
        self.last = Some((slot, count));
        count
    }

    /// The message has ended, or its connection has.
    pub fn end(&mut self, slot: Slot) {
        if self.last.take_if(|(last, _)| *last == slot).is_none() {
            self.others.remove(slot);
        }
    }

    /// The bytes that it holds.
    pub(crate) fn held(&self) -> u64 {
        self.others.held()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none() && self.others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_counted_by_itself() {
        let mut fragments = Fragments::default();
        assert_eq!([1, 1, 2, 1, 2, 2].map(|slot| fragments.count(slot)), [1, 2, 1, 3, 2, 3]);
        fragments.end(1);
        assert_eq!([2, 1].map(|slot| fragments.count(slot)), [4, 1]);
        fragments.end(1);
        fragments.end(2);
        fragments.end(3);
        assert!(fragments.is_empty());
    }
}
