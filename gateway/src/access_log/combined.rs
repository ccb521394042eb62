//! Lines of the combined format, as Apache's httpd and nginx write them:
//!
//! `192.0.2.1 - ada [30/Nov/2026:12:00:00 +0000] "GET /a HTTP/1.1" 101 17 "-" "curl/8"`
//!
//! Peer, `-`, user, the time of the end, the request, its status, the bytes that were said, the
//! page that has asked, and the peer's program; `-` for what is not known.

use std::fmt;
use std::io::Write;

use super::record::AccessRecord;
use crate::hub::CalendarTime;
use crate::kernel::Peer;
use crate::names::Name;
use crate::protocol::asked::AskedFor;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Adds a line.
pub(super) fn write(record: &AccessRecord, line: &mut Vec<u8>) {
    let asked = record.asked.as_deref();
    let peer = match record.peer {
        Some(Peer::Ip(address)) => address.ip().to_string(),
        // As nginx calls them.
        Some(Peer::Unix { .. }) => "unix:".into(),
        Some(Peer::Unknown) | None => "-".into(),
    };
    let user = Word(record.user.as_ref().map(Name::as_str));
    let time = record.at.as_secs();
    let request = asked.map(|asked| {
        let parts = [asked.method(), " ", asked.path(), " ", asked.version()];
        parts.map(Escaped)
    });
    // A vector takes all.
    let _ = write!(line, "{peer} - {user} [{}] \"", ClfTime(time));
    match request {
        Some(parts) => parts.iter().for_each(|part| _ = write!(line, "{part}")),
        None => line.push(b'-'),
    }
    let referer = Escaped(asked.and_then(AskedFor::referer).unwrap_or("-"));
    let agent = Escaped(asked.and_then(AskedFor::agent).unwrap_or("-"));
    let (status, bytes) = (Number(record.status.map(u64::from)), Number(record.bytes_out));
    let _ = writeln!(line, "\" {status} {bytes} \"{referer}\" \"{agent}\"");
}

/// A number, if it is known.
struct Number(Option<u64>);

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(out),
            None => out.write_str("-"),
        }
    }
}

/// A text between quotes: what is not visible ASCII, a quote and a backslash are `\xHH`, by byte.
struct Escaped<'t>(&'t str);

/// The same without quotes, in which there is no space either.
struct Word<'t>(Option<&'t str>);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, |byte| byte == b' ', out)
    }
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0.unwrap_or("-"), |_| false, out)
    }
}

fn escape(text: &str, is_too: fn(u8) -> bool, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') || is_too(byte);
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
        // What stands before it is ASCII.
        out.write_str(&rest[..at])?;
        let letter = rest[at..].chars().next().map_or(1, char::len_utf8);
        for byte in rest[at..at + letter].bytes() {
            write!(out, "\\x{byte:02X}")?;
        }
        rest = &rest[at + letter..];
    }
    out.write_str(rest)
}

/// Seconds since 1970, as these formats have them.
struct ClfTime(u64);

impl fmt::Display for ClfTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `2026-11-30T12:00:00.000Z`, whose digits have fixed places.
        let text = CalendarTime(std::time::Duration::from_secs(self.0)).to_string();
        let month = text[5..7].parse::<usize>().ok().and_then(|month| MONTHS.get(month - 1));
        let month = month.copied().unwrap_or("-");
        write!(out, "{}/{month}/{}:{} +0000", &text[8..10], &text[..4], &text[11..19])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(record: &AccessRecord) -> String {
        let mut line = Vec::new();
        write(record, &mut line);
        String::from_utf8(line).expect("ASCII")
    }

    #[test]
    fn it_is_as_web_servers_have_it() {
        let head = b"GET /a?token=b HTTP/1.1\r\nHost: h\r\nReferer: https://r.test/x?y\r\n\
                     User-Agent: curl/8 (x)\r\n\r\n";
        let record = AccessRecord { user: Name::new("ada").ok(), ..AccessRecord::of(head) };
        let expected = "192.0.2.1 - ada [30/Nov/2026:00:53:20 +0000] \"GET /a HTTP/1.1\" 404 34 \
                        \"https://r.test/x\" \"curl/8 (x)\"\n";
        assert_eq!(said(&record), expected);
        let bare = AccessRecord {
            asked: None,
            peer: None,
            status: None,
            bytes_out: None,
            ..AccessRecord::of(head)
        };
        assert_eq!(said(&bare), "- - - [30/Nov/2026:00:53:20 +0000] \"-\" - - \"-\" \"-\"\n");
        let peer = Some(Peer::Unix { pid: 1, uid: 2, gid: 3 });
        assert!(said(&AccessRecord { peer, ..bare }).starts_with("unix: - - ["));
    }

    #[test]
    fn nobody_forges_a_line() {
        let head = b"GET /\"a HTTP/1.1\r\nHost: h\r\nReferer: \x80\r\n\
                     User-Agent: \" \\\t\xc3\xa4\"\r\n\r\n";
        let user = Name::new("a\" b\u{e4}").ok();
        let line = said(&AccessRecord { user, ..AccessRecord::of(head) });
        let expected = "192.0.2.1 - a\\x22\\x20b\\xC3\\xA4 [30/Nov/2026:00:53:20 +0000] \
                        \"GET /\\x22a HTTP/1.1\" 404 34 \"\\xEF\\xBF\\xBD\" \
                        \"\\x22 \\x5C\\xEF\\xBF\\xBD\\xC3\\xA4\\x22\"\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn months_are_named() {
        for (seconds, expected) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000"),
            (1_798_761_599, "31/Dec/2026:23:59:59 +0000"),
        ] {
            assert_eq!(ClfTime(seconds).to_string(), expected);
        }
    }
}
