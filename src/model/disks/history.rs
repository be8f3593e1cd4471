//! The history of a disk: points to which one can go back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many points are kept if nothing else is said.
pub const USUAL_POINTS: u64 = 1000;

fn usual_points() -> u64 {
    USUAL_POINTS
}

/// When points of a disk's history are taken, and how many are kept. Without an interval and an
/// amount a point is taken at each flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistorySettings {
    /// Take a point each time that this many milliseconds have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 10, maximum = 86400000)]
    pub interval_ms: Option<u64>,
    /// Take a point each time that this many bytes were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 65536)]
    pub written_bytes: Option<u64>,
    /// How many points are kept; beyond that the oldest are dropped.
    #[serde(default = "usual_points")]
    #[schema(minimum = 1, maximum = 10000)]
    pub keep: u64,
    /// The most bytes of memory that only points may have; beyond that the oldest are dropped. By
    /// default it is a quarter of the memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 65536)]
    pub limit_bytes: Option<u64>,
}

impl Default for HistorySettings {
    /// Each flush, and the usual number of points.
    fn default() -> Self {
        Self {
            interval_ms: None,
            written_bytes: None,
            keep: USUAL_POINTS,
            limit_bytes: None,
        }
    }
}

/// How much there is of a disk's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryAmount {
    /// Points that there are.
    pub points: u64,
    /// Bytes of memory that only these points have, as of the last one. They are charged to the
    /// disk, which took them.
    pub held_bytes: u64,
    /// Moments at which no point could be taken, since the daemon started.
    pub missed: u64,
}

/// A point of a disk's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPoint {
    /// Its name, as in `flush:1432`, `time:7` or `written:12`; behind `@` it is used as the name of
    /// a snapshot is.
    pub name: String,
    /// When it was taken, in milliseconds since 1970.
    pub at_ms: u64,
    /// Bytes of memory that it has and the next point doesn't; absent for the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
}

/// The history of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The disk.
    pub disk: String,
    /// When points are taken; absent if there is no history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<HistorySettings>,
    /// How much there is.
    pub amount: HistoryAmount,
    /// Its points, oldest first.
    pub points: Vec<HistoryPoint>,
}
