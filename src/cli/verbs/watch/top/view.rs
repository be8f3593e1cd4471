//! The view of `top`: rows and their order.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use crate::cli::print::rates::{Rates, between};
use crate::model::{Disk, Pool, Stats};

/// The order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Iops,
    Bandwidth,
    Latency,
    Memory,
}

/// A disk with its recent rates.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) disk: Disk,
    pub(super) stats: Stats,
    pub(super) rates: Rates,
}

/// Everything on the screen.
#[derive(Debug)]
pub(super) struct View {
    pub(super) socket: String,
    pub(super) pool: Option<Pool>,
    pub(super) rows: Vec<Row>,
    pub(super) sort: Sort,
    /// The first visible row.
    pub(super) first: usize,
    looked: Option<Instant>,
}

impl View {
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.display().to_string(),
            pool: None,
            rows: Vec::new(),
            sort: Sort::Iops,
            first: 0,
            looked: None,
        }
    }

    /// Take new readings.
    pub(super) fn update(&mut self, pool: Pool, looks: Vec<(Disk, Stats)>, now: Instant) {
        let seconds = self.looked.map(|then| (now - then).as_secs_f64());
        let before: HashMap<String, Stats> = std::mem::take(&mut self.rows)
            .into_iter()
            .map(|row| (row.disk.name, row.stats))
            .collect();
        let rates = |name: &str, stats: &Stats| match (before.get(name), seconds) {
            (Some(before), Some(seconds)) => between(before, stats, seconds),
            _ => Rates::default(),
        };
        let rows = looks.into_iter().map(|(disk, stats)| Row {
            rates: rates(&disk.name, &stats),
            disk,
            stats,
        });
        self.rows = rows.collect();
        self.pool = Some(pool);
        self.looked = Some(now);
        self.sort_by(self.sort);
        self.scroll(0);
    }

    /// Sort rows by another order.
    pub(super) fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.rows.sort_by(|left, right| {
            let name = left.disk.name.cmp(&right.disk.name);
            most_first(sort, left, right).then(name)
        });
    }

    /// Scroll by rows.
    pub(super) fn scroll(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.first = self.first.saturating_add_signed(by).min(last);
    }
}

fn most_first(sort: Sort, left: &Row, right: &Row) -> Ordering {
    let key = |row: &Row| match sort {
        Sort::Name => 0.0,
        Sort::Iops => row.rates.iops(),
        Sort::Bandwidth => row.rates.read_bytes + row.rates.write_bytes,
        Sort::Latency => row.rates.p99_seconds.unwrap_or(0.0),
        Sort::Memory => crate::cli::print::rates::real(row.disk.charged_bytes),
    };
    key(right).total_cmp(&key(left))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::print::samples;

    /// Two disks, of which `busy` did 500 reads of 4 KiB in a second.
    pub(in crate::cli) fn seen() -> View {
        let mut view = View::new(Path::new("/run/ramblk/api.sock"));
        let (start, pool) = (Instant::now(), samples::pool());
        let disks = |reads| {
            vec![
                (samples::disk("idle"), samples::stats("idle", 0)),
                (samples::disk("busy"), samples::stats("busy", reads)),
            ]
        };
        view.update(pool.clone(), disks(1000), start);
        view.update(pool, disks(1500), start + Duration::from_secs(1));
        view
    }

    #[test]
    fn the_busiest_comes_first_and_keys_change_that() {
        let mut view = seen();
        let names = |view: &View| -> Vec<String> {
            view.rows.iter().map(|row| row.disk.name.clone()).collect()
        };
        assert_eq!(names(&view), ["busy", "idle"]);
        assert!((view.rows[0].rates.read_iops - 500.0).abs() < 1.0);
        view.sort_by(Sort::Memory);
        assert_eq!(names(&view), ["busy", "idle"], "same: by name");
        view.rows[1].disk.charged_bytes += 1;
        view.sort_by(Sort::Memory);
        assert_eq!(names(&view), ["idle", "busy"]);
    }

    #[test]
    fn one_can_not_scroll_beyond_the_ends() {
        let mut view = seen();
        view.scroll(100);
        assert_eq!(view.first, 1);
        view.scroll(isize::MIN);
        assert_eq!(view.first, 0);
    }
}
