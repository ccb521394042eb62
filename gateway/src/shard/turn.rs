//! What one connection makes of one stretch of input: frames, pieces for its handler, answers.

use std::marker::PhantomData;

use tidegate_proto::http::RequestHead;
use tidegate_proto::utf8::Utf8;
use tidegate_proto::websocket::close::CloseReason;
use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::deflate::{InflateError, Inflater, Progress};
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{Header, OpCode, Reserved, Role};
use tidegate_proto::websocket::message::{Kind, Part};
use tidegate_proto::websocket::receiver::{self, Control, Event, Rules};

use super::halves::Half;
use super::sockets::put_off::{FRAME_COST, FREE_FRAMES};
use crate::config::stack::Deflate;
use crate::connection::{AfterFlush, Output, Payload, Place, Reading, Stage};
use crate::counters::Counters;
use crate::hub::Hub;
use crate::kernel::{AreaName, Span};
use crate::memory::{BlockId, Compressor, Full, PIECE, Share, gathered};
use crate::names::ConnectionId;
use crate::protocol::context::{Context, Failing, Said};
use crate::protocol::serve::{End, Handler, Piece, Wants};
use crate::protocol::services::ServiceLimits;

/// One connection with all that it may use for the length of a turn.
pub(super) struct Turn<'a> {
    pub(super) output: Output<'a>,
    pub(super) handler: &'a mut dyn Handler,
    pub(super) limits: ServiceLimits,
    /// Which end we are.
    pub(super) role: Role,
    pub(super) deflate: Option<Deflate>,
    pub(super) compressor: &'a mut Compressor,
    pub(super) inflater: &'a mut Inflater,
    pub(super) counters: &'a mut Counters,
    /// How many bytes may yet be inflated in this turn of the shard's loop, or read in very many
    /// frames; a message that was begun to be inflated is finished.
    pub(super) input_budget: &'a mut usize,
    pub(super) hub: &'a mut Hub,
    pub(super) id: ConnectionId,
    pub(super) failing: Option<Failing>,
    /// What the peer is told about a close that is somebody's wish.
    pub(super) reason: &'a str,
    pub(super) said: Said,
    pub(super) end: Option<End>,
    pub(super) unread: Option<Span>,
    /// Whether a half message, and a half control frame, became whole; by [`Half`].
    pub(super) became_whole: [bool; 2],
    /// A Close frame found no room: nothing more can be said.
    pub(super) drop: bool,
}

/// What is left to do for the shard when a turn is over.
pub(super) struct Finished {
    /// Where the output is.
    pub(super) place: Place,
    /// How much of the staging memory is used now.
    pub(super) staged: u32,
    /// The connection's messages have ended.
    pub(super) end: Option<End>,
    /// Nothing more can be said to the peer: drop the connection.
    pub(super) drop: bool,
    /// The bytes of the receive buffer that have to wait for the next turn of the loop.
    pub(super) unread: Option<Span>,
    /// Whether a half message, and a half control frame, became whole; by [`Half`].
    pub(super) became_whole: [bool; 2],
}

impl Turn<'_> {
    /// The connection is open, and its response is said: tells the handler.
    pub(super) fn open(&mut self, head: &RequestHead<'_>) {
        let connection = &mut *self.output.connection;
        connection.stage = Stage::Open;
        connection.websocket.is_open = true;
        self.counters.opened += 1;
        self.counters.connections_open += 1;
        self.call(|handler, context| handler.open(context, head));
        self.say_last_words();
    }

    /// Everything queued was sent.
    pub(super) fn writable(&mut self) {
        self.call(|handler, context| handler.writable(context));
    }

    /// Sends a Ping without a payload.
    pub(super) fn ping(&mut self) {
        self.counters.pings += 1;
        self.say_control(OpCode::Ping, &Payload::Bytes(&[]));
    }

    /// Memory is short, and of all that hold some of it this one holds most.
    pub(super) fn gives_way(&mut self) {
        self.failing.get_or_insert(Failing::GivesWay);
    }

    /// There is no memory for what is half received.
    pub(super) fn no_memory(&mut self) {
        self.failing.get_or_insert(Failing::NoMemory);
    }

    /// The message that is gathered takes too long.
    pub(super) fn too_slow(&mut self) {
        self.failing.get_or_insert(Failing::MessageTooSlow);
    }

    /// The peer does not take what is published, and its route's policy is to close it.
    pub(super) fn slow(&mut self) {
        self.failing.get_or_insert(Failing::Slow);
    }

    /// Starts the closing handshake.
    pub(super) fn close(&mut self, code: CloseCode) {
        self.failing.get_or_insert(Failing::Handler(code));
    }

    /// Works on what was received, until the budget is used up for what is compressed, or comes in
    /// very many frames.
    pub(super) fn frames(&mut self, received: Span) {
        let rules = self.rules();
        let mut at = 0;
        for count in 0.. {
            if !self.is_listening() {
                return;
            }
            let input = self.output.pool.memory.bytes_mut(received);
            let are_many = count >= FREE_FRAMES;
            if *self.input_budget == 0
                && let Some(next) = input.get(at)
                && (are_many || self.output.connection.websocket.receiver.expects_compressed(*next))
            {
                self.unread = Some(received.skip(at as u32));
                return;
            }
            if are_many {
                *self.input_budget = self.input_budget.saturating_sub(FRAME_COST);
            }
            match self.output.connection.websocket.receiver.handle_input(input, &mut at, &rules) {
                Ok(Event::NeedInput) => return,
                Ok(Event::Piece(piece)) => self.piece(&piece, received),
                Ok(Event::Control(control)) => self.control(&control, received),
                Err(error) => self.fail(error),
            }
            // A handler may have begun the closing handshake; the input behind goes on to count,
            // because the peer's Close frame comes in it.
            self.say_last_words();
        }
    }

    /// Works on `count` bytes that were received straight into the gathered block.
    pub(super) fn gathered(&mut self, block: BlockId, count: u32) {
        if !self.is_listening() {
            return;
        }
        let rules = self.rules();
        let received = self.output.pool.blocks.room(block).part(0, count);
        let input = self.output.pool.memory.bytes_mut(received);
        match self.output.connection.websocket.receiver.handle_input(input, &mut 0, &rules) {
            // The receive asked for no more than the rest of the frame, so it is one piece.
            Ok(Event::Piece(piece)) => {
                self.output.pool.blocks.extend(block, count);
                if piece.part.is_last() {
                    self.finish_gathered(block, &piece);
                }
            }
            Ok(Event::NeedInput | Event::Control(_)) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Says the last words, if there are any, and hands the rest back to the shard.
    pub(super) fn finish(mut self) -> Finished {
        self.say_last_words();
        self.counters.messages_out += self.said.messages;
        self.counters.bytes_out += self.said.bytes;
        Finished {
            place: self.output.place,
            staged: self.output.staged,
            end: self.end,
            drop: self.drop,
            unread: self.unread,
            became_whole: self.became_whole,
        }
    }

    fn rules(&self) -> Rules {
        let reserved = match self.output.connection.websocket.deflate_bits {
            0 => Reserved::Clear,
            _ => Reserved::Compression,
        };
        Rules { role: self.role, reserved, max_message: self.limits.max_message }
    }

    fn is_listening(&self) -> bool {
        !self.drop && self.output.connection.websocket.closing.may_receive()
    }

    fn say_last_words(&mut self) {
        if let Some(failing) = self.failing.take() {
            self.drop |= self.say_close(failing).is_err();
        }
    }

    fn fail(&mut self, error: ProtocolError) {
        self.failing.get_or_insert(Failing::Protocol(error));
    }

    fn say(&mut self, what: impl FnOnce(&mut Output<'_>) -> Result<(), Full>) {
        if what(&mut self.output).is_err() {
            self.failing.get_or_insert(Failing::Slow);
        }
    }

    fn say_control(&mut self, opcode: OpCode, payload: &Payload<'_>) {
        let header = Header::of_control(opcode, payload.len());
        self.say(|output| output.frame(&header, payload));
    }

    fn piece(&mut self, piece: &receiver::Piece, received: Span) {
        let span = received.part(piece.start as u32, piece.end as u32);
        if !piece.compressed && self.handler.wants() == Wants::Pieces {
            return self.deliver(Piece::new(piece.kind, piece.part, span));
        }
        if piece.part == Part::Whole && span.length <= self.limits.max_buffered_message {
            return self.whole(piece, span);
        }
        if let Some(block) = self.gather(piece, span)
            && piece.part.is_last()
        {
            self.finish_gathered(block, piece);
        }
    }

    /// A message is whole, and there.
    fn whole(&mut self, piece: &receiver::Piece, span: Span) {
        if piece.compressed {
            return self.inflate(piece.kind, span);
        }
        self.deliver(Piece::whole(piece.kind, span));
    }

    /// Adds a piece to what is gathered.
    fn gather(&mut self, piece: &receiver::Piece, span: Span) -> Option<BlockId> {
        let Output { connection, pool, .. } = &mut self.output;
        let so_far = connection.gathered.map_or(0, |block| pool.blocks.content(block).length);
        let total = u64::from(so_far) + u64::from(span.length) + piece.frame_remaining;
        if total > u64::from(self.limits.max_buffered_message) {
            self.fail(ProtocolError::MessageTooBig);
            return None;
        }
        if gathered::append(&mut connection.gathered, Share::Gathered, pool, span).is_err() {
            self.failing.get_or_insert(Failing::NoMemory);
            return None;
        }
        connection.gathered
    }

    fn finish_gathered(&mut self, block: BlockId, piece: &receiver::Piece) {
        self.became_whole[Half::Message as usize] = true;
        self.whole(piece, self.output.pool.blocks.content(block));
        let Output { connection, pool, .. } = &mut self.output;
        gathered::release(&mut connection.gathered, pool.blocks);
    }

    /// Inflates a whole message, and hands it out in the way that its handler wants.
    fn inflate(&mut self, kind: Kind, compressed: Span) {
        self.inflater.begin();
        let mut whole = None;
        let (mut left, mut produced) = (compressed, 0u64);
        let mut utf8 = Utf8::default();
        while self.failing.is_none() {
            let progress = match self.inflate_some(left) {
                Ok(progress) => progress,
                Err(_) => return self.abandon(&mut whole, ProtocolError::InvalidDeflate),
            };
            let part = Part::from_start(produced == 0).to_end(progress.done);
            left = left.skip(progress.consumed as u32);
            let out = inflated(&progress);
            produced += progress.produced as u64;
            *self.input_budget = self.input_budget.saturating_sub(progress.produced);
            // RFC 7692 section 8 leaves it to the receiver to bound what a message inflates to.
            if produced > u64::from(self.limits.max_buffered_message) {
                return self.abandon(&mut whole, ProtocolError::MessageTooBig);
            }
            if kind == Kind::Text && self.check_inflated(&mut utf8, &progress).is_err() {
                return self.abandon(&mut whole, ProtocolError::InvalidUtf8);
            }
            match self.handler.wants() {
                Wants::Pieces => self.deliver(Piece::new(kind, part, out)),
                Wants::Whole => self.gather_inflated(kind, &mut whole, &progress),
            }
            if progress.done {
                break;
            }
        }
        gathered::release(&mut whole, self.output.pool.blocks);
    }

    fn abandon(&mut self, whole: &mut Option<BlockId>, error: ProtocolError) {
        gathered::release(whole, self.output.pool.blocks);
        self.fail(error);
    }

    fn inflate_some(&mut self, compressed: Span) -> Result<Progress, InflateError> {
        let (input, out) = self.output.pool.memory.pair(compressed, SCRATCH);
        self.inflater.inflate(input, true, out)
    }

    fn check_inflated(&self, utf8: &mut Utf8, progress: &Progress) -> Result<(), ()> {
        let bytes = self.output.pool.memory.bytes(inflated(progress));
        utf8.push(bytes).map_err(|_| ())?;
        if progress.done { utf8.finish().map_err(|_| ()) } else { Ok(()) }
    }

    fn gather_inflated(&mut self, kind: Kind, whole: &mut Option<BlockId>, progress: &Progress) {
        let pool = &mut self.output.pool;
        if gathered::append(whole, Share::Gathered, pool, inflated(progress)).is_err() {
            self.failing.get_or_insert(Failing::NoMemory);
            return;
        }
        if let Some(block) = whole.filter(|_| progress.done) {
            let span = pool.blocks.content(block);
            self.deliver(Piece::whole(kind, span));
        }
    }

    fn deliver(&mut self, piece: Piece<'_>) {
        self.counters.messages_in += u64::from(piece.part.is_last());
        self.call(|handler, context| handler.message(context, piece));
    }

    /// Calls the handler with the connection at hand.
    fn call(&mut self, what: impl FnOnce(&mut dyn Handler, &mut Context<'_, '_>)) {
        let mut context = Context {
            output: &mut self.output,
            compressor: self.compressor,
            deflate: self.deflate,
            failing: &mut self.failing,
            said: &mut self.said,
            hub: self.hub,
            id: self.id,
        };
        what(self.handler, &mut context);
    }

    fn control(&mut self, control: &Control, received: Span) {
        let span = received.part(control.start as u32, control.end as u32);
        if control.part == Part::Whole {
            return self.whole_control(control.opcode, span);
        }
        let Output { connection, pool, .. } = &mut self.output;
        if gathered::append(&mut connection.control, Share::Gathered, pool, span).is_err() {
            self.failing.get_or_insert(Failing::NoMemory);
            return;
        }
        if let Some(block) = connection.control.filter(|_| control.part.is_last()) {
            self.became_whole[Half::Control as usize] = true;
            let whole = pool.blocks.content(block);
            self.whole_control(control.opcode, whole);
            let Output { connection, pool, .. } = &mut self.output;
            gathered::release(&mut connection.control, pool.blocks);
        }
    }

    fn whole_control(&mut self, opcode: OpCode, payload: Span) {
        match opcode {
            // RFC 6455 section 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong
            // frame in response, unless it already received a Close frame." Section 5.5.3: it
            // "must have identical "Application data"".
            OpCode::Ping if self.output.connection.websocket.closing.may_send() => {
                self.say_control(OpCode::Pong, &Payload::Span(payload));
            }
            OpCode::Close => self.close_frame(payload),
            _ => {}
        }
    }

    fn close_frame(&mut self, payload: Span) {
        let body = self.output.pool.memory.bytes(payload);
        let code = match CloseReason::parse(body) {
            Ok(reason) => reason.code,
            Err(error) => return self.fail(error),
        };
        let must_answer = self.output.connection.websocket.closing.handle_close();
        self.end = Some(End { code: code.unwrap_or(CloseCode::NO_STATUS), by_peer: must_answer });
        if must_answer && self.output.connection.websocket.closing.close() {
            // Section 5.5.1: "When sending a Close frame in response, the endpoint typically
            // echos the status code it received." The reason goes back with it.
            self.say_control(OpCode::Close, &Payload::Span(payload));
        }
        // Section 7.1.1: the server closes the TCP connection first.
        self.output.connection.states.do_after_flush(AfterFlush::Close);
    }

    /// Fails or closes the connection: a Close frame if none was sent, and the state after it.
    fn say_close(&mut self, failing: Failing) -> Result<(), Full> {
        let mut body = [0; 125];
        let (code, reason) = self.judge(failing);
        let length = CloseReason { code: Some(code), reason }.emit(&mut body);
        let connection = &mut self.output.connection;
        let first = connection.websocket.closing.close();
        if !matches!(failing, Failing::Handler(_)) {
            connection.websocket.closing = tidegate_proto::websocket::close::Closing::Closed;
            connection.stage = Stage::Lingering;
            connection.states.do_after_flush(AfterFlush::Finish);
            self.end.get_or_insert(End { code, by_peer: false });
            self.forget_input();
        }
        if !first {
            return Ok(());
        }
        let header = Header::of_control(OpCode::Close, length);
        self.output.frame(&header, &Payload::Bytes(&body[..length]))
    }

    /// Gives up what is half received, unless the kernel is still writing to it.
    fn forget_input(&mut self) {
        let Output { connection, pool, .. } = &mut self.output;
        gathered::release(&mut connection.control, pool.blocks);
        if connection.states.reading() != Reading::ReceivingInto {
            gathered::release(&mut connection.gathered, pool.blocks);
        }
    }

    fn judge(&mut self, failing: Failing) -> (CloseCode, &str) {
        match failing {
            Failing::Protocol(error) => {
                self.counters.protocol_errors += 1;
                (error.close_code(), error.reason())
            }
            Failing::Slow => {
                self.counters.slow_peers_closed += 1;
                (CloseCode::TRY_AGAIN_LATER, "too slow: the backlog is full")
            }
            Failing::GivesWay => {
                self.counters.slow_peers_closed += 1;
                (CloseCode::TRY_AGAIN_LATER, "too slow, and memory is short")
            }
            Failing::NoMemory => {
                self.counters.out_of_blocks += 1;
                (CloseCode::TRY_AGAIN_LATER, "no memory for the message")
            }
            Failing::MessageTooSlow => {
                self.counters.messages_too_slow += 1;
                (CloseCode::POLICY_VIOLATION, "the message takes too long to arrive")
            }
            Failing::Handler(code) => (code, self.reason),
        }
    }
}

impl Piece<'_> {
    fn new(kind: Kind, part: Part, span: Span) -> Self {
        Self { kind, part, span, call: PhantomData }
    }

    fn whole(kind: Kind, span: Span) -> Self {
        Self::new(kind, Part::Whole, span)
    }
}

/// Where a message is inflated to, piece by piece.
pub(super) const SCRATCH: Span = Span { area: AreaName::Scratch, start: 0, length: PIECE as u32 };

/// What was inflated just now.
fn inflated(progress: &Progress) -> Span {
    SCRATCH.part(0, progress.produced as u32)
}
