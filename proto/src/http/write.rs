//! Writing heads, and a sentence behind one, into a buffer of the caller's.

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

/// The reason phrase of a status code that the gateway sends, or that a handler is likely to; empty
/// for any other.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
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

    /// A head and a sentence behind it.
    fn write(out: &mut [u8]) -> Result<usize, HeadWriteError> {
        let mut writer = Writer::new(out);
        writer.status_line(200)?;
        writer.header("Cache-Control", "no-store")?;
        writer.sentence("hello")?;
        Ok(writer.finish())
    }

    #[test]
    fn a_head_with_a_sentence_behind_it() {
        let mut out = [0; 512];
        let length = write(&mut out).unwrap();
        assert_eq!(
            str::from_utf8(&out[..length]).unwrap(),
            "HTTP/1.1 200 OK\r\n\
             Cache-Control: no-store\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 6\r\n\r\nhello\n"
        );
    }

    #[test]
    fn rfc_9112_section_4_the_space_is_there_without_a_reason_phrase() {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        writer.status_line(599).unwrap();
        let length = writer.finish();
        assert_eq!(&out[..length], b"HTTP/1.1 599 \r\n");
    }

    #[test]
    fn no_room() {
        let length = write(&mut [0; 512]).unwrap();
        for room in 0..length {
            assert_eq!(write(&mut vec![0; room]), Err(HeadWriteError::NoRoom));
        }
        assert_eq!(write(&mut vec![0; length]), Ok(length));
    }

    #[test]
    fn invalid_text() {
        let invalid = Err(HeadWriteError::InvalidText);
        for text in ["a\rb", "a\nb", "a\r\nSet-Cookie: b", "\0", "\x7f", "\n"] {
            assert_eq!(Writer::new(&mut [0; 512]).header("A", text), invalid, "{text:?}");
        }
        for name in ["", "a b", "a:", "a\r\nb"] {
            assert_eq!(Writer::new(&mut [0; 512]).header(name, "a"), invalid, "{name:?}");
        }
    }
}
