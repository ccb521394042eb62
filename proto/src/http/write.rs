//! Writing heads and small responses into a buffer of the caller's.

use core::{error, fmt};

use crate::token::is_token;

/// Why nothing of use was written. Each is our own fault, and nothing goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadWriteError {
    /// The buffer is too small.
    NoRoom,
    /// A text from the caller would end its line early, or holds what its place may not have.
    InvalidText,
}

impl fmt::Display for HeadWriteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            HeadWriteError::NoRoom => "the buffer is too small for the head",
            HeadWriteError::InvalidText => "a text holds a character that its place may not have",
        })
    }
}

impl error::Error for HeadWriteError {}

/// Appends the lines of a head to a buffer.
///
/// It is the one place that lets text into a head, so it is the one that keeps CR and LF out.
/// After an error what the buffer holds is of no use.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut [u8],
    /// How much of `out` is in use, `0..=out.len()`.
    len: usize,
}

impl<'b> Writer<'b> {
    /// Writes from the start of `out`.
    pub fn new(out: &'b mut [u8]) -> Writer<'b> {
        Writer { out, len: 0 }
    }

    /// Appends a line and its CR LF.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::InvalidText`] if the line holds a control character but HTAB.
    pub fn line(&mut self, line: fmt::Arguments<'_>) -> Result<(), HeadWriteError> {
        let start = self.len;
        fmt::write(&mut Unchecked(self), line).map_err(|_| HeadWriteError::NoRoom)?;
        // RFC 9110 section 5.5: "Field values containing CR, LF, or NUL characters are invalid and
        // dangerous". The text may come from elsewhere: a path of a client, a name of a user.
        let written = &self.out[start..self.len];
        if written.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(HeadWriteError::InvalidText);
        }
        self.bytes(b"\r\n")
    }

    /// Appends a header line. `name` must be a token.
    ///
    /// # Errors
    ///
    /// As [`line`](Writer::line).
    pub fn header(&mut self, name: &str, value: impl fmt::Display) -> Result<(), HeadWriteError> {
        if !is_token(name.as_bytes()) {
            return Err(HeadWriteError::InvalidText);
        }
        self.line(format_args!("{name}: {value}"))
    }

    /// Appends bytes as they are.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::NoRoom`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), HeadWriteError> {
        let end = self.len + bytes.len();
        let room = self.out.get_mut(self.len..end).ok_or(HeadWriteError::NoRoom)?;
        room.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Appends the status line of a response.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::NoRoom`].
    pub fn status_line(&mut self, status: u16) -> Result<(), HeadWriteError> {
        // RFC 9112 section 4: "A server MUST send the space that separates the status-code from the
        // reason-phrase even when the reason-phrase is absent".
        self.line(format_args!("HTTP/1.1 {status} {}", reason_phrase(status)))
    }

    /// Appends the empty line that ends a head.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::NoRoom`].
    pub fn end_head(&mut self) -> Result<(), HeadWriteError> {
        self.bytes(b"\r\n")
    }

    /// Ends the head, and appends `sentence` and a line feed as the content: what a human is told.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::NoRoom`].
    pub fn sentence(&mut self, sentence: &str) -> Result<(), HeadWriteError> {
        self.header("Content-Type", "text/plain; charset=utf-8")?;
        self.header("Content-Length", sentence.len() + 1)?;
        self.end_head()?;
        self.bytes(sentence.as_bytes())?;
        self.bytes(b"\n")
    }

    /// How many bytes were written.
    pub fn finish(self) -> usize {
        self.len
    }
}

/// Formats into a [`Writer`] before its line is checked.
struct Unchecked<'w, 'b>(&'w mut Writer<'b>);

impl fmt::Write for Unchecked<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.bytes(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// A whole response, after which the connection is closed.
///
/// A Date (RFC 9110 section 6.6.1) would be one of `headers`: there is no clock here.
#[derive(Clone, Copy, Debug)]
pub struct ShortResponse<'a> {
    /// The status code, 200 to 599.
    pub status: u16,
    /// More headers: name and value.
    pub headers: &'a [(&'a str, &'a str)],
    /// The media type of `body`.
    pub content_type: &'a str,
    /// The content.
    pub body: &'a [u8],
    /// Leaves the body out, though its length is told: for HEAD, or to send the body from where it
    /// is.
    pub head_only: bool,
}

/// Writes `response` to the start of `out`, and yields its length in bytes. Close the connection
/// behind it.
///
/// # Errors
///
/// [`HeadWriteError::NoRoom`], or [`HeadWriteError::InvalidText`] if a header would not stay on its
/// line.
pub fn write_response(
    out: &mut [u8],
    response: &ShortResponse<'_>,
) -> Result<usize, HeadWriteError> {
    let mut writer = Writer::new(out);
    writer.status_line(response.status)?;
    writer.header("Connection", "close")?;
    for (name, value) in response.headers {
        writer.header(name, value)?;
    }
    let has_content = may_have_content(response.status);
    if has_content {
        writer.header("Content-Type", response.content_type)?;
        writer.header("Content-Length", response.body.len())?;
    }
    writer.end_head()?;
    if has_content && !response.head_only {
        writer.bytes(response.body)?;
    }
    Ok(writer.finish())
}

/// RFC 9110 section 6.4.1: "All 1xx (Informational), 204 (No Content), and 304 (Not Modified)
/// responses do not include content".
fn may_have_content(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The reason phrase of a status code that the gateway sends; empty for any other.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: ShortResponse<'_> = ShortResponse {
        status: 200,
        headers: &[("Cache-Control", "no-store")],
        content_type: "text/html",
        body: b"<p>\r\n",
        head_only: false,
    };

    fn written(response: &ShortResponse<'_>) -> String {
        let mut out = [0; 512];
        let length = write_response(&mut out, response).unwrap();
        String::from_utf8(out[..length].to_vec()).unwrap()
    }

    #[test]
    fn whole_response() {
        assert_eq!(
            written(&PAGE),
            "HTTP/1.1 200 OK\r\n\
             Connection: close\r\n\
             Cache-Control: no-store\r\n\
             Content-Type: text/html\r\n\
             Content-Length: 5\r\n\r\n<p>\r\n"
        );
    }

    #[test]
    fn rfc_9110_section_9_3_2_head_has_the_length_but_no_content() {
        let text = written(&ShortResponse { head_only: true, ..PAGE });
        assert_eq!(text + "<p>\r\n", written(&PAGE));
    }

    #[test]
    fn rfc_9110_section_6_4_1_no_content() {
        for status in [204, 304] {
            let text = written(&ShortResponse { status, ..PAGE });
            assert!(!text.contains("Content-"), "{text}");
            assert!(text.ends_with("\r\n\r\n"), "{text}");
        }
    }

    #[test]
    fn rfc_9112_section_4_the_space_is_there_without_a_reason_phrase() {
        let text = written(&ShortResponse { status: 599, ..PAGE });
        assert!(text.starts_with("HTTP/1.1 599 \r\n"), "{text}");
    }

    #[test]
    fn no_room() {
        let length = written(&PAGE).len();
        for room in 0..length {
            assert_eq!(write_response(&mut vec![0; room], &PAGE), Err(HeadWriteError::NoRoom));
        }
        assert_eq!(write_response(&mut vec![0; length], &PAGE), Ok(length));
    }

    #[test]
    fn invalid_text() {
        let invalid = Err(HeadWriteError::InvalidText);
        for text in ["a\rb", "a\nb", "a\r\nSet-Cookie: b", "\0", "\x7f", "\n"] {
            let response = ShortResponse { headers: &[("A", text)], ..PAGE };
            assert_eq!(write_response(&mut [0; 512], &response), invalid, "{text:?}");
            let response = ShortResponse { content_type: text, ..PAGE };
            assert_eq!(write_response(&mut [0; 512], &response), invalid, "{text:?}");
        }
        for name in ["", "a b", "a:", "a\r\nb"] {
            let response = ShortResponse { headers: &[(name, "a")], ..PAGE };
            assert_eq!(write_response(&mut [0; 512], &response), invalid, "{name:?}");
        }
    }
}
