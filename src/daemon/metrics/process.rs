//! Figures of the process and of its threads, from `/proc`.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use rustix::process::{Resource, getrlimit};

/// The unit of times in `/proc`, USER_HZ, on the processors that ramblk is for.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the system says of this process. What it doesn't say is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    cpu_seconds: Option<f64>,
    start_seconds: Option<f64>,
    virtual_bytes: Option<u64>,
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
    /// Names of threads, and how long each has run, in seconds.
    threads: Vec<(String, f64)>,
}

impl Process {
    /// Look.
    pub(super) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            let number = line.trim().strip_suffix("kB")?.trim();
            number.parse::<u64>().ok()?.checked_mul(1024)
        };
        Self {
            cpu_seconds: cpu_seconds(),
            start_seconds: start_seconds(),
            virtual_bytes: kib("VmSize:"),
            resident_bytes: kib("VmRSS:"),
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                // One of them is that of the directory.
                .map(|all| (all.count() as u64).saturating_sub(1)),
            threads: threads(),
        }
    }

    /// Encode all of it.
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = "process_cpu_seconds";
        let help = "Processor time of the process";
        if let Some(seconds) = self.cpu_seconds {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            family.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        if let Some(seconds) = self.start_seconds {
            let name = "process_start_time_seconds";
            let help = "When the process started, since 1970";
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            family.encode_gauge(&seconds)?;
        }
        let wholes = [
            (
                "process_virtual_memory_bytes",
                "Size of the address space",
                self.virtual_bytes,
            ),
            (
                "process_resident_memory_bytes",
                "Memory, with that of disks",
                self.resident_bytes,
            ),
            ("process_open_fds", "Open descriptors", self.open_fds),
            (
                "process_max_fds",
                "Most descriptors",
                getrlimit(Resource::Nofile).current,
            ),
        ];
        for (name, help, value) in wholes {
            if let Some(value) = value {
                let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                family.encode_gauge(&value)?;
            }
        }
        let name = "ramblk_thread_cpu_seconds";
        let help =
            "Processor time of threads, with polling: the rate of a worker is its busy share";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (thread, seconds) in &self.threads {
            let labels = [("thread", thread.clone())];
            let mut one = family.encode_family(&labels)?;
            one.encode_counter::<NoLabelSet, _, u64>(seconds, None)?;
        }
        Ok(())
    }
}

/// The processor time of all threads, with those that have ended.
fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let times = [usage.user_time(), usage.system_time()];
    let us = times
        .iter()
        .map(|time| time.num_microseconds())
        .sum::<i64>();
    Some(u64::try_from(us).map_or(0.0, real) / 1e6)
}

/// When the process started, in seconds since 1970.
fn start_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may have any bytes; field 3 comes behind it.
    let (_, behind) = stat.rsplit_once(") ")?;
    let ticks: u64 = behind.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Some(booted.trim().parse::<f64>().ok()? + real(ticks) / TICKS_PER_SECOND)
}

/// The threads that live as long as the process, by name. Sessions come and go.
fn threads() -> Vec<(String, f64)> {
    let Ok(all) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let found = all.filter_map(|entry| thread(&entry.ok()?.path()));
    let mut found: Vec<_> = found.collect();
    found.sort_unstable_by(|one, two| one.0.cmp(&two.0));
    // Threads of one name, such as those that work for the API, count together.
    found.dedup_by(|more, first| {
        let is_same = more.0 == first.0;
        first.1 += if is_same { more.1 } else { 0.0 };
        is_same
    });
    found
}

fn thread(path: &Path) -> Option<(String, f64)> {
    let name = fs::read_to_string(path.join("comm")).ok()?;
    let name = name.trim().strip_prefix("ramblk-")?.to_owned();
    if name.starts_with("sess-") || name.starts_with("nbd-") {
        return None;
    }
    let times = fs::read_to_string(path.join("schedstat")).ok()?;
    let ns: u64 = times.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name, real(ns) / 1e9))
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are enough for times")]
fn real(count: u64) -> f64 {
    count as f64
}
