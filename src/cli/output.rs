//! What the commands print with: tables, colours, durations. Coloured and aligned on a terminal, plain otherwise.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use jiff::Timestamp;

use super::error::CliError;
use crate::history::wording;
use crate::model::State;
use crate::model::escape::one_line;

/// What a command's output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: stable and documented.
    Json,
}

/// What standard output can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Whether it is a terminal, on which can be drawn again.
    pub terminal: bool,
    /// Whether to colour; `NO_COLOR` and its kin are obeyed.
    pub colour: bool,
}

impl Screen {
    /// Standard output's.
    #[must_use]
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { terminal, colour: anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never }
    }

    /// Standard error's.
    #[must_use]
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let terminal = stderr.is_terminal();
        Self { terminal, colour: anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never }
    }

    /// Neither terminal nor colours.
    #[must_use]
    pub fn plain() -> Self {
        Self { terminal: false, colour: false }
    }

    /// A table without lines whose columns are aligned. On a terminal long cells are wrapped to its width; otherwise
    /// each row is one line.
    #[must_use]
    pub fn table(self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        // A terminal that doesn't know its width says 0, and breaks long lines itself.
        let is_known = table.width().is_none_or(|width| width >= MIN_WIDTH);
        if self.terminal && is_known {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else if self.terminal {
            table.set_content_arrangement(ContentArrangement::Disabled);
        } else {
            table.force_no_tty();
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        if self.colour {
            table.enforce_styling();
        }
        table.set_header(header.iter().map(|title| self.bold(title)));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
    }

    /// A cell with text of a untrusted person.
    #[must_use]
    pub fn cell(self, text: &str) -> Cell {
        Cell::new(one_line(text))
    }

    /// A cell with a state in its colour.
    #[must_use]
    pub fn state(self, state: State) -> Cell {
        self.painted(state.as_str(), state_colour(state))
    }

    /// A cell in a colour.
    #[must_use]
    pub fn painted(self, text: &str, colour: Color) -> Cell {
        let cell = self.cell(text);
        if self.colour { cell.fg(colour) } else { cell }
    }

    fn bold(self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }
}

/// The narrowest terminal that cells are wrapped for.
const MIN_WIDTH: u16 = 40;

/// The colour that a state is shown in everywhere.
#[must_use]
pub fn state_colour(state: State) -> Color {
    match state {
        State::InSync => Color::Green,
        State::RollingOut | State::Verifying => Color::Blue,
        State::Pending => Color::Yellow,
        State::Quarantined | State::Overdue | State::Blocked => Color::Red,
        State::Suspended | State::Unknown => Color::DarkGrey,
    }
}

/// The rows of a table as text, with neither blanks at the ends of lines nor a newline at the end.
#[must_use]
pub fn table_text(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Writes text to standard output and flushes it.
///
/// # Errors
/// If it can't be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Says on standard error why a command failed: coloured on a terminal.
pub fn complain(error: &CliError) {
    let stderr = io::stderr();
    let colour = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
    note(&error.report(colour));
}

/// Says something on standard error.
pub fn note(text: &str) {
    // Nobody would read it if this can't be written.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// How long ago, for a column: [`wording::ago`] in one word, such as `12m`.
#[must_use]
pub fn ago(since: Timestamp, now: Timestamp) -> String {
    wording::ago(since, now).replace("min", "m").replace(' ', "")
}

/// A duration with one decimal: `1.2 s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let at = |seconds: i64| ago(now - jiff::SignedDuration::from_secs(seconds), now);
        assert_eq!([at(0), at(59), at(60), at(3599), at(3600), at(200_000)], ["0s", "59s", "1m", "59m", "1h", "2d"]);
        assert_eq!(at(-5), "0s", "their clock may be ahead of ours");
    }

    #[test]
    fn a_cell_cannot_break_its_row() {
        let screen = Screen::plain();
        let mut table = screen.table(&["A", "B"]);
        table.add_row([screen.cell("x\ny\u{1b}[2J"), screen.cell("z")]);
        assert_eq!(table_text(&table), "A              B\nx\\ny\\u{1b}[2J  z");
    }
}
