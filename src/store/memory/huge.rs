//! When huge pages are made, so that no request waits for it.
//!
//! There are two moments for it. When a group is opened, nothing lies in it yet: a huge page for it
//! costs less than its 512 small ones. But it takes all of their memory at once, so [`Opening`]
//! wants one only while groups are used up one after the other. On a machine without spare time
//! the free list has none made even then.
//!
//! All others get theirs once they are used up. Their pages have to be gathered then. An access to
//! the group waits meanwhile, and it takes processor time. So it is done in steps with pauses
//! between them, and not at all while other threads wait for a processor, as [`Pacer`] says.
//!
//! ```text
//!              threads of the machine wait for long
//!   ┌─────────┐ ───────────────────────────────────► ┌───────────┐
//!   │ working │                                      │ holds off │ looks again, ever more seldom
//!   └─────────┘ ◄─────────────────────────────────── └───────────┘
//!   a step, then a pause             none does
//!   of 5 times as long
//! ```
//!
//! Neither reads a clock or makes anything.

use std::time::{Duration, Instant};

/// A step ends after this many groups, or after this time if that comes first.
const STEP_GROUPS: usize = 4;
const STEP: Duration = Duration::from_millis(2);
/// The pause after a step, as a multiple of the step's time, and its bounds. At most a sixth of the
/// time of one thread goes into huge pages, and a driver with one request at a time, which waits
/// for every step, loses no more than that.
const PAUSE_STEPS: u32 = 5;
const PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];
/// How long to hold off then: each time twice as long as before, up to the second.
const HOLD_OFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(4)];

/// Groups that are opened in a row within this time each get their huge page at once. Far below the
/// time after which free memory is given back.
const IN_A_ROW: Duration = Duration::from_millis(100);
/// A huge page at once that takes longer than this holds up the write that waits for it. It takes
/// 0.3 ms where the system has free ones; where it has to move others' memory, far longer.
const SOON: Duration = Duration::from_millis(2);
/// For how long none is wanted after that: each time twice as long, up to the second.
const NOT_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// Decides which groups get a huge page when they are opened.
#[derive(Debug, Default)]
pub(super) struct Opening {
    last: Option<Instant>,
    /// How many in a row came too late or not at all, and until when no other is wanted.
    late: u32,
    not_before: Option<Instant>,
}

impl Opening {
    /// A group is opened `now`: whether it gets a huge page at once.
    pub(super) fn wants(&mut self, now: Instant) -> bool {
        let last = self.last.replace(now);
        last.is_some_and(|last| now.duration_since(last) < IN_A_ROW)
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// Whether it was made, by `now`, and how long that took.
    pub(super) fn took(&mut self, now: Instant, made: bool, spent: Duration) {
        if made && spent <= SOON {
            self.late = 0;
            return;
        }
        self.not_before = Some(now + doubled(NOT_AGAIN, self.late));
        self.late += 1;
    }
}

/// The first time, doubled that often, up to the second.
fn doubled([first, most]: [Duration; 2], times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

/// What to do about the groups that wait for a huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A step of this many groups, as long as [`Pacer::goes_on`] says.
    Step,
    /// Look again after this time.
    HoldOff(Duration),
}

/// Decides how many huge pages are made, and when.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// How many looks in a row found no processor time to spare.
    held_off: u32,
}

impl Pacer {
    /// What to do now, if the machine has processor time to spare, or hasn't.
    pub(super) fn next(&mut self, has_time: bool) -> Next {
        if has_time {
            self.held_off = 0;
            return Next::Step;
        }
        let pause = doubled(HOLD_OFF, self.held_off);
        self.held_off += 1;
        Next::HoldOff(pause)
    }

    /// Whether a step goes on that has made `made` huge pages in `spent`.
    pub(super) fn goes_on(&self, made: usize, spent: Duration) -> bool {
        made < STEP_GROUPS && spent < STEP
    }

    /// How long to pause after a step that took `spent`.
    pub(super) fn pause(&self, spent: Duration) -> Duration {
        let [least, most] = PAUSE;
        (spent * PAUSE_STEPS).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which a huge page takes as long as it took beside two threads that spin.
    #[derive(Default)]
    struct Machine {
        now: Duration,
        made: usize,
        /// Time for which huge pages were made.
        worked: Duration,
        looks: usize,
        /// The longest time without a pause.
        longest: Duration,
    }

    impl Machine {
        /// Let the pacer work until `end`, or until `groups` huge pages are made.
        fn run(
            &mut self,
            pacer: &mut Pacer,
            (each, groups): (Duration, usize),
            end: Duration,
            has_time: bool,
        ) {
            while self.now < end && self.made < groups {
                self.looks += 1;
                match pacer.next(has_time) {
                    Next::HoldOff(pause) => self.now += pause,
                    Next::Step => {
                        let (mut made, mut spent) = (0, Duration::ZERO);
                        while pacer.goes_on(made, spent) {
                            (made, spent) = (made + 1, spent + each);
                        }
                        self.made += made;
                        self.worked += spent;
                        self.longest = self.longest.max(spent);
                        self.now += spent + pacer.pause(spent);
                    }
                }
            }
        }
    }

    #[test]
    fn groups_that_are_used_up_in_a_row_get_huge_pages_at_once_and_slow_ones_none() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut opening = Opening::default();
        let wants = [0, 20, 40, 139, 239, 10_000, 10_050].map(|ms| opening.wants(at(ms)));
        assert_eq!(wants, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn where_huge_pages_take_long_writes_wait_for_few_of_them() {
        let start = Instant::now();
        let (mut opening, mut waited) = (Opening::default(), 0);
        let minute = 60_000;
        for ms in (0..minute).step_by(10) {
            let now = start + Duration::from_millis(ms);
            if opening.wants(now) {
                waited += 1;
                opening.took(now, true, SOON + Duration::from_millis(1));
            }
        }
        assert!((5..=16).contains(&waited), "{waited} in a minute");
        // One that doesn't, and all is as before.
        let mut now = start + Duration::from_millis(minute) + NOT_AGAIN[1];
        assert!(!opening.wants(now));
        for _ in 0..100 {
            now += Duration::from_millis(10);
            assert!(opening.wants(now));
            opening.took(now, true, Duration::from_micros(300));
        }
        opening.took(now, false, Duration::ZERO);
        assert!(!opening.wants(now + NOT_AGAIN[0] / 2));
        assert!(opening.wants(now + NOT_AGAIN[0]));
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_gigabyte_is_huge_within_seconds_and_no_more_than_a_sixth_of_the_time_goes_into_it() {
        for each_us in [100, 400, 1000, 2000, 6000] {
            let each = Duration::from_micros(each_us);
            let mut machine = Machine::default();
            machine.run(&mut Pacer::default(), (each, 512), HOUR, true);
            assert!(machine.made >= 512);
            assert!(machine.worked * 6 <= machine.now, "{each:?}");
            assert!(machine.longest <= STEP + each, "{each:?}");
            assert!(
                machine.now <= each * 512 * 6 + Duration::from_secs(2),
                "{each:?}"
            );
        }
    }

    #[test]
    fn nothing_is_made_while_there_is_no_time_and_looks_get_rare() {
        let (mut pacer, mut machine) = (Pacer::default(), Machine::default());
        machine.run(&mut pacer, (STEP, 512), Duration::from_secs(60), false);
        assert_eq!(machine.made, 0);
        assert!(machine.looks <= 20, "{} looks in a minute", machine.looks);
    }

    #[test]
    fn once_there_is_time_it_goes_on_within_seconds_at_full_speed() {
        let (mut pacer, mut machine) = (Pacer::default(), Machine::default());
        machine.run(&mut pacer, (STEP, 512), HOUR, false);
        let since = machine.now;
        assert!(since <= HOUR + HOLD_OFF[1]);
        machine.run(&mut pacer, (STEP, 512), 2 * HOUR, true);
        let took = machine.now.saturating_sub(since);
        assert!(took <= STEP * 512 * 6 + Duration::from_secs(1), "{took:?}");
        // It begins with short pauses again.
        assert_eq!(pacer.next(false), Next::HoldOff(HOLD_OFF[0]));
    }
}
