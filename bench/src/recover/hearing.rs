//! What a client hears that has come back: whether it gets all that it missed, in order.
//!
//! Of an event only its beginning is looked at, where its offset stands; the rest is counted and
//! passed over, so that very many clients cost their process little.

use tidegate_proto::websocket::frame::{Header, OpCode, Parsed, Reserved, Role};

/// How much of an event is looked at, in bytes: all that stands in front of a message's text, all
/// of where a subscriber stands, and any control frame.
const LOOKED_AT: usize = 192;

/// What a client has heard so far. It has seen nothing before.
#[derive(Clone, Debug, Default)]
pub(super) struct Hearing {
    /// The frame that is coming; `None` between two.
    frame: Option<Header>,
    /// Payload bytes of it that have not come.
    rest: u64,
    /// The beginning of its payload; between two frames, of the next header.
    begun: Vec<u8>,
    /// The offset where the topic stands; `None` before that was told.
    stands: Option<u64>,
    /// The offset of the message that was told last.
    last: u64,
    /// Messages that were missed are no longer kept, and that was told.
    pub(super) gap: bool,
    /// The next message may follow upon any: a gap was told, and none has come since.
    may_jump: bool,
}

/// What input asks of a client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// A Pong with this payload.
    pub(super) pong: Option<Vec<u8>>,
}

impl Hearing {
    /// Whether it has heard all up to where the topic stood.
    pub(super) fn is_whole(&self) -> bool {
        self.stands.is_some_and(|stands| self.last >= stands)
    }

    /// Takes in what has come.
    ///
    /// # Errors
    /// What the gateway did wrong, or that it closed the connection.
    pub(super) fn handle_input(&mut self, mut input: &[u8]) -> Result<Asked, String> {
        let mut asked = Asked::default();
        loop {
            if self.frame.is_none() && !self.begin(&mut input)? {
                return Ok(asked);
            }
            let here = input.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
            let (payload, behind) = input.split_at(here);
            let looked_at = here.min(LOOKED_AT - self.begun.len());
            self.begun.extend_from_slice(&payload[..looked_at]);
            self.rest -= here as u64;
            input = behind;
            if self.rest > 0 {
                return Ok(asked);
            }
            self.end(&mut asked)?;
        }
    }

    /// Reads the header of the next frame, if it is there.
    fn begin(&mut self, input: &mut &[u8]) -> Result<bool, String> {
        let parse = |bytes: &[u8]| {
            Header::parse(bytes, Role::Client, Reserved::Clear).map_err(|error| error.to_string())
        };
        // Nearly always the header is whole where it lies.
        let (parsed, before) = if self.begun.is_empty() {
            (parse(input)?, 0)
        } else {
            let before = self.begun.len();
            let missing = tidegate_proto::websocket::frame::MAX_UNMASKED_HEADER - before;
            self.begun.extend_from_slice(&input[..missing.min(input.len())]);
            (parse(&self.begun)?, before)
        };
        let Parsed::Complete(header, length) = parsed else {
            if before == 0 {
                self.begun.extend_from_slice(input);
            }
            return Ok(false);
        };
        *input = &input[length - before..];
        self.begun.clear();
        self.rest = header.length;
        self.frame = Some(header);
        Ok(true)
    }

    /// A frame is whole.
    fn end(&mut self, asked: &mut Asked) -> Result<(), String> {
        let header = self.frame.take().expect("it has begun");
        let begun = std::mem::take(&mut self.begun);
        match header.opcode {
            OpCode::Text if header.fin => self.hear(&begun)?,
            OpCode::Ping => asked.pong = Some(begun.clone()),
            OpCode::Pong => {}
            OpCode::Close => return Err(closed(&begun)),
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                return Err("something other came than events in one frame each".into());
            }
        }
        // Its memory is used again.
        self.begun = begun;
        self.begun.clear();
        Ok(())
    }

    /// Hears an event, of which this is the beginning.
    fn hear(&mut self, event: &[u8]) -> Result<(), String> {
        let offset = offset(event).ok_or("an event came without an offset")?;
        if event.starts_with(br#"{"type":"subscribed""#) {
            let gap = contains(event, br#""gap":true"#);
            self.stands = Some(offset);
            self.gap |= gap;
            self.may_jump |= gap;
            return Ok(());
        }
        if event.starts_with(br#"{"type":"gap""#) {
            (self.gap, self.may_jump) = (true, true);
            self.last = offset;
            return Ok(());
        }
        if event.starts_with(br#"{"type":"replayed""#) && offset == self.last {
            return Ok(());
        }
        if self.stands.is_none() {
            return Err("a message came before it was told where the topic stands".into());
        }
        let follows = if self.may_jump { offset > self.last } else { offset == self.last + 1 };
        if !follows {
            return Err("a message is missing, came twice or came out of order".into());
        }
        self.last = offset;
        self.may_jump = false;
        Ok(())
    }
}

/// What a Close frame with this payload means.
fn closed(payload: &[u8]) -> String {
    match payload.first_chunk() {
        Some(code) => {
            format!("the gateway closed the connection with {}", u16::from_be_bytes(*code))
        }
        None => "the gateway closed the connection".into(),
    }
}

/// The offset that stands in the beginning of an event: in front of the text, in which there may be
/// anything.
fn offset(event: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""offset":"#;
    let at = event.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let digits = event[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Cut off, it would be another number.
    event.get(at + digits)?;
    std::str::from_utf8(&event[at..at + digits]).ok()?.parse().ok()
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use tidegate_proto::message::{Kind, Part};

    use super::*;

    fn frame(payload: &str) -> Vec<u8> {
        let header = Header::of_message(Kind::Text, Part::Whole, false, payload.len());
        let mut frame = vec![0; header.encoded_length() + payload.len()];
        header.emit_frame(payload.as_bytes(), &mut frame);
        frame
    }

    fn standing(offset: u64, gap: bool) -> Vec<u8> {
        let gap = if gap { r#","gap":true"# } else { "" };
        frame(&format!(r#"{{"type":"subscribed","topic":"t","epoch":"0","offset":{offset}{gap}}}"#))
    }

    fn message(offset: u64, size: usize) -> Vec<u8> {
        let text = "x".repeat(size);
        frame(&format!(r#"{{"type":"message","epoch":"0","offset":{offset},"text":"{text}"}}"#))
    }

    /// A client that has heard this, in pieces of `size`.
    fn heard(stream: &[u8], size: usize) -> Result<Hearing, String> {
        let mut hearing = Hearing::default();
        for piece in stream.chunks(size) {
            hearing.handle_input(piece)?;
        }
        Ok(hearing)
    }

    #[test]
    fn messages_without_a_gap_are_all_that_was_missed_however_they_are_cut() {
        let messages = [message(1, 0), message(2, 40_000), message(3, 100_000), message(4, 300)];
        let stream = [standing(4, false), messages.concat()].concat();
        for size in [1, 2, 3, 7, 1000, stream.len()] {
            let hearing = heard(&stream, size).unwrap();
            assert!(hearing.is_whole() && !hearing.gap, "pieces of {size}");
            assert!(!heard(&stream[..stream.len() - 1], size).unwrap().is_whole());
        }
        assert!(heard(&standing(0, false), 5).unwrap().is_whole(), "there was nothing to miss");
    }

    #[test]
    fn what_is_missing_is_noticed() {
        let first = [standing(3, false), message(1, 10)].concat();
        for next in [1, 3, 0] {
            let error = heard(&[&*first, &message(next, 10)].concat(), 50).unwrap_err();
            assert!(error.contains("missing"), "{error}");
        }
        assert!(heard(&message(1, 10), 50).unwrap_err().contains("before"));
    }

    #[test]
    fn a_gap_that_is_told_is_no_fault() {
        let stream = [standing(9, true), message(8, 10), message(9, 10)].concat();
        let hearing = heard(&stream, 11).unwrap();
        assert!(hearing.is_whole() && hearing.gap);
        let jumps_twice = [standing(9, true), message(5, 10), message(9, 10)].concat();
        assert!(heard(&jumps_twice, 11).is_err());
    }

    #[test]
    fn a_close_is_the_end_and_a_ping_is_answered() {
        let error = heard(b"\x88\x02\x03\xf5", 1).unwrap_err();
        assert_eq!(error, "the gateway closed the connection with 1013");
        let asked = Hearing::default().handle_input(b"\x89\x02hi\x81").unwrap();
        assert_eq!(asked.pong.as_deref(), Some(&b"hi"[..]));
    }

    #[test]
    fn a_number_that_is_cut_off_is_none() {
        assert_eq!(offset(br#"{"offset":12,"text":"#), Some(12));
        assert_eq!(offset(br#"{"offset":12"#), None);
        assert_eq!(offset(br#"{"text":"x"}"#), None);
    }
}
