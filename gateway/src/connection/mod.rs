//! One connection: its record, the memory it may hold, and the way out for what it sends.

mod blocks;
mod codecs;
mod gathered;
mod outbox;
mod output;
mod payload;
mod pool;
mod record;
mod states;

pub use blocks::{BlockId, Blocks, MIN_BLOCK, Share};
pub use codecs::{Compressor, PIECE};
pub use gathered::{append, release};
pub use outbox::{
    Backlog, Bound, CLOSE_RESERVE, FrameId, Frames, Full, LeftOut, NO_KEY, Offer, Offered, Outbox,
    Outgoing, Overflow,
};
pub use output::{Output, Place};
pub use payload::Payload;
pub use pool::Pool;
pub use record::{Connection, ProfileId, ServiceId, Stage, WebSocket};
pub use states::{AfterFlush, Poll, Reading, States, Writing};
