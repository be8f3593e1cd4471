//! The results of a run, for people and as JSON; units are in the names.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::options::{Driver, Op, Pattern, Plan};
use crate::load::process::Spent;
use crate::load::queue::results::QueueResults;

/// Results of a run, over all queues.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The back end's socket.
    pub socket: String,
    /// The requests.
    pub op: Op,
    /// Percentage of reads, if they were mixed.
    pub read_percent: u8,
    /// The order of offsets.
    pub pattern: Pattern,
    /// Bytes of a request.
    pub block_bytes: u64,
    /// The most requests in flight per queue.
    pub depth: u16,
    /// Queues.
    pub queues: u16,
    /// How the driver waited.
    pub driver: Driver,
    /// Whether EVENT_IDX was in use.
    pub event_idx: bool,
    /// Whether chains were in indirect tables.
    pub indirect: bool,
    /// Descriptors of each ring.
    pub ring_descriptors: u16,
    /// The requested rate in requests per second, if there was one.
    pub rate: Option<f64>,
    /// Whether requests were made in bursts.
    pub burst: bool,
    /// Bytes of the disk that were used.
    pub span_bytes: u64,
    /// Seed of offsets and content.
    pub seed: u64,
    /// The duration of the measurement.
    pub seconds: f64,
    /// Requests that completed in that time.
    pub requests: u64,
    /// Requests that failed in the whole run.
    pub errors: u64,
    /// The same by status.
    pub errors_by_kind: Errors,
    /// Requests per second.
    pub iops: f64,
    /// Bytes per second, of requests that have a block.
    pub bandwidth_bytes_per_s: f64,
    /// Latencies from submission, or from when a request was due, to completion.
    pub latency_ns: Latency,
    /// Processor time of the driver's threads.
    pub driver_cpu_ns_per_request: f64,
    /// The driver's own work per request, without waiting and system calls: the median of samples;
    /// `null` if requests are made at a rate.
    pub driver_busy_ns_per_request: Option<u64>,
    /// The cost of the back end.
    pub back_end: BackEnd,
    /// What completed in each interval; `null` without `--interval`.
    pub intervals: Option<Vec<Interval>>,
    /// Kicks per request.
    pub kicks_per_request: f64,
    /// Calls per request.
    pub calls_per_request: f64,
    /// Sectors that were read and compared; `null` without `--verify`.
    pub verified_sectors: Option<u64>,
    /// Whether content was compared. A mismatch is an error, and there is no report.
    pub verified: bool,
}

/// Requests that failed.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Errors {
    /// VIRTIO_BLK_S_IOERR.
    pub io: u64,
    /// VIRTIO_BLK_S_UNSUPP.
    pub unsupported: u64,
    /// No status was written.
    pub no_status: u64,
    /// Any other status.
    pub other: u64,
}

/// What completed in one interval of the measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Interval {
    /// When it ended, in seconds from the start of the measurement.
    pub until_seconds: f64,
    /// Requests that completed in it.
    pub requests: u64,
    /// Requests per second.
    pub iops: f64,
}

impl Interval {
    /// Requests that completed between two times, in seconds from the start of the measurement.
    pub(super) fn new(from_seconds: f64, until_seconds: f64, requests: u64) -> Self {
        Self {
            until_seconds,
            requests,
            iops: ratio(requests as f64, until_seconds - from_seconds),
        }
    }
}

/// Latencies in ns.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
}

/// The cost of the back end's process; `null` for what is not visible.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BackEnd {
    /// Its number.
    pub pid: Option<u32>,
    /// Processor time of all its threads.
    pub cpu_ns_per_request: Option<f64>,
    /// The same in percent of one processor.
    pub cpu_percent: Option<f64>,
    /// Wake-ups of its threads.
    pub wake_ups: Option<u64>,
    /// The same per second.
    pub wake_ups_per_s: Option<f64>,
    /// The same per request.
    pub wake_ups_per_request: Option<f64>,
}

/// What the main thread noted during the measurement.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// What the back end spent, if its process is visible.
    pub(super) spent: Option<Spent>,
    /// With `--interval`.
    pub(super) intervals: Option<Vec<Interval>>,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        queues: &[QueueResults],
        pid: Option<u32>,
        measured: Measured,
    ) -> Self {
        let Measured { spent, intervals } = measured;
        let options = &plan.options;
        let sum = |of: fn(&QueueResults) -> u64| queues.iter().map(of).sum::<u64>();
        let requests = sum(|queue| queue.requests);
        let wall_ns = queues.iter().map(|queue| queue.wall_ns).max().unwrap_or(0);
        let seconds = wall_ns as f64 / 1e9;
        let per_request = |count: f64| ratio(count, requests as f64);
        let iops = ratio(requests as f64, seconds);
        let block_bytes = if options.op == Op::Flush {
            0
        } else {
            options.block_bytes
        };
        let errors = Errors {
            io: sum(|queue| queue.errors[0]),
            unsupported: sum(|queue| queue.errors[1]),
            no_status: sum(|queue| queue.errors[2]),
            other: sum(|queue| queue.errors[3]),
        };
        Self {
            socket: options.socket.display().to_string(),
            op: options.op,
            read_percent: options.read_percent,
            pattern: options.pattern,
            block_bytes: options.block_bytes,
            depth: options.depth,
            queues: options.queues,
            driver: options.driver,
            event_idx: plan.event_idx,
            indirect: options.indirect,
            ring_descriptors: plan.ring_size,
            rate: options.rate,
            burst: options.burst,
            span_bytes: plan.blocks * options.block_bytes,
            seed: options.seed,
            seconds,
            requests,
            errors: errors.io + errors.unsupported + errors.no_status + errors.other,
            errors_by_kind: errors,
            iops,
            bandwidth_bytes_per_s: iops * block_bytes as f64,
            latency_ns: Latency::new(queues),
            driver_cpu_ns_per_request: per_request(sum(|queue| queue.cpu_ns) as f64),
            driver_busy_ns_per_request: merged(queues, |queue| &queue.busy_ns)
                .map(|busy| busy.value_at_quantile(0.5)),
            back_end: BackEnd {
                pid,
                cpu_ns_per_request: spent.map(|spent| per_request(spent.cpu_ns as f64)),
                cpu_percent: spent.map(|s| ratio(s.cpu_ns as f64 / 1e7, s.seconds)),
                wake_ups: spent.map(|spent| spent.wake_ups),
                wake_ups_per_s: spent.map(|s| ratio(s.wake_ups as f64, s.seconds)),
                wake_ups_per_request: spent.map(|spent| per_request(spent.wake_ups as f64)),
            },
            intervals,
            kicks_per_request: per_request(sum(|queue| queue.kicks) as f64),
            calls_per_request: per_request(sum(|queue| queue.calls) as f64),
            verified_sectors: options.verify.then(|| sum(|queue| queue.verified_sectors)),
            verified: options.verify,
        }
    }
}

/// A ratio, or 0 if `whole` is 0.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// One histogram of all queues, unless it is empty.
fn merged(
    queues: &[QueueResults],
    of: fn(&QueueResults) -> &Histogram<u64>,
) -> Option<Histogram<u64>> {
    let mut all: Option<Histogram<u64>> = None;
    for queue in queues {
        match &mut all {
            None => all = Some(of(queue).clone()),
            // All have the same bounds, so nothing can be too large.
            Some(all) => all.add(of(queue)).unwrap_or_default(),
        }
    }
    all.filter(|all| !all.is_empty())
}

impl Latency {
    fn new(queues: &[QueueResults]) -> Self {
        let Some(all) = merged(queues, |queue| &queue.latency_ns) else {
            return Self::default();
        };
        Self {
            min: all.min(),
            mean: all.mean(),
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            p99_9: all.value_at_quantile(0.999),
            max: all.max(),
        }
    }
}

/// A choice, as on the command line.
fn word(choice: &impl Serialize) -> String {
    let value = serde_json::to_value(choice).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            op,
            pattern,
            driver,
            latency_ns: latency,
            back_end,
            ..
        } = self;
        let us = |ns: u64| ns as f64 / 1000.0;
        let mixed = match op {
            Op::Mixed => format!(" ({} % reads)", self.read_percent),
            _ => String::new(),
        };
        writeln!(
            f,
            "load      {}{mixed}, {}, {} bytes, depth {}, {} queue{}, driver {}",
            word(op),
            word(pattern),
            self.block_bytes,
            self.depth,
            self.queues,
            if self.queues == 1 { "" } else { "s" },
            word(driver)
        )?;
        writeln!(
            f,
            "requests  {} in {:.3} s, {} errors",
            self.requests, self.seconds, self.errors
        )?;
        writeln!(
            f,
            "rate      {:.0} requests/s, {:.1} MiB/s",
            self.iops,
            self.bandwidth_bytes_per_s / f64::from(1 << 20)
        )?;
        writeln!(
            f,
            "latency   min {:.1}  mean {:.1}  p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  \
             max {:.1} us",
            us(latency.min),
            latency.mean / 1000.0,
            us(latency.p50),
            us(latency.p90),
            us(latency.p99),
            us(latency.p99_9),
            us(latency.max)
        )?;
        writeln!(
            f,
            "driver    {:.0} ns of processor time/request, {} ns busy, {:.4} kicks/request, {:.4} \
             calls/request",
            self.driver_cpu_ns_per_request,
            self.driver_busy_ns_per_request.unwrap_or(0),
            self.kicks_per_request,
            self.calls_per_request
        )?;
        writeln!(f, "{back_end}")?;
        for interval in self.intervals.iter().flatten() {
            let (until, iops) = (interval.until_seconds, interval.iops);
            writeln!(f, "until     {until:.3} s: {iops:.0} requests/s")?;
        }
        if let Some(sectors) = self.verified_sectors {
            writeln!(
                f,
                "verified  {sectors} sectors read and compared, all as written"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for BackEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(pid), Some(cpu_ns)) = (self.pid, self.cpu_ns_per_request) else {
            return write!(f, "back end  its process is not visible");
        };
        write!(
            f,
            "back end  pid {pid}: {cpu_ns:.0} ns of processor time/request, {:.1} % of a \
             processor, {:.0} wake-ups/s",
            self.cpu_percent.unwrap_or(0.0),
            self.wake_ups_per_s.unwrap_or(0.0)
        )
    }
}
