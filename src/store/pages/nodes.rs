//! A disk's nodes and pages: taken on its account, and copied if they are shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::subtrees::subtree;
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::layout::entry::{Entry, FULL};
use crate::store::layout::levels::LEAF;
use crate::store::memory::arena::{Arena, BLOCK_WORDS, Block};
use crate::store::memory::pool::Pool;

/// The pool, and the account that one disk's blocks are charged to.
#[derive(Debug)]
pub(crate) struct Nodes {
    pool: Arc<Pool>,
    account: AtomicU16,
}

impl Nodes {
    pub(crate) fn new(pool: Arc<Pool>, account: u16) -> Self {
        Self {
            pool,
            account: AtomicU16::new(account),
        }
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        self.pool.arena()
    }

    /// The account that blocks are charged to.
    pub(crate) fn account(&self) -> u16 {
        self.account.load(Ordering::Relaxed)
    }

    /// Exchange the accounts of two disks. The caller holds all shards of one, and no connection
    /// writes to the other.
    pub(crate) fn exchange_account(&self, with: &Self) {
        let own = self.account();
        self.account.store(with.account(), Ordering::Relaxed);
        with.account.store(own, Ordering::Relaxed);
    }

    /// Take a block for this disk, with one reference. It still has the bytes of its last user.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`]; then nothing is taken.
    pub(crate) fn take(&self) -> Result<Block, Error> {
        self.pool.take(self.account())
    }

    /// An entry of a node.
    #[inline]
    pub(crate) fn word(&self, node: Block, index: usize) -> &AtomicU64 {
        self.arena().word(node, index)
    }

    /// All entries of a node.
    #[inline]
    pub(crate) fn words(&self, node: Block) -> &[AtomicU64; BLOCK_WORDS] {
        self.arena().words(node)
    }

    pub(crate) fn is_empty(&self, node: Block) -> bool {
        let mut words = self.words(node).iter();
        words.all(|word| Entry::load(word).is_none())
    }

    /// The entry of a word that may be changed. If `SHARED` is no longer true, the bit is cleared;
    /// so is `UNTOUCHED`, which is about to become wrong.
    pub(crate) fn settled(&self, word: &AtomicU64) -> Entry {
        let entry = Entry::load(word);
        match entry.block() {
            Some(block) if entry.is_shared() && self.pool.is_exclusive(block) => {
                let own = !Entry::SHARING_BITS;
                Entry(word.fetch_and(own, Ordering::Relaxed) & own)
            }
            _ => entry,
        }
    }

    /// Make the node of a word this disk's own: the present node, a copy of it, or a new one.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`]; then the word stays as it is.
    pub(crate) fn own(&self, word: &AtomicU64, level: u32) -> Result<Block, Error> {
        let entry = self.settled(word);
        let Some(old) = entry.block() else {
            let node = self.take()?;
            let fill = match (entry.is_none(), level) {
                (true, _) => Entry::NONE,
                (false, LEAF) => Entry::zeros(FULL),
                (false, _) => Entry::ALL_ZERO,
            };
            for word in self.words(node) {
                word.store(fill.0, Ordering::Relaxed);
            }
            word.store(Entry::node(node).0, Ordering::Release);
            return Ok(node);
        };
        if !entry.is_shared() {
            return Ok(old);
        }
        let node = self.copy(old)?;
        let [copied, published] = match level {
            LEAF => ["leaf-copied", "leaf-published"],
            _ => ["inner-copied", "inner-published"],
        };
        points::reach(copied);
        word.store(Entry::node(node).0, Ordering::Release);
        points::reach(published);
        self.release(entry, level);
        Ok(node)
    }

    /// A copy that shares everything below.
    fn copy(&self, old: Block) -> Result<Block, Error> {
        let node = self.take()?;
        let (old, new) = (self.words(old), self.words(node));
        for (from, to) in old.iter().zip(new) {
            let mut entry = Entry::load(from);
            if let Some(block) = entry.block() {
                self.pool.share(block);
                // Before the copy is visible: from then on the old entry isn't the only one.
                from.fetch_or(Entry::SHARED_BIT, Ordering::Release);
                entry = entry.shared();
            }
            to.store(entry.0, Ordering::Relaxed);
        }
        Ok(node)
    }

    /// Free what only this entry, which was removed, named.
    pub(crate) fn release(&self, entry: Entry, level: u32) {
        subtree::free(&self.pool, [(entry, level)]);
    }
}
