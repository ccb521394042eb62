//! The filter of the program's log.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The filter that `text` stands for, if it stands for one. Targets and levels are ASCII, and of
/// anything else `tracing-subscriber` (0.3.23) cuts characters in two and panics.
pub(crate) fn parse(text: &str) -> Option<EnvFilter> {
    if text.is_ascii() { EnvFilter::try_new(text).ok() } else { None }
}

/// The words of a filter that are no level, and name nothing that is said here: a level that is
/// misspelt is taken for a target, and then nothing is logged.
pub(super) fn unknown_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| {
        let is_level = word.parse::<LevelFilter>().is_ok();
        let is_ours = word.starts_with("tidegate");
        !word.is_empty() && !is_level && !is_ours && !word.contains(['=', '[', '{'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_misspelt_is_noticed() {
        let unknown = |text| unknown_words(text).collect::<Vec<_>>();
        assert_eq!(unknown("inof"), ["inof"]);
        assert_eq!(unknown("warn, debgu,tidegate::frames"), ["debgu"]);
        for right in ["", "info", "WARN", "off", "3", "warn,tidegate=debug", "hyper=trace,info"] {
            assert_eq!(unknown(right), [""; 0], "{right}");
        }
    }
}
