//! What stands behind the addresses in version 2: type, length and value, again and again (section
//! 2.2).

use super::ProxyMistake;
use super::checksum::checksum_of_header;
use super::tls::ProxiedTls;

/// The type of [`ProxyHeader::alpn`](super::ProxyHeader::alpn).
pub const ALPN: u8 = 0x01;
/// The type of [`ProxyHeader::authority`](super::ProxyHeader::authority).
pub const AUTHORITY: u8 = 0x02;
/// The type of the checksum over the whole header, CRC32C (section 2.2.3). It was checked if it is
/// there.
pub const CHECKSUM: u8 = 0x03;
/// The type of what only fills up (section 2.2.4).
pub const NOTHING: u8 = 0x04;
/// The type of [`ProxyHeader::unique_id`](super::ProxyHeader::unique_id).
pub const UNIQUE_ID: u8 = 0x05;
/// The type of [`ProxyHeader::tls`](super::ProxyHeader::tls).
pub const TLS: u8 = 0x20;
/// The type of [`ProxyHeader::namespace`](super::ProxyHeader::namespace).
pub const NAMESPACE: u8 = 0x30;

/// The longest unique id, in bytes (section 2.2.5).
pub const MAX_UNIQUE_ID: usize = 128;

/// How many bytes stand in front of a value: the type and the length.
const HEAD: usize = 3;

/// One statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Its type.
    pub number: u8,
    /// What it says.
    pub value: &'a [u8],
}

/// All of them that stand in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlvs<'a>(
    /// Once [checked](Tlvs::check): any number of whole ones.
    pub(super) &'a [u8],
);

impl<'a> Tlvs<'a> {
    /// The value of the first one of a type.
    pub(super) fn value(mut self, number: u8) -> Option<&'a [u8]> {
        self.find(|tlv| tlv.number == number).map(|tlv| tlv.value)
    }

    /// The same, of a type whose values are texts.
    pub(super) fn text(self, number: u8) -> Option<&'a str> {
        self.value(number).and_then(|value| core::str::from_utf8(value).ok())
    }

    /// Takes all of them apart. `is_known` says whether it knows a type, unless the value is not
    /// what that has; it is also told how many bytes are left behind the value.
    ///
    /// # Errors
    /// One goes on behind the end, has a wrong value, or is of a known type and not the first:
    /// about what comes twice, two readers could think differently.
    pub(super) fn check(
        mut self,
        is_known: impl Fn(Tlv<'a>, usize) -> Result<bool, ProxyMistake>,
    ) -> Result<(), ProxyMistake> {
        // A bit for each type that was there; those that are known are below 64.
        let mut seen: u64 = 0;
        while !self.0.is_empty() {
            let tlv = self.next().ok_or(ProxyMistake::TlvLength)?;
            if !is_known(tlv, self.0.len())? {
                continue;
            }
            let bit = 1u64.checked_shl(tlv.number.into()).unwrap_or(0);
            if seen & bit != 0 {
                return Err(ProxyMistake::TlvTwice(tlv.number));
            }
            seen |= bit;
        }
        Ok(())
    }
}

impl Tlv<'_> {
    /// That its type is known, if its value is right.
    pub(super) fn known_if(self, is_right: bool) -> Result<bool, ProxyMistake> {
        if is_right { Ok(true) } else { Err(ProxyMistake::TlvValue(self.number)) }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let ([number, length @ ..], rest) = self.0.split_first_chunk::<HEAD>()?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        self.0 = rest;
        Some(Tlv { number: *number, value })
    }
}

/// Checks those of a whole header, at whose end they stand.
pub(super) fn check<'a>(tlvs: Tlvs<'a>, header: &'a [u8]) -> Result<(), ProxyMistake> {
    tlvs.check(|tlv, behind| match tlv.number {
        ALPN => Ok(true),
        AUTHORITY => tlv.known_if(core::str::from_utf8(tlv.value).is_ok()),
        CHECKSUM => check_checksum(tlv, header, behind),
        UNIQUE_ID => tlv.known_if(tlv.value.len() <= MAX_UNIQUE_ID),
        TLS => ProxiedTls::check(tlv.value).map(|()| true),
        NAMESPACE => tlv.known_if(tlv.value.is_ascii()),
        _ => Ok(false),
    })
}

/// "Verify that the calculated CRC32c checksum is the same as the received CRC32c checksum. If it
/// is not, the receiver MUST treat the TCP connection providing the header as invalid."
fn check_checksum(tlv: Tlv<'_>, header: &[u8], behind: usize) -> Result<bool, ProxyMistake> {
    let Ok(received) = <[u8; 4]>::try_from(tlv.value) else { return tlv.known_if(false) };
    let at = header.len() - behind - received.len();
    let is_right = u32::from_be_bytes(received) == checksum_of_header(header, at);
    if is_right { Ok(true) } else { Err(ProxyMistake::Checksum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(tlvs: &[u8]) -> Result<(), ProxyMistake> {
        check(Tlvs(tlvs), tlvs)
    }

    #[test]
    fn they_are_taken_apart_to_the_end() {
        let tlvs = Tlvs(b"\x01\0\x02h2\xea\0\0\x02\0\x01a");
        let expected = [(ALPN, &b"h2"[..]), (0xEA, b""), (AUTHORITY, b"a")];
        assert!(tlvs.map(|tlv| (tlv.number, tlv.value)).eq(expected));
        assert_eq!((tlvs.value(0xEA), tlvs.value(0xEB)), (Some(&b""[..]), None));
        assert_eq!(tlvs.text(AUTHORITY), Some("a"));
    }

    #[test]
    fn one_that_is_cut_short_is_refused() {
        let whole = b"\x01\0\x02h2\x02\0\x01a";
        for end in 0..whole.len() {
            let expected = if matches!(end, 0 | 5) { Ok(()) } else { Err(ProxyMistake::TlvLength) };
            assert_eq!(known(&whole[..end]), expected, "{end}");
        }
        assert_eq!(known(b"\x04\xff\xff"), Err(ProxyMistake::TlvLength));
    }

    #[test]
    fn sections_2_2_1_to_2_2_7_values() {
        for (tlvs, mistake) in [
            (&b"\x02\0\x01\xff"[..], ProxyMistake::TlvValue(AUTHORITY)),
            (b"\x03\0\x03abc", ProxyMistake::TlvValue(CHECKSUM)),
            (b"\x03\0\x05abcde", ProxyMistake::TlvValue(CHECKSUM)),
            (b"\x03\0\x04abcd", ProxyMistake::Checksum),
            (b"\x20\0\x04\x01\0\0\0", ProxyMistake::TlvValue(TLS)),
            (b"\x30\0\x02\xc3\xb6", ProxyMistake::TlvValue(NAMESPACE)),
        ] {
            assert_eq!(known(tlvs), Err(mistake), "{tlvs:?}");
        }
        let unique = [&[UNIQUE_ID, 0, 128][..], &[0; 128]].concat();
        assert_eq!(known(&unique), Ok(()));
        let longer = [&[UNIQUE_ID, 0, 129][..], &[0; 129]].concat();
        assert_eq!(known(&longer), Err(ProxyMistake::TlvValue(UNIQUE_ID)));
    }

    #[test]
    fn what_is_known_comes_once_and_the_rest_as_it_likes() {
        for number in [ALPN, AUTHORITY, UNIQUE_ID, NAMESPACE] {
            let twice = [number, 0, 0, NOTHING, 0, 0, number, 0, 0];
            assert_eq!(known(&twice), Err(ProxyMistake::TlvTwice(number)));
        }
        // 0x41 and 0x42 are known types and 64.
        for number in [NOTHING, 0x00, 0x41, 0x42, 0xE0, 0xFF] {
            assert_eq!(known(&[number, 0, 0, number, 0, 0, ALPN, 0, 0]), Ok(()), "{number:#x}");
        }
    }
}
