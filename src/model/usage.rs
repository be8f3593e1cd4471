//! What disks take and do, by label or group.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Disk, Stats};

/// By what disks are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Their groups.
    Group,
    /// Their values of a label.
    Label(String),
}

impl By {
    /// The value of a disk; none if it has no such label, or is in no group.
    pub fn value(&self, disk: &Disk) -> Option<String> {
        match self {
            Self::Group => disk.group.clone(),
            Self::Label(key) => disk.labels.get(key).cloned(),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group => f.write_str("group"),
            Self::Label(key) => write!(f, "label={key}"),
        }
    }
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "group" => Ok(Self::Group),
            Some(("label", key)) if !key.is_empty() => Ok(Self::Label(key.to_owned())),
            _ => Err(format!(
                "{text:?} is nothing to add up by: use group, or label=KEY as in label=tenant"
            )),
        }
    }
}

/// What disks with the same value take and do together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// The value of the label, or the group; `null` for disks without one.
    pub value: Option<String>,
    /// The number of disks.
    pub disks: u64,
    /// Those that have a front end.
    pub attached: u64,
    /// Their sizes together, in bytes.
    pub size_bytes: u64,
    /// Bytes of their mapped sectors, including those shared with other disks.
    pub mapped_bytes: u64,
    /// Bytes of memory that are charged to them.
    pub charged_bytes: u64,
    /// The quotas of those that have one, together, in bytes.
    pub quota_bytes: u64,
    /// Those without a quota.
    pub unbounded: u64,
    /// Reads since they were created or the daemon started.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Requests that completed with an error.
    pub errors: u64,
}

impl Usage {
    /// Add up disks with their counters, sorted by value; those without one come last.
    pub fn by<'a>(by: &By, disks: impl Iterator<Item = (&'a Disk, &'a Stats)>) -> Vec<Self> {
        let mut all: BTreeMap<(bool, Option<String>), Self> = BTreeMap::new();
        for (disk, stats) in disks {
            let value = by.value(disk);
            let sum = all.entry((value.is_none(), value.clone()));
            let sum = sum.or_insert_with(|| Self {
                value,
                ..Self::default()
            });
            sum.add(disk, stats);
        }
        all.into_values().collect()
    }

    fn add(&mut self, disk: &Disk, stats: &Stats) {
        let more = |sum: &mut u64, by: u64| *sum = sum.saturating_add(by);
        let of = |kind: &str| stats.operations.get(kind);
        more(&mut self.disks, 1);
        more(&mut self.attached, disk.attached.into());
        more(&mut self.size_bytes, disk.size_bytes);
        more(&mut self.mapped_bytes, disk.mapped_bytes);
        more(&mut self.charged_bytes, disk.charged_bytes);
        more(&mut self.quota_bytes, disk.quota_bytes.unwrap_or(0));
        more(&mut self.unbounded, disk.quota_bytes.is_none().into());
        more(&mut self.reads, of("read").map_or(0, |it| it.completed));
        more(&mut self.writes, of("write").map_or(0, |it| it.completed));
        more(&mut self.read_bytes, of("read").map_or(0, |it| it.bytes));
        more(
            &mut self.written_bytes,
            of("write").map_or(0, |it| it.bytes),
        );
        let errors = stats.operations.values().map(|it| it.errors);
        more(&mut self.errors, errors.sum());
    }
}
