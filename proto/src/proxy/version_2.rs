//! Version 2: bytes (section 2.2).

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::tlv::{self, Tlvs};
use super::{Endpoints, ProxyHeader, ProxyMistake, ProxyParsed};

/// What a header begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// How many bytes each header has: the signature, version and command, family and transport, and
/// the length of the rest.
pub(super) const FIXED: usize = 16;

/// Version 2 and the command LOCAL.
pub(super) const LOCAL: u8 = 0x20;
/// Version 2 and the command PROXY.
pub(super) const PROXY: u8 = 0x21;

/// How many bytes there are of the address of a Unix socket.
pub(super) const UNIX_ADDRESS: usize = 108;

/// Of which family the addresses are, together with what carries the connection.
#[derive(Clone, Copy)]
pub(super) enum AddressFamily {
    Unspecified = 0x00,
    Tcp4 = 0x11,
    Tcp6 = 0x21,
    Unix = 0x31,
}

/// Reads a header of at most `most` bytes, whose signature is right as far as it is there.
pub(super) fn parse(bytes: &[u8], most: usize) -> Result<ProxyParsed<'_>, ProxyMistake> {
    let Some(&command) = bytes.get(SIGNATURE.len()) else { return Ok(ProxyParsed::Incomplete) };
    let is_local = match command {
        LOCAL => true,
        PROXY => false,
        // "It must always be sent as \x2 and the receiver must only accept this value."
        _ if command >> 4 != 2 => return Err(ProxyMistake::Version),
        // "Receivers must drop connections presenting unexpected values here."
        _ => return Err(ProxyMistake::Command),
    };
    let Some(&family) = bytes.get(SIGNATURE.len() + 1) else { return Ok(ProxyParsed::Incomplete) };
    // Of LOCAL, the receiver must "discard the protocol block including the family which is
    // ignored". Without a family it is not known where TLVs would begin, so there are none.
    let family = if is_local { None } else { Some(AddressFamily::parse(family)?) };
    let Some(length) = length(bytes, most)? else { return Ok(ProxyParsed::Incomplete) };
    if length - FIXED < family.map_or(0, AddressFamily::size) {
        return Err(ProxyMistake::TooShort);
    }
    // "The receiver must not start to parse an address before the whole address block is received."
    let Some(whole) = bytes.get(..length) else { return Ok(ProxyParsed::Incomplete) };
    let header = match family {
        None => ProxyHeader { endpoints: Endpoints::Local, tlvs: Tlvs(&[]) },
        Some(family) => {
            let (addresses, tlvs) = whole[FIXED..].split_at(family.size());
            tlv::check(Tlvs(tlvs), whole)?;
            ProxyHeader { endpoints: family.endpoints(addresses), tlvs: Tlvs(tlvs) }
        }
    };
    Ok(ProxyParsed::Whole { length, header })
}

/// How long the whole header is, as soon as that is there. It may be too much before that.
fn length(bytes: &[u8], most: usize) -> Result<Option<usize>, ProxyMistake> {
    let place = bytes.get(FIXED - 2..).unwrap_or_default();
    let length = FIXED
        + match *place {
            [] => return Ok(None),
            [high] => usize::from(high) << 8,
            [high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
        };
    if length > most {
        return Err(ProxyMistake::TooLong);
    }
    Ok((place.len() >= 2).then_some(length))
}

impl AddressFamily {
    /// Of others that there are, a receiver "is free to accept the connection anyway and use the
    /// real endpoint addresses or to reject it". Of those that there are not, they "must be
    /// rejected as invalid".
    fn parse(byte: u8) -> Result<Self, ProxyMistake> {
        match byte {
            0x00 => Ok(Self::Unspecified),
            0x11 => Ok(Self::Tcp4),
            0x21 => Ok(Self::Tcp6),
            0x31 => Ok(Self::Unix),
            0x12 | 0x22 | 0x32 => Err(ProxyMistake::Datagram),
            _ => Err(ProxyMistake::Family),
        }
    }

    /// How many bytes both addresses have.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Tcp4 => 2 * 4 + 2 * 2,
            Self::Tcp6 => 2 * 16 + 2 * 2,
            Self::Unix => 2 * UNIX_ADDRESS,
        }
    }

    /// The addresses, of which all bytes are there.
    fn endpoints(self, addresses: &[u8]) -> Endpoints<'_> {
        match self {
            Self::Unspecified => Endpoints::Unknown,
            Self::Tcp4 => tcp::<4, Ipv4Addr>(addresses),
            Self::Tcp6 => tcp::<16, Ipv6Addr>(addresses),
            Self::Unix => {
                let (source, destination) = addresses.split_at(UNIX_ADDRESS);
                Endpoints::Unix { source: trimmed(source), destination: trimmed(destination) }
            }
        }
    }
}

/// "Source layer 3 address, destination layer 3 address, source layer 4 address, destination layer
/// 4 address", all "in network byte order".
fn tcp<'a, const SIZE: usize, A>(addresses: &'a [u8]) -> Endpoints<'a>
where
    A: From<[u8; SIZE]> + Into<core::net::IpAddr>,
{
    let mut rest = addresses;
    let [source, destination] = [take::<SIZE>(&mut rest), take::<SIZE>(&mut rest)];
    let ports = [take(&mut rest), take(&mut rest)].map(u16::from_be_bytes);
    Endpoints::Tcp {
        source: SocketAddr::new(A::from(source).into(), ports[0]),
        destination: SocketAddr::new(A::from(destination).into(), ports[1]),
    }
}

/// The next bytes.
fn take<const SIZE: usize>(rest: &mut &[u8]) -> [u8; SIZE] {
    let (taken, behind) = rest.split_first_chunk().expect("the size of the family is their sum");
    *rest = behind;
    *taken
}

/// A path ends before its first zero. An abstract address begins with one, and has a length of its
/// own, which is not sent.
fn trimmed(address: &[u8]) -> &[u8] {
    let is_zero = |byte: &u8| *byte == 0;
    let end = match address {
        [0, ..] => address.iter().rposition(|byte| !is_zero(byte)).map_or(0, |last| last + 1),
        _ => address.iter().position(is_zero).unwrap_or(address.len()),
    };
    &address[..end]
}

#[cfg(test)]
mod tests {
    use super::super::MOST;
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn whole(bytes: &[u8]) -> Result<ProxyHeader<'_>, ProxyMistake> {
        match parse(bytes, MOST)? {
            ProxyParsed::Whole { length, header } => {
                assert_eq!(length, bytes.len());
                Ok(header)
            }
            ProxyParsed::Incomplete => panic!("{bytes:?} is all there"),
        }
    }

    fn endpoints(command: u8, family: u8, rest: &[u8]) -> Result<Endpoints<'static>, ProxyMistake> {
        // For the rest of the test.
        let bytes = Vec::leak(header(command, family, rest));
        whole(bytes).map(|header| header.endpoints)
    }

    #[test]
    fn section_2_2_addresses_of_each_family() {
        let [source, destination] =
            ["172.19.0.1:42578", "172.19.0.3:80"].map(|text| text.parse().unwrap());
        let bytes = b"\xac\x13\0\x01\xac\x13\0\x03\xa6\x52\0\x50";
        assert_eq!(endpoints(PROXY, 0x11, bytes), Ok(Endpoints::Tcp { source, destination }));

        let [source, destination] =
            ["[2001:db8::1]:258", "[::2]:65535"].map(|text| text.parse().unwrap());
        let bytes = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
            \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\x01\x02\xff\xff";
        assert_eq!(endpoints(PROXY, 0x21, bytes), Ok(Endpoints::Tcp { source, destination }));

        assert_eq!(endpoints(PROXY, 0x00, b""), Ok(Endpoints::Unknown));
    }

    #[test]
    fn section_2_2_addresses_of_unix_sockets() {
        let full = [b'x'; UNIX_ADDRESS];
        for (address, expected) in [
            (&b"/run/a\0left over"[..], &b"/run/a"[..]),
            (b"\0a\0b", b"\0a\0b"),
            (b"", b""),
            (&full, &full),
        ] {
            let mut addresses = [0; 2 * UNIX_ADDRESS];
            addresses[..address.len()].copy_from_slice(address);
            addresses[UNIX_ADDRESS..][..2].copy_from_slice(b"/d");
            let unix = Endpoints::Unix { source: expected, destination: b"/d" };
            assert_eq!(endpoints(PROXY, 0x31, &addresses), Ok(unix));
        }
    }

    #[test]
    fn section_2_2_local_is_skipped_whatever_it_says() {
        for family in 0..=u8::MAX {
            for rest in [&b""[..], b"\x01", b"\x03\0\x04abcd", &[0xFF; 300]] {
                assert_eq!(endpoints(LOCAL, family, rest), Ok(Endpoints::Local));
                assert_eq!(whole(&header(LOCAL, family, rest)).unwrap().tlvs().count(), 0);
            }
        }
    }

    #[test]
    fn section_2_2_unassigned_values_are_refused() {
        for command in (0..=u8::MAX).filter(|command| !matches!(command, 0x20 | 0x21)) {
            let is_version = command >> 4 == 2;
            let mistake = if is_version { ProxyMistake::Command } else { ProxyMistake::Version };
            assert_eq!(endpoints(command, 0, b""), Err(mistake), "{command:#x}");
        }
        for family in (0..=u8::MAX).filter(|family| !matches!(family, 0 | 0x11 | 0x21 | 0x31)) {
            let is_datagram = matches!(family, 0x12 | 0x22 | 0x32);
            let mistake = if is_datagram { ProxyMistake::Datagram } else { ProxyMistake::Family };
            assert_eq!(endpoints(PROXY, family, &[0; 216]), Err(mistake), "{family:#x}");
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_not_waited_for() {
        for (family, size) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
            let short = header(PROXY, family, &vec![0; size - 1]);
            assert_eq!(parse(&short[..15], MOST), Ok(ProxyParsed::Incomplete));
            assert_eq!(parse(&short[..16], MOST), Err(ProxyMistake::TooShort), "{family:#x}");
            assert!(whole(&header(PROXY, family, &vec![0; size])).is_ok(), "{family:#x}");
        }
        for command in [LOCAL, PROXY] {
            let long = header(command, 0, &[0; 521]);
            assert_eq!(parse(&long[..15], MOST), Ok(ProxyParsed::Incomplete));
            assert_eq!(parse(&long[..16], MOST), Err(ProxyMistake::TooLong));
            // The first of two bytes is enough.
            assert_eq!(
                parse(&header(command, 0, &[0; 768])[..15], MOST),
                Err(ProxyMistake::TooLong)
            );
            let longest = header(LOCAL, 0, &[0; 520]);
            assert!(whole(&longest).is_ok());
            assert_eq!(parse(&longest, MOST - 1), Err(ProxyMistake::TooLong));
        }
    }

    #[test]
    fn section_2_2_3_a_checksum_is_checked_over_all_of_the_header() {
        // Of TCP over IPv4, with a name on either side of the checksum.
        let rest = b"\x7f\0\0\x01\x7f\0\0\x02\x04\xd2\x16\x2e\
            \x02\0\x01a\x03\0\x04\x00\x00\x00\x00\x05\0\x01b";
        let mut bytes = header(PROXY, 0x11, rest);
        assert_eq!(whole(&bytes), Err(ProxyMistake::Checksum));
        let sum = super::super::checksum::checksum(&bytes);
        bytes[35..39].copy_from_slice(&sum.to_be_bytes());
        let header = whole(&bytes).unwrap();
        assert_eq!((header.authority(), header.unique_id()), (Some("a"), Some(&b"b"[..])));
        // What can be changed without being another mistake.
        for at in (16..28).chain([31, 35, 36, 37, 38, 42]) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x01;
            assert_eq!(whole(&changed), Err(ProxyMistake::Checksum), "{at}");
        }
    }
}
