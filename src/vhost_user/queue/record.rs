//! What a ring records in its part of the in-flight region, if it has one.

use super::inflight::Tracker;

/// The ring's part of the region, and what must still be recorded there. A ring that isn't tracked
/// records nothing.
#[derive(Debug, Default)]
pub(super) struct Record {
    tracker: Option<Tracker>,
    /// Heads completed since the used index was published.
    completed: Vec<u16>,
}

impl Record {
    /// From now on record in `tracker`'s part what is taken from a ring of `size`. Nothing is
    /// allocated later.
    pub(super) fn begin(&mut self, tracker: Tracker, size: u16) {
        debug_assert!(self.tracker.is_none(), "a ring is tracked twice");
        self.tracker = Some(tracker);
        self.completed.reserve_exact(size.into());
    }

    /// Whether the front end truncated the region's file.
    pub(super) fn is_lost(&self) -> bool {
        self.tracker.as_ref().is_some_and(Tracker::is_lost)
    }

    /// Record that requests `heads` were taken, in this order.
    #[inline]
    pub(super) fn taken(&mut self, heads: &[u16]) {
        if let Some(tracker) = &mut self.tracker {
            heads.iter().for_each(|&head| tracker.taken(head));
        }
    }

    /// Record that requests `heads`, which were taken last, stay in the avail ring after all. The
    /// mark of the last one goes first, so that the region never has a gap.
    #[inline]
    pub(super) fn not_taken(&self, heads: &[u16]) {
        if let Some(tracker) = &self.tracker {
            heads.iter().rev().for_each(|&head| tracker.not_taken(head));
        }
    }

    /// Note that requests `heads` are done. They are published later.
    #[inline]
    pub(super) fn completed(&mut self, heads: &[u16]) {
        if self.tracker.is_some() {
            self.completed.extend_from_slice(heads);
        }
    }

    /// Record that the completed requests are about to be published.
    #[inline]
    pub(super) fn returning(&self) {
        if let Some(tracker) = &self.tracker {
            tracker.returning(&self.completed);
        }
    }

    /// Record that they were published, and that the used index is `used_idx` now.
    #[inline]
    pub(super) fn returned(&mut self, used_idx: u16) {
        if let Some(tracker) = &self.tracker {
            tracker.returned(&self.completed, used_idx);
        }
        self.completed.clear();
    }
}
