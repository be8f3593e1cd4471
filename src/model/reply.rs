//! Answers besides disks: maps, statistics, the pool, events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Actor, FieldChange, SanitizerCounts};

/// An extent of a disk: a run of sectors that are all mapped, or all unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapExtent {
    /// Its offset in bytes.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// Whether its sectors are mapped.
    pub mapped: bool,
}

/// How an extent of a disk differs from the same extent of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// It has other bytes.
    Data,
    /// It reads as zeros.
    Zero,
}

/// An extent of a disk that differs from the same extent of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Its offset in bytes.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// How it differs.
    pub kind: DifferenceKind,
}

impl Difference {
    /// Where it ends.
    pub fn end_bytes(&self) -> u64 {
        self.start_bytes + self.length_bytes
    }
}

/// The end of a comparison, after all extents that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Compared {
    /// Whether both have the same size and bytes.
    pub same: bool,
    /// The size of the first one, in bytes.
    pub from_bytes: u64,
    /// The size of the second one, in bytes. What the first one has beyond it is not compared.
    pub to_bytes: u64,
}

/// A line of the answer to a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ComparisonLine {
    /// An extent that differs.
    Extent(Difference),
    /// The last line.
    End(Compared),
}

/// The digest of content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContentDigest {
    /// BLAKE3 of the content, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub blake3: String,
    /// Where the content begins in the disk, in bytes.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
}

/// A part of a disk as a list of extents, without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Map {
    /// Extents, in order.
    pub extents: Vec<MapExtent>,
    /// The offset of the next part, unless this one reaches the end: pass it as `start_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_bytes: Option<u64>,
}

/// A bucket of a histogram, cumulative as in Prometheus: it includes the buckets before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistogramBucket {
    /// Its upper bound in seconds; absent for the last one, which counts all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le_seconds: Option<f64>,
    /// Requests that took no longer.
    pub count: u64,
}

impl HistogramBucket {
    /// Buckets with these upper bounds, from the counts between the bounds.
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

    /// Each bucket's upper bound, and the count between it and the bound before.
    pub fn parts(row: &[Self]) -> impl Iterator<Item = (Option<f64>, u64)> {
        let before = [0].into_iter().chain(row.iter().map(|bucket| bucket.count));
        row.iter()
            .zip(before)
            .map(|(bucket, before)| (bucket.le_seconds, bucket.count.saturating_sub(before)))
    }
}

/// Requests of one kind since the disk was created or the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationStats {
    /// Completed requests, including errors.
    pub completed: u64,
    /// Requests that completed with an error.
    pub errors: u64,
    /// Bytes read, written, discarded or zeroed.
    pub bytes: u64,
    /// The sum of their latencies in nanoseconds.
    pub time_ns: u64,
    /// A histogram of their latencies.
    pub latency: Vec<HistogramBucket>,
}

/// Counters of a disk's requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// The disk.
    pub disk: String,
    /// Counters by kind: `read`, `write`, `discard`, `write_zeroes`, `flush`.
    pub operations: BTreeMap<String, OperationStats>,
    /// Requests in service now.
    pub in_flight: u64,
    /// Requests waiting for a limit now.
    pub throttled: u64,
    /// Requests that have waited for a limit.
    pub throttled_total: u64,
    /// Requests waiting for memory now.
    pub stalled: u64,
    /// Requests that have found no memory.
    pub full_total: u64,
    /// What the sanitizer has found, if it was ever on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sanitizer: Option<SanitizerCounts>,
    /// Requests that faults hold now.
    #[serde(default)]
    pub held: u64,
    /// How often faults have fired.
    #[serde(default)]
    pub faults_total: u64,
}

/// The memory of all disks together, and how many disks are possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// The most bytes that disks may take.
    pub limit_bytes: u64,
    /// The origin of that limit: an option, the host's memory, a file of a control group.
    #[serde(default)]
    pub limit_from: String,
    /// Bytes that disks take.
    pub charged_bytes: u64,
    /// Bytes of all mapped sectors, counted for each disk and snapshot.
    pub mapped_bytes: u64,
    /// The number of disks.
    pub disks: usize,
    /// The number of snapshots.
    pub snapshots: usize,
    /// The number of golden images.
    #[serde(default)]
    pub images: usize,
    /// Bytes of memory that are charged to golden images.
    #[serde(default)]
    pub images_charged_bytes: u64,
    /// The number of points of all histories.
    #[serde(default)]
    pub history_points: u64,
    /// Bytes of memory that only these points have. They are charged to their disks.
    #[serde(default)]
    pub history_held_bytes: u64,
    /// The most disks that the process's limit on file descriptors allows.
    pub most_disks: usize,
    /// Threads that serve queues.
    pub workers: usize,
    /// Warnings that need attention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A disk was created.
    Created,
    /// A disk was destroyed.
    Destroyed,
    /// A front end connected.
    Attached,
    /// A front end disconnected.
    Detached,
    /// A disk was resized.
    Resized,
    /// Settings, limits or labels changed.
    Changed,
    /// A snapshot was taken.
    Snapshot,
    /// A snapshot was destroyed.
    SnapshotDestroyed,
    /// A disk was forked from another one.
    Forked,
    /// A disk was reset.
    Reset,
    /// A disk has another name from now on; its old one is in `from`.
    Renamed,
    /// The life of a disk is over: it was destroyed or reset.
    Ended,
    /// The life of a disk is over, and it stays: it is protected, for example.
    Spared,
    /// A disk's content was replaced by an image.
    Imported,
    /// A part of a disk's content was written over the API.
    Written,
    /// New content for a disk was incomplete or refused; the disk is unchanged.
    ImportFailed,
    /// A golden image is there.
    ImagePulled,
    /// The content of a golden image was incomplete or refused; there is no such image.
    ImageFailed,
    /// A golden image was removed by request.
    ImageRemoved,
    /// A golden image without forks was dropped, because memory was wanted.
    ImageDropped,
    /// A disk's charge came near its quota, or the pool's near its limit.
    Watermark,
    /// A write found no memory.
    Full,
    /// There is memory again.
    Room,
    /// A disk's socket, or the API's, was removed: nothing can connect to it.
    Unreachable,
    /// The socket was created again.
    Reachable,
    /// The owner that a disk's socket should have can't get it: the daemon keeps it.
    SocketNotGiven,
    /// The file that holds the disks was removed: they are lost when the daemon ends.
    StateRemoved,
    /// A fault on command fired: for the first time, or for one more thousandth time.
    FaultFired,
    /// A fault on command would have to count more sectors than there is room for.
    FaultCrowded,
    /// A sanitizer found something of a kind: for the first time, or for one more thousandth time.
    Finding,
    /// A recording of a disk began.
    Recording,
    /// It ended; what was recorded is kept.
    RecordingEnded,
    /// Volatile writes became stable though no flush covered them: there was no memory for more.
    Folded,
    /// The power of a disk was cut.
    PowerCut,
    /// It was turned on again.
    PowerOn,
    /// A front end violated the protocol, or one of its rings was unusable.
    Fault,
    /// The daemon was started. This is the first event of its run.
    Started,
    /// The configuration file was applied again.
    Reloaded,
    /// The configuration file was to be applied again, and is refused: nothing of it was applied.
    ReloadRefused,
    /// The sandbox had ended the daemon before this one, because of a system call.
    SandboxEnded,
    /// A group of disks was created.
    GroupCreated,
    /// The limits of a group changed.
    GroupChanged,
    /// A group was destroyed.
    GroupDestroyed,
}

/// An event of `/v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number: one more than that of the event before. The first one after the daemon has
    /// started has number 1.
    pub id: u64,
    /// The run of the daemon, which ends when the daemon does. `RUN-ID` is the event's id in the
    /// stream, which `Last-Event-ID` takes.
    #[serde(default)]
    #[schema(pattern = "^[0-9a-f]{8}$")]
    pub run: String,
    /// Its time in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The disk; absent if the event is about the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Who caused it.
    #[serde(default)]
    pub actor: Actor,
    /// What changed, field by field, with old and new values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// Details by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Detail>,
}

impl Event {
    /// Whether it is about the disk of this name, or is the end of that name.
    pub fn is_about(&self, disk: &str) -> bool {
        self.disk.as_deref() == Some(disk) || self.ends(disk)
    }

    /// Whether there is no disk of this name from then on.
    pub fn ends(&self, disk: &str) -> bool {
        let was_called =
            || matches!(self.details.get(RENAMED_FROM), Some(Detail::Text(old)) if old == disk);
        match self.kind {
            EventKind::Destroyed => self.disk.as_deref() == Some(disk),
            EventKind::Renamed => was_called(),
            _ => false,
        }
    }
}

/// The detail of [`EventKind::Renamed`] that has the disk's old name.
pub const RENAMED_FROM: &str = "from";

/// A detail of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Detail {
    /// Yes or no.
    Flag(bool),
    /// A number; the key names the unit.
    Count(u64),
    /// Text.
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

/// Versions of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// The API's version.
    pub api: String,
}
