//! Sends that wait for room.

use std::collections::HashMap;

use crate::bill::sizes::hash_table;
use crate::kernel::{Generation, Slot, Span};

/// What is sent when its peer takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArmedSend {
    pub(super) generation: Generation,
    pub(super) span: Span,
}

/// The armed sends, by slot: at most one of each, and only of peers that take nothing now.
#[derive(Default)]
pub(super) struct ArmedSends {
    sends: HashMap<Slot, ArmedSend>,
}

/// The most bytes that the armed sends of so many slots take.
pub(in crate::kernel) fn armed_bytes(slots: u32) -> u64 {
    hash_table(slots, size_of::<(Slot, ArmedSend)>())
}

impl ArmedSends {
    /// Arms a send.
    pub(super) fn put(&mut self, slot: Slot, send: ArmedSend) {
        let before = self.sends.insert(slot, send);
        debug_assert!(before.is_none(), "one armed send at a time");
    }

    /// The armed send of a connection.
    pub(super) fn get(&self, slot: Slot) -> Option<ArmedSend> {
        self.sends.get(&slot).copied()
    }

    /// It is done, or given up.
    pub(super) fn remove(&mut self, slot: Slot) {
        // Most often there is none at all: then nothing is looked up.
        if !self.sends.is_empty() {
            self.sends.remove(&slot);
        }
    }
}
