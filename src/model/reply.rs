//! What is answered besides disks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stretch of a disk that is mapped or not, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapExtent {
    /// Where it begins, in bytes.
    pub start_bytes: u64,
    /// How long it is, in bytes.
    pub length_bytes: u64,
    /// Whether its sectors are mapped.
    pub mapped: bool,
}

/// A part of a disk as a row of stretches, without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Map {
    /// Stretches, in order.
    pub extents: Vec<MapExtent>,
    /// Where the next part begins, if this one does not reach the end: ask again with
    /// `start_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_bytes: Option<u64>,
}

/// A bucket of a histogram, as Prometheus has them: each counts what is in those before it too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistogramBucket {
    /// Its upper bound in seconds; none for the last one, which counts all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le_seconds: Option<f64>,
    /// Requests that took no longer.
    pub count: u64,
}

impl HistogramBucket {
    /// Buckets of these upper bounds and of these counts of what lies between them.
    pub fn row(bounds: impl Iterator<Item = Option<f64>>, counts: &[u64]) -> Vec<Self> {
        let mut all = 0;
        let cumulative = counts.iter().map(|count| {
            all += count;
            all
        });
        let pairs = bounds.zip(cumulative);
        pairs
            .map(|(le_seconds, count)| Self { le_seconds, count })
            .collect()
    }

    /// Each bucket's upper bound, and what lies between it and the one before.
    pub fn parts(row: &[Self]) -> impl Iterator<Item = (Option<f64>, u64)> {
        let before = [0].into_iter().chain(row.iter().map(|bucket| bucket.count));
        row.iter()
            .zip(before)
            .map(|(bucket, before)| (bucket.le_seconds, bucket.count.saturating_sub(before)))
    }
}

/// Requests of one kind since the disk was made or the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationStats {
    /// Requests that were answered, errors included.
    pub completed: u64,
    /// Those that were answered with an error.
    pub errors: u64,
    /// Bytes that they moved, discarded or zeroed.
    pub bytes: u64,
    /// The time that they took, summed, in nanoseconds.
    pub time_ns: u64,
    /// How long they took.
    pub latency: Vec<HistogramBucket>,
}

/// What guests have done to a disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// The disk.
    pub disk: String,
    /// By kind: `read`, `write`, `discard`, `write_zeroes`, `flush`.
    pub operations: BTreeMap<String, OperationStats>,
    /// Requests that are being served now.
    pub in_flight: u64,
    /// Requests that wait for a limit now.
    pub throttled: u64,
    /// Requests that had to wait for a limit.
    pub throttled_total: u64,
    /// Requests that wait for memory now.
    pub stalled: u64,
    /// Requests that found no memory.
    pub full_total: u64,
}

/// The memory of all disks together, and how many there can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Most bytes that they may take.
    pub limit_bytes: u64,
    /// Where that limit comes from: an option, the host's memory, a file of a control group.
    #[serde(default)]
    pub limit_from: String,
    /// Bytes that they take.
    pub charged_bytes: u64,
    /// Bytes of all mapped sectors, each disk's and snapshot's counted.
    pub mapped_bytes: u64,
    /// Disks.
    pub disks: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// Disks that there can be with the descriptors that this process may have.
    pub most_disks: usize,
    /// Threads that serve queues.
    pub workers: usize,
    /// What somebody should see to, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A disk was made.
    Created,
    /// A disk was destroyed.
    Destroyed,
    /// A front end connected.
    Attached,
    /// A front end is gone.
    Detached,
    /// A disk has another size.
    Resized,
    /// Settings, limits or labels changed.
    Changed,
    /// A snapshot was made.
    Snapshot,
    /// A snapshot was destroyed.
    SnapshotDestroyed,
    /// A disk was made of another one.
    Forked,
    /// A disk has the content of another one now.
    Reset,
    /// A disk has the content of an image now, all at once.
    Imported,
    /// Content for a disk broke off, or can't be had; the disk is what it was.
    ImportFailed,
    /// A disk's charge, or the pool's, came near its bound.
    Watermark,
    /// A write found no memory.
    Full,
    /// There is room again.
    Room,
    /// A disk's socket, or the API's, was removed: nobody can connect.
    Unreachable,
    /// The socket was made again.
    Reachable,
    /// The file that disks lie in was removed: they are gone when the daemon ends.
    StateRemoved,
    /// A front end broke the protocol, or a ring of it was unusable.
    Fault,
}

/// One of the events that `/v1/events` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number: one more than the one before.
    pub id: u64,
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The disk, if it happened to one; the pool, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// More about it, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Detail>,
}

/// What an event says about something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Detail {
    /// Whether it is so.
    Flag(bool),
    /// How much or how many it is: the unit is in the key.
    Count(u64),
    /// What it is, in words.
    Text(String),
}

impl From<bool> for Detail {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Detail {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Detail {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl std::fmt::Display for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// What answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// The interface's.
    pub api: String,
}
