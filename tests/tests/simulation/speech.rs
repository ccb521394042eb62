//! What a client has yet to say: whole units, such as a frame, said in pieces.

use std::collections::VecDeque;

use super::client::Action;
use super::random::Random;
use super::script;

/// The units, the first of which may be said in part.
pub struct Speech {
    units: VecDeque<Vec<u8>>,
    said_of_first: usize,
    /// The most bytes that are said at once.
    step: usize,
}

impl Speech {
    /// What is said first, in pieces of so many bytes at most.
    pub fn new(first: Vec<u8>, step: usize) -> Self {
        Self { units: [first].into(), said_of_first: 0, step }
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub fn extend(&mut self, units: impl IntoIterator<Item = Vec<u8>>) {
        self.units.extend(units);
    }

    /// The next piece, if there is room for it.
    pub fn say(&mut self, random: &mut Random, room: usize) -> Action {
        let Some(first) = self.units.front() else { return Action::Nothing };
        let most = random.between(1, self.step).min(room);
        let count = (first.len() - self.said_of_first).min(most);
        let bytes = first[self.said_of_first..][..count].to_vec();
        self.said_of_first += count;
        if self.said_of_first == first.len() {
            self.units.pop_front();
            self.said_of_first = 0;
        }
        if bytes.is_empty() { Action::Nothing } else { Action::Say(bytes) }
    }

    /// A Pong, behind what has begun.
    pub fn answer_ping(&mut self) {
        let at = usize::from(self.said_of_first > 0);
        self.units.insert(at, script::frame(0x8A, b"", [9; 4]));
    }

    /// Leaves out what has not begun.
    pub fn break_off(&mut self) {
        self.units.truncate(usize::from(self.said_of_first > 0));
    }
}
