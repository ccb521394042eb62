//! Whoever finds out what handlers ask about requests: soon, late, never, or twice.

use std::sync::{Arc, Mutex};

use tidegate::hub::{Door, NotDone, Outcome};

use crate::handlers::{Asked, Books, Told, Verdict};
use crate::random::Random;

/// Who asks with this is never told anything.
pub const NEVER: &str = "never";

/// Tells handlers what they have asked.
pub struct Decider {
    door: Door,
    books: Arc<Mutex<Books>>,
    random: Random,
    /// Per mille: how much is never told.
    withheld: u32,
    /// The most turns until it is told.
    patience: usize,
    /// What is told in which turn, or later.
    due: Vec<(usize, Asked, Told)>,
    /// How much was told.
    number: u64,
    outcomes: Arc<Mutex<Vec<(Asked, Told, Outcome)>>>,
}

impl Decider {
    pub fn new(door: Door, books: Arc<Mutex<Books>>, mut random: Random) -> Self {
        Self {
            door,
            books,
            withheld: random.pick(&[0, 100, 500]),
            patience: random.pick(&[1, 20, 400]),
            random,
            due: Vec::new(),
            number: 0,
            outcomes: Arc::default(),
        }
    }

    /// A moment passes.
    pub fn act(&mut self, turn: usize) {
        let asked = std::mem::take(&mut self.books.lock().expect("nobody panicked").asked);
        for asked in asked {
            if asked.query != NEVER && !self.random.chance(self.withheld) {
                self.plan(turn, asked);
            }
        }
        let (now, later) = std::mem::take(&mut self.due).into_iter().partition(|due| due.0 <= turn);
        self.due = later;
        let now: Vec<(usize, Asked, Told)> = now;
        for (_, asked, told) in now {
            self.tell(asked, told);
        }
        self.judge(turn);
    }

    fn plan(&mut self, turn: usize, asked: Asked) {
        let what = self.random.pick(&[
            Verdict::Admit,
            Verdict::Admit,
            Verdict::Admit,
            Verdict::Refuse,
            Verdict::Respond,
            Verdict::AskAgain,
        ]);
        self.number += 1;
        let told = Told { number: self.number, query: asked.query.clone(), what };
        self.due.push((turn + self.random.below(self.patience), asked, told));
    }

    fn tell(&mut self, asked: Asked, told: Told) {
        let outcomes = Arc::clone(&self.outcomes);
        self.door.found(asked.ticket, told.clone(), move |outcome| {
            outcomes.lock().expect("nobody panicked").push((asked, told, outcome));
        });
    }

    /// What was told has reached its request if that is said, and else nobody.
    fn judge(&mut self, turn: usize) {
        let outcomes = std::mem::take(&mut *self.outcomes.lock().expect("nobody panicked"));
        for (asked, told, outcome) in outcomes {
            let has_reached =
                self.books.lock().expect("nobody panicked").told.contains(&told.number);
            match outcome {
                Outcome::Done(1) => {
                    assert!(has_reached, "{told:?} is done, and was not");
                    if self.random.chance(100) {
                        // The same ticket once more.
                        self.plan(turn, asked);
                    }
                }
                Outcome::Untold(finding) => {
                    let back: Told = finding.take().expect("it is what was told");
                    assert_eq!(back.number, told.number, "another finding comes back");
                    self.due.push((turn + 1, asked, back));
                }
                Outcome::NotDone(NotDone::Gone) => {
                    assert!(!has_reached, "{told:?} has reached somebody who is gone");
                }
                other => panic!("{told:?}: {other:?}"),
            }
        }
    }
}
