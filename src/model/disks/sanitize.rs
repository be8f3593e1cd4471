//! The sanitizer of a disk: what it does, and what it has found.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a disk does about requests that a correct guest wouldn't make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sanitize {
    /// Nothing; this costs nothing.
    #[default]
    Off,
    /// They are counted.
    Count,
    /// They are counted, and the last ones are kept with request and time.
    Log,
    /// The same, and reads of sectors that hold nothing fail, and changes by a second front end.
    Fail,
}

impl Sanitize {
    /// Whether it does nothing.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// What the sanitizer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A read of sectors that were never written, or were discarded since.
    UnwrittenRead,
    /// A write after which more than 256 MiB were written since the last flush.
    NoFlush,
    /// A write, discard or write-zeroes of a front end beside one that had been connected for
    /// longer, or over the API beside one.
    SecondWriter,
}

impl FindingKind {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::UnwrittenRead => "unwritten-read",
            Self::NoFlush => "no-flush",
            Self::SecondWriter => "second-writer",
        }
    }
}

/// How often the sanitizer has found something since the daemon started or the disk was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SanitizerCounts {
    /// Reads of sectors that were never written, or were discarded since.
    pub unwritten_reads: u64,
    /// How often 256 MiB were written without a flush.
    pub no_flush: u64,
    /// Writes, discards and write-zeroes beside a front end that had been connected for longer.
    pub second_writer: u64,
}

/// A request that the sanitizer has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Its number, from 1 on.
    pub number: u64,
    /// When it was served, in milliseconds since 1970.
    pub at_ms: u64,
    /// What is wrong with it.
    pub kind: FindingKind,
    /// Where the request began, in bytes.
    pub request_start_bytes: u64,
    /// The length of the request, in bytes.
    pub request_length_bytes: u64,
    /// Where the first part that is wrong begins, in bytes.
    pub start_bytes: u64,
    /// The length of that part, in bytes.
    pub length_bytes: u64,
}

/// What the sanitizer of a disk has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Findings {
    /// The disk.
    pub disk: String,
    /// What it does.
    pub sanitize: Sanitize,
    /// How often it has found something.
    pub counts: SanitizerCounts,
    /// The last findings, oldest first; none if it only counts.
    pub findings: Vec<Finding>,
}
