//! The cost of the back end's process: processor time and wake-ups of all its threads, as counted
//! by the kernel.

use std::collections::HashMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Counters of one thread.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    cpu_ns: u64,
    wake_ups: u64,
}

/// All of a process's threads at one time.
#[derive(Debug)]
pub(super) struct Sample {
    threads: HashMap<String, Counters>,
    at: Instant,
}

/// What a process spent between two samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) cpu_ns: u64,
    pub(super) wake_ups: u64,
    pub(super) seconds: f64,
}

/// The process at the other end of the connection, if the system knows it.
pub(super) fn peer(stream: &UnixStream) -> Option<u32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

impl Sample {
    /// A sample; `None` if the process is not visible.
    pub(super) fn new(pid: Option<u32>) -> Option<Self> {
        let folder = format!("/proc/{}/task", pid?);
        let threads = fs::read_dir(folder).ok()?.filter_map(|entry| {
            let entry = entry.ok()?;
            // A thread may end meanwhile.
            let path = entry.path();
            let time = fs::read_to_string(path.join("schedstat")).ok()?;
            let status = fs::read_to_string(path.join("status")).ok()?;
            let wake_ups = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            let counters = Counters {
                cpu_ns: time.split_whitespace().next()?.parse().ok()?,
                wake_ups: wake_ups.trim().parse().ok()?,
            };
            Some((entry.file_name().into_string().ok()?, counters))
        });
        let threads: HashMap<_, _> = threads.collect();
        let at = Instant::now();
        (!threads.is_empty()).then_some(Self { threads, at })
    }

    /// What was spent since `before`, without threads that ended meanwhile.
    pub(super) fn since(&self, before: &Self) -> Spent {
        let mut spent = Spent {
            cpu_ns: 0,
            wake_ups: 0,
            seconds: (self.at - before.at).as_secs_f64(),
        };
        for (thread, now) in &self.threads {
            let then = before.threads.get(thread).copied().unwrap_or_default();
            spent.cpu_ns += now.cpu_ns.saturating_sub(then.cpu_ns);
            spent.wake_ups += now.wake_ups.saturating_sub(then.wake_ups);
        }
        spent
    }
}
