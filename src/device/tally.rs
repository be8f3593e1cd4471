//! Counting the requests of one ring, by the thread that serves it.
//!
//! Requests that are taken together are shown to the driver together, and the clock is read once
//! before and once after: each counts with that time. What goes on after others were shown (a long
//! request, one that had to wait) has a time of its own.

use std::sync::Arc;
use std::time::Instant;

use super::stats::Block;
use super::steps::Unfinished;

/// All kinds, in the order of their numbers.
const KINDS: [OperationKind; OPERATIONS] = [
    OperationKind::Read,
    OperationKind::Write,
    OperationKind::Flush,
    OperationKind::Discard,
    OperationKind::WriteZeroes,
    OperationKind::Other,
];
/// How many there are.
pub(super) const OPERATIONS: usize = 6;

/// What a request asks for. The first two have histograms of their own.
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
    /// When the first of these was taken.
    since: Option<Instant>,
    /// Requests that were taken and not shown.
    taken: u64,
}

impl Tally {
    pub(super) fn new(block: Arc<Block>) -> Self {
        Self {
            block,
            counts: [Count::default(); OPERATIONS],
            since: None,
            taken: 0,
        }
    }

    /// A request is served next: one more that is taken, unless it goes on.
    pub fn take_one(&mut self, unfinished: &Unfinished) {
        self.take(usize::from(unfinished.since.is_none()));
    }

    /// So many requests have been taken and are served next.
    pub fn take(&mut self, requests: usize) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        self.taken += requests as u64;
        self.block.set_in_flight(self.taken);
    }

    /// A batch of them was answered.
    pub fn batch(&mut self, batch: Batched) {
        self.counts[OperationKind::Read as usize].add_all(batch.reads);
        self.counts[OperationKind::Write as usize].add_all(batch.writes);
    }

    /// One of them was served as far as `unfinished` says: it was answered, or goes on later, and
    /// then with the time at which it was taken.
    pub fn one(&mut self, unfinished: &mut Unfinished) {
        let Some(Answered { asked, ok }) = unfinished.answered.take() else {
            unfinished.since = unfinished.since.or(self.since);
            return;
        };
        let mut count = Count::default();
        count.add(ok, asked.bytes);
        match unfinished.since.take() {
            // It is shown a moment later, with the others.
            Some(since) => self.block.count(asked.kind, count, ns_since(since)),
            None => self.counts[asked.kind as usize].add_all(count),
        }
    }

    /// What was answered has been shown to the driver. So many requests that were taken are still
    /// not answered.
    pub fn shown(&mut self, left: usize) {
        let Some(since) = self.since.take() else {
            return;
        };
        let latency_ns = ns_since(since);
        for (kind, count) in KINDS.into_iter().zip(&mut self.counts) {
            if count.completed > 0 {
                self.block.count(kind, std::mem::take(count), latency_ns);
            }
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

fn ns_since(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
