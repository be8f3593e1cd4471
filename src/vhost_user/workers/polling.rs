//! How long a worker polls a ring that has run dry before it goes to sleep.
//!
//! Waking a worker costs the driver a system call and the request several microseconds, so polling
//! pays if the next request is near, and is a waste if it isn't. The length of the last pause
//! decides: if polling for longer would have covered it, the next time is longer; if no time could
//! have covered it, polling ends altogether.

use std::time::Duration;

/// How long to poll after a first short pause.
const FIRST: Duration = Duration::from_micros(8);

/// How long to poll one ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct PollTime {
    most: Duration,
    now: Duration,
}

impl PollTime {
    /// Never longer than `most`; 0 means never to poll.
    pub(super) fn new(most: Duration) -> Self {
        let now = Duration::ZERO;
        Self { most, now }
    }

    /// The longest time.
    pub(super) fn most(self) -> Duration {
        self.most
    }

    /// Whether polling ends after `time`.
    pub(super) fn is_over(self, time: Duration) -> bool {
        time >= self.now
    }

    /// The ring was kicked `pause` after it had run dry.
    pub(super) fn kicked_after(&mut self, pause: Duration) {
        if pause > self.most {
            self.now = Duration::ZERO;
        } else {
            self.now = (self.now * 2).max(FIRST).min(self.most);
        }
    }
}

/// The first pause between two looks at a ring whose driver can't kick, and the longest.
const FIRST_NAP: Duration = Duration::from_micros(20);
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// The pause before the next look at a ring whose driver can't kick ("SET_VRING_KICK", bit 8): each
/// twice as long as the one before, from the last request on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nap(Duration);

impl Default for Nap {
    fn default() -> Self {
        Self(FIRST_NAP)
    }
}

impl Nap {
    /// There was nothing: how long to sleep.
    pub(super) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST_NAP);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn short_pauses_make_it_look_longer_up_to_its_bound() {
        let mut time = PollTime::new(micros(30));
        assert!(time.is_over(micros(0)));
        for expected in [8, 16, 30, 30] {
            time.kicked_after(micros(20));
            assert!(!time.is_over(micros(expected - 1)));
            assert!(time.is_over(micros(expected)));
        }
    }

    #[test]
    fn a_pause_longer_than_any_look_ends_looking() {
        let mut time = PollTime::new(micros(30));
        time.kicked_after(micros(30));
        assert!(!time.is_over(micros(7)));
        time.kicked_after(micros(31));
        assert!(time.is_over(micros(0)));
    }

    #[test]
    fn a_bound_of_nothing_means_never() {
        let mut time = PollTime::new(Duration::ZERO);
        time.kicked_after(Duration::ZERO);
        assert!(time.is_over(Duration::ZERO));
    }
}
