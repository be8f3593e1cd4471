//! Tables that fit any width: columns are left out, and figures are never cut.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// The least room for names, unless all are shorter.
const LEAST_NAME: usize = 12;
/// The least room for a text that may be cut.
const LEAST_TEXT: usize = 8;

/// What a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Figures, to the right, which are never cut.
    Figure,
    /// Words, which are never cut.
    Word,
    /// Text that may be cut.
    Text,
}

/// A column's heading, and how much it is wanted: a lower rank more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) rank: u8,
    /// Whether the table is sorted by it.
    pub(super) is_order: bool,
}

/// A table. The first column has names, which may be cut.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) heads: Vec<Head>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A column that is shown, and its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) at: usize,
    pub(super) width: usize,
}

fn wide(text: &str) -> usize {
    text.chars().count()
}

impl Grid {
    /// The columns that fit.
    pub(super) fn fit(&self, width: usize) -> Vec<Shown> {
        let widest = |at: usize| {
            let cells = self.rows.iter().map(|row| wide(&row[at]));
            cells.max().unwrap_or(0).max(wide(self.heads[at].name))
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(widest).collect();
        let name = widths[0];
        let mut taken = name.min(LEAST_NAME);
        let mut shown = vec![Shown { at: 0, width: 0 }];
        let mut wanted: Vec<usize> = (1..self.heads.len()).collect();
        wanted.sort_unstable_by_key(|&at| (self.heads[at].rank, at));
        for at in wanted {
            let least = match self.heads[at].kind {
                Kind::Figure | Kind::Word => widths[at],
                Kind::Text => widths[at].min(LEAST_TEXT),
            };
            if taken + 1 + least <= width {
                taken += 1 + least;
                shown.push(Shown { at, width: least });
            }
        }
        // What is left goes to names, and then to texts.
        let others: usize = shown.iter().map(|it| it.width + 1).sum::<usize>() - 1;
        shown[0].width = name.min(width.saturating_sub(others));
        let mut left = width.saturating_sub(others + shown[0].width);
        for column in &mut shown[1..] {
            let more = widths[column.at].saturating_sub(column.width).min(left);
            column.width += more;
            left -= more;
        }
        shown.sort_unstable_by_key(|it| it.at);
        shown
    }

    /// A row as it is shown.
    pub(super) fn line(&self, row: &[String], shown: &[Shown], style: Style) -> Line<'static> {
        let cells = shown.iter().map(|column| {
            let cell = aligned(&row[column.at], self.heads[column.at].kind, column.width);
            Span::styled(cell, style)
        });
        join(cells, style)
    }

    /// The headings as they are shown.
    pub(super) fn heading(&self, shown: &[Shown]) -> Line<'static> {
        let cells = shown.iter().map(|column| {
            let head = &self.heads[column.at];
            let mut style = Style::new().add_modifier(Modifier::BOLD);
            if head.is_order {
                style = style.add_modifier(Modifier::UNDERLINED);
            }
            Span::styled(aligned(head.name, head.kind, column.width), style)
        });
        join(cells, Style::new())
    }
}

fn join(cells: impl Iterator<Item = Span<'static>>, style: Style) -> Line<'static> {
    let mut spans = Vec::new();
    for cell in cells {
        if !spans.is_empty() {
            spans.push(Span::styled(" ", style));
        }
        spans.push(cell);
    }
    Line::from(spans)
}

fn aligned(text: &str, kind: Kind, width: usize) -> String {
    match kind {
        Kind::Figure => format!("{text:>width$}"),
        Kind::Word | Kind::Text => format!("{:<width$}", cut(text, width)),
    }
}

/// The beginning of a text, with a mark if it is longer.
pub(super) fn cut(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

/// As many of these parts as fit as a whole, with two spaces between.
pub(super) fn parts(all: &[String], width: usize) -> String {
    let mut line = String::new();
    for part in all {
        let between = if line.is_empty() { 0 } else { 2 };
        if wide(&line) + between + wide(part) <= width {
            line.push_str(&" ".repeat(between));
            line.push_str(part);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_with_a_mark_and_parts_are_left_out() {
        assert_eq!(
            (cut("abc", 3), cut("abcd", 3), cut("ab", 0)),
            ("abc".into(), "ab…".into(), String::new())
        );
        let all = ["one".to_owned(), "twenty".to_owned(), "3".to_owned()];
        assert_eq!(parts(&all, 20), "one  twenty  3");
        assert_eq!(parts(&all, 8), "one  3");
    }
}
