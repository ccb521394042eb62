//! UTF-8 checked piece by piece, refused at the first wrong byte.

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

/// The state between two pieces of one text: the start of a character whose end has yet to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Utf8 {
    /// Invariant: the first `length` bytes start a character and do not finish it.
    carry: [u8; 3],
    /// 0 to 3.
    length: u8,
}

impl Utf8 {
    /// Takes the next piece.
    ///
    /// # Errors
    /// As soon as no continuation could make the text valid, even within a character.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = self.complete_carried(piece)?;
        match core::str::from_utf8(rest) {
            Ok(_) => Ok(()),
            // `error_len` is `Some` where a byte is wrong, `None` where bytes are missing.
            Err(error) if error.error_len().is_some() => Err(InvalidUtf8),
            Err(error) => {
                self.carry_over(&rest[error.valid_up_to()..]);
                Ok(())
            }
        }
    }

    /// The text has ended.
    ///
    /// # Errors
    /// It ended within a character.
    pub fn finish(&mut self) -> Result<(), InvalidUtf8> {
        if self.length == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }

    fn carry_over(&mut self, start: &[u8]) {
        self.carry[..start.len()].copy_from_slice(start);
        self.length = start.len() as u8;
    }

    /// Finishes the carried character with bytes of `piece`; returns what follows it.
    fn complete_carried<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        if self.length == 0 {
            return Ok(piece);
        }
        let mut character = [0; 4];
        let mut length = usize::from(self.length);
        character[..length].copy_from_slice(&self.carry[..length]);
        for (used, byte) in piece.iter().enumerate() {
            character[length] = *byte;
            length += 1;
            match core::str::from_utf8(&character[..length]) {
                Ok(_) => {
                    self.length = 0;
                    return Ok(&piece[used + 1..]);
                }
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {}
            }
        }
        self.carry_over(&character[..length]);
        Ok(&[])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether `bytes` can still become UTF-8.
    fn naive_prefix(bytes: &[u8]) -> bool {
        match core::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none(),
        }
    }

    fn run(pieces: &[&[u8]]) -> Result<(), InvalidUtf8> {
        let mut state = Utf8::default();
        for piece in pieces {
            state.push(piece)?;
        }
        state.finish()
    }

    #[test]
    fn every_split_of_a_valid_text() {
        let text = "aé€😀\u{10ffff}z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(run(&pieces), Ok(()), "{first} {second}");
            }
        }
    }

    #[test]
    fn wrong_bytes_are_refused_at_once() {
        for wrong in [&b"\xff"[..], b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xe2\x28", b"\xf0\x80"] {
            let mut state = Utf8::default();
            let refused = wrong.iter().map(|byte| state.push(&[*byte])).find(Result::is_err);
            assert_eq!(refused, Some(Err(InvalidUtf8)), "{wrong:x?}");
            assert_eq!(Utf8::default().push(wrong), Err(InvalidUtf8), "{wrong:x?}");
        }
    }

    #[test]
    fn a_text_that_ends_within_a_character() {
        assert_eq!(run(&[b"\xe2\x82"]), Err(InvalidUtf8));
        assert_eq!(run(&[b"\xf0\x9f", b"\x98"]), Err(InvalidUtf8));
    }

    proptest! {
        #[test]
        fn pieces_equal_the_naive_twin(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..6),
                    "[a-zé€😀]{0,4}".prop_map(String::into_bytes),
                    Just(vec![0xf0, 0x9f]),
                    Just(vec![0x98, 0x80]),
                ],
                0..10,
            ),
        ) {
            let mut state = Utf8::default();
            let mut seen = Vec::new();
            for piece in &pieces {
                seen.extend_from_slice(piece);
                let answer = state.push(piece);
                prop_assert_eq!(answer.is_ok(), naive_prefix(&seen));
                if answer.is_err() {
                    return Ok(());
                }
            }
            prop_assert_eq!(state.finish().is_ok(), core::str::from_utf8(&seen).is_ok());
        }
    }
}
