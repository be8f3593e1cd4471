//! Counting the mapped sectors of a tree, even while a part that was cut off is still being
//! counted.
//!
//! Counting what lies below a node takes longer the more it is, and happens without a lock. Until
//! it is done, the tree's count still includes the part, and so do those of forks made meanwhile.
//! The part has a list of these counts, and is subtracted from each of them once it is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::base::sync::{Mutex, MutexGuard};

type Count = Arc<AtomicU64>;

/// Mapped sectors of 512 bytes of one tree.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    sectors: Count,
    /// Parts that the count may still include. Parts that were counted since are dropped when the
    /// next one is added.
    parts: Mutex<Vec<Arc<CutOff>>>,
}

/// A part of a tree that was cut off: the counts that still include it, or `None` once it was
/// subtracted from them.
#[derive(Debug)]
pub(crate) struct CutOff(Mutex<Option<Vec<Count>>>);

impl Mapped {
    pub(crate) fn new(sectors: u64) -> Self {
        Self {
            sectors: Arc::new(AtomicU64::new(sectors)),
            parts: Mutex::default(),
        }
    }

    /// The count, including parts that were cut off and not counted yet.
    pub(crate) fn sectors(&self) -> u64 {
        self.sectors.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, sectors: u64) {
        if sectors > 0 {
            self.sectors.fetch_add(sectors, Ordering::Relaxed);
        }
    }

    pub(crate) fn sub(&self, sectors: u64) {
        if sectors > 0 {
            take_off(&self.sectors, sectors);
        }
    }

    /// Add a part that was cut off and isn't counted yet. The caller holds all shards, as for the
    /// cut.
    pub(crate) fn cut_off(&self) -> Arc<CutOff> {
        let counts = vec![Arc::clone(&self.sectors)];
        let part = Arc::new(CutOff(Mutex::new(Some(counts))));
        let mut parts = self.parts.lock();
        parts.retain(|part| part.0.lock().is_some());
        parts.push(Arc::clone(&part));
        part
    }

    /// Whether this many sectors can hold what is mapped: for assertions, under all shards. Of a
    /// count that still includes a part that was cut off, nothing can be told.
    pub(crate) fn fits(&self, sectors: u64) -> bool {
        let mut parts = self.parts.lock().clone().into_iter();
        parts.any(|part| part.0.lock().is_some()) || self.sectors() <= sectors
    }

    /// The count for another tree with the same content. The caller holds all shards of this tree.
    pub(crate) fn share(&self) -> Self {
        let other = Self::default();
        other.take_over(self);
        other
    }

    /// Count the content of another tree, which this tree has from now on. The caller holds all
    /// shards of both, or no other thread can reach them.
    pub(crate) fn take_over(&self, other: &Self) {
        for part in self.parts.lock().drain(..) {
            if let Some(counts) = &mut *part.0.lock() {
                counts.retain(|count| !Arc::ptr_eq(count, &self.sectors));
            }
        }
        // Lock all parts between reading the count and noting that it was copied. Always in the
        // same order, since trees have parts in common.
        let mut parts = other.parts.lock().clone();
        parts.sort_unstable_by_key(Arc::as_ptr);
        let mut open: Vec<MutexGuard<'_, _>> = parts.iter().map(|part| part.0.lock()).collect();
        self.sectors.store(other.sectors(), Ordering::Relaxed);
        for counts in open.iter_mut().filter_map(|counts| counts.as_mut()) {
            counts.push(Arc::clone(&self.sectors));
        }
        drop(open);
        *self.parts.lock() = parts;
    }
}

impl CutOff {
    /// Subtract the part, which has `sectors` mapped ones, from every count that includes it.
    pub(crate) fn counted(&self, sectors: u64) {
        let mut open = self.0.lock();
        for count in open.take().into_iter().flatten() {
            take_off(&count, sectors);
        }
    }
}

fn take_off(count: &AtomicU64, sectors: u64) {
    let had = count.fetch_sub(sectors, Ordering::Relaxed);
    debug_assert!(had >= sectors, "{sectors} of {had} mapped sectors are gone");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_is_taken_off_every_count_that_had_it() {
        let tree = Mapped::new(100);
        let part = tree.cut_off();
        let fork = tree.share();
        let (of_fork, reset) = (fork.share(), Mapped::new(7));
        reset.take_over(&fork);
        fork.take_over(&Mapped::new(5));
        tree.add(3);
        part.counted(40);
        assert_eq!(tree.sectors(), 63);
        assert_eq!((of_fork.sectors(), reset.sectors()), (60, 60));
        assert_eq!(fork.sectors(), 5);
        assert_eq!(tree.share().sectors(), 63);
    }
}
