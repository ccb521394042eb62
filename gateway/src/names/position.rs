//! Where a message stands in its topic.

/// The place of a message among those of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Drawn when the topic comes to be: offsets of two epochs have nothing to do with each other.
    pub epoch: u32,
    /// Counted up from 1 within the epoch; 0 is the position before the first message.
    pub offset: u64,
}

impl Position {
    /// The epoch as it is written everywhere: 8 hexadecimal digits.
    #[must_use]
    pub fn epoch_text(&self) -> String {
        format!("{:08x}", self.epoch)
    }

    /// The one before it.
    pub(crate) fn before(self) -> Self {
        Self { offset: self.offset.saturating_sub(1), ..self }
    }

    /// Reads an epoch as it is written.
    #[must_use]
    pub fn parse_epoch(text: &str) -> Option<u32> {
        let is_epoch = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16).ok().filter(|_| is_epoch)
    }
}
