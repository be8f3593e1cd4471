//! What a ring writes down in its part of the in-flight region, if it has one.

use super::inflight::Tracker;

/// The ring's part of the region, and what is still to be written there. A ring that isn't tracked
/// writes nothing down.
#[derive(Debug, Default)]
pub(super) struct Record {
    tracker: Option<Tracker>,
    /// Heads completed since the used index was published.
    completed: Vec<u16>,
}

impl Record {
    /// Write down in `tracker`'s part what is taken from now on on a ring of `size`; nothing is
    /// allocated later.
    pub(super) fn begin(&mut self, tracker: Tracker, size: u16) {
        debug_assert!(self.tracker.is_none(), "a ring is tracked twice");
        self.tracker = Some(tracker);
        self.completed.reserve_exact(size.into());
    }

    /// Whether the front end took the region away.
    pub(super) fn is_lost(&self) -> bool {
        self.tracker.as_ref().is_some_and(Tracker::is_lost)
    }

    /// Requests `heads` were taken, in this order.
    #[inline]
    pub(super) fn taken(&mut self, heads: &[u16]) {
        if let Some(tracker) = &mut self.tracker {
            heads.iter().for_each(|&head| tracker.taken(head));
        }
    }

    /// Requests `heads` stay in the avail ring after all.
    #[inline]
    pub(super) fn not_taken(&self, heads: &[u16]) {
        if let Some(tracker) = &self.tracker {
            heads.iter().for_each(|&head| tracker.not_taken(head));
        }
    }

    /// Requests `heads` are done, and the driver is shown that later.
    #[inline]
    pub(super) fn completed(&mut self, heads: &[u16]) {
        if self.tracker.is_some() {
            self.completed.extend_from_slice(heads);
        }
    }

    /// The driver is about to be shown what was completed.
    #[inline]
    pub(super) fn returning(&self) {
        if let Some(tracker) = &self.tracker {
            tracker.returning(&self.completed);
        }
    }

    /// It was shown that, and the used index is `used_idx` now.
    #[inline]
    pub(super) fn returned(&mut self, used_idx: u16) {
        if let Some(tracker) = &self.tracker {
            tracker.returned(&self.completed, used_idx);
        }
        self.completed.clear();
    }
}
