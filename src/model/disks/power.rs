//! Volatile write caches, and power cuts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// When the writes of a disk are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteCache {
    /// As soon as they complete; this costs nothing.
    #[default]
    Stable,
    /// When a flush covers them, as on a disk with a volatile write cache (virtio 1.3 §5.2.6.2). A
    /// power cut may lose the others.
    Volatile,
}

impl WriteCache {
    /// Whether writes are stable as soon as they complete.
    pub fn is_stable(&self) -> bool {
        *self == Self::Stable
    }
}

/// What makes the writes of a disk stable now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StableBy {
    /// A flush that was submitted after they completed.
    Flush,
    /// Their completion: the guest has turned writeback off.
    WriteThrough,
    /// Their completion: the driver has negotiated neither flush nor the cache mode.
    NoFlush,
}

/// What a power cut could lose of a disk now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volatile {
    /// Writes, discards and write-zeroes.
    pub writes: usize,
    /// Bytes of their ranges, counted for each.
    pub bytes: u64,
    /// What makes new writes stable.
    pub stable_by: StableBy,
    /// Bytes of memory that the log of them takes.
    pub log_bytes: u64,
    /// The most that it may take.
    pub log_limit_bytes: u64,
    /// Why it is not known what is stable, if that is so: the host had no memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Which volatile writes a power cut keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// All up to a random one.
    Prefix,
    /// Random ones, in their order.
    Subset,
    /// Random ones, and of overlapping ones any may be the last.
    Reorder,
}

/// A power cut of one or more disks, at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerCutRequest {
    /// The disks, each with a volatile write cache.
    #[schema(min_items = 1, max_items = 64)]
    pub disks: Vec<String>,
    /// Which volatile writes are kept.
    #[serde(default)]
    pub keep: Keep,
    /// Writes that are kept may be torn; with `all` and `prefix`, the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
    /// Writes may leave random bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub garbage: bool,
    /// What the disk promises to write whole, in bytes: a power of two. By default its physical
    /// block, 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 512, maximum = 65536, multiple_of = 512)]
    pub tear_unit_bytes: Option<u64>,
    /// What random choices come from: the same one makes the same choices.
    #[serde(default)]
    pub seed: u64,
    /// Leave the disk alone, and make what it would be after the cut under this name. Only with one
    /// disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub fork: Option<String>,
    /// Don't listen again before the power is turned on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
}

/// A power cut that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PowerCut {
    /// What it did to each disk.
    pub disks: Vec<DiskCut>,
    /// Which volatile writes were kept.
    pub keep: Keep,
    /// What random choices came from.
    pub seed: u64,
    /// The unit at which writes were torn.
    pub tear_unit_bytes: u64,
}

/// What a power cut did to a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskCut {
    /// The disk.
    pub disk: String,
    /// The disk that was made beside it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<String>,
    /// Writes that were volatile.
    pub volatile_writes: usize,
    /// Those of them that are not wholly there.
    pub lost_writes: usize,
    /// The first of these, at most 256.
    pub lost: Vec<LostWrite>,
    /// Front ends that lost their connection.
    pub disconnected: usize,
    /// What you must do for this to be a power cut for the guest too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A volatile write that a power cut did not keep as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostWrite {
    /// Its number, in the order of submission since the disk was served.
    pub number: u64,
    /// What it was: `write`, `discard` or `write-zeroes`.
    pub kind: String,
    /// Where it begins, in bytes.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// What became of it.
    pub fate: LostFate,
    /// For a torn one: the parts that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptPart>,
    /// Why it was volatile.
    pub because: Because,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LostFate {
    /// Nothing of it is there.
    Lost,
    /// A part of it is.
    Torn,
    /// Random bytes are there.
    Garbage,
}

/// Why a write was volatile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// It had not completed.
    InFlight,
    /// No flush that was submitted after its completion had completed.
    NoFlush,
}

/// A part of a torn write that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptPart {
    /// Where it begins, in bytes.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
}

/// Disks whose power is turned on again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerOnRequest {
    /// The disks.
    #[schema(min_items = 1, max_items = 64)]
    pub disks: Vec<String>,
}
