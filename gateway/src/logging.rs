//! The log: lines on stderr, written by a thread of their own.
//!
//! Nothing on a shard may wait for whoever reads the log, so lines go through a bounded queue, and
//! those that find it full are dropped and counted.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::bill::{self, Owner};
use crate::config::log_filter;

/// The environment variable whose filter replaces the configured one.
pub const VARIABLE: &str = "TIDEGATE_LOG";

/// Lines that may wait to be written.
pub const QUEUE_LINES: usize = 4096;

/// Bytes of the longest line, its end included; what is longer is cut, so that no peer decides how
/// much memory the queue takes.
pub const LINE_BYTES_MAX: usize = 1024;

/// A line in the queue, besides its text.
const ENTRY_BYTES: usize = 64;

/// Lines that could not be written, since the start of the process.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// Counts the lines that found the queue full, once there is a log.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines of the log that nobody will read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// They found the queue full: stderr was not read fast enough.
    pub dropped: u64,
    /// They could not be written: the disk is full, say.
    pub unwritten: u64,
}

/// How many lines of the log were lost since the start of the process.
#[must_use]
pub fn lost() -> Lost {
    let dropped = DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64);
    Lost { dropped, unwritten: UNWRITTEN.load(Ordering::Relaxed) }
}

/// A log that runs; when it is dropped, what waits is written, for at most about a second.
#[must_use]
pub struct Log {
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
        .finish(Patient { inner: io::stderr(), untold: 0 });
    // A program has one log; a second one fails below.
    let _ = DROPPED.set(lines.error_counter());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines(lines))
        .with_ansi(wants_colours())
        .with_thread_names(true)
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Exists)?;
    Ok(Log { _writer: writer })
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
        let Lost { dropped, .. } = lost();
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

/// Writes lines, and counts those that cannot be written. When lines can be written again, it says
/// first how many are missing there.
struct Patient<W> {
    inner: W,
    /// Lines that are missing since the last one that was written.
    untold: u64,
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.untold > 0 {
            let missing = self.untold;
            let note = format!("[{missing} lines of the log could not be written here]\n");
            if self.inner.write_all(note.as_bytes()).is_ok() {
                self.untold = 0;
            }
        }
        if self.untold > 0 || self.inner.write_all(line).is_err() {
            self.untold += 1;
            UNWRITTEN.fetch_add(1, Ordering::Relaxed);
        }
        // An error would end nothing but this line, and it is counted.
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.inner.flush();
        Ok(())
    }
}

/// What lines hold that wait to be logged; the process has one queue of them.
pub(crate) fn line() -> bill::Line {
    let bytes = (QUEUE_LINES * (LINE_BYTES_MAX + ENTRY_BYTES)) as u64;
    bill::Line::new(Owner::LogLines, bytes, &[])
}

/// The queue's end for those who log.
struct Lines(NonBlocking);

/// Queues one line, cut to [`LINE_BYTES_MAX`].
struct LogLine(NonBlocking);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine(self.0.clone())
    }
}

impl Write for LogLine {
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

    /// A disk that is full for a while.
    #[derive(Default)]
    struct Disk {
        is_full: bool,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted_and_told() {
        let before = lost().unwritten;
        let mut log = Patient { inner: Disk::default(), untold: 0 };
        let mut say = |is_full: bool, line: &str| {
            log.inner.is_full = is_full;
            log.write_all(line.as_bytes()).unwrap();
            String::from_utf8(log.inner.written.clone()).unwrap()
        };
        say(false, "one\n");
        say(true, "two\n");
        say(true, "three\n");
        let told = "one\n[2 lines of the log could not be written here]\nfour\nfive\n";
        say(false, "four\n");
        assert_eq!(say(false, "five\n"), told);
        assert_eq!(lost().unwritten - before, 2);
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
