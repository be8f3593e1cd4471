//! Figures of many disks, in tables.

use crate::cli::print::layout::table;
use crate::cli::print::rates::{Rates, quantile};
use crate::cli::print::tables::{bandwidth, time};
use crate::cli::values::size::human;
use crate::model::{HistogramBucket, Stats};

/// `ramblk stats`: the counters of disks, one per row.
pub(in crate::cli) fn counters(all: &[Stats]) -> String {
    let head = [
        "NAME", "READS", "WRITES", "FLUSHES", "READ", "WRITTEN", "ERRORS", "P50", "P99", "WAITING",
    ];
    let rows = all.iter().map(|stats| {
        let of = |kind: &str| stats.operations.get(kind);
        let count = |kind| of(kind).map_or(0, |it| it.completed).to_string();
        let bytes = |kind| human(of(kind).map_or(0, |it| it.bytes));
        let errors: u64 = stats.operations.values().map(|it| it.errors).sum();
        let latency = latency(stats);
        let part = |part| quantile(&latency, part).map_or_else(|| "-".into(), time);
        vec![
            stats.disk.clone(),
            count("read"),
            count("write"),
            count("flush"),
            bytes("read"),
            bytes("write"),
            errors.to_string(),
            part(0.5),
            part(0.99),
            waiting(stats).to_string(),
        ]
    });
    table(&head, &[1, 2, 3, 4, 5, 6, 7, 8, 9], rows.collect())
}

/// `ramblk stats --watch`: rates of disks, one per row, and of all of them.
pub(in crate::cli) fn rates(all: &[(Rates, &Stats)]) -> String {
    let head = [
        "NAME", "READ/s", "WRITE/s", "OTHER/s", "READ", "WRITE", "P99", "WAITING", "ERRORS/s",
    ];
    let row = |name: &str, rates: &Rates, waiting: u64| {
        vec![
            name.to_owned(),
            format!("{:.0}", rates.read_iops),
            format!("{:.0}", rates.write_iops),
            format!("{:.0}", rates.other_iops),
            bandwidth(rates.read_bytes),
            bandwidth(rates.write_bytes),
            rates.p99_seconds.map_or_else(|| "-".into(), time),
            waiting.to_string(),
            format!("{:.0}", rates.errors),
        ]
    };
    let mut rows: Vec<_> = all
        .iter()
        .map(|(rates, stats)| row(&stats.disk, rates, waiting(stats)))
        .collect();
    let sum = Rates::sum(all.iter().map(|(rates, _)| rates));
    let waits = all.iter().map(|(_, stats)| waiting(stats)).sum();
    rows.push(row("(all)", &sum, waits));
    table(&head, &[1, 2, 3, 4, 5, 6, 7, 8], rows)
}

/// Requests that wait for a limit, for memory, or for a fault.
pub(in crate::cli) fn waiting(stats: &Stats) -> u64 {
    stats.throttled + stats.stalled + stats.held
}

/// The latencies of all kinds of requests together.
pub(in crate::cli) fn latency(stats: &Stats) -> Vec<HistogramBucket> {
    let mut sum = Vec::new();
    for one in stats.operations.values() {
        crate::cli::print::rates::add(&mut sum, &one.latency);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::rates::between;
    use crate::cli::print::samples;

    #[test]
    fn every_disk_has_a_row_and_all_have_a_sum() {
        let (before, after) = (samples::stats("a", 0), samples::stats("a", 500));
        let other = samples::stats("b", 100);
        let text = counters(&[after.clone(), other.clone()]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let one = between(&before, &after, 1.0);
        let two = between(&samples::stats("b", 0), &other, 1.0);
        let text = rates(&[(one, &after), (two, &other)]);
        let sum = text.lines().last().unwrap_or_default();
        let words: Vec<&str> = sum.split_whitespace().collect();
        assert_eq!(words[..2], ["(all)", "600"], "{text}");
    }
}
