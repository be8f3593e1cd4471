//! What a disk's device is told, and asked.

use std::sync::Arc;

use super::super::model::{HistogramBucket, Limits, OnFull, OperationStats, Stats};
use super::entry::Entry;
use crate::device::{self, LATENCY_BOUNDS_NS};

/// TODO of this branch: the device's.
#[derive(Debug)]
pub(super) struct Limiter;
impl Limiter {
    pub(super) fn new(_: &Limits) -> Arc<Self> {
        Arc::new(Self)
    }
    pub(super) fn set(&self, _: &Limits) {}
}

impl Entry {
    pub(super) fn limit(&self, _limits: &Limits, _group: Option<Arc<Limiter>>) {}
    pub(super) fn set_on_full(&self, _on_full: OnFull) {}
    pub(super) fn full_events(&self) -> u64 {
        0
    }
    pub(super) fn stalled(&self) -> u64 {
        0
    }
    pub(super) fn mapped_bytes(&self) -> u64 {
        self.disk.get_info().map_or(0, |info| info.mapped_bytes)
    }

    /// What guests did to it.
    pub(super) fn stats(&self) -> Stats {
        let total = self.server.device().stats().total();
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
            ..Stats::default()
        }
    }
}

fn describe(stats: &device::OperationStats) -> OperationStats {
    let counts = stats.latency.requests.iter();
    let bounds = LATENCY_BOUNDS_NS.iter().map(|&bound| Some(bound));
    let bounds = bounds.chain([None]);
    let latency = bounds
        .zip(counts)
        .map(|(bound_ns, &count)| HistogramBucket {
            // Exact: bounds are powers of two below 2 to the power of 53.
            le_seconds: bound_ns.map(|ns| ns as f64 / 1e9),
            count,
        });
    OperationStats {
        completed: stats.completed,
        errors: stats.errors,
        bytes: stats.bytes,
        time_ns: stats.time_ns,
        latency: latency.collect(),
    }
}
