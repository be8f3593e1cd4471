//! Counting the requests of one ring, by the thread that serves it.
//!
//! Requests that are taken together are shown to the driver together, and the clock is read once
//! before and once after: each counts with that time. What goes on after others were shown (a long
//! request, one that had to wait) has a time of its own.

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};

use super::stats::Block;
use super::steps::Unfinished;

/// How many [`OperationKind`]s there are.
pub(super) const OPERATIONS: usize = 6;

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OperationKind {
    Read = 0,
    Write,
    Flush,
    Discard,
    WriteZeroes,
    /// GET_ID, or something that nobody can tell.
    #[default]
    Other,
}

/// A request, as far as it is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) kind: OperationKind,
    pub(super) bytes: u64,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) asked: Asked,
    /// Whether the status is OK.
    pub(super) ok: bool,
}

impl Answered {
    /// A request of which nothing is known but that it is answered, with an error.
    pub(super) fn unknown() -> Self {
        Self {
            asked: Asked::default(),
            ok: false,
        }
    }
}

/// Requests of one kind that were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) completed: u32,
    pub(super) errors: u32,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, ok: bool, bytes: u64) {
        self.completed += 1;
        self.errors += u32::from(!ok);
        self.bytes += if ok { bytes } else { 0 };
    }

    fn add_all(&mut self, more: Self) {
        self.completed += more.completed;
        self.errors += more.errors;
        self.bytes += more.bytes;
    }
}

/// What became of the requests of a batch; to be given to [`Tally::batch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Batched {
    pub(super) reads: Count,
    pub(super) writes: Count,
}

/// Counts the requests of one ring.
#[derive(Debug)]
pub struct Tally {
    block: Arc<Block>,
    /// What was answered and isn't shown yet.
    counts: [Count; OPERATIONS],
    /// Kinds of which there are any, as bits by their numbers: most often one.
    some: u32,
    /// When the first of these was taken.
    since_ns: Option<u64>,
    /// Requests that were taken and not shown.
    taken: u64,
}

impl Tally {
    pub(super) fn new(block: Arc<Block>) -> Self {
        Self {
            block,
            counts: [Count::default(); OPERATIONS],
            some: 0,
            since_ns: None,
            taken: 0,
        }
    }

    /// A request is served next: one more that is taken, unless it goes on.
    pub fn take_one(&mut self, unfinished: &Unfinished) {
        self.take(usize::from(unfinished.since_ns.is_none()));
    }

    /// So many requests have been taken and are served next.
    pub fn take(&mut self, requests: usize) {
        if self.since_ns.is_none() {
            self.since_ns = Some(now_ns());
        }
        self.taken += requests as u64;
        self.block.set_in_flight(self.taken);
    }

    /// A batch of them was answered.
    pub fn batch(&mut self, batch: Batched) {
        if batch.reads.completed > 0 {
            self.count(OperationKind::Read, batch.reads);
        }
        if batch.writes.completed > 0 {
            self.count(OperationKind::Write, batch.writes);
        }
    }

    fn count(&mut self, kind: OperationKind, count: Count) {
        self.counts[kind as usize].add_all(count);
        self.some |= 1 << kind as u32;
    }

    /// One of them was served as far as `unfinished` says: it was answered, or goes on later, and
    /// then with the time at which it was taken.
    #[inline]
    pub fn one(&mut self, unfinished: &mut Unfinished) {
        match (unfinished.answered.take(), unfinished.since_ns) {
            (Some(Answered { asked, ok }), None) => {
                let count = &mut self.counts[asked.kind as usize];
                count.add(ok, asked.bytes);
                self.some |= 1 << asked.kind as u32;
            }
            (answered, _) => self.long(answered, unfinished),
        }
    }

    /// One of them must wait, and is taken again later. Gives the moment at which it was taken, to
    /// be kept for then ([`Unfinished::set_since`]).
    pub fn held(&mut self, unfinished: &mut Unfinished) -> u64 {
        let since_ns = unfinished.since_ns.take().or(self.since_ns);
        since_ns.unwrap_or_else(now_ns)
    }

    /// A request that is not answered at once.
    #[cold]
    fn long(&mut self, answered: Option<Answered>, unfinished: &mut Unfinished) {
        let since_ns = unfinished.since_ns.or(self.since_ns);
        let Some((Answered { asked, ok }, since_ns)) = answered.zip(since_ns) else {
            unfinished.since_ns = since_ns;
            return;
        };
        unfinished.since_ns = None;
        let mut count = Count::default();
        count.add(ok, asked.bytes);
        // It is shown a moment later, with the others.
        self.block
            .count(asked.kind as usize, count, now_ns() - since_ns);
    }

    /// What was answered has been shown to the driver. So many requests that were taken are still
    /// not answered.
    pub fn shown(&mut self, left: usize) {
        let Some(since_ns) = self.since_ns.take() else {
            return;
        };
        let latency_ns = now_ns() - since_ns;
        while self.some != 0 {
            let kind = (self.some.trailing_zeros() as usize).min(OPERATIONS - 1);
            self.some &= self.some - 1;
            let count = std::mem::take(&mut self.counts[kind]);
            self.block.count(kind, count, latency_ns);
        }
        self.taken = left as u64;
        self.block.set_in_flight(self.taken);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // What the ring had taken goes back to the driver.
        self.block.set_in_flight(0);
    }
}

/// A clock that only goes up. Plain numbers, which cost half of what `Instant` takes: it is read
/// twice for a request that comes alone.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
