//! What a disk's device is told, and asked.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::disk::Entry;
use crate::device::{self, LATENCY_BOUNDS_NS, Limit, Limiter};
use crate::model::{HistogramBucket, Limits, OperationStats, Rate, Stats};

/// What the device is told of a rate.
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

impl Entry {
    /// Have these limits from now on, and those of a group.
    pub(crate) fn limit(&self, limits: &Limits, group: Option<Arc<Limiter>>) {
        let device = self.server.device();
        device.limiter().set(&limits.into());
        device.set_group(group);
    }

    /// Requests that have found no memory.
    pub(crate) fn full_events(&self) -> u64 {
        self.server.device().full_events()
    }

    /// Requests that wait for memory now.
    pub(crate) fn stalled(&self) -> u64 {
        self.server.device().stalled()
    }

    /// Bytes of all mapped sectors; none, once the disk is gone.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.disk.get_info().map_or(0, |info| info.mapped_bytes)
    }

    /// What guests did to it.
    pub(crate) fn stats(&self) -> Stats {
        let device = self.server.device();
        let total = device.stats().total();
        let named = [
            ("read", &total.reads),
            ("write", &total.writes),
            ("discard", &total.discards),
            ("write_zeroes", &total.write_zeroes),
            ("flush", &total.flushes),
        ];
        let operations = named.map(|(name, stats)| (name.to_owned(), describe(stats)));
        Stats {
            disk: self.name.clone(),
            operations: operations.into(),
            in_flight: total.in_flight,
            throttled: device.throttled(),
            throttled_total: device.throttled_total(),
            stalled: device.stalled(),
            full_total: device.full_events(),
        }
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
