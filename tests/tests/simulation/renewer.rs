//! Fresh tokens that the outside brings for clients that are there, and what it is told of them.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::hub::{ConnectionFilter, Door, Errand, FreshToken, NotDone, NotRenewed, Outcome};
use tidegate::names::ConnectionId;

use crate::bearer::Token;
use crate::bearing::Bearing;
use crate::random::Random;
use crate::revoker::Takings;
use crate::several::Several;

/// Brings them.
pub struct Renewer {
    door: Door,
    random: Random,
    /// Turns between two looks at who is there, on average; `None` for none.
    each: Option<usize>,
    next_at: usize,
    takings: Takings,
    /// The number of the last question, those that are not answered, and answers by them.
    last: u64,
    asked: BTreeMap<u64, Asked>,
    answers: (Sender<Answer>, Receiver<Answer>),
}

/// The number of a question, and its answer.
type Answer = (u64, Outcome);

/// What was asked.
enum Asked {
    /// Who is there, of a shard.
    Who(usize),
    /// That a client has this token from now on.
    Renewed(Brought),
}

/// A token that was brought.
struct Brought {
    token: Token,
    /// Whose it is to be, if that client has one.
    bearing: Option<Bearing>,
    /// How often something had been taken back, and how many were brought before and not answered.
    at: usize,
    before: usize,
}

impl Renewer {
    /// What happens in a run in which these are taken back.
    pub fn draw(random: &mut Random, door: Door, takings: &Takings) -> Self {
        // Drawn apart, so that a run in which none is brought is as if none could be.
        let mut random = Random::new(!random.clone().bits() ^ 0x5B);
        let each = random.chance(400).then(|| random.pick(&[10, 60, 300]));
        Self {
            door,
            each,
            next_at: random.below(600),
            random,
            takings: takings.clone(),
            last: 0,
            asked: BTreeMap::new(),
            answers: mpsc::channel(),
        }
    }

    /// Does what is due, unless all come to rest.
    pub fn act(&mut self, several: &Several, rests: bool) {
        let Some(each) = self.each else { return };
        let answers: Vec<_> = self.answers.1.try_iter().collect();
        for (number, outcome) in answers {
            match self.asked.remove(&number).expect("it was asked, and is answered once") {
                Asked::Who(shard) if !rests => self.hears_who(several, shard, outcome),
                Asked::Who(_) => {}
                Asked::Renewed(brought) => self.judge(several, (number, brought), &outcome),
            }
        }
        if !rests && several.turns() >= self.next_at {
            self.next_at = several.turns() + self.random.between(1, 2 * each);
            let shard = self.random.below(several.outsides.len());
            let filter = ConnectionFilter::default();
            let errand = Errand::Connections { from: 0, filter, limit: 100 };
            let answer = self.asks(Asked::Who(shard));
            self.door.ask_shard(shard, errand, answer);
        }
    }

    /// Whether everything that it asked was answered.
    pub fn is_answered(&self) -> bool {
        self.asked.is_empty()
    }

    /// Something is asked: what takes the answer.
    fn asks(&mut self, asked: Asked) -> impl FnOnce(Outcome) + Send + 'static {
        self.last += 1;
        let (number, answers) = (self.last, self.answers.0.clone());
        self.asked.insert(number, asked);
        move |outcome| {
            // Nobody looks any more once the run is over.
            let _ = answers.send((number, outcome));
        }
    }

    fn hears_who(&mut self, several: &Several, shard: usize, outcome: Outcome) {
        let Outcome::Connections(infos, _) = outcome else { return };
        let bearing = |id: ConnectionId| several.outsides[shard].world.borrow().bearing(id.slot);
        let ids = || infos.iter().map(|info| info.id);
        // Few have a token, and the others are all alike.
        let mut ids: Vec<_> = match self.random.chance(900) {
            true => ids().filter(|id| bearing(*id).is_some()).collect(),
            false => ids().collect(),
        };
        for _ in 0..self.random.between(1, 3).min(ids.len()) {
            let id = ids.swap_remove(self.random.below(ids.len()));
            self.bring(id, bearing(id));
        }
    }

    fn bring(&mut self, id: ConnectionId, bearing: Option<Bearing>) {
        let user = bearing.as_ref().map(Bearing::user);
        let token = Token::draw_for(&mut self.random, user);
        let before = bearing.as_ref().map_or(0, Bearing::brought);
        if let Some(bearing) = &bearing {
            bearing.brings(self.last + 1, &token);
        }
        let fresh = FreshToken::new(token.text());
        let brought = Brought { token, bearing, at: self.takings.changes(), before };
        let answer = self.asks(Asked::Renewed(brought));
        self.door.ask(Errand::Renew(id, fresh), answer);
    }

    /// What is answered must be true.
    ///
    /// # Panics
    /// It is not.
    fn judge(&self, several: &Several, (number, brought): (u64, Brought), outcome: &Outcome) {
        let Brought { token, bearing, at, before } = brought;
        let has_taken = matches!(outcome, Outcome::Renewed(_));
        if let Some(bearing) = &bearing {
            bearing.is_told(number, has_taken);
        }
        let latest = several.outsides.iter().map(|one| one.world.borrow().latest());
        let latest: Duration = latest.max().expect("a shard");
        let is_right = match outcome {
            Outcome::Renewed(until) => {
                let is_good = token.until.is_some() && *until == token.until;
                is_good && !self.takings.hold_since(&token, at) && bearing.is_some()
            }
            Outcome::NotRenewed(NotRenewed::BadToken(_)) => {
                token.until.is_none_or(|until| latest >= until)
                    || self.takings.held_since(&token, at)
            }
            Outcome::NotRenewed(NotRenewed::OtherUser) => {
                bearing.is_some_and(|bearing| bearing.user() != token.user)
            }
            Outcome::NotRenewed(NotRenewed::NoToken) => bearing.is_none(),
            Outcome::NotRenewed(NotRenewed::UnderWay) => before > 0,
            Outcome::NotRenewed(why) => matches!(why, NotRenewed::Busy | NotRenewed::NoRoom),
            Outcome::NotDone(why) => {
                matches!(why, NotDone::Gone | NotDone::NotOpen | NotDone::Busy | NotDone::Ended)
            }
            _ => false,
        };
        assert!(is_right, "{token:?} was brought, and answered by {outcome:?}");
    }
}
