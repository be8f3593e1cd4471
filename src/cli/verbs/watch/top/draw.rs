//! The drawing of `top`: the frame around a page, and pages that are tables.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::grid::{Grid, cut, parts};
use super::view::{Page, Row, View};
use super::{disk, figures};
use crate::cli::print::figures::waiting;
use crate::cli::print::rates::{Rates, real};
use crate::cli::print::tables::bandwidth;
use crate::cli::values::size::human;

/// Keys, as the bottom line has them.
const KEYS: [&str; 9] = [
    "? help",
    "q quit",
    "/ filter",
    "g sums",
    "enter disk",
    "p pause",
    "i requests",
    "m memory",
    "l latency",
];
/// Keys of a disk's page.
const BACK: [&str; 3] = ["esc back", "p pause", "q quit"];

const HELP: [(&str, &str); 16] = [
    ("up down k j", "select a disk"),
    ("PgUp PgDn Home End", "by pages, and to the ends"),
    ("enter", "the page of the selected disk, or a sum's disks"),
    ("esc", "back; without a page or filter, quit"),
    ("/", "filter by name, group or label, as in vm=web"),
    ("g", "sums by group, by each label, and back"),
    ("n", "sort by name; the same key again reverses"),
    ("i", "sort by requests per second"),
    ("b", "sort by bytes per second"),
    ("l", "sort by latency, the 99th percentile"),
    ("m", "sort by memory"),
    ("w", "sort by waiting requests"),
    ("e", "sort by errors"),
    ("p", "pause, and go on"),
    ("? h", "this page"),
    ("q", "quit"),
];

/// Draw the whole view.
pub(super) fn draw(frame: &mut Frame, view: &mut View) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let width = usize::from(head.width);
    match view.page.clone() {
        Page::Disks => table(frame, body, view, &figures::disks(view)),
        Page::Sums(by) => table(frame, body, view, &figures::sums(view, &by)),
        Page::Disk(name) => disk::draw(frame, body, view, &name),
        Page::Help => help(frame, body),
    }
    // After the page, which finds out which of its rows it shows.
    let lines = [summary(view), status(view)];
    let lines = lines.map(|all| Line::from(parts(&all, width)));
    frame.render_widget(Paragraph::new(lines.to_vec()), head);
    let keys: Vec<String> = match view.page {
        Page::Disk(_) | Page::Help => BACK.map(str::to_owned).to_vec(),
        Page::Disks | Page::Sums(_) => KEYS.map(str::to_owned).to_vec(),
    };
    let bottom = match view.is_typing {
        true => cut(
            &format!("/{}_  enter: use it, esc: no filter", view.filter),
            width,
        ),
        false => parts(&keys, width),
    };
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Line::styled(bottom, dim), foot);
}

/// Figures of all disks; what doesn't fit is left out as a whole.
fn summary(view: &View) -> Vec<String> {
    let Some(pool) = &view.pool else {
        return vec![view.socket.clone()];
    };
    let percent = 100.0 * real(pool.charged_bytes) / real(pool.limit_bytes.max(1));
    let attached = view.rows().iter().filter(|row| row.disk.attached).count();
    let (taken, limit) = (human(pool.charged_bytes), human(pool.limit_bytes));
    vec![
        format!("{} disks, {attached} attached", pool.disks),
        format!("memory {taken} of {limit}, {percent:.0} %"),
        format!("snapshots {}", pool.snapshots),
        format!("images {}", pool.images),
        format!("workers {}", pool.workers),
        format!("at {}", view.socket),
    ]
}

/// Rates of all disks, and what the keys have set.
fn status(view: &View) -> Vec<String> {
    if let Some(trouble) = &view.trouble {
        return vec![trouble.clone(), "no new figures".into()];
    }
    let rates = Rates::sum(view.rows().iter().map(|row| &row.rates));
    let waits: u64 = view
        .rows()
        .iter()
        .map(|row: &Row| waiting(&row.stats))
        .sum();
    let order = if view.is_reversed { ", reversed" } else { "" };
    let mut all = Vec::new();
    if view.is_paused {
        all.push("PAUSED".to_owned());
    }
    if let Some((by, value)) = &view.only {
        let value = value.as_deref().unwrap_or("-");
        let by = by.to_string();
        let by = by.strip_prefix("label=").unwrap_or(&by);
        all.push(format!("{by}={value}: {}", view.shown().count()));
    }
    if !view.filter.is_empty() {
        all.push(format!(
            "filter {:?}: {}",
            view.filter,
            view.shown().count()
        ));
    }
    all.extend([
        format!("{:.0} requests/s", rates.iops()),
        format!("read {}", bandwidth(rates.read_bytes)),
        format!("write {}", bandwidth(rates.write_bytes)),
        format!("{waits} waiting"),
    ]);
    if let Page::Sums(by) = &view.page {
        all.push(format!("sums by {by}"));
    }
    all.push(format!("by {}{order}", view.sort.name()));
    all.extend(view.part());
    all
}

/// A table, with the selected row reversed.
fn table(frame: &mut Frame, body: Rect, view: &mut View, grid: &Grid) {
    let shown = grid.fit(body.width.into());
    let room = usize::from(body.height.saturating_sub(1));
    view.scroll(room);
    let rows = grid.rows.iter().enumerate().skip(view.first).take(room);
    let rows = rows.map(|(at, row)| {
        let style = match at == view.selected {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        grid.line(row, &shown, style)
    });
    let lines: Vec<Line> = std::iter::once(grid.heading(&shown)).chain(rows).collect();
    frame.render_widget(Paragraph::new(lines), body);
}

fn help(frame: &mut Frame, body: Rect) {
    let lines = HELP.map(|(keys, what)| Line::from(format!("{keys:<20}{what}")));
    frame.render_widget(Paragraph::new(lines.to_vec()), body);
}
