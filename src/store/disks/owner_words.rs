//! A few words that lie beside the disks for the owner of the store, and outlive the process as
//! they do.

use std::sync::Arc;

use super::store::Store;

/// The words, all 0 in a new store. What they mean is the owner's business. They may be read and
/// written in a signal handler.
#[derive(Clone, Debug)]
pub struct OwnerWords(Arc<Store>);

impl OwnerWords {
    /// Those of a store, which stays open for as long as there are any.
    pub fn new(store: &Arc<Store>) -> Self {
        Self(Arc::clone(store))
    }

    /// Word `index`, below [`OWNER_WORDS`](crate::store::OWNER_WORDS).
    pub fn get(&self, index: usize) -> u64 {
        self.0
            .owner_word(index)
            .load(std::sync::atomic::Ordering::Acquire)
    }

    /// Write it.
    pub fn set(&self, index: usize, value: u64) {
        let word = self.0.owner_word(index);
        word.store(value, std::sync::atomic::Ordering::Release);
    }
}
