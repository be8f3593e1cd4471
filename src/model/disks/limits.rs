//! Rates and bursts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A limit on requests and bytes per second. Absent fields don't limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub iops: Option<u64>,
    /// Requests that may come at once after a pause; by default what the rate allows in a few
    /// milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub iops_burst: Option<u64>,
    /// Bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bytes_per_second: Option<u64>,
    /// Bytes that may be moved at once after a pause; by default what the rate allows in a few
    /// milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bytes_burst: Option<u64>,
}

impl Rate {
    /// Whether nothing is limited, not even a burst without its rate.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Limits of a disk, or of a group of disks together. All of them apply. Discards and write-zeroes
/// count as writes.
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
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Disks that share limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, formed like a disk's.
    pub name: String,
    /// Limits that its disks share.
    #[serde(default)]
    pub limits: Limits,
    /// The disks in it, sorted.
    #[serde(default)]
    pub disks: Vec<String>,
}
