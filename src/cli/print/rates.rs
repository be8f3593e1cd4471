//! Rates and latencies from two readings of a disk's counters.

use crate::model::{HistogramBucket, OperationStats, Stats};

/// A disk's requests between two readings, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::cli) struct Rates {
    pub(in crate::cli) read_iops: f64,
    pub(in crate::cli) write_iops: f64,
    /// Discards, write-zeroes and flushes.
    pub(in crate::cli) other_iops: f64,
    pub(in crate::cli) read_bytes: f64,
    pub(in crate::cli) write_bytes: f64,
    pub(in crate::cli) errors: f64,
    /// The 99th percentile of latencies in seconds; none without requests.
    pub(in crate::cli) p99_seconds: Option<f64>,
}

impl Rates {
    /// The rates of several disks together; the slowest of their 99th percentiles.
    pub(in crate::cli) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            read_iops: sum.read_iops + one.read_iops,
            write_iops: sum.write_iops + one.write_iops,
            other_iops: sum.other_iops + one.other_iops,
            read_bytes: sum.read_bytes + one.read_bytes,
            write_bytes: sum.write_bytes + one.write_bytes,
            errors: sum.errors + one.errors,
            p99_seconds: match (sum.p99_seconds, one.p99_seconds) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            },
        })
    }

    /// Requests of all kinds.
    pub(in crate::cli) fn iops(&self) -> f64 {
        self.read_iops + self.write_iops + self.other_iops
    }
}

/// The rates between two readings, `seconds` apart. A counter that is smaller than before belongs
/// to a new disk of that name, and counts from 0.
pub(in crate::cli) fn between(before: &Stats, after: &Stats, seconds: f64) -> Rates {
    let mut rates = Rates::default();
    let mut latency: Vec<HistogramBucket> = Vec::new();
    for (kind, now) in &after.operations {
        let then = before.operations.get(kind);
        let delta = difference(then, now);
        let per_second = |count: u64| real(count) / seconds.max(1e-9);
        match kind.as_str() {
            "read" => {
                rates.read_iops = per_second(delta.completed);
                rates.read_bytes = per_second(delta.bytes);
            }
            "write" => {
                rates.write_iops = per_second(delta.completed);
                rates.write_bytes = per_second(delta.bytes);
            }
            _ => rates.other_iops += per_second(delta.completed),
        }
        rates.errors += per_second(delta.errors);
        add(&mut latency, &delta.latency);
    }
    rates.p99_seconds = quantile(&latency, 0.99);
    rates
}

fn difference(then: Option<&OperationStats>, now: &OperationStats) -> OperationStats {
    let Some(then) = then.filter(|then| then.completed <= now.completed) else {
        return now.clone();
    };
    let buckets = now.latency.iter().enumerate().map(|(at, bucket)| {
        let before = then.latency.get(at).map_or(0, |bucket| bucket.count);
        HistogramBucket {
            le_seconds: bucket.le_seconds,
            count: bucket.count.saturating_sub(before),
        }
    });
    OperationStats {
        completed: now.completed - then.completed,
        errors: now.errors.saturating_sub(then.errors),
        bytes: now.bytes.saturating_sub(then.bytes),
        time_ns: now.time_ns.saturating_sub(then.time_ns),
        latency: buckets.collect(),
    }
}

/// Add a histogram to another one. Those of one daemon have the same bounds.
pub(in crate::cli) fn add(sum: &mut Vec<HistogramBucket>, more: &[HistogramBucket]) {
    for (at, bucket) in more.iter().enumerate() {
        match sum.get_mut(at) {
            Some(there) => there.count += bucket.count,
            None => sum.push(*bucket),
        }
    }
}

/// A quantile of latencies in seconds, interpolated linearly within its bucket. Beyond the last
/// bound it is that bound.
pub(in crate::cli) fn quantile(buckets: &[HistogramBucket], part: f64) -> Option<f64> {
    let total = buckets.last().map_or(0, |bucket| bucket.count);
    if total == 0 {
        return None;
    }
    let wanted = real(total) * part;
    let (mut below, mut from) = (0.0, 0.0);
    for (le_seconds, count) in HistogramBucket::parts(buckets) {
        let count = real(count);
        let Some(to) = le_seconds else {
            return Some(from);
        };
        if count > 0.0 && below + count >= wanted {
            return Some(from + (to - from) * ((wanted - below) / count).clamp(0.0, 1.0));
        }
        below += count;
        from = to;
    }
    Some(from)
}

/// A counter as a floating-point number.
#[allow(
    clippy::cast_precision_loss,
    reason = "for people: 53 bits are more than enough"
)]
pub(in crate::cli) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: [u64; 4]) -> Vec<HistogramBucket> {
        let bounds = [Some(1e-6), Some(1e-5), Some(1e-4), None];
        HistogramBucket::row(bounds.into_iter(), &counts)
    }

    fn stats(reads: u64, latency: [u64; 4]) -> Stats {
        let read = OperationStats {
            completed: reads,
            errors: 0,
            bytes: reads * 4096,
            time_ns: reads * 1000,
            latency: buckets(latency),
        };
        Stats {
            operations: [("read".to_owned(), read)].into(),
            ..Stats::default()
        }
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        assert_eq!(quantile(&buckets([0; 4]), 0.5), None);
        let half = quantile(&buckets([0, 100, 0, 0]), 0.5);
        assert!(half.is_some_and(|half| near(half, 5.5e-6)), "{half:?}");
        let beyond = quantile(&buckets([1, 0, 0, 99]), 0.99);
        assert!(beyond.is_some_and(|last| near(last, 1e-4)), "{beyond:?}");
    }

    #[test]
    fn rates_count_only_what_happened_in_between() {
        let before = stats(1000, [1000, 0, 0, 0]);
        let rates = between(&before, &stats(1100, [1000, 0, 100, 0]), 2.0);
        assert!(near(rates.read_iops, 50.0) && near(rates.iops(), 50.0));
        assert!(near(rates.read_bytes, 50.0 * 4096.0));
        assert!(rates.p99_seconds.is_some_and(|p99| p99 > 9e-5), "{rates:?}");
    }

    #[test]
    fn a_new_disk_of_the_same_name_counts_from_nothing() {
        let rates = between(
            &stats(1000, [1000, 0, 0, 0]),
            &stats(10, [10, 0, 0, 0]),
            1.0,
        );
        assert!(near(rates.read_iops, 10.0), "{rates:?}");
    }
}
