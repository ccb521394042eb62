//! The handlers of the simulated routes. Each keeps the books: what a shard calls, and when, has a
//! grammar.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tidegate::config::{self, Route};
use tidegate::handler::{
    Admission, Body, Context, Decision, Desk, End, Event, Finding, Handler, Piece, Refusal,
    Request, Response, Rooms, Ticket, Wants,
};
use tidegate::hub::Cause;
use tidegate::names::{ConnectionId, Name};
use tidegate::protocol::{Allowance, Exchange, Failing, Protocol, Stretch};
use tidegate_proto::message::{Kind, Part};
use tidegate_tests::line_echo::LineEcho;

use crate::bearer;
use crate::bodies::{self, Bodies};

/// The close code of [`Behaviour::CloseAtTheThird`].
pub const HAD_ENOUGH: u16 = 4003;

/// How many messages [`Behaviour::Source`] sends before it closes.
pub const SOURCE_MESSAGES: usize = 30;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Echoes pieces as they come in.
    Echo,
    /// Echoes messages once they are whole.
    Whole,
    /// Sends a copy of each message in three pieces, then the message itself.
    Twice,
    /// Echoes two messages, and closes at the third.
    CloseAtTheThird,
    /// Sends messages of its own as fast as the peer takes them, and closes behind the last.
    Source,
    /// Echoes, once it is decided later that it may.
    Late,
}

impl Behaviour {
    pub const ALL: [Self; 6] =
        [Self::Echo, Self::Whole, Self::Twice, Self::CloseAtTheThird, Self::Source, Self::Late];

    /// The path of its route.
    pub fn path(self) -> &'static str {
        match self {
            Self::Echo => "/echo",
            Self::Whole => "/whole",
            Self::Twice => "/twice",
            Self::CloseAtTheThird => "/third",
            Self::Source => "/source",
            Self::Late => "/late",
        }
    }

    /// Whether its messages are put together.
    pub fn wants_whole(self) -> bool {
        matches!(self, Self::Whole | Self::Twice)
    }
}

/// The messages of [`Behaviour::Source`].
pub fn source_message(index: usize) -> Vec<u8> {
    (0..index * 97 % 1500).map(|at| (at * 7 + index) as u8).collect()
}

/// What all handlers of a run have seen.
#[derive(Debug, Default)]
pub struct Books {
    pub opened: u64,
    pub closed: u64,
    /// Sources of bodies that were made, and that were given up.
    pub sources: u64,
    pub given_up: u64,
    /// What was asked about requests since somebody looked.
    pub asked: Vec<Asked>,
    /// The numbers of what was told about requests.
    pub told: BTreeSet<u64>,
}

/// Something was asked about a request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub ticket: Ticket,
    /// The request's own.
    pub query: String,
}

/// What is told about a request.
#[derive(Clone, Debug)]
pub struct Told {
    /// Each is told once.
    pub number: u64,
    pub query: String,
    pub what: Verdict,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    Admit,
    Refuse,
    Respond,
    AskAgain,
}

/// The handler of a route of the simulation's; `None` for the built-in ones.
pub fn recorded(route: &Route, books: &Arc<Mutex<Books>>) -> Option<Box<dyn Handler>> {
    if let config::RouteHandler::Hub(hub) = &route.handler {
        let rooms = Rooms::new(route, hub.clone());
        return Some(Box::new(Counted { rooms, books: Arc::clone(books) }));
    }
    if route.path == bodies::PATH {
        return Some(Box::new(Bodies { books: Arc::clone(books) }));
    }
    let behaviour = match &*route.path {
        bearer::PATH => Behaviour::Echo,
        bearer::LATE_PATH => Behaviour::Late,
        path => Behaviour::ALL.into_iter().find(|one| one.path() == path)?,
    };
    Some(Box::new(Recorded { behaviour, open: HashMap::new(), next: 1, books: Arc::clone(books) }))
}

/// The hub's own handler, whose calls are counted.
struct Counted {
    rooms: Rooms,
    books: Arc<Mutex<Books>>,
}

impl Handler for Counted {
    fn wants(&self) -> Wants {
        self.rooms.wants()
    }

    fn request(&mut self, request: &Request<'_>, desk: &mut Desk<'_>) -> Decision {
        self.rooms.request(request, desk)
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, admission: Admission) {
        self.books.lock().expect("nobody panicked").opened += 1;
        self.rooms.opened(context, admission);
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        self.rooms.message(context, piece);
    }

    fn event(&mut self, context: &mut Context<'_, '_>, event: Event<'_>) {
        let Event::Told(what) = event else { return self.rooms.event(context, event) };
        let (is_text, message) = what.split_first().expect("what it is comes first");
        let kind = if *is_text == 1 { Kind::Text } else { Kind::Bytes };
        // What cannot be written ends the connection.
        let _ = context.send_piece(kind, Part::Whole, message);
    }

    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, _state: u32, _end: End) {
        self.books.lock().expect("nobody panicked").closed += 1;
    }
}

/// The line echo, whose calls are counted.
pub struct CountedLines {
    lines: LineEcho,
    open: HashSet<[u8; 8]>,
    books: Arc<Mutex<Books>>,
}

impl CountedLines {
    pub fn new(allowance: Option<Allowance>, books: Arc<Mutex<Books>>) -> Self {
        let lines = LineEcho { allowance, ..LineEcho::default() };
        Self { lines, open: HashSet::new(), books }
    }

    /// Which connection it is: the line echo leaves that alone.
    fn number(own: &[u8; 28]) -> [u8; 8] {
        own[20..].try_into().expect("eight bytes")
    }

    fn check(&self, exchange: &mut Exchange<'_, '_>) {
        assert!(self.open.contains(&Self::number(exchange.own())), "called, and not open");
    }
}

impl Protocol for CountedLines {
    fn allowance(&self) -> Allowance {
        self.lines.allowance()
    }

    fn begin(&mut self, exchange: &mut Exchange<'_, '_>) {
        assert_eq!(*exchange.own(), [0; 28], "what another has kept");
        let mut books = self.books.lock().expect("nobody panicked");
        books.opened += 1;
        exchange.own()[20..].copy_from_slice(&books.opened.to_le_bytes());
        drop(books);
        assert!(self.open.insert(Self::number(exchange.own())), "begins twice");
        self.lines.begin(exchange);
    }

    fn input(&mut self, exchange: &mut Exchange<'_, '_>, input: Stretch<'_>) {
        self.check(exchange);
        self.lines.input(exchange, input);
    }

    fn writable(&mut self, exchange: &mut Exchange<'_, '_>) {
        self.check(exchange);
        assert!(!exchange.is_choked(), "writable, and choked");
    }

    fn silent(&mut self, exchange: &mut Exchange<'_, '_>) {
        self.check(exchange);
        self.lines.silent(exchange);
    }

    fn told(&mut self, exchange: &mut Exchange<'_, '_>, topic: Option<&Name>, message: &[u8]) {
        self.check(exchange);
        self.lines.told(exchange, topic, message);
    }

    fn last_words(&mut self, exchange: &mut Exchange<'_, '_>, why: Failing) {
        self.check(exchange);
        self.lines.last_words(exchange, why);
    }

    fn ended(&mut self, id: ConnectionId, own: &[u8; 28], end: End) {
        assert!(self.open.remove(&Self::number(own)), "ends twice, or never began");
        self.books.lock().expect("nobody panicked").closed += 1;
        self.lines.ended(id, own, end);
    }
}

struct Recorded {
    behaviour: Behaviour,
    open: HashMap<u32, Seen>,
    next: u32,
    books: Arc<Mutex<Books>>,
}

/// What was seen of one connection.
#[derive(Default)]
struct Seen {
    within_message: bool,
    messages: usize,
    sent: usize,
    /// It was closed by its handler.
    closed: bool,
}

impl Recorded {
    fn seen(&mut self, context: &Context<'_, '_>) -> &mut Seen {
        self.open.get_mut(&context.state()).expect("called for a connection that is not open")
    }

    fn later(&self, request: &Request<'_>) -> Decision {
        let query = request.query().unwrap_or_default().to_owned();
        let books = Arc::clone(&self.books);
        Decision::later(move |ticket| {
            books.lock().expect("nobody panicked").asked.push(Asked { ticket, query });
        })
    }

    fn pour(&mut self, context: &mut Context<'_, '_>) {
        let seen = self.seen(context);
        while seen.sent < SOURCE_MESSAGES && !context.is_choked() {
            let message = source_message(seen.sent);
            if context.send_bytes(&message).is_err() {
                return;
            }
            seen.sent += 1;
        }
        if seen.sent == SOURCE_MESSAGES {
            seen.closed = true;
            context.close(Cause::Done);
        }
    }
}

impl Handler for Recorded {
    fn wants(&self) -> Wants {
        if self.behaviour.wants_whole() { Wants::Whole } else { Wants::Pieces }
    }

    fn request(&mut self, request: &Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        let path = request.path();
        assert!(path.ends_with(self.behaviour.path()) || path == bearer::PATH, "{path}");
        match self.behaviour {
            Behaviour::Late => self.later(request),
            _ => Decision::Admit(Admission::default()),
        }
    }

    fn decided(
        &mut self,
        request: &Request<'_>,
        finding: Finding,
        _desk: &mut Desk<'_>,
    ) -> Decision {
        let Told { number, query, what } = finding.take().expect("nothing else is told");
        assert_eq!(request.query(), Some(&query[..]), "told about another request");
        let is_new = self.books.lock().expect("nobody panicked").told.insert(number);
        assert!(is_new, "told twice");
        match what {
            Verdict::Admit => Decision::Admit(Admission::default()),
            Verdict::Refuse => Decision::Refuse(Refusal::Forbidden),
            Verdict::Respond => {
                let body = Body::Shared(b"later"[..].into());
                Decision::Respond(Response::new(200, body).expect("a response"))
            }
            Verdict::AskAgain => self.later(request),
        }
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, _admission: Admission) {
        context.set_state(self.next);
        assert!(self.open.insert(self.next, Seen::default()).is_none());
        self.next += 1;
        self.books.lock().expect("nobody panicked").opened += 1;
        if self.behaviour == Behaviour::Source {
            self.pour(context);
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let wants_whole = self.behaviour.wants_whole();
        let behaviour = self.behaviour;
        let seen = self.seen(context);
        assert_eq!(piece.part.is_first(), !seen.within_message, "a message begins within another");
        assert!(!wants_whole || piece.part == Part::Whole, "a message in pieces");
        seen.within_message = !piece.part.is_last();
        seen.messages += usize::from(piece.part.is_last());
        // What cannot be written ends the connection, and the shard knows why.
        let _ = match behaviour {
            Behaviour::Source => Ok(()),
            Behaviour::CloseAtTheThird if seen.messages >= 3 => {
                seen.closed = true;
                context.close(Cause::Wish(HAD_ENOUGH));
                Ok(())
            }
            // The third message may have begun: nothing of it goes back.
            Behaviour::CloseAtTheThird if seen.messages == 2 && seen.within_message => Ok(()),
            Behaviour::Twice => twice(context, piece),
            Behaviour::Echo | Behaviour::Whole | Behaviour::CloseAtTheThird | Behaviour::Late => {
                context.echo(piece)
            }
        };
    }

    fn writable(&mut self, context: &mut Context<'_, '_>) {
        assert!(!context.is_choked(), "writable, and choked");
        assert!(!self.seen(context).closed, "asked for more behind its Close frame");
        if self.behaviour == Behaviour::Source {
            self.pour(context);
        }
    }

    fn ended(&mut self, _desk: &mut Desk<'_>, _id: ConnectionId, state: u32, _end: End) {
        self.open.remove(&state).expect("closed twice, or never opened");
        self.books.lock().expect("nobody panicked").closed += 1;
    }
}

fn twice(
    context: &mut Context<'_, '_>,
    piece: Piece<'_>,
) -> Result<(), tidegate::handler::WriteError> {
    let copy = context.bytes(&piece).to_vec();
    let (a, b) = (copy.len() / 3, copy.len() / 2);
    context.send_piece(piece.kind, Part::First, &copy[..a])?;
    context.send_piece(piece.kind, Part::Middle, &copy[a..b])?;
    context.send_piece(piece.kind, Part::Last, &copy[b..])?;
    context.echo(piece)
}
