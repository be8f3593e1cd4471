//! When requests are due at a fixed rate, whether earlier ones have completed or not.

/// One queue's schedule.
#[derive(Clone, Copy, Debug)]
pub(in crate::load) struct Pace {
    start_ns: u64,
    interval_ns: f64,
    /// Requests that are due at the same time.
    group: u64,
    issued: u64,
}

impl Pace {
    /// Requests every `interval_ns`, beginning `turn` of an interval after `start_ns`; or `group`
    /// at once, at the same rate.
    pub(in crate::load) fn new(start_ns: u64, interval_ns: f64, turn: f64, group: u16) -> Self {
        Self {
            start_ns: start_ns + whole(interval_ns * turn),
            interval_ns,
            group: u64::from(group).max(1),
            issued: 0,
        }
    }

    /// Requests that are due at `now_ns` and not yet issued.
    pub(in crate::load) fn due(&self, now_ns: u64) -> u64 {
        let Some(since) = now_ns.checked_sub(self.start_ns) else {
            return 0;
        };
        let groups = whole(since as f64 / (self.interval_ns * self.group as f64)) + 1;
        (groups * self.group).saturating_sub(self.issued)
    }

    /// When the next request that is not yet issued is due.
    pub(in crate::load) fn next_ns(&self) -> u64 {
        let first = self.issued / self.group * self.group;
        self.start_ns + whole(first as f64 * self.interval_ns)
    }

    /// Issue a request, and return when it was due.
    pub(in crate::load) fn issue(&mut self) -> u64 {
        let at = self.next_ns();
        self.issued += 1;
        at
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and below 2^63 ns"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_one_by_one_or_in_groups() {
        let mut pace = Pace::new(995, 10.0, 0.5, 1);
        assert_eq!((pace.due(999), pace.due(1000), pace.due(1029)), (0, 1, 3));
        assert_eq!((pace.issue(), pace.issue()), (1000, 1010));
        assert_eq!((pace.due(1029), pace.next_ns()), (1, 1020));
        let mut pace = Pace::new(0, 10.0, 0.0, 4);
        assert_eq!((pace.due(0), pace.due(39), pace.due(40)), (4, 4, 8));
        let due = [(); 5].map(|()| pace.issue());
        assert_eq!(due, [0, 0, 0, 0, 40]);
    }
}
