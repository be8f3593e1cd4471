//! The rule and the policies against a plain model: every state that they make is one that a crash
//! may leave, and every such state of a small history is made.
//!
//! | file | what it holds |
//! |---|---|
//! | `history` | histories, and the model |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod history;

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use self::history::{Event, History, Plain, SECTORS, event, fold, range, tell};
use super::explore::Plan;
use super::{Fate, Keep, Ledger, Logged, Policy, TearUnit, WriteKind};
use crate::store::{Capacity, SECTOR_BYTES, SectorSize};

/// Apply all that a read sees to the base.
fn apply_all(told: &History, base: &mut Plain) {
    let window = told.ledger.window();
    let writes = window.writes().iter().map(|windowed| windowed.write);
    let seen: Vec<Logged> = writes.filter(|write| write.applied.is_some()).collect();
    fold(&seen, base);
}

fn policies() -> Vec<Policy> {
    let mut policies = vec![Policy::new(Keep::None, false, false, TearUnit::SECTOR).unwrap()];
    for keep in [Keep::All, Keep::Prefix, Keep::Subset, Keep::Reorder] {
        for (is_torn, is_garbage) in [(false, false), (true, false), (false, true), (true, true)] {
            for unit in [512, 1024] {
                let unit = TearUnit::new(unit).unwrap();
                policies.push(Policy::new(keep, is_torn, is_garbage, unit).unwrap());
            }
        }
    }
    policies
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_state_is_one_that_a_crash_may_leave(
        events in prop::collection::vec(event(), 0..60),
        seed in any::<u64>(),
    ) {
        let told = tell(&events, usize::MAX);
        let legal: Vec<BTreeSet<u64>> = (0..SECTORS).map(|sector| told.legal(sector)).collect();
        for policy in policies() {
            for seed in seed..seed.saturating_add(4) {
                let state = told.state(&policy, seed);
                for (sector, (version, legal)) in state.0.iter().zip(&legal).enumerate() {
                    prop_assert!(
                        legal.contains(version),
                        "{policy:?}: sector {sector} has {version}, legal are {legal:?}"
                    );
                }
                prop_assert_eq!(&state, &told.state(&policy, seed));
            }
        }
    }

    /// What is folded loses nothing: with all volatile writes kept, a crash leaves what a read saw,
    /// but for writes that no read saw yet.
    #[test]
    fn all_kept_is_what_a_read_sees(events in prop::collection::vec(event(), 0..60)) {
        let told = tell(&events, usize::MAX);
        let mut state = told.base.clone();
        apply_all(&told, &mut state);
        prop_assert_eq!(state, told.visible);
    }

    /// After a flush that was submitted when nothing was in flight, nothing is left to decide.
    #[test]
    fn a_flush_of_a_quiet_disk_settles_all(mut events in prop::collection::vec(event(), 0..60)) {
        for _ in 0..60 {
            events.push(Event::Apply(0));
            events.push(Event::Complete(0));
        }
        events.push(Event::Flush);
        let flushes = events.iter().filter(|event| matches!(event, Event::Flush));
        for _ in 0..flushes.count() {
            events.push(Event::Flushed(0));
        }
        events.push(Event::Settle);
        let told = tell(&events, usize::MAX);
        prop_assert!(told.ledger.is_empty());
        prop_assert_eq!(told.base, told.visible);
    }

    /// Folding the oldest keeps the order: what is left goes on top of it.
    #[test]
    fn a_full_log_folds_the_oldest(
        events in prop::collection::vec(event(), 0..60),
        count in 0..6usize,
    ) {
        let mut told = tell(&events, usize::MAX);
        let before = told.ledger.window().len();
        let mut seen = 0;
        let settled = told.ledger.settle_oldest(|_| { seen += 1; seen > count });
        prop_assert!(settled.len() <= count);
        prop_assert_eq!(told.ledger.window().len() + settled.len(), before);
        fold(&settled, &mut told.base);
        let mut state = told.base.clone();
        apply_all(&told, &mut state);
        prop_assert_eq!(state, told.visible);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_small_history_leaves_every_legal_state_and_nothing_else(
        events in prop::collection::vec(event(), 0..24),
        sectors in 1..=2u64,
        is_garbage: bool,
    ) {
        let told = tell(&events, 3);
        let legal = told.all_legal(sectors, is_garbage);
        prop_assume!(legal.len() <= 48);
        let unit = TearUnit::new(sectors * SECTOR_BYTES).unwrap();
        let policy = Policy::new(Keep::Reorder, true, is_garbage, unit).unwrap();
        let mut drawn = BTreeSet::new();
        for seed in 0..1_000_000 {
            drawn.insert(told.state(&policy, seed).0);
            if drawn.len() == legal.len() {
                break;
            }
        }
        prop_assert_eq!(&drawn, &legal);
        let mut plan = Plan {
            unit,
            keep: None,
            is_torn: true,
            is_garbage,
            random: 0,
            seed: 7,
        };
        let explored = told.explored(&plan);
        prop_assert!(explored.is_subset(&legal), "{explored:?} of {legal:?}");
        // A state that needs garbage, a tear and an order may be one in thousands.
        for random in [1000, 30_000, 500_000] {
            if plan.random == 0 || told.explored(&plan) != legal {
                plan.random = random;
            }
        }
        prop_assert_eq!(&told.explored(&plan), &legal);
    }

    /// Without chance: if the parts of the writes are few, and no order is left to choose.
    #[test]
    fn all_states_of_few_parts_are_explored_without_random_ones(
        starts in prop::collection::vec((0..SECTORS, 1..=3u64), 0..5),
        sectors in 1..=2u64,
    ) {
        let mut events = Vec::new();
        let mut parts = 0;
        let mut covered = BTreeSet::new();
        for (start, count) in starts {
            let count = count.min(SECTORS - start);
            let units = (start + count - 1) / sectors - start / sectors + 1;
            let is_apart = (start..start + count).all(|sector| !covered.contains(&sector));
            if parts + units > 6 || (sectors > 1 && !is_apart) {
                continue;
            }
            parts += units;
            covered.extend(start..start + count);
            events.extend([
                Event::Submit(WriteKind::Write, start, count),
                Event::Apply(0),
                Event::Complete(0),
            ]);
        }
        let told = tell(&events, usize::MAX);
        let plan = Plan {
            unit: TearUnit::new(sectors * SECTOR_BYTES).unwrap(),
            keep: None,
            is_torn: true,
            is_garbage: false,
            random: 0,
            seed: 0,
        };
        prop_assert_eq!(told.explored(&plan), told.all_legal(sectors, false));
    }
}

/// A flush doesn't cover a write that completes while it is in flight.
#[test]
fn a_write_in_flight_with_a_flush_stays_volatile() {
    let mut ledger = Ledger::new();
    let write = ledger.submit(WriteKind::Write, range(0, 1), false);
    let flush = ledger.moment();
    ledger.complete(write, false);
    ledger.flushed(flush);
    assert!(ledger.settle().is_empty());
    let flush = ledger.moment();
    ledger.flushed(flush);
    assert_eq!(ledger.settle().len(), 1);
}

/// Writeback must be off for the whole of a write.
#[test]
fn a_write_over_which_writeback_was_on_for_a_while_stays_volatile() {
    let mut ledger = Ledger::new();
    let whole = ledger.submit(WriteKind::Write, range(0, 1), true);
    ledger.complete(whole, true);
    let begun_on = ledger.submit(WriteKind::Write, range(1, 1), false);
    ledger.complete(begun_on, true);
    let ended_on = ledger.submit(WriteKind::Write, range(2, 1), true);
    ledger.complete(ended_on, false);
    let between = ledger.submit(WriteKind::Write, range(3, 1), true);
    ledger.writeback_on();
    ledger.complete(between, true);
    let settled: Vec<u64> = ledger.settle().iter().map(|write| write.number).collect();
    assert_eq!(settled, [whole]);
}

/// A huge discard is torn and described in little memory.
#[test]
fn the_fate_of_a_huge_discard_is_small() {
    let capacity = Capacity::new(1 << 40, SectorSize::S512).unwrap();
    let mut ledger = Ledger::new();
    let all = capacity.range_512(0, 1 << 40).unwrap();
    let discard = ledger.submit(WriteKind::Discard, all, false);
    ledger.complete(discard, false);
    let window = ledger.window();
    let policy = Policy::new(Keep::All, true, true, TearUnit::SECTOR).unwrap();
    let mut torn = 0;
    for seed in 0..100 {
        let choice = policy.choose(&window, seed);
        match &choice.fates()[0] {
            Fate::Torn(runs) => {
                assert!(runs.len() <= 16);
                assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
                torn += 1;
            }
            Fate::Garbage(_) => unreachable!("a terabyte of garbage"),
            Fate::Kept | Fate::Lost => {}
        }
    }
    assert!(torn > 50);
}

/// The choices of a seed are part of what a report promises: they stay the same.
#[test]
fn a_seed_makes_the_choice_that_it_always_made() {
    let mut ledger = Ledger::new();
    for start in 0..6 {
        let write = ledger.submit(WriteKind::Write, range(start, 2), false);
        ledger.complete(write, false);
    }
    let policy = Policy::new(Keep::Reorder, true, true, TearUnit::SECTOR).unwrap();
    let choice = policy.choose(&ledger.window(), 42);
    let fates = [
        Fate::Garbage(11_132_436_533_567_955_750),
        Fate::Lost,
        Fate::Garbage(7_136_575_568_064_226_580),
        Fate::Kept,
        Fate::Torn(vec![Range { start: 1, end: 2 }]),
        Fate::Lost,
    ];
    assert_eq!(choice.fates(), fates);
    assert_eq!(choice.order(), [4, 3, 2, 0, 1, 5]);
}

#[test]
fn keeping_nothing_contradicts_tearing_and_garbage() {
    for (is_torn, is_garbage) in [(true, false), (false, true)] {
        assert!(Policy::new(Keep::None, is_torn, is_garbage, TearUnit::SECTOR).is_err());
    }
}
