//! A response whose body is sent as the peer takes it.

use tidegate_proto::keepalive::Wait;

use super::response::{Sink, Source};
use super::serve::End;
use super::turn::{Failing, Turn};
use crate::connection::{AfterFlush, CONTROL_RESERVE, Connection, Spoken, Stage, Streaming};
use crate::hub::Cause;
use crate::kernel::{Slot, SlotSet};
use crate::memory::SideTable;

/// What a source says at a time, in bytes: then others have their turn, and what waits for a peer
/// is no more than that.
const PORTION: u32 = 64 << 10;

/// The sources of the bodies that are being sent.
pub struct Sources {
    by_slot: SideTable<Box<dyn Source>>,
    /// Those for which there was no room though nothing waits for their peers, and those of whom
    /// what they have said has yet to be sealed: they are asked again once there may be some room.
    waiting: SlotSet,
}

impl Sources {
    /// For so many slots.
    pub(super) fn new(slots: u32) -> Self {
        Self { by_slot: SideTable::default(), waiting: SlotSet::new(slots) }
    }

    /// The most bytes that this takes for so many slots, without what sources keep themselves.
    pub(crate) fn bytes(slots: u32) -> u64 {
        SideTable::<Box<dyn Source>>::bytes(slots) + SlotSet::bytes(slots)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_slot.is_empty() && self.waiting.is_empty()
    }

    /// The bytes that what grows of this holds now, likewise.
    pub(crate) fn held(&self) -> u64 {
        self.by_slot.held()
    }

    /// How many wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out one that waits for room.
    pub(crate) fn next_waiting(&mut self) -> Option<Slot> {
        self.waiting.pop()
    }

    /// It waits for room.
    pub(crate) fn waits(&mut self, slot: Slot) {
        self.waiting.insert(slot);
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.by_slot.remove(slot);
        self.waiting.remove(slot);
    }
}

const fn state(connection: &mut Connection) -> &mut Streaming {
    connection.streaming().expect("it was looked what is spoken, and that stays as it is")
}

/// The head is said, and the body comes from a source.
pub(super) fn begin(turn: &mut Turn<'_>, source: Box<dyn Source>, length: Option<u64>) {
    let slot = turn.work.id.slot;
    turn.services.sources.by_slot.insert(slot, source);
    let connection = turn.connection();
    connection.stage = Stage::Open;
    connection.spoken = Spoken::Response(Streaming { left: length, is_open: true });
    turn.counters.opened += 1;
    turn.counters.connections_open += 1;
    pull(turn);
}

/// Asks for more, as long as there is some and room for it.
pub(super) fn pull(turn: &mut Turn<'_>) {
    let Turn { work, services, .. } = turn;
    let slot = work.id.slot;
    let Some(source) = services.sources.by_slot.get_mut(slot) else { return };
    let left = state(work.output.connection).left;
    let output = &mut work.output;
    output.backlog_limit = output.backlog_limit.min(PORTION + CONTROL_RESERVE);
    // It is asked once its peer has taken what waits.
    let is_choked = output.is_choked();
    let is_over = left == Some(0);
    let mut sink = Sink { output, left, said: 0, is_over, is_broken: false };
    let mut before = None;
    while !is_choked && before != Some(sink.said) && sink.room() > 0 {
        before = Some(sink.said);
        source.pull(&mut sink);
    }
    let lacks_room = sink.room() == 0;
    let Sink { left, said, is_over, is_broken, .. } = sink;
    // Where it is sealed, nothing else tells that what it said has left with the batch.
    let leaves_unnoticed = work.output.seals && said > 0;
    let waits = (lacks_room || leaves_unnoticed) && !work.output.is_choked();
    if waits && !is_over && !is_broken {
        services.sources.waits(slot);
    }
    state(work.output.connection).left = left;
    work.said.bytes += said;
    // It is asked when its peer has taken what it said before: from here on it may be silent for so
    // long, whatever its peer says.
    turn.left.wait = Some(Wait::Source);
    if is_broken {
        turn.counters.bodies_broken_off += 1;
        turn.left.drop = true;
    } else if is_over {
        turn.connection().stage = Stage::Lingering;
        turn.connection().states.do_after_flush(AfterFlush::Finish);
        turn.left.end = Some(End::of_ours(Cause::Done));
        turn.left.wait = Some(Wait::Close);
    }
}

/// Nothing was said for too long: by its source, unless that waits for room.
pub(super) fn silent(turn: &mut Turn<'_>) {
    if turn.services.sources.waiting.contains(turn.work.id.slot) {
        turn.left.wait = Some(Wait::Source);
        return;
    }
    Failing::TooLate.count(turn.counters);
    turn.left.drop = true;
}

/// Ends the connection for this. What is being sent to one that a drain closes is sent, as long as
/// the drain lasts.
pub(super) fn close(turn: &mut Turn<'_>, why: Failing) {
    if !matches!(why, Failing::GoesAway | Failing::Drains(_)) {
        why.count(turn.counters);
        turn.left.drop = true;
    }
}

/// The connection has ended: nothing more is asked of the source.
pub(super) fn tell_end(sources: &mut Sources, connection: &mut Connection, slot: Slot) {
    state(connection).is_open = false;
    sources.forget(slot);
}
