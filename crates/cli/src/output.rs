//! Results on standard output, in the form that was asked for; progress on standard error.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use quorate_client::model::UnixMillis;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{args::Format, error::CliError};

/// Prints a result: JSON as it is, or the lines of a table.
pub(crate) fn print(format: Format, json: &Value, table: &Table) -> Result<(), CliError> {
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(json)
                .map_err(|error| CliError::Output(error.into()))?;
            print_text(&format!("{text}\n"))
        }
        Format::Table => print_text(&table.to_string()),
    }
}

/// Prints exact text.
pub(crate) fn print_text(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CliError::Output)
}

/// Columns of text, aligned. Cells come partly from other machines, so that control characters
/// are shown and not obeyed by the terminal.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a line of column names.
    pub(crate) fn with_header(names: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(names.iter().copied());
        table
    }

    /// Adds a line.
    pub(crate) fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| printable(&cell.to_string()))
                .collect(),
        );
    }

    /// Adds the lines of another table.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.rows.append(&mut other.rows);
    }

    /// Adds a line with a name and a value.
    pub(crate) fn pair(&mut self, name: &str, value: impl std::fmt::Display) {
        self.row([name.to_owned(), value.to_string()]);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Text with its control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A moment as people and programs read it: RFC 3339, in UTC.
pub(crate) fn time(at: UnixMillis) -> String {
    i64::try_from(at.0.div_euclid(1_000))
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} ms", at.0))
}

/// Tells a person how things go, on standard error.
pub(crate) fn progress(text: &str) {
    eprintln!("{}", printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::with_header(&["NAME", "STATE"]);
        table.row(["hot", "ACTIVE"]);
        table.row(["treasury", ""]);

        assert_eq!(
            table.to_string(),
            "NAME      STATE\nhot       ACTIVE\ntreasury\n"
        );
    }

    #[test]
    fn a_moment_is_told_to_the_second() {
        assert_eq!(time(UnixMillis(1_800_000_000_999)), "2027-01-15T08:00:00Z");
    }

    #[test]
    fn control_characters_from_elsewhere_do_not_reach_the_terminal() {
        let mut table = Table::default();
        table.row(["\u{1b}[31mred\r\n"]);

        assert_eq!(table.to_string(), "\\u{1b}[31mred\\r\\n\n");
    }
}
