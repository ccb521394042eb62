//! How far long work is, on standard error: a bar for people, and for logs a plain line now and
//! then.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// The time between two plain lines.
const EVERY: Duration = Duration::from_secs(5);

/// What a bar looks like; see `indicatif::style`.
const TEMPLATE: &str = "{msg} {wide_bar} {human_pos} of {human_len}, {rate} per second, {eta} left";

/// How many are shown, or would be.
static BARS: AtomicUsize = AtomicUsize::new(0);

/// Shows how far some work is. A bar goes away with this value; lines stay. Of work that is part of
/// other work that is shown, nothing is.
#[derive(Debug)]
pub struct Bar(Shown);

#[derive(Debug)]
enum Shown {
    Drawn(ProgressBar),
    Said(Lines),
    Nothing,
}

/// What plain lines are made of.
#[derive(Debug)]
struct Lines {
    total: u64,
    what: String,
    so_far: u64,
    said: Instant,
}

/// Begins to show work on `total` things; `what` is said of those that it is done with, such as
/// "opened".
#[must_use]
pub fn bar(total: u64, what: &str) -> Bar {
    if BARS.fetch_add(1, Ordering::Relaxed) > 0 {
        return Bar(Shown::Nothing);
    }
    if !io::stderr().is_terminal() {
        return Bar(Shown::Said(Lines::new(total, what, Instant::now())));
    }
    let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
    let style = style.with_key("rate", rate);
    let bar = ProgressBar::new(total).with_style(style).with_message(what.to_owned());
    Bar(Shown::Drawn(bar))
}

/// Writes a rate without the four decimals that are indicatif's own.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // What it writes to is a string, which takes everything.
    let _ = write!(out, "{:.0}", state.per_sec());
}

impl Bar {
    /// `count` more are done.
    pub fn advance(&mut self, count: u64) {
        match &mut self.0 {
            Shown::Nothing => {}
            Shown::Drawn(bar) => bar.inc(count),
            Shown::Said(lines) => {
                if let Some(line) = lines.advance(count, Instant::now()) {
                    // Work that nobody hears about goes on all the same.
                    let _ = writeln!(io::stderr(), "{line}");
                }
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        BARS.fetch_sub(1, Ordering::Relaxed);
        if let Shown::Drawn(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    fn new(total: u64, what: &str, now: Instant) -> Self {
        Self { total, what: what.to_owned(), so_far: 0, said: now }
    }

    /// The line that is due.
    fn advance(&mut self, count: u64, now: Instant) -> Option<String> {
        self.so_far += count;
        if now.saturating_duration_since(self.said) < EVERY {
            return None;
        }
        self.said = now;
        Some(format!("{} of {} {}", self.so_far, self.total, self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_is_said_every_five_seconds_and_no_sooner() {
        let start = Instant::now();
        let mut lines = Lines::new(1000, "opened", start);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(lines.advance(10, at(4999)), None);
        assert_eq!(lines.advance(10, at(5000)).as_deref(), Some("20 of 1000 opened"));
        assert_eq!(lines.advance(0, at(9999)), None);
        assert_eq!(lines.advance(30, at(10_000)).as_deref(), Some("50 of 1000 opened"));
    }

    #[test]
    fn of_work_within_other_work_nothing_is_shown() {
        let (_outer, inner) = (bar(10, "done"), bar(10, "done"));
        assert!(matches!(inner.0, Shown::Nothing));
    }

    #[test]
    fn the_template_is_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
