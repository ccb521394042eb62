//! The log: lines on stderr, written by a thread of their own.
//!
//! Nothing on a shard may wait for whoever reads the log, so lines go through a bounded queue, and
//! those that find it full are dropped and counted.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::log_filter;

/// The environment variable whose filter replaces the configured one.
pub const VARIABLE: &str = "TIDEGATE_LOG";

/// Lines that may wait to be written.
pub const QUEUE_LINES: usize = 4096;

/// Bytes of the longest line, its end included; what is longer is cut, so that no peer decides how
/// much memory the queue takes.
pub const LINE_BYTES_MAX: usize = 1024;

/// A log that runs; when it is dropped, what waits is written, for at most about a second.
#[must_use]
pub struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// The log cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// [`VARIABLE`] is not a filter; its text.
    Variable(String),
    /// The configured text is not a filter.
    Directive(String),
    /// The program has a log already.
    Exists,
}

/// Starts the program's log with the filter that [`VARIABLE`] says, or `directive` without it.
///
/// # Errors
///
/// The filter cannot be read, or there is a log already.
pub fn start(directive: &str) -> Result<Log, LogError> {
    let filter = filter(std::env::var(VARIABLE).ok(), directive)?;
    let (lines, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE_LINES)
        .thread_name("log")
        .finish(io::stderr());
    let dropped = lines.error_counter();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines(lines))
        .with_ansi(wants_colours())
        .with_thread_names(true)
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Exists)?;
    Ok(Log { dropped, _writer: writer })
}

/// The filter of the environment, which an empty text does not set, or else the configured one.
fn filter(variable: Option<String>, directive: &str) -> Result<EnvFilter, LogError> {
    match variable.filter(|text| !text.is_empty()) {
        Some(text) => log_filter::parse(&text).ok_or(LogError::Variable(text)),
        None => log_filter::parse(directive).ok_or_else(|| LogError::Directive(directive.into())),
    }
}

/// Whether stderr is a terminal whose user did not refuse colours (no-color.org).
fn wants_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty())
}

impl Drop for Log {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            // By way of the queue: a plain write would wait for the very reader that was too slow.
            tracing::warn!("{dropped} log lines were dropped: stderr was not read fast enough");
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, text) = match self {
            Self::Variable(text) => (VARIABLE, text),
            Self::Directive(text) => ("log", text),
            Self::Exists => return out.write_str("the program has a log already"),
        };
        write!(
            out,
            "{what} must be a filter of `tracing`, such as \"info\" or \"warn,tidegate=debug\", \
             with the levels off, error, warn, info, debug, trace, is {text:?}"
        )
    }
}

impl std::error::Error for LogError {}

/// The queue's end for those who log.
struct Lines(NonBlocking);

/// Queues one line, cut to [`LINE_BYTES_MAX`].
struct Line(NonBlocking);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.0.clone())
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() <= LINE_BYTES_MAX {
            self.0.write_all(line)?;
        } else {
            self.0.write_all(&cut(line))?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The beginning of a line that is too long, marked as such, without half a character.
fn cut(line: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = "…\n".as_bytes();
    let is_inside = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let mut end = LINE_BYTES_MAX - MARK.len();
    while end > 0 && is_inside(line[end]) {
        end -= 1;
    }
    [&line[..end], MARK].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_replaces_the_configured_filter() {
        let of = |variable: Option<&str>, directive| {
            filter(variable.map(Into::into), directive).map(|filter| filter.to_string())
        };
        assert_eq!(of(Some("debug"), "info").unwrap(), "debug");
        assert_eq!(of(None, "info").unwrap(), "info");
        assert_eq!(of(Some(""), "info").unwrap(), "info");
        assert_eq!(of(Some("loud=1=2"), "info"), Err(LogError::Variable("loud=1=2".into())));
        assert_eq!(of(None, "loud=1=2"), Err(LogError::Directive("loud=1=2".into())));
        let wide = "\u{2003}a[bé]";
        assert_eq!(of(Some(wide), "info"), Err(LogError::Variable(wide.into())));
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        for prefix in 0..4 {
            let line = "a".repeat(prefix) + &"ä€𝄞".repeat(LINE_BYTES_MAX);
            let cut = String::from_utf8(cut(line.as_bytes())).unwrap();
            assert!(cut.len() <= LINE_BYTES_MAX && cut.len() > LINE_BYTES_MAX - 4, "{}", cut.len());
            assert!(line.starts_with(cut.strip_suffix("…\n").unwrap()));
        }
    }
}
