//! Metrics in the text format of Prometheus, collected for each request.
//!
//! Names are those of the node exporter's diskstats where it has the same figure, with
//! `ramblk_disk` for `node_disk`. Figures of disks have only the label `disk`; `ramblk_disk_info`
//! has the others, to be joined on it. Figures that need a walk over a disk's
//! map are left out: the bytes that destroying it would free, and how many a fork shares. A disk is
//! charged for the memory that it took itself, so it shares at least `mapped` less `charged`.

//!
//! | file | what it holds |
//! |---|---|
//! | `process` | figures of the process and of its threads |
//! | `row` | a disk's figures |
//! | `workers` | figures of the threads that serve queues |
//! | `mod` | figures of disks, groups and the pool, and the format |

mod process;
mod row;
mod workers;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use self::process::Process;
use self::row::{COUNTERS, GAUGES, Row, TIMES, seconds};
use super::disks::{Disks, describe, groups};
use crate::model::{Group, HistogramBucket, Limits, Pool, Rate};

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
        groups: groups::list(disks),
        process: Process::now(),
        polled_ns: describe::polled_ns(disks),
        shown_labels: disks.shown_labels().to_vec(),
    };
    scrape.text()
}

/// The figures of one moment.
#[derive(Debug)]
struct Scrape {
    rows: Vec<Row>,
    pool: Pool,
    groups: Vec<Group>,
    process: Process,
    /// How long each worker has polled in vain.
    polled_ns: Vec<u64>,
    /// Keys of labels that `ramblk_disk_info` has.
    shown_labels: Vec<String>,
}

/// Check that the key of a disk's label can be a part of the name of a label of Prometheus.
///
/// # Errors
/// It can't; the text says why.
pub(super) fn check_label(key: &str) -> Result<(), String> {
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '_';
    match !key.is_empty() && key.chars().all(fits) {
        true => Ok(()),
        false => Err(format!(
            "label {key:?} can't be shown to Prometheus, whose labels have only letters, digits \
             and _: use another key for it"
        )),
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

    /// What disks are, with the value 1, and how many requests wait.
    fn about_disks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = ("ramblk_disk_info", "What a disk is; always 1");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for row in &self.rows {
            let [disk] = &row.label;
            let group = row.disk.group.clone().unwrap_or_default();
            let mut labels = vec![
                (disk.0.to_owned(), disk.1.clone()),
                ("id".to_owned(), row.disk.id.clone()),
                ("group".to_owned(), group),
            ];
            labels.extend(self.shown_labels.iter().map(|key| {
                let value = row.disk.labels.get(key).cloned();
                (format!("label_{key}"), value.unwrap_or_default())
            }));
            family.encode_family(&labels)?.encode_gauge(&1_u64)?;
        }
        let (name, help) = (
            "ramblk_disk_created_seconds",
            "When it was created, since 1970",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for row in &self.rows {
            let created = seconds(row.disk.created_ns);
            family.encode_family(&row.label)?.encode_gauge(&created)?;
        }
        let waits = |row: &Row| row.stats.throttled + row.stats.stalled + row.stats.held;
        let waiting: u64 = self.rows.iter().map(waits).sum();
        let name = "ramblk_parked_requests";
        let help = "Requests of all disks that wait for a limit, for memory or for a fault";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        family.encode_gauge(&waiting)
    }

    fn about_groups(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = ("ramblk_group_disks", "Disks of a group");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for group in &self.groups {
            let labels = [("group", group.name.clone())];
            let count = group.disks.len() as u64;
            family.encode_family(&labels)?.encode_gauge(&count)?;
        }
        type Of = fn(&Rate) -> Option<u64>;
        let limits: [(&str, &str, Of); 2] = [
            (
                "ramblk_group_limit_iops",
                "Most requests per second",
                |rate| rate.iops,
            ),
            (
                "ramblk_group_limit_bytes_per_second",
                "Most bytes per second",
                |rate| rate.bytes_per_second,
            ),
        ];
        for (name, help, of) in limits {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for group in &self.groups {
                let Limits { total, read, write } = &group.limits;
                for (operation, rate) in [("all", total), ("read", read), ("write", write)] {
                    let labels = [
                        ("group", group.name.clone()),
                        ("operation", operation.into()),
                    ];
                    if let Some(value) = of(rate) {
                        family.encode_family(&labels)?.encode_gauge(&value)?;
                    }
                }
            }
        }
        Ok(())
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
        self.about_disks(&mut encoder)?;
        self.about_groups(&mut encoder)?;
        self.latencies(&mut encoder)?;
        workers::encode(&self.polled_ns, &mut encoder)?;
        self.process.encode(&mut encoder)
    }
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
