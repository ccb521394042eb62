//! Whom a proxy has a request of, as it says in a header: `Forwarded` (RFC 7239), or
//! `X-Forwarded-For`, which is older and has no standard.
//!
//! Each proxy adds who has asked it at the end of a list. So the list is read from its end, for as
//! long as those are believed who have said it: all that stands before the first one who is not may
//! be made up, and is not even looked at. That holds for quotes as well, which one element could
//! leave open to swallow those behind it: they are found from the end, too.

use core::net::{IpAddr, SocketAddr};

use super::headers::trim;
use super::request::RequestHead;

/// A header in which proxies say whom a request is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardingHeader {
    /// `Forwarded`.
    Forwarded,
    /// `X-Forwarded-For`.
    XForwardedFor,
}

/// The most elements that are believed.
const ELEMENTS_MAX: usize = 64;

impl ForwardingHeader {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Forwarded, Self::XForwardedFor];

    /// What it is called, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::XForwardedFor => "x-forwarded-for",
        }
    }

    /// Whom a request is of that has come from somebody who is believed: the first one from the end
    /// of the list whose own word is not, by `is_believed`, or the last before what names no
    /// address. Of several lines the last comes first (RFC 9110 section 5.3). A port that is not
    /// told is 0. `None` if the end of the list names none: then it is of who has brought it, as
    /// far as is known.
    #[must_use]
    pub fn client(
        self,
        request: &RequestHead<'_>,
        is_believed: impl Fn(IpAddr) -> bool,
    ) -> Option<SocketAddr> {
        let mut client = None;
        let lines = request.header_values(self.name()).rev();
        let elements = lines.flat_map(|line| LastFirst { rest: Some(line), header: self });
        for element in elements.take(ELEMENTS_MAX) {
            let Some(address) = element.ok().and_then(|element| self.address(element)) else {
                break;
            };
            client = Some(address);
            if !is_believed(address.ip()) {
                break;
            }
        }
        client
    }

    /// The address that an element names.
    fn address(self, element: &[u8]) -> Option<SocketAddr> {
        let node = match self {
            Self::Forwarded => for_of(element)?,
            Self::XForwardedFor => element,
        };
        address(core::str::from_utf8(node).ok()?)
    }
}

/// The elements of a line from its end, without those that are empty.
struct LastFirst<'a> {
    rest: Option<&'a [u8]>,
    header: ForwardingHeader,
}

/// A quote is open where the line begins.
struct OpenQuote;

impl<'a> Iterator for LastFirst<'a> {
    type Item = Result<&'a [u8], OpenQuote>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.rest.take()?;
            let (mut start, mut is_quoted) = (0, false);
            for (at, byte) in line.iter().enumerate().rev() {
                match byte {
                    b'"' if self.header == ForwardingHeader::Forwarded => {
                        is_quoted ^= !is_escaped(&line[..at]);
                    }
                    b',' if !is_quoted => {
                        start = at + 1;
                        self.rest = Some(&line[..at]);
                        break;
                    }
                    _ => {}
                }
            }
            if is_quoted {
                return Some(Err(OpenQuote));
            }
            match trim(&line[start..]) {
                [] => {}
                element => return Some(Ok(element)),
            }
        }
    }
}

/// Whether what follows is escaped: RFC 9110 section 5.6.4: `quoted-pair = "\" ( HTAB / SP / VCHAR
/// / obs-text )`.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// RFC 7239 section 4: `forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )`, and
/// `forwarded-pair = token "=" value`, where `value = token / quoted-string`: that of `for`. "Each
/// parameter MUST NOT occur more than once per forwarded-element", and its name is
/// case-insensitive.
fn for_of(element: &[u8]) -> Option<&[u8]> {
    let (mut found, mut is_quoted, mut start) = (None, false, 0);
    for at in 0..=element.len() {
        match element.get(at) {
            Some(b'"') => is_quoted ^= !is_escaped(&element[..at]),
            Some(b';') if is_quoted => {}
            Some(b';') | None => {
                let pair = trim(&element[start..at]);
                start = at + 1;
                let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
                    if pair.is_empty() {
                        continue;
                    }
                    return None;
                };
                if pair[..equals].eq_ignore_ascii_case(b"for")
                    && found.replace(&pair[equals + 1..]).is_some()
                {
                    return None;
                }
            }
            Some(_) => {}
        }
    }
    match found? {
        [b'"', quoted @ .., b'"'] => Some(quoted),
        token => Some(token),
    }
}

/// RFC 7239 section 6: `node = nodename [ ":" node-port ]`, and a nodename is an address of IPv4,
/// one of IPv6 in brackets, `unknown` or begins with `_`. One of IPv6 without brackets is taken as
/// well, which stands for no port.
fn address(node: &str) -> Option<SocketAddr> {
    if let Ok(ip) = node.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), 0));
    }
    let (ip, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            (IpAddr::V6(ip.parse().ok()?), port)
        }
        None => {
            let at = node.find(':')?;
            (IpAddr::V4(node[..at].parse().ok()?), &node[at..])
        }
    };
    Some(SocketAddr::new(ip.to_canonical(), node_port(port)?))
}

/// Section 6: `node-port = port / obfport`, `port = 1*5DIGIT`, `obfport = "_" 1*(ALPHA / DIGIT /
/// "." / "_" / "-")`; with the colon in front, if it is there.
fn node_port(text: &str) -> Option<u16> {
    if text.is_empty() {
        return Some(0);
    }
    let port = text.strip_prefix(':')?;
    if let Some(name) = port.strip_prefix('_') {
        let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        return (!name.is_empty() && name.bytes().all(may_stand)).then_some(0);
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { port.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};

    use proptest::prelude::*;

    use super::super::{Status, parse_request};
    use super::ForwardingHeader::{Forwarded, XForwardedFor};
    use super::*;

    /// Whom a request with these lines is of, where 10.0.0.0/8 and fd00::/8 are believed.
    fn client(header: ForwardingHeader, lines: &[&str]) -> Option<String> {
        let lines: String =
            lines.iter().map(|line| format!("{}: {line}\r\n", header.name())).collect();
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Other: 9.9.9.9\r\n{lines}\r\n");
        let Ok(Status::Complete(head)) = parse_request(text.as_bytes(), 8192) else {
            panic!("no request: {text}")
        };
        let is_believed = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
        };
        header.client(&head, is_believed).map(|address| address.to_string())
    }

    #[test]
    fn the_first_from_the_end_who_is_not_believed_is_the_client() {
        for (lines, expected) in [
            (&["192.0.2.7"][..], Some("192.0.2.7:0")),
            (&["6.6.6.6, 192.0.2.7"], Some("192.0.2.7:0")),
            (&["6.6.6.6,192.0.2.7 ,\t10.0.0.1"], Some("192.0.2.7:0")),
            (&["6.6.6.6", "192.0.2.7", "10.0.0.1, 10.0.0.2"], Some("192.0.2.7:0")),
            (&["10.0.0.1, 10.0.0.2"], Some("10.0.0.1:0")),
            (&["192.0.2.7:4711"], Some("192.0.2.7:4711")),
            (&["2001:db8::7"], Some("[2001:db8::7]:0")),
            (&["[2001:db8::7]"], Some("[2001:db8::7]:0")),
            (&["[2001:db8::7]:80, fd00::1"], Some("[2001:db8::7]:80")),
            (&["::ffff:192.0.2.7"], Some("192.0.2.7:0")),
            (&["6.6.6.6, ::ffff:10.0.0.1"], Some("6.6.6.6:0")),
            (&["192.0.2.7,, ,"], Some("192.0.2.7:0")),
            (&["192.0.2.7", ""], Some("192.0.2.7:0")),
        ] {
            assert_eq!(client(XForwardedFor, lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_names_no_address_ends_the_list() {
        for wrong in [
            "unknown",
            "_hidden",
            "a.example",
            "192.0.2",
            "192.0.2.7:",
            "192.0.2.7:+1",
            "192.0.2.7:65536",
            "192.0.2.7:_",
            "192.0.2.7:80:80",
            "[2001:db8::7",
            "[192.0.2.7]",
            "[::1]80",
            "::1%eth0",
            "\"192.0.2.7\"",
            "192.0.2.7 192.0.2.8",
            "\u{e9}",
        ] {
            assert_eq!(client(XForwardedFor, &[wrong]), None, "{wrong}");
            let behind = format!("6.6.6.6, {wrong}, 10.0.0.9");
            assert_eq!(client(XForwardedFor, &[&behind]).as_deref(), Some("10.0.0.9:0"), "{wrong}");
        }
        assert_eq!(client(XForwardedFor, &[]), None);
        assert_eq!(client(XForwardedFor, &[","]), None);
    }

    /// RFC 7239 section 4 has these, among others.
    #[test]
    fn elements_of_forwarded() {
        for (lines, expected) in [
            (&["for=192.0.2.43"][..], Some("192.0.2.43:0")),
            (&["For=\"[2001:db8:cafe::17]:4711\""], Some("[2001:db8:cafe::17]:4711")),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], Some("192.0.2.60:0")),
            (&["by=\"a;b,c\"; FOR=\"192.0.2.60:80\" ;proto=http"], Some("192.0.2.60:80")),
            (&["for=192.0.2.43, for=198.51.100.17"], Some("198.51.100.17:0")),
            (&["for=192.0.2.43", "for=10.1.1.1"], Some("192.0.2.43:0")),
            (&["for=\"192.0.2.43:_gazonk\""], Some("192.0.2.43:0")),
            (&["for=\"_gazonk\""], None),
            (&["for=unknown"], None),
            (&["proto=https"], None),
            (&["for=192.0.2.1;for=192.0.2.2"], None),
            (&["192.0.2.1"], None),
            (&["for=192.0.2.1;nothing"], None),
            (&["for=\"192.0.2.1"], None),
            (&["for=\"192\\.0.2.1\""], None),
            (&["for=6.6.6.6, for=unknown, for=10.0.0.1"], Some("10.0.0.1:0")),
        ] {
            assert_eq!(client(Forwarded, lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn an_open_quote_hides_nobody() {
        for made_up in ["for=\"", "for=\"x", "x=\"\\\"", "\"", "for=6.6.6.6;x=\"", "for=\"\\"] {
            let line = format!("{made_up}, for=192.0.2.7");
            assert_eq!(client(Forwarded, &[&line]).as_deref(), Some("192.0.2.7:0"), "{line}");
            let line = format!("{made_up}, for=\"10.0.0.1\";by=\"a,b\"");
            assert_eq!(client(Forwarded, &[&line]).as_deref(), Some("10.0.0.1:0"), "{line}");
        }
    }

    proptest! {
        /// Whatever a client has sent, what its proxy adds is what counts.
        #[test]
        fn what_is_in_front_makes_no_difference(made_up in "[ -~]{0,60}") {
            let expected = Some("192.0.2.7:0".to_string());
            let line = format!("{made_up}, 192.0.2.7");
            prop_assert_eq!(client(XForwardedFor, &[&line]), expected.clone());
            let line = format!("{made_up}, for=192.0.2.7;by=\"_x\"");
            prop_assert_eq!(client(Forwarded, &[&line]), expected);
        }
    }
}
