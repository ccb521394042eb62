//! Sec-WebSocket-Key and Sec-WebSocket-Accept (RFC 6455 sections 4.1 and 4.2.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The length of a Sec-WebSocket-Key: base64 of 16 bytes.
pub const KEY_LEN: usize = 24;

/// The length of a Sec-WebSocket-Accept: base64 of a SHA-1 hash, which is 20 bytes.
pub const ACCEPT_KEY_LEN: usize = 28;

/// RFC 6455 section 1.3: what the key is joined to before it is hashed. No endpoint that does not
/// understand WebSocket is likely to use it.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The Sec-WebSocket-Accept that proves that a handshake with `key` was understood.
///
/// RFC 6455 section 4.2.2: "concatenating /key/, defined above in step 4 in Section 4.2.2, with the
/// string "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", taking the SHA-1 hash of this concatenated value
/// to obtain a 20-byte value and base64-encoding".
///
/// The text of the key is hashed, not the bytes that it encodes.
pub fn accept_key(key: &[u8]) -> [u8; ACCEPT_KEY_LEN] {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_KEY_LEN];
    let encoded = STANDARD.encode_slice(hash, &mut accept);
    encoded.expect("base64 of 20 bytes has 28 characters");
    accept
}

/// The Sec-WebSocket-Key of a client.
///
/// RFC 6455 section 4.1: "a nonce consisting of a randomly selected 16-byte value that has been
/// base64-encoded". `nonce` must be drawn anew for each handshake.
pub fn encode_key(nonce: [u8; 16]) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    STANDARD.encode_slice(nonce, &mut key).expect("base64 of 16 bytes has 24 characters");
    key
}

/// Whether `key` is "a base64-encoded value that, when decoded, is 16 bytes in length" (RFC 6455
/// section 4.2.1).
///
/// The last of the 22 characters carries 4 bits that belong to no byte. They may be anything: RFC
/// 4648 section 3.5 leaves it open, and some clients draw 22 random characters.
pub fn is_valid_key(key: &[u8]) -> bool {
    let Some(characters) = key.strip_suffix(b"==") else { return false };
    characters.len() == KEY_LEN - 2 && characters.iter().all(|&byte| is_base64(byte))
}

/// Whether `byte` is in the alphabet of RFC 4648 section 4.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_1_3_example() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn section_4_1_key_encodes_the_nonce() {
        assert_eq!(&encode_key(*b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_valid_key(&encode_key([0xff; 16])));
    }

    #[test]
    fn section_4_2_1_key_decodes_to_16_bytes() {
        assert!(is_valid_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_valid_key(b"+/+/+/+/+/+/+/+/+/+/+/=="), "bits that belong to no byte are set");
        let malformed: [&[u8]; 9] = [
            b"",
            b"==",
            b"SGVsbG8sIHdvcmxkIQ==",       // 13 bytes
            b"dGhlIHNhbXBsZSBub25jZSE=",   // 17 bytes
            b"dGhlIHNhbXBsZSBub25jZSEh",   // 18 bytes
            b"dGhlIHNhbXBsZSBub25jZQ",     // no padding
            b"dGhlIHNhbXBsZSBub25jZQ=== ", // too much of it
            b"dGhlIHNhbXBsZSBub25j-_==",   // the alphabet of URLs
            b"dGhlIHNhbXBs=SBub25jZQ==",   // padding inside
        ];
        for key in malformed {
            assert!(!is_valid_key(key), "{:?}", key.escape_ascii().to_string());
        }
    }
}
