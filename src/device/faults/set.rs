//! The rules of a disk: deciding about its requests, releasing, listing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::active::Active;
use super::fate::{Fate, Hold, Holder, Verdict};
use super::log::Log;
use super::rule::Rule;
use super::target::Target;

/// How many starts all rules of a disk together count. A rule that would need one more takes each
/// further start as one that is asked for the first time, and this is reported.
pub const MOST_PLACES: usize = 1 << 18;

/// A rule's firings are reported at the first, and then at each of this many.
const REPORT_EVERY: u64 = 1000;

/// Something to tell about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It fired: the first time, or for one more thousandth time.
    Fired {
        /// The rule's id.
        rule: Arc<str>,
        /// Its kind, as text.
        kind: String,
        /// How often it has fired.
        times: u64,
    },
    /// There is no room to count more starts ([`MOST_PLACES`]).
    Crowded {
        /// The rule's id.
        rule: Arc<str>,
    },
}

/// A rule in force, and what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleStatus {
    /// The rule.
    pub rule: Rule,
    /// Requests that it was about.
    pub requests: u64,
    /// How often it has fired.
    pub fired: u64,
    /// Whether it will never fire again: it fired as often or as long as it may.
    pub is_spent: bool,
    /// How many starts it counts, and whether there was no room for one more.
    pub places: usize,
    /// The same.
    pub is_crowded: bool,
}

/// Called with each report.
type Reporter = Box<dyn Fn(&Report) + Send + Sync>;

/// The rules of a disk.
#[derive(Default)]
pub struct Faults {
    rules: Mutex<Rules>,
    /// Changes when something that was held may go.
    epoch: AtomicU64,
    fired: AtomicU64,
    reporter: OnceLock<Reporter>,
}

#[derive(Debug, Default)]
struct Rules {
    active: Vec<Active>,
    next_number: u32,
    log: Log,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Faults {
    /// Call `tell` with each report, from the threads that serve requests. Only the first call of
    /// this counts.
    pub fn on_report(&self, tell: impl Fn(&Report) + Send + Sync + 'static) {
        let _ = self.reporter.set(Box::new(tell));
    }

    /// Have exactly these rules, which have ids. One that is in force already goes on with what it
    /// has counted. What others hold is let go.
    pub fn set(&self, rules: Vec<Rule>) {
        let mut had = self.rules.lock();
        let mut before = std::mem::take(&mut had.active);
        for rule in rules {
            let same = before.iter().position(|it| it.rule == rule);
            let active = match same {
                Some(at) => before.remove(at),
                None => {
                    had.next_number = had.next_number.wrapping_add(1);
                    Active::new(rule, had.next_number)
                }
            };
            had.active.push(active);
        }
        drop(had);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Let go what a rule holds now. Returns `false` if there is no such rule.
    pub fn release(&self, id: &str) -> bool {
        let mut rules = self.rules.lock();
        let Some(active) = rules.active.iter_mut().find(|it| *it.id == *id) else {
            return false;
        };
        active.release();
        drop(rules);
        self.epoch.fetch_add(1, Ordering::Release);
        true
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.lock().active.is_empty()
    }

    /// The rules, in the order in which they are asked.
    pub fn list(&self) -> Vec<RuleStatus> {
        let (rules, now) = (self.rules.lock(), Instant::now());
        let status = |active: &Active| RuleStatus {
            rule: active.rule.clone(),
            requests: active.requests,
            fired: active.fired,
            is_spent: active.is_spent(now),
            places: active.places(),
            is_crowded: active.is_crowded,
        };
        rules.active.iter().map(status).collect()
    }

    /// The last firings.
    pub fn log(&self) -> Log {
        self.rules.lock().log.clone()
    }

    /// How often rules have fired.
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    /// Another number than before if something that was held may go.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether what was held in this way is still held.
    pub fn holds(&self, holder: Holder) -> bool {
        let rules = self.rules.lock();
        rules.active.iter().any(|active| active.holds(holder))
    }

    /// Decide about a request. Each request is decided about once.
    pub fn decide(&self, target: &Target<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut wait = Duration::ZERO;
        let mut reports = Vec::new();
        let mut rules = self.rules.lock();
        let Rules { active, log, .. } = &mut *rules;
        verdict.is_unruled = active.is_empty();
        let taken: usize = active.iter().map(Active::places).sum();
        let mut room = MOST_PLACES.saturating_sub(taken);
        for active in active {
            let was_crowded = active.is_crowded;
            let is_decided = verdict.fate != Fate::Run;
            let fired = active.ask(target, is_decided, &mut room);
            if active.is_crowded && !was_crowded {
                let rule = Arc::clone(&active.id);
                reports.push(Report::Crowded { rule });
            }
            let Some((effect, firing)) = fired else {
                continue;
            };
            self.fired.fetch_add(1, Ordering::Relaxed);
            if firing.number == 1 || firing.number.is_multiple_of(REPORT_EVERY) {
                reports.push(Report::Fired {
                    rule: Arc::clone(&firing.rule),
                    kind: firing.kind.to_string(),
                    times: firing.number,
                });
            }
            wait += firing.wait.unwrap_or_default();
            if !is_decided {
                verdict.fate = effect.fate;
            }
            // Of several rules that hold it until they are released, the first one counts.
            let is_held = verdict.hold.is_some_and(|hold| hold.holder.is_some());
            if !is_held {
                verdict.hold = effect.hold.or(verdict.hold);
            }
            log.add(firing);
        }
        drop(rules);
        if let Some(Hold {
            until,
            holder: None,
            ..
        }) = &mut verdict.hold
        {
            // Delays add up.
            *until = target.now.checked_add(wait).unwrap_or(*until);
        }
        if let Some(tell) = self.reporter.get() {
            reports.iter().for_each(tell);
        }
        verdict
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::rule::{Span, TargetOperation};
    use super::*;

    fn faults(texts: &[&str]) -> Faults {
        let faults = Faults::default();
        let rules = texts.iter().enumerate().map(|(at, text)| {
            let mut rule: Rule = text.parse().unwrap();
            rule.id.get_or_insert(format!("f{at}"));
            rule
        });
        faults.set(rules.collect());
        faults
    }

    /// Ask about a request of one sector, and return what becomes of it.
    fn ask(faults: &Faults, operation: TargetOperation, sector: u64) -> Fate {
        let span = Span {
            start_bytes: sector * 512,
            len_bytes: 512,
        };
        let spans = match operation {
            TargetOperation::Flush => &[][..],
            _ => &[span][..],
        };
        let now = Instant::now();
        let target = Target {
            operation,
            spans,
            size_bytes: 1 << 30,
            waits_for_memory: false,
            now,
        };
        faults.decide(&target).fate
    }

    fn write(faults: &Faults, sector: u64) -> bool {
        ask(faults, TargetOperation::Write, sector) == Fate::Fail
    }

    #[test]
    fn the_order_of_requests_changes_nothing() {
        let text = ["error,probability=0.1,seed=7"];
        let (one, two) = (faults(&text), faults(&text));
        let all = |order: &[u64], faults: &Faults| {
            let mut failed = Vec::new();
            for _ in 0..3 {
                failed.extend(
                    order
                        .iter()
                        .filter(|&&sector| write(faults, sector))
                        .copied(),
                );
            }
            failed.sort_unstable();
            failed
        };
        let forward: Vec<u64> = (0..1000).collect();
        let backward: Vec<u64> = forward.iter().rev().copied().collect();
        let failed = all(&forward, &one);
        assert_eq!(failed, all(&backward, &two));
        assert!((200..400).contains(&failed.len()), "{}", failed.len());
        let other = all(&forward, &faults(&["error,probability=0.1,seed=8"]));
        assert_ne!(failed, other, "another seed");
        let other = all(
            &forward,
            &faults(&["error,id=other,probability=0.1,seed=7"]),
        );
        assert_ne!(failed, other, "another rule");
    }

    #[test]
    fn the_numbers_are_the_same_for_ever() {
        // What a seed means is kept across versions and machines.
        let faults = faults(&["error,id=a,probability=0.02,seed=42"]);
        let failed: Vec<u64> = (0..300).filter(|&sector| write(&faults, sector)).collect();
        assert_eq!(failed, [15, 139, 163, 177, 206]);
    }

    #[test]
    fn nth_and_every_count_the_times_that_a_sector_is_asked_for() {
        let faults = faults(&["error,nth=2,op=write", "error,every=3,op=read"]);
        for (sector, fails) in [(0, false), (1, false), (1, true), (0, true), (0, false)] {
            assert_eq!(write(&faults, sector), fails, "{sector}");
        }
        let reads = (0..7).map(|_| ask(&faults, TargetOperation::Read, 5) == Fate::Fail);
        let reads: Vec<bool> = reads.collect();
        assert_eq!(reads, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn a_rule_is_armed_after_so_much_and_fires_so_often() {
        let after = faults(&["error,op=write,after-requests=2,times=2"]);
        let failed: Vec<bool> = (0..6).map(|sector| write(&after, sector)).collect();
        assert_eq!(failed, [false, false, true, true, false, false]);
        assert!(after.list()[0].is_spent);
        let after = faults(&["error,op=write,after-bytes=1K"]);
        let failed: Vec<bool> = (0..4).map(|sector| write(&after, sector)).collect();
        assert_eq!(failed, [false, false, true, true]);
        let after = faults(&["error,op=write,after-flushes=1"]);
        assert!(!write(&after, 0));
        ask(&after, TargetOperation::Flush, 0);
        assert!(write(&after, 0));
    }

    #[test]
    fn the_first_rule_decides_and_the_others_count_on() {
        let faults = faults(&["unsupported,times=1", "error,every=2"]);
        let fates = (0..4).map(|_| ask(&faults, TargetOperation::Write, 0));
        let fates: Vec<Fate> = fates.collect();
        assert_eq!(
            fates,
            [Fate::Unsupported, Fate::Fail, Fate::Run, Fate::Fail]
        );
        let fired: Vec<u64> = faults.list().iter().map(|it| it.fired).collect();
        assert_eq!(fired, [1, 2]);
    }

    #[test]
    fn rules_that_stay_keep_their_counts_and_the_log_is_bounded() {
        let faults = faults(&["error,id=a"]);
        (0..5000).for_each(|sector| assert!(write(&faults, sector)));
        let rule = faults.list()[0].rule.clone();
        faults.set(vec!["stall,id=b".parse().unwrap(), rule]);
        assert_eq!(faults.list()[1].fired, 5000);
        let log = faults.log();
        assert_eq!((log.firings.len(), log.dropped), (4096, 904));
        assert_eq!(log.firings[0].number, 905);
        assert_eq!(faults.fired(), 5000);
    }

    #[test]
    fn counting_starts_takes_bounded_memory_and_its_end_is_reported() {
        let faults = faults(&["error,nth=2"]);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&reports);
        faults.on_report(move |report| told.lock().push(report.clone()));
        let most = MOST_PLACES as u64;
        (0..most + 10).for_each(|sector| assert!(!write(&faults, sector)));
        let rule = "f0".into();
        assert_eq!(*reports.lock(), [Report::Crowded { rule }]);
        assert!(write(&faults, 0), "those that are counted stay exact");
        assert!(!write(&faults, most), "each time is the first one");
        assert_eq!(faults.list()[0].places, MOST_PLACES);
    }

    #[test]
    fn the_first_firing_and_each_thousandth_are_reported() {
        let faults = faults(&["error"]);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&reports);
        faults.on_report(move |report| told.lock().push(report.clone()));
        (0..2500).for_each(|sector| assert!(write(&faults, sector)));
        let times = |report: &Report| match report {
            Report::Fired { times, .. } => *times,
            Report::Crowded { .. } => 0,
        };
        let times: Vec<u64> = reports.lock().iter().map(times).collect();
        assert_eq!(times, [1, 1000, 2000]);
    }
}
