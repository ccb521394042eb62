//! Tables in Markdown that are readable as they are.

use std::fmt;

/// A table: the first column to the left, the others to the right.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: Vec<String>) -> Self {
        Self { rows: vec![head] }
    }

    /// Adds a row with as many cells as the head has.
    pub(super) fn push(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "every row has all columns");
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let column = |index: usize| self.rows.iter().map(move |row| row[index].chars().count());
        (0..self.rows[0].len()).map(|index| column(index).max().unwrap_or(0).max(3)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(out, "| {cell:<width$} ")?;
                } else {
                    write!(out, "| {cell:>width$} ")?;
                }
            }
            writeln!(out, "|")?;
            if index == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let (dashes, end) = ("-".repeat(width), if column == 0 { "-" } else { ":" });
                    write!(out, "|-{dashes}{end}")?;
                }
                writeln!(out, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(vec!["server".into(), "B".into()]);
        table.push(vec!["x".into(), "65.0".into()]);
        let expected = "| server |    B |\n|--------|-----:|\n| x      | 65.0 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
