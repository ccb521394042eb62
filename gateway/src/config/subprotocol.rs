//! The key `subprotocol` of a route.

use tidegate_proto::token::is_token_character;
use toml::de::DeValue;

use super::value;
use crate::units::quote;

/// The longest name of a subprotocol.
pub(super) const SUBPROTOCOL_LENGTH: usize = 128;

/// Reads the name of a subprotocol. RFC 6455 section 4.1: "The elements that comprise this value
/// MUST be non-empty strings with characters in the range U+0021 to U+007E not including separator
/// characters as defined in \[RFC2616\]".
pub(super) fn subprotocol(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    if text.is_empty() {
        return Err("is empty: leave the key out to take requests of any subprotocol".into());
    }
    if text.len() > SUBPROTOCOL_LENGTH {
        return Err(format!("must be at most {SUBPROTOCOL_LENGTH} letters, is {}", text.len()));
    }
    let is_token = |letter: char| u8::try_from(letter).is_ok_and(is_token_character);
    match text.chars().find(|letter| !is_token(*letter)) {
        None => Ok(text.into()),
        Some(letter) => Err(format!(
            "must be one token of letters, digits and !#$%&'*+-.^_`|~, but {} has {letter:?}",
            quote(text)
        )),
    }
}
