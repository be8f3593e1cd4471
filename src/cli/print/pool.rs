//! `ramblk pool`, for people.

use crate::cli::print::layout::{pairs, table};
use crate::cli::print::rates::real;
use crate::cli::values::size::{human, human_and_exact};
use crate::model::{By, Pool, Usage};

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

/// What disks take and do, by label or group.
pub(in crate::cli) fn usage(by: &By, all: &[Usage]) -> String {
    let heading = match by {
        By::Group => "GROUP".to_owned(),
        By::Label(key) => key.to_uppercase(),
    };
    let head = [
        heading.as_str(),
        "DISKS",
        "ATTACHED",
        "MAPPED",
        "MEMORY",
        "QUOTA",
        "READ",
        "WRITTEN",
        "ERRORS",
    ];
    let rows = all.iter().map(|usage| {
        vec![
            usage.value.clone().unwrap_or_else(|| "-".into()),
            usage.disks.to_string(),
            usage.attached.to_string(),
            human(usage.mapped_bytes),
            human(usage.charged_bytes),
            match usage.unbounded {
                0 => human(usage.quota_bytes),
                // What some of them may take has no bound.
                _ => "-".into(),
            },
            human(usage.read_bytes),
            human(usage.written_bytes),
            usage.errors.to_string(),
        ]
    });
    table(&head, &[1, 2, 3, 4, 5, 6, 7, 8], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::samples::{self, compare};

    #[test]
    fn disks_are_added_up_by_label_and_the_others_come_last() {
        let disks = ["a", "b", "c"].map(samples::disk);
        let mut disks = disks.map(|disk| (disk, samples::stats("x", 10)));
        disks[0].0.labels.clear();
        disks[2].0.quota_bytes = None;
        let by = By::Label("vm".into());
        let all = Usage::by(&by, disks.iter().map(|(disk, stats)| (disk, stats)));
        let text = usage(&by, &all);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0][0], "VM");
        assert_eq!(rows[1][..6], ["web-1", "2", "2", "3G", "3G", "-"], "{text}");
        assert_eq!(
            rows[2][..6],
            ["-", "1", "1", "1.5G", "1.5G", "2G"],
            "{text}"
        );
    }

    #[test]
    fn the_pool_is_shown_as_pairs() {
        compare("pool", &pool(&samples::pool()));
    }
}
