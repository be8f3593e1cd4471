//! The view of `top`: rows, their order, which of them are shown, and the page.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Instant;

use crate::cli::print::figures::waiting;
use crate::cli::print::rates::{Rates, between, real};
use crate::model::{By, Disk, Event, Pool, Stats};

/// The order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Iops,
    Bandwidth,
    Latency,
    Memory,
    Waiting,
    Errors,
}

impl Sort {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Iops => "requests",
            Self::Bandwidth => "bandwidth",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Waiting => "waiting",
            Self::Errors => "errors",
        }
    }
}

/// What fills the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Disks,
    Sums(By),
    Disk(String),
    Help,
}

/// A disk with its recent rates.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) disk: Disk,
    pub(super) stats: Stats,
    /// The reading before, if there was one.
    pub(super) before: Option<Stats>,
    pub(super) rates: Rates,
}

/// Everything on the screen.
#[derive(Debug)]
pub(super) struct View {
    pub(super) socket: String,
    pub(super) pool: Option<Pool>,
    rows: Vec<Row>,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// The sum whose disks are shown, if one was opened.
    pub(super) only: Option<(By, Option<String>)>,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) page: Page,
    /// The selected row, among those that are shown.
    pub(super) selected: usize,
    /// The first row on the screen.
    pub(super) first: usize,
    /// How many rows there is room for on the screen.
    pub(super) room: usize,
    /// The last events of the disk whose page is shown, once they were read.
    pub(super) events: Option<Vec<Event>>,
    /// Why the last reading failed.
    pub(super) trouble: Option<String>,
    looked: Option<Instant>,
}

impl View {
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.display().to_string(),
            pool: None,
            rows: Vec::new(),
            sort: Sort::Iops,
            is_reversed: false,
            filter: String::new(),
            only: None,
            is_typing: false,
            is_paused: false,
            page: Page::Disks,
            selected: 0,
            first: 0,
            room: 20,
            events: None,
            trouble: None,
            looked: None,
        }
    }

    /// Take new readings.
    pub(super) fn update(&mut self, pool: Pool, disks: Vec<Disk>, stats: Vec<Stats>, now: Instant) {
        let seconds = self.looked.map(|then| (now - then).as_secs_f64());
        let named = |stats: Stats| (stats.disk.clone(), stats);
        let mut stats: HashMap<String, Stats> = stats.into_iter().map(named).collect();
        let chosen = self.chosen().map(|row| row.disk.name.clone());
        let mut before: HashMap<String, Stats> = std::mem::take(&mut self.rows)
            .into_iter()
            .map(|row| (row.disk.name, row.stats))
            .collect();
        let rows = disks.into_iter().filter_map(|disk| {
            // A disk that was created between the two requests comes with the next reading.
            let stats = stats.remove(&disk.name)?;
            let before = before.remove(&disk.name);
            let rates = match (&before, seconds) {
                (Some(before), Some(seconds)) => between(before, &stats, seconds),
                _ => Rates::default(),
            };
            Some(Row {
                disk,
                stats,
                before,
                rates,
            })
        });
        self.rows = rows.collect();
        self.pool = Some(pool);
        self.looked = Some(now);
        self.trouble = None;
        self.arrange();
        if let Some(at) = chosen.and_then(|name| self.shown().position(|it| it.disk.name == name)) {
            self.selected = at;
        }
        self.step(0);
    }

    /// All rows.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows that pass the filter, in order.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| self.passes(&row.disk))
    }

    fn passes(&self, disk: &Disk) -> bool {
        if let Some((by, value)) = &self.only
            && by.value(disk) != *value
        {
            return false;
        }
        let wanted = self.filter.as_str();
        let has = |(key, value): (&String, &String)| format!("{key}={value}").contains(wanted);
        disk.name.contains(wanted)
            || disk
                .group
                .as_ref()
                .is_some_and(|group| group.contains(wanted))
            || disk.labels.iter().any(has)
    }

    /// The selected disk.
    pub(super) fn chosen(&self) -> Option<&Row> {
        self.shown().nth(self.selected)
    }

    /// The disk whose page is shown.
    pub(super) fn of_page(&self) -> Option<&Row> {
        match &self.page {
            Page::Disk(name) => self.rows.iter().find(|row| row.disk.name == *name),
            _ => None,
        }
    }

    /// Sort rows by another order, or, if it is the same, the other way round.
    pub(super) fn sort_by(&mut self, sort: Sort) {
        self.is_reversed = sort == self.sort && !self.is_reversed;
        self.sort = sort;
        self.arrange();
        self.step(isize::MIN);
    }

    fn arrange(&mut self) {
        let (sort, is_reversed) = (self.sort, self.is_reversed);
        self.rows.sort_unstable_by(|left, right| {
            let name = left.disk.name.cmp(&right.disk.name);
            let order = Measure::row(sort, left).most_first(&Measure::row(sort, right));
            match (is_reversed, sort) {
                (true, Sort::Name) => name.reverse(),
                (true, _) => order.reverse().then(name),
                (false, _) => order.then(name),
            }
        });
    }

    /// How many rows the page has.
    pub(super) fn count(&self) -> usize {
        match &self.page {
            Page::Sums(by) => self.sums(by).len(),
            _ => self.shown().count(),
        }
    }

    /// Move the selection by rows.
    pub(super) fn step(&mut self, by: isize) {
        let last = self.count().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }

    /// Move the window by its height, and the selection with it.
    pub(super) fn turn(&mut self, down: bool) {
        let room = isize::try_from(self.room).unwrap_or(isize::MAX);
        let by = if down { room } else { -room };
        self.first = self.first.saturating_add_signed(by);
        self.step(by);
    }

    /// Show the selection in a window of this many rows.
    pub(super) fn scroll(&mut self, room: usize) {
        let room = room.max(1);
        self.room = room;
        let lowest = (self.selected + 1).saturating_sub(room);
        let last = self.count().saturating_sub(room);
        self.first = self
            .first
            .clamp(lowest, self.selected.max(lowest))
            .min(last.max(lowest));
    }

    /// Disks by their values, in the order of disks. By name, those without a value come last.
    pub(super) fn sums(&self, by: &By) -> Vec<(Option<String>, Vec<&Row>)> {
        let mut all: BTreeMap<(bool, Option<String>), Vec<&Row>> = BTreeMap::new();
        for row in self.shown() {
            let value = by.value(&row.disk);
            all.entry((value.is_none(), value)).or_default().push(row);
        }
        let mut all: Vec<_> = all
            .into_iter()
            .map(|((_, value), rows)| (Measure::sum(self.sort, &rows), value, rows))
            .collect();
        all.sort_by(|(left, ..), (right, ..)| left.most_first(right));
        if self.is_reversed {
            all.reverse();
        }
        let all = all.into_iter();
        all.map(|(_, value, rows)| (value, rows)).collect()
    }

    /// Which rows are on the screen, if not all are.
    pub(super) fn part(&self) -> Option<String> {
        let count = match &self.page {
            Page::Disks | Page::Sums(_) => self.count(),
            Page::Disk(_) | Page::Help => return None,
        };
        let end = count.min(self.first + self.room);
        (count > self.room).then(|| format!("{}-{end} of {count}", self.first + 1))
    }

    /// The next table of sums: by group, by each label, and back to disks.
    pub(super) fn next_sums(&mut self) {
        let labels = self.rows.iter().flat_map(|row| row.disk.labels.keys());
        let labels: BTreeSet<&String> = labels.collect();
        let mut all = vec![Page::Disks, Page::Sums(By::Group)];
        all.extend(
            labels
                .into_iter()
                .map(|key| Page::Sums(By::Label(key.clone()))),
        );
        let at = all.iter().position(|page| *page == self.page);
        let next = at.map_or(0, |at| (at + 1) % all.len());
        self.page = all.swap_remove(next);
        self.only = None;
        (self.selected, self.first) = (0, 0);
    }
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug)]
struct Measure(f64);

impl Measure {
    fn of(sort: Sort, rates: &Rates, charged_bytes: u64, waits: u64) -> Self {
        Self(match sort {
            Sort::Name => 0.0,
            Sort::Iops => rates.iops(),
            Sort::Bandwidth => rates.read_bytes + rates.write_bytes,
            Sort::Latency => rates.p99_seconds.unwrap_or(0.0),
            Sort::Memory => real(charged_bytes),
            Sort::Waiting => real(waits),
            Sort::Errors => rates.errors,
        })
    }

    fn row(sort: Sort, row: &Row) -> Self {
        Self::of(
            sort,
            &row.rates,
            row.disk.charged_bytes,
            waiting(&row.stats),
        )
    }

    fn sum(sort: Sort, rows: &[&Row]) -> Self {
        let rates = Rates::sum(rows.iter().map(|row| &row.rates));
        let charged_bytes = rows.iter().map(|row| row.disk.charged_bytes).sum();
        let waits = rows.iter().map(|row| waiting(&row.stats)).sum();
        Self::of(sort, &rates, charged_bytes, waits)
    }

    fn most_first(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0)
    }
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
        let disks = || vec![samples::disk("idle"), samples::disk("busy")];
        let stats = |reads| vec![samples::stats("idle", 0), samples::stats("busy", reads)];
        view.update(pool.clone(), disks(), stats(1000), start);
        view.update(pool, disks(), stats(1500), start + Duration::from_secs(1));
        view
    }

    fn names(view: &View) -> Vec<String> {
        view.shown().map(|row| row.disk.name.clone()).collect()
    }

    #[test]
    fn the_busiest_comes_first_and_keys_change_that() {
        let mut view = seen();
        assert_eq!(names(&view), ["busy", "idle"]);
        assert!((view.rows[0].rates.read_iops - 500.0).abs() < 1.0);
        view.sort_by(Sort::Memory);
        assert_eq!(names(&view), ["busy", "idle"], "same: by name");
        view.rows[1].disk.charged_bytes += 1;
        view.is_reversed = true;
        view.sort_by(Sort::Memory);
        assert_eq!(names(&view), ["idle", "busy"]);
        view.sort_by(Sort::Name);
        view.sort_by(Sort::Name);
        assert_eq!(names(&view), ["idle", "busy"], "the other way round");
    }

    #[test]
    fn the_selection_stays_with_its_disk_and_within_the_ends() {
        let mut view = seen();
        view.step(100);
        assert_eq!(
            view.chosen().map(|row| row.disk.name.as_str()),
            Some("idle")
        );
        view.sort_by(Sort::Name);
        view.step(1);
        let (disks, stats) = (
            vec![
                samples::disk("idle"),
                samples::disk("busy"),
                samples::disk("aaa"),
            ],
            ["idle", "busy", "aaa"]
                .map(|name| samples::stats(name, 0))
                .to_vec(),
        );
        view.update(samples::pool(), disks, stats, Instant::now());
        assert_eq!(names(&view), ["aaa", "busy", "idle"]);
        assert_eq!(
            view.chosen().map(|row| row.disk.name.as_str()),
            Some("idle")
        );
        view.scroll(2);
        assert_eq!(view.first, 1);
        view.step(isize::MIN);
        view.scroll(2);
        assert_eq!((view.selected, view.first), (0, 0));
    }

    #[test]
    fn a_filter_looks_at_names_labels_and_groups() {
        let mut view = seen();
        view.rows[1].disk.labels.clear();
        for (filter, found) in [
            ("us", vec!["busy"]),
            ("vm=web", vec!["busy"]),
            ("x", vec![]),
        ] {
            view.filter = filter.into();
            assert_eq!(names(&view), found, "{filter}");
        }
        view.filter.clear();
        view.next_sums();
        assert_eq!(view.page, Page::Sums(By::Group));
        view.next_sums();
        let by = By::Label("vm".into());
        let sums = view.sums(&by);
        let values: Vec<_> = sums
            .iter()
            .map(|(value, rows)| (value.as_deref(), rows.len()))
            .collect();
        assert_eq!(values, [(Some("web-1"), 1), (None, 1)]);
        view.next_sums();
        assert_eq!(view.page, Page::Disks);
    }
}
