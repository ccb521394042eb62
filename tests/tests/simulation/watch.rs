//! Keeps an eye on what a shard asks for: what may be in flight together, and that memory in
//! flight is left alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate::kernel::{
    AreaName, BufferId, Completion, Generation, HEADROOM, Memory, Operation, Slot, Span,
    buffer_stride,
};

/// What lies in a lent buffer until something is received into it.
const UNTOUCHED: u8 = 0xA5;

/// An operation that the kernel has not taken, with the bytes that it is to send as they were when
/// the kernel first saw it.
pub struct Queued {
    pub operation: Operation,
    pub bytes: Option<Vec<u8>>,
}

/// What is in flight.
#[derive(Default)]
pub struct Watch {
    /// Receives that have not completed.
    receives: BTreeSet<(Slot, Generation)>,
    /// Polls that are armed as far as the shard can know, and whether they stay so.
    polls: BTreeMap<(Slot, Generation), bool>,
    /// Connections with a send in the batch, or an armed one.
    in_batch: BTreeSet<Slot>,
    armed: BTreeSet<Slot>,
    /// Buffers that were lent, and have yet to be marked as untouched.
    fresh: Vec<BufferId>,
}

impl Watch {
    /// An operation is pushed.
    pub fn pushed(&mut self, operation: &Operation) {
        match *operation {
            Operation::Poll { slot, generation } => self.polled((slot, generation), false),
            Operation::PollOn { slot, generation } => self.polled((slot, generation), true),
            Operation::Receive { slot, generation }
            | Operation::ReceiveInto { slot, generation, .. } => {
                let this = (slot, generation);
                assert!(self.receives.insert(this), "slot {slot} is received from twice");
                let beside = self.polls.get(&this).is_none_or(|stays| *stays);
                assert!(beside, "slot {slot} is received from beside a poll");
            }
            Operation::Unpoll { slot, generation } => {
                self.polls.remove(&(slot, generation));
            }
            Operation::Send { slot, .. } => {
                assert!(!self.armed.contains(&slot), "slot {slot} sends beside an armed send");
                assert!(self.in_batch.insert(slot), "slot {slot} sends twice in a batch");
            }
            Operation::SendArmed { slot, .. } => {
                assert!(!self.in_batch.contains(&slot), "slot {slot} arms a send beside another");
                assert!(self.armed.insert(slot), "slot {slot} arms two sends");
            }
            Operation::Close { slot } => {
                assert!(!self.in_batch.contains(&slot), "slot {slot} is closed within a batch");
                assert!(!self.armed.contains(&slot), "slot {slot} is closed with an armed send");
                let polls = self.polls.range((slot, 0)..=(slot, Generation::MAX));
                assert!(polls.count() == 0, "slot {slot} is closed before its poll is removed");
            }
            _ => {}
        }
    }

    fn polled(&mut self, this: (Slot, Generation), stays: bool) {
        assert!(!self.receives.contains(&this), "slot {} is polled beside a receive", this.0);
        assert!(self.polls.insert(this, stays).is_none(), "slot {} is polled twice", this.0);
    }

    /// The shard takes a completion.
    pub fn completed(&mut self, completion: &Completion) {
        match *completion {
            Completion::Readable { slot, generation, armed: false, .. } => {
                self.polls.remove(&(slot, generation));
            }
            Completion::Received { slot, generation, .. }
            | Completion::ReceivedInto { slot, generation, .. } => {
                self.receives.remove(&(slot, generation));
            }
            Completion::Sent { slot, .. } => {
                self.armed.remove(&slot);
            }
            _ => {}
        }
    }

    /// The shard has learnt that its batch is settled.
    pub fn settled(&mut self) {
        self.in_batch.clear();
    }

    pub fn lent(&mut self, buffer: BufferId) {
        self.fresh.push(buffer);
    }

    /// The kernel sees memory: notes what it must find again.
    pub fn look(&mut self, queue: &mut VecDeque<Queued>, memory: &mut Memory, buffer_size: usize) {
        for buffer in self.fresh.drain(..) {
            let start = start_of(buffer, buffer_size);
            memory.area_mut(AreaName::Receive)[start..start + buffer_size].fill(UNTOUCHED);
        }
        for queued in queue.iter_mut().filter(|queued| queued.bytes.is_none()) {
            if let Some(span) = sends(&queued.operation) {
                queued.bytes = Some(memory.bytes(span).to_vec());
            }
        }
    }
}

/// Where the bytes of a buffer begin in their area.
pub fn start_of(buffer: BufferId, size: usize) -> usize {
    usize::from(buffer.0) * buffer_stride(size) + HEADROOM
}

/// The buffer that a span lies in, if it is in one.
pub fn buffer_at(span: Span, size: usize) -> Option<BufferId> {
    let number = span.start as usize / buffer_stride(size);
    (span.area == AreaName::Receive).then_some(BufferId(number as u16))
}

/// Checks that nobody wrote to a lent buffer.
pub fn check_untouched(buffer: BufferId, memory: &Memory, size: usize) {
    let start = start_of(buffer, size);
    let bytes = &memory.area(AreaName::Receive)[start..start + size];
    assert!(bytes.iter().all(|byte| *byte == UNTOUCHED), "{buffer:?} was written to while lent");
}

fn sends(operation: &Operation) -> Option<Span> {
    match *operation {
        Operation::Send { span, .. } | Operation::SendArmed { span, .. } => Some(span),
        _ => None,
    }
}
