//! The handler `echo`: every message goes back to its sender, piece by piece as it comes in.

use super::{Context, Handler, ImportError, Piece};

/// Sends everything back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Handler for Echo {
    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        // What cannot be written ends the connection, and the shard knows why: nothing is left to
        // decide here.
        let _ = context.echo(piece);
    }

    /// It keeps nothing.
    fn export(&self, _state: u32, _out: &mut Vec<u8>) {}

    fn import(&mut self, bytes: &[u8]) -> Result<u32, ImportError> {
        ImportError::unless_empty(bytes).map(|()| 0)
    }
}
