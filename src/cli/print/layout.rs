//! Tables, pairs and long lines, as wide as the terminal that shows them.
//!
//! What a program reads is never folded: a row is a line.

use std::fmt::Write;
use std::io::IsTerminal;

use comfy_table::{Cell, CellAlignment, Table};

/// Between two columns.
const GAP: usize = 2;
/// The least room for a last column beside the others. With less, it has lines of its own.
const LEAST_LAST: usize = 16;
/// Where what goes on below a row begins.
const BELOW: usize = 4;
/// A narrower terminal gets lines as they are.
const LEAST_COLUMNS: usize = 40;

/// Columns of the terminal that shows stdout; `None` if a program may read it.
pub(in crate::cli) fn columns() -> Option<usize> {
    columns_of(&std::io::stdout())
}

/// Columns of the terminal that shows this stream; `None` if a program may read it.
pub(in crate::cli) fn columns_of(stream: &impl IsTerminal) -> Option<usize> {
    // Snapshots of tests are the same wherever a person runs them.
    if cfg!(test) || !stream.is_terminal() {
        return None;
    }
    #[cfg(feature = "top")]
    {
        let (columns, _) = ratatui::crossterm::terminal::size().ok()?;
        Some(columns.into()).filter(|&columns| columns >= LEAST_COLUMNS)
    }
    #[cfg(not(feature = "top"))]
    None
}

/// Columns that a text takes.
fn wide(text: &str) -> usize {
    text.chars().count()
}

/// Rows under headings, with columns of numbers to the right.
pub(in crate::cli) fn table(head: &[&str], numbers: &[usize], rows: Vec<Vec<String>>) -> String {
    fitted(head, numbers, rows, columns())
}

/// The rows without the headings: a row is a line, for programs.
pub(in crate::cli) fn bare(head: &[&str], numbers: &[usize], rows: Vec<Vec<String>>) -> String {
    let text = plain(head, numbers, rows);
    text.split_once('\n')
        .map_or(String::new(), |(_, rows)| rows.to_owned())
}

/// A table of at most that many columns, if it ends with text. The last one is folded; without room
/// for that, as many as need be have lines of their own below each row.
fn fitted(
    head: &[&str],
    numbers: &[usize],
    mut rows: Vec<Vec<String>>,
    columns: Option<usize>,
) -> String {
    let last = head.len().saturating_sub(1);
    let Some(columns) = columns.filter(|_| last > 0 && !numbers.contains(&last)) else {
        return plain(head, numbers, rows);
    };
    let widest = |at: usize| {
        let cells = rows.iter().map(|row| wide(&row[at]));
        cells.max().unwrap_or(0).max(wide(head[at]))
    };
    let widths: Vec<usize> = (0..head.len()).map(widest).collect();
    let others: usize = widths[..last].iter().map(|width| width + GAP).sum();
    if others + widths[last] <= columns {
        return plain(head, numbers, rows);
    }
    let room = columns.saturating_sub(others);
    if room >= LEAST_LAST.max(wide(head[last])) {
        for row in &mut rows {
            row[last] = folded_cell(&row[last], room);
        }
        return plain(head, numbers, rows);
    }
    let fits = |stay: usize| widths[..stay].iter().sum::<usize>() + GAP * (stay - 1) <= columns;
    let may_move = |at: &usize| *at > 0 && !numbers.contains(at);
    let stays = (0..=last).rev().take_while(may_move);
    let stay = stays.clone().find(|&stay| fits(stay)).or(stays.last());
    let stay = stay.unwrap_or(last);
    let below = |cells: &[String]| folded_cell(&cells.join("  "), columns - BELOW);
    let heads: Vec<String> = head[stay..].iter().map(|it| (*it).to_owned()).collect();
    let mut lasts = vec![below(&heads)];
    lasts.extend(rows.iter_mut().map(|row| below(&row.split_off(stay))));
    let mut all = String::new();
    for (line, below) in plain(&head[..stay], numbers, rows).lines().zip(lasts) {
        let _ = writeln!(all, "{line}");
        // A dash says that there is none, which an empty place says too.
        for line in below.lines().filter(|line| *line != "-") {
            let _ = writeln!(all, "{:BELOW$}{line}", "");
        }
    }
    all
}

fn plain(head: &[&str], numbers: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let cell = |(at, text): (usize, String)| {
        let side = match numbers.contains(&at) {
            true => CellAlignment::Right,
            false => CellAlignment::Left,
        };
        Cell::new(text).set_alignment(side)
    };
    let heads = head.iter().map(|text| (*text).to_owned());
    table.set_header(heads.enumerate().map(cell));
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A text in lines of that many columns.
fn folded_cell(text: &str, columns: usize) -> String {
    let mut all = Lines::new(0, columns);
    pieces(text, columns).for_each(|piece| all.add(piece));
    all.text
}

/// The words of a text, each with the spaces behind it. One that is longer than a line ends behind
/// each of its commas, as those of labels and faults.
fn pieces(text: &str, columns: usize) -> impl Iterator<Item = &str> {
    let words = text.split_inclusive(' ');
    words.flat_map(move |word| -> Vec<&str> {
        match wide(word.trim_end()) > columns {
            true => word.split_inclusive(',').collect(),
            false => vec![word],
        }
    })
}

/// Keys and values, one pair per line, or more where the terminal is too narrow for a value.
pub(in crate::cli) fn pairs(rows: &[(&str, String)]) -> String {
    let indent = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let columns = columns();
    let mut text = String::new();
    for (key, value) in rows {
        let line = format!("{key:indent$}  {value}");
        let _ = writeln!(text, "{}", folded(&line, indent + GAP, columns));
    }
    text
}

/// A line in as many as `columns` demand. Each goes on below column `indent` of the first one,
/// before which there is no place to break.
pub(in crate::cli) fn folded(line: &str, indent: usize, columns: Option<usize>) -> String {
    let Some(columns) = columns.filter(|&columns| columns >= indent + LEAST_LAST) else {
        return line.to_owned();
    };
    let mut all = Lines::new(indent, columns);
    pieces(line, columns - indent).for_each(|piece| all.add(piece));
    all.text
}

/// Lines that are being filled.
#[derive(Debug)]
struct Lines {
    text: String,
    /// Columns of the last line that are taken.
    used: usize,
    /// Where the lines but the first begin, and before which the first doesn't end.
    indent: usize,
    columns: usize,
}

impl Lines {
    fn new(indent: usize, columns: usize) -> Self {
        Self {
            text: String::new(),
            used: 0,
            indent,
            columns,
        }
    }

    fn add(&mut self, piece: &str) {
        let is_full = self.used + wide(piece.trim_end()) > self.columns;
        if is_full && self.used > self.indent {
            self.text.truncate(self.text.trim_end_matches(' ').len());
            let _ = write!(self.text, "\n{:1$}", "", self.indent);
            self.used = self.indent;
        }
        self.text.push_str(piece);
        self.used += wide(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(last: [&str; 2]) -> Vec<Vec<String>> {
        let row = |number: &str, last: &str| vec!["name".into(), number.into(), last.into()];
        vec![row("5", last[0]), row("12345", last[1])]
    }

    const HEAD: [&str; 3] = ["NAME", "N", "RULE"];

    #[test]
    fn a_table_is_as_wide_as_it_is_where_no_terminal_shows_it() {
        let long = "error,op=write,range=1M+4K";
        let text = fitted(&HEAD, &[1], rows(["-", long]), None);
        assert_eq!(
            text,
            "NAME      N  RULE\nname      5  -\nname  12345  error,op=write,range=1M+4K\n"
        );
        assert_eq!(fitted(&HEAD, &[1], rows(["-", long]), Some(80)), text);
    }

    #[test]
    fn a_last_column_that_is_too_wide_is_folded_and_loses_nothing() {
        let long = "error,op=write,range=1M+4K";
        assert_eq!(
            fitted(&HEAD, &[1], rows(["-", long]), Some(32)),
            "NAME      N  RULE\n\
             name      5  -\n\
             name  12345  error,op=write,\n             range=1M+4K\n"
        );
    }

    #[test]
    fn a_last_column_without_room_has_lines_of_its_own() {
        let path = "/images/a/b/c/debian-12-generic.raw";
        assert_eq!(
            fitted(&HEAD, &[1], rows(["-", path]), Some(28)),
            "NAME      N\n    RULE\n\
             name      5\n\
             name  12345\n    /images/a/b/c/debian-12-generic.raw\n"
        );
        let rate = "read 500 requests/s";
        assert_eq!(folded_cell(rate, 18), "read 500\nrequests/s");
        // As many go there as need be, beside each other.
        let head = ["NAME", "DIGEST", "SOURCE"];
        let row = vec![
            "a-name-of-twenty-eight-chars".into(),
            "ab12".into(),
            "/a/b".into(),
        ];
        assert_eq!(
            fitted(&head, &[], vec![row], Some(32)),
            "NAME\n    DIGEST  SOURCE\na-name-of-twenty-eight-chars\n    ab12  /a/b\n"
        );
        // Figures stay where they are, however wide.
        let wide = fitted(
            &["A", "B"],
            &[1],
            vec![vec!["a".into(), "1".repeat(90)]],
            Some(40),
        );
        assert_eq!(wide.lines().count(), 2);
    }

    #[test]
    fn a_long_line_goes_on_below_its_text_on_a_terminal_and_only_there() {
        let line = "note     landlock       the kernel shows nothing; mount securityfs";
        assert_eq!(folded(line, 24, None), line);
        assert_eq!(folded(line, 24, Some(line.len())), line);
        assert_eq!(
            folded(line, 24, Some(50)),
            "note     landlock       the kernel shows nothing;\n                        mount \
             securityfs"
        );
        // No column is for text: as it is.
        assert_eq!(folded(line, 24, Some(24)), line);
        // What is longer than a line isn't broken.
        let path = format!("ok       state          {}", "x".repeat(80));
        assert_eq!(folded(&path, 24, Some(60)).lines().count(), 1);
        assert_eq!(folded("one  two  three", 0, Some(16)), "one  two  three");
        assert_eq!(
            folded("a long word  and another", 2, Some(18)),
            "a long word  and\n  another"
        );
    }
}
