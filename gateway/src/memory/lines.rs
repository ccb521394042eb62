//! What the pool's bookkeeping and the compressors take, for the bill.

use tidegate_proto::websocket::deflate::Deflater;

use super::{Blocks, Compressor, PIECE};
use crate::bill::{Line, Owner};

/// For a pool of so many bytes, and so many levels of compression.
pub(crate) fn lines(pool: u32, levels: usize) -> Vec<Line> {
    // One set of compressors for each level, and the output of all.
    let output = Deflater::bound(PIECE);
    let compressors = output + levels * (Compressor::BYTES_MAX - output);
    vec![
        Line::new(Owner::BlockBookkeeping, Blocks::overhead(pool) as u64, &["limits.blocks"]),
        Line::new(Owner::Compressors, compressors as u64, &["`deflate_level` of the listeners"]),
    ]
}
