//! What a connection's socket is doing, in 16 bits.

use std::fmt;
use std::ops::BitOr;

/// Whether the connection's poll is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// It is not.
    Off,
    /// It tells once.
    Once,
    /// It tells again and again.
    Stays,
}

/// What is done about the connection's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing, until a poll tells of some or its turn has come.
    Idle,
    /// A receive is in flight.
    Receiving,
    /// A receive is in flight that writes into the gathered block.
    ReceivingInto,
    /// A receive is in flight that writes into a buffer, behind what its transport could not open
    /// before.
    ReceivingBehind,
    /// The peer has to take what waits for it first.
    Paused,
    /// Some of it waits for the next turn of the loop, in the buffer that it was received in.
    PutOff,
}

/// What is on its way to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Nothing.
    Idle,
    /// A send of the current batch, whose outcome is not known yet.
    InBatch,
    /// A send that waits for the peer.
    Armed,
}

/// What happens once everything that waits is sent. The later of these prevails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AfterFlush {
    /// Nothing.
    GoOn,
    /// We finish writing, and linger.
    Finish,
    /// The connection is closed.
    Close,
}

/// Four states that exclude nothing of each other, and facts of one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct States(u16);

/// Where a state lies: its lowest bit, and how many it has.
struct Field(u32, u32);

const POLL: Field = Field(0, 2);
const READING: Field = Field(2, 3);
const WRITING: Field = Field(5, 2);
const AFTER_FLUSH: Field = Field(7, 2);

impl States {
    /// What was received last had to wait.
    pub const HEAVY: Self = Self(1 << 9);
    /// The receive in flight is one of those that may have to wait.
    pub const COUNTED: Self = Self(1 << 10);
    /// Published frames wait in the connection's queue.
    pub const QUEUED: Self = Self(1 << 11);
    /// The peer could not take all that was sent last: what waits is sent when it can.
    pub const BLOCKED: Self = Self(1 << 12);
    /// Frames have come in once.
    pub const SPOKE: Self = Self(1 << 13);
    /// Frames have come in more than once: polls stay armed from here on.
    pub const TALKS: Self = Self(1 << 14);
    /// A poll has told of the peer's end: it is received from until that shows.
    pub const ENDING: Self = Self(1 << 15);

    /// Whether any of these facts holds.
    #[must_use]
    pub const fn has(self, facts: Self) -> bool {
        self.0 & facts.0 != 0
    }

    /// All of these facts hold from here on.
    pub const fn set(&mut self, facts: Self) {
        self.0 |= facts.0;
    }

    /// None of these facts holds any more.
    pub const fn clear(&mut self, facts: Self) {
        self.0 &= !facts.0;
    }

    /// These facts hold, or do not.
    pub const fn put(&mut self, facts: Self, value: bool) {
        if value {
            self.set(facts);
        } else {
            self.clear(facts);
        }
    }

    const fn field(self, Field(shift, width): Field) -> u16 {
        self.0 >> shift & ((1 << width) - 1)
    }

    const fn set_field(&mut self, Field(shift, width): Field, value: u16) {
        self.0 = self.0 & !(((1 << width) - 1) << shift) | value << shift;
    }

    /// Whether the poll is armed.
    #[must_use]
    pub const fn poll(self) -> Poll {
        match self.field(POLL) {
            0 => Poll::Off,
            1 => Poll::Once,
            _ => Poll::Stays,
        }
    }

    /// The poll is armed, or no longer.
    pub const fn set_poll(&mut self, poll: Poll) {
        self.set_field(POLL, poll as u16);
    }

    /// What is done about input.
    #[must_use]
    pub const fn reading(self) -> Reading {
        match self.field(READING) {
            0 => Reading::Idle,
            1 => Reading::Receiving,
            2 => Reading::ReceivingInto,
            3 => Reading::ReceivingBehind,
            4 => Reading::Paused,
            _ => Reading::PutOff,
        }
    }

    /// This is done about input from here on.
    pub const fn set_reading(&mut self, reading: Reading) {
        self.set_field(READING, reading as u16);
    }

    /// Whether a receive is in flight.
    #[must_use]
    pub const fn is_receiving(self) -> bool {
        matches!(self.reading(), Reading::Receiving) || self.is_receiving_into()
    }

    /// Whether a receive is in flight that writes into memory of the connection.
    const fn is_receiving_into(self) -> bool {
        matches!(self.reading(), Reading::ReceivingInto | Reading::ReceivingBehind)
    }

    /// Whether input of the connection is on its way to be worked on.
    #[must_use]
    pub const fn has_input(self) -> bool {
        self.is_receiving() || matches!(self.reading(), Reading::PutOff)
    }

    /// Whether an operation is in flight that uses memory of the connection.
    #[must_use]
    pub const fn is_in_flight(self) -> bool {
        self.is_sending() || self.is_receiving_into()
    }

    /// What is on its way to the peer.
    #[must_use]
    pub const fn writing(self) -> Writing {
        match self.field(WRITING) {
            0 => Writing::Idle,
            1 => Writing::InBatch,
            _ => Writing::Armed,
        }
    }

    /// This is on its way to the peer from here on.
    pub const fn set_writing(&mut self, writing: Writing) {
        self.set_field(WRITING, writing as u16);
    }

    /// Whether something is on its way to the peer.
    #[must_use]
    pub const fn is_sending(self) -> bool {
        !matches!(self.writing(), Writing::Idle)
    }

    /// Whether a send is on its way whose outcome is not known yet.
    #[must_use]
    pub const fn is_in_batch(self) -> bool {
        matches!(self.writing(), Writing::InBatch)
    }

    /// Whether the peer had no room for what was sent last.
    #[must_use]
    pub const fn is_blocked(self) -> bool {
        self.has(Self::BLOCKED) || matches!(self.writing(), Writing::Armed)
    }

    /// What happens once everything that waits is sent.
    #[must_use]
    pub const fn after_flush(self) -> AfterFlush {
        match self.field(AFTER_FLUSH) {
            0 => AfterFlush::GoOn,
            1 => AfterFlush::Finish,
            _ => AfterFlush::Close,
        }
    }

    /// This happens once everything that waits is sent, or more.
    pub fn do_after_flush(&mut self, what: AfterFlush) {
        self.set_field(AFTER_FLUSH, self.after_flush().max(what) as u16);
    }

    /// What was to happen once everything was sent has happened.
    pub const fn has_flushed(&mut self) {
        self.set_field(AFTER_FLUSH, AfterFlush::GoOn as u16);
    }

    /// Asserts what must always hold; free in release builds.
    pub fn check(self, has_backlog: bool) {
        debug_assert!(
            self.writing() != Writing::Armed || has_backlog || self.has(Self::QUEUED),
            "a send is armed for nothing that waits: {self:?}"
        );
        debug_assert!(
            self.poll() != Poll::Once || !self.is_receiving(),
            "polled and receiving at once: {self:?}"
        );
    }
}

impl BitOr for States {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = (self.poll(), self.reading(), self.writing(), self.after_flush());
        write!(out, "{states:?}")?;
        let facts = [
            (Self::HEAVY, "heavy"),
            (Self::COUNTED, "counted"),
            (Self::QUEUED, "queued"),
            (Self::BLOCKED, "blocked"),
            (Self::SPOKE, "spoke"),
            (Self::TALKS, "talks"),
            (Self::ENDING, "ending"),
        ];
        facts
            .iter()
            .filter(|(fact, _)| self.has(*fact))
            .try_for_each(|(_, name)| write!(out, " {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_kept_beside_the_others() {
        let mut states = States::default();
        states.set(States::ENDING | States::HEAVY);
        let polls = [Poll::Once, Poll::Stays, Poll::Off];
        let readings = [
            Reading::Receiving,
            Reading::ReceivingInto,
            Reading::ReceivingBehind,
            Reading::Paused,
            Reading::PutOff,
        ];
        for poll in polls {
            for reading in readings {
                for writing in [Writing::InBatch, Writing::Armed, Writing::Idle] {
                    states.set_poll(poll);
                    states.set_reading(reading);
                    states.set_writing(writing);
                    let kept = (states.poll(), states.reading(), states.writing());
                    assert_eq!(kept, (poll, reading, writing));
                }
            }
        }
        assert!(states.has(States::ENDING) && states.has(States::HEAVY));
        assert!(!states.has(States::QUEUED));
        assert_eq!(states.after_flush(), AfterFlush::GoOn);
    }

    #[test]
    fn closing_prevails_over_finishing() {
        let mut states = States::default();
        states.do_after_flush(AfterFlush::Close);
        states.do_after_flush(AfterFlush::Finish);
        assert_eq!(states.after_flush(), AfterFlush::Close);
        states.has_flushed();
        assert_eq!(states.after_flush(), AfterFlush::GoOn);
    }
}
