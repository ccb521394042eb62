//! Where a connection's output goes while its input is worked on.
//!
//! Everything that one turn of a connection says leaves in one send. If it all answers bytes of the
//! receive buffer it stays there: the header of an answer is shorter than the header of what it
//! answers, so the answers pack together from the front and never reach what is still unread.
//! Otherwise it is put together in the shard's staging memory; and behind a backlog, or when
//! staging is full, it joins the backlog.

use tidegate_proto::websocket::frame::{Header, MAX_HEADER, OpCode};

use super::outbox::{Backlog, CLOSE_RESERVE};
use super::payload::Payload;
use super::record::Connection;
use super::states::States;
use super::trace::Trace;
use crate::kernel::{AreaName, Span};
use crate::memory::{Full, Pool, Share};

/// What data leaves of a backlog's bound that is queued by itself, so that a ping or a pong finds
/// room too, or what a protocol without these says last.
pub const CONTROL_RESERVE: u32 = CLOSE_RESERVE + 2 + 125;

/// Where this turn's output is so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// There is none.
    Nothing,
    /// In the receive buffer, or in staging memory.
    At(Span),
    /// In the backlog, and all that follows too.
    Backlog,
}

/// The output of one connection in one turn.
pub struct Output<'a> {
    /// Whose output.
    pub connection: &'a mut Connection,
    /// The shard's blocks and memory.
    pub pool: Pool<'a>,
    /// The receive buffer with the room around it; `None` if the turn has none.
    pub buffer: Option<Span>,
    /// How much of the staging memory, from the front, is used in this batch. All of it is free
    /// again once the batch is settled.
    pub staged: u32,
    /// The bound of the connection's backlog, in bytes.
    pub backlog_limit: u32,
    /// Bytes of blocks that are left to the rest of sends that fall short: who does not take what
    /// it was sent before gets no more of these for what it is to be sent next.
    pub sending_reserve: u64,
    /// Where the output is.
    pub spot: Spot,
    /// What is sent is sealed first, from where it is: not from staging memory, into which it is
    /// sealed.
    pub seals: bool,
    /// The log tells of its frames.
    pub trace: Option<&'a Trace>,
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
            OpCode::Close => {
                // There is one.
                self.make_room_at_the_end(CLOSE_RESERVE);
                0
            }
            OpCode::Ping | OpCode::Pong => CLOSE_RESERVE,
            OpCode::Continuation | OpCode::Text | OpCode::Binary => CONTROL_RESERVE,
        };
        self.add(&head[..length], payload, reserve)?;
        if let Some(trace) = self.trace {
            trace.said(header, payload.len());
        }
        Ok(())
    }

    /// Adds bytes that are no frame.
    ///
    /// # Errors
    /// The bytes had to go to the backlog, and that is [`Full`].
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.add(&[], &Payload::Bytes(bytes), 0)
    }

    /// Adds bytes that are no frame, and leave room for what is to be said of an end. Bytes of the
    /// receive buffer leave from there without being copied.
    ///
    /// # Errors
    /// The bytes had to go to the backlog, and that is [`Full`].
    pub fn data(&mut self, payload: &Payload<'_>) -> Result<(), Full> {
        self.add(&[], payload, CONTROL_RESERVE)
    }

    /// Adds bytes of a response's body, which its peer takes from the backlog: what is said of it
    /// has its blocks from the beginning, and of those that are kept for the rest of sends that
    /// fall short it takes none.
    ///
    /// # Errors
    /// There are more than [`Output::body_room`] says.
    pub fn body(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let kept = self.sending_reserve;
        self.leave_staging(kept)?;
        self.queue_beyond(&[], &Payload::Bytes(bytes), 0, kept)
    }

    /// How many bytes of a body there is room for: within the bound of the backlog, and in blocks.
    #[must_use]
    pub fn body_room(&self) -> u32 {
        self.backlog_room().min(self.room_in_blocks())
    }

    /// Whether so many bytes of a whole response can be said at once, whatever the bound of the
    /// backlog is: in staging memory, or in blocks.
    #[must_use]
    pub fn has_room_at_once(&self, bytes: usize) -> bool {
        let staging = self.pool.memory.area(AreaName::Staging).len() - self.staged as usize;
        let is_staged = self.spot == Spot::Nothing && !self.seals && !self.connection.must_queue();
        (is_staged && bytes <= staging) || bytes <= self.room_in_blocks() as usize
    }

    /// How many bytes there are blocks for beyond those that are kept, and beyond what this turn
    /// has said, which may have to go there as well.
    fn room_in_blocks(&self) -> u32 {
        let free = self.pool.blocks.free_beyond(Share::Sending, self.sending_reserve);
        u32::try_from(free).unwrap_or(u32::MAX).saturating_sub(self.said())
    }

    /// What is said last of all has so many bytes: what is left of sends that fell short may be
    /// more than the bound, and what this turn has said may have to wait as well. Asked for once.
    pub fn make_room_at_the_end(&mut self, bytes: u32) {
        let ahead = self.connection.backlog_bytes.saturating_add(self.said());
        self.backlog_limit = self.backlog_limit.max(ahead.saturating_add(bytes));
    }

    /// Adds bytes that are no frame, for which room was made at the end.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn last_words(&mut self, payload: &Payload<'_>) -> Result<(), Full> {
        self.add(&[], payload, 0)
    }

    /// Whether the peer has yet to take what was written before.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        let waits = self.spot == Spot::Backlog || self.connection.backlog.is_some();
        // Where it is sealed it goes by the backlog in any case: of that, as much as leaves at once
        // is no sign of a peer that does not take it.
        let is_usual = self.seals && self.connection.backlog_bytes < self.half_a_backlog();
        waits && (!is_usual || self.connection.states.is_blocked())
            // Else it waits for the batch, or for the message that is being sent.
            || (self.connection.states.has(States::QUEUED)
                && self.connection.states.is_blocked())
    }

    fn half_a_backlog(&self) -> u32 {
        self.backlog_limit.saturating_sub(CONTROL_RESERVE) / 2
    }

    /// Whether as much is in staging memory as half of what may wait: the rest goes to the backlog
    /// while there is room for it, so that a handler that writes until it is choked finds out in
    /// time.
    fn has_said_much(&self) -> bool {
        match self.spot {
            Spot::At(said) => {
                said.area == AreaName::Staging && said.length >= self.half_a_backlog()
            }
            Spot::Nothing | Spot::Backlog => false,
        }
    }

    /// Where what is sent is sealed, nothing but this tells that a handler was found to be choked,
    /// and waits to be told that all has left.
    pub fn remember_choke(&mut self) {
        if self.seals && self.spot == Spot::Backlog && self.is_choked() {
            self.connection.states.set(States::BLOCKED);
        }
    }

    /// How many bytes of data the backlog takes before it is full: behind what this turn has said,
    /// which may have to go there as well.
    #[must_use]
    pub fn backlog_room(&self) -> u32 {
        let limit = self.backlog_limit.saturating_sub(CONTROL_RESERVE);
        limit.saturating_sub(self.connection.backlog_bytes).saturating_sub(self.said())
    }

    /// How many bytes this turn has said that are not in the backlog.
    fn said(&self) -> u32 {
        if let Spot::At(said) = self.spot { said.length } else { 0 }
    }

    fn add(&mut self, head: &[u8], payload: &Payload<'_>, reserve: u32) -> Result<(), Full> {
        if self.connection.must_queue() {
            self.spot = Spot::Backlog;
        }
        if let Payload::Span(span) = payload
            && self.add_in_place(head, *span)
        {
            return Ok(());
        }
        self.leave_buffer()?;
        if self.spot != Spot::Backlog && self.stage(head, payload) {
            return Ok(());
        }
        self.leave_staging(0)?;
        self.queue(head, payload, reserve)
    }

    /// Packs a frame behind those that are in the buffer already; `false` if it cannot stay there.
    fn add_in_place(&mut self, head: &[u8], payload: Span) -> bool {
        let Some(buffer) = self.buffer.filter(|buffer| buffer.has(payload)) else { return false };
        let length = head.len() as u32;
        let start = match self.spot {
            // The first answer's payload stays where it is.
            Spot::Nothing if payload.start >= buffer.start + length => payload.start - length,
            Spot::At(said) if buffer.has(said) && said.end() + length <= payload.start => {
                said.end()
            }
            _ => return false,
        };
        let head_span = Span { start, length, ..buffer };
        let body = Span { start: head_span.end(), ..payload };
        if body != payload {
            self.pool.memory.copy(payload, body);
        }
        self.pool.memory.bytes_mut(head_span).copy_from_slice(head);
        self.said_until(head_span.start, body);
        true
    }

    /// What is said goes on, or begins at `start`, and ends with `last`.
    fn said_until(&mut self, start: u32, last: Span) {
        let start = match self.spot {
            Spot::At(said) => said.start,
            _ => start,
        };
        self.spot = Spot::At(Span { start, length: last.end() - start, ..last });
    }

    /// Moves what is in the buffer to staging, or to the backlog if that is full. If neither has
    /// room it stays, and leaves from there.
    fn leave_buffer(&mut self) -> Result<(), Full> {
        let Spot::At(said) = self.spot else { return Ok(()) };
        if said.area != AreaName::Receive {
            return Ok(());
        }
        self.spot = Spot::Nothing;
        if self.stage(&[], &Payload::Span(said)) {
            return Ok(());
        }
        self.spot = Spot::At(said);
        self.move_to_backlog(said, 0)
    }

    /// Moves what is in staging to the backlog. If that has no room, or would leave less than what
    /// is `kept` of the blocks, it stays, and leaves from there.
    fn leave_staging(&mut self, kept: u64) -> Result<(), Full> {
        if let Spot::At(said) = self.spot {
            self.move_to_backlog(said, kept)?;
            self.staged = said.start;
        }
        Ok(())
    }

    /// What was accepted already goes to the backlog.
    fn move_to_backlog(&mut self, said: Span, kept: u64) -> Result<(), Full> {
        let limit = self.backlog_limit.saturating_sub(CLOSE_RESERVE);
        self.backlog().push_back_beyond(&[Payload::Span(said)], limit, kept)?;
        self.spot = Spot::Backlog;
        Ok(())
    }

    /// Appends to staging; `false` if it does not fit.
    fn stage(&mut self, head: &[u8], payload: &Payload<'_>) -> bool {
        if self.seals || self.has_said_much() {
            return false;
        }
        let (start, length) = (self.staged, head.len() as u32);
        let head_span = Span { area: AreaName::Staging, start, length };
        let room = self.pool.memory.area(AreaName::Staging).len() - head_span.start as usize;
        if head.len() + payload.len() > room {
            return false;
        }
        let length = payload.len() as u32;
        let body = Span { start: head_span.end(), length, ..head_span };
        self.pool.memory.bytes_mut(head_span).copy_from_slice(head);
        payload.copy(0, body, self.pool.memory);
        self.staged = body.end();
        self.said_until(head_span.start, body);
        true
    }

    fn queue(&mut self, head: &[u8], payload: &Payload<'_>, reserve: u32) -> Result<(), Full> {
        let is_slow = self.connection.states.is_blocked();
        let is_data = reserve == CONTROL_RESERVE;
        let kept = if is_data && is_slow { self.sending_reserve } else { 0 };
        self.queue_beyond(head, payload, reserve, kept)
    }

    fn queue_beyond(
        &mut self,
        head: &[u8],
        payload: &Payload<'_>,
        reserve: u32,
        kept: u64,
    ) -> Result<(), Full> {
        self.spot = Spot::Backlog;
        let limit = self.backlog_limit.saturating_sub(reserve).max(self.may_be_sealed());
        self.backlog().push_back_beyond(&[Payload::Bytes(head), *payload], limit, kept)
    }

    /// What is sealed goes by the backlog though its peer is not slow. Of what waits for nothing
    /// but that, as much may be there as goes to staging memory where nothing is sealed, whatever
    /// the backlog's bound is.
    fn may_be_sealed(&self) -> u32 {
        let has_said_much = self.connection.backlog_bytes >= self.half_a_backlog();
        if !self.seals || has_said_much || self.connection.states.is_blocked() {
            return 0;
        }
        self.pool.memory.area(AreaName::Staging).len() as u32
    }

    fn backlog(&mut self) -> Backlog<'_> {
        let Pool { blocks, memory } = &mut self.pool;
        Backlog { connection: self.connection, pool: Pool { blocks, memory } }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::connection::{States, Writing};
    use crate::kernel::{AreaSizes, Memory};
    use crate::memory::Blocks;

    /// A turn over `buffer` with `staging` bytes of staging memory; returns what leaves, and how.
    fn turn(buffer: &[u8], staging: usize, say: impl FnOnce(&mut Output<'_>)) -> (Spot, Vec<u8>) {
        turn_of(&mut Connection::free(0), buffer, staging, say)
    }

    fn turn_of(
        connection: &mut Connection,
        buffer: &[u8],
        staging: usize,
        say: impl FnOnce(&mut Output<'_>),
    ) -> (Spot, Vec<u8>) {
        let sizes =
            AreaSizes { receive: 4096, staging: staging.max(1), blocks: 1 << 16, scratch: 1 };
        let mut memory = Memory::new(sizes).expect("memory");
        let mut blocks = Blocks::new(1 << 16);
        let span = in_buffer(0..buffer.len() as u32);
        memory.bytes_mut(span).copy_from_slice(buffer);
        let mut output = Output {
            seals: false,
            trace: None,
            connection,
            pool: Pool { blocks: &mut blocks, memory: &mut memory },
            buffer: Some(span),
            staged: u32::from(staging == 0),
            backlog_limit: 1 << 16,
            sending_reserve: 0,
            spot: Spot::Nothing,
        };
        say(&mut output);
        let said = match output.spot {
            Spot::Nothing => Vec::new(),
            Spot::At(span) => output.pool.memory.bytes(span).to_vec(),
            Spot::Backlog => {
                let first = output.connection.backlog.expect("something is queued");
                output.pool.memory.bytes(output.pool.blocks.content(first)).to_vec()
            }
        };
        (output.spot, said)
    }

    /// The buffer is not the first of its area, so that what stands before it shows.
    fn in_buffer(range: Range<u32>) -> Span {
        Span { area: AreaName::Receive, start: 1000 + range.start, length: range.len() as u32 }
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

    fn echo(output: &mut Output<'_>, range: Range<u32>) {
        let payload = Payload::Span(in_buffer(range.clone()));
        output.frame(&binary(range.len()), &payload).expect("room");
    }

    #[test]
    fn the_first_answer_does_not_move_and_the_next_ones_close_up() {
        let buffer = *b"................hhhhhhonehhhhhhtwo";
        let (spot, said) = turn(&buffer, 100, |output| {
            echo(output, 22..25);
            echo(output, 31..34);
        });
        assert_eq!(spot, Spot::At(in_buffer(20..30)));
        assert_eq!(said, b"\x82\x03one\x82\x03two");
    }

    #[test]
    fn an_answer_from_elsewhere_takes_what_was_said_along() {
        let buffer = *b"................hhhhhhonehhhhhhtwo";
        let (spot, said) = turn(&buffer, 100, |output| {
            echo(output, 22..25);
            output.frame(&binary(4), &Payload::Bytes(b"else")).expect("room");
            echo(output, 31..34);
        });
        assert_eq!(spot, Spot::At(Span { area: AreaName::Staging, start: 0, length: 16 }));
        assert_eq!(said, b"\x82\x03one\x82\x04else\x82\x03two");
    }

    #[test]
    fn what_does_not_fit_staging_goes_to_the_backlog_in_order() {
        let buffer = *b"................hhhhhhonehhhhhhtwo";
        let (spot, said) = turn(&buffer, 10, |output| {
            output.frame(&binary(4), &Payload::Bytes(b"else")).expect("room");
            echo(output, 22..25);
            echo(output, 31..34);
        });
        assert_eq!(spot, Spot::Backlog);
        assert_eq!(said, b"\x82\x04else\x82\x03one\x82\x03two");
    }

    #[test]
    fn without_staging_the_buffer_goes_to_the_backlog_too() {
        let buffer = *b"................hhhhhhone";
        let (spot, said) = turn(&buffer, 0, |output| {
            echo(output, 22..25);
            output.raw(b"raw").expect("room");
        });
        assert_eq!((spot, said), (Spot::Backlog, b"\x82\x03oneraw".to_vec()));
    }

    #[test]
    fn behind_a_send_whose_outcome_is_open_everything_queues() {
        let mut connection = Connection::free(0);
        connection.states.set_writing(Writing::InBatch);
        let buffer = *b"................hhhhhhone";
        let (spot, said) = turn_of(&mut connection, &buffer, 100, |output| {
            assert!(!output.is_choked());
            echo(output, 22..25);
            assert!(output.is_choked());
        });
        assert_eq!((spot, said), (Spot::Backlog, b"\x82\x03one".to_vec()));
    }

    #[test]
    fn who_takes_nothing_gets_of_the_blocks_for_all_while_its_own_are_kept() {
        let mut connection = Connection::free(0);
        connection.states.set(States::BLOCKED);
        connection.states.set_writing(Writing::Armed);
        turn_of(&mut connection, &[], 0, |output| {
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
    fn a_close_frame_comes_behind_what_the_turn_has_said_above_the_bound() {
        let (spot, _) = turn(&[], 4000, |output| {
            output.backlog_limit = 1000;
            let mut say = |opcode, length| {
                let header = Header { opcode, ..binary(length) };
                output.frame(&header, &Payload::Bytes(&vec![b'x'; length]))
            };
            assert_eq!(say(OpCode::Binary, 1200), Ok(()), "half of the bound was not yet said");
            assert_eq!(say(OpCode::Binary, 1200), Err(Full));
            assert_eq!(say(OpCode::Close, 2), Ok(()));
        });
        assert_eq!(spot, Spot::Backlog);
    }

    #[test]
    fn what_was_said_leaves_from_where_it_is_when_nothing_else_has_room() {
        let no_block = |output: &mut Output<'_>| {
            while output.pool.blocks.take(Share::Sending, 1).is_some() {}
        };
        let say =
            |output: &mut Output<'_>| output.frame(&binary(200), &Payload::Bytes(&[b'x'; 200]));
        let buffer = *b"................hhhhhhone";
        let (spot, said) = turn(&buffer, 0, |output| {
            no_block(output);
            echo(output, 22..25);
            assert_eq!(say(output), Err(Full));
        });
        assert_eq!((spot, said), (Spot::At(in_buffer(20..25)), b"\x82\x03one".to_vec()));
        let (spot, said) = turn(&buffer, 100, |output| {
            no_block(output);
            output.raw(b"raw").expect("room");
            assert_eq!(say(output), Err(Full));
            output.raw(b"more").expect("room");
        });
        assert!(matches!(spot, Spot::At(_)), "{spot:?}");
        assert_eq!(said, b"rawmore");
    }

    #[test]
    fn pongs_leave_room_for_a_close_frame() {
        let mut connection = Connection::free(0);
        connection.states.set_writing(Writing::InBatch);
        turn_of(&mut connection, &[], 100, |output| {
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
    fn who_writes_until_it_is_choked_finds_room_for_the_frame_that_choked_it() {
        let buffer = [0; 0];
        let mut connection = Connection::free(0);
        let (spot, said) = turn_of(&mut connection, &buffer, 1000, |output| {
            output.backlog_limit = 1100;
            let mut count = 0;
            while !output.is_choked() {
                assert_eq!(output.frame(&binary(100), &Payload::Bytes(&[b'x'; 100])), Ok(()));
                count += 1;
            }
            assert_eq!(count, 6, "five are more than half of what may wait");
        });
        assert_eq!((spot, said.len()), (Spot::Backlog, 6 * 102));
    }

    #[test]
    fn what_is_to_be_sealed_may_be_as_large_as_what_is_staged() {
        let says = |connection: &mut Connection, seals: bool, lengths: &[usize]| {
            let mut results = Vec::new();
            turn_of(connection, &[], 2000, |output| {
                (output.seals, output.backlog_limit) = (seals, 1000);
                for length in lengths {
                    let bytes = vec![b'x'; *length];
                    results.push(output.frame(&binary(*length), &Payload::Bytes(&bytes)));
                }
            });
            results
        };
        for seals in [false, true] {
            let fresh = |lengths: &[usize]| says(&mut Connection::free(0), seals, lengths);
            assert_eq!(fresh(&[1996]), [Ok(())], "as staging memory holds");
            assert_eq!(fresh(&[1, 1997]), [Ok(()), Err(Full)], "more than that");
        }
        let said = says(&mut Connection::free(0), true, &[1996, 1]);
        assert_eq!(said, [Ok(()), Err(Full)], "much is said already");
        let mut slow = Connection::free(0);
        slow.states.set(States::BLOCKED);
        let said = says(&mut slow, true, &[1, 1000]);
        assert_eq!(said, [Ok(()), Err(Full)], "what a peer does not take has its bound");
    }

    #[test]
    fn a_full_backlog_still_takes_a_close_frame() {
        let buffer = [0; 0];
        let mut connection = Connection::free(0);
        connection.states.set_writing(Writing::InBatch);
        turn_of(&mut connection, &buffer, 100, |output| {
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

    #[test]
    fn a_close_frame_comes_behind_what_sends_left_above_the_bound() {
        let mut connection = Connection::free(0);
        connection.states.set_writing(Writing::InBatch);
        turn_of(&mut connection, &[], 100, |output| {
            output.raw(&[0; 1200]).expect("room");
            output.backlog_limit = 1000;
            let more = output.frame(&binary(1), &Payload::Bytes(b"x"));
            assert_eq!(more, Err(Full), "more data does not");
            let close = Header { opcode: OpCode::Close, ..binary(125) };
            assert_eq!(output.frame(&close, &Payload::Bytes(&[0; 125])), Ok(()));
        });
    }

    #[test]
    fn last_words_have_room_where_data_has_none() {
        for waits in [1000 - CONTROL_RESERVE as usize, 1200] {
            let mut connection = Connection::free(0);
            connection.states.set_writing(Writing::InBatch);
            turn_of(&mut connection, &[], 100, |output| {
                output.raw(&vec![0; waits]).expect("room");
                output.backlog_limit = 1000;
                assert_eq!(output.data(&Payload::Bytes(b"x")), Err(Full));
                output.make_room_at_the_end(CONTROL_RESERVE);
                let words = [0; CONTROL_RESERVE as usize];
                assert_eq!(output.last_words(&Payload::Bytes(&words[1..])), Ok(()));
                assert_eq!(output.last_words(&Payload::Bytes(&words[..1])), Ok(()));
                assert_eq!(output.last_words(&Payload::Bytes(&words[..1])), Err(Full), "{waits}");
            });
        }
    }
}
