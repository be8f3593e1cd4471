//! A disk's page of `top`: rates, latencies, memory, front ends, last events.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::figures::count;
use super::grid::{cut, parts};
use super::view::{Row, View};
use crate::cli::print::events;
use crate::cli::print::figures::{latency, waiting};
use crate::cli::print::rates::{quantile, real};
use crate::cli::print::states::state;
use crate::cli::print::tables::{bandwidth, labels, or_dash, time};
use crate::cli::values::size::human;
use crate::model::HistogramBucket;

/// The longest bar.
const MOST_BAR: usize = 60;

/// Draw the page of the disk `name`.
pub(super) fn draw(frame: &mut Frame, body: Rect, view: &View, name: &str) {
    let width = usize::from(body.width);
    let mut lines: Vec<Line> = Vec::new();
    match view.of_page() {
        Some(row) => {
            lines.extend(head(row, width));
            lines.extend(histogram(row, width));
        }
        None => lines.push(Line::from(cut(&format!("{name} is gone"), width))),
    }
    lines.push(heading("Last events"));
    let events = view.events.as_deref();
    match events {
        None => lines.push(Line::from("...")),
        Some([]) => lines.push(Line::from("none")),
        Some(_) => {}
    }
    // The newest first, since the bottom of the page may not fit.
    let newest = events.unwrap_or_default().iter().rev();
    lines.extend(newest.map(|event| Line::from(cut(events::event(event).trim_end(), width))));
    frame.render_widget(Paragraph::new(lines), body);
}

fn heading(text: &str) -> Line<'static> {
    Line::styled(text.to_owned(), Style::new().add_modifier(Modifier::BOLD))
}

/// Rates, memory and front ends.
fn head(row: &Row, width: usize) -> Vec<Line<'static>> {
    let (disk, rates, stats) = (&row.disk, &row.rates, &row.stats);
    let all = latency(stats);
    let part = |part| quantile(&all, part).map_or_else(|| "-".into(), time);
    let line = |all: &[String]| Line::from(parts(all, width));
    let mut lines = vec![
        heading(&cut(&disk.name, width)),
        line(&[
            format!("read {}/s", count(rates.read_iops)),
            bandwidth(rates.read_bytes),
            format!("write {}/s", count(rates.write_iops)),
            bandwidth(rates.write_bytes),
            format!("other {}/s", count(rates.other_iops)),
            format!("errors {}/s", count(rates.errors)),
        ]),
        line(&[
            format!("{} in flight", stats.in_flight),
            format!("{} waiting", waiting(stats)),
            format!("P50 {}", part(0.5)),
            format!("P99 {}", part(0.99)),
            format!("P99.9 {}", part(0.999)),
            "since it was created".into(),
        ]),
        line(&[
            format!("memory {}", human(disk.charged_bytes)),
            format!("mapped {}", human(disk.mapped_bytes)),
            format!("size {}", human(disk.size_bytes)),
            format!(
                "quota {}",
                disk.quota_bytes.map_or_else(|| "none".into(), human)
            ),
            format!("{} snapshots", disk.snapshots.len()),
        ]),
        line(&[
            format!("state {}", state(disk)),
            format!("group {}", or_dash(disk.group.clone().unwrap_or_default())),
            cut(&format!("labels {}", labels(disk)), width),
        ]),
    ];
    for front_end in &disk.front_ends {
        let pid = front_end
            .pid
            .map_or_else(|| "?".into(), |pid| pid.to_string());
        let is = if front_end.live {
            "its queues run"
        } else {
            "no queue runs"
        };
        lines.push(line(&[
            format!("front end: process {pid}"),
            format!("session {}", front_end.session),
            is.to_owned(),
        ]));
    }
    if disk.front_ends.is_empty() {
        lines.push(Line::from("no front end"));
    }
    lines
}

/// Latencies since the reading before, or of all time if there were none since.
fn histogram(row: &Row, width: usize) -> Vec<Line<'static>> {
    let all = latency(&row.stats);
    let before = row.before.as_ref().map(latency).unwrap_or_default();
    let recent: Vec<HistogramBucket> = all
        .iter()
        .enumerate()
        .map(|(at, bucket)| HistogramBucket {
            le_seconds: bucket.le_seconds,
            count: bucket
                .count
                .saturating_sub(before.get(at).map_or(0, |it| it.count)),
        })
        .collect();
    let is_recent = !before.is_empty() && recent.last().is_some_and(|it| it.count > 0);
    let (what, buckets) = match is_recent {
        true => ("Latency of the last interval", recent),
        false => ("Latency since it was created", all),
    };
    let used: Vec<(String, u64)> = HistogramBucket::parts(&buckets)
        .filter(|(_, count)| *count > 0)
        .map(|(le, count)| {
            (
                le.map_or_else(|| "more".into(), |le| format!("<= {}", time(le))),
                count,
            )
        })
        .collect();
    let total: u64 = used.iter().map(|(_, count)| count).sum();
    let most = used.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let mut lines = vec![heading(what)];
    if used.is_empty() {
        lines.push(Line::from("no requests yet"));
    }
    for (label, count) in used {
        let percent = 100.0 * real(count) / real(total.max(1));
        let figures = format!("{label:>12} {count:>12} {percent:>5.1} % ");
        let room = width.saturating_sub(figures.chars().count()).min(MOST_BAR);
        lines.push(Line::from(figures + &bar(real(count) / real(most), room)));
    }
    lines
}

/// A bar of this part of `room` cells, in eighths of them.
fn bar(part: f64, room: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "it is between 0 and 480"
    )]
    let eighths = (part.clamp(0.0, 1.0) * (room * 8) as f64).round() as usize;
    // What is there is visible.
    let eighths = eighths.max(1).min(room * 8);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}
