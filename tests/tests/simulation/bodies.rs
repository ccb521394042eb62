//! Responses whose bodies come from a source, and what each of them says: all of it follows from
//! the number that the request names.

use std::sync::{Arc, Mutex};

use tidegate::handler::{
    Body, Context, Decision, Desk, Handler, Piece, Request, Response, Sink, Source as SaysBody,
};

use crate::handlers::Books;
use crate::random::Random;

/// The path of their route.
pub const PATH: &str = "/bodies";

/// How a source goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It says all.
    Whole,
    /// It ends before.
    Early,
    /// It says nothing more at some moment, and does not end.
    Silent,
    /// It never ends.
    Endless,
}

/// What a source says.
#[derive(Clone, Copy, Debug)]
pub struct BodyPlan {
    pub number: u64,
    pub kind: Kind,
    /// The bytes that are announced, if any are.
    pub length: Option<u64>,
    /// How many it says.
    pub says: u64,
}

impl BodyPlan {
    /// That of a number.
    pub fn of(number: u64) -> Self {
        let mut random = Random::new(number);
        let kind =
            random.pick(&[Kind::Whole, Kind::Whole, Kind::Early, Kind::Silent, Kind::Endless]);
        let total = random.pick(&[0, 1, 100, 5000, 40_000]);
        let total = random.between(total / 2, total) as u64;
        let (total, says) = match kind {
            Kind::Whole => (total, total),
            Kind::Early | Kind::Silent => (total + 1, random.below(total as usize + 1) as u64),
            Kind::Endless => (u64::MAX, u64::MAX),
        };
        Self { number, kind, length: random.chance(500).then_some(total), says }
    }

    /// The byte at a place of its body.
    pub fn byte(&self, at: u64) -> u8 {
        (at.wrapping_mul(0x9E37) >> 4) as u8 ^ at as u8 ^ self.number as u8
    }
}

/// The handler of the route.
pub struct Bodies {
    pub books: Arc<Mutex<Books>>,
}

impl Handler for Bodies {
    fn request(&mut self, request: &Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        let number = request.query().and_then(|query| query.parse().ok()).expect("a number");
        let plan = BodyPlan::of(number);
        self.books.lock().expect("nobody panicked").sources += 1;
        let random = Random::new(!number);
        let source =
            Source { plan, at: 0, random, has_ended: false, books: Arc::clone(&self.books) };
        let body = Body::Stream { length: plan.length, source: Box::new(source) };
        Decision::Respond(Response::new(200, body).expect("what can be sent"))
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {
        panic!("nothing is opened here");
    }
}

struct Source {
    plan: BodyPlan,
    at: u64,
    random: Random,
    has_ended: bool,
    books: Arc<Mutex<Books>>,
}

impl SaysBody for Source {
    fn pull(&mut self, sink: &mut Sink<'_, '_>) {
        assert!(!self.has_ended, "asked for more behind its end");
        let room = sink.room();
        assert!(room > 0, "asked though there is no room");
        let size = self.random.pick(&[1, 30, 1000, 9000]);
        let size = self.random.between(1, size) as u64;
        let end = self.plan.says.min(self.at.saturating_add(size));
        let piece: Vec<u8> = (self.at..end).map(|at| self.plan.byte(at)).collect();
        let said = sink.write(&piece);
        assert_eq!(said, piece.len().min(room), "as much as there is room for");
        self.at += said as u64;
        if self.at == self.plan.says && matches!(self.plan.kind, Kind::Whole | Kind::Early) {
            self.has_ended = true;
            sink.end();
            assert_eq!(sink.room(), 0, "nothing behind an end");
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A panic may be on its way.
        if let Ok(mut books) = self.books.lock() {
            books.given_up += 1;
        }
    }
}
