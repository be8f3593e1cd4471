//! The walk through a log beside the ledger that sees the same events happen, and what the states
//! of a window are.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Plan, StateName, Walk, states};
use crate::crash::log::{Log, NEVER, Request, What};
use crate::crash::{Choice, Fate, Ledger, Logged, Moment, TearUnit, Window, WriteKind};
use crate::store::{Capacity, SectorSize};

const DISK_BYTES: u64 = 64 * 512;

#[derive(Clone, Debug)]
enum Event {
    Submit(u64, u64),
    /// Complete the n-th of those in flight.
    Complete(usize),
    SubmitFlush,
    CompleteFlush(usize),
    /// Compare.
    Look,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_u64..60, 1_u64..5).prop_map(|(at, count)| Event::Submit(at, count)),
        4 => (0_usize..8).prop_map(Event::Complete),
        1 => Just(Event::SubmitFlush),
        1 => (0_usize..8).prop_map(Event::CompleteFlush),
        1 => Just(Event::Look),
    ];
    proptest::collection::vec(event, 1..60)
}

/// What happened, as the ledger saw it and as the log has it.
#[derive(Default)]
struct History {
    ledger: Ledger,
    requests: Vec<Request>,
    /// In flight: the ledger's number and the log's.
    writes: Vec<(u64, usize)>,
    flushes: Vec<(Moment, usize)>,
    /// Moments at which to compare, with what the ledger said then.
    looks: Vec<(Moment, Vec<u64>, Vec<Seen>)>,
}

/// A write of a window: when it was submitted, whether it has completed, and is stable.
type Seen = (u64, bool, bool);

impl History {
    fn add(&mut self, what: What, start_bytes: u64, length_bytes: u64, submitted: Moment) -> usize {
        self.requests.push(Request {
            what,
            start_bytes,
            length_bytes,
            submitted: submitted.0,
            completed: NEVER,
            at_once: false,
            time_ns: 0,
            data_at: 0,
        });
        self.requests.len() - 1
    }

    fn happen(&mut self, event: &Event) {
        let capacity = Capacity::new(DISK_BYTES, SectorSize::S512).unwrap();
        match *event {
            Event::Submit(sector, count) => {
                let count = count.min(64 - sector);
                let range = capacity.range_512(sector, count * 512).unwrap();
                let submitted = self.ledger.moment();
                let number = self
                    .ledger
                    .submit_at(submitted, WriteKind::Write, range, false);
                self.ledger.applied(number);
                let index = self.add(What::Write, sector * 512, count * 512, submitted);
                self.writes.push((number, index));
            }
            Event::Complete(which) if !self.writes.is_empty() => {
                let (number, index) = self.writes.remove(which % self.writes.len());
                self.ledger.complete(number, false);
                let write = self.ledger.window();
                let mut writes = write.writes().iter();
                let write = writes.find(|it| it.write.number == number).unwrap();
                self.requests[index].completed = write.write.completed.unwrap().0;
            }
            Event::SubmitFlush => {
                let submitted = self.ledger.moment();
                let index = self.add(What::Flush, 0, 0, submitted);
                self.flushes.push((submitted, index));
            }
            Event::CompleteFlush(which) if !self.flushes.is_empty() => {
                let (submitted, index) = self.flushes.remove(which % self.flushes.len());
                self.requests[index].completed = self.ledger.moment().0;
                self.ledger.flushed(submitted);
            }
            Event::Look => {
                let settled = self.ledger.settle();
                let settled = settled.iter().map(|write| write.submitted.0).collect();
                let moment = self.ledger.moment();
                self.looks
                    .push((moment, settled, seen(&self.ledger.window())));
            }
            Event::Complete(_) | Event::CompleteFlush(_) => {}
        }
    }
}

fn seen(window: &Window) -> Vec<Seen> {
    let each = window.writes().iter().map(|it| {
        let write = it.write;
        (write.submitted.0, write.completed.is_some(), it.is_stable)
    });
    each.collect()
}

proptest! {
    #[test]
    fn a_log_says_what_the_ledger_said_when_it_happened(events in events()) {
        let mut history = History::default();
        for event in events.iter().chain([&Event::Look]) {
            history.happen(event);
        }
        let log = Log {
            requests: history.requests,
            disk_bytes: DISK_BYTES,
            has_moments: true,
        };
        let mut walk = Walk::new(&log).unwrap();
        for (moment, settled, window) in history.looks {
            let (now, found) = walk.go_to(moment).unwrap();
            let now: Vec<u64> = now.iter().map(|write| write.submitted.0).collect();
            prop_assert_eq!(now, settled);
            prop_assert_eq!(seen(&found), window);
        }
    }
}

fn window(count: u64, sectors: u64) -> Window {
    let capacity = Capacity::new(1 << 20, SectorSize::S512).unwrap();
    let write = |number: u64| crate::crash::Windowed {
        write: Logged {
            number,
            kind: WriteKind::Write,
            range: capacity.range_512(number * 16, sectors * 512).unwrap(),
            submitted: Moment(number),
            applied: Some(Moment(number)),
            completed: Some(Moment(100 + number)),
            is_through: false,
        },
        is_stable: false,
    };
    Window::new((0..count).map(write).collect())
}

fn kept(choice: &Choice) -> Vec<bool> {
    choice
        .fates()
        .iter()
        .map(|fate| *fate == Fate::Kept)
        .collect()
}

fn plan(unit: u64) -> Plan {
    Plan {
        unit: TearUnit::new(unit).unwrap(),
        keep: None,
        is_torn: true,
        is_garbage: false,
        random: 8,
        seed: 3,
    }
}

#[test]
fn a_small_window_has_every_subset_and_each_once() {
    for count in 0..=6 {
        let window = window(count, 1);
        let all = states(&window, Moment(200), &plan(512));
        let choices = all.iter().map(|name| name.choice(&window).unwrap());
        let subsets: Vec<Vec<bool>> = choices.map(|choice| kept(&choice)).collect();
        let distinct: BTreeSet<_> = subsets.iter().collect();
        assert_eq!((subsets.len(), distinct.len()), (1 << count, 1 << count));
    }
}

#[test]
fn a_larger_window_has_all_prefixes_single_losses_and_pairs() {
    let window = window(10, 1);
    let all = states(&window, Moment(200), &plan(512));
    let subsets: BTreeSet<Vec<bool>> = all
        .iter()
        .map(|name| kept(&name.choice(&window).unwrap()))
        .collect();
    for first in 0..10 {
        let prefix: Vec<bool> = (0..10).map(|at| at < first).collect();
        assert!(subsets.contains(&prefix));
        let alone: Vec<bool> = (0..10).map(|at| at == first).collect();
        assert!(subsets.contains(&alone));
        for second in first..10 {
            let pair: Vec<bool> = (0..10).map(|at| at != first && at != second).collect();
            assert!(subsets.contains(&pair), "without {first} and {second}");
        }
    }
}

#[test]
fn every_state_is_legal_and_made_again_from_its_name() {
    for (count, sectors, unit) in [(3, 8, 512), (3, 8, 4096), (20, 16, 4096), (9, 1, 512)] {
        let window = window(count, sectors);
        let all = states(&window, Moment(200), &plan(unit));
        let mut is_torn = false;
        for name in &all {
            let choice = name.choice(&window).unwrap();
            assert!(choice.is_legal(&window), "{name}");
            let again: StateName = name.to_string().parse().unwrap();
            assert_eq!(
                again.choice(&window).unwrap().fates(),
                choice.fates(),
                "{name}"
            );
            is_torn |= choice
                .fates()
                .iter()
                .any(|fate| matches!(fate, Fate::Torn(_)));
        }
        assert_eq!(is_torn, sectors * 512 > unit, "{sectors} sectors at {unit}");
    }
}
