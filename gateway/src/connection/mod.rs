//! One connection: its record, the memory it may hold, and the way out for what it sends.

mod backlog;
mod blocks;
mod codecs;
mod frames;
mod gathered;
mod output;
mod record;

pub use backlog::{Backlog, Full, Source};
pub use blocks::{BlockId, Blocks, MIN_BLOCK, Share};
pub use codecs::{Compressor, Decompressor, PIECE};
pub use frames::{FrameId, Frames, NO_KEY};
pub use gathered::{append, release};
pub(crate) use output::CLOSE_RESERVE;
pub use output::{Output, Payload, Place, Pool, Staging};
pub use record::{Connection, Flags, Stage};
