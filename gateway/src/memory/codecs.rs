//! The compressors that a shard lends to one message at a time.

pub use tidegate_proto::websocket::deflate::Inflater;
use tidegate_proto::websocket::deflate::{Deflater, Deflaters};

/// The most that is compressed or inflated at once, in bytes: a longer message that is sent becomes
/// several fragments.
pub const PIECE: usize = 32 * 1024;

/// The compressors of a shard, by level and window, made when they are first used.
pub struct Compressor {
    by_level: [Option<Box<Deflaters>>; 9],
    out: Box<[u8]>,
}

impl Compressor {
    /// The most bytes that one level can come to hold.
    pub const BYTES_MAX: usize = Deflaters::HEAP_BYTES_MAX + Deflater::bound(PIECE);

    /// No compressor yet.
    #[must_use]
    pub fn new() -> Self {
        let out = vec![0; Deflater::bound(PIECE)].into_boxed_slice();
        Self { by_level: [const { None }; 9], out }
    }

    /// Compresses a piece of at most [`PIECE`] bytes on its own, so that nothing has to be kept
    /// for the message's next piece.
    pub fn compress(&mut self, level: u8, window_bits: u8, piece: &[u8], last: bool) -> &[u8] {
        let slot = &mut self.by_level[usize::from(level.clamp(1, 9)) - 1];
        let deflaters = slot.get_or_insert_with(|| Box::new(Deflaters::new(level.clamp(1, 9))));
        let deflater = deflaters.for_window(window_bits);
        let length = deflater
            .compress(piece, last, &mut self.out)
            .expect("the output has the size that always suffices");
        &self.out[..length]
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}
