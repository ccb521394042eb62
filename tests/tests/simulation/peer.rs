//! Clients of every temper.

use std::collections::VecDeque;
use std::time::Duration;

use crate::bearer::{self, Token};
use crate::bearing::Bearing;
use crate::client::{Action, Client, Facts};
use crate::handlers::Behaviour;
use crate::hearing::Heard;
use crate::ledger::SENT_AWAY;
use crate::model::{self, Expected};
use crate::random::Random;
use crate::revoker::Takings;
use crate::script::{self, Script};

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Says everything, reads everything, closes properly.
    Correct,
    /// The same, but hardly reads.
    Slow,
    /// Says everything and never reads.
    Deaf,
    /// Says very many small things as fast as it can, and closes properly.
    Flooding,
    /// Breaks the protocol somewhere.
    Garbage,
    /// Resets at some moment.
    Resetting,
    /// Ends its side when it has said everything, and reads on.
    HalfClosing,
    /// Ends its side at some moment, perhaps within a frame.
    Abrupt,
    /// Says part of its request, or of its frames, then nothing.
    Silent,
    /// Sends something that is no request for a WebSocket.
    Stranger,
}

const TEMPERS: [Temper; 10] = [
    Temper::Correct,
    Temper::Slow,
    Temper::Deaf,
    Temper::Flooding,
    Temper::Garbage,
    Temper::Resetting,
    Temper::HalfClosing,
    Temper::Abrupt,
    Temper::Silent,
    Temper::Stranger,
];

/// How soon who reads is told that its token has expired, if its shard is at work.
const EXPIRES_WITHIN: Duration = Duration::from_secs(3);

/// And that it was taken back.
const TAKEN_BACK_WITHIN: Duration = EXPIRES_WITHIN;

/// One client.
pub struct Peer {
    pub temper: Temper,
    behaviour: Behaviour,
    compression: bool,
    /// What is left to say, in units that a pong may come between.
    script: VecDeque<Vec<u8>>,
    /// How much of the first unit was said.
    said_of_first: usize,
    /// Units after which it resets, ends or falls silent.
    gives_up_after: usize,
    /// The most bytes said at once.
    step: usize,
    /// Per mille: how often it reads when it could.
    reads: u32,
    response: Response,
    heard: Heard,
    expected: Expected,
    /// Pings that were answered.
    answered: usize,
    /// It has begun to say its Close frame, or will say nothing but that.
    is_closing: bool,
    finished_sending: bool,
    saw_end: bool,
    /// Something happened to its connection that may cost it its answers.
    harmed: bool,
    /// A part of a second header is in front of its request.
    is_misread: bool,
    /// It says all but its Close frame, and stays.
    stays: bool,
    /// What it shows, what it has, and since when that has expired, while its shard was at work.
    token: Option<Token>,
    bearing: Option<Bearing>,
    expired_for: Option<Duration>,
    /// Likewise since when it is taken back.
    taken_back_for: Option<Duration>,
    /// What is taken back, and how often that had changed when it came.
    takings: Takings,
    came_at: usize,
}

/// What a client knows of the answer to its request.
#[derive(Debug)]
enum Response {
    Coming(Vec<u8>),
    Opened,
    Refused,
}

impl Peer {
    /// Of what temper most clients of a run are, if they are.
    pub fn crowd(random: &mut Random) -> Option<Temper> {
        random.chance(300).then(|| random.pick(&TEMPERS))
    }

    /// A client in a crowd, of a server that agrees to compression, or does not.
    pub fn new(random: &mut Random, crowd: Option<Temper>, server_compresses: bool) -> Self {
        let temper = crowd.filter(|_| random.chance(800)).unwrap_or(random.pick(&TEMPERS));
        let behaviour = random.pick(&Behaviour::ALL);
        let offers = random.chance(600);
        let compression = offers && server_compresses;
        let Script { request, frames } =
            script::script(random, temper, behaviour, (offers, compression));
        let expected = model::expected(behaviour, &frames.concat(), compression);
        let mut script: VecDeque<Vec<u8>> = frames.into();
        script.push_front(request);
        let gives_up_after = match temper {
            Temper::Resetting | Temper::Abrupt | Temper::Silent => random.below(script.len() + 1),
            _ => usize::MAX,
        };
        let reads = match temper {
            Temper::Slow => random.pick(&[1, 10, 50]),
            Temper::Deaf => 0,
            _ => random.pick(&[200, 800, 1000]),
        };
        let step = match temper {
            Temper::Flooding => 100_000,
            _ => random.pick(&[1, 2, 7, 100, 5000, 100_000]),
        };
        Self {
            temper,
            behaviour,
            compression,
            script,
            said_of_first: 0,
            gives_up_after,
            step,
            reads,
            response: Response::Coming(Vec::new()),
            heard: Heard::new(compression),
            expected,
            answered: 0,
            is_closing: false,
            finished_sending: false,
            saw_end: false,
            harmed: false,
            is_misread: false,
            stays: false,
            token: None,
            bearing: None,
            expired_for: None,
            taken_back_for: None,
            takings: Takings::default(),
            came_at: 0,
        }
    }

    /// It asks for the same where a token is wanted, and shows this one. Some stay, so that there
    /// is time for another.
    pub fn bears(&mut self, random: &mut Random, token: Token, takings: &Takings) {
        let path = match self.behaviour {
            Behaviour::Echo => bearer::PATH,
            Behaviour::Late => bearer::LATE_PATH,
            _ => return,
        };
        if self.temper == Temper::Stranger {
            return;
        }
        let request = String::from_utf8(self.script[0].clone()).expect("a request is text");
        let request = request.replacen(self.behaviour.path(), path, 1);
        // With both it would be longer than a head may be.
        let (request, _) = request.split_once("X-Padding").expect("it is the last line");
        let request = format!("{request}{}\r\n", token.line());
        self.script[0] = request.into_bytes();
        self.stays = self.temper == Temper::Correct && random.chance(700);
        if self.stays {
            self.script.pop_back();
        }
        self.bearing = Some(Bearing::new(token.clone()));
        self.token = Some(token);
        (self.takings, self.came_at) = (takings.clone(), takings.changes());
    }

    /// Looks whether its token has expired, or is taken back: then it is soon told so. The calendar
    /// may be set back.
    fn looks_at_its_token(&mut self, facts: &Facts) {
        let is_good = |token: &Token| token.until.is_some();
        let Some(bearing) = self.bearing.as_ref().filter(|has| has.all(is_good)) else { return };
        let is_taken_back = bearing.all(|token| self.takings.hold(token));
        let has_expired = bearing.all(|token| has_expired(token, facts.calendar));
        let waited = |since: &mut Option<Duration>, is_so: bool| match is_so {
            true => facts.at_work.saturating_sub(*since.get_or_insert(facts.at_work)),
            false => {
                *since = None;
                Duration::ZERO
            }
        };
        let expired = waited(&mut self.expired_for, has_expired);
        let taken_back = waited(&mut self.taken_back_for, is_taken_back);
        let is_told = self.heard.close.is_some() || self.saw_end || self.finished_sending;
        let is_open = matches!(self.response, Response::Opened) && !facts.is_given_up;
        let is_prompt = self.reads == 1000 && !self.is_closing && facts.unread == 0;
        let is_late = expired >= EXPIRES_WITHIN || taken_back >= TAKEN_BACK_WITHIN;
        assert!(
            !is_open || is_told || !is_prompt || self.harmed || !is_late,
            "its token has expired for {expired:?}, is taken back for {taken_back:?}: it is here"
        );
    }

    /// One that says half a request head, and nothing more.
    pub fn with_half_a_head(random: &mut Random, server_compresses: bool) -> Self {
        let mut peer = Self::new(random, None, server_compresses);
        let head = format!("GET /echo HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(900));
        let count = random.between(1, head.len());
        peer.temper = Temper::Silent;
        peer.script = [head.as_bytes()[..count].to_vec()].into();
        peer.gives_up_after = usize::MAX;
        peer
    }

    fn say(&mut self, random: &mut Random, room: usize) -> Action {
        // A flood does not wait for its frames to be taken one by one.
        let mut bytes = Vec::new();
        while let Some(first) = self.script.front() {
            let left = room - bytes.len();
            let most = if self.step == 100_000 { left } else { random.between(1, self.step) };
            let count = (first.len() - self.said_of_first).min(left).min(most);
            bytes.extend_from_slice(&first[self.said_of_first..][..count]);
            self.said_of_first += count;
            if self.said_of_first < first.len() {
                break;
            }
            self.script.pop_front();
            self.said_of_first = 0;
            self.gives_up_after = self.gives_up_after.saturating_sub(1);
            if self.temper != Temper::Flooding || self.gives_up_after == 0 {
                break;
            }
        }
        match (bytes.is_empty(), self.script.is_empty()) {
            (true, true) => self.at_the_end(),
            (true, false) => Action::Nothing,
            (false, _) => {
                // The last unit is the Close frame of those that close.
                let closes = self.temper != Temper::HalfClosing && !self.stays;
                self.is_closing |= self.script.len() <= 1 && closes;
                Action::Say(bytes)
            }
        }
    }

    /// The server closes: after the frame at hand nothing is said but a Close frame.
    fn answer_close(&mut self, random: &mut Random) {
        self.is_closing = true;
        if matches!(self.temper, Temper::Silent | Temper::Stranger) {
            return;
        }
        self.script.truncate(usize::from(self.said_of_first > 0));
        self.script.push_back(script::close(random));
    }

    fn answer_pings(&mut self) {
        let unanswered = self.heard.pings - self.answered;
        self.answered = self.heard.pings;
        // RFC 6455 section 5.5.1: "The application MUST NOT send any more data frames after
        // sending a Close frame"; a pong would be of no use either.
        if self.is_closing || self.temper == Temper::Silent {
            return;
        }
        for _ in 0..unanswered {
            let at = usize::from(self.said_of_first > 0).min(self.script.len());
            self.script.insert(at, script::frame(0x8A, b"", [9; 4]));
        }
    }

    fn judge_response(&self, head: &str) -> Response {
        let status = &head["HTTP/1.1 ".len()..][..3];
        let is_stranger = self.temper == Temper::Stranger;
        match status {
            "101" => {
                assert!(!is_stranger, "opened: {head}");
                let is_good = self.token.as_ref().is_none_or(|token| token.until.is_some());
                assert!(is_good, "let in with {:?}", self.token);
                let is_taken_back = |token| self.takings.hold_since(token, self.came_at);
                let is_taken_back = self.token.as_ref().is_some_and(is_taken_back);
                assert!(!is_taken_back, "let in though it is taken back: {:?}", self.token);
                let agreed = head.contains("Sec-WebSocket-Extensions: permessage-deflate");
                assert_eq!(agreed, self.compression, "{head}");
                Response::Opened
            }
            // No room, or the head took too long.
            "503" | "408" => Response::Refused,
            // It is not known in time whether its token is good.
            "504" if self.token.is_some() => Response::Refused,
            "401" if self.token.as_ref().is_some_and(|token| token.until.is_none()) => {
                Response::Refused
            }
            "401" if self.heard.may_expire || self.heard.may_be_taken_back => Response::Refused,
            "200" | "400" | "404" | "405" | "413" | "426" | "431" if is_stranger => {
                Response::Refused
            }
            // Its proxy has said a second header, of which a part is taken for the request.
            "400" if self.is_misread => Response::Refused,
            // That was decided so, or not at all.
            "200" | "403" | "504" if self.behaviour == Behaviour::Late => Response::Refused,
            _ => panic!("{:?} was refused: {head}", self.temper),
        }
    }

    fn give_up(&mut self) -> Action {
        self.finished_sending = self.temper != Temper::Silent;
        match self.temper {
            Temper::Resetting => Action::Reset,
            Temper::Abrupt => Action::End,
            _ => Action::Nothing,
        }
    }

    fn at_the_end(&mut self) -> Action {
        match self.temper {
            Temper::HalfClosing => {
                self.finished_sending = true;
                Action::End
            }
            Temper::Resetting => self.give_up(),
            _ => Action::Nothing,
        }
    }
}

/// Whether a token has expired at a time by the calendar.
fn has_expired(token: &Token, calendar: Duration) -> bool {
    token.until.is_some_and(|until| calendar >= until)
}

impl Client for Peer {
    fn sees(&mut self, facts: &Facts) {
        self.looks_at_its_token(facts);
    }

    fn reads(&mut self, facts: &Facts) {
        // What it showed is of no account any more once it was let in, and another may be in its
        // place.
        let shown = self.token.as_ref().filter(|_| matches!(self.response, Response::Coming(_)));
        let any = |is_so: &dyn Fn(&Token) -> bool| {
            shown.is_some_and(is_so) || self.bearing.as_ref().is_some_and(|has| has.any(is_so))
        };
        self.heard.may_expire = any(&|token| has_expired(token, facts.latest));
        self.heard.may_be_taken_back = any(&|token| self.takings.held_since(token, self.came_at));
    }

    fn bearing(&self) -> Option<Bearing> {
        self.bearing.clone()
    }

    fn path(&self) -> Option<&'static str> {
        Some(match (&self.token, self.behaviour) {
            (None, behaviour) => behaviour.path(),
            (Some(_), Behaviour::Late) => bearer::LATE_PATH,
            (Some(_), _) => bearer::PATH,
        })
    }

    fn act(&mut self, random: &mut Random, room: usize) -> Action {
        if self.finished_sending {
            return Action::Nothing;
        }
        if self.saw_end {
            self.finished_sending = true;
            return Action::End;
        }
        if self.gives_up_after == 0 && (self.said_of_first > 0 || random.chance(300)) {
            return self.give_up();
        }
        if self.heard.close.is_some() && !self.is_closing {
            self.answer_close(random);
        }
        self.say(random, room)
    }

    fn wants_to_read(&self, random: &mut Random) -> bool {
        random.chance(self.reads)
    }

    fn hear(&mut self, bytes: &[u8], drains: bool) {
        let behind_response;
        let frames = match self.response {
            Response::Opened => bytes,
            Response::Refused => return,
            Response::Coming(ref mut head) => {
                head.extend_from_slice(bytes);
                let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return;
                };
                behind_response = head.split_off(end + 4);
                let head = String::from_utf8(std::mem::take(head)).expect("a response is text");
                self.response = self.judge_response(&head);
                &behind_response
            }
        };
        if matches!(self.response, Response::Opened) {
            self.heard.hear(frames);
            self.heard.check(&self.expected, self.behaviour == Behaviour::Source, drains);
            self.answer_pings();
        }
    }

    fn ended(&mut self, was_disturbed: bool) -> bool {
        self.saw_end = true;
        let is_promised =
            matches!(self.temper, Temper::Correct | Temper::Flooding | Temper::HalfClosing);
        let is_refused = matches!(self.response, Response::Refused);
        if !is_promised || was_disturbed || self.harmed || is_refused || self.stays {
            return false;
        }
        let is_answered = matches!(self.response, Response::Opened);
        assert!(is_answered, "a correct request was not answered: {:?}", self.response);
        // Too slow to send, too slow to read: said properly.
        let is_ended =
            matches!(self.heard.close, Some(Some(1008 | 1013 | SENT_AWAY | bearer::EXPIRED)));
        if is_ended || self.heard.is_let_go() {
            return false;
        }
        self.heard.check_all(&self.expected, self.behaviour == Behaviour::Source);
        true
    }

    fn is_misread(&mut self) {
        self.is_misread = true;
    }

    fn harm(&mut self) {
        self.harmed = true;
    }

    fn sees_nothing_more(&mut self) {
        self.saw_end = true;
    }

    fn saw_end(&self) -> bool {
        self.saw_end
    }
}
