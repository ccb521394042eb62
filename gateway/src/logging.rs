//! The log: lines on stderr, written by a thread of their own.
//!
//! Nothing on a shard may wait for whoever reads the log, so lines go through a bounded queue, and
//! those that find it full are dropped and counted.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::bill::{self, Owner};
use crate::config::{LogFormat, log_filter};

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
    filter: LogFilter,
}

/// What the log's filter is changed by; cheap to clone.
#[derive(Clone)]
pub struct LogFilter(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl LogFilter {
    /// From now on the filter is this one, unless [`VARIABLE`] says one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn set(&self, directive: &str) -> Result<(), LogError> {
        let filter = filter(std::env::var(VARIABLE).ok(), directive)?;
        (self.0)(filter);
        Ok(())
    }
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

/// Starts the program's log with the filter that [`VARIABLE`] says, or `directive` without it, and
/// lines in this format.
///
/// # Errors
///
/// The filter cannot be read, or there is a log already.
pub fn start(directive: &str, format: LogFormat) -> Result<Log, LogError> {
    let filter = filter(std::env::var(VARIABLE).ok(), directive)?;
    let (lines, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE_LINES)
        .thread_name("log")
        .finish(Patient { inner: io::stderr(), untold: 0, format });
    // A program has one log; a second one fails below.
    let _ = DROPPED.set(lines.error_counter());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines { queue: lines, format })
        .with_thread_names(true);
    // A program whose subscriber is gone says nothing any more.
    let filter: Arc<dyn Fn(EnvFilter) + Send + Sync> = match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(wants_colours()).with_filter_reloading();
            let handle = builder.reload_handle();
            set_default(builder.finish())?;
            Arc::new(move |filter| _ = handle.reload(filter))
        }
        LogFormat::Json => {
            let builder = builder.with_ansi(false).json().flatten_event(true);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            set_default(builder.finish())?;
            Arc::new(move |filter| _ = handle.reload(filter))
        }
    };
    Ok(Log { _writer: writer, filter: LogFilter(filter) })
}

impl Log {
    /// What its filter is changed by.
    #[must_use]
    pub fn filter(&self) -> LogFilter {
        self.filter.clone()
    }
}

fn set_default(subscriber: impl tracing::Subscriber + Send + Sync) -> Result<(), LogError> {
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Exists)
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
    format: LogFormat,
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.untold > 0 {
            let missing = self.untold;
            let said = format!("{missing} lines of the log could not be written here");
            let note = match self.format {
                LogFormat::Text => format!("[{said}]\n"),
                LogFormat::Json => format!("{{\"level\":\"WARN\",\"message\":\"{said}\"}}\n"),
            };
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
struct Lines {
    queue: NonBlocking,
    format: LogFormat,
}

/// Queues one line, cut to [`LINE_BYTES_MAX`].
struct LogLine {
    queue: NonBlocking,
    format: LogFormat,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { queue: self.queue.clone(), format: self.format }
    }
}

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.format {
            _ if line.len() <= LINE_BYTES_MAX => self.queue.write_all(line)?,
            LogFormat::Text => self.queue.write_all(&cut(line))?,
            LogFormat::Json => self.queue.write_all(&cut_json(line))?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands where something was cut.
const MARK: &str = "…";

/// The beginning of a line that is too long, marked as such, without half a character.
fn cut(line: &[u8]) -> Vec<u8> {
    let is_inside = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let mut end = LINE_BYTES_MAX - MARK.len() - 1;
    while end > 0 && is_inside(line[end]) {
        end -= 1;
    }
    [&line[..end], MARK.as_bytes(), b"\n"].concat()
}

/// An object of JSON that is too long, with the longest of its texts cut, again and again, until it
/// is short enough.
fn cut_json(line: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut object)) = serde_json::from_slice(line) else { return cut(line) };
    loop {
        let texts = object.values_mut().filter_map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        let longest = texts.max_by_key(|text| text.len()).filter(|text| text.len() > MARK.len());
        let Some(text) = longest else { return cut(line) };
        let half = text.floor_char_boundary((text.len() - MARK.len()) / 2);
        text.truncate(half);
        text.push_str(MARK);
        let shorter = serde_json::to_vec(&object).unwrap_or_default();
        if shorter.len() < LINE_BYTES_MAX {
            return [&shorter[..], b"\n"].concat();
        }
    }
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
        let mut log = Patient { inner: Disk::default(), untold: 0, format: LogFormat::Text };
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
    fn a_long_line_of_json_is_cut_and_is_still_json() {
        for text in ["a", "ä€𝄞", "\"\\\n\u{1}"].map(|text| text.repeat(60 << 10)) {
            let object = serde_json::json!({"level": "INFO", "path": text, "peer": "[::1]:7"});
            let line = serde_json::to_vec(&object).unwrap();
            let cut = cut_json(&[&line[..], b"\n"].concat());
            assert!(cut.len() <= LINE_BYTES_MAX && cut.ends_with(b"\n"), "{}", cut.len());
            let cut: Value = serde_json::from_slice(&cut).unwrap();
            assert_eq!((&cut["level"], &cut["peer"]), (&object["level"], &object["peer"]));
            let path = cut["path"].as_str().unwrap().strip_suffix(MARK).unwrap();
            assert!(text.starts_with(path.trim_end_matches('…')) && path.len() > 60, "{path}");
        }
        let many: serde_json::Map<String, Value> =
            (0..500).map(|number| (number.to_string(), Value::Null)).collect();
        let line = serde_json::to_vec(&many).unwrap();
        assert!(cut_json(&line).len() <= LINE_BYTES_MAX, "no text is left to be cut");
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
