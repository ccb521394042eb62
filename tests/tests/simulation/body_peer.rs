//! Clients that ask for a body which comes from a source, and hold what comes against it byte by
//! byte.

use crate::bodies::{BodyPlan, Kind, PATH};
use crate::client::{Action, Client};
use crate::random::Random;
use crate::rooms::Plan;

/// How such a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Reads to the end.
    Reading,
    /// The same, but hardly reads.
    Slow,
    /// Never reads.
    Deaf,
    /// Resets after some bytes.
    Leaving,
    /// Ends its side once it has asked.
    HalfClosing,
    /// Goes on to say something that nobody reads.
    Talking,
}

const TEMPERS: [Temper; 8] = [
    Temper::Reading,
    Temper::Reading,
    Temper::Reading,
    Temper::Slow,
    Temper::Deaf,
    Temper::Leaving,
    Temper::HalfClosing,
    Temper::Talking,
];

/// The most that anyone reads of a body without an end, in bytes.
const ENOUGH: usize = 60_000;

/// One of them.
pub struct BodyPeer {
    pub temper: Temper,
    plan: Plan,
    body: BodyPlan,
    /// It asks for the head alone.
    is_head: bool,
    request: Vec<u8>,
    /// The most bytes said at once.
    step: usize,
    /// Per mille: how often it reads when it could.
    reads: u32,
    is_narrow: bool,
    /// After so many bytes of the body it leaves.
    leaves_at: u64,
    reading: Reading,
    /// The bytes of the body that have come.
    heard: u64,
    finished_sending: bool,
    saw_end: bool,
    harmed: bool,
    /// A part of a second header is in front of its request.
    is_misread: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reading {
    Head(Vec<u8>),
    Refused,
    /// A body whose length is known; so many bytes are left.
    Counted(u64),
    /// The line with the size of a chunk.
    Size(Vec<u8>),
    /// The bytes of a chunk.
    Chunk(u64),
    /// The end of its line; of the last chunk too if `true`.
    Behind(Vec<u8>, bool),
    Done,
}

impl BodyPeer {
    pub fn new(random: &mut Random, plan: &Plan, is_narrow: bool) -> Self {
        let temper = random.pick(&TEMPERS);
        let body = BodyPlan::of(random.bits() >> 16);
        let is_head = random.chance(100);
        let method = if is_head { "HEAD" } else { "GET" };
        let request =
            format!("{method} {PATH}?{} HTTP/1.1\r\nHost: a\r\n\r\n", body.number).into_bytes();
        let reads = match temper {
            Temper::Slow => random.pick(&[1, 10, 50]),
            Temper::Deaf => 0,
            _ => random.pick(&[200, 1000, 1000]),
        };
        let leaves_at = match (temper, body.kind) {
            (Temper::Leaving, _) | (_, Kind::Endless) => random.below(ENOUGH) as u64,
            _ => u64::MAX,
        };
        Self {
            temper,
            plan: plan.clone(),
            body,
            is_head,
            request,
            step: random.pick(&[1, 30, 5000]),
            reads,
            is_narrow,
            leaves_at,
            reading: Reading::Head(Vec::new()),
            heard: 0,
            finished_sending: false,
            saw_end: false,
            harmed: false,
            is_misread: false,
        }
    }

    fn is_prompt(&self) -> bool {
        self.reads == 1000 && !self.is_narrow
    }

    /// The head of the response is whole.
    fn judge(&self, head: &str) -> Reading {
        match &head["HTTP/1.1 ".len()..][..3] {
            "200" => {}
            // No room, or the head took too long.
            "503" | "408" => return Reading::Refused,
            // Its proxy has said a second header, of which a part is taken for the request.
            "400" if self.is_misread => return Reading::Refused,
            _ => panic!("refused: {head}"),
        }
        let value = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(": ")
        };
        assert_eq!(value("Connection"), Some("close"), "{head}");
        let length = value("Content-Length").map(|text| text.parse().expect("a number"));
        assert_eq!(length, self.body.length, "{head}");
        let is_chunked = value("Transfer-Encoding") == Some("chunked");
        assert_eq!(is_chunked, length.is_none(), "{head}");
        match length {
            _ if self.is_head => Reading::Done,
            Some(length) => Reading::Counted(length),
            None => Reading::Size(Vec::new()),
        }
    }

    /// Takes bytes of the body.
    fn body(&mut self, bytes: &[u8]) {
        let at = self.heard;
        let is_it = bytes.iter().zip(at..).all(|(byte, at)| *byte == self.body.byte(at));
        assert!(is_it, "other bytes behind {at}");
        self.heard += bytes.len() as u64;
        assert!(self.heard <= self.body.says, "{} bytes, and more", self.body.says);
    }

    /// Reads what is next; returns how much of the bytes that was.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let reading = std::mem::replace(&mut self.reading, Reading::Done);
        let most = |left: u64| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (count, next) = match reading {
            Reading::Head(mut head) => {
                head.push(bytes[0]);
                let is_whole = head.ends_with(b"\r\n\r\n");
                let text = String::from_utf8_lossy(&head);
                (1, if is_whole { self.judge(&text) } else { Reading::Head(head) })
            }
            Reading::Refused => (bytes.len(), Reading::Refused),
            Reading::Counted(left) => {
                let count = most(left);
                assert!(count > 0, "bytes behind the end");
                self.body(&bytes[..count]);
                (count, Reading::Counted(left - count as u64))
            }
            // RFC 9112 section 7.1: "chunk-size [ chunk-ext ] CRLF chunk-data CRLF", and
            // "chunk-size = 1*HEXDIG".
            Reading::Size(mut line) => {
                line.push(bytes[0]);
                let next = match line.strip_suffix(b"\r\n") {
                    None => Reading::Size(line),
                    Some(size) => {
                        let size = str::from_utf8(size).expect("text");
                        match u64::from_str_radix(size, 16).expect("a size") {
                            0 => Reading::Behind(Vec::new(), true),
                            size => Reading::Chunk(size),
                        }
                    }
                };
                (1, next)
            }
            Reading::Chunk(left) => {
                let count = most(left);
                self.body(&bytes[..count]);
                let left = left - count as u64;
                (
                    count,
                    if left > 0 {
                        Reading::Chunk(left)
                    } else {
                        Reading::Behind(Vec::new(), false)
                    },
                )
            }
            Reading::Behind(mut line, is_last) => {
                line.push(bytes[0]);
                assert!(b"\r\n".starts_with(&line[..]), "no end of a chunk: {line:?}");
                let next = match (line.len(), is_last) {
                    (1, _) => Reading::Behind(line, is_last),
                    (_, false) => Reading::Size(Vec::new()),
                    (_, true) => Reading::Done,
                };
                (1, next)
            }
            Reading::Done => panic!("bytes behind the end"),
        };
        self.reading = next;
        count
    }
}

impl Client for BodyPeer {
    fn act(&mut self, random: &mut Random, room: usize) -> Action {
        if self.finished_sending {
            return Action::Nothing;
        }
        let is_over = self.body.kind == Kind::Endless && self.plan.ledger.borrow().over;
        if self.saw_end || self.heard >= self.leaves_at || is_over {
            self.finished_sending = true;
            return if self.saw_end { Action::End } else { Action::Reset };
        }
        let count = random.between(1, self.step).min(room).min(self.request.len());
        if count > 0 {
            return Action::Say(self.request.drain(..count).collect());
        }
        match self.temper {
            Temper::HalfClosing if self.request.is_empty() => {
                self.finished_sending = true;
                Action::End
            }
            Temper::Talking if room > 0 && random.chance(20) => Action::Say(b"x".to_vec()),
            _ => Action::Nothing,
        }
    }

    fn wants_to_read(&self, random: &mut Random) -> bool {
        random.chance(self.reads)
    }

    fn hear(&mut self, bytes: &[u8], _drains: bool) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.read(rest);
            rest = &rest[count..];
        }
    }

    fn ended(&mut self, was_disturbed: bool) -> bool {
        self.saw_end = true;
        let is_done = matches!(self.reading, Reading::Done | Reading::Counted(0));
        let BodyPlan { kind, length, says, .. } = self.body;
        let is_answered = !matches!(self.reading, Reading::Head(_) | Reading::Refused);
        if is_answered && is_done && !self.is_head {
            assert_eq!(self.heard, says, "the end of a body that goes on");
            assert!(kind == Kind::Whole || (kind == Kind::Early && length.is_none()), "{kind:?}");
        }
        // Who goes on to talk may be reset.
        let is_promised = matches!(self.temper, Temper::Reading);
        if was_disturbed || self.harmed || !is_promised || self.reading == Reading::Refused {
            return false;
        }
        let ends = kind == Kind::Whole || (kind == Kind::Early && length.is_none());
        if !ends && !self.is_head {
            return false;
        }
        assert!(is_done || !self.is_prompt(), "{kind:?}, {length:?}: {} of {says}", self.heard);
        is_done
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

    fn reads_at_once(&self) -> bool {
        self.reads == 1000
    }

    fn is_sent_a_body(&self) -> bool {
        !matches!(self.reading, Reading::Head(_) | Reading::Refused | Reading::Done)
    }
}
