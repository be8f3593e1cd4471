//! A history of a disk, and the plain model: what virtio's words say that a crash may leave of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Range;

use proptest::prelude::*;

use super::super::explore::{Plan, StateName, states};
use super::super::{Choice, Contents, Ledger, Logged, Medium, Moment, Policy, Window, WriteKind};
use crate::store::{ByteRange, Capacity, SECTOR_BYTES, SectorSize};

pub(super) const SECTORS: u64 = 8;
/// Random bytes are in a sector.
pub(super) const GARBAGE: u64 = u64::MAX;
/// What the disk holds at first, by sector.
pub(super) const FIRST: u64 = 1000;

/// What happens to a disk. Numbers choose among what is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Submit(WriteKind, u64, u64),
    Apply(usize),
    Complete(usize),
    Flush,
    Flushed(usize),
    Toggle,
    Settle,
}

pub(super) fn event() -> impl Strategy<Value = Event> {
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
pub(super) struct Told {
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
pub(super) struct Plain(pub(super) Vec<u64>);

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
            let version = u64::from_le_bytes(data[..8].try_into().unwrap());
            *sector = if version < FIRST { version } else { GARBAGE };
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
pub(super) struct Numbered;

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
pub(super) struct History {
    pub(super) ledger: Ledger,
    pub(super) base: Plain,
    pub(super) visible: Plain,
    writes: Vec<Told>,
    /// Submitted and completed.
    flushes: Vec<(usize, Option<usize>)>,
    /// Of flushes that haven't completed.
    flush_moments: BTreeMap<usize, Moment>,
    writeback: bool,
}

pub(super) fn range(start: u64, sectors: u64) -> ByteRange {
    let capacity = Capacity::new(SECTORS * SECTOR_BYTES, SectorSize::S512).unwrap();
    capacity.range_512(start, sectors * SECTOR_BYTES).unwrap()
}

pub(super) fn fold(settled: &[Logged], base: &mut Plain) {
    for write in settled {
        write.apply(write.range, &Numbered, base).unwrap();
    }
}

/// Tell a history. At most `most` writes are submitted.
pub(super) fn tell(events: &[Event], most: usize) -> History {
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
    pub(super) fn is_stable(&self, write: &Told) -> bool {
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
    pub(super) fn legal(&self, sector: u64) -> BTreeSet<u64> {
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
                legal.extend([write.version(at), GARBAGE]);
            }
        }
        legal
    }

    pub(super) fn state(&self, policy: &Policy, seed: u64) -> Plain {
        let window = self.ledger.window();
        self.left(&window, &policy.choose(&window, seed))
    }

    /// What a choice leaves.
    pub(super) fn left(&self, window: &Window, choice: &Choice) -> Plain {
        assert!(choice.is_legal(window), "{choice:?} of {window:?}");
        let mut state = self.base.clone();
        choice.apply(window, &Numbered, &mut state).unwrap();
        state
    }

    /// What explorations leave.
    pub(super) fn explored(&self, plan: &Plan) -> BTreeSet<Vec<u64>> {
        let window = self.ledger.window();
        let names = states(&window, Moment(u64::MAX), plan);
        let made = names.iter().map(|name| {
            let again: StateName = name.to_string().parse().unwrap();
            self.left(&window, &again.choice(&window).unwrap()).0
        });
        made.collect()
    }

    /// Whether the first of two writes must be below the second one, which it overlaps.
    fn is_below(&self, first: &Told, then: &Told) -> bool {
        match (self.is_stable(first), self.is_stable(then)) {
            (true, _) => then.applied.is_none_or(|then| first.applied < Some(then)),
            (false, true) => first.completed.is_some_and(|done| done < then.submitted),
            (false, false) => false,
        }
    }

    /// Every state that a crash may leave, by trying all that may become of each write, in every
    /// order. `unit`: the sectors that are written whole or not at all.
    pub(super) fn all_legal(&self, unit: u64, is_garbage: bool) -> BTreeSet<Vec<u64>> {
        let mut all = BTreeSet::new();
        let first: Vec<u64> = (FIRST..FIRST + SECTORS).collect();
        self.extend(&first, &mut Vec::new(), (unit, is_garbage), &mut all);
        all
    }

    /// Put each write on top that may be the next one.
    fn extend(
        &self,
        below: &[u64],
        done: &mut Vec<usize>,
        how: (u64, bool),
        all: &mut BTreeSet<Vec<u64>>,
    ) {
        if done.len() == self.writes.len() {
            all.insert(below.to_vec());
            return;
        }
        for (at, write) in self.writes.iter().enumerate() {
            let waits = |(other, it): (usize, &Told)| {
                other != at && !done.contains(&other) && self.is_below(it, write)
            };
            if done.contains(&at) || self.writes.iter().enumerate().any(waits) {
                continue;
            }
            done.push(at);
            for above in self.may_leave(below, (at, write), how) {
                self.extend(&above, done, how, all);
            }
            done.pop();
        }
    }

    /// What one write may leave on top of others.
    fn may_leave(
        &self,
        below: &[u64],
        (at, write): (usize, &Told),
        (unit, is_garbage): (u64, bool),
    ) -> BTreeSet<Vec<u64>> {
        let units = write.start / unit..(write.end - 1) / unit + 1;
        let count = units.end - units.start;
        let mut left = BTreeSet::new();
        for kept in 0..1_u64 << count {
            if self.is_stable(write) && kept + 1 != 1 << count {
                continue;
            }
            let mut above = below.to_vec();
            for sector in write.start..write.end {
                if kept >> (sector / unit - units.start) & 1 == 1 {
                    above[usize::try_from(sector).unwrap()] = write.version(at);
                }
            }
            left.insert(above);
        }
        if is_garbage && !self.is_stable(write) {
            let mut above = below.to_vec();
            let range = write.start..write.end;
            range.for_each(|sector| above[usize::try_from(sector).unwrap()] = GARBAGE);
            left.insert(above);
        }
        left
    }
}
