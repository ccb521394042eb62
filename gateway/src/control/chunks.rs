//! A body in chunks (RFC 9112 section 7.1), looked at as it passes: where it ends, and that nobody
//! could see its end elsewhere.

/// How far a body in chunks has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    at: Ahead,
    /// Bytes of the current line, or of all trailers, so far.
    line: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    /// A digit of a chunk's size, or what ends it.
    Size(u64),
    /// What is said of a chunk behind `;`.
    Extension(u64),
    /// The LF behind a chunk's size.
    SizeEnd(u64),
    /// So many bytes of a chunk.
    Data(u64),
    /// The CR behind a chunk.
    DataEnd,
    /// The LF behind that.
    DataLineFeed,
    /// The first byte of a trailer line, or the CR of the empty line that ends all.
    Trailer,
    /// More of a trailer line.
    InTrailer,
    /// The LF behind a trailer line.
    TrailerEnd,
    /// The LF that ends all.
    LastLineFeed,
    Done,
}

/// The chunks break their grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Digits of a chunk's size, and bytes of what is said of it.
const SIZE_DIGITS: usize = 8;
const EXTENSION: usize = 256;

/// Bytes of all trailer lines.
const TRAILERS: usize = 4 << 10;

impl Chunks {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self { at: Ahead::Size(0), line: 0 }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.at == Ahead::Done
    }

    /// Goes over `bytes` up to their end or the body's; returns how many belong to it.
    ///
    /// # Errors
    /// They are not what may come here. It is not to be asked again then.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut passed = 0;
        while let Some(&byte) = bytes.get(passed)
            && !self.is_done()
        {
            match self.at {
                Ahead::Data(left) => {
                    let here = left.min((bytes.len() - passed) as u64);
                    passed += here as usize;
                    self.at = if left > here { Ahead::Data(left - here) } else { Ahead::DataEnd };
                }
                _ => {
                    self.at = self.behind(byte)?;
                    passed += 1;
                }
            }
        }
        Ok(passed)
    }

    /// What comes behind `byte`, which is not of a chunk's data.
    fn behind(&mut self, byte: u8) -> Result<Ahead, Malformed> {
        self.line += 1;
        // RFC 9112 section 2.2: a lone LF could be taken for the end of a line by some and not by
        // others, and so could a lone CR; so neither is anywhere.
        match (self.at, byte) {
            (Ahead::Size(size), _) if byte.is_ascii_hexdigit() && self.line <= SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Ok(Ahead::Size(size << 4 | u64::from(digit)))
            }
            // RFC 9112 section 7.1: `chunk-size = 1*HEXDIG`.
            (Ahead::Size(size), b';') if self.line > 1 => Ok(Ahead::Extension(size)),
            (Ahead::Size(size), b'\r') if self.line > 1 => Ok(Ahead::SizeEnd(size)),
            (Ahead::Extension(size), b'\r') => Ok(Ahead::SizeEnd(size)),
            // RFC 9112 section 7.1.1: "A recipient MUST ignore unrecognized chunk extensions".
            (Ahead::Extension(size), _) if is_of_line(byte) && self.line <= EXTENSION => {
                Ok(Ahead::Extension(size))
            }
            (Ahead::SizeEnd(size), b'\n') => {
                self.line = 0;
                Ok(if size > 0 { Ahead::Data(size) } else { Ahead::Trailer })
            }
            (Ahead::DataEnd, b'\r') => Ok(Ahead::DataLineFeed),
            (Ahead::DataLineFeed, b'\n') => {
                self.line = 0;
                Ok(Ahead::Size(0))
            }
            (Ahead::Trailer, b'\r') => Ok(Ahead::LastLineFeed),
            (Ahead::InTrailer, b'\r') => Ok(Ahead::TrailerEnd),
            // A line that begins with whitespace is folded, RFC 9112 section 5.2.
            (Ahead::Trailer, b' ' | b'\t') => Err(Malformed),
            (Ahead::Trailer | Ahead::InTrailer, _) if is_of_line(byte) && self.line <= TRAILERS => {
                Ok(Ahead::InTrailer)
            }
            (Ahead::TrailerEnd, b'\n') => Ok(Ahead::Trailer),
            (Ahead::LastLineFeed, b'\n') => Ok(Ahead::Done),
            _ => Err(Malformed),
        }
    }
}

/// Whether a line may hold it.
fn is_of_line(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes belong to the body, seen in pieces of so many bytes.
    fn length(text: &str, piece: usize) -> Result<Option<usize>, Malformed> {
        let mut chunks = Chunks::new();
        let mut length = 0;
        for piece in text.as_bytes().chunks(piece) {
            length += chunks.pass(piece)?;
        }
        Ok(chunks.is_done().then_some(length))
    }

    #[test]
    fn section_7_1_where_a_body_ends() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00A;a=\"b c\";d\r\n0123\r\n6789\r\n000\r\n\r\n",
            "1\r\n\n\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        ] {
            for piece in 1..=body.len() {
                let text = format!("{body}GET / HTTP/1.1\r\n");
                assert_eq!(length(&text, piece), Ok(Some(body.len())), "{body:?} by {piece}");
            }
            for cut in 0..body.len() {
                assert_eq!(length(&body[..cut], 3), Ok(None), "{body:?} up to {cut}");
            }
        }
    }

    #[test]
    fn section_7_1_what_no_body_is() {
        let long = format!("1;{}\r\n", "x".repeat(EXTENSION));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(TRAILERS / 6 + 2));
        for text in [
            "\r\n",
            "x\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "-1\r\n",
            ";a\r\n",
            "1\n",
            "1\r1",
            "1;a\n",
            "1;\0",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\r\r",
            "0\r\n\n",
            "0\r\n A: b",
            "0\r\nA: b\n",
            "0\r\nA\rb",
            "0\r\n\r\r",
            "123456789\r\n",
            &long,
            &trailers,
        ] {
            for piece in [1, 2, text.len()] {
                assert!(length(text, piece) == Err(Malformed), "{text:?} by {piece}");
            }
        }
    }
}
