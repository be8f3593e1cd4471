//! Recordings of what changes a disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How to record a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecordRequest {
    /// The most memory that the log may take: a full log ends the recording. By default a quarter
    /// of the pool.
    #[schema(minimum = 65536)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// The sector of 512 bytes whose writes are marks if they begin with `ramblk-mark:`. By default
    /// the first one of the disk's last 4096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark_sector: Option<u64>,
}

/// Whether a disk is being recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordingState {
    /// It is.
    Recording,
    /// No longer; what was recorded is kept.
    Ended,
}

/// A recording: the content of a disk at one moment, and everything that changed it since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// The disk.
    pub disk: String,
    /// Whether it is being recorded.
    pub state: RecordingState,
    /// Why the recording has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The snapshot with the content before the first request.
    pub base: String,
    /// The most memory that the log may take.
    pub limit_bytes: u64,
    /// The memory that it takes.
    pub charged_bytes: u64,
    /// The length of the log, with its holes.
    pub length_bytes: u64,
    /// Its entries: requests, parts of long ones, and marks.
    pub entries: u64,
    /// Its writes.
    pub writes: u64,
    /// Its flushes.
    pub flushes: u64,
    /// Its marks.
    pub marks: u64,
    /// The sector whose writes may be marks.
    pub mark_sector: u64,
}

/// A disk with a state that a crash may have left of a recorded disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// The new disk's name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// The state: a moment of the log, and what is there of the writes that were volatile then, as
    /// in `120:all-17`.
    #[schema(min_length = 3, max_length = 65536)]
    pub state: String,
    /// Labels of the new disk.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A mark in a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkRequest {
    /// Its text.
    #[schema(min_length = 1, max_length = 432)]
    pub text: String,
}
