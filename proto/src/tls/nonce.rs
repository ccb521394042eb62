//! Which nonce a record has (RFC 8446 section 5.3).

/// The nonce of each AEAD of TLS 1.3, in bytes.
pub const NONCE: usize = 12;

/// That of the record with this number, under a key with this IV. Section 5.3: "The 64-bit record
/// sequence number is encoded in network byte order and padded to the left with zeros to
/// iv_length", and then "XORed with either the static client_write_iv or server_write_iv".
#[must_use]
pub fn nonce(iv: &[u8; NONCE], sequence: u64) -> [u8; NONCE] {
    let mut nonce = *iv;
    for (byte, number) in nonce[NONCE - 8..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= number;
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8448 section 3: the IV of the server's application data, and its first two records.
    #[test]
    fn rfc_8446_section_5_3_the_number_is_padded_to_the_left() {
        let iv = *b"\xcf\x78\x2b\x88\xdd\x83\x54\x9a\xad\xf1\xe9\x84";
        assert_eq!(nonce(&iv, 0), iv);
        assert_eq!(nonce(&iv, 1)[..11], iv[..11]);
        assert_eq!(nonce(&iv, 1)[11], 0x85);
        let most = nonce(&[0; NONCE], u64::MAX);
        assert_eq!(most, *b"\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(nonce(&[0; NONCE], 0x0102_0304_0506_0708)[4..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
