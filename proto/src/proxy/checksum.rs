//! CRC32C, the checksum of a header (section 2.2.3; RFC 4960 appendix B).

/// The polynomial 0x1EDC6F41 of RFC 4960 appendix B, its bits in reverse.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// What each value of a byte adds.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut rest = at as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = (rest >> 1) ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[at] = rest;
        at += 1;
    }
    table
};

/// The checksum of `bytes`.
pub(super) fn checksum<'b>(bytes: impl IntoIterator<Item = &'b u8>) -> u32 {
    !bytes.into_iter().fold(u32::MAX, |sum, byte| TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8))
}

/// The checksum of a header whose bytes from `at` on are the checksum itself. "Replace the 32 bits
/// of the checksum field in the received PROXY header with all '0's."
pub(super) fn checksum_of_header(header: &[u8], at: usize) -> u32 {
    checksum(header[..at].iter().chain(&[0; 4]).chain(&header[at + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3720_appendix_b_4() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        assert_eq!(checksum(&[0; 32]), 0x8A91_36AA);
        assert_eq!(checksum(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(checksum(&up), 0x46DD_794E);
        assert_eq!(checksum(&down), 0x113F_DB5C);
        assert_eq!(checksum(b"123456789"), 0xE306_9283, "the check value of its kind");
    }

    #[test]
    fn its_own_place_counts_as_zeros() {
        let header = *b"ab\x11\x22\x33\x44cd";
        assert_eq!(checksum_of_header(&header, 2), checksum(b"ab\0\0\0\0cd"));
        assert_eq!(checksum_of_header(&header, 4), checksum(b"ab\x11\x22\0\0\0\0"));
    }
}
