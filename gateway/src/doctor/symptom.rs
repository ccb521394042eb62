//! One thing that was looked at, and how a person reads of it.

use std::fmt;

use crate::bill::grouped;

/// The columns: how it stands, what it is, what there is, what is wanted.
const WHAT_WIDTH: usize = 34;
const NUMBER_WIDTH: usize = 19;

/// The widest line of a text, beside what it begins with.
const TEXT_WIDTH: usize = 84;

/// One thing that was looked at. Displayed, it is a row of the table, with what to do about it
/// below.
#[derive(Clone, Debug)]
pub struct Symptom {
    what: &'static str,
    is: String,
    wanted: String,
    verdict: Verdict,
    /// What to change, a line each, as it has to be written.
    changes: Vec<String>,
    why: String,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// Nothing is in the way, and there is something to know.
    Noted,
    Short,
}

impl Symptom {
    /// Something that fits.
    pub(super) fn new(
        what: &'static str,
        is: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Self {
        let (is, wanted) = (is.into(), wanted.into());
        Self { what, is, wanted, verdict: Verdict::Fits, changes: Vec::new(), why: String::new() }
    }

    /// Something of which there are so many, and so many are wanted. If those are more, it is short
    /// until [`Symptom::remedy`] says what to do, which is dropped otherwise.
    pub(super) fn counted(what: &'static str, is: Option<u64>, wanted: u64) -> Self {
        let Some(is) = is else {
            let why = "it cannot be read here, so nothing is said of it";
            return Self::new(what, "unknown", grouped(wanted)).noted(why);
        };
        let verdict = if is < wanted { Verdict::Short } else { Verdict::Fits };
        Self { verdict, ..Self::new(what, grouped(is), grouped(wanted)) }
    }

    /// With what there is to know about it, though it fits.
    pub(super) fn noted(self, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Noted, why: why.into(), ..self }
    }

    /// It is in the way.
    pub(super) fn short(self) -> Self {
        Self { verdict: Verdict::Short, ..self }
    }

    /// What to do about it if it does not fit, and why.
    pub(super) fn remedy(self, changes: &[String], why: impl Into<String>) -> Self {
        match self.verdict {
            Verdict::Short => Self { changes: changes.to_vec(), why: why.into(), ..self },
            Verdict::Fits | Verdict::Noted => self,
        }
    }

    /// What to write if what was noted is to be otherwise.
    pub(super) fn advice(self, changes: &[String]) -> Self {
        Self { changes: changes.to_vec(), ..self }
    }

    /// Whether it is in the way.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.verdict == Verdict::Short
    }

    #[cfg(test)]
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// The heading of the table.
pub(super) fn heading(out: &mut fmt::Formatter<'_>) -> fmt::Result {
    row(out, "", "", "is", "wanted")
}

impl fmt::Display for Symptom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Fits => "ok",
            Verdict::Noted => "note",
            Verdict::Short => "SHORT",
        };
        row(out, verdict, self.what, &self.is, &self.wanted)?;
        for change in &self.changes {
            writeln!(out, "         change  {change}")?;
        }
        wrapped(out, &self.why)
    }
}

fn row(
    out: &mut fmt::Formatter<'_>,
    verdict: &str,
    what: &str,
    is: &str,
    wanted: &str,
) -> fmt::Result {
    let line = format!("{verdict:7}{what:WHAT_WIDTH$}{is:>NUMBER_WIDTH$}{wanted:>NUMBER_WIDTH$}");
    writeln!(out, "{}", line.trim_end())
}

/// A reason, in as many lines as it takes.
fn wrapped(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut line = String::new();
    let mut begin = "why     ";
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > TEXT_WIDTH {
            writeln!(out, "         {begin}{line}")?;
            (begin, line) = ("        ", String::new());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.is_empty() {
        return Ok(());
    }
    writeln!(out, "         {begin}{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_says_what_to_change_and_what_fits_does_not() {
        let of = |is| {
            let it = Symptom::counted("open files", is, 1024);
            it.remedy(&["ulimit -n 1024".into()], "each connection takes one")
        };
        assert!(of(Some(1023)).is_short());
        let text = of(Some(1023)).to_string();
        assert!(text.starts_with("SHORT  open files ") && text.contains("1,023"), "{text}");
        assert!(text.contains("\n         change  ulimit -n 1024\n"), "{text}");
        assert!(text.ends_with("         why     each connection takes one\n"), "{text}");
        assert_eq!(of(Some(1024)).to_string().lines().count(), 1);
        assert_eq!(of(None).verdict(), Verdict::Noted);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let long = Symptom::new("what", "is", "wanted").noted("a few words ".repeat(40));
        let text = long.to_string();
        assert!(text.lines().all(|line| line.len() <= 101), "{text}");
        assert_eq!(text.matches("few").count(), 40);
    }
}
