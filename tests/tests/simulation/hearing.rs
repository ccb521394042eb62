//! What a client hears, held against what it may hear.

use tidegate_tests::reference::{self, Frame, Message, Said};

use crate::bearer;
use crate::labels::MARK;
use crate::ledger::{DRAINED, SENT_AWAY};
use crate::model::Expected;

/// What ends each compressed fragment but the last (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// What the server has said so far.
#[derive(Debug)]
pub struct Heard {
    compression: bool,
    /// Messages, inflated, and pongs, in order; without those that were published.
    said: Vec<Said>,
    /// What is published to the client is held against something else.
    leaves_published: bool,
    /// The beginning of one more message, of the frames that are whole.
    begun: Option<Message>,
    /// What is there of a frame that is not whole.
    partial: Option<Frame>,
    /// How much of `said` was checked.
    checked: usize,
    /// Pings.
    pub pings: usize,
    /// The Close frame.
    pub close: Option<Option<u16>>,
    /// And what it says.
    pub reason: String,
    /// It may be closed because its token has expired.
    pub may_expire: bool,
    /// Or because it was taken back.
    pub may_be_taken_back: bool,
    /// The beginning of a frame that is not whole.
    rest: Vec<u8>,
}

impl Heard {
    pub fn new(compression: bool) -> Self {
        Self {
            compression,
            said: Vec::new(),
            leaves_published: true,
            begun: None,
            partial: None,
            checked: 0,
            pings: 0,
            close: None,
            reason: String::new(),
            may_expire: false,
            may_be_taken_back: false,
            rest: Vec::new(),
        }
    }

    /// Reads what the server says next.
    ///
    /// # Panics
    /// It is no WebSocket stream of a server.
    pub fn hear(&mut self, bytes: &[u8]) {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let mut used = 0;
        self.partial = None;
        while let Some((frame, after)) = reference::split_frame(&rest[used..]) {
            assert!(self.close.is_none(), "a frame after the Close frame");
            self.check_header(&frame);
            if !frame.whole {
                self.partial = Some(frame);
                break;
            }
            used = rest.len() - after.len();
            self.take(frame);
        }
        self.rest = rest.split_off(used);
    }

    fn check_header(&self, frame: &Frame) {
        let is_first = matches!(frame.opcode(), 1 | 2);
        let reserved = if is_first && self.compression { 0x30 } else { 0x70 };
        assert!(frame.first & reserved == 0, "reserved bits: {:#x}", frame.first);
        assert!(!frame.masked && frame.length_is_valid, "a wrong header");
        let is_control = frame.opcode() & 8 != 0;
        assert!(!is_control || (frame.fin() && frame.length <= 125), "a wrong control frame");
        assert!(is_control || (frame.opcode() == 0) == self.begun.is_some(), "out of order");
    }

    fn take(&mut self, frame: Frame) {
        let opcode = frame.opcode();
        match opcode {
            0..=2 => self.take_data(frame),
            8 => {
                self.close = Some(frame.payload.first_chunk().map(|c| u16::from_be_bytes(*c)));
                let reason = frame.payload.get(2..).unwrap_or_default();
                self.reason = String::from_utf8(reason.to_vec()).expect("a reason is text");
            }
            9 => self.pings += 1,
            10 => self.said.push(Said::Control { opcode, payload: frame.payload }),
            _ => panic!("opcode {opcode}"),
        }
    }

    fn take_data(&mut self, frame: Frame) {
        let fin = frame.fin();
        let message = self.begun.get_or_insert_with(|| Message {
            is_text: frame.opcode() == 1,
            compressed: frame.first & 0x40 != 0,
            bytes: Vec::new(),
        });
        message.bytes.extend(frame.payload);
        if let Some(mut message) = self.begun.take_if(|_| fin) {
            if message.compressed {
                message.bytes = reference::inflate(&message.bytes).expect("no deflate stream");
                message.compressed = false;
            }
            if !self.leaves_published || !message.bytes.starts_with(MARK) {
                self.said.push(Said::Message(message));
            }
        }
    }

    /// Of a client that hears nothing but what is published.
    pub fn all_published(compression: bool) -> Self {
        Self { leaves_published: false, ..Self::new(compression) }
    }

    /// All messages that were heard since the last time.
    pub fn take_messages(&mut self) -> Vec<Message> {
        let said = self.said.drain(..).filter_map(|said| match said {
            Said::Message(message) => Some(message),
            Said::Control { .. } => None,
        });
        said.collect()
    }

    /// How many messages and pongs were heard since the last time; they are not checked.
    pub fn take_said(&mut self) -> usize {
        self.said.drain(..).count()
    }

    /// Checks what was heard since the last time. `apart`: the order of messages and pongs among
    /// each other is the server's own. `drains`: the server was told to.
    ///
    /// # Panics
    /// The client may not be told so.
    pub fn check(&mut self, expected: &Expected, apart: bool, drains: bool) {
        if apart {
            self.check_apart(expected);
        } else {
            for index in self.checked..self.said.len() {
                let (heard, all) = (&self.said[index], &expected.said);
                assert!(all.get(index) == Some(heard), "{index} is another: {}", short(heard));
            }
            self.check_begun(expected);
        }
        self.checked = self.said.len();
        if let Some(close) = self.close {
            // Too slow to send, too slow to read; going away; the end of what a source has to say.
            let is_own = matches!(close, Some(1008 | 1013 | SENT_AWAY))
                || (drains && close == Some(DRAINED))
                || (apart && close == Some(1000))
                || (close == Some(bearer::EXPIRED) && self.is_of_its_token())
                || self.is_let_go();
            assert!(is_own || Some(close) == expected.close, "closed with {close:?}");
        }
    }

    /// Whether it was closed because its token has expired, or was taken back, as it may be.
    fn is_of_its_token(&self) -> bool {
        (self.may_expire && self.reason.starts_with("token_expired: "))
            || (self.may_be_taken_back && self.reason.starts_with("token_revoked: "))
    }

    /// Whether it was closed because it was open for long, or said nothing for long.
    pub fn is_let_go(&self) -> bool {
        let has_stayed = ["lifetime: ", "idle: "].iter().any(|word| self.reason.starts_with(word));
        self.close == Some(Some(1001)) && has_stayed
    }

    fn check_apart(&self, expected: &Expected) {
        for pick in [is_message, is_pong] {
            let mut all = expected.said.iter().filter(|said| pick(said));
            for heard in self.said.iter().filter(|said| pick(said)) {
                assert_eq!(all.next(), Some(heard), "another");
            }
        }
    }

    /// What has begun goes on as the next of its kind, or as the message that is cut short.
    fn check_begun(&self, expected: &Expected) {
        if let Some(pong) = self.partial.as_ref().filter(|frame| frame.opcode() == 10) {
            let next = expected.said.get(self.said.len());
            let is_next = |said: &Said| match said {
                Said::Control { payload, .. } => payload.starts_with(&pong.payload),
                Said::Message(_) => false,
            };
            assert!(next.is_some_and(is_next), "pong {} begins otherwise", self.said.len());
        }
        let Some((is_text, so_far)) = self.begun() else { return };
        // It may be one that was published.
        if so_far.starts_with(MARK) || MARK.starts_with(&so_far) {
            return;
        }
        let mut next = expected.said[self.said.len()..].iter();
        let next = next.find_map(|said| match said {
            Said::Message(message) => Some(message),
            Said::Control { .. } => None,
        });
        let Some(next) = next.or(expected.tail.as_ref()) else {
            assert!(expected.tail_is_unknown, "a message that nobody asked for has begun");
            return;
        };
        let is_beginning = is_text == next.is_text && next.bytes.starts_with(&so_far);
        assert!(is_beginning, "message behind {} begins otherwise", self.said.len());
    }

    /// The message that has begun: whether it is text, and as much of it as can be told.
    fn begun(&self) -> Option<(bool, Vec<u8>)> {
        let partial = self.partial.as_ref().filter(|frame| frame.opcode() & 8 == 0);
        let Some(begun) = &self.begun else {
            let first = partial?;
            let is_compressed = first.first & 0x40 != 0;
            let bytes = if is_compressed { Vec::new() } else { first.payload.clone() };
            return Some((first.opcode() == 1, bytes));
        };
        let so_far = if begun.compressed {
            let whole_blocks = begun.bytes.strip_suffix(&TAIL).unwrap_or(&begun.bytes);
            reference::inflate(whole_blocks).expect("fragments end between blocks")
        } else {
            let more = partial.map_or(&[][..], |frame| &frame.payload);
            [&begun.bytes, more].concat()
        };
        Some((begun.is_text, so_far))
    }

    /// Checks that everything was heard.
    ///
    /// # Panics
    /// Something is missing.
    pub fn check_all(&self, expected: &Expected, apart: bool) {
        let is_the_sources = self.close == Some(Some(1000)) && expected.close != self.close;
        if apart && !is_the_sources {
            // The client closed first, or may have done, and cut the source short.
            assert_eq!(self.close.is_some(), expected.close.is_some(), "the close");
            return;
        }
        let pick = |said: &&Said| !apart || is_message(said);
        let heard = self.said.iter().filter(pick).count();
        let all = expected.said.iter().filter(pick).count();
        assert!(heard == all, "heard {heard} of {all}, then {:?}", self.close);
        assert!(apart || self.close == expected.close, "closed with {:?}", self.close);
    }
}

fn is_message(said: &Said) -> bool {
    matches!(said, Said::Message(_))
}

fn is_pong(said: &Said) -> bool {
    !is_message(said)
}

fn short(said: &Said) -> String {
    match said {
        Said::Message(message) => format!("a message of {} bytes", message.bytes.len()),
        Said::Control { opcode, payload } => format!("{opcode} of {} bytes", payload.len()),
    }
}
