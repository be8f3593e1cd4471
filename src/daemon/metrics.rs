//! Metrics in the text format of Prometheus, collected for each request.
//!
//! Names are those of the node exporter's diskstats where it has the same figure, with
//! `ramblk_disk` for `node_disk`. The only label is `disk`. Figures that need a walk over a disk's
//! map are left out: the bytes that destroying it would free, and how many a fork shares. A disk is
//! charged for the memory that it took itself, so it shares at least `mapped` less `charged`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::disks::{Disks, describe};
use crate::model::{Disk, DiskState, HistogramBucket, OperationStats, Pool, Stats};

/// All metrics as text. Takes longer the more disks there are.
pub(super) fn text(disks: &Disks) -> Result<String, fmt::Error> {
    let rows = describe::list(disks, &[]).into_iter().filter_map(|disk| {
        // A disk may have been destroyed since.
        let stats = describe::stats(disks, &disk.name).ok()?;
        Some(Row::new(disk, stats))
    });
    let scrape = Scrape {
        rows: rows.collect(),
        pool: describe::pool(disks),
    };
    scrape.text()
}

/// A disk's figures.
#[derive(Debug)]
struct Row {
    label: [(&'static str, String); 1],
    disk: Disk,
    stats: Stats,
}

/// The figures of one moment.
#[derive(Debug)]
struct Scrape {
    rows: Vec<Row>,
    pool: Pool,
}

/// A family of whole numbers: its name, help, and a disk's figure.
type Whole = (&'static str, &'static str, fn(&Row) -> Option<u64>);

/// Counters; `_total` is added to the name.
const COUNTERS: [Whole; 15] = [
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
        "faults_fired",
        "Times that faults on command fired",
        |row| Some(row.stats.faults_total),
    ),
];

/// Times, by kind of request; `_total` is added to the name.
const TIMES: [(&str, &str, &str); 5] = [
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
const GAUGES: [Whole; 15] = [
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
    fn new(disk: Disk, stats: Stats) -> Self {
        Self {
            label: [("disk", disk.name.clone())],
            disk,
            stats,
        }
    }

    /// Figures of one kind of request.
    fn of(&self, operation: &str) -> &OperationStats {
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

impl Scrape {
    fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode_registry(&mut text, &registry)?;
        Ok(prometheus(&text))
    }

    fn pool(&self) -> [(&'static str, &'static str, u64); 9] {
        let pool = &self.pool;
        [
            (
                "ramblk_pool_limit_bytes",
                "Most bytes that all disks may take",
                pool.limit_bytes,
            ),
            (
                "ramblk_pool_charged_bytes",
                "Bytes that all disks take",
                pool.charged_bytes,
            ),
            (
                "ramblk_pool_mapped_bytes",
                "Bytes of all mapped sectors",
                pool.mapped_bytes,
            ),
            ("ramblk_disks", "Disks", pool.disks as u64),
            ("ramblk_snapshots", "Snapshots", pool.snapshots as u64),
            ("ramblk_images", "Golden images", pool.images as u64),
            (
                "ramblk_images_charged_bytes",
                "Bytes of memory that golden images take",
                pool.images_charged_bytes,
            ),
            (
                "ramblk_most_disks",
                "Most disks that the limit on descriptors allows",
                pool.most_disks as u64,
            ),
            (
                "ramblk_workers",
                "Threads that serve queues",
                pool.workers as u64,
            ),
        ]
    }

    fn latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = "ramblk_disk_request_duration_seconds";
        let help = "How long requests took";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for row in &self.rows {
            // Kinds without a request are left out, since most of many disks are idle.
            let used = row
                .stats
                .operations
                .iter()
                .filter(|(_, one)| one.completed > 0);
            for (operation, one) in used {
                let [disk] = &row.label;
                let labels = [disk.clone(), ("operation", operation.clone())];
                let bound = |bound: Option<f64>| bound.unwrap_or(f64::INFINITY);
                let buckets = HistogramBucket::parts(&one.latency);
                let buckets: Vec<_> = buckets.map(|(le, count)| (bound(le), count)).collect();
                let count = buckets.iter().map(|(_, count)| count).sum();
                family
                    .encode_family(&labels)?
                    .encode_histogram::<NoLabelSet>(seconds(one.time_ns), count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        let name = "ramblk_build_info";
        let mut info = encoder.encode_descriptor(name, "Version", None, MetricType::Gauge)?;
        info.encode_family(&build)?.encode_gauge(&1_u64)?;
        for (name, help, value) in self.pool() {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            family.encode_gauge(&value)?;
        }
        for (name, help, figure) in COUNTERS {
            let name = format!("ramblk_disk_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for row in &self.rows {
                if let Some(value) = figure(row) {
                    let mut one = family.encode_family(&row.label)?;
                    one.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
                }
            }
        }
        for (name, help, operation) in TIMES {
            let name = format!("ramblk_disk_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for row in &self.rows {
                let value = seconds(row.of(operation).time_ns);
                let mut one = family.encode_family(&row.label)?;
                one.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        for (name, help, figure) in GAUGES {
            let name = format!("ramblk_disk_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for row in &self.rows {
                if let Some(value) = figure(row) {
                    family.encode_family(&row.label)?.encode_gauge(&value)?;
                }
            }
        }
        self.latencies(&mut encoder)
    }
}

/// Exact up to 104 days, and to a nanosecond in 10^16 beyond.
#[expect(clippy::cast_precision_loss, reason = "as the comment says")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Convert OpenMetrics, which the crate writes, to the older format that every Prometheus reads. In
/// the older format the names of counters end with `_total` in HELP and TYPE too.
fn prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let described = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '));
        let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE "));
        match (described, kind.and_then(|kind| kind.split_once(' '))) {
            (Some((name, help)), Some((_, "counter"))) => {
                text.push_str(&format!(
                    "# HELP {name}_total {help}\n# TYPE {name}_total counter\n"
                ));
                lines.next();
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
