//! Rates and bursts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A bound on requests and bytes per second. What isn't given is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub iops: Option<u64>,
    /// Requests that may be made at once after a time without any. By default a few milliseconds'
    /// worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub iops_burst: Option<u64>,
    /// Bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bytes_per_second: Option<u64>,
    /// Bytes that may be moved at once after a time without any. By default a few milliseconds'
    /// worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bytes_burst: Option<u64>,
}

impl Rate {
    /// Whether it says nothing, a burst without its rate neither.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Bounds on what a disk, or a group of disks together, may do. All of them hold. Discards and
/// write-zeroes count as writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Reads and writes together.
    #[serde(skip_serializing_if = "Rate::is_empty")]
    pub total: Rate,
    /// Reads.
    #[serde(skip_serializing_if = "Rate::is_empty")]
    pub read: Rate,
    /// Writes.
    #[serde(skip_serializing_if = "Rate::is_empty")]
    pub write: Rate,
}

impl Limits {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Disks that share limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name: as a disk's.
    pub name: String,
    /// What its disks together may do.
    #[serde(default)]
    pub limits: Limits,
    /// The disks in it, sorted.
    #[serde(default)]
    pub disks: Vec<String>,
}
