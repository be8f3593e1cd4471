//! The columns of `ramblk list`.

use crate::cli::print::age::{age, age_seconds};
use crate::cli::print::layout::{bare, table};
use crate::cli::print::states::{left, state};
use crate::cli::print::tables::{labels, or_dash, yes};
use crate::cli::values::size::human;
use crate::model::Disk;

/// A column of a list of disks.
#[derive(Debug)]
pub(in crate::cli) struct Column {
    /// Its name, which is its heading in small letters.
    pub(in crate::cli) name: &'static str,
    /// In which tables it is.
    shown: Shown,
    value: fn(&Disk) -> Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Always,
    /// If a disk has something in it.
    Used,
    /// In wide tables.
    Wide,
    /// Only if it is asked for.
    Asked,
}

/// What a disk has in a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    Bytes(u64),
    /// Bytes, if there is a bound.
    Bound(Option<u64>),
    Count(u64),
    /// Time since its creation, in seconds.
    Age(u64),
}

use Shown::{Always, Asked, Used, Wide};

/// All columns, in order.
static COLUMNS: [Column; 21] = [
    column("name", Always, |disk| Value::Text(disk.name.clone())),
    column("size", Always, |disk| Value::Bytes(disk.size_bytes)),
    column("mapped", Always, |disk| Value::Bytes(disk.mapped_bytes)),
    column("memory", Always, |disk| Value::Bytes(disk.charged_bytes)),
    column("quota", Always, |disk| Value::Bound(disk.quota_bytes)),
    column("attached", Always, |disk| Value::Text(yes(disk.attached))),
    column("state", Always, |disk| Value::Text(state(disk).into())),
    column("snaps", Always, |disk| {
        Value::Count(disk.snapshots.len() as u64)
    }),
    column("ends", Used, |disk| text(left(disk).as_ref())),
    column("age", Wide, |disk| Value::Age(age_seconds(disk.created_ns))),
    column("group", Wide, |disk| text(disk.group.as_ref())),
    column("parent", Wide, |disk| text(disk.parent.as_ref())),
    column("pid", Wide, |disk| Value::Text(pids(disk))),
    column("id", Wide, |disk| Value::Text(disk.id.clone())),
    column("generation", Asked, |disk| Value::Count(disk.generation)),
    column("protected", Asked, |disk| Value::Text(yes(disk.protected))),
    column("serial", Asked, |disk| Value::Text(disk.serial.clone())),
    column("queues", Asked, |disk| Value::Count(disk.queues.into())),
    column("socket", Asked, |disk| Value::Text(disk.socket.clone())),
    column("image", Asked, |disk| {
        text(disk.image.as_ref().map(|image| &image.name))
    }),
    column("labels", Always, |disk| Value::Text(labels(disk))),
];

const fn column(name: &'static str, shown: Shown, value: fn(&Disk) -> Value) -> Column {
    Column { name, shown, value }
}

fn text(text: Option<&String>) -> Value {
    Value::Text(or_dash(text.cloned().unwrap_or_default()))
}

/// The processes of its front ends.
fn pids(disk: &Disk) -> String {
    let pids = disk.front_ends.iter().filter_map(|it| it.pid);
    or_dash(
        pids.map(|pid| pid.to_string())
            .collect::<Vec<_>>()
            .join(","),
    )
}

impl Value {
    fn is_number(&self) -> bool {
        !matches!(self, Self::Text(_))
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bytes(bytes) | Self::Bound(Some(bytes)) => human(*bytes),
            Self::Bound(None) => "-".into(),
            Self::Count(count) => count.to_string(),
            Self::Age(seconds) => age(*seconds),
        }
    }
}

/// The column of this name.
///
/// # Errors
/// There is none; the text lists them.
pub(in crate::cli) fn parse_column(name: &str) -> Result<&'static Column, String> {
    let lower = name.to_ascii_lowercase();
    let found = COLUMNS.iter().find(|column| column.name == lower);
    found.ok_or_else(|| {
        let known = names().collect::<Vec<_>>().join(", ");
        format!("{name:?} is not a column: use {known}")
    })
}

/// The names of all columns.
pub(in crate::cli) fn names() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|column| column.name)
}

/// The usual columns, or those of a wide table.
pub(in crate::cli) fn usual(wide: bool, disks: &[Disk]) -> Vec<&'static Column> {
    let ends = disks.iter().any(|disk| disk.ending.is_some());
    let shown = COLUMNS.iter().filter(|column| match column.shown {
        Always => true,
        Used => wide || ends,
        Wide => wide,
        Asked => false,
    });
    shown.collect()
}

/// Sort disks by a column; equal ones stay in the order of their names.
pub(in crate::cli) fn sort(disks: &mut [Disk], by: &Column, descending: bool) {
    disks.sort_unstable_by(|one, two| {
        let names = one.name.cmp(&two.name);
        let (one, two) = ((by.value)(one), (by.value)(two));
        let values = match descending {
            true => two.cmp(&one),
            false => one.cmp(&two),
        };
        values.then(names)
    });
}

/// A table of disks.
pub(in crate::cli) fn disks(disks: &[Disk], columns: &[&Column], headers: bool) -> String {
    let values: Vec<Vec<Value>> = disks
        .iter()
        .map(|disk| columns.iter().map(|column| (column.value)(disk)).collect())
        .collect();
    let numbers: Vec<usize> = (0..columns.len())
        .filter(|&at| values.first().is_some_and(|row| row[at].is_number()))
        .collect();
    let heads: Vec<String> = columns.iter().map(|it| it.name.to_uppercase()).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let rows = values
        .iter()
        .map(|row| row.iter().map(Value::shown).collect());
    match headers {
        true => table(&heads, &numbers, rows.collect()),
        false => bare(&heads, &numbers, rows.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::samples::{self, compare};

    #[test]
    fn a_list_has_the_columns_that_are_asked_for() {
        let mut all = vec![samples::disk("a"), samples::disk("b")];
        all[1].charged_bytes += 4096;
        let column = |name| parse_column(name).unwrap_or(&COLUMNS[0]);
        sort(&mut all, column("memory"), true);
        let text = disks(&all, &[column("name"), column("generation")], true);
        assert_eq!(
            text,
            "NAME  GENERATION\nb              1\na              1\n"
        );
        let bare = disks(&all, &[column("name")], false);
        assert_eq!(bare, "b\na\n");
        assert!(parse_column("colour").is_err_and(|said| said.contains("memory")));
        for column in usual(true, &[]) {
            assert!(parse_column(column.name).is_ok_and(|found| found.name == column.name));
        }
    }

    #[test]
    fn lists_are_tables() {
        let mut full = samples::disk("full-of-data");
        (full.state, full.attached) = (crate::model::DiskState::Full, false);
        full.quota_bytes = None;
        full.labels.clear();
        compare(
            "list",
            &disks(&[samples::disk("scratch"), full], &usual(false, &[]), true),
        );
    }
}
