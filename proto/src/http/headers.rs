//! The header lines of a head, and the small grammars of their values (RFC 9110 section 5.6).

use core::fmt;

use super::MAX_HEADERS;

/// The header lines of a head, in the order they came. Names and values are lent from its bytes.
#[derive(Clone)]
pub struct Headers<'a> {
    lines: [httparse::Header<'a>; MAX_HEADERS],
    /// How many of `lines` are in use, `0..=MAX_HEADERS`.
    count: usize,
}

impl<'a> Headers<'a> {
    /// The first `count` of `lines`.
    pub(super) fn new(lines: [httparse::Header<'a>; MAX_HEADERS], count: usize) -> Headers<'a> {
        debug_assert!(count <= MAX_HEADERS);
        Headers { lines, count }
    }

    /// All header lines: name as it was sent, value without the whitespace around it.
    ///
    /// A value holds no control character but HTAB. It may hold bytes over 0x7F.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&'a str, &'a [u8])> {
        self.lines[..self.count].iter().map(|line| (line.name, line.value))
    }

    /// The value of each line with this name, letter case aside.
    pub fn values<'n>(
        &self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'_, 'a, 'n> {
        let named = move |line: &(&str, &[u8])| line.0.eq_ignore_ascii_case(name);
        self.iter().filter(named).map(|(_, value)| value)
    }

    /// The value of the first line with this name.
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// Whether there is a line with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The value of the only line with this name, if there is one.
    ///
    /// # Errors
    ///
    /// There is more than one such line.
    pub fn at_most_one(&self, name: &str) -> Result<Option<&'a [u8]>, Duplicate> {
        let mut values = self.values(name);
        let first = values.next();
        if values.next().is_some() { Err(Duplicate) } else { Ok(first) }
    }

    /// Whether one of the comma-separated elements of the lines with this name is `token`, letter
    /// case aside.
    pub fn contains_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(list_elements)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: cookies and credentials are values, and this may end in a log.
        out.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// A header that may be there once was there more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

/// The elements of a comma-separated list, without the whitespace around them.
///
/// RFC 9110 section 5.6.1.2: "a recipient MUST parse and ignore a reasonable number of empty list
/// elements". Quoted strings are not recognized: the lists this is for hold tokens only.
pub fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Removes optional whitespace, which is SP and HTAB (RFC 9110 section 5.6.3), from both ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(lines: &[(&'a str, &'a [u8])]) -> Headers<'a> {
        let mut array = [httparse::EMPTY_HEADER; MAX_HEADERS];
        for (line, &(name, value)) in array.iter_mut().zip(lines) {
            *line = httparse::Header { name, value };
        }
        Headers::new(array, lines.len())
    }

    #[test]
    fn rfc_9110_section_5_1_names_are_case_insensitive() {
        let headers = headers(&[("Host", b"a"), ("COOKIE", b"b"), ("cookie", b"c")]);
        assert_eq!(headers.first("host"), Some(&b"a"[..]));
        assert!(headers.values("Cookie").eq([b"b", b"c"]));
        assert!(headers.contains("cookie") && !headers.contains("cook") && !headers.contains(""));
        assert_eq!(headers.at_most_one("HOST"), Ok(Some(&b"a"[..])));
        assert_eq!(headers.at_most_one("Cookie"), Err(Duplicate));
        assert_eq!(headers.at_most_one("Origin"), Ok(None));
        assert_eq!(headers.iter().count(), 3);
        assert_eq!(format!("{headers:?}"), r#"["Host", "COOKIE", "cookie"]"#);
    }

    #[test]
    fn rfc_9110_section_5_6_1_lists() {
        let elements = |value: &'static str| {
            list_elements(value.as_bytes()).map(|element| str::from_utf8(element).unwrap())
        };
        assert!(elements("foo , ,bar,charlie").eq(["foo", "bar", "charlie"]));
        assert!(elements("\tfoo\t ,\tbar baz ").eq(["foo", "bar baz"]));
        assert_eq!(elements("").count(), 0);
        assert_eq!(elements(", \t,").count(), 0);
    }

    #[test]
    fn tokens_in_lists() {
        let headers = headers(&[("Connection", b"keep-alive"), ("connection", b"a, UpGrade")]);
        assert!(headers.contains_token("Connection", "upgrade"));
        assert!(headers.contains_token("Connection", "Keep-Alive"));
        assert!(!headers.contains_token("Connection", "keep"));
        assert!(!headers.contains_token("Upgrade", "upgrade"));
    }
}
