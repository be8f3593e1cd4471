//! Faults on command.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A fault to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// The rule as text: `KIND,field=value,…`.
    #[schema(example = "error,op=write,range=1M+4K,times=1")]
    pub rule: String,
}

/// A fault of a disk, and what it has counted since it was added or the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// What it is called.
    pub id: String,
    /// The rule as text, in its normal form.
    pub rule: String,
    /// Requests that the rule was about.
    pub requests: u64,
    /// How often it has fired.
    pub fired: u64,
    /// Whether it will never fire again, because it fired as often or as long as it may.
    pub spent: bool,
    /// Whether it asks for a sector's count that there was no room to keep.
    pub crowded: bool,
    /// For a personality: its parameters, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
    /// For `rot`, which happens at once: the bits that have gone wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotten: Vec<RottenBits>,
}

/// Bits of a byte that have gone wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RottenBits {
    /// The byte of the disk.
    pub at_bytes: u64,
    /// The bits.
    pub mask: u8,
}

/// A fault that fired for a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultFiring {
    /// The fault's id.
    pub id: String,
    /// How often it had fired, this time included.
    pub number: u64,
    /// Its kind, as in the rule.
    pub kind: String,
    /// The request: `read`, `write`, `flush`, `discard` or `write-zeroes`.
    pub op: String,
    /// The first byte of the request's first range.
    pub start_bytes: u64,
    /// The length of that range.
    pub length_bytes: u64,
    /// How often this operation had asked for this start, this time included, if the rule counts
    /// that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<u64>,
    /// How long it delays the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ns: Option<u64>,
}

/// The last firings of a disk's faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultLog {
    /// How many firings there were before these, which the log no longer has.
    pub dropped: u64,
    /// The last ones, at most 4096, the oldest first.
    pub firings: Vec<FaultFiring>,
}
