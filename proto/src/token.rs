//! The grammar of tokens (RFC 9110 section 5.6.2): of header names, methods, subprotocols and
//! extensions. RFC 2616 section 2.2, to which RFC 6455 refers, describes the same set.

/// Whether `bytes` is a token: `1*tchar`.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_character(byte))
}

/// Whether `byte` is a `tchar`: "any VCHAR, except delimiters".
#[must_use]
pub const fn is_token_character(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9110_section_5_6_2_delimiters_are_not_in_tokens() {
        let delimiters = b"\"(),/:;<=>?@[\\]{}";
        for byte in 0..=255 {
            let visible = (b'!'..=b'~').contains(&byte);
            assert_eq!(is_token(&[byte]), visible && !delimiters.contains(&byte), "{byte:#x}");
        }
        assert!(is_token(b"soap1.2") && !is_token(b"") && !is_token(b"a b"));
    }
}
