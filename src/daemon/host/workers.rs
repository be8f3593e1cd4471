//! The options for threads that serve queues.

use std::time::Duration;

use crate::daemon::error::Error;
use crate::vhost_user::WorkerOptions;

/// The most threads that serve queues. More threads than processors are of no use.
const MOST_WORKERS: usize = 256;

/// A driver with many requests in flight pauses for 32 to 64 µs while it handles a batch, and one
/// that was woken comes back after 15 to 45. More would poll for a request each 100 µs where a
/// wake-up takes 50.
pub(crate) const DEFAULT_POLL_US: u32 = 64;

/// A guest that makes a request every so often would keep a processor busy.
const MOST_POLL_US: u32 = 1_000_000;

/// The options for workers: as many as requested, or as there are processors for.
pub(crate) fn options(
    count: Option<u16>,
    poll_us: u32,
    cpus: Vec<usize>,
) -> Result<WorkerOptions, Error> {
    if poll_us > MOST_POLL_US {
        return Err(Error::Usage(format!(
            "--poll-us {poll_us} is too long: give at most {MOST_POLL_US}, or 0 to never poll"
        )));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let default = if cpus.is_empty() { cores } else { cpus.len() };
    let count = count.map_or(default, usize::from);
    if count == 0 || count > MOST_WORKERS {
        return Err(Error::Usage(format!(
            "{count} workers are not possible: give --workers from 1 to {MOST_WORKERS}"
        )));
    }
    Ok(WorkerOptions {
        count,
        poll: Duration::from_micros(poll_us.into()),
        cpus,
    })
}
