//! What a message is, whatever carries it: text or bytes, in one part or in several.

/// The two kinds of message. To WebSocket, bytes are a binary message (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Bytes that mean nothing to who carries them.
    Bytes,
}

/// Which part it is of what comes or goes in parts: of a message, or of what stands within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first of several.
    First,
    /// Neither the first nor the last.
    Middle,
    /// The last of several.
    Last,
}

impl Part {
    /// The first part, if it `is_first`, of more to come; else one in the middle.
    #[must_use]
    pub const fn from_start(is_first: bool) -> Self {
        if is_first { Self::First } else { Self::Middle }
    }

    /// The same part, if it `is_last` with nothing behind it; else with more to come.
    #[must_use]
    pub const fn to_end(self, is_last: bool) -> Self {
        match (self.is_first(), is_last) {
            (true, true) => Self::Whole,
            (true, false) => Self::First,
            (false, false) => Self::Middle,
            (false, true) => Self::Last,
        }
    }

    /// Whether nothing came before it.
    #[must_use]
    pub const fn is_first(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    /// Whether nothing comes behind it.
    #[must_use]
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_made_of_its_two_ends() {
        for part in [Part::Whole, Part::First, Part::Middle, Part::Last] {
            assert_eq!(Part::from_start(part.is_first()).to_end(part.is_last()), part);
            assert!(!part.to_end(false).is_last() && part.to_end(true).is_last());
            assert_eq!(part.to_end(true).is_first(), part.is_first());
        }
    }
}
