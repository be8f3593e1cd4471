//! How long the scheduler lets a thread run before it looks at others.
//!
//! A thread that wakes with a request waits until the slice of the thread that runs on its
//! processor is over, some milliseconds, whatever their priorities, unless its own slice is shorter
//! (Linux 6.12 and newer, `sched_setattr`). So threads that serve requests ask for short slices:
//! they are taken from their processor more often, and get there at once.
#![allow(unsafe_code)]

use std::time::Duration;

/// What workers ask for; the shortest that the kernel allows.
const SLICE: Duration = Duration::from_micros(100);

/// `struct sched_attr`, as far as its first version goes.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Keep the present policy.
const KEEP_POLICY: u64 = 0x08;

/// Ask for short slices for the calling thread. An older kernel ignores that, which does no harm.
pub(super) fn shorten() {
    let attributes = Attributes {
        size: u32::try_from(size_of::<Attributes>()).unwrap_or(0),
        flags: KEEP_POLICY,
        nice: own_nice(),
        runtime_ns: u64::try_from(SLICE.as_nanos()).unwrap_or(0),
        ..Attributes::default()
    };
    // SAFETY: the kernel reads `size` bytes of a struct that lives until the call returns, and
    // changes how this thread is scheduled, nothing else.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "workers keep the usual time slices");
    }
}

/// The niceness must be set together with the slice.
fn own_nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_priority_with_a_shorter_slice() {
        let before = own_nice();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = rustix::process::nice(3);
                shorten();
                assert_eq!(own_nice(), before + 3);
                let stat = std::fs::read_to_string("/proc/thread-self/sched");
                // Not every kernel has this file, or slices of one's own.
                if let Ok(stat) = stat
                    && let Some(line) = stat.lines().find(|line| line.contains("se.slice"))
                {
                    assert!(line.trim_end().ends_with(" 100000"), "{line}");
                }
            });
        });
    }
}
