//! Counting the operations of one queue, by the thread that serves it.
//!
//! Requests that are taken together are published to the client together. The clock is read once
//! before and once after, and each request counts with that time. A request that continues after
//! others were published (a long one, or one that had to wait) has its own time.

use std::sync::Arc;

use super::clock::now_ns;
use super::operation::OPERATIONS;
use super::stats::Block;
use super::{Asked, OperationKind};

/// Operations of one kind that were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub(super) completed: u32,
    pub(super) errors: u32,
    pub(super) bytes: u64,
}

impl Count {
    /// Count one more, with `bytes` if it succeeded.
    #[inline]
    pub fn add(&mut self, ok: bool, bytes: u64) {
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

/// Counts the operations of one queue.
#[derive(Debug)]
pub struct QueueCounters {
    block: Arc<Block>,
    /// Requests that were answered and not yet published.
    counts: [Count; OPERATIONS],
    /// The kinds of these requests, as bits by their numbers. Most often it is one.
    some: u32,
    /// When the first of them was taken.
    since_ns: Option<u64>,
    /// Requests that were taken and not published.
    taken: u64,
}

impl QueueCounters {
    pub(super) fn new(block: Arc<Block>) -> Self {
        Self {
            block,
            counts: [Count::default(); OPERATIONS],
            some: 0,
            since_ns: None,
            taken: 0,
        }
    }

    /// This many requests have been taken and are served next.
    pub fn take(&mut self, requests: usize) {
        if self.since_ns.is_none() {
            self.since_ns = Some(now_ns());
        }
        self.taken += requests as u64;
        self.block.set_in_flight(self.taken);
    }

    /// Some of the requests that were taken last are not served after all: they stay where they
    /// were.
    pub fn left(&mut self, requests: usize) {
        self.taken -= requests as u64;
        self.block.set_in_flight(self.taken);
    }

    /// When the requests that are served now were taken. Keep this with a request that is not
    /// answered at once.
    pub fn taken_at_ns(&self) -> u64 {
        self.since_ns.unwrap_or_else(now_ns)
    }

    /// Requests of one kind were answered.
    #[inline]
    pub fn answered(&mut self, kind: OperationKind, count: Count) {
        if count.completed > 0 {
            self.counts[kind as usize].add_all(count);
            self.some |= 1 << kind as u32;
        }
    }

    /// One request was answered.
    #[inline]
    pub fn answered_one(&mut self, asked: Asked, ok: bool) {
        self.counts[asked.kind as usize].add(ok, asked.bytes);
        self.some |= 1 << asked.kind as u32;
    }

    /// A request was answered after others that were taken with it were published. It was taken at
    /// `taken_at_ns`.
    #[cold]
    pub fn answered_late(&mut self, asked: Asked, ok: bool, taken_at_ns: u64) {
        let mut count = Count::default();
        count.add(ok, asked.bytes);
        // It will be published with the others in a moment.
        let latency_ns = now_ns() - taken_at_ns;
        self.block.count(asked.kind as usize, count, latency_ns);
        self.taken -= 1;
    }

    /// All answered requests were published to the client. `left` requests that were taken are not
    /// answered yet.
    pub fn shown(&mut self, left: usize) {
        let Some(since_ns) = self.since_ns.take() else {
            return;
        };
        debug_assert_eq!(
            self.taken,
            self.unshown() + left as u64,
            "requests in flight"
        );
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

    /// How many were answered since some were shown.
    fn unshown(&self) -> u64 {
        let completed = self.counts.iter().map(|count| u64::from(count.completed));
        completed.sum()
    }
}

impl Drop for QueueCounters {
    fn drop(&mut self) {
        // Requests that were taken and not published are no longer in flight here.
        self.block.set_in_flight(0);
    }
}
