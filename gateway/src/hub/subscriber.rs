//! One of a topic's subscribers, in a word.

use super::Form;
use crate::kernel::Slot;

/// A connection's slot has 22 bits: there are at most 4,194,304 of them.
pub(super) const SLOT_BITS: u32 = 22;
pub(super) const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

/// A subscriber: its slot, and how it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber(u32);

impl Subscriber {
    /// Wants events: messages with their topic and position, joins and leaves, as JSON.
    pub(crate) const EVENTS: u32 = 1 << 22;
    /// Gets nothing before it was told where it stands.
    pub(crate) const PENDING: u32 = 1 << 23;
    const FORM_SHIFT: u32 = 24;

    /// The connection in `slot`, which wants this form, with those of the flags that are set.
    pub(crate) fn new(slot: Slot, form: Form, flags: u32) -> Self {
        debug_assert!(slot <= SLOT_MASK, "slot {slot} has too many bits");
        Self(slot | flags | u32::from(form.0) << Self::FORM_SHIFT)
    }

    pub(crate) fn slot(self) -> Slot {
        self.0 & SLOT_MASK
    }

    /// How it wants what is published.
    pub(crate) fn form(self) -> Form {
        Form((self.0 >> Self::FORM_SHIFT) as u8)
    }

    pub(crate) fn wants_events(self) -> bool {
        self.0 & Self::EVENTS != 0
    }

    pub(crate) fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    /// It has been told where it stands.
    pub(super) fn settle(&mut self) {
        self.0 &= !Self::PENDING;
    }
}
