//! A disk's limits as its device takes them, and the device's counters as the API returns them.

use std::num::NonZeroU64;

use crate::device::{self, LATENCY_BOUNDS_NS, Limit, Volume};
use crate::model::{HistogramBucket, Limits, OperationStats, Rate, Stats};

/// A rate as the device takes it.
fn limit(rate: &Rate) -> Limit {
    let number = |rate: Option<u64>| rate.and_then(NonZeroU64::new);
    Limit {
        iops: number(rate.iops),
        iops_burst: rate.iops_burst.unwrap_or(0),
        bytes_per_second: number(rate.bytes_per_second),
        burst_bytes: rate.bytes_burst.unwrap_or(0),
    }
}

impl From<&Limits> for device::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            total: limit(&limits.total),
            read: limit(&limits.read),
            write: limit(&limits.write),
        }
    }
}

/// The statistics of disk `name`, from its volume's counters.
pub(crate) fn of(name: &str, volume: &Volume) -> Stats {
    let total = volume.stats().total();
    let named = [
        ("read", &total.reads),
        ("write", &total.writes),
        ("discard", &total.discards),
        ("write_zeroes", &total.write_zeroes),
        ("flush", &total.flushes),
    ];
    let operations = named.map(|(name, stats)| (name.to_owned(), describe(stats)));
    Stats {
        disk: name.to_owned(),
        operations: operations.into(),
        in_flight: total.in_flight,
        throttled: volume.throttled(),
        throttled_total: volume.throttled_total(),
        stalled: volume.stalled(),
        full_total: volume.full_events(),
        sanitizer: super::sanitizer::counts(volume),
        held: volume.held(),
        faults_total: volume.faults().fired(),
    }
}

fn describe(stats: &device::OperationStats) -> OperationStats {
    // Exact: bounds are powers of two below 2 to the power of 53.
    let bounds = LATENCY_BOUNDS_NS.iter().map(|&ns| Some(ns as f64 / 1e9));
    let bounds = bounds.chain([None]);
    OperationStats {
        completed: stats.completed,
        errors: stats.errors,
        bytes: stats.bytes,
        time_ns: stats.time_ns,
        latency: HistogramBucket::row(bounds, &stats.latency.requests),
    }
}
