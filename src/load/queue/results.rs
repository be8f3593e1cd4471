//! The results of one queue's thread.

use std::io;

use hdrhistogram::{CreationError, Histogram};
use rustix::time::{ClockId, clock_gettime};

use crate::load::Error;

/// The longest latency that the histogram resolves.
const MOST_LATENCY_NS: u64 = 100_000_000_000;

/// The same for the driver's own time per request.
const MOST_BUSY_NS: u64 = 1_000_000_000;

/// The results of one queue.
#[derive(Debug)]
pub(in crate::load) struct QueueResults {
    pub(in crate::load) requests: u64,
    /// Requests that failed in the whole run: I/O errors, unsupported, no status, other statuses.
    pub(in crate::load) errors: [u64; 4],
    pub(in crate::load) kicks: u64,
    pub(in crate::load) calls: u64,
    pub(in crate::load) wall_ns: u64,
    /// Processor time of the thread.
    pub(in crate::load) cpu_ns: u64,
    pub(in crate::load) verified_sectors: u64,
    pub(in crate::load) latency_ns: Histogram<u64>,
    /// Time per request from reaping a batch until it was replaced, for some batches.
    pub(in crate::load) busy_ns: Histogram<u64>,
}

impl QueueResults {
    /// Empty results.
    ///
    /// # Errors
    /// There is no memory for the histograms.
    pub(in crate::load) fn new() -> Result<Self, Error> {
        let fail = |error: CreationError| Error::System {
            what: "count latencies",
            source: io::Error::other(error.to_string()),
        };
        Ok(Self {
            requests: 0,
            errors: [0; 4],
            kicks: 0,
            calls: 0,
            wall_ns: 0,
            cpu_ns: 0,
            verified_sectors: 0,
            latency_ns: Histogram::new_with_bounds(1, MOST_LATENCY_NS, 3).map_err(fail)?,
            busy_ns: Histogram::new_with_bounds(1, MOST_BUSY_NS, 2).map_err(fail)?,
        })
    }
}

/// Processor time of this thread.
pub(in crate::load) fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}
