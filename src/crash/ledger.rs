//! The rule of what is stable, as a ledger of the writes that aren't folded.

use std::collections::BTreeMap;

use super::window::{Window, Windowed};
use super::write::{Logged, Moment, WriteKind};
use crate::store::ByteRange;

/// The writes of a disk that aren't in its stable base, and what has happened to each.
///
/// It also hands out the moments, so that there is one order of all events.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The last moment that was handed out.
    now: Moment,
    next_number: u64,
    /// By number.
    writes: BTreeMap<u64, Logged>,
    /// The latest submission of a flush that has completed.
    covered_to: Moment,
}

impl Ledger {
    /// An empty one: all of the disk is stable.
    pub fn new() -> Self {
        Self::default()
    }

    fn tick(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }

    /// A write is submitted. Returns its number. `is_through`: see [`Logged::is_through`].
    pub fn submit(&mut self, kind: WriteKind, range: ByteRange, is_through: bool) -> u64 {
        let submitted = self.tick();
        self.submit_at(submitted, kind, range, is_through)
    }

    /// The same at a moment that was handed out before, by [`Ledger::moment`].
    pub fn submit_at(
        &mut self,
        submitted: Moment,
        kind: WriteKind,
        range: ByteRange,
        is_through: bool,
    ) -> u64 {
        debug_assert!(submitted <= self.now, "a moment of the future");
        let number = self.next_number;
        self.next_number += 1;
        let write = Logged {
            number,
            kind,
            range,
            submitted,
            applied: None,
            completed: None,
            is_through,
        };
        self.writes.insert(number, write);
        number
    }

    /// A moment for something that isn't a write yet, as the beginning of a request of several
    /// ranges, or a flush.
    pub fn moment(&mut self) -> Moment {
        self.tick()
    }

    /// From now on a read sees this write.
    pub fn applied(&mut self, number: u64) {
        let now = self.tick();
        if let Some(write) = self.writes.get_mut(&number) {
            write.applied = Some(now);
        }
    }

    /// This write has completed. It stays through only if `is_through`, so that writeback which was
    /// on at either end makes it wait for a flush.
    pub fn complete(&mut self, number: u64, is_through: bool) {
        let now = self.tick();
        if let Some(write) = self.writes.get_mut(&number) {
            write.completed = Some(now);
            write.applied.get_or_insert(now);
            write.is_through &= is_through;
        }
    }

    /// Writes in flight are no longer through: writeback was turned on.
    pub fn writeback_on(&mut self) {
        for write in self.writes.values_mut() {
            write.is_through &= write.completed.is_some();
        }
    }

    /// Forget a write that changed nothing: it failed.
    pub fn cancel(&mut self, number: u64) {
        self.writes.remove(&number);
    }

    /// A flush that was submitted at `submitted` has completed.
    pub fn flushed(&mut self, submitted: Moment) {
        self.covered_to = self.covered_to.max(submitted);
    }

    /// Take out the stable writes that can be folded into the base, in the order in which to apply
    /// them. If nothing is left in the ledger after this, the base is what a read sees.
    ///
    /// A stable write stays as long as an overlapping one that was applied before it does: that
    /// one's content must not come out on top later.
    pub fn settle(&mut self) -> Vec<Logged> {
        let covered_to = self.covered_to;
        self.settle_if(|write| write.is_stable(covered_to))
    }

    /// Take the oldest writes that have completed out as if they were stable, until `enough` says
    /// so, or none is left. This is for a log that is full.
    pub fn settle_oldest(&mut self, mut enough: impl FnMut(&Logged) -> bool) -> Vec<Logged> {
        let mut is_enough = false;
        self.settle_if(|write| {
            is_enough = is_enough || enough(write);
            !is_enough && write.completed.is_some()
        })
    }

    fn settle_if(&mut self, mut may_go: impl FnMut(&Logged) -> bool) -> Vec<Logged> {
        let mut settled = Vec::new();
        let mut staying: Vec<Logged> = Vec::new();
        for write in self.in_order() {
            if may_go(&write) && !staying.iter().any(|before| before.overlaps(&write)) {
                settled.push(write);
            } else {
                staying.push(write);
            }
        }
        for write in &settled {
            self.writes.remove(&write.number);
        }
        settled
    }

    /// All that is in it, in the order in which a read saw them, and then what no read sees yet.
    fn in_order(&self) -> Vec<Logged> {
        let mut writes: Vec<Logged> = self.writes.values().copied().collect();
        writes.sort_unstable_by_key(|write| (write.applied.is_none(), write.applied, write.number));
        writes
    }

    /// What a crash would decide about now.
    pub fn window(&self) -> Window {
        let windowed = |write: Logged| Windowed {
            is_stable: write.is_stable(self.covered_to),
            write,
        };
        Window::new(self.in_order().into_iter().map(windowed).collect())
    }

    /// How many writes are in it, and how many bytes they cover.
    pub fn size(&self) -> (usize, u64) {
        let bytes = self.writes.values().map(|write| write.range.len_bytes());
        (self.writes.len(), bytes.sum())
    }

    /// Whether all of the disk is stable.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Forget all: the base is what a read sees.
    pub fn clear(&mut self) {
        self.writes.clear();
    }
}
