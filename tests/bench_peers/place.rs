//! Which processor a process runs on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::measure::Failure;

/// Where the load runs.
pub(crate) const DRIVER_CPU: usize = 0;
/// Where back ends run, and the copying that they are compared with.
pub(crate) const BACK_END_CPU: usize = 1;

/// Run `start` on one processor; the processes that it starts stay there.
pub(crate) fn pinned<T>(cpu: usize, start: impl FnOnce() -> T) -> Result<T, Failure> {
    let before = sched_getaffinity(None)?;
    pin(cpu)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    Ok(started)
}

/// Keep this thread on a processor.
pub(crate) fn pin(cpu: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(cpu);
    let done = sched_setaffinity(None, &set);
    Ok(done.map_err(|error| format!("can't run on processor {cpu}: {error}; this needs two"))?)
}
