//! One run of a row's load on one back end, and its figures.

use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use super::busy::Busy;
use super::shapes::{Measured, Row};
use crate::Settings;
use crate::back_end::BackEnd;
use crate::generator::{Driver, Figures, Load, Metric};
use crate::measure::Failure;
use crate::place::{DRIVER_CPU, pinned};

/// Load before the measurement.
const WARM_UP_S: f64 = 0.2;
/// After a fill nothing may warm up.
const QUARTER_S: f64 = 0.25;
/// Quarter seconds that are measured after a fill; the last two count as steady.
pub(super) const QUARTERS: usize = 10;
/// How long idleness is measured.
const IDLE: Duration = Duration::from_secs(10);

/// Figures of one run, over all its disks.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) iops: f64,
    pub(super) bytes_per_s: f64,
    /// Nanoseconds; the mean of the disks.
    pub(super) p50_ns: f64,
    /// Nanoseconds; the highest of the disks.
    pub(super) p99_ns: f64,
    pub(super) kicks_per_request: f64,
    pub(super) wake_ups_per_request: f64,
    pub(super) cpu_ns_per_request: f64,
    /// Of one processor.
    pub(super) cpu_percent: f64,
    /// Requests per second of the slowest disk, divided by those of the fastest.
    pub(super) evenness: f64,
    /// Requests per second by quarter seconds.
    pub(super) quarters: Vec<f64>,
    /// While idle.
    pub(super) wake_ups: f64,
}

/// Write all disks of a back end once, unless they move no bytes or have been written.
pub(super) fn fill(back_end: &BackEnd, settings: &Settings) -> Result<(), Failure> {
    if !back_end.wants_filling() {
        return Ok(());
    }
    let load = Load {
        op: "write",
        block_kib: 1024,
        depth: 4,
        queues: 1,
        driver: Driver::Poll,
        rate: None,
    };
    for socket in back_end.sockets() {
        let mut command = load.command(&settings.ramblk, socket, 0.001);
        Figures::of(command.args(["--fill", "--warm-up", "0"]).spawn()?)?;
    }
    Ok(())
}

/// Make a row's load once, beside a busy loop if it says so.
pub(super) fn once(row: &Row, back_end: &BackEnd, settings: &Settings) -> Result<Sample, Failure> {
    let _busy = row.busy.then(Busy::start).transpose()?;
    let drivers: Result<Vec<Child>, Failure> = back_end
        .sockets()
        .iter()
        .map(|socket| start(row, &mut command(row, socket, settings)))
        .collect();
    let figures: Result<Vec<Figures>, Failure> = drivers?.into_iter().map(Figures::of).collect();
    Sample::new(&figures?)
}

fn command(row: &Row, socket: &Path, settings: &Settings) -> Command {
    let after_fill = row.measured == Measured::AfterFill;
    let (seconds, warm_up) = if after_fill {
        (QUARTER_S * QUARTERS as f64, 0.0)
    } else {
        (settings.seconds_of_turns(), WARM_UP_S)
    };
    let mut command = row.load.command(&settings.ramblk, socket, seconds);
    command.args(["--warm-up", &warm_up.to_string()]);
    if after_fill {
        command.args(["--interval", &QUARTER_S.to_string()]);
    }
    command
}

fn start(row: &Row, command: &mut Command) -> Result<Child, Failure> {
    Ok(if row.pinned {
        pinned(DRIVER_CPU, || command.spawn())??
    } else {
        command.spawn()?
    })
}

/// What each back end spends while its driver is connected and makes no requests.
pub(super) fn idle(
    row: &Row,
    back_ends: &[BackEnd],
    settings: &Settings,
) -> Result<Vec<Sample>, Failure> {
    let still = Load {
        rate: Some(0.03),
        ..row.load
    };
    let mut drivers = Vec::new();
    for back_end in back_ends {
        // One request now, and the next one after the measurement.
        drivers.push(Quiet(
            still
                .command(&settings.ramblk, back_end.socket(), 30.0)
                .spawn()?,
        ));
    }
    sleep(Duration::from_secs(3));
    let spent = |back_end: &BackEnd| -> Result<[u64; 2], Failure> {
        Ok([back_end.wake_ups()?, back_end.cpu_ns()?])
    };
    let before: Result<Vec<[u64; 2]>, Failure> = back_ends.iter().map(spent).collect();
    let before = before?;
    sleep(IDLE);
    let mut samples = Vec::new();
    for (back_end, before) in back_ends.iter().zip(before) {
        let [wake_ups, cpu_ns] = spent(back_end)?;
        samples.push(Sample {
            wake_ups: wake_ups.saturating_sub(before[0]) as f64,
            cpu_percent: cpu_ns.saturating_sub(before[1]) as f64 / IDLE.as_nanos() as f64 * 1e2,
            ..Sample::default()
        });
    }
    Ok(samples)
}

/// A driver that does nothing; killed when dropped.
struct Quiet(Child);

impl Drop for Quiet {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sample {
    /// Of the runs of all disks of a back end, which is one process.
    fn new(figures: &[Figures]) -> Result<Self, Failure> {
        let all = |metric| -> Result<Vec<f64>, Failure> {
            figures.iter().map(|figures| figures.get(metric)).collect()
        };
        let highest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let lowest = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let disks = figures.len() as f64;
        let rates = all(Metric::Iops)?;
        let iops: f64 = rates.iter().sum();
        // Of all requests together.
        let per_request = |metric| -> Result<f64, Failure> {
            let each = all(metric)?;
            Ok(each.iter().zip(&rates).map(|(a, b)| a * b).sum::<f64>() / iops)
        };
        // Each driver sees the whole process's processor time and wake-ups.
        let cpu_percent = all(Metric::CpuPercent)?.iter().sum::<f64>() / disks;
        Ok(Self {
            iops,
            bytes_per_s: all(Metric::BytesPerS)?.iter().sum(),
            p50_ns: all(Metric::P50)?.iter().sum::<f64>() / disks,
            p99_ns: highest(&all(Metric::P99)?),
            kicks_per_request: per_request(Metric::KicksPerRequest)?,
            wake_ups_per_request: per_request(Metric::WakeUpsPerRequest)? / disks,
            cpu_ns_per_request: cpu_percent * 1e7 / iops,
            cpu_percent,
            evenness: lowest(&rates) / highest(&rates),
            quarters: figures[0].intervals(),
            wake_ups: 0.0,
        })
    }
}
