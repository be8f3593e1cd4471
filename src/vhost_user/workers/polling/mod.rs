//! How long a worker polls a ring that has run dry before it goes to sleep.
//!
//! Waking a worker costs the driver a system call and the request several microseconds, so polling
//! pays if the next request is near, and is a waste if it isn't. Where the driver runs on the
//! worker's own processor it is worse: it can't run, and so makes no request, before the worker
//! sleeps. [`PollTime`] learns how long pauses are ([`gaps`]) and what a sleep costs
//! ([`cost`]), and polls for the time that would have cost least. To learn the cost, it does the
//! other thing once in a while, and compares: it sleeps once between pauses that it polls through,
//! or polls once between pauses that it sleeps through.
//!
//! ```text
//!               a window would have cost less
//!   Asleep ───────────────────────────────────────► Polls(window)
//!    │  ▲  ◄───────────────────────────────────────  │  ▲
//!    │  │      sleeping would have cost less,        │  │
//!    │  │      or polling holds the driver up        │  │
//!    │  │                                            │  │
//!    ▼  │ each 8th to 256th pause                  ▼  │ each 8th to 256th pause
//!   looks once                                      sleeps once
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `nap` | pauses between looks at a ring whose driver can't kick |
//! | `gaps` | how long pauses were, and which window would have cost least |
//! | `cost` | what a sleep costs |
//! | `simulator` | drivers and schedulers to try all this with, for tests only |

mod cost;
mod gaps;
mod nap;
#[cfg(test)]
mod simulator;

use std::time::Duration;

use cost::SleepCost;
use gaps::{Gaps, Price};
pub(super) use nap::Nap;

/// What a microsecond of a processor costs, in thousandths of a microsecond that a request waits.
const POLL_PER_MILLE: u64 = 500;
/// What it costs to go to sleep and to return, beside the wait.
const SWITCH_NS: u64 = 2_000;
/// No wake-up is taken to last longer.
const LONGEST_WAKE_NS: u64 = 100_000;
/// Pauses between two trials of the other thing, at least and at most.
const FIRST_SPACING: u32 = 8;
const LAST_SPACING: u32 = 256;
/// A sleep is tried after this many times its cost.
const AFFORDABLE_PART: u64 = 64;
/// Pauses that are polled through between two looks for a better window.
const PLAN_AFTER: u32 = 16;
/// A request that comes so soon after polling ended waited for that end.
const SOON_NS: u64 = 2_000;
/// How often in a row that may be chance.
const CHANCE: u32 = 4;
/// Polling in vain may take this part of the time that a ring is dry (a fourth), and this much on
/// credit.
const VAIN_PART: u64 = 4;
const VAIN_CREDIT_NS: u64 = 1_000_000;
/// The longest window while others want the processor. A driver that shares it answers in less; one
/// that takes longer runs on another processor only because this one is polling.
const CROWDED_NS: u64 = 8_000;
/// More requests than this don't make a pause dearer.
const MOST_REQUESTS: u64 = 64;

/// How long to poll one ring. It has no clock: it is told what came of each pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct PollTime {
    most_ns: u64,
    /// The best window known; 0: sleep at once.
    plan_ns: u64,
    /// The window of the next pause: another one if it is a trial.
    now_ns: u64,
    is_trial: bool,
    /// Pauses before the next trial, and from trial to trial.
    until_trial: u32,
    spacing: u32,
    until_plan: u32,
    /// The time that the ring was dry since the last trial.
    untried_ns: u64,
    /// The pauses that the last trial was made among.
    tried_ns: u64,
    gaps: Gaps,
    cost: SleepCost,
    /// Short pauses that begin with polling, and that are slept through.
    polled: Short,
    slept: Short,
    /// Requests that a pause holds up, in sixteenths.
    requests: u64,
    /// How often in a row the driver seemed to wait for the end of polling.
    in_the_way: u32,
    /// What may still be polled in vain.
    credit_ns: u64,
}

impl PollTime {
    /// Never longer than `most`; 0 means never to poll. `wake` is what it costs to wake a thread.
    pub(super) fn new(most: Duration, wake: Duration) -> Self {
        Self {
            most_ns: ns(most),
            plan_ns: 0,
            now_ns: 0,
            is_trial: false,
            until_trial: FIRST_SPACING,
            spacing: FIRST_SPACING,
            until_plan: PLAN_AFTER,
            untried_ns: 0,
            tried_ns: 0,
            gaps: Gaps::default(),
            cost: SleepCost::new(ns(wake)),
            polled: Short::default(),
            slept: Short::default(),
            requests: 16,
            in_the_way: 0,
            credit_ns: VAIN_CREDIT_NS,
        }
    }

    /// The longest time.
    pub(super) fn most(&self) -> Duration {
        Duration::from_nanos(self.most_ns)
    }

    /// Whether polling ends after `time`. `is_crowded`: others want the processor, see
    /// [`CROWDED_NS`].
    #[inline]
    pub(super) fn is_over(&self, time: Duration, is_crowded: bool) -> bool {
        let most_ns = if is_crowded { CROWDED_NS } else { self.most_ns };
        ns(time) >= self.now_ns.min(most_ns)
    }

    /// `count` requests were served first after a pause.
    pub(super) fn resumed_with(&mut self, count: u32) {
        let count = u64::from(count).min(MOST_REQUESTS);
        self.requests = self.requests - self.requests / 16 + count;
    }

    /// A poll found a request `gap` after the ring had run dry.
    pub(super) fn found_after(&mut self, gap: Duration) {
        let gap_ns = ns(gap);
        self.gaps.add(gap_ns);
        self.earn(gap_ns);
        self.in_the_way = 0;
        if self.is_trial {
            let slept_ns = self.slept.ns.filter(|_| self.plan_ns == 0);
            self.end_trial(slept_ns.map(|slept_ns| difference(slept_ns, gap_ns)));
            return;
        }
        self.polled.add(gap_ns);
        self.until_plan -= 1;
        if self.until_plan == 0 {
            self.plan();
        }
        self.count_down();
    }

    /// The ring was kicked `pause` after it had run dry. `slept`: how long its worker had slept by
    /// then; `None` if it was awake, for other rings.
    pub(super) fn kicked_after(&mut self, pause: Duration, slept: Option<Duration>) {
        let pause_ns = ns(pause);
        let Some(slept_ns) = slept.map(ns) else {
            self.gaps.add(pause_ns);
            self.plan();
            return;
        };
        self.cost.slept(slept_ns);
        let cost_ns = self.cost.ns().max(0).unsigned_abs();
        self.gaps.add(pause_ns.saturating_sub(cost_ns));
        self.earn(pause_ns);
        let compared_ns = if self.now_ns > 0 {
            self.missed(pause_ns, slept_ns)
        } else {
            self.slept.add(pause_ns);
            // A pause that the window would not have covered says nothing of the cost.
            let most_ns = 2 * self.plan_ns + LONGEST_WAKE_NS;
            let polled_ns = self.polled.ns.filter(|_| pause_ns <= most_ns);
            polled_ns.map(|polled_ns| difference(pause_ns, polled_ns))
        };
        if self.is_trial {
            self.end_trial(compared_ns);
        } else {
            self.plan();
            self.count_down();
        }
    }

    /// The window was too short, or the driver could not run while it lasted. Returns what the
    /// sleep would have cost without a window, if that is known.
    fn missed(&mut self, pause_ns: u64, slept_ns: u64) -> Option<i64> {
        let polled_ns = pause_ns.saturating_sub(slept_ns);
        self.credit_ns = self.credit_ns.saturating_sub(polled_ns);
        if !self.is_trial {
            self.polled.add(pause_ns);
        }
        // The driver took as long after the window as it takes without one.
        let usual_ns = self.slept.ns;
        let is_usual = usual_ns.is_some_and(|usual_ns| {
            let (least_ns, most_ns) = (usual_ns - usual_ns / 4, usual_ns + usual_ns / 4);
            (least_ns..=most_ns).contains(&slept_ns) && polled_ns >= usual_ns / 2
        });
        if !is_usual && slept_ns > self.cost.wake_ns() + SOON_NS {
            self.in_the_way = 0;
            return None;
        }
        self.in_the_way += 1;
        if self.in_the_way >= CHANCE {
            self.cost.is_in_the_way();
        }
        usual_ns.map(|usual_ns| difference(usual_ns, pause_ns))
    }

    fn earn(&mut self, dry_ns: u64) {
        self.credit_ns = (self.credit_ns + dry_ns / VAIN_PART).min(VAIN_CREDIT_NS);
        self.untried_ns = self.untried_ns.saturating_add(dry_ns);
    }

    fn price(&self, sleep_ns: u64) -> Price {
        Price {
            sleep_ns: sleep_ns * self.requests.max(16) / 16 + SWITCH_NS * POLL_PER_MILLE / 1000,
            poll_per_mille: POLL_PER_MILLE,
        }
    }

    /// Find the best window.
    fn plan(&mut self) {
        self.until_plan = PLAN_AFTER;
        let before = self.plan_ns;
        let cost_ns = self.cost.ns();
        self.plan_ns = if cost_ns <= 0 || self.credit_ns == 0 {
            0
        } else {
            let price = self.price(cost_ns.unsigned_abs());
            self.gaps.cheapest(self.most_ns, price)
        };
        if (before == 0) != (self.plan_ns == 0) {
            self.spacing = FIRST_SPACING;
            self.until_trial = self.spacing;
        }
        self.now_ns = self.plan_ns;
        self.is_trial = false;
    }

    fn count_down(&mut self) {
        // Other pauses than then: what the trial showed may be wrong by now.
        let short_ns = self.short_ns();
        if short_ns.abs_diff(self.tried_ns) > self.tried_ns / 2 {
            self.tried_ns = short_ns;
            self.spacing = FIRST_SPACING;
            self.until_trial = self.until_trial.min(FIRST_SPACING);
        }
        self.until_trial = self.until_trial.saturating_sub(1);
        // A sleep may take as long as many pauses that are polled through.
        let is_affordable =
            self.plan_ns == 0 || self.untried_ns >= AFFORDABLE_PART * self.cost.wake_ns();
        if self.until_trial == 0 && is_affordable {
            self.begin_trial();
        }
    }

    /// Short pauses of the kind that there are now.
    fn short_ns(&self) -> u64 {
        let short = if self.plan_ns > 0 {
            self.polled
        } else {
            self.slept
        };
        short.ns.unwrap_or(0)
    }

    /// Do the other thing in the next pause.
    fn begin_trial(&mut self) {
        self.until_trial = self.spacing;
        if self.plan_ns > 0 {
            self.is_trial = true;
            self.now_ns = 0;
            return;
        }
        // What a pause would be without the wake-up is not known, only that it would be shorter.
        let slept_ns = self.slept.ns.unwrap_or(u64::MAX);
        self.is_trial = slept_ns <= self.most_ns + LONGEST_WAKE_NS && self.credit_ns > 0;
        if self.is_trial {
            self.now_ns = slept_ns.min(self.most_ns);
        }
    }

    /// The trial is over. `compared_ns`: what the sleep cost by it.
    fn end_trial(&mut self, compared_ns: Option<i64>) {
        self.is_trial = false;
        self.tried_ns = self.short_ns();
        self.untried_ns = 0;
        let is_expected = compared_ns.is_none_or(|ns| self.cost.compared(ns));
        self.spacing = if is_expected {
            (self.spacing * 2).min(LAST_SPACING)
        } else {
            (self.spacing / 2).max(FIRST_SPACING)
        };
        self.until_trial = self.spacing;
        self.plan();
    }
}

/// The time that a quarter of the last pauses was shorter than. It follows slowly, so that those
/// that are far longer don't matter.
#[derive(Clone, Copy, Debug, Default)]
struct Short {
    ns: Option<u64>,
}

impl Short {
    fn add(&mut self, pause_ns: u64) {
        let ns = self.ns.unwrap_or(pause_ns);
        let step = ns / 32 + 1;
        self.ns = Some(if pause_ns > ns {
            ns + step
        } else {
            ns.saturating_sub(3 * step)
        });
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

fn difference(longer_ns: u64, shorter_ns: u64) -> i64 {
    let signed = |ns| i64::try_from(ns).unwrap_or(i64::MAX / 2);
    signed(longer_ns) - signed(shorter_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_bound_of_nothing_means_never() {
        let mut time = PollTime::new(Duration::ZERO, micros(15));
        for _ in 0..1000 {
            assert!(time.is_over(Duration::ZERO, false));
            time.kicked_after(micros(20), Some(micros(20)));
            time.resumed_with(32);
        }
    }

    #[test]
    fn no_pause_is_polled_for_longer_than_the_bound() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut time = PollTime::new(micros(40), micros(15));
        let mut polled = 0;
        for _ in 0..100_000 {
            assert!(time.is_over(micros(40), false));
            let pause = micros(random.u64(0..60));
            if time.is_over(pause, false) {
                let slept = pause + micros(15) - Duration::from_nanos(time.now_ns).min(pause);
                time.kicked_after(pause + micros(15), Some(slept));
            } else {
                polled += 1;
                time.found_after(pause);
            }
            time.resumed_with(random.u32(1..33));
        }
        assert!(polled > 1000, "{polled}");
    }

    #[test]
    fn no_pause_is_polled_for_longer_than_a_driver_here_takes_while_others_want_the_processor() {
        let mut time = PollTime::new(micros(64), micros(15));
        for _ in 0..100 {
            time.found_after(micros(20));
        }
        assert!(!time.is_over(micros(20), false));
        assert!(time.is_over(micros(8), true));
        assert!(!time.is_over(micros(7), true));
    }

    /// A driver that always comes when it is too late, but soon enough to be hoped for.
    #[test]
    fn polling_in_vain_takes_a_bounded_part_of_the_time() {
        let mut time = PollTime::new(micros(100), micros(15));
        let (mut polled, mut all) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..10_000 {
            let window = Duration::from_nanos(time.now_ns);
            let slept = micros(30);
            time.kicked_after(window + slept, Some(slept));
            time.resumed_with(32);
            polled += window;
            all += window + slept;
        }
        assert!(polled < all * 3 / 10, "{polled:?} of {all:?}");
    }
}
