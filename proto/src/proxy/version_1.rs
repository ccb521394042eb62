//! Version 1: a line of text (section 2.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use super::tlv::Tlvs;
use super::{Endpoints, MAX_LINE, ProxyHeader, ProxyMistake, ProxyParsed};

/// What a line begins with.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// What a line may be of.
const PROTOCOLS: [&[u8]; 3] = [b"TCP4", b"TCP6", b"UNKNOWN"];

/// Whatever the beginning of an address is, behind one of these it is an address.
const ENDS_OF_ADDRESSES: [&str; 11] =
    ["", "0", ".0", ".0.0", ".0.0.0", "0.0", "0.0.0", "0.0.0.0", ":", "::", ":0"];

/// The longest text of an address with an end of those above, in bytes; the longest of all
/// addresses has 45.
const MAX_ADDRESS: usize = 56;

/// Reads a line, whose signature is right as far as it is there.
pub(super) fn parse(bytes: &[u8]) -> Result<ProxyParsed<'_>, ProxyMistake> {
    let line = HeaderLine::parse(bytes)?;
    let Some(fields) = line.text.get(SIGNATURE.len()..) else {
        // Not all of the signature is there.
        return if line.has_ended {
            Err(ProxyMistake::NoHeader)
        } else {
            Ok(ProxyParsed::Incomplete)
        };
    };
    let mut fields = HeaderFields { rest: Some(fields), are_all: line.has_ended };
    match (endpoints(&mut fields)?, line.length) {
        (Some(endpoints), Some(length)) => {
            let header = ProxyHeader { endpoints, tlvs: Tlvs(&[]) };
            Ok(ProxyParsed::Whole { length, header })
        }
        _ => Ok(ProxyParsed::Incomplete),
    }
}

/// A line as far as it has come.
struct HeaderLine<'a> {
    /// Without its end.
    text: &'a [u8],
    /// Whether the text is all there.
    has_ended: bool,
    /// Once its end is all there: its length with it.
    length: Option<usize>,
}

impl<'a> HeaderLine<'a> {
    /// "If the CRLF sequence is not found in the first 107 characters, the receiver should declare
    /// the line invalid." And it "must not tolerate a single CR or LF character to end the line".
    fn parse(bytes: &'a [u8]) -> Result<Self, ProxyMistake> {
        let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let text = &bytes[..end.unwrap_or(bytes.len())];
        // Where the text is as long as a line may be, its end does not fit any more.
        if text.len() > MAX_LINE - 2 {
            return Err(ProxyMistake::LineTooLong);
        }
        match bytes[text.len()..] {
            [] => Ok(Self { text, has_ended: false, length: None }),
            [b'\r'] => Ok(Self { text, has_ended: true, length: None }),
            [b'\r', b'\n', ..] => Ok(Self { text, has_ended: true, length: Some(text.len() + 2) }),
            _ => Err(ProxyMistake::LineEnd),
        }
    }
}

/// What a line says, once its text is all there; before that, whether it can become right.
fn endpoints<'a>(fields: &mut HeaderFields<'a>) -> Result<Option<Endpoints<'a>>, ProxyMistake> {
    match fields.next()? {
        HeaderField::Whole(b"TCP4") => tcp::<Ipv4Addr>(fields),
        HeaderField::Whole(b"TCP6") => tcp::<Ipv6Addr>(fields),
        // "The receiver must ignore anything presented before the CRLF is found."
        HeaderField::Whole(b"UNKNOWN") => Ok(Some(Endpoints::Unknown)),
        HeaderField::Begun(begun) if PROTOCOLS.iter().any(|known| known.starts_with(begun)) => {
            Ok(None)
        }
        _ => Err(ProxyMistake::LineProtocol),
    }
}

fn tcp<'a, A: FromStr + Into<IpAddr>>(
    fields: &mut HeaderFields<'a>,
) -> Result<Option<Endpoints<'a>>, ProxyMistake> {
    let Some(source) = fields.address::<A>()? else { return Ok(None) };
    let Some(destination) = fields.address::<A>()? else { return Ok(None) };
    let Some(source_port) = fields.port()? else { return Ok(None) };
    let Some(destination_port) = fields.port()? else { return Ok(None) };
    if fields.rest.is_some() {
        return Err(ProxyMistake::LineFields);
    }
    let source = SocketAddr::new(source.into(), source_port);
    let destination = SocketAddr::new(destination.into(), destination_port);
    Ok(Some(Endpoints::Tcp { source, destination }))
}

/// The fields of a line: there is "exactly one space" between two.
struct HeaderFields<'a> {
    /// `None` behind the last one.
    rest: Option<&'a [u8]>,
    /// Whether there will be no more than that.
    are_all: bool,
}

/// One of them.
enum HeaderField<'a> {
    Whole(&'a [u8]),
    /// The line has not come any further.
    Begun(&'a [u8]),
}

impl<'a> HeaderFields<'a> {
    fn next(&mut self) -> Result<HeaderField<'a>, ProxyMistake> {
        let rest = self.rest.take().ok_or(ProxyMistake::LineFields)?;
        let space = rest.iter().position(|byte| *byte == b' ');
        if let Some(space) = space {
            self.rest = Some(&rest[space + 1..]);
            Ok(HeaderField::Whole(&rest[..space]))
        } else if self.are_all {
            Ok(HeaderField::Whole(rest))
        } else {
            Ok(HeaderField::Begun(rest))
        }
    }

    fn address<A: FromStr>(&mut self) -> Result<Option<A>, ProxyMistake> {
        let found = match self.next()? {
            HeaderField::Whole(text) => address(text, "").map(Some),
            HeaderField::Begun(text) => {
                ENDS_OF_ADDRESSES.iter().find_map(|end| address::<A>(text, end)).map(|_| None)
            }
        };
        found.ok_or(ProxyMistake::LineAddress)
    }

    fn port(&mut self) -> Result<Option<u16>, ProxyMistake> {
        let found = match self.next()? {
            HeaderField::Whole(text) => port(text).map(Some),
            HeaderField::Begun(text) => (text.is_empty() || port(text).is_some()).then_some(None),
        };
        found.ok_or(ProxyMistake::LinePort)
    }
}

/// The address that `begin` and `end` are together. "Exactly 4 integers in the range [0..255]";
/// "heading zeroes are not permitted in front of numbers". Of version 6, "sets of 4 hexadecimal
/// digits" with "one double colon sequence"; the last two sets may be written as of version 4, as
/// all do for addresses that stand for one of those.
fn address<A: FromStr>(begin: &[u8], end: &str) -> Option<A> {
    let mut text = [0; MAX_ADDRESS];
    let length = begin.len() + end.len();
    text.get_mut(..begin.len())?.copy_from_slice(begin);
    text.get_mut(begin.len()..length)?.copy_from_slice(end.as_bytes());
    core::str::from_utf8(&text[..length]).ok()?.parse().ok()
}

/// "A decimal integer in the range [0..65535] inclusive. Heading zeroes are not permitted."
fn port(text: &[u8]) -> Option<u16> {
    let is_canonical = match text {
        [b'0', _, ..] => false,
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    core::str::from_utf8(text).ok().filter(|_| is_canonical)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(line: &[u8]) -> Result<Endpoints<'_>, ProxyMistake> {
        match parse(line)? {
            ProxyParsed::Whole { length, header } => {
                assert_eq!((length, header.tlvs.count()), (line.len(), 0));
                Ok(header.endpoints)
            }
            ProxyParsed::Incomplete => panic!("{line:?} is all there"),
        }
    }

    fn tcp(source: &str, destination: &str) -> Result<Endpoints<'static>, ProxyMistake> {
        let [source, destination] = [source, destination].map(|text| text.parse().unwrap());
        Ok(Endpoints::Tcp { source, destination })
    }

    #[test]
    fn section_2_1_examples_and_worst_cases() {
        assert_eq!(
            whole(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
            tcp("192.168.0.1:56324", "192.168.0.11:443")
        );
        assert_eq!(
            whole(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
            tcp("255.255.255.255:65535", "255.255.255.255:65535")
        );
        let longest = "ffff:ffff:ffff:ffff:FFFF:ffff:ffff:ffff";
        let line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
        assert_eq!(line.len(), 104);
        let end = format!("[{longest}]:65535");
        assert_eq!(whole(line.as_bytes()), tcp(&end, &end));
        let line = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!((line.len(), whole(line.as_bytes())), (MAX_LINE, Ok(Endpoints::Unknown)));
        assert_eq!(whole(b"PROXY UNKNOWN\r\n"), Ok(Endpoints::Unknown));
        assert_eq!(whole(b"PROXY UNKNOWN \0 \xff\r\n"), Ok(Endpoints::Unknown));
    }

    #[test]
    fn section_2_1_addresses_of_version_6() {
        for (text, same) in [
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
            ("0001:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
            ("::ffff:192.0.2.1", "::ffff:c000:201"),
        ] {
            let line = format!("PROXY TCP6 {text} ::1 0 1\r\n");
            assert_eq!(whole(line.as_bytes()), tcp(&format!("[{same}]:0"), "[::1]:1"), "{text}");
        }
    }

    #[test]
    fn section_2_1_what_does_not_match_exactly() {
        use ProxyMistake::{LineAddress, LineEnd, LineFields, LinePort, LineProtocol, NoHeader};
        for (line, mistake) in [
            ("PROXY\r\n", NoHeader),
            ("PROXY \r\n", LineProtocol),
            ("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", LineProtocol),
            ("PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n", LineProtocol),
            ("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", LineProtocol),
            ("PROXY TCP4\t1.1.1.1 2.2.2.2 1 2\r\n", LineProtocol),
            ("PROXY UNKNOWNS\r\n", LineProtocol),
            ("PROXY TCP4\r\n", LineFields),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", LineFields),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", LineFields),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", LineFields),
            ("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", LineAddress),
            ("PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", LineAddress),
            ("PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", LineAddress),
            ("PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n", LineAddress),
            ("PROXY TCP4 ::1 2.2.2.2 1 2\r\n", LineAddress),
            ("PROXY TCP4 1.1.1.1 ::2 1 2\r\n", LineAddress),
            ("PROXY TCP6 1.1.1.1 ::2 1 2\r\n", LineAddress),
            ("PROXY TCP6 ::1::2 ::2 1 2\r\n", LineAddress),
            ("PROXY TCP6 1:2:3:4:5:6:7 ::2 1 2\r\n", LineAddress),
            ("PROXY TCP6 ::00001 ::2 1 2\r\n", LineAddress),
            ("PROXY TCP6 [::1] ::2 1 2\r\n", LineAddress),
            ("PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n", LineAddress),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n", LinePort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 02\r\n", LinePort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 00 2\r\n", LinePort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", LinePort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n", LinePort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2  2\r\n", LinePort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n", LinePort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", LineEnd),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n", LineEnd),
            ("PROXY UNKNOWN a\nb\r\n", LineEnd),
            ("PROXY UNKNOWN a\rb\r\n", LineEnd),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(mistake), "{line:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_end_in_time_is_not_waited_for() {
        let line = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        for length in 0..=MAX_LINE - 2 {
            assert_eq!(parse(&line[..length]), Ok(ProxyParsed::Incomplete), "{length}");
        }
        assert_eq!(parse(&line[..MAX_LINE - 1]), Err(ProxyMistake::LineTooLong));
        let longest = [&line[..MAX_LINE - 2], b"\r\n"].concat();
        assert_eq!(whole(&longest), Ok(Endpoints::Unknown));
        assert_eq!(parse(&longest[..MAX_LINE - 1]), Ok(ProxyParsed::Incomplete));
        let longer = [&line[..MAX_LINE - 1], b"\r\n"].concat();
        assert_eq!(parse(&longer), Err(ProxyMistake::LineTooLong));
    }

    #[test]
    fn what_nothing_could_mend_is_told_at_its_byte() {
        // Each is right without its last byte.
        for line in [
            "PROXY TCP7",
            "PROXY TCP44",
            "PROXY UNKNOWNS",
            "PROXY TCP4 .",
            "PROXY TCP4 256",
            "PROXY TCP4 01",
            "PROXY TCP4 1..",
            "PROXY TCP4 1.2 ",
            "PROXY TCP4 1.2.3.4.",
            "PROXY TCP4 1.2.3.4 2001",
            "PROXY TCP6 g",
            "PROXY TCP6 12345",
            "PROXY TCP6 1::2::",
            "PROXY TCP6 ::1:2:3:4:5:6:7:",
            "PROXY TCP6 1:2:3:4:5:6:7:8:",
            "PROXY TCP6 1:2:3:4:5:7.",
            "PROXY TCP6 1:2:3:4:5:6:7:8.",
            "PROXY TCP6 ::1.2.3.4:",
            "PROXY TCP6 1 ",
            "PROXY TCP4 1.2.3.4 5.6.7.8 65536",
            "PROXY TCP4 1.2.3.4 5.6.7.8 00",
            "PROXY TCP4 1.2.3.4 5.6.7.8  ",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ",
        ] {
            let (before, _) = line.split_at(line.len() - 1);
            let is_mended = parse(before.as_bytes()) == Ok(ProxyParsed::Incomplete);
            assert!(is_mended, "{before:?}: {:?}", parse(before.as_bytes()));
            assert!(parse(line.as_bytes()).is_err(), "{line:?}");
        }
    }
}
