//! The values of a command's members, as JSON has them, with errors in words of JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

/// A string, which is borrowed where JSON has no escapes in it.
pub(super) struct Wording<'c>(pub(super) Cow<'c, str>);

/// A whole number of so much at most.
#[derive(Clone, Copy)]
pub(super) struct Whole<const MOST: u32>(pub(super) u32);

/// Reads what is there: `null` is none of the values that a member may have, but for `json`.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl<'de: 'c, 'c> Deserialize<'de> for Wording<'c> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Cow<'de, str>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }

        from.deserialize_str(Reader).map(Self)
    }
}

impl<'de, const MOST: u32> Deserialize<'de> for Whole<MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader<const MOST: u32>;

        impl<const MOST: u32> Visitor<'_> for Reader<MOST> {
            type Value = u32;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a whole number from 0 to {MOST}")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<u32, E> {
                let fits = u32::try_from(number).ok().filter(|number| *number <= MOST);
                fits.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }

        from.deserialize_u32(Reader::<MOST>).map(Self)
    }
}
