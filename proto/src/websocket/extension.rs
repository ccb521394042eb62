//! The `Sec-WebSocket-Extensions` header (RFC 6455 section 9.1).
//!
//! ```text
//! extension-list  = 1#extension
//! extension       = extension-token *( ";" extension-param )
//! extension-param = token [ "=" (token | quoted-string) ]
//! ```
//!
//! The parser lends slices of the header and never allocates. White space is allowed between any
//! two elements, because the grammar is RFC 2616's with its implied `*LWS` rule. A quoted value
//! must be a token once unquoted, so a backslash escape in it can only spell a character that
//! needed no escape: such a value is refused as malformed rather than unescaped into a copy.
//!
//! ```
//! use tidegate_proto::websocket::extension;
//!
//! let mut extensions = extension::parse(["permessage-foo; x=10", "bar"]);
//! let foo = extensions.next().expect("two were listed")?;
//! assert_eq!(foo.name, "permessage-foo");
//! assert_eq!(foo.parameters().next().and_then(|x| x.value), Some("10"));
//! # Ok::<(), extension::MalformedExtensions>(())
//! ```

use core::fmt;

use crate::token::is_token_character;

/// Reads the values of all `Sec-WebSocket-Extensions` header lines of one message, in order.
///
/// No lines is no header and yields nothing. Everything after a malformed element is unread: the
/// error is the iterator's last item.
///
/// # Errors
///
/// RFC 6455 section 9.1: "If a value is received by either the client or the server during
/// negotiation that does not conform to the ABNF below, the recipient of such malformed data MUST
/// immediately _Fail the WebSocket Connection_."
pub fn parse<'a, Lines>(lines: Lines) -> Extensions<'a, Lines::IntoIter>
where
    Lines: IntoIterator<Item = &'a str>,
{
    Extensions {
        lines: lines.into_iter(),
        cursor: Scanner { line: "", at: 0 },
        list: List::Absent,
        finished: false,
    }
}

/// One element of the list: an extension and its parameters, the grammar of all of them checked.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    /// The extension token, in the case it was written in.
    pub name: &'a str,
    /// Just behind the name. The parameters from here on conform to the grammar.
    after_name: Scanner<'a>,
}

impl<'a> Extension<'a> {
    /// The parameters in the order they were written, repeated ones included.
    pub fn parameters(&self) -> Parameters<'a> {
        Parameters { cursor: self.after_name }
    }
}

/// One parameter of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The parameter's token, in the case it was written in.
    pub name: &'a str,
    /// The value without its quotes: always a token, so never empty.
    pub value: Option<&'a str>,
}

/// The parameters of one [`Extension`].
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    /// Behind an extension's name or behind one of its parameters.
    cursor: Scanner<'a>,
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Parameter<'a>> {
        self.cursor.parameter().expect("the grammar was checked when the extension was read")
    }
}

/// The extensions of one handshake message; made by [`parse`].
#[derive(Clone, Debug)]
pub struct Extensions<'a, Lines> {
    lines: Lines,
    /// In the line taken last from `lines`, behind an element.
    cursor: Scanner<'a>,
    list: List,
    /// The end or an error has been reported.
    finished: bool,
}

/// What has been seen of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Absent,
    Empty,
    Filled,
}

impl<'a, Lines: Iterator<Item = &'a str>> Iterator for Extensions<'a, Lines> {
    type Item = Result<Extension<'a>, MalformedExtensions>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let item = self.extension().transpose();
        self.finished = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'a, Lines: Iterator<Item = &'a str>> Extensions<'a, Lines> {
    fn extension(&mut self) -> Result<Option<Extension<'a>>, MalformedExtensions> {
        while !self.cursor.skip_empty_elements() {
            // RFC 9110 section 5.2: a field sent on several lines means their values "concatenated
            // in order, with each field line value separated by a comma".
            let Some(line) = self.lines.next() else {
                return self.end();
            };
            self.cursor = Scanner { line, at: 0 };
            if self.list == List::Absent {
                self.list = List::Empty;
            }
        }
        self.list = List::Filled;
        self.cursor.extension().map(Some)
    }

    fn end(&self) -> Result<Option<Extension<'a>>, MalformedExtensions> {
        // RFC 2616 section 2.1: "where at least one element is required, at least one non-null
        // element MUST be present."
        match self.list {
            List::Empty => Err(self.cursor.expected(Expected::Token)),
            List::Absent | List::Filled => Ok(None),
        }
    }
}

/// A place in a header line.
#[derive(Clone, Copy, Debug)]
struct Scanner<'a> {
    line: &'a str,
    /// 0 <= at <= line.len(), always on a character boundary: only ASCII is ever passed.
    at: usize,
}

impl<'a> Scanner<'a> {
    fn extension(&mut self) -> Result<Extension<'a>, MalformedExtensions> {
        let name = self.token(Expected::Token)?;
        let after_name = *self;
        while self.parameter()?.is_some() {}
        match self.peek() {
            None | Some(b',') => Ok(Extension { name, after_name }),
            Some(_) => Err(self.expected(Expected::Separator)),
        }
    }

    /// The next parameter, or `None` in front of whatever else follows.
    fn parameter(&mut self) -> Result<Option<Parameter<'a>>, MalformedExtensions> {
        self.skip_white_space();
        if !self.skip(b';') {
            return Ok(None);
        }
        self.skip_white_space();
        let name = self.token(Expected::Token)?;
        self.skip_white_space();
        let value = if self.skip(b'=') { Some(self.value()?) } else { None };
        Ok(Some(Parameter { name, value }))
    }

    fn value(&mut self) -> Result<&'a str, MalformedExtensions> {
        self.skip_white_space();
        if !self.skip(b'"') {
            return self.token(Expected::Token);
        }
        // RFC 6455 section 9.1: "When using the quoted-string syntax variant, the value after
        // quoted-string unescaping MUST conform to the 'token' ABNF."
        let value = self.token(Expected::QuotedToken)?;
        if self.skip(b'"') { Ok(value) } else { Err(self.expected(Expected::QuotedToken)) }
    }

    fn token(&mut self, expected: Expected) -> Result<&'a str, MalformedExtensions> {
        let rest = &self.line[self.at..];
        let len = rest.bytes().take_while(|&byte| is_token_character(byte)).count();
        // RFC 2616 section 2.2: token = 1*<any CHAR except CTLs or separators>
        if len == 0 {
            return Err(self.expected(expected));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// Whether an element is left on this line.
    fn skip_empty_elements(&mut self) -> bool {
        // RFC 9110 section 5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty
        // list elements". The bound on the request head is a bound on these.
        self.skip_white_space();
        while self.skip(b',') {
            self.skip_white_space();
        }
        self.peek().is_some()
    }

    fn skip_white_space(&mut self) {
        while self.skip(b' ') || self.skip(b'\t') {}
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn expected(&self, expected: Expected) -> MalformedExtensions {
        MalformedExtensions { expected, at: self.at }
    }
}

/// A `Sec-WebSocket-Extensions` header that does not conform to RFC 6455 section 9.1.
///
/// The peer's fault: a server answers 400 (Bad Request), a client fails the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedExtensions {
    /// What the grammar asks for.
    pub expected: Expected,
    /// Where it asks for that: octets from the start of the header line's value.
    pub at: usize,
}

/// What the grammar asked for where a header went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The name of an extension or parameter, or a value.
    Token,
    /// A token without escapes and the closing quote.
    QuotedToken,
    /// `;`, `,` or the end of the line.
    Separator,
}

impl fmt::Display for MalformedExtensions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = match self.expected {
            Expected::Token => "a token",
            Expected::QuotedToken => "a token without escapes and its closing quote",
            Expected::Separator => "a semicolon, a comma or the end",
        };
        write!(out, "Sec-WebSocket-Extensions: expected {expected} at octet {}", self.at)
    }
}

impl core::error::Error for MalformedExtensions {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The list written in one fixed way: `name;parameter=value` joined by commas.
    fn normal_form(lines: &[&str]) -> Result<String, MalformedExtensions> {
        let mut extensions = Vec::new();
        for extension in parse(lines.iter().copied()) {
            let extension = extension?;
            let mut text = extension.name.to_owned();
            for Parameter { name, value } in extension.parameters() {
                text += &format!(";{name}");
                text += &value.map(|value| format!("={value}")).unwrap_or_default();
            }
            extensions.push(text);
        }
        Ok(extensions.join(","))
    }

    #[track_caller]
    fn check(lines: &[&str], expected: &str) {
        assert_eq!(normal_form(lines).as_deref(), Ok(expected));
    }

    #[track_caller]
    fn check_malformed(line: &str, expected: Expected, at: usize) {
        assert_eq!(normal_form(&[line]), Err(MalformedExtensions { expected, at }));
    }

    #[test]
    fn rfc6455_section_9_1_examples() {
        check(&["foo"], "foo");
        check(&["bar; baz=2"], "bar;baz=2");
        check(&["foo, bar; baz=2"], "foo,bar;baz=2");
        check(&["foo", "bar; baz=2"], "foo,bar;baz=2");
        check(&["deflate-stream"], "deflate-stream");
        check(
            &["mux; max-channels=4; flow-control, deflate-stream"],
            "mux;max-channels=4;flow-control,deflate-stream",
        );
        check(&["private-extension"], "private-extension");
    }

    #[test]
    fn rfc7692_section_5_examples() {
        check(&["permessage-foo"], "permessage-foo");
        check(&["permessage-foo; x=10"], "permessage-foo;x=10");
        check(&["permessage-foo; x=\"10\""], "permessage-foo;x=10");
        check(&["permessage-foo, permessage-bar"], "permessage-foo,permessage-bar");
        check(&["permessage-foo; use_y, permessage-foo"], "permessage-foo;use_y,permessage-foo");
    }

    #[test]
    fn white_space_may_stand_between_any_two_elements() {
        check(&[" \tfoo ;\tx = \"1\" ; y\t, bar "], "foo;x=1;y,bar");
    }

    #[test]
    fn empty_elements_are_ignored() {
        check(&[",, foo ,\t, bar,"], "foo,bar");
        check(&["", "foo", ",", "bar"], "foo,bar");
    }

    #[test]
    fn no_header_is_no_extension() {
        check(&[], "");
    }

    #[test]
    fn a_header_must_name_an_extension() {
        check_malformed("", Expected::Token, 0);
        check_malformed(" , ", Expected::Token, 3);
    }

    #[test]
    fn malformed_elements() {
        check_malformed("=", Expected::Token, 0);
        check_malformed("; x", Expected::Token, 0);
        check_malformed("foo bar", Expected::Separator, 4);
        check_malformed("foo=1", Expected::Separator, 3);
        check_malformed("foo;", Expected::Token, 4);
        check_malformed("foo;;x", Expected::Token, 4);
        check_malformed("foo; x=", Expected::Token, 7);
        check_malformed("foo; x==1", Expected::Token, 7);
        check_malformed("foo; x=1 2", Expected::Separator, 9);
        check_malformed("foo; x=é", Expected::Token, 7);
        check_malformed("foo, b@r", Expected::Separator, 6);
        check_malformed("foo\u{b}", Expected::Separator, 3);
    }

    #[test]
    fn quoted_values_must_hold_a_token() {
        check_malformed("foo; x=\"\"", Expected::QuotedToken, 8);
        check_malformed("foo; x=\" 1\"", Expected::QuotedToken, 8);
        check_malformed("foo; x=\"1", Expected::QuotedToken, 9);
        check_malformed("foo; x=\"1,2\"", Expected::QuotedToken, 9);
        check_malformed("foo; x=\"1\\0\"", Expected::QuotedToken, 9);
        check_malformed("foo; x=\"1\"2", Expected::Separator, 10);
    }

    #[test]
    fn an_error_ends_the_list() {
        let mut extensions = parse(["foo, =, bar"]);
        assert!(extensions.next().is_some_and(|extension| extension.is_ok()));
        assert!(extensions.next().is_some_and(|extension| extension.is_err()));
        assert!(extensions.next().is_none());
    }

    #[test]
    fn an_error_says_what_and_where() {
        let error = normal_form(&["foo; x=\""]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Sec-WebSocket-Extensions: expected a token without escapes and its closing quote at \
             octet 8"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(
            lines in prop::collection::vec("[a-c;,=\"\\\\ \té]*", 0..4),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let octets: usize = lines.iter().map(|line| line.len()).sum();
            prop_assert!(parse(lines.iter().copied()).count() <= octets + 1);
            // What was understood is understood the same when it is written in another way.
            if let Ok(normal) = normal_form(&lines) && !normal.is_empty() {
                prop_assert_eq!(normal_form(&[&normal]), Ok(normal));
            }
        }
    }
}
