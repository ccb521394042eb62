//! Where a connection's output goes while its input is worked on.
//!
//! Everything that one turn of a connection says leaves in one send. If it all answers bytes of the
//! receive buffer it stays there: the header of an answer is shorter than the header of what it
//! answers, so the answers pack together from the front and never reach what is still unread.
//! Otherwise it is put together in the shard's staging memory; and behind a backlog, or when staging
//! is full, it joins the backlog.

use std::ops::Range;

use tidegate_proto::frame::{Header, MAX_HEADER, OpCode};

use super::backlog::{Backlog, Full, Source};
use super::blocks::Blocks;
use super::record::{Connection, Flags};

/// What frames that are queued leave of a backlog's bound, so that a Close frame finds room when the
/// bound is met: the largest one. Only the rest of a send that fell short may use it up.
pub(crate) const CLOSE_RESERVE: u32 = 2 + 125;

/// What data leaves that is queued by itself, so that a ping or a pong finds room too.
const CONTROL_RESERVE: u32 = CLOSE_RESERVE + 2 + 125;

/// The shard's staging memory; all of it is free again once the batch is settled.
pub struct Staging<'a> {
    /// The memory.
    pub bytes: &'a mut [u8],
    /// How much of it, from the front, earlier turns of this batch have used.
    pub used: usize,
}

/// The shard's pooled blocks.
pub struct Pool<'a> {
    /// The bookkeeping.
    pub blocks: &'a mut Blocks,
    /// The memory.
    pub area: &'a mut [u8],
}

/// Where this turn's output is so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is none.
    Nothing,
    /// In the receive buffer.
    Buffer(Range<usize>),
    /// In staging memory.
    Staging(Range<usize>),
    /// In the backlog, and all that follows too.
    Backlog,
}

/// The payload of a frame to send.
#[derive(Clone, Debug)]
pub enum Payload<'p> {
    /// Bytes of the receive buffer that have been read.
    Buffer(Range<usize>),
    /// Bytes of a pooled block.
    Blocks(Range<usize>),
    /// Other bytes.
    Bytes(&'p [u8]),
}

impl Payload<'_> {
    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Buffer(range) | Self::Blocks(range) => range.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The output of one connection in one turn.
pub struct Output<'a> {
    /// Whose output.
    pub connection: &'a mut Connection,
    /// The receive buffer with its headroom; empty if the turn has none.
    pub buffer: &'a mut [u8],
    /// The shard's staging memory.
    pub staging: Staging<'a>,
    /// The shard's blocks.
    pub pool: Pool<'a>,
    /// The bound of the connection's backlog, in bytes.
    pub backlog_limit: u32,
    /// Bytes of blocks that are left to the rest of sends that fall short: who does not take what it
    /// was sent before gets no more of these for what it is to be sent next.
    pub sending_reserve: u64,
    /// Where the output is.
    pub place: Place,
}

impl Output<'_> {
    /// Adds a frame.
    ///
    /// # Errors
    /// The frame had to go to the backlog, and that is [`Full`].
    pub fn frame(&mut self, header: &Header, payload: &Payload<'_>) -> Result<(), Full> {
        let mut head = [0; MAX_HEADER];
        let length = header.emit(&mut head);
        let reserve = match header.opcode {
            OpCode::Close => 0,
            OpCode::Ping | OpCode::Pong => CLOSE_RESERVE,
            OpCode::Continuation | OpCode::Text | OpCode::Binary => CONTROL_RESERVE,
        };
        self.add(&head[..length], payload, reserve)
    }

    /// Adds bytes that are no frame.
    ///
    /// # Errors
    /// The bytes had to go to the backlog, and that is [`Full`].
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.add(&[], &Payload::Bytes(bytes), 0)
    }

    /// Whether the peer has yet to take what was written before.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        self.place == Place::Backlog
            || self.connection.backlog.is_some()
            // Else it waits for the batch, or for the message that is being sent.
            || (self.connection.flags.has(Flags::QUEUED)
                && self.connection.flags.has(Flags::BLOCKED | Flags::SEND_ARMED))
    }

    /// How many bytes of data the backlog takes before it is full.
    #[must_use]
    pub fn backlog_room(&self) -> u32 {
        let limit = self.backlog_limit.saturating_sub(CONTROL_RESERVE);
        limit.saturating_sub(self.connection.backlog_bytes)
    }

    fn add(&mut self, head: &[u8], payload: &Payload<'_>, reserve: u32) -> Result<(), Full> {
        if self.connection.must_queue() {
            self.place = Place::Backlog;
        }
        if let Payload::Buffer(range) = payload
            && self.add_in_place(head, range)
        {
            return Ok(());
        }
        self.leave_buffer()?;
        if self.place != Place::Backlog && self.stage(head, payload) {
            return Ok(());
        }
        self.leave_staging()?;
        self.queue(head, payload, reserve)
    }

    /// Packs a frame behind those that are in the buffer already; `false` if it cannot stay there.
    fn add_in_place(&mut self, head: &[u8], payload: &Range<usize>) -> bool {
        let start = match self.place {
            // The first answer's payload stays where it is.
            Place::Nothing if payload.start >= head.len() => payload.start - head.len(),
            Place::Buffer(ref range) if range.end + head.len() <= payload.start => range.end,
            _ => return false,
        };
        let body = start + head.len();
        if body != payload.start {
            self.buffer.copy_within(payload.clone(), body);
        }
        self.buffer[start..body].copy_from_slice(head);
        let end = body + payload.len();
        self.place = match self.place {
            Place::Buffer(ref range) => Place::Buffer(range.start..end),
            _ => Place::Buffer(start..end),
        };
        true
    }

    /// Moves what is in the buffer to staging, or to the backlog if that is full.
    fn leave_buffer(&mut self) -> Result<(), Full> {
        let Place::Buffer(range) = self.place.clone() else { return Ok(()) };
        self.place = Place::Nothing;
        if self.stage(&[], &Payload::Buffer(range.clone())) {
            return Ok(());
        }
        self.queue(&[], &Payload::Buffer(range), CLOSE_RESERVE)
    }

    /// Moves what is in staging to the backlog.
    fn leave_staging(&mut self) -> Result<(), Full> {
        let Place::Staging(range) = std::mem::replace(&mut self.place, Place::Backlog) else {
            return Ok(());
        };
        self.staging.used = range.start;
        let staged = Source::Bytes(&self.staging.bytes[range]);
        let Pool { blocks, area } = &mut self.pool;
        let mut backlog = Backlog { connection: self.connection, blocks, area };
        backlog.push_back(&[staged], self.backlog_limit.saturating_sub(CLOSE_RESERVE))
    }

    /// Appends to staging; `false` if it does not fit.
    fn stage(&mut self, head: &[u8], payload: &Payload<'_>) -> bool {
        let start = self.staging.used;
        let body = start + head.len();
        let end = body + payload.len();
        if end > self.staging.bytes.len() {
            return false;
        }
        self.staging.bytes[start..body].copy_from_slice(head);
        let to = &mut self.staging.bytes[body..end];
        match payload {
            Payload::Buffer(range) => to.copy_from_slice(&self.buffer[range.clone()]),
            Payload::Blocks(range) => to.copy_from_slice(&self.pool.area[range.clone()]),
            Payload::Bytes(bytes) => to.copy_from_slice(bytes),
        }
        self.staging.used = end;
        self.place = match self.place {
            Place::Staging(ref range) => Place::Staging(range.start..end),
            _ => Place::Staging(start..end),
        };
        true
    }

    fn queue(&mut self, head: &[u8], payload: &Payload<'_>, reserve: u32) -> Result<(), Full> {
        self.place = Place::Backlog;
        let is_slow = self.connection.flags.has(Flags::BLOCKED | Flags::SEND_ARMED);
        let is_data = reserve == CONTROL_RESERVE;
        let kept = if is_data && is_slow { self.sending_reserve } else { 0 };
        let body = match payload {
            Payload::Buffer(range) => Source::Bytes(&self.buffer[range.clone()]),
            Payload::Blocks(range) => Source::Blocks(range.clone()),
            Payload::Bytes(bytes) => Source::Bytes(bytes),
        };
        let Pool { blocks, area } = &mut self.pool;
        let mut backlog = Backlog { connection: self.connection, blocks, area };
        let limit = self.backlog_limit.saturating_sub(reserve);
        backlog.push_back_beyond(&[Source::Bytes(head), body], limit, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Share;
    use super::*;

    /// A turn over `buffer` with `staging` bytes of staging memory; returns what leaves, and how.
    fn turn(
        buffer: &mut [u8],
        staging: usize,
        say: impl FnOnce(&mut Output<'_>),
    ) -> (Place, Vec<u8>) {
        turn_of(&mut Connection::free(0), buffer, staging, say)
    }

    fn turn_of(
        connection: &mut Connection,
        buffer: &mut [u8],
        staging: usize,
        say: impl FnOnce(&mut Output<'_>),
    ) -> (Place, Vec<u8>) {
        let mut bytes = vec![0; staging];
        let mut area = vec![0; 1 << 16];
        let mut blocks = Blocks::new(1 << 16);
        let mut output = Output {
            connection,
            buffer,
            staging: Staging { bytes: &mut bytes, used: 0 },
            pool: Pool { blocks: &mut blocks, area: &mut area },
            backlog_limit: 1 << 16,
            sending_reserve: 0,
            place: Place::Nothing,
        };
        say(&mut output);
        let said = match &output.place {
            Place::Nothing => Vec::new(),
            Place::Buffer(range) => output.buffer[range.clone()].to_vec(),
            Place::Staging(range) => output.staging.bytes[range.clone()].to_vec(),
            Place::Backlog => {
                let first = output.connection.backlog.expect("something is queued");
                output.pool.area[output.pool.blocks.content(first).range()].to_vec()
            }
        };
        (output.place.clone(), said)
    }

    fn binary(length: usize) -> Header {
        Header {
            fin: true,
            compressed: false,
            opcode: OpCode::Binary,
            mask: None,
            length: length as u64,
        }
    }

    fn echo(output: &mut Output<'_>, range: Range<usize>) {
        output.frame(&binary(range.len()), &Payload::Buffer(range)).expect("room");
    }

    #[test]
    fn the_first_answer_does_not_move_and_the_next_ones_close_up() {
        let mut buffer = *b"................hhhhhhonehhhhhhtwo";
        let (place, said) = turn(&mut buffer, 100, |output| {
            echo(output, 22..25);
            echo(output, 31..34);
        });
        assert_eq!(place, Place::Buffer(20..30));
        assert_eq!(said, b"\x82\x03one\x82\x03two");
        assert_eq!(&buffer[22..25], b"one");
    }

    #[test]
    fn an_answer_from_elsewhere_takes_what_was_said_along() {
        let mut buffer = *b"................hhhhhhonehhhhhhtwo";
        let (place, said) = turn(&mut buffer, 100, |output| {
            echo(output, 22..25);
            output.frame(&binary(4), &Payload::Bytes(b"else")).expect("room");
            echo(output, 31..34);
        });
        assert_eq!(place, Place::Staging(0..16));
        assert_eq!(said, b"\x82\x03one\x82\x04else\x82\x03two");
    }

    #[test]
    fn what_does_not_fit_staging_goes_to_the_backlog_in_order() {
        let mut buffer = *b"................hhhhhhonehhhhhhtwo";
        let (place, said) = turn(&mut buffer, 10, |output| {
            output.frame(&binary(4), &Payload::Bytes(b"else")).expect("room");
            echo(output, 22..25);
            echo(output, 31..34);
        });
        assert_eq!(place, Place::Backlog);
        assert_eq!(said, b"\x82\x04else\x82\x03one\x82\x03two");
    }

    #[test]
    fn without_staging_the_buffer_goes_to_the_backlog_too() {
        let mut buffer = *b"................hhhhhhone";
        let (place, said) = turn(&mut buffer, 0, |output| {
            echo(output, 22..25);
            output.raw(b"raw").expect("room");
        });
        assert_eq!((place, said), (Place::Backlog, b"\x82\x03oneraw".to_vec()));
    }

    #[test]
    fn behind_a_send_whose_outcome_is_open_everything_queues() {
        let mut connection = Connection::free(0);
        connection.flags.set(Flags::IN_BATCH);
        let mut buffer = *b"................hhhhhhone";
        let (place, said) = turn_of(&mut connection, &mut buffer, 100, |output| {
            assert!(!output.is_choked());
            echo(output, 22..25);
            assert!(output.is_choked());
        });
        assert_eq!((place, said), (Place::Backlog, b"\x82\x03one".to_vec()));
    }

    #[test]
    fn who_takes_nothing_gets_of_the_blocks_for_all_while_its_own_are_kept() {
        let mut connection = Connection::free(0);
        connection.flags.set(Flags::BLOCKED | Flags::SEND_ARMED);
        turn_of(&mut connection, &mut [], 0, |output| {
            let (kept, share) = (1 << 13, Share::Sending);
            output.sending_reserve = kept;
            while output.pool.blocks.own_free_bytes(share) > kept {
                output.pool.blocks.take_beyond(share, 1, kept).expect("room");
            }
            let say = |output: &mut Output<'_>, opcode, length| {
                let header = Header { opcode, ..binary(length) };
                output.frame(&header, &Payload::Bytes(&vec![b'x'; length]))
            };
            let all = output.pool.blocks.free_bytes(share) - kept;
            let said = (0..).take_while(|_| say(output, OpCode::Binary, 1000).is_ok()).count();
            assert!(said as u64 * 1004 > all / 2, "{said} of {all} bytes");
            assert_eq!(output.pool.blocks.own_free_bytes(share), kept, "it is for others");
            assert_eq!(say(output, OpCode::Pong, 125), Ok(()));
        });
    }

    #[test]
    fn pongs_leave_room_for_a_close_frame() {
        let mut connection = Connection::free(0);
        connection.flags.set(Flags::IN_BATCH);
        turn_of(&mut connection, &mut [], 100, |output| {
            output.backlog_limit = 1000;
            let control = |opcode| Header { opcode, ..binary(125) };
            let say = |output: &mut Output<'_>, opcode| {
                output.frame(&control(opcode), &Payload::Bytes(&[b'x'; 125]))
            };
            let pongs = (0..).take_while(|_| say(output, OpCode::Pong).is_ok()).count();
            assert_eq!(pongs, (1000 - 127) / 127);
            assert_eq!(say(output, OpCode::Close), Ok(()));
        });
    }

    #[test]
    fn a_full_backlog_still_takes_a_close_frame() {
        let mut buffer = [0; 0];
        let mut connection = Connection::free(0);
        connection.flags.set(Flags::IN_BATCH);
        turn_of(&mut connection, &mut buffer, 100, |output| {
            output.backlog_limit = 1000;
            let room = output.backlog_room() as usize;
            let most = vec![0; room - 4];
            let over = vec![0; room - 3];
            let data = |bytes: &[u8]| (binary(bytes.len()), bytes.len());
            let (header, _) = data(&over);
            assert_eq!(output.frame(&header, &Payload::Bytes(&over)), Err(Full));
            let (header, _) = data(&most);
            assert_eq!(output.frame(&header, &Payload::Bytes(&most)), Ok(()));
            assert_eq!(output.backlog_room(), 0);
            let close = Header { opcode: OpCode::Close, ..binary(2) };
            assert_eq!(output.frame(&close, &Payload::Bytes(b"\x03\xf5")), Ok(()));
        });
    }
}
