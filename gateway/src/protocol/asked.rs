//! What is kept of a request, to be said of it: within bounds, on one line, and without secrets.

use tidegate_proto::http::{RequestHead, Version};

use super::logged;

/// What of a request may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskedPart {
    Method,
    Path,
    Query,
    Host,
    Origin,
    Referer,
    Agent,
    Subprotocol,
}

/// The most bytes of each, by its number.
const PART_BYTES: [usize; 8] = [24, 256, 128, 128, 128, 128, AGENT_BYTES, 64];

/// Those of the last but one.
const AGENT_BYTES: usize = 128;

/// What stands where something was cut.
const CUT: &str = "…";

/// What is said of a request. Its texts are one, so that all of it is two pieces of memory.
#[derive(Debug, PartialEq, Eq)]
pub struct AskedFor {
    version: Version,
    texts: Box<str>,
    /// Where each part ends; one that is not there has no bytes.
    ends: [u16; PART_BYTES.len()],
}

impl AskedFor {
    /// The most bytes of what the request calls the peer's program.
    pub const AGENT_BYTES: usize = AGENT_BYTES;

    /// The most bytes that one holds, with the counts of those who share it.
    pub const BYTES: usize = {
        let (mut bytes, mut part) = (size_of::<Self>() + 2 * size_of::<usize>(), 0);
        while part < PART_BYTES.len() {
            bytes += PART_BYTES[part];
            part += 1;
        }
        bytes
    };

    /// What is said of this request, for which this subprotocol was selected.
    pub(super) fn by(head: &RequestHead<'_>, subprotocol: Option<&str>) -> Self {
        let mut asked = AskedTexts::default();
        let value = |name: &str| head.header_values(name).next().map(String::from_utf8_lossy);
        asked.add(AskedPart::Method, Some(head.method()));
        asked.add(AskedPart::Path, Some(head.path()));
        asked.add(AskedPart::Query, head.query().map(logged::query).as_deref());
        asked.add(AskedPart::Host, head.authority());
        asked.add(AskedPart::Origin, value("origin").as_deref());
        asked.add(AskedPart::Referer, value("referer").map(|page| logged::page(&page)).as_deref());
        asked.add(AskedPart::Agent, value("user-agent").as_deref());
        asked.add(AskedPart::Subprotocol, subprotocol);
        let AskedTexts { texts, ends } = asked;
        Self { version: head.version(), texts: texts.into(), ends }
    }

    /// The version of HTTP, as a request line has it.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.part(AskedPart::Method).unwrap_or_default()
    }

    /// The path, as it was sent.
    #[must_use]
    pub fn path(&self) -> &str {
        self.part(AskedPart::Path).unwrap_or_default()
    }

    /// The names in the query.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.part(AskedPart::Query)
    }

    /// The host, with its port.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.part(AskedPart::Host)
    }

    /// Where the page comes from that has asked, if it is one.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.part(AskedPart::Origin)
    }

    /// That page itself.
    #[must_use]
    pub fn referer(&self) -> Option<&str> {
        self.part(AskedPart::Referer)
    }

    /// What the request calls the peer's program (`User-Agent`).
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        self.part(AskedPart::Agent)
    }

    /// The subprotocol that was selected.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.part(AskedPart::Subprotocol)
    }

    fn part(&self, part: AskedPart) -> Option<&str> {
        let at = part as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let text = &self.texts[start.into()..self.ends[at].into()];
        if text.is_empty() { None } else { Some(text) }
    }
}

/// What is being kept.
#[derive(Default)]
struct AskedTexts {
    texts: String,
    ends: [u16; PART_BYTES.len()],
}

impl AskedTexts {
    /// Adds the next part, if it is there. What steers a terminal, or would begin another line, is
    /// replaced.
    fn add(&mut self, part: AskedPart, text: Option<&str>) {
        let start = self.texts.len();
        let letters = text.unwrap_or_default().chars();
        for letter in
            letters.map(|one| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one })
        {
            if self.texts.len() + letter.len_utf8() - start > PART_BYTES[part as usize] {
                let room = PART_BYTES[part as usize] - CUT.len();
                let end = self.texts.floor_char_boundary(start + room);
                self.texts.truncate(end);
                self.texts.push_str(CUT);
                break;
            }
            self.texts.push(letter);
        }
        self.ends[part as usize] = self.texts.len() as u16;
    }
}

#[cfg(test)]
impl AskedFor {
    /// What is kept of this head.
    pub(crate) fn of(head: &[u8], subprotocol: Option<&str>) -> Self {
        use tidegate_proto::http::{Status, parse_request};
        let Ok(Status::Complete(head)) = parse_request(head, head.len()) else {
            panic!("no head: {}", head.escape_ascii())
        };
        Self::by(&head, subprotocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found() {
        let head = b"GET /a/b?token=secret&x HTTP/1.1\r\nHost: h:1\r\nUser-Agent: curl/8\r\n\
                     Referer: https://u:p@page.test/x?token=secret#y\r\n\
                     Origin: https://page.test\r\n\r\n";
        let asked = AskedFor::of(head, Some("chat"));
        assert_eq!((asked.method(), asked.path(), asked.version()), ("GET", "/a/b", "HTTP/1.1"));
        assert_eq!((asked.query(), asked.host()), (Some("token=…&…"), Some("h:1")));
        assert_eq!(asked.origin(), Some("https://page.test"));
        assert_eq!(asked.referer(), Some("https://page.test/x"));
        assert_eq!((asked.agent(), asked.subprotocol()), (Some("curl/8"), Some("chat")));
        let bare = AskedFor::of(b"PUT / HTTP/1.0\r\n\r\n", None);
        assert_eq!((bare.method(), bare.path(), bare.version()), ("PUT", "/", "HTTP/1.0"));
        assert_eq!((bare.query(), bare.host(), bare.origin()), (None, None, None));
        assert_eq!((bare.referer(), bare.agent(), bare.subprotocol()), (None, None, None));
    }

    #[test]
    fn what_is_too_long_is_cut_between_two_letters() {
        for letters in 100..140 {
            let agent = "ä".repeat(letters);
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a{agent}\r\n\r\n");
            let asked = AskedFor::of(head.as_bytes(), None);
            let kept = asked.agent().expect("it is there");
            assert!(kept.len() <= 128 && kept.len() > 123 && kept.ends_with("ä…"), "{kept}");
        }
        let long = "a".repeat(5000);
        let all = format!(
            "GET /{long}?{long} HTTP/1.1\r\nHost: {long}\r\nOrigin: {long}\r\nReferer: {long}\r\n\
             User-Agent: {long}\r\n\r\n"
        );
        let asked = AskedFor::of(all.as_bytes(), Some(&long));
        let most = PART_BYTES.iter().sum::<usize>();
        assert!(asked.texts.len() < most && asked.texts.len() > most / 2, "{}", asked.texts.len());
        assert!(asked.subprotocol().is_some_and(|name| name.ends_with("a…")));
    }

    #[test]
    fn what_steers_a_terminal_is_replaced() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a\tb\xc2\x9bc\xff\r\n\r\n";
        assert_eq!(AskedFor::of(head, None).agent(), Some("a\u{fffd}b\u{fffd}c\u{fffd}"));
    }
}
