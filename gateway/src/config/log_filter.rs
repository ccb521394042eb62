//! The filter of the program's log.

use tracing_subscriber::EnvFilter;

/// The filter that `text` stands for, if it stands for one. Targets and levels are ASCII, and of
/// anything else `tracing-subscriber` (0.3.23) cuts characters in two and panics.
pub(crate) fn parse(text: &str) -> Option<EnvFilter> {
    if text.is_ascii() { EnvFilter::try_new(text).ok() } else { None }
}
