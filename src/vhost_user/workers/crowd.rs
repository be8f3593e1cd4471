//! Whether others want the processor of a worker.
//!
//! The kernel says how often it took the processor from a thread that would have gone on. Ticks and
//! tasks in the background do that some hundred times in a second; drivers that wake up where a
//! worker polls do it thousands of times.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// How often the processor was taken in a millisecond, if others want it.
const CROWDED: i64 = 4;
/// How long that counts. A worker that sleeps in between can't see it.
const REMEMBERED_FOR: Duration = Duration::from_millis(100);

/// What is known of the calling thread.
#[derive(Debug)]
pub(super) struct Crowd {
    taken: i64,
    looked: Instant,
    until: Option<Instant>,
}

impl Crowd {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            taken: times_taken(),
            looked: now,
            until: None,
        }
    }

    /// Whether others want the processor of the calling thread, which looks every millisecond while
    /// it is busy.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        self.count(now, times_taken())
    }

    fn count(&mut self, now: Instant, taken: i64) -> bool {
        let since = now.duration_since(self.looked).as_millis().max(1);
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        if (taken - self.taken) / since >= CROWDED {
            self.until = Some(now + REMEMBERED_FOR);
        }
        (self.taken, self.looked) = (taken, now);
        self.until = self.until.filter(|until| now < *until);
        self.until.is_some()
    }
}

/// Involuntary context switches of the calling thread.
fn times_taken() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_want_the_processor_are_told_from_ticks() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut crowd = Crowd::new(start);
        let mut taken = crowd.taken;
        let mut count = |ms, more| {
            taken += more;
            crowd.count(at(ms), taken)
        };
        assert!(!count(1, 1));
        assert!(!count(2, CROWDED - 1));
        // A hundred while it slept for a second.
        assert!(!count(1002, 100));
        assert!(count(1003, CROWDED));
        assert!(count(1102, 0));
        assert!(!count(1103, 0));
    }

    #[test]
    fn the_kernel_counts_each_time_that_it_takes_the_processor() -> std::io::Result<()> {
        // Two threads that spin where only one can run.
        let cpus = rustix::thread::sched_getaffinity(None)?;
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&cpu| cpus.is_set(cpu));
        let mut one = rustix::thread::CpuSet::new();
        one.set(first.unwrap_or(0));
        let spin = || -> std::io::Result<bool> {
            rustix::thread::sched_setaffinity(None, &one)?;
            let before = times_taken();
            let end = Instant::now() + Duration::from_secs(10);
            while times_taken() == before && Instant::now() < end {}
            Ok(times_taken() > before)
        };
        std::thread::scope(|scope| {
            let others = [scope.spawn(spin), scope.spawn(spin)];
            for other in others {
                let was_taken = other.join();
                assert!(matches!(was_taken, Ok(Ok(true))), "{was_taken:?}");
            }
        });
        Ok(())
    }
}
