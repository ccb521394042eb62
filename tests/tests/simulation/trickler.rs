//! Clients that do everything as late as they may, or later: one byte shortly before each deadline.
//!
//! Both ways are held. Who is late must be ended within two ticks of its deadline, and a pause of
//! the shard is the only excuse; who is in time may not be ended, whatever pauses there are.

use std::time::Duration;

use crate::client::{Action, Client, Facts};
use crate::decider::NEVER;
use crate::hearing::Heard;
use crate::random::Random;
use crate::script;

/// The deadlines of the simulated listener.
pub const HEAD: Duration = Duration::from_secs(4);
pub const MESSAGE: Duration = Duration::from_secs(3);
pub const CLOSE: Duration = Duration::from_secs(2);
pub const PONG: Duration = Duration::from_secs(2);
pub const STALL: Duration = Duration::from_secs(5);
pub const PING: Duration = Duration::from_secs(3);
pub const DECISION: Duration = Duration::from_secs(2);

pub const TICK: Duration = Duration::from_millis(250);
/// A deadline is rounded up to a tick, and one more, because it begins within one; and one is for
/// the kernel, which may be slow to tell.
pub const LATE: Duration = TICK.saturating_mul(3);
/// Bytes of a frame that it says at once: a header takes no memory, and has no deadline.
const HEADER: usize = 10;
/// After a pause, input that is there is read first for as long as this.
pub const EXCUSE: Duration = TICK.saturating_mul(10);
/// How long before its deadline one who is in time does what it has to do.
const EARLY: Duration = Duration::from_millis(800);
/// How long a peer that takes nothing is given: the part of the time that had begun, and all of it.
const STALLED: Duration = Duration::from_millis(6250);

/// Messages that come back to one who reads now and then: less than a backlog holds.
const ECHOES: usize = 12;

/// The cause of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Its request head comes byte by byte.
    Head,
    /// So does a message that must be whole.
    Message,
    /// So does a Ping.
    Control,
    /// It does not answer a Close frame, and goes on to send.
    Close,
    /// It says nothing, and answers a Ping late.
    Pong,
    /// It reads everything that is there now and then.
    Reads,
    /// Its request is never decided, which is not its own fault.
    Decision,
}

const CAUSES: [Cause; 7] = [
    Cause::Head,
    Cause::Message,
    Cause::Control,
    Cause::Close,
    Cause::Pong,
    Cause::Reads,
    Cause::Decision,
];

/// One of them.
pub struct Trickler {
    cause: Cause,
    /// It does not do what it has to do.
    is_late: bool,
    facts: Facts,
    /// When what has a deadline began.
    began: Option<Facts>,
    /// When the kernel last took something for one who does not read: as far as the server can
    /// know, that is progress.
    progressed: Facts,
    /// What it says at once, and then byte by byte until it says the rest.
    at_once: Vec<u8>,
    slowly: Vec<u8>,
    /// How long it waits before the next byte, or before it reads.
    pace: Duration,
    acted: Duration,
    /// Pings that it answers before it leaves.
    rounds: u32,
    /// It has said what makes the server close.
    has_asked: bool,
    /// Messages that came back.
    echoes: usize,
    head: Vec<u8>,
    is_open: bool,
    is_refused: bool,
    heard: Heard,
    pings_answered: usize,
    is_closing: bool,
    saw_end: bool,
    harmed: bool,
    finished_sending: bool,
    /// What it waited for is over: nothing is judged any more.
    is_done: bool,
}

impl Trickler {
    pub fn new(random: &mut Random) -> Self {
        let cause = random.pick(&CAUSES);
        let path = path(cause);
        let query = if cause == Cause::Decision { format!("?{NEVER}") } else { String::new() };
        let request = script::opening(random, &format!("{path}{query}"), false);
        let pace = match cause {
            // Shorter than a peer may stall, and longer than a part of that.
            Cause::Reads => random.pick(&[1000, 3000, 4200]),
            _ => random.pick(&[100, 300, 900]),
        };
        Self {
            cause,
            is_late: cause == Cause::Decision || random.chance(500),
            facts: Facts::default(),
            began: None,
            progressed: Facts::default(),
            at_once: if cause == Cause::Head { Vec::new() } else { request.clone() },
            slowly: if cause == Cause::Head { request } else { Vec::new() },
            pace: Duration::from_millis(pace),
            acted: Duration::ZERO,
            rounds: 3,
            has_asked: false,
            echoes: 0,
            head: Vec::new(),
            is_open: false,
            is_refused: false,
            heard: Heard::new(false),
            pings_answered: 0,
            is_closing: false,
            saw_end: false,
            harmed: false,
            finished_sending: false,
            is_done: false,
        }
    }

    /// What it is ended for if it is late, and how much later than that it may show.
    fn limit(&self) -> (Duration, Duration) {
        match self.cause {
            Cause::Head => (HEAD, LATE),
            Cause::Message | Cause::Control => (MESSAGE, LATE),
            Cause::Close => (CLOSE, LATE),
            Cause::Decision => (DECISION, LATE),
            // A Ping that was not acknowledged is asked about once more.
            Cause::Pong => (PONG, LATE * 3),
            // It may be pinged first, and its Ping stand behind what it does not read.
            Cause::Reads => (STALL, PING + PONG + STALLED - STALL + LATE * 2),
        }
    }

    /// How long ago what has a deadline began, without pauses, and how many of these there were.
    fn waited(&self) -> Option<(Duration, u32)> {
        let began = self.began?;
        Some((self.facts.at_work - began.at_work, self.facts.pauses - began.pauses))
    }

    fn is_judged(&self) -> bool {
        !self.harmed && !self.is_done && !self.facts.drains && !self.is_refused
    }

    /// The connection has met its end, or a Close frame or a refusal that is one.
    fn is_ended(&mut self, how: &str) {
        if !self.is_judged() {
            return;
        }
        self.is_done = true;
        let Self { cause, is_late, is_open, .. } = *self;
        let Some((waited, pauses)) = self.waited() else {
            assert!(is_late || !is_open, "in time for {cause:?}, and {how} before it began");
            return;
        };
        let (limit, _) = self.limit();
        let least = limit.saturating_sub(TICK * (2 + pauses));
        assert!(is_late, "in time for {cause:?}, and {how} after {waited:?} of {limit:?}");
        assert!(waited >= least, "{cause:?}: {how} after {waited:?} of {limit:?} already");
    }

    /// Whether it has outlived its deadline.
    fn check_overdue(&self) {
        let Some((mut waited, pauses)) = self.waited() else { return };
        if self.cause == Cause::Reads {
            waited = self.facts.at_work - self.progressed.at_work;
        }
        let (limit, late) = self.limit();
        let most = limit + late + EXCUSE * pauses;
        let is_overdue = self.is_late && self.is_judged() && waited > most;
        assert!(!is_overdue, "late for {:?}, and there after {waited:?} of {limit:?}", self.cause);
    }

    /// What has a deadline begins.
    fn begins(&mut self, slowly: Vec<u8>) {
        self.began = Some(self.facts);
        self.acted = self.facts.now;
        self.slowly = slowly;
    }

    /// It has done what it had to do.
    fn is_through(&mut self, random: &mut Random) {
        self.is_done = true;
        if !self.is_closing {
            self.is_closing = true;
            self.at_once.extend(script::close(random));
        }
    }

    /// Whether all has come back that it was in time for.
    fn is_answered(&self) -> bool {
        match self.cause {
            Cause::Head => self.is_open,
            Cause::Message | Cause::Control => self.echoes > 0,
            Cause::Reads => self.echoes == ECHOES,
            Cause::Close | Cause::Pong | Cause::Decision => false,
        }
    }

    /// Begins what it is there for.
    fn begin(&mut self, random: &mut Random) {
        let frame = |first: u8, length: usize, random: &mut Random| {
            script::frame(first, &vec![b'x'; length], script::key(random))
        };
        match self.cause {
            Cause::Head if self.facts.is_accepted => {
                let request = std::mem::take(&mut self.slowly);
                self.begins(request);
            }
            Cause::Decision
                if self.facts.is_accepted && self.facts.unread == 0 && self.at_once.is_empty() =>
            {
                self.begins(Vec::new());
            }
            _ if !self.is_open || self.facts.unread > 0 || !self.at_once.is_empty() => {}
            Cause::Reads => {
                self.begins(Vec::new());
                self.at_once = (0..ECHOES).flat_map(|_| frame(0x82, 1000, random)).collect();
            }
            Cause::Message => {
                self.at_once = frame(0x82, 2000, random);
                let message = self.at_once.split_off(HEADER);
                self.begins(message);
            }
            Cause::Control => {
                self.at_once = frame(0x89, 100, random);
                let ping = self.at_once.split_off(HEADER);
                self.begins(ping);
            }
            Cause::Close if self.heard.close.is_some() => {
                let message = frame(0x82, 1000, random);
                self.begins(message);
            }
            Cause::Close if !self.has_asked => {
                self.at_once = (0..3).flat_map(|_| frame(0x82, 10, random)).collect();
                self.has_asked = true;
            }
            Cause::Pong if self.heard.pings > self.pings_answered => {
                self.pings_answered = self.heard.pings;
                let pong = frame(0x8A, 10, random);
                self.begins(pong);
            }
            _ => {}
        }
    }

    /// The next byte, when its time has come, or the rest.
    fn trickle(&mut self, random: &mut Random) -> Vec<u8> {
        let Some((waited, _)) = self.waited() else { return Vec::new() };
        let is_due = self.facts.now - self.acted >= self.pace;
        if self.is_late {
            // A Ping is not answered at all, since any byte is an answer; others never end.
            let goes_on = is_due && self.cause != Cause::Pong && self.slowly.len() > 1;
            return if goes_on { self.say_one() } else { Vec::new() };
        }
        if waited + EARLY >= self.limit().0 {
            let mut rest = std::mem::take(&mut self.slowly);
            match self.cause {
                // With the answer to its Close frame the server ends the connection.
                Cause::Close => {
                    self.is_done = true;
                    rest.extend(script::close(random));
                }
                Cause::Pong if self.rounds > 1 => {
                    self.rounds -= 1;
                    self.began = None;
                }
                Cause::Pong => {
                    self.is_through(random);
                    rest.append(&mut self.at_once);
                }
                // It waits for the answer.
                Cause::Head | Cause::Message | Cause::Control | Cause::Reads | Cause::Decision => {}
            }
            return rest;
        }
        let goes_on = is_due && self.cause != Cause::Pong && self.slowly.len() > 1;
        if goes_on { self.say_one() } else { Vec::new() }
    }

    fn say_one(&mut self) -> Vec<u8> {
        self.acted = self.facts.now;
        self.slowly.drain(..1).collect()
    }

    /// The head of the response, once it is whole; returns what is behind it.
    fn open(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Vec::new();
        };
        let behind = self.head.split_off(end + 4);
        let head = String::from_utf8_lossy(&self.head).into_owned();
        match &head["HTTP/1.1 ".len()..][..3] {
            "101" => self.is_open = true,
            "408" => self.is_ended("refused"),
            "504" if self.cause == Cause::Decision => self.is_ended("refused"),
            "503" => {}
            _ => panic!("{:?} was refused: {head}", self.cause),
        }
        self.is_refused = !self.is_open;
        if self.is_open && self.cause == Cause::Head {
            assert!(!self.is_late, "opened before its request was whole");
        }
        behind
    }
}

/// What one with this cause asks for.
fn path(cause: Cause) -> &'static str {
    match cause {
        Cause::Message => "/whole",
        Cause::Close => "/third",
        Cause::Decision => "/late",
        _ => "/echo",
    }
}

impl Client for Trickler {
    fn path(&self) -> Option<&'static str> {
        Some(path(self.cause))
    }

    fn sees(&mut self, facts: &Facts) {
        let was_given_up = self.facts.is_given_up;
        if facts.sent > self.facts.sent {
            self.progressed = *facts;
        }
        self.facts = *facts;
        // One who has not read to the end may find a reason there.
        let has_read = self.cause != Cause::Reads;
        if facts.is_given_up && !was_given_up && !self.saw_end && has_read {
            self.is_ended("given up");
        }
        if !facts.is_given_up {
            self.check_overdue();
        }
    }

    fn act(&mut self, random: &mut Random, room: usize) -> Action {
        if self.finished_sending {
            return Action::Nothing;
        }
        if self.saw_end {
            self.finished_sending = true;
            return Action::End;
        }
        if self.is_answered() && !self.is_done {
            self.is_through(random);
        }
        if self.cause == Cause::Reads && self.heard.pings > self.pings_answered {
            self.pings_answered = self.heard.pings;
            self.at_once.extend(script::frame(0x8A, b"", script::key(random)));
        }
        if self.heard.close.is_some() && self.cause != Cause::Close && !self.is_closing {
            self.is_closing = true;
            self.at_once = script::close(random);
            self.slowly.clear();
        }
        // A Ping that took long to leave, because there was no room, is followed by another.
        let is_pinged = self.cause == Cause::Pong && self.heard.pings > self.pings_answered;
        if self.began.is_none() || is_pinged {
            self.begin(random);
        }
        if self.at_once.is_empty() && !self.is_closing {
            self.at_once = self.trickle(random);
        }
        let count = self.at_once.len().min(room);
        if count == 0 {
            return Action::Nothing;
        }
        Action::Say(self.at_once.drain(..count).collect())
    }

    fn wants_to_read(&self, _random: &mut Random) -> bool {
        if self.cause != Cause::Reads || self.began.is_none() || self.is_closing {
            return true;
        }
        let is_over = self.facts.is_given_up || self.facts.drains;
        is_over || (!self.is_late && self.facts.now - self.acted >= self.pace)
    }

    fn hear(&mut self, bytes: &[u8], _drains: bool) {
        let is_reading = self.began.is_some() && !self.facts.is_given_up;
        if self.cause == Cause::Reads && !bytes.is_empty() && is_reading {
            // What it takes now is what it was given time for.
            self.begins(Vec::new());
        }
        let behind;
        let frames = match (self.is_open, self.is_refused) {
            (true, _) => bytes,
            (false, true) => return,
            (false, false) => {
                behind = self.open(bytes);
                &behind
            }
        };
        if !self.is_open {
            return;
        }
        self.heard.hear(frames);
        self.echoes += self.heard.take_said();
        match self.heard.close {
            None => {}
            // Too many, or memory is short: nothing is said of deadlines.
            Some(Some(1013)) => self.is_done = true,
            Some(Some(1008)) if self.cause != Cause::Close => self.is_ended("closed"),
            Some(_) if self.cause == Cause::Close => {}
            Some(close) => {
                assert!(
                    self.is_done || self.facts.drains,
                    "{:?}: closed with {close:?}",
                    self.cause
                );
            }
        }
    }

    fn ended(&mut self, _was_disturbed: bool) -> bool {
        self.saw_end = true;
        let was_judged = self.is_judged();
        self.is_ended("ended");
        was_judged
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

    fn reads_at_once(&self) -> bool {
        true
    }
}
