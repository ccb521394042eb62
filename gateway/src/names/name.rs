//! Names of topics and users.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a topic or a user, or a key of conflation: 1 to [`Name::LENGTH_MAX`] bytes of UTF-8
/// without control characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    Empty,
    /// It has so many bytes, which are too many.
    TooLong(usize),
    /// It has a control character, at this byte.
    Control(usize),
    /// It is not UTF-8.
    NotUtf8,
}

/// What stands in front of a user's name among the topics.
const USER_MARK: char = '\u{1}';

impl Name {
    /// The most bytes of a name.
    pub const LENGTH_MAX: usize = 200;

    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::LENGTH_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        match text.char_indices().find(|(_, letter)| letter.is_control()) {
            Some((at, _)) => Err(NameError::Control(at)),
            None => Ok(Self(text.into())),
        }
    }

    /// The name that stands for a user among the topics: to publish to a user is to publish to all
    /// that subscribe to it. No topic has it, because of the control character in front.
    pub(crate) fn of_user(&self) -> Self {
        Self(format!("{USER_MARK}{self}").into())
    }

    /// The user that this name stands for, if it stands for one.
    pub(crate) fn user(&self) -> Option<&str> {
        self.0.strip_prefix(USER_MARK)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("the name is empty"),
            Self::TooLong(length) => {
                write!(out, "the name has {length} bytes, and may have {}", Name::LENGTH_MAX)
            }
            Self::Control(at) => write!(out, "the name has a control character at byte {at}"),
            Self::NotUtf8 => out.write_str("the name is not UTF-8"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_none() {
        assert_eq!(Name::new("rooms/ä b").expect("a name").as_str(), "rooms/ä b");
        assert_eq!("rooms/a".parse(), Name::new("rooms/a"));
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(201)), Err(NameError::TooLong(201)));
        assert!(Name::new(&"x".repeat(200)).is_ok());
        assert_eq!(Name::new("a\nb"), Err(NameError::Control(1)));
        assert_eq!(Name::new("a\u{85}"), Err(NameError::Control(1)));
    }
}
