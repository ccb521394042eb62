//! Percent escapes in paths and in queries (RFC 3986 section 2.1).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Whether two hexadecimal digits stand behind each `%`.
pub(crate) fn has_right_escapes(text: &str) -> bool {
    let is_right =
        |behind: &str| behind.get(..2).is_some_and(|two| escaped(two.as_bytes()).is_some());
    text.split('%').skip(1).all(is_right)
}

/// The byte that two hexadecimal digits stand for.
pub(crate) fn escaped(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |letter: &u8| char::from(*letter).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// The text with its escapes resolved, lent where it has none; `None` if a `%` begins none, or the
/// bytes that they stand for are not UTF-8. What is not visible in a URI comes through here, NUL as
/// well: what a text may have is its reader's to say.
pub(crate) fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    // What decodes leaves a `%` alone that begins no escape.
    if !has_right_escapes(text) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}

/// The same of what a form sends. RFC 1866 section 8.2.1, and every browser: a `+` is a space.
fn form_decoded(text: &str) -> Option<Cow<'_, str>> {
    match text.contains('+') {
        false => decoded(text),
        true => decoded(&text.replace('+', " ")).map(|text| Cow::Owned(text.into_owned())),
    }
}

/// All values of `name` in a query, as forms send it, in their order; `None` for one that cannot be
/// decoded. One is empty where the name stands without a `=`.
pub(crate) fn query_values<'q>(
    query: Option<&'q str>,
    name: &str,
) -> impl Iterator<Item = Option<Cow<'q, str>>> {
    let pairs = query.unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let named = pairs.filter(move |(other, _)| form_decoded(other).as_deref() == Some(name));
    named.map(|(_, value)| form_decoded(value))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_comes_out_again(text in any::<String>()) {
            let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
            for decoded in [decoded(&encoded), form_decoded(&encoded)] {
                prop_assert_eq!(decoded.as_deref(), Some(&text[..]));
            }
        }

        #[test]
        fn any_text_is_decoded_as_its_bytes_say_or_not_at_all(text in "[%+a-fz0-9\u{e9}]{0,12}") {
            let bytes: Vec<u8> = percent_decode_str(&text).collect();
            // With as many `%` left as escapes do not explain, one of them began none.
            let escapes = text.matches('%').count();
            let is_right = text.len() - bytes.len() == 2 * escapes;
            let expected = String::from_utf8(bytes).ok().filter(|_| is_right);
            prop_assert_eq!(decoded(&text).map(Cow::into_owned), expected);
        }
    }
}
