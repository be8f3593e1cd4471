//! One run of `ramblk bench`: the load, and the results.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::measure::{Failure, MIB};
use crate::place::{DRIVER_CPU, pinned};

/// All loads use this part of a disk, which is the whole disk.
pub(crate) const SPAN_BYTES: u64 = 256 * MIB;

/// How a driver waits for its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    Poll,
    Sleep,
}

/// The load on a back end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) op: &'static str,
    pub(crate) block_kib: u64,
    pub(crate) depth: u16,
    pub(crate) queues: u16,
    pub(crate) driver: Driver,
    /// Requests per second; `None` for as many as possible.
    pub(crate) rate: Option<f64>,
}

/// As many requests as possible on one queue.
pub(crate) const fn load(op: &'static str, block_kib: u64, depth: u16, driver: Driver) -> Load {
    Load {
        op,
        block_kib,
        depth,
        queues: 1,
        driver,
        rate: None,
    }
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Iops,
    BytesPerS,
    P50,
    P99,
    CpuPerRequest,
    CpuPercent,
    KicksPerRequest,
    WakeUpsPerRequest,
}

impl Metric {
    /// Its place in the generator's output.
    fn pointer(self) -> &'static str {
        match self {
            Self::Iops => "/iops",
            Self::BytesPerS => "/bandwidth_bytes_per_s",
            Self::P50 => "/latency_ns/p50",
            Self::P99 => "/latency_ns/p99",
            Self::CpuPerRequest => "/back_end/cpu_ns_per_request",
            Self::CpuPercent => "/back_end/cpu_percent",
            Self::KicksPerRequest => "/kicks_per_request",
            Self::WakeUpsPerRequest => "/back_end/wake_ups_per_request",
        }
    }
}

/// The output of a run.
#[derive(Debug)]
pub(crate) struct Figures(Value);

impl Figures {
    pub(crate) fn get(&self, metric: Metric) -> Result<f64, Failure> {
        let pointer = metric.pointer();
        let figure = self.0.pointer(pointer).and_then(Value::as_f64);
        figure.ok_or_else(|| format!("`ramblk bench` printed no number at {pointer}").into())
    }

    /// Requests per second of each interval.
    pub(crate) fn intervals(&self) -> Vec<f64> {
        let intervals = self.0.pointer("/intervals").and_then(Value::as_array);
        let rates = intervals.into_iter().flatten();
        rates
            .filter_map(|interval| interval["iops"].as_f64())
            .collect()
    }

    /// The output of a run that has been started, once it ends.
    pub(crate) fn of(run: Child) -> Result<Self, Failure> {
        let output = run.wait_with_output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().into());
        }
        let printed: Value = serde_json::from_slice(&output.stdout)?;
        match printed.pointer("/errors").and_then(Value::as_u64) {
            Some(0) => Ok(Self(printed)),
            errors => Err(format!("{errors:?} requests failed").into()),
        }
    }
}

impl Load {
    /// Start a run on the processor of drivers.
    pub(crate) fn start(
        self,
        ramblk: &Path,
        socket: &Path,
        seconds: f64,
        fill: bool,
    ) -> Result<Child, Failure> {
        let mut command = self.command(ramblk, socket, seconds);
        command.args(fill.then_some("--fill"));
        Ok(pinned(DRIVER_CPU, || command.spawn())??)
    }

    /// A run.
    pub(crate) fn command(self, ramblk: &Path, socket: &Path, seconds: f64) -> Command {
        let mut command = Command::new(ramblk);
        let driver = match self.driver {
            Driver::Poll => "poll",
            Driver::Sleep => "sleep",
        };
        command.arg("bench").arg(socket);
        command.args(["--op", self.op, "--driver", driver]);
        command.args(["--span", &SPAN_BYTES.to_string()]);
        command.args(["--block-size", &format!("{}K", self.block_kib)]);
        command.args(["--depth", &self.depth.to_string()]);
        command.args(["--queues", &self.queues.to_string()]);
        command.args(["--seconds", &seconds.to_string(), "--output", "json"]);
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Run to the end.
    pub(crate) fn run(
        self,
        ramblk: &Path,
        socket: &Path,
        seconds: f64,
        fill: bool,
    ) -> Result<Figures, Failure> {
        Figures::of(self.start(ramblk, socket, seconds, fill)?)
    }
}
