//! A client's connection when its handshake is over.

use std::io;

use rustls::ExtractedSecrets;

use super::records::{Direction, Stretch};

/// Both directions of an established connection, and what has come of an incomplete record.
#[derive(Debug)]
pub struct Session {
    opener: Direction,
    /// Seals what is sent.
    pub sealer: Direction,
    held: Vec<u8>,
}

impl Session {
    /// With the keys that rustls has agreed upon, and what came behind its last record.
    ///
    /// # Errors
    /// The suite is another one than was offered.
    pub(super) fn new(secrets: ExtractedSecrets, held: Vec<u8>) -> io::Result<Self> {
        let ExtractedSecrets { tx, rx } = secrets;
        Ok(Self { opener: Direction::new(rx)?, sealer: Direction::new(tx)?, held })
    }

    /// Opens what has come, and hands `then` the plain bytes of it, if there are any. The start of
    /// a record is kept until the rest comes.
    ///
    /// # Errors
    /// It was not sealed with the key agreed upon, or what `then` says.
    pub fn take_in<T: Default>(
        &mut self,
        input: &mut [u8],
        then: impl FnOnce(&mut [u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut held = std::mem::take(&mut self.held);
        let bytes = if held.is_empty() {
            input
        } else {
            held.extend_from_slice(input);
            &mut held[..]
        };
        let Stretch { plain, rest, .. } = self.opener.open(bytes, 0..0, 0..bytes.len())?;
        if !rest.is_empty() {
            self.held = bytes[rest].to_vec();
        }
        if plain.is_empty() { Ok(T::default()) } else { then(&mut bytes[plain]) }
    }
}
