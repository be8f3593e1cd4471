//! A disk's figures, and the families that have them.

use crate::model::{Disk, DiskState, OperationStats, Stats};

/// A disk's figures.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) label: [(&'static str, String); 1],
    pub(super) disk: Disk,
    pub(super) stats: Stats,
}

/// A family of whole numbers: its name, help, and a disk's figure.
pub(super) type Whole = (&'static str, &'static str, fn(&Row) -> Option<u64>);

/// Counters; `_total` is added to the name.
pub(super) const COUNTERS: [Whole; 16] = [
    ("reads_completed", "Reads answered", |row| {
        Some(row.of("read").completed)
    }),
    ("read_bytes", "Bytes read", |row| Some(row.of("read").bytes)),
    ("writes_completed", "Writes answered", |row| {
        Some(row.of("write").completed)
    }),
    ("written_bytes", "Bytes written", |row| {
        Some(row.of("write").bytes)
    }),
    ("discards_completed", "Discards answered", |row| {
        Some(row.of("discard").completed)
    }),
    ("discarded_bytes", "Bytes discarded", |row| {
        Some(row.of("discard").bytes)
    }),
    (
        "write_zeroes_completed",
        "Write-zeroes requests answered",
        |row| Some(row.of("write_zeroes").completed),
    ),
    ("write_zeroes_bytes", "Bytes zeroed", |row| {
        Some(row.of("write_zeroes").bytes)
    }),
    ("flush_requests", "Flushes answered", |row| {
        Some(row.of("flush").completed)
    }),
    ("io_errors", "Requests answered with an error", |row| {
        Some(row.errors())
    }),
    (
        "throttled",
        "Requests that had to wait for a limit",
        |row| Some(row.stats.throttled_total),
    ),
    ("full", "Requests that found no memory", |row| {
        Some(row.stats.full_total)
    }),
    (
        "sanitizer_unwritten_reads",
        "Reads of sectors that held nothing, if the disk has a sanitizer",
        |row| Some(row.stats.sanitizer?.unwritten_reads),
    ),
    (
        "sanitizer_no_flush",
        "Times that 256 MiB were written without a flush, if the disk has a sanitizer",
        |row| Some(row.stats.sanitizer?.no_flush),
    ),
    (
        "sanitizer_second_writer",
        "Changes by a second front end, if the disk has a sanitizer",
        |row| Some(row.stats.sanitizer?.second_writer),
    ),
    (
        "faults_fired",
        "Times that faults on command fired",
        |row| Some(row.stats.faults_total),
    ),
];

/// Times, by kind of request; `_total` is added to the name.
pub(super) const TIMES: [(&str, &str, &str); 5] = [
    ("read_time_seconds", "Time that reads took, summed", "read"),
    (
        "write_time_seconds",
        "Time that writes took, summed",
        "write",
    ),
    (
        "discard_time_seconds",
        "Time that discards took, summed",
        "discard",
    ),
    (
        "write_zeroes_time_seconds",
        "Time that write-zeroes requests took, summed",
        "write_zeroes",
    ),
    (
        "flush_requests_time_seconds",
        "Time that flushes took, summed",
        "flush",
    ),
];

/// Gauges.
pub(super) const GAUGES: [Whole; 18] = [
    ("io_now", "Requests being served", |row| {
        Some(row.stats.in_flight)
    }),
    ("throttled", "Requests that wait for a limit", |row| {
        Some(row.stats.throttled)
    }),
    ("stalled", "Requests that wait for memory", |row| {
        Some(row.stats.stalled)
    }),
    ("held", "Requests that faults on command hold", |row| {
        Some(row.stats.held)
    }),
    ("size_bytes", "Size", |row| Some(row.disk.size_bytes)),
    (
        "mapped_bytes",
        "Bytes of mapped sectors, including shared ones",
        |row| Some(row.disk.mapped_bytes),
    ),
    (
        "charged_bytes",
        "Bytes of memory that it took itself, for data and the tables that map it",
        |row| Some(row.disk.charged_bytes),
    ),
    (
        "shared_bytes",
        "Mapped bytes that others were charged for, at least",
        |row| Some(row.disk.mapped_bytes.saturating_sub(row.disk.charged_bytes)),
    ),
    (
        "quota_bytes",
        "Most bytes of memory that it may take, if bounded",
        |row| row.disk.quota_bytes,
    ),
    (
        "history_points",
        "Points of its history, if it has one",
        |row| Some(row.disk.history_amount?.points),
    ),
    (
        "history_held_bytes",
        "Bytes of memory that only these points have",
        |row| Some(row.disk.history_amount?.held_bytes),
    ),
    (
        "volatile_bytes",
        "Bytes that a power cut would lose, if its write cache is volatile",
        |row| Some(row.disk.volatile.as_ref()?.bytes),
    ),
    (
        "ends_in_seconds",
        "Time until it ends by itself, if it does",
        |row| Some(row.disk.ending?.in_ms / 1000),
    ),
    (
        "protected",
        "1 if it can't be destroyed until that is changed",
        |row| Some(row.disk.protected.into()),
    ),
    ("attached", "1 if a front end is connected", |row| {
        Some(row.disk.attached.into())
    }),
    ("front_ends", "Front ends that are connected", |row| {
        Some(row.disk.front_ends.len() as u64)
    }),
    (
        "short_of_memory",
        "1 if a write found no memory, until there is room again",
        |row| {
            let short = matches!(row.disk.state, DiskState::Full | DiskState::Stalled);
            Some(short.into())
        },
    ),
    (
        "failed",
        "1 if every request fails, because ramblk crashed on one twice",
        |row| Some(row.disk.failure.is_some().into()),
    ),
];

impl Row {
    pub(super) fn new(disk: Disk, stats: Stats) -> Self {
        Self {
            label: [("disk", disk.name.clone())],
            disk,
            stats,
        }
    }

    /// Figures of one kind of request.
    pub(super) fn of(&self, operation: &str) -> &OperationStats {
        static NONE: OperationStats = OperationStats {
            completed: 0,
            errors: 0,
            bytes: 0,
            time_ns: 0,
            latency: Vec::new(),
        };
        self.stats.operations.get(operation).unwrap_or(&NONE)
    }

    fn errors(&self) -> u64 {
        self.stats.operations.values().map(|one| one.errors).sum()
    }
}

/// Exact up to 104 days, and to a nanosecond in 10^16 beyond.
#[expect(clippy::cast_precision_loss, reason = "as the comment says")]
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
