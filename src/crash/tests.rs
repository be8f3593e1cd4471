//! The rule and the policies against a plain model: every state that they make is one that a crash
//! may leave, and every such state of a small history is made.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Range;

use proptest::prelude::*;

use super::{Contents, Fate, Keep, Ledger, Logged, Medium, Moment, Policy, TearUnit, WriteKind};
use crate::store::{ByteRange, Capacity, SECTOR_BYTES, SectorSize};

const SECTORS: u64 = 8;
/// What the disk holds at first, by sector.
const FIRST: u64 = 1000;

/// What happens to a disk. Numbers choose among what is in flight.
#[derive(Clone, Copy, Debug)]
enum Event {
    Submit(WriteKind, u64, u64),
    Apply(usize),
    Complete(usize),
    Flush,
    Flushed(usize),
    Toggle,
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        4 => Just(WriteKind::Write),
        1 => Just(WriteKind::Discard),
        1 => Just(WriteKind::Zeroes),
    ];
    let submit = (kind, 0..SECTORS, 1..=4u64);
    prop_oneof![
        4 => submit.prop_map(|(kind, start, sectors)| {
            Event::Submit(kind, start, sectors.min(SECTORS - start))
        }),
        3 => any::<usize>().prop_map(Event::Apply),
        3 => any::<usize>().prop_map(Event::Complete),
        2 => Just(Event::Flush),
        2 => any::<usize>().prop_map(Event::Flushed),
        1 => Just(Event::Toggle),
        2 => Just(Event::Settle),
    ]
}

/// A write as the model has it: times are places in the history.
#[derive(Clone, Copy, Debug)]
struct Told {
    kind: WriteKind,
    start: u64,
    end: u64,
    submitted: usize,
    applied: Option<usize>,
    completed: Option<usize>,
    was_writeback: bool,
}

impl Told {
    fn version(&self, index: usize) -> u64 {
        match self.kind {
            WriteKind::Write => index as u64 + 1,
            WriteKind::Discard | WriteKind::Zeroes => 0,
        }
    }

    fn covers(&self, sector: u64) -> bool {
        (self.start..self.end).contains(&sector)
    }
}

/// A disk by sector: the number of the write that is there, plus 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain(Vec<u64>);

impl Plain {
    fn new() -> Self {
        Self((FIRST..FIRST + SECTORS).collect())
    }

    fn sectors(&mut self, range: ByteRange) -> &mut [u64] {
        let place = |bytes: u64| usize::try_from(bytes / SECTOR_BYTES).unwrap();
        &mut self.0[place(range.start_bytes())..place(range.end_bytes())]
    }
}

impl Medium<Infallible> for Plain {
    fn write(&mut self, range: ByteRange, data: &[u8]) -> Result<(), Infallible> {
        assert_eq!(data.len() as u64, range.len_bytes());
        let sectors = data.chunks(512);
        for (sector, data) in self.sectors(range).iter_mut().zip(sectors) {
            *sector = u64::from_le_bytes(data[..8].try_into().unwrap());
        }
        Ok(())
    }

    fn discard(&mut self, range: ByteRange) -> Result<(), Infallible> {
        self.sectors(range).fill(0);
        Ok(())
    }

    fn zero(&mut self, range: ByteRange) -> Result<(), Infallible> {
        self.discard(range)
    }
}

/// Each sector of a write holds the number of the write, plus 1.
struct Numbered;

impl Contents<Infallible> for Numbered {
    fn bytes(&self, number: u64, part: Range<u64>) -> Result<Cow<'_, [u8]>, Infallible> {
        let len = usize::try_from(part.end - part.start).unwrap();
        let word = (number + 1).to_le_bytes();
        Ok((0..len)
            .map(|at| word.get(at % 512).copied().unwrap_or(0))
            .collect())
    }
}

/// A history, told to the ledger and to the model.
struct History {
    ledger: Ledger,
    base: Plain,
    visible: Plain,
    writes: Vec<Told>,
    /// Submitted and completed.
    flushes: Vec<(usize, Option<usize>)>,
    /// Of flushes that haven't completed.
    flush_moments: BTreeMap<usize, Moment>,
    writeback: bool,
}

fn range(start: u64, sectors: u64) -> ByteRange {
    let capacity = Capacity::new(SECTORS * SECTOR_BYTES, SectorSize::S512).unwrap();
    capacity.range_512(start, sectors * SECTOR_BYTES).unwrap()
}

fn fold(settled: &[Logged], base: &mut Plain) {
    for write in settled {
        write.apply(write.range, &Numbered, base).unwrap();
    }
}

/// Tell a history. At most `most` writes are submitted.
fn tell(events: &[Event], most: usize) -> History {
    let mut history = History {
        ledger: Ledger::new(),
        base: Plain::new(),
        visible: Plain::new(),
        writes: Vec::new(),
        flushes: Vec::new(),
        flush_moments: BTreeMap::new(),
        writeback: true,
    };
    for (now, event) in events.iter().enumerate() {
        match *event {
            Event::Submit(kind, start, sectors) if history.writes.len() < most => {
                history.submit(now, kind, (start, sectors));
            }
            Event::Submit(..) => {}
            Event::Apply(which) => history.apply(now, which),
            Event::Complete(which) => history.complete(now, which),
            Event::Flush => {
                let (index, moment) = (history.flushes.len(), history.ledger.moment());
                history.flush_moments.insert(index, moment);
                history.flushes.push((now, None));
            }
            Event::Flushed(which) => history.flushed(now, which),
            Event::Toggle => history.toggle(),
            Event::Settle => {
                let settled = history.ledger.settle();
                fold(&settled, &mut history.base);
            }
        }
    }
    history
}

impl History {
    fn submit(&mut self, now: usize, kind: WriteKind, (start, sectors): (u64, u64)) {
        let number = self
            .ledger
            .submit(kind, range(start, sectors), !self.writeback);
        assert_eq!(number, self.writes.len() as u64);
        self.writes.push(Told {
            kind,
            start,
            end: start + sectors,
            submitted: now,
            applied: None,
            completed: None,
            was_writeback: self.writeback,
        });
    }

    /// One of those in flight that a read sees, or that none does.
    fn in_flight(&self, is_applied: bool, which: usize) -> Option<usize> {
        let writes = self.writes.iter().enumerate();
        let flying = writes.filter(|(_, write)| {
            write.completed.is_none() && write.applied.is_some() == is_applied
        });
        let flying: Vec<usize> = flying.map(|(at, _)| at).collect();
        (!flying.is_empty()).then(|| flying[which % flying.len()])
    }

    fn apply(&mut self, now: usize, which: usize) {
        let Some(at) = self.in_flight(false, which) else {
            return;
        };
        self.ledger.applied(at as u64);
        self.writes[at].applied = Some(now);
        let write = self.writes[at];
        let there = range(write.start, write.end - write.start);
        self.visible.sectors(there).fill(write.version(at));
    }

    fn complete(&mut self, now: usize, which: usize) {
        if let Some(at) = self.in_flight(true, which) {
            self.ledger.complete(at as u64, !self.writeback);
            self.writes[at].completed = Some(now);
        }
    }

    fn flushed(&mut self, now: usize, which: usize) {
        let open: Vec<usize> = self.flush_moments.keys().copied().collect();
        if open.is_empty() {
            return;
        }
        let at = open[which % open.len()];
        let moment = self.flush_moments.remove(&at);
        self.ledger.flushed(moment.unwrap());
        self.flushes[at].1 = Some(now);
    }

    fn toggle(&mut self) {
        self.writeback = !self.writeback;
        if self.writeback {
            self.ledger.writeback_on();
            for write in &mut self.writes {
                write.was_writeback |= write.completed.is_none();
            }
        }
    }

    /// The rule, from the words of virtio 1.3 §5.2.6.2.
    fn is_stable(&self, write: &Told) -> bool {
        let Some(completed) = write.completed else {
            return false;
        };
        let is_flushed = self
            .flushes
            .iter()
            .any(|(submitted, done)| *submitted > completed && done.is_some());
        !write.was_writeback || is_flushed
    }

    /// What a crash may leave in a sector.
    fn legal(&self, sector: u64) -> BTreeSet<u64> {
        let covering = self.writes.iter().enumerate();
        let covering: Vec<(usize, &Told)> = covering.filter(|(_, w)| w.covers(sector)).collect();
        let stable: Vec<(usize, &Told)> = covering
            .iter()
            .copied()
            .filter(|(_, write)| self.is_stable(write))
            .collect();
        let last = stable.iter().max_by_key(|(_, write)| write.applied);
        let mut legal =
            BTreeSet::from([last.map_or(FIRST + sector, |(at, write)| write.version(*at))]);
        for (at, write) in covering {
            let is_behind = stable
                .iter()
                .any(|(_, s)| write.completed.is_some_and(|done| done < s.submitted));
            if !self.is_stable(write) && !is_behind {
                legal.insert(write.version(at));
            }
        }
        legal
    }

    fn state(&self, policy: &Policy, seed: u64) -> Plain {
        let window = self.ledger.window();
        let choice = policy.choose(&window, seed);
        assert!(choice.is_legal(&window), "{choice:?} of {window:?}");
        let mut state = self.base.clone();
        choice.apply(&window, &Numbered, &mut state).unwrap();
        state
    }
}

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
        for is_torn in [false, true] {
            for unit in [512, 1024] {
                let unit = TearUnit::new(unit).unwrap();
                policies.push(Policy::new(keep, is_torn, false, unit).unwrap());
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
    fn every_state_that_a_crash_may_leave_of_a_small_history_is_made(
        events in prop::collection::vec(event(), 0..30),
    ) {
        let told = tell(&events, 4);
        let legal: Vec<BTreeSet<u64>> = (0..SECTORS).map(|sector| told.legal(sector)).collect();
        let wanted: usize = legal.iter().map(BTreeSet::len).product();
        prop_assume!(wanted <= 64);
        let policy = Policy::new(Keep::Reorder, true, false, TearUnit::SECTOR).unwrap();
        let mut made = BTreeSet::new();
        for seed in 0..100_000 {
            made.insert(told.state(&policy, seed).0);
            if made.len() == wanted {
                break;
            }
        }
        prop_assert_eq!(made.len(), wanted);
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
