//! What it costs a request that its ring's worker sleeps, as learned from pauses.

/// How many comparisons decide.
const SAMPLES: usize = 5;

/// The cost of a sleep: of a worker that must be woken, compared with one that polls. Below 0 if
/// polling itself holds the driver up, because both run on one processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct SleepCost {
    /// What a wake-up from another processor costs: measured at the start, and corrected slowly.
    wake_ns: i64,
    samples: [i64; SAMPLES],
    next: usize,
}

impl SleepCost {
    pub(super) fn new(wake_ns: u64) -> Self {
        let wake_ns = i64::try_from(wake_ns).unwrap_or(i64::MAX / 4).max(1);
        Self {
            wake_ns,
            samples: [wake_ns; SAMPLES],
            next: 0,
        }
    }

    /// The median of the last comparisons.
    pub(super) fn ns(&self) -> i64 {
        let mut sorted = self.samples;
        sorted.sort_unstable();
        sorted[SAMPLES / 2]
    }

    /// What it is where the driver has a processor of its own.
    pub(super) fn wake_ns(&self) -> u64 {
        self.wake_ns.unsigned_abs()
    }

    /// A pause that was slept through was this much longer than those that are polled. Returns
    /// whether that is within what was expected.
    pub(super) fn compared(&mut self, sample_ns: i64) -> bool {
        let bound_ns = 4 * self.wake_ns;
        self.push(sample_ns.clamp(-self.wake_ns, bound_ns));
        let ns = self.ns();
        let apart_ns = ns - self.wake_ns;
        if apart_ns > 0 {
            self.wake_ns += apart_ns / 2;
        } else if ns > 0 {
            // It may be as cheap as this only because both are on one processor.
            self.wake_ns = (self.wake_ns + apart_ns / 16).max(LEAST_WAKE_NS);
        }
        sample_ns < bound_ns
    }

    fn push(&mut self, sample_ns: i64) {
        self.samples[self.next] = sample_ns;
        self.next = (self.next + 1) % SAMPLES;
    }

    /// The worker slept for this time only, and so was woken in less.
    pub(super) fn slept(&mut self, slept_ns: u64) {
        let bound_ns = i64::try_from(slept_ns).unwrap_or(i64::MAX);
        if bound_ns < self.ns() {
            self.push(bound_ns);
        }
    }

    /// Polling holds the driver up.
    pub(super) fn is_in_the_way(&mut self) {
        self.samples = [-self.wake_ns; SAMPLES];
    }
}

/// No wake-up is cheaper.
const LEAST_WAKE_NS: i64 = 1_000;
