//! `ramblk pool`, for people.

use crate::cli::print::rates::real;
use crate::cli::print::tables::pairs;
use crate::cli::values::size::human_and_exact;
use crate::model::Pool;

/// The memory of all disks together, and warnings.
pub(in crate::cli) fn pool(pool: &Pool) -> String {
    let percent = 100.0 * real(pool.charged_bytes) / real(pool.limit_bytes.max(1));
    let taken = human_and_exact(pool.charged_bytes);
    let mut rows = vec![
        ("memory limit", human_and_exact(pool.limit_bytes)),
        ("limit from", pool.limit_from.clone()),
        ("memory taken", format!("{taken}, {percent:.1} %")),
        ("mapped", human_and_exact(pool.mapped_bytes)),
        (
            "disks",
            format!("{} of at most {}", pool.disks, pool.most_disks),
        ),
        ("snapshots", pool.snapshots.to_string()),
        (
            "images",
            format!(
                "{}, with {}",
                pool.images,
                human_and_exact(pool.images_charged_bytes)
            ),
        ),
        ("workers", pool.workers.to_string()),
    ];
    if pool.history_points > 0 {
        let held = human_and_exact(pool.history_held_bytes);
        let text = format!("{} points, with {held} of their own", pool.history_points);
        rows.push(("history", text));
    }
    let warnings = pool.warnings.iter();
    rows.extend(warnings.map(|warning| ("warning", warning.clone())));
    pairs(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::samples::{self, compare};

    #[test]
    fn the_pool_is_shown_as_pairs() {
        compare("pool", &pool(&samples::pool()));
    }
}
