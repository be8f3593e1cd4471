//! How long a worker polled in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time that a worker polled without finding a request, in nanoseconds. Only the worker writes
/// it, in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct PolledTime(AtomicU64);

impl PolledTime {
    /// So far.
    pub(crate) fn ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts that time from one look at the clock to the next: whatever lies between two looks was
/// polled in vain, unless something was served meanwhile, or the worker slept.
#[derive(Debug)]
pub(super) struct Polled {
    since: Option<Instant>,
    has_served: bool,
    time: Arc<PolledTime>,
}

impl Polled {
    pub(super) fn new(time: Arc<PolledTime>) -> Self {
        Self {
            since: None,
            has_served: false,
            time,
        }
    }

    /// Something was served.
    #[inline]
    pub(super) fn served(&mut self) {
        self.has_served = true;
    }

    /// The worker has looked at the clock.
    #[inline]
    pub(super) fn look(&mut self, now: Instant) {
        let since = self.since.replace(now);
        let has_served = std::mem::take(&mut self.has_served);
        if let Some(since) = since
            && !has_served
        {
            let ns = now.saturating_duration_since(since).min(MOST).as_nanos();
            let ns = u64::try_from(ns).unwrap_or_default();
            let before = self.time.0.load(Ordering::Relaxed);
            self.time
                .0
                .store(before.wrapping_add(ns), Ordering::Relaxed);
        }
    }

    /// The worker sleeps until its next look at the clock.
    #[inline]
    pub(super) fn sleeps(&mut self) {
        self.since = None;
    }
}

/// The most that lies between two looks. What is more was taken by other processes.
const MOST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_polled_in_vain_counts() {
        let time = Arc::new(PolledTime::default());
        let mut polled = Polled::new(Arc::clone(&time));
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        polled.look(at(0));
        assert_eq!(time.ns(), 0, "nothing is known of before");
        polled.look(at(10));
        assert_eq!(time.ns(), 10_000);
        polled.served();
        polled.look(at(20));
        assert_eq!(time.ns(), 10_000, "something was served");
        polled.look(at(25));
        assert_eq!(time.ns(), 15_000);
        polled.sleeps();
        polled.look(at(1000));
        assert_eq!(time.ns(), 15_000, "it slept");
        polled.look(at(1_000_000));
        assert_eq!(time.ns(), 15_000 + 10_000_000, "others ran");
        polled.look(at(0));
        assert_eq!(time.ns(), 10_015_000, "clocks may go back");
    }
}
