//! The drawing of `top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row as TableRow, Table};

use super::view::{Row, Sort, View};
use crate::cli::print::states::state;
use crate::cli::print::tables::{bandwidth, time};
use crate::cli::values::size::human;

/// Headings, widths of their columns, and the order that each shows.
const COLUMNS: [(&str, u16, Option<Sort>); 9] = [
    ("NAME", 20, Some(Sort::Name)),
    ("READ/s", 9, Some(Sort::Iops)),
    ("WRITE/s", 9, Some(Sort::Iops)),
    ("READ", 9, Some(Sort::Bandwidth)),
    ("WRITE", 9, Some(Sort::Bandwidth)),
    ("P99", 9, Some(Sort::Latency)),
    ("WAITING", 8, None),
    ("MEMORY", 8, Some(Sort::Memory)),
    ("STATE", 12, None),
];

/// Draw the whole view.
pub(super) fn draw(frame: &mut Frame, view: &View) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Line::from(summary(view)), head);
    let widths = COLUMNS.map(|(name, width, _)| match name {
        "NAME" => Constraint::Min(width),
        _ => Constraint::Length(width),
    });
    let heads = COLUMNS.map(|(name, width, sort)| {
        let style = match sort == Some(view.sort) {
            true => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            false => Style::new().add_modifier(Modifier::BOLD),
        };
        Cell::new(Span::styled(aligned(name, name, width), style))
    });
    let room = usize::from(body.height.saturating_sub(1));
    let rows = view.rows.iter().skip(view.first).take(room).map(row);
    let table = Table::new(rows, widths)
        .header(TableRow::new(heads))
        .column_spacing(1);
    frame.render_widget(table, body);
    let keys = "q quit   order: n name  i iops  b bandwidth  l latency  m memory   up/down scroll";
    frame.render_widget(Line::from(keys), foot);
}

fn summary(view: &View) -> String {
    let Some(pool) = &view.pool else {
        return view.socket.clone();
    };
    format!(
        "ramblk at {}: {} disks, {} snapshots, memory {} of {}",
        view.socket,
        pool.disks,
        pool.snapshots,
        human(pool.charged_bytes),
        human(pool.limit_bytes)
    )
}

/// Text to the left, numbers to the right.
fn aligned(column: &str, text: &str, width: u16) -> String {
    let width = usize::from(width);
    match column {
        "NAME" | "STATE" => text.to_owned(),
        _ => format!("{text:>width$}"),
    }
}

fn row(row: &Row) -> TableRow<'static> {
    let rates = &row.rates;
    let waiting = row.stats.throttled + row.stats.stalled;
    let state = match (state(&row.disk), row.disk.attached) {
        ("ok", true) => "attached",
        ("ok", false) => "-",
        (other, _) => other,
    };
    let texts = [
        row.disk.name.clone(),
        format!("{:.0}", rates.read_iops),
        format!("{:.0}", rates.write_iops),
        bandwidth(rates.read_bytes),
        bandwidth(rates.write_bytes),
        rates.p99_seconds.map_or_else(|| "-".into(), time),
        waiting.to_string(),
        human(row.disk.charged_bytes),
        state.to_owned(),
    ];
    let cells = COLUMNS.iter().zip(texts);
    TableRow::new(cells.map(|((name, width, _), text)| aligned(name, &text, *width)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::tests::seen;
    use super::*;

    fn screen(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let view = seen();
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_screen_shows_what_each_disk_does() {
        crate::cli::print::samples::compare("top", &screen(106, 7));
    }

    #[test]
    fn a_screen_of_any_size_can_be_drawn() {
        for (width, height) in [(1, 1), (10, 2), (40, 3), (300, 100)] {
            screen(width, height);
        }
    }
}
