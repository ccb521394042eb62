//! The deadlines of what is half received: messages that must be whole, and control frames.
//!
//! Each is a deadline of its own beside the one that its connection has anyway, so that nothing
//! else that the connection waits for meanwhile puts it off. Few connections have one at a time, so
//! it costs the others nothing.

use crate::connection::{Connection, Stage};
use crate::kernel::Slot;
use crate::memory::SideTable;
use crate::protocol::turn::Half;

/// When what is half received must be whole, in ticks of the shard's deadlines.
#[derive(Default)]
pub(super) struct Halves {
    /// By [`Half`], and behind these of what a transport could not open yet.
    due: SideTable<HalvesOfOne>,
}

type HalvesOfOne = [Option<HalfDue>; 3];

/// When one of them must be whole.
#[derive(Clone, Copy)]
struct HalfDue {
    at: u64,
    /// Its peer has had longer already, because it was slowed.
    is_extended: bool,
}

impl HalfDue {
    const fn new(at: u64) -> Self {
        Self { at, is_extended: false }
    }
}

/// The place of what a transport could not open yet.
const REST: usize = 2;

impl Halves {
    /// The most bytes that this takes for so many slots.
    pub(super) fn bytes(slots: u32) -> u64 {
        SideTable::<HalvesOfOne>::bytes(slots)
    }

    /// Something is half received, and is due then. It keeps the deadline that it had, if it was
    /// half received before.
    pub(super) fn begin(&mut self, slot: Slot, half: Half, due: u64) {
        self.due.get_or_default(slot)[half as usize].get_or_insert(HalfDue::new(due));
    }

    /// A transport could not open all yet, which is due then. It keeps the deadline that it had.
    pub(super) fn begin_rest(&mut self, slot: Slot, due: u64) {
        self.due.get_or_default(slot)[REST].get_or_insert(HalfDue::new(due));
    }

    /// What a transport could not open it can now, or nobody wants it.
    pub(super) fn end_rest(&mut self, slot: Slot) {
        self.end_at(slot, REST);
    }

    /// A turn of the connection has ended, in which some of it may have become whole. What is half
    /// received now takes memory, and is due then; that of what became whole is no matter for what
    /// came behind it.
    pub(super) fn watch(
        &mut self,
        slot: Slot,
        connection: &Connection,
        became_whole: [bool; 2],
        due: u64,
    ) {
        let is_open = connection.stage == Stage::Open;
        let kept = [
            (Half::Message, connection.gathered.is_some()),
            (Half::Control, connection.control.is_some()),
        ];
        for (half, is_kept) in kept {
            let is_half = is_open && is_kept;
            if !is_half || became_whole[half as usize] {
                self.end(slot, half);
            }
            if is_half {
                self.begin(slot, half, due);
            }
        }
    }

    /// It is whole, or given up.
    pub(super) fn end(&mut self, slot: Slot, half: Half) {
        self.end_at(slot, half as usize);
    }

    fn end_at(&mut self, slot: Slot, place: usize) {
        self.due.change(slot, |dues| {
            dues[place] = None;
            dues.iter().all(Option::is_none)
        });
    }

    /// Nothing of the connection is half received any more.
    pub(super) fn end_all(&mut self, slot: Slot) {
        self.due.remove(slot);
    }

    /// What is due before is not looked at for now: it is due then.
    pub(super) fn put_off(&mut self, slot: Slot, due: u64) {
        let dues = self.due.get_mut(slot).into_iter().flatten();
        for one in dues.flatten() {
            one.at = due.max(one.at);
        }
    }

    /// What is due at `now` has so many ticks more, each only once. Returns whether all that was
    /// due has.
    pub(super) fn extend(&mut self, slot: Slot, now: u64, ticks: u64) -> bool {
        let dues = self.due.get_mut(slot).into_iter().flatten().flatten();
        for one in dues.filter(|one| one.at <= now && !one.is_extended) {
            *one = HalfDue { at: now.saturating_add(ticks), is_extended: true };
        }
        !self.is_due(slot, now)
    }

    /// Reports those that are due at `now`.
    pub(super) fn due(&self, now: u64, mut report: impl FnMut(Slot)) {
        let is_due = |dues: &HalvesOfOne| dues.iter().flatten().any(|due| due.at <= now);
        self.due.iter().filter(|(_, dues)| is_due(dues)).for_each(|(slot, _)| report(slot));
    }

    /// Whether something of the connection is due at `now`.
    pub(super) fn is_due(&self, slot: Slot, now: u64) -> bool {
        self.due.get(slot).into_iter().flatten().flatten().any(|due| due.at <= now)
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> u64 {
        self.due.held()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_stands_until_it_is_whole() {
        let mut halves = Halves::default();
        let due = |halves: &Halves, now: u64| {
            let mut slots = Vec::new();
            halves.due(now, |slot| slots.push(slot));
            slots.sort_unstable();
            slots
        };
        halves.begin(3, Half::Message, 10);
        halves.begin(1, Half::Message, 12);
        halves.begin(3, Half::Message, 20);
        assert_eq!(due(&halves, 9), [0; 0]);
        assert_eq!(due(&halves, 10), [3], "what comes later does not put it off");
        halves.put_off(3, 15);
        halves.put_off(4, 15);
        assert_eq!(due(&halves, 14), [1]);
        assert_eq!(due(&halves, 15), [1, 3]);
        halves.end(3, Half::Message);
        halves.end_all(1);
        assert!(halves.is_empty());
    }

    #[test]
    fn a_deadline_is_extended_once() {
        let mut halves = Halves::default();
        halves.begin(3, Half::Message, 10);
        halves.begin(3, Half::Control, 13);
        assert!(halves.extend(3, 10, 5));
        assert!(!halves.is_due(3, 12), "there is more time");
        assert!(halves.is_due(3, 13), "of the other it stands");
        assert!(halves.extend(3, 13, 5));
        assert!(halves.is_due(3, 15));
        assert!(!halves.extend(3, 15, 5), "it had more");
        halves.end(3, Half::Message);
        halves.begin(3, Half::Message, 15);
        assert!(halves.extend(3, 15, 5), "it is another one's");
    }

    #[test]
    fn a_control_frame_within_a_message_has_a_deadline_of_its_own() {
        let mut halves = Halves::default();
        halves.begin(3, Half::Message, 10);
        halves.begin(3, Half::Control, 12);
        halves.end(3, Half::Control);
        halves.begin(3, Half::Control, 20);
        assert!(halves.is_due(3, 10));
        halves.end(3, Half::Message);
        assert!(!halves.is_due(3, 19));
        halves.end(3, Half::Control);
        assert!(halves.is_empty());
    }
}
