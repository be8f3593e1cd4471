//! The history of a disk, as text.

use super::counted;
use super::findings::clock;
use super::layout::table;
use crate::cli::values::size::human;
use crate::model::History;

/// `ramblk history list`.
pub(in crate::cli) fn points(history: &History) -> String {
    if history.settings.is_none() {
        return format!(
            "{} has no history: 'ramblk history on' begins one\n",
            history.disk
        );
    }
    let rows = history.points.iter().map(|point| {
        vec![
            format!("{}@{}", history.disk, point.name),
            clock(point.at_ms),
            point.held_bytes.map_or_else(|| "-".into(), human),
        ]
    });
    let mut text = table(&["POINT", "TIME", "HELD"], &[2], rows.collect());
    if history.amount.missed > 0 {
        let were = if history.amount.missed == 1 {
            "was"
        } else {
            "were"
        };
        let missed = counted(history.amount.missed, "moment");
        text += &format!("{missed} {were} missed\n");
    }
    text
}
