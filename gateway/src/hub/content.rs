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

    /// How deep JSON may be nested: as deep as those who get it within an event can be expected to
    /// read.
    pub const JSON_DEPTH_MAX: usize = 127;

    /// One JSON value, which is checked here, and stays as it stands.
    ///
    /// # Errors
    /// [`NotDone::NotJson`]: it is none, or nested more than [`Content::JSON_DEPTH_MAX`] deep.
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
        let is_flat = is_json && depth(&bytes) <= Self::JSON_DEPTH_MAX;
        if is_flat { Ok(Self::Json(Text(bytes))) } else { Err(NotDone::NotJson) }
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

/// How deep valid JSON is nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut most, mut is_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => depth += 1,
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_value_and_not_nested_too_deep() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let brackets = format!("\"\\\"{}\"", "[".repeat(500));
        let wide = format!("[{}1]", "[1,2],".repeat(500));
        for json in ["1", " null\n", "{\"a\":[1,{}]}", &deep(127), &brackets, &wide] {
            let content = Content::json(json.to_owned()).expect(json);
            assert_eq!(content.as_bytes()[..], *json.as_bytes(), "as it stands");
        }
        for none in ["", "1 2", "{", "{a:1}", "\"\u{1}\"", &deep(128), &deep(100_000)] {
            assert_eq!(Content::json(none.to_owned()), Err(NotDone::NotJson), "{none:.9}");
        }
        assert_eq!(Content::json(&b"\"\xff\""[..]), Err(NotDone::NotJson));
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
