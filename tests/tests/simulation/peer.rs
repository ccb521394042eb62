//! Clients of every temper, as scripts.

use std::collections::VecDeque;

use crate::random::Random;
use crate::reference::{self, Expected, Heard};

/// The longest message that the simulated route takes.
pub const MAX_MESSAGE: usize = 6000;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Says everything, reads everything, closes properly.
    Correct,
    /// The same, but hardly reads.
    Slow,
    /// Says everything and never reads.
    Deaf,
    /// Breaks the protocol somewhere.
    Garbage,
    /// Resets at some moment.
    Resetting,
    /// Ends its side when it has said everything, and reads on.
    HalfClosing,
    /// Ends its side at some moment, perhaps within a frame.
    Abrupt,
    /// Says part of its request, then nothing.
    Silent,
    /// Sends something that is no request.
    Stranger,
}

const TEMPERS: [Temper; 9] = [
    Temper::Correct,
    Temper::Slow,
    Temper::Deaf,
    Temper::Garbage,
    Temper::Resetting,
    Temper::HalfClosing,
    Temper::Abrupt,
    Temper::Silent,
    Temper::Stranger,
];

/// One client.
#[derive(Debug)]
pub struct Peer {
    pub temper: Temper,
    /// What is left to say, in units that a pong may come between.
    script: VecDeque<Vec<u8>>,
    /// How much of the first unit was said.
    said_of_first: usize,
    /// Units after which it resets or ends.
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
    pub finished_sending: bool,
    pub saw_end: bool,
}

/// What a client knows of the answer to its request.
#[derive(Debug)]
enum Response {
    Coming(Vec<u8>),
    Opened,
    Refused,
}

/// What a client does next.
pub enum Action {
    Nothing,
    Say(Vec<u8>),
    End,
    Reset,
}

impl Peer {
    pub fn new(random: &mut Random) -> Self {
        let temper = random.pick(&TEMPERS);
        let frames = frames(random, temper);
        let expected = reference::expected(&frames.concat(), MAX_MESSAGE);
        let mut script: VecDeque<Vec<u8>> = frames.into();
        script.push_front(request(random, temper));
        let gives_up_after = match temper {
            Temper::Resetting | Temper::Abrupt => random.below(script.len() + 1),
            Temper::Silent => 0,
            _ => usize::MAX,
        };
        let reads = match temper {
            Temper::Slow => random.pick(&[1, 10, 50]),
            Temper::Deaf => 0,
            _ => random.pick(&[200, 800, 1000]),
        };
        Self {
            temper,
            script,
            said_of_first: 0,
            gives_up_after,
            step: random.pick(&[1, 2, 7, 100, 5000, 100_000]),
            reads,
            response: Response::Coming(Vec::new()),
            heard: Heard::default(),
            expected,
            answered: 0,
            finished_sending: false,
            saw_end: false,
        }
    }

    /// What it does next, with room for `room` bytes on the way.
    pub fn act(&mut self, random: &mut Random, room: usize) -> Action {
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
        let Some(first) = self.script.front() else { return self.at_the_end() };
        let count = (first.len() - self.said_of_first).min(room).min(random.between(1, self.step));
        if count == 0 {
            return Action::Nothing;
        }
        let bytes = first[self.said_of_first..][..count].to_vec();
        self.said_of_first += count;
        if self.said_of_first == first.len() {
            self.script.pop_front();
            self.said_of_first = 0;
            self.gives_up_after = self.gives_up_after.saturating_sub(1);
        }
        Action::Say(bytes)
    }

    /// Whether it reads now.
    pub fn wants_to_read(&self, random: &mut Random) -> bool {
        random.chance(self.reads)
    }

    /// Takes what the server said, and checks that it may say so.
    ///
    /// # Panics
    /// It may not.
    pub fn hear(&mut self, bytes: &[u8]) {
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
            let before = (self.heard.messages.len(), self.heard.pongs.len());
            let partial = self.heard.hear(frames);
            self.check(before, &partial);
            self.answer_pings();
        }
    }

    /// Checks what was heard since there were so many messages and pongs.
    fn check(&self, (messages, pongs): (usize, usize), partial: &[u8]) {
        let Heard { messages: heard, pongs: heard_pongs, begun, close, .. } = &self.heard;
        let all = &self.expected.messages;
        for (index, message) in heard.iter().enumerate().skip(messages) {
            assert!(all.get(index) == Some(message), "message {index} is another");
        }
        for (index, pong) in heard_pongs.iter().enumerate().skip(pongs) {
            assert!(self.expected.pongs.get(index) == Some(pong), "pong {index} is another");
        }
        if let (Some((kind, begun)), Some((other, message))) = (begun, all.get(heard.len())) {
            let is_prefix =
                message.strip_prefix(&begun[..]).is_some_and(|m| m.starts_with(partial));
            assert!(kind == other && is_prefix, "message {} begins otherwise", heard.len());
        }
        if let Some(close) = *close {
            // Going away while draining, too slow to send, too slow to read.
            let is_own = matches!(close, Some(1001 | 1008 | 1013));
            assert!(is_own || Some(close) == self.expected.close, "closed with {close:?}");
        }
    }

    fn answer_pings(&mut self) {
        for _ in self.answered..self.heard.pings {
            let at = usize::from(self.said_of_first > 0).min(self.script.len());
            self.script.insert(at, frame(0x8A, b"", [9; 4]));
        }
        self.answered = self.heard.pings;
    }

    /// The server has ended its side.
    ///
    /// # Panics
    /// It ended too early, though the client did everything right and heard it out.
    pub fn ended(&mut self, was_disturbed: bool) {
        self.saw_end = true;
        let is_refused = matches!(self.response, Response::Refused);
        if self.temper != Temper::Correct || was_disturbed || is_refused {
            return;
        }
        assert!(matches!(self.response, Response::Opened), "a correct request was not answered");
        let heard = &self.heard;
        // Going away, or try again later: said properly, and only to be believed of these.
        if matches!(heard.close, Some(Some(1001 | 1008 | 1013))) {
            return;
        }
        let (heard_all, all) = (heard.messages.len(), self.expected.messages.len());
        assert!(heard_all == all, "heard {heard_all} of {all} messages, then {:?}", heard.close);
        assert_eq!(heard.pongs.len(), self.expected.pongs.len(), "some pongs are missing");
        assert_eq!(heard.close, self.expected.close, "the close");
    }

    fn judge_response(&self, head: &str) -> Response {
        if head.starts_with("HTTP/1.1 101 ") {
            return Response::Opened;
        }
        let refused = ["400", "404", "408", "426", "431", "503", "505", "405", "413", "414"];
        let status = &head["HTTP/1.1 ".len()..][..3];
        assert!(refused.contains(&status), "{head}");
        let may_be_refused = matches!(self.temper, Temper::Stranger | Temper::Silent)
            || matches!(status, "503" | "408");
        assert!(may_be_refused, "{:?} was refused: {head}", self.temper);
        Response::Refused
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

fn request(random: &mut Random, temper: Temper) -> Vec<u8> {
    if temper == Temper::Stranger {
        return random
            .pick(&[
                &b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"[..],
                b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                b"GET /echo HTTP/1.1\nHost: a\n\n",
                b"\r\n\r\n\r\n\r\n",
            ])
            .to_vec();
    }
    let padding = "x".repeat(random.pick(&[0, 10, 700]));
    format!(
        "GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         X-Padding: {padding}\r\n\r\n"
    )
    .into_bytes()
}

/// The frames of a client, each a unit of its script.
fn frames(random: &mut Random, temper: Temper) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..random.pick(&[1, 3, 12, 40]) {
        message(random, &mut frames);
    }
    if temper == Temper::Garbage {
        let at = random.below(frames.len() + 1);
        frames.insert(at, garbage(random));
    }
    if !matches!(temper, Temper::HalfClosing) {
        let code = random.pick(&[1000u16, 1001, 3000, 4999]);
        frames.push(frame(0x88, &code.to_be_bytes(), key(random)));
    }
    frames
}

fn message(random: &mut Random, frames: &mut Vec<Vec<u8>>) {
    let length = random.pick(&[0, 1, 125, 126, 300, 2000, 5000]);
    let length = random.below(length + 1);
    let is_text = random.chance(500);
    let payload: Vec<u8> = if is_text {
        "añ€😀z".bytes().cycle().take(length - length % 11).collect()
    } else {
        (0..length).map(|_| random.bits() as u8).collect()
    };
    let mut opcode = if is_text { 1 } else { 2 };
    let mut rest = &payload[..];
    while random.chance(300) {
        let (part, after) = rest.split_at(random.below(rest.len() + 1));
        frames.push(frame(opcode, part, key(random)));
        (rest, opcode) = (after, 0);
        if random.chance(300) {
            let ping: Vec<u8> = (0..random.below(126)).map(|i| i as u8).collect();
            frames.push(frame(0x89, &ping, key(random)));
        }
    }
    frames.push(frame(0x80 | opcode, rest, key(random)));
}

fn garbage(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => frame(0xF1, b"reserved bits", key(random)),
        1 => frame(0x83, b"reserved opcode", key(random)),
        2 => frame(0x09, b"fragmented ping", key(random)),
        3 => frame(0x89, &[0; 126], key(random)),
        4 => frame(0x81, b"not \xff utf-8", key(random)),
        5 => frame(0x82, &vec![0; MAX_MESSAGE + 1], key(random)),
        6 => b"\x81\x05plain".to_vec(),
        _ => frame(0x80, b"continues nothing", key(random)),
    }
}

fn key(random: &mut Random) -> [u8; 4] {
    (random.bits() as u32).to_ne_bytes()
}

/// A masked frame.
fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}
