//! Words that a store keeps for its owner. They outlive the process as the disks do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::store::Store;

/// The [`OWNER_WORDS`](crate::store::OWNER_WORDS) words of 64 bits, all 0 in a new store. Only the
/// owner knows their meaning. A signal handler may read and write them.
#[derive(Clone, Debug)]
pub struct OwnerWords(Arc<Store>);

impl OwnerWords {
    /// The words of a store, which stays open as long as this or a clone exists.
    pub fn new(store: &Arc<Store>) -> Self {
        Self(Arc::clone(store))
    }

    /// Word `index`, below [`OWNER_WORDS`](crate::store::OWNER_WORDS).
    pub fn get(&self, index: usize) -> u64 {
        self.0.owner_word(index).load(Ordering::Acquire)
    }

    /// Write word `index`, below [`OWNER_WORDS`](crate::store::OWNER_WORDS).
    pub fn set(&self, index: usize, value: u64) {
        self.0.owner_word(index).store(value, Ordering::Release);
    }
}
