//! How a session's rings are served where that is not the usual way, for whoever asks.

use std::sync::atomic::{AtomicU16, Ordering};

/// Counts of a session's rings.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    polled: AtomicU16,
    untracked: AtomicU16,
}

impl Manner {
    /// So many rings are served, of these kinds. Gives how many of the second kind there were.
    pub(super) fn set(&self, polled: u16, untracked: u16) -> u16 {
        self.polled.store(polled, Ordering::Relaxed);
        self.untracked.swap(untracked, Ordering::Relaxed)
    }

    /// Rings without a kick descriptor, which are looked at time and again.
    pub(super) fn polled(&self) -> u16 {
        self.polled.load(Ordering::Relaxed)
    }

    /// Rings for which the in-flight region has no room.
    pub(super) fn untracked(&self) -> u16 {
        self.untracked.load(Ordering::Relaxed)
    }
}
