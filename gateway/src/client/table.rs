//! Lines in columns.

use std::fmt;

/// A table with a heading, each column as wide as its widest cell.
pub(super) struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// With these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row, of as many cells as there are headings.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len(), "{cells:?}");
        self.rows.push(cells);
    }

    /// Whether there is none but the heading.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rows[0].len();
        let wide = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max();
        let widths: Vec<usize> = (0..count).map(|at| wide(at).unwrap_or(0)).collect();
        for row in &self.rows {
            for (at, text) in row.iter().enumerate() {
                if at + 1 == count {
                    writeln!(out, "{text}")?;
                } else {
                    write!(out, "{text:<width$}  ", width = widths[at])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = TextTable::new(&["ID", "ROUTE", "N"]);
        assert!(table.is_empty());
        table.row(vec!["é".into(), "/a".into(), "12345".into()]);
        table.row(vec!["abc".into(), "/".into(), "1".into()]);
        assert_eq!(table.to_string(), "ID   ROUTE  N\né    /a     12345\nabc  /      1\n");
    }
}
