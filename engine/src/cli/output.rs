//! Printing: tables for people, JSON for programs.

use std::io::Write;

use super::args::Format;
use super::exit::CliError;

/// Where results go, and in which form.
pub struct Out<'a> {
    /// Standard output, buffered.
    pub writer: &'a mut dyn Write,
    /// Form.
    pub format: Format,
}

impl Out<'_> {
    /// Whether results are for programs.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints one JSON document.
    pub fn json(&mut self, value: &serde_json::Value) -> Result<(), CliError> {
        writeln!(self.writer, "{value:#}")?;
        Ok(())
    }

    /// Prints a line for people.
    pub fn line(&mut self, text: impl std::fmt::Display) -> Result<(), CliError> {
        writeln!(self.writer, "{text}")?;
        Ok(())
    }

    /// Prints a table for people.
    pub fn table(&mut self, table: &Table) -> Result<(), CliError> {
        self.writer.write_all(table.render().as_bytes())?;
        Ok(())
    }
}

/// Columns of text; those whose cells are all numbers stand to the right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Table {
            rows: vec![headings.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row; cells beyond the headings are not allowed.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(
            cells.len(),
            self.rows[0].len(),
            "a row has as many cells as the table has headings"
        );
        self.rows.push(cells);
    }

    fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let numeric = |cell: &str| {
            cell == "-" || !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || c == '-')
        };
        let right: Vec<bool> = (0..columns)
            .map(|column| self.rows.len() > 1 && self.rows[1..].iter().all(|row| numeric(&row[column])))
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                let cell = if right[column] {
                    format!("{pad}{cell}")
                } else {
                    format!("{cell}{pad}")
                };
                if column > 0 {
                    line.push_str("  ");
                }
                line.push_str(&cell);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Numbers with commas.
pub fn list(numbers: &[i32]) -> String {
    numbers
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// A number, or `-` when there is none.
pub fn or_dash<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_lines_have_no_trailing_space() {
        let mut table = Table::new(&["NAME", "COUNT", "NOTE"]);
        table.row(["a".into(), "7".into(), String::new()]);
        table.row(["größer".into(), "1234567".into(), "x".into()]);
        assert_eq!(
            table.render(),
            "NAME      COUNT  NOTE\na             7\ngrößer  1234567  x\n"
        );
    }
}
