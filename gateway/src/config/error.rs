//! Everything that is wrong with a configuration file, and where.

use std::collections::HashSet;
use std::fmt;

/// All errors of one configuration file, in the order of its lines; never empty.
///
/// Displayed, each is one line: `tidegate.toml:12: limits.connections: must be between 16 and
/// 4194304, is 3`. By `Debug` it says the same, below an empty line: that is how an error is shown
/// that `main` returns.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    file_name: String,
    errors: Vec<ConfigError>,
}

/// One error of a configuration file.
///
/// Displayed, it is a line without the file's name: `12: limits.connections: must be …`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigError {
    /// The line, counted from 1.
    pub line: usize,
    /// The character of that line, counted from 1, where the error is inside a value or in the
    /// syntax.
    pub column: Option<usize>,
    /// The path of the key, such as `listener[0].stack`, its tables counted from 0. Empty for an
    /// error of the syntax.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl ConfigErrors {
    /// The `errors` of the file `file_name`, which are sorted here; what the parser says of one
    /// place again and again is said once.
    pub(super) fn new(file_name: &str, mut errors: Vec<ConfigError>) -> Self {
        let mut seen = HashSet::new();
        errors.retain(|error| seen.insert(error.clone()));
        errors.sort_by_key(|error| (error.line, error.column));
        Self { file_name: file_name.into(), errors }
    }

    /// The errors, in the order of their lines.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\n{self}")
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(out, "{separator}{}:{error}", self.file_name)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.line)?;
        if let Some(column) = self.column {
            write!(out, "{column}:")?;
        }
        if !self.key.is_empty() {
            write!(out, " {}:", self.key)?;
        }
        write!(out, " {}", self.message)
    }
}

impl std::error::Error for ConfigErrors {}
