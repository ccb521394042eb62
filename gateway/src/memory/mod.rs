//! What a shard lends to its connections: pooled blocks with a share for each purpose, what is
//! gathered in one of them, what few or many have beside their record, what they may send in which
//! time, and the compressors.

mod blocks;
mod bucket;
mod codecs;
pub mod gathered;
mod lines;
mod paged;
mod pool;
mod side_table;

pub use blocks::{BlockId, Blocks, Full, MIN_BLOCK, Share};
pub use bucket::{Bucket, Flow};
pub use codecs::{Compressor, Inflater, PIECE};
pub(crate) use lines::lines;
pub use paged::Paged;
pub use pool::Pool;
#[cfg(test)]
pub(crate) use pool::tests::World;
pub use side_table::SideTable;
