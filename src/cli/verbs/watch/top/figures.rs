//! The tables of `top`: what is in which column.

use super::grid::{Grid, Head, Kind};
use super::view::{Row, Sort, View};
use crate::cli::print::age::{age, age_seconds};
use crate::cli::print::figures::waiting;
use crate::cli::print::rates::Rates;
use crate::cli::print::states::state;
use crate::cli::print::tables::{bandwidth, labels, or_dash, time};
use crate::cli::values::size::human;
use crate::model::{By, Disk};

/// A column of disks: heading, kind, rank, order, and the text of a row.
type Column = (&'static str, Kind, u8, Option<Sort>, fn(&Row) -> String);

use Kind::{Figure, Text, Word};

const DISKS: [Column; 19] = [
    ("NAME", Text, 0, Some(Sort::Name), |row| {
        row.disk.name.clone()
    }),
    ("READ/s", Figure, 1, Some(Sort::Iops), |row| {
        count(row.rates.read_iops)
    }),
    ("WRITE/s", Figure, 2, Some(Sort::Iops), |row| {
        count(row.rates.write_iops)
    }),
    ("OTHER/s", Figure, 12, None, |row| {
        count(row.rates.other_iops)
    }),
    ("READ", Figure, 3, Some(Sort::Bandwidth), |row| {
        bandwidth(row.rates.read_bytes)
    }),
    ("WRITE", Figure, 4, Some(Sort::Bandwidth), |row| {
        bandwidth(row.rates.write_bytes)
    }),
    ("P99", Figure, 6, Some(Sort::Latency), |row| {
        latency(&row.rates)
    }),
    ("WAITING", Figure, 8, Some(Sort::Waiting), |row| {
        waiting(&row.stats).to_string()
    }),
    ("ERR/s", Figure, 10, Some(Sort::Errors), |row| {
        count(row.rates.errors)
    }),
    ("MEMORY", Figure, 5, Some(Sort::Memory), |row| {
        human(row.disk.charged_bytes)
    }),
    ("MAPPED", Figure, 11, None, |row| {
        human(row.disk.mapped_bytes)
    }),
    ("QUOTA", Figure, 13, None, |row| {
        row.disk.quota_bytes.map_or_else(|| "-".into(), human)
    }),
    ("SIZE", Figure, 9, None, |row| human(row.disk.size_bytes)),
    ("STATE", Word, 7, None, |row| status(&row.disk).into()),
    ("AGE", Figure, 14, None, |row| {
        age(age_seconds(row.disk.created_ns))
    }),
    ("PID", Figure, 15, None, |row| pid(&row.disk)),
    ("SNAPS", Figure, 17, None, |row| {
        row.disk.snapshots.len().to_string()
    }),
    ("GROUP", Text, 16, None, |row| {
        or_dash(row.disk.group.clone().unwrap_or_default())
    }),
    ("LABELS", Text, 18, None, |row| labels(&row.disk)),
];

/// A number of requests.
pub(super) fn count(number: f64) -> String {
    format!("{number:.0}")
}

pub(super) fn latency(rates: &Rates) -> String {
    rates.p99_seconds.map_or_else(|| "-".into(), time)
}

/// What a disk is doing, in a word.
fn status(disk: &Disk) -> &'static str {
    match (state(disk), disk.attached) {
        ("ok", true) => "attached",
        ("ok", false) => "-",
        (other, _) => other,
    }
}

fn pid(disk: &Disk) -> String {
    let pid = disk.front_ends.iter().find_map(|it| it.pid);
    pid.map_or_else(|| "-".into(), |pid| pid.to_string())
}

/// The table of disks that the view shows.
pub(super) fn disks(view: &View) -> Grid {
    let heads = DISKS.map(|(name, kind, rank, order, _)| Head {
        name,
        kind,
        rank,
        is_order: order == Some(view.sort),
    });
    let rows = view.shown().map(|row| DISKS.map(|it| it.4(row)).to_vec());
    Grid {
        heads: heads.to_vec(),
        rows: rows.collect(),
    }
}

/// The table of sums by label or group.
pub(super) fn sums(view: &View, by: &By) -> Grid {
    let head = |name, kind, rank| Head {
        name,
        kind,
        rank,
        is_order: false,
    };
    let heads = vec![
        head("VALUE", Text, 0),
        head("DISKS", Figure, 1),
        head("ATTACHED", Figure, 8),
        head("READ/s", Figure, 2),
        head("WRITE/s", Figure, 3),
        head("READ", Figure, 4),
        head("WRITE", Figure, 5),
        head("P99", Figure, 7),
        head("WAITING", Figure, 9),
        head("MEMORY", Figure, 6),
        head("MAPPED", Figure, 10),
    ];
    let rows = view.sums(by).into_iter().map(|(value, rows)| {
        let rates = Rates::sum(rows.iter().map(|row| &row.rates));
        let all = |of: fn(&Row) -> u64| rows.iter().map(|row| of(row)).sum::<u64>();
        vec![
            value.unwrap_or_else(|| "-".into()),
            rows.len().to_string(),
            all(|row| row.disk.attached.into()).to_string(),
            count(rates.read_iops),
            count(rates.write_iops),
            bandwidth(rates.read_bytes),
            bandwidth(rates.write_bytes),
            latency(&rates),
            all(|row| waiting(&row.stats)).to_string(),
            human(all(|row| row.disk.charged_bytes)),
            human(all(|row| row.disk.mapped_bytes)),
        ]
    });
    Grid {
        heads,
        rows: rows.collect(),
    }
}
