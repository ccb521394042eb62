//! What a message says.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::NotDone;

/// What a message says: text, JSON, or bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(Text),
    /// One JSON value (RFC 8259), as text: it is sent as that, and as a value to those who want
    /// events.
    Json(Text),
    /// Bytes that mean nothing to the gateway.
    Bytes(Bytes),
}

/// UTF-8, which was checked once: where it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Bytes);

impl Content {
    /// Text, which is checked here. What is a `String` or a `str` needs no check: it is a
    /// [`Content`] by `into`.
    ///
    /// # Errors
    /// [`NotDone::NotUtf8`].
    pub fn text(bytes: impl Into<Bytes>) -> Result<Self, NotDone> {
        let bytes = bytes.into();
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self::Text(Text(bytes))),
            Err(_) => Err(NotDone::NotUtf8),
        }
    }

    /// How deep JSON may be nested. Who gets it has it within an event, further down, and many who
    /// read JSON give up at 100 levels or less.
    pub const JSON_DEPTH_MAX: usize = 64;

    /// How many characters a number of JSON may have.
    pub const JSON_NUMBER_MAX: usize = 64;

    /// One JSON value, which is checked here, and stays as it stands.
    ///
    /// # Errors
    /// [`NotDone::NotJson`]: it is none, or something that not every reader takes, some of which
    /// would refuse all that it is part of: it is nested more than [`Content::JSON_DEPTH_MAX`]
    /// deep; has the escape of half a surrogate pair, which is no character (RFC 8259 section
    /// 8.2); or a number of more than [`Content::JSON_NUMBER_MAX`] characters, or beyond what a
    /// `f64` has (section 6).
    ///
    /// ```
    /// use tidegate::hub::{Content, NotDone};
    ///
    /// assert_eq!(Content::json(r#"{"x": 1}"#).unwrap().as_bytes()[..], *br#"{"x": 1}"#);
    /// assert_eq!(Content::json("{x: 1}"), Err(NotDone::NotJson));
    /// ```
    pub fn json(bytes: impl Into<Bytes>) -> Result<Self, NotDone> {
        let bytes = bytes.into();
        // What is nested is gone through without recursion.
        let is_json = serde_json::from_slice::<&RawValue>(&bytes).is_ok();
        let is_readable = is_json && is_readable_by_all(&bytes);
        if is_readable { Ok(Self::Json(Text(bytes))) } else { Err(NotDone::NotJson) }
    }

    /// Bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// What it is, as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Text(Text(bytes)) | Self::Json(Text(bytes)) | Self::Bytes(bytes) => bytes,
        }
    }

    /// The same in a buffer that nobody else holds and that has its length, so that what is counted
    /// is what is held. Bytes of a buffer that is theirs alone stay where they are.
    pub(super) fn alone(self) -> Self {
        let alone = |bytes: Bytes| {
            let mut bytes = Vec::from(bytes);
            bytes.shrink_to_fit();
            Bytes::from(bytes)
        };
        match self {
            Self::Text(Text(bytes)) => Self::Text(Text(alone(bytes))),
            Self::Json(Text(bytes)) => Self::Json(Text(alone(bytes))),
            Self::Bytes(bytes) => Self::Bytes(alone(bytes)),
        }
    }
}

impl Text {
    /// A copy of text that a protocol has checked as it came in.
    pub(crate) fn received(bytes: &[u8]) -> Self {
        debug_assert!(
            std::str::from_utf8(bytes).is_ok(),
            "the receiver lets no other text through"
        );
        Self(Bytes::copy_from_slice(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// As a string.
    #[must_use]
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<Text> for Content {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(Text(text.into()))
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}

/// Whether whoever reads JSON can be expected to read this, which is valid: it is not nested too
/// deep, has no half of a surrogate pair, and no number beyond bounds.
fn is_readable_by_all(json: &[u8]) -> bool {
    let (mut depth, mut is_string) = (0_usize, false);
    let mut rest = json;
    while let [byte, behind @ ..] = rest {
        let at = rest;
        rest = behind;
        match byte {
            b'\\' => match behind_escape(behind) {
                Some(behind) => rest = behind,
                None => return false,
            },
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => depth += 1,
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' if !is_string => match behind_number(at) {
                Some(behind) => rest = behind,
                None => return false,
            },
            _ => {}
        }
        if depth > Content::JSON_DEPTH_MAX {
            return false;
        }
    }
    true
}

/// What follows a number, which is valid; `None` if it is too long, or too large.
fn behind_number(json: &[u8]) -> Option<&[u8]> {
    let is_of_it = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let length = json.iter().take(Content::JSON_NUMBER_MAX + 1).take_while(|byte| is_of_it(byte));
    let (number, behind) = json.split_at(length.count());
    let value: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    (number.len() <= Content::JSON_NUMBER_MAX && value.is_finite()).then_some(behind)
}

/// What follows the rest of an escape, which is valid but for surrogates; `None` if it is half of a
/// pair.
fn behind_escape(json: &[u8]) -> Option<&[u8]> {
    let (unit, behind) = match json {
        [b'u', ..] => code_unit(json)?,
        _ => return json.get(1..),
    };
    match unit {
        // RFC 8259 section 7: "the character is represented as a 12-character sequence, encoding
        // the UTF-16 surrogate pair".
        0xd800..=0xdbff => {
            let (second, behind) = code_unit(behind.strip_prefix(b"\\")?)?;
            (0xdc00..=0xdfff).contains(&second).then_some(behind)
        }
        0xdc00..=0xdfff => None,
        _ => Some(behind),
    }
}

/// The number of a `uXXXX`, and what is behind it.
fn code_unit(json: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, behind) = json.strip_prefix(b"u")?.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_value_and_not_nested_too_deep() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let brackets = format!("\"\\\"{}\"", "[".repeat(500));
        let wide = format!("[{}1]", "[1,2],".repeat(500));
        let smile = r#""\ud83d\uDE00 \\ud83d \u00e4 \n \"""#;
        for json in ["1", " null\n", "{\"a\":[1,{}]}", &deep(64), &brackets, &wide, smile] {
            let content = Content::json(json.to_owned()).expect(json);
            assert_eq!(content.as_bytes()[..], *json.as_bytes(), "as it stands");
        }
        for none in ["", "1 2", "{", "{a:1}", "\"\u{1}\"", &deep(65), &deep(100_000)] {
            assert_eq!(Content::json(none.to_owned()), Err(NotDone::NotJson), "{none:.9}");
        }
        assert_eq!(Content::json(&b"\"\xff\""[..]), Err(NotDone::NotJson));
        let digits = |count: usize| "1".repeat(count);
        let many = format!("[{0},-{0},\"{1}\",1e308,-0.0e-5]", digits(63), digits(5000));
        for json in [&digits(64), "1e-999", "{\"a1\":[1,2]}", &many] {
            assert!(Content::json(json.to_owned()).is_ok(), "{json:.20}");
        }
        for none in ["1e999", "-1e309", "[1,1e999]", &digits(65), &digits(5000)] {
            assert_eq!(Content::json(none.to_owned()), Err(NotDone::NotJson), "{none:.20}");
        }
        for half in
            [r#""\ud83d""#, r#""\ud83d ""#, r#""\ude00""#, r#""\ud83d\n""#, r#""\ud83d\ud83d""#]
        {
            assert_eq!(Content::json(half), Err(NotDone::NotJson), "{half}");
            assert_eq!(Content::json(format!("{{{half}:1}}")), Err(NotDone::NotJson), "{half}");
        }
    }

    #[test]
    fn text_is_checked_or_is_a_string() {
        assert_eq!(Content::text("ä"), Ok(Content::from("ä")));
        assert_eq!(Content::text(&b"\xff"[..]), Err(NotDone::NotUtf8));
        assert_eq!(Content::from(vec![0xff]).as_bytes()[..], [0xff]);
    }

    #[test]
    fn what_is_held_is_what_is_counted() {
        let mut large = Vec::with_capacity(1 << 20);
        large.extend_from_slice(b"few");
        for bytes in [Bytes::from(large), Bytes::from(vec![b'a'; 1 << 20]).slice(7..10)] {
            let content = Content::bytes(bytes).alone();
            assert_eq!(Vec::from(content.as_bytes().clone()).capacity(), 3);
        }
        let shared = Bytes::from(vec![1; 1 << 20]);
        let content = Content::bytes(shared.slice(..3)).alone();
        assert_ne!(content.as_bytes().as_ptr(), shared.as_ptr(), "another holds that buffer");
    }

    #[test]
    fn who_hands_on_a_buffer_of_its_own_has_no_copy_made() {
        let text = String::from("as it came").into_boxed_str().into_string();
        let at = text.as_ptr();
        assert_eq!(Content::from(text).alone().as_bytes().as_ptr(), at);
    }
}
