//! Nodes and pages as one disk has them: taken on its account, and copied where they are shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::subtree;
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::layout::entry::{Entry, FULL};
use crate::store::layout::levels::LEAF;
use crate::store::memory::arena::{Arena, BLOCK_WORDS, Block};
use crate::store::memory::pool::Pool;

/// The pool, and the account that pays for what one disk takes from it.
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

    /// The account that pays for what is taken.
    pub(crate) fn account(&self) -> u16 {
        self.account.load(Ordering::Relaxed)
    }

    /// Each pays with the other's account from now on. Under all shards of one of them, while
    /// nobody writes to the other.
    pub(crate) fn exchange_account(&self, with: &Self) {
        let own = self.account();
        self.account.store(with.account(), Ordering::Relaxed);
        with.account.store(own, Ordering::Relaxed);
    }

    /// A block for this disk, with one reference. Its bytes are whatever the last user left.
    ///
    /// # Errors
    /// [`Error::is_want_of_memory`]; nothing is taken then.
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

    /// The entry of a word that may be changed, without `SHARED` where that isn't true any more.
    pub(crate) fn settled(&self, word: &AtomicU64) -> Entry {
        let entry = Entry::load(word);
        match entry.block() {
            Some(block) if entry.is_shared() && self.pool.is_exclusive(block) => {
                let own = !Entry::SHARED_BIT;
                Entry(word.fetch_and(own, Ordering::Relaxed) & own)
            }
            _ => entry,
        }
    }

    /// The node of a word as this disk's own: the node that is there, a copy, or a new one.
    ///
    /// # Errors
    /// [`Error::is_want_of_memory`]; the word stays as it is then.
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
                // Before the copy can be seen: from then on the old one isn't alone.
                from.fetch_or(Entry::SHARED_BIT, Ordering::Release);
                entry = entry.shared();
            }
            to.store(entry.0, Ordering::Relaxed);
        }
        Ok(node)
    }

    /// An entry is gone: free what only that entry named.
    pub(crate) fn release(&self, entry: Entry, level: u32) {
        subtree::free(&self.pool, [(entry, level)]);
    }
}
