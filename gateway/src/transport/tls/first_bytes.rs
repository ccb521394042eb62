//! What a connection begins with: TLS, or something else whose peer can be told so.

use rustls::CipherSuite;

/// The head of a record: content type, version, length (RFC 8446, 5.1).
pub(super) const HEAD: usize = 5;

/// The content types of records.
pub(super) const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The level of an alert behind which nothing follows (RFC 8446, 6; RFC 5246, 7.2).
pub(super) const FATAL: u8 = 2;

/// What a header of the PROXY protocol begins with: that is no request.
const PROXY: &[u8] = b"PROXY ";

/// No method of HTTP that anybody uses is longer.
const LONGEST_METHOD: usize = 16;

/// What the first bytes of a connection are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// There are too few to know.
    TooFew,
    /// A record of TLS, whose head is complete.
    Tls,
    /// A request by HTTP, in plain.
    Http,
    /// The hello of SSL 2.0, which some scanners and very old clients send.
    Sslv2,
    /// Nothing that is known.
    Other,
}

impl FirstBytes {
    /// What these are of.
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::TooFew,
            // The highest bit of SSLv2's length is set; then come a hello's type, and a version.
            [0x80..=0xff, rest @ ..] => match rest {
                [] | [_] | [_, 1] => Self::TooFew,
                [_, 1, 0 | 2 | 3, ..] => Self::Sslv2,
                _ => Self::Other,
            },
            [b'A'..=b'Z', ..] => Self::of_letters(bytes),
            // An alert may come in front of a hello: of a client that has changed its mind.
            [HANDSHAKE | ALERT, rest @ ..] => match rest {
                [] => Self::TooFew,
                [3, ..] if bytes.len() < HEAD => Self::TooFew,
                [3, ..] => Self::Tls,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// A method, and the blank behind it.
    fn of_letters(bytes: &[u8]) -> Self {
        if bytes.starts_with(PROXY) {
            return Self::Other;
        }
        match bytes.iter().take(LONGEST_METHOD).position(|letter| !letter.is_ascii_uppercase()) {
            Some(at) if bytes[at] == b' ' => Self::Http,
            None if bytes.len() < LONGEST_METHOD => Self::TooFew,
            _ => Self::Other,
        }
    }
}

/// Whether a ClientHello that is the whole of the first record's beginning has ChaCha20 in front of
/// all other suites, as those have it who cannot compute AES fast. What is not such a hello does
/// not: rustls says what is wrong with it.
pub(super) fn prefers_chacha(record: &[u8]) -> bool {
    let first = suites(record).and_then(|mut suites| suites.find(|suite| !is_grease(*suite)));
    first.is_some_and(|first| is_chacha(first.into()))
}

/// Whether a suite seals by ChaCha20.
pub(super) fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// The suites of a hello (RFC 8446, 4.1.2), as many as are in its first record.
fn suites(record: &[u8]) -> Option<impl Iterator<Item = u16>> {
    // Type and length of the message, version, random.
    let hello = record.get(HEAD..)?.get(4 + 2 + 32..)?;
    let (&session, rest) = hello.split_first()?;
    let (length, rest) = rest.get(usize::from(session)..)?.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    Some(rest[..length].as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)))
}

/// "GREASE" values (RFC 8701) mean nothing, and browsers have one of them in front.
fn is_grease(suite: u16) -> bool {
    suite & 0x0f0f == 0x0a0a && suite >> 8 == suite & 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_told_apart() {
        let is = |bytes: &[u8], what| assert_eq!(FirstBytes::of(bytes), what, "{bytes:?}");
        is(b"", FirstBytes::TooFew);
        is(b"\x16\x03\x01\x00", FirstBytes::TooFew);
        is(b"\x16\x03\x01\x00\x05", FirstBytes::Tls);
        is(b"\x15\x03\x01\x00\x02", FirstBytes::Tls);
        is(b"\x16\x04", FirstBytes::Other);
        is(b"\x17\x03\x03\x00\x05", FirstBytes::Other);
        is(b"GE", FirstBytes::TooFew);
        is(b"GET / HTTP/1.1", FirstBytes::Http);
        is(b"PROPFIND /", FirstBytes::Http);
        is(b"PRI * HTTP/2.0", FirstBytes::Http);
        is(b"SSH-2.0-OpenSSH", FirstBytes::Other);
        is(b"PROXY TCP4 ", FirstBytes::Other);
        is(b"ABCDEFGHIJKLMNOP", FirstBytes::Other);
        is(b"\x80\x2e", FirstBytes::TooFew);
        is(b"\x80\x2e\x01\x00\x02", FirstBytes::Sslv2);
        is(b"\x80\x2e\x01\x03\x01", FirstBytes::Sslv2);
        is(b"\x80\x2e\x02\x03\x01", FirstBytes::Other);
        is(b"\x00\x00\x00", FirstBytes::Other);
    }

    /// A hello with these suites, as its record has it.
    fn hello(suites: &[u16]) -> Vec<u8> {
        let mut record = vec![22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3];
        record.extend([7; 32]);
        record.extend([2, 9, 9]);
        record.extend(u16::try_from(2 * suites.len()).expect("few").to_be_bytes());
        record.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
        record
    }

    #[test]
    fn who_prefers_chacha20_is_known_by_the_first_suite() {
        assert!(prefers_chacha(&hello(&[0x1303, 0x1301])));
        assert!(prefers_chacha(&hello(&[0x2a2a, 0xcca9])), "behind GREASE");
        assert!(!prefers_chacha(&hello(&[0x1301, 0x1303])));
        assert!(!prefers_chacha(&hello(&[])));
        let whole = hello(&[0x1303]);
        for length in 0..whole.len() {
            assert!(!prefers_chacha(&whole[..length]), "{length} bytes");
        }
    }
}
