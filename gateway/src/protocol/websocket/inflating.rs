//! Compressed messages, which are inflated piece by piece.
//!
//! A few bytes can inflate to a thousand times as many, and what a handler makes of them is more
//! work than that. So a handler that takes pieces gets no more of them in one turn of the loop than
//! the budget allows; the rest of the message waits for the next. A shard has one inflater: nothing
//! else is inflated before that message has gone on, or its connection is given up.

use tidegate_proto::message::{Kind, Part};
use tidegate_proto::utf8::Utf8;
use tidegate_proto::websocket::deflate::{InflateError, Inflater, Progress};
use tidegate_proto::websocket::error::ProtocolError;

use super::input::{deliver, forget_gathered, wants};
use crate::kernel::{AreaName, Span};
use crate::memory::{BlockId, PIECE, Share, gathered as block_of};
use crate::names::ConnectionId;
use crate::protocol::serve::{Piece, Wants};
use crate::protocol::turn::{Failing, Turn};

/// Where a message is inflated to, piece by piece.
const SCRATCH: Span = Span { area: AreaName::Scratch, start: 0, length: PIECE as u32 };

/// The least that is inflated at once, whatever is left of the budget, in bytes.
const LEAST: usize = 512;

/// A shard's inflater, and the message that it is in the middle of.
pub struct Inflating {
    inflater: Inflater,
    paused: Option<Paused>,
}

/// A message whose rest waits for the next turn of the loop.
struct Paused {
    whose: ConnectionId,
    rest: Rest,
}

/// What is left of a message.
struct Rest {
    kind: Kind,
    wants: Wants,
    /// What has yet to be inflated. It stays where it is: in the receive buffer that waits for the
    /// next turn, or in the connection's gathered block.
    compressed: Span,
    /// How many bytes came of what was before.
    produced: u64,
    utf8: Utf8,
}

impl Inflating {
    /// Nothing is inflated yet.
    #[must_use]
    pub fn new() -> Self {
        Self { inflater: Inflater::new(), paused: None }
    }

    /// The connection whose message waits for the next turn.
    pub(crate) fn whose(&self) -> Option<ConnectionId> {
        self.paused.as_ref().map(|paused| paused.whose)
    }

    /// Whether it is this one.
    pub(crate) fn is_amid(&self, whose: ConnectionId) -> bool {
        self.whose() == Some(whose)
    }

    /// The connection takes no more of its message, if it had any left.
    pub(crate) fn forget(&mut self, whose: ConnectionId) {
        self.paused.take_if(|paused| paused.whose == whose);
    }

    fn take(&mut self, whose: ConnectionId) -> Option<Rest> {
        self.paused.take_if(|paused| paused.whose == whose).map(|paused| paused.rest)
    }
}

impl Default for Inflating {
    fn default() -> Self {
        Self::new()
    }
}

/// Inflates a whole message, and hands it out in the way that its handler wants.
pub(super) fn begin(turn: &mut Turn<'_>, kind: Kind, compressed: Span) {
    let wants = wants(turn);
    debug_assert!(turn.inflating.whose().is_none(), "another message has the inflater");
    turn.inflating.inflater.begin();
    inflate(turn, Rest { kind, wants, compressed, produced: 0, utf8: Utf8::default() });
}

/// Goes on with the connection's message, if that is in its middle.
pub(super) fn go_on(turn: &mut Turn<'_>) {
    if let Some(rest) = turn.inflating.take(turn.work.id) {
        inflate(turn, rest);
    }
}

fn inflate(turn: &mut Turn<'_>, mut rest: Rest) {
    let mut whole = None;
    let inflated = loop {
        if turn.work.failing.is_some() {
            break Ok(());
        }
        match inflate_piece(turn, &mut rest, &mut whole) {
            Ok(is_done) if is_done => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
        if *turn.input_budget == 0 && rest.wants == Wants::Pieces {
            turn.inflating.paused = Some(Paused { whose: turn.work.id, rest });
            return;
        }
    };
    block_of::release(&mut whole, turn.work.output.pool.blocks);
    forget_gathered(turn);
    if let Err(error) = inflated {
        turn.fail(error.into());
    }
}

/// Inflates the next piece, and hands it out; `true` if it was the last.
fn inflate_piece(
    turn: &mut Turn<'_>,
    rest: &mut Rest,
    whole: &mut Option<BlockId>,
) -> Result<bool, ProtocolError> {
    let progress = inflate_some(turn, rest).map_err(|_| ProtocolError::InvalidDeflate)?;
    let part = Part::from_start(rest.produced == 0).to_end(progress.done);
    rest.compressed = rest.compressed.skip(progress.consumed as u32);
    rest.produced += progress.produced as u64;
    *turn.input_budget = turn.input_budget.saturating_sub(progress.produced);
    // RFC 7692 section 8 leaves it to the receiver to bound what a message inflates to.
    if rest.produced > u64::from(turn.limits.max_buffered_message) {
        return Err(ProtocolError::MessageTooBig);
    }
    if rest.kind == Kind::Text {
        check(turn, &mut rest.utf8, &progress).map_err(|()| ProtocolError::InvalidUtf8)?;
    }
    match rest.wants {
        Wants::Pieces => deliver(turn, Piece::new(rest.kind, part, inflated(&progress))),
        Wants::Whole => gather(turn, rest.kind, whole, &progress),
    }
    Ok(progress.done)
}

fn inflate_some(turn: &mut Turn<'_>, rest: &Rest) -> Result<Progress, InflateError> {
    let room = match rest.wants {
        Wants::Pieces => (*turn.input_budget).clamp(LEAST, PIECE),
        Wants::Whole => PIECE,
    };
    let scratch = SCRATCH.part(0, room as u32);
    let (input, out) = turn.work.output.pool.memory.pair(rest.compressed, scratch);
    turn.inflating.inflater.inflate(input, true, out)
}

/// What was inflated just now.
fn inflated(progress: &Progress) -> Span {
    SCRATCH.part(0, progress.produced as u32)
}

fn check(turn: &Turn<'_>, utf8: &mut Utf8, progress: &Progress) -> Result<(), ()> {
    let bytes = turn.work.output.pool.memory.bytes(inflated(progress));
    utf8.push(bytes).map_err(|_| ())?;
    if progress.done { utf8.finish().map_err(|_| ()) } else { Ok(()) }
}

fn gather(turn: &mut Turn<'_>, kind: Kind, whole: &mut Option<BlockId>, progress: &Progress) {
    let pool = &mut turn.work.output.pool;
    if block_of::append(whole, Share::Gathered, pool, inflated(progress)).is_err() {
        return turn.fail(Failing::NoMemory);
    }
    if let Some(block) = whole.filter(|_| progress.done) {
        let span = pool.blocks.content(block);
        deliver(turn, Piece::whole(kind, span));
    }
}
