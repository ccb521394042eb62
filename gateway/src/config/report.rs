//! Collects errors while a configuration is read, and turns byte offsets into lines.

use toml::de::Error as SyntaxError;

use super::error::{ConfigError, ConfigErrors};

/// The errors found so far in one file.
pub(super) struct Report<'t> {
    text: &'t str,
    /// The byte that each line begins at; the first is 0.
    line_starts: Vec<usize>,
    /// The lines that have a syntax error, sorted. What is read from them is guesswork.
    broken_lines: Vec<usize>,
    /// The first line whose table header has a syntax error. Keys below it are in the wrong table.
    broken_header: Option<usize>,
    errors: Vec<ConfigError>,
}

impl<'t> Report<'t> {
    /// A report on `text`, which has the errors `syntax` already.
    pub(super) fn new(text: &'t str, syntax: &[SyntaxError]) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let mut report = Self {
            text,
            line_starts: std::iter::once(0).chain(newlines).collect(),
            broken_lines: Vec::new(),
            broken_header: None,
            errors: Vec::new(),
        };
        for error in syntax {
            report.syntax(error);
        }
        report.broken_lines.sort_unstable();
        let is_header = |line: &usize| report.line_text(*line).trim_start().starts_with('[');
        report.broken_header = report.broken_lines.iter().copied().find(is_header);
        report
    }

    fn syntax(&mut self, error: &SyntaxError) {
        let offset = error.span().map_or(self.text.len(), |span| span.start);
        let line = self.line(offset);
        self.broken_lines.push(line);
        let column = Some(self.column(offset));
        let message = format!("not TOML: {}", error.message());
        self.errors.push(ConfigError { line, column, key: String::new(), message });
    }

    /// Whether the file has syntax errors: then what seems to be missing may be there.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken_lines.is_empty()
    }

    /// Notes that the value or key at byte `offset` is wrong.
    pub(super) fn error(&mut self, offset: usize, key: String, message: String) {
        self.push(offset, false, key, message);
    }

    /// As [`Report::error`], with the column: for an error inside of a value.
    pub(super) fn error_within(&mut self, offset: usize, key: String, message: String) {
        self.push(offset, true, key, message);
    }

    fn push(&mut self, offset: usize, within: bool, key: String, message: String) {
        let line = self.line(offset);
        let is_below_header = self.broken_header.is_some_and(|header| header < line);
        if is_below_header || self.broken_lines.binary_search(&line).is_ok() {
            return;
        }
        let column = within.then(|| self.column(offset));
        self.errors.push(ConfigError { line, column, key, message });
    }

    /// The line of byte `offset`, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The character of its line that byte `offset` is in, counted from 1.
    fn column(&self, offset: usize) -> usize {
        let line = self.line(offset);
        let before = offset - self.line_starts[line - 1];
        self.line_text(line).char_indices().take_while(|(at, _)| *at < before).count() + 1
    }

    /// The text of `line`, which is counted from 1, without its end.
    fn line_text(&self, line: usize) -> &'t str {
        let rest = &self.text[self.line_starts[line - 1]..];
        rest.split('\n').next().unwrap_or_default()
    }

    /// The source text of bytes `span`, empty if the span is not one of the text.
    pub(super) fn source(&self, span: std::ops::Range<usize>) -> &'t str {
        self.text.get(span).unwrap_or_default()
    }

    /// `value` if nothing was wrong, else all errors.
    pub(super) fn finish<T>(self, value: T, file_name: &str) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        Err(ConfigErrors::new(file_name, self.errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let text = "a\nb\u{e9}c\n\nd";
        let report = Report::new(text, &[]);
        for (offset, line, column) in
            [(0, 1, 1), (1, 1, 2), (2, 2, 1), (3, 2, 2), (5, 2, 3), (7, 3, 1), (8, 4, 1), (9, 4, 2)]
        {
            assert_eq!((report.line(offset), report.column(offset)), (line, column), "{offset}");
        }
    }
}
