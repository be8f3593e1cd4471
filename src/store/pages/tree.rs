//! The tree of one disk, from its record's root down to the leaves. Shared nodes are copied before
//! they change. A missing node costs nothing.
//!
//! | lock held | what is allowed |
//! |---|---|
//! | a leaf's shard, shared | look up, read that leaf, overwrite pages that are its own |
//! | a leaf's shard | change that leaf; add it to the tree, or remove it |
//! | all shards ([`AllShards`]) | copy and remove inner nodes, change the root |
//!
//! So a node is never freed or copied while another thread walks through it. Every change is
//! published by one store of 8 bytes, after everything that it names is in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::locks::AllShards;
use super::nodes::Nodes;
use super::subtrees::detached::Detached;
use super::subtrees::mapped::Mapped;
use super::subtrees::subtree;
use crate::store::base::error::Error;
use crate::store::base::sync::Mutex;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF, TOP, index, leaves_below, sectors_below};
use crate::store::layout::record;
use crate::store::memory::arena::{BLOCK_WORDS, Block};
use crate::store::memory::pool::Pool;

/// How a leaf hangs in the tree.
#[derive(Debug)]
pub(crate) enum LeafLink<'a> {
    /// A node above it is missing: nothing is mapped.
    Nothing,
    /// A node above it is missing: all is mapped and zero.
    Zero,
    /// Its entry, and whether all nodes above are this disk's own.
    At(&'a AtomicU64, bool),
}

impl LeafLink<'_> {
    /// The leaf's entry, even if a node above it is missing.
    pub(crate) fn entry(&self) -> Entry {
        match self {
            Self::Nothing => Entry::NONE,
            Self::Zero => Entry::ALL_ZERO,
            Self::At(word, _) => Entry::load(word),
        }
    }
}

/// The tree of one disk.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Nodes,
    pub(crate) mapped: Mapped,
    /// The block of the record; 0 once the disk is gone.
    record: AtomicU32,
    /// Serialises the making of inner nodes.
    growing: Mutex<()>,
}

impl Tree {
    pub(crate) fn new(pool: Arc<Pool>, account: u16, record: Block, mapped: Mapped) -> Self {
        Self {
            nodes: Nodes::new(pool, account),
            mapped,
            record: AtomicU32::new(record.0),
            growing: Mutex::new(()),
        }
    }

    /// The record, while the disk lives.
    pub(crate) fn record(&self) -> Option<Block> {
        match self.record.load(Ordering::Acquire) {
            0 => None,
            block => Some(Block(block)),
        }
    }

    /// Set the record that replaces this one, or none.
    pub(crate) fn set_record(&self, _all: &AllShards<'_>, record: Option<Block>) {
        self.record
            .store(record.map_or(0, |block| block.0), Ordering::Release);
    }

    fn root(&self) -> Option<&AtomicU64> {
        Some(record::root(self.nodes.arena(), self.record()?))
    }

    /// The root's value.
    pub(crate) fn root_entry(&self) -> Entry {
        self.root().map_or(Entry::NONE, Entry::load)
    }

    /// Share the root with another record. Returns the entry for that record.
    pub(crate) fn share_root(&self, _all: &AllShards<'_>) -> Entry {
        let Some(root) = self.root() else {
            return Entry::NONE;
        };
        let entry = Entry::load(root);
        let Some(node) = entry.block() else {
            return entry;
        };
        self.nodes.pool().share(node);
        root.fetch_or(Entry::SHARED_BIT, Ordering::Release);
        entry.shared()
    }

    /// Find how a leaf hangs in the tree.
    #[inline]
    pub(crate) fn link(&self, leaf: u64) -> LeafLink<'_> {
        let Some(mut word) = self.root() else {
            return LeafLink::Nothing;
        };
        let mut own = true;
        for level in (LEAF + 1..=TOP).rev() {
            let entry = Entry::load(word);
            let Some(node) = entry.block() else {
                return if entry.is_none() {
                    LeafLink::Nothing
                } else {
                    LeafLink::Zero
                };
            };
            own &= !entry.is_shared();
            word = self.nodes.word(node, index(leaf, level));
        }
        LeafLink::At(word, own)
    }

    /// The leaf, if it exists.
    #[inline]
    pub(crate) fn leaf_now(&self, leaf: u64) -> Option<Block> {
        match self.link(leaf) {
            LeafLink::At(word, _) => Entry::load(word).block(),
            LeafLink::Nothing | LeafLink::Zero => None,
        }
    }

    /// The leaf, if it exists and belongs to this disk alone.
    pub(crate) fn own_leaf_now(&self, leaf: u64) -> Option<Block> {
        match self.link(leaf) {
            LeafLink::At(word, true) => Some(Entry::load(word))
                .filter(|entry| !entry.is_shared())?
                .block(),
            _ => None,
        }
    }

    /// The leaf as this disk's own, created or copied if necessary. `None` if a node above it is
    /// shared; then call [`Tree::own_path`] first.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`].
    pub(crate) fn own_leaf(&self, leaf: u64) -> Result<Option<Block>, Error> {
        let word = match self.link(leaf) {
            LeafLink::At(word, true) => word,
            LeafLink::At(_, false) => return Ok(None),
            LeafLink::Nothing | LeafLink::Zero => match self.grow(leaf)? {
                Some(word) => word,
                None => return Ok(None),
            },
        };
        self.nodes.own(word, LEAF).map(Some)
    }

    /// Create missing inner nodes above a leaf.
    fn grow(&self, leaf: u64) -> Result<Option<&AtomicU64>, Error> {
        let _growing = self.growing.lock();
        let Some(mut word) = self.root() else {
            return Ok(None);
        };
        for level in (LEAF + 1..=TOP).rev() {
            if Entry::load(word).is_shared() {
                return Ok(None);
            }
            let node = self.nodes.own(word, level)?;
            word = self.nodes.word(node, index(leaf, level));
        }
        Ok(Some(word))
    }

    /// Make all nodes above a leaf this disk's own, where they aren't empty, and with `with_leaf`
    /// the leaf itself. Then cutting the tree off there takes no memory.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`].
    pub(crate) fn own_path(
        &self,
        _all: &AllShards<'_>,
        leaf: u64,
        with_leaf: bool,
    ) -> Result<(), Error> {
        let Some(mut word) = self.root() else {
            return Ok(());
        };
        for level in (LEAF + 1..=TOP).rev() {
            if Entry::load(word).is_none() {
                return Ok(());
            }
            let node = self.nodes.own(word, level)?;
            word = self.nodes.word(node, index(leaf, level));
        }
        if with_leaf && !Entry::load(word).is_none() {
            self.nodes.own(word, LEAF)?;
        }
        Ok(())
    }

    /// Remove a leaf from the tree. The nodes above it must be this disk's own. Returns whether the
    /// node above may have become empty.
    pub(crate) fn remove_leaf(&self, leaf: u64) -> bool {
        let LeafLink::At(word, true) = self.link(leaf) else {
            return false;
        };
        let entry = Entry(word.swap(0, Ordering::AcqRel));
        self.mapped
            .sub(subtree::sectors(self.nodes.arena(), entry, LEAF));
        self.nodes.release(entry, LEAF);
        let first = leaf & !(BLOCK_WORDS as u64 - 1);
        let next = self.next_leaf(first, Entry::NONE);
        next.is_none_or(|next| next >= first + BLOCK_WORDS as u64)
    }

    /// Remove inner nodes above a leaf that name nothing.
    pub(crate) fn prune(&self, _all: &AllShards<'_>, leaf: u64) {
        if let Some(root) = self.root() {
            self.prune_below(root, TOP, leaf);
        }
    }

    fn prune_below(&self, word: &AtomicU64, level: u32, leaf: u64) {
        let entry = Entry::load(word);
        let Some(node) = entry.block().filter(|_| !entry.is_shared()) else {
            return;
        };
        if level > LEAF + 1 {
            let below = self.nodes.word(node, index(leaf, level));
            self.prune_below(below, level - 1, leaf);
        }
        if self.nodes.is_empty(node) {
            word.store(0, Ordering::Release);
            self.nodes.release(entry, level);
        }
    }

    /// Set all leaves from `first` up to `end` to `fill` ([`Entry::NONE`] or [`Entry::ALL_ZERO`]),
    /// and detach what was there.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`], after which a part may be done.
    pub(crate) fn set(
        &self,
        _all: &AllShards<'_>,
        (first, end): (u64, u64),
        fill: Entry,
        out: &mut Detached,
    ) -> Result<(), Error> {
        debug_assert!(fill.is_none() || fill.is_all_zero());
        let had = out.entries.len();
        let result = match self.root() {
            Some(root) => self.set_below(root, TOP, 0, (first, end), fill, &mut out.entries),
            None => Ok(()),
        };
        if out.entries.len() > had {
            debug_assert!(out.part.is_none(), "one cut at a time");
            out.part = Some(self.mapped.cut_off());
        }
        result
    }

    fn set_below(
        &self,
        word: &AtomicU64,
        level: u32,
        base: u64,
        range: (u64, u64),
        fill: Entry,
        out: &mut Vec<(Entry, u32)>,
    ) -> Result<(), Error> {
        let (first, end) = range;
        let below = leaves_below(level);
        let entry = Entry::load(word);
        if entry == fill {
            return Ok(());
        }
        if first <= base && base + below <= end {
            word.store(fill.0, Ordering::Release);
            out.push((entry, level));
            if !fill.is_none() {
                self.mapped.add(sectors_below(level));
            }
            return Ok(());
        }
        let node = self.nodes.own(word, level)?;
        let step = leaves_below(level - 1);
        let mut result = Ok(());
        for (at, word) in (0..).zip(self.nodes.words(node)) {
            let start = base + at * step;
            if result.is_ok() && start < end && first < start + step {
                result = self.set_below(word, level - 1, start, range, fill, out);
            }
        }
        if fill.is_none() && self.nodes.is_empty(node) {
            word.store(0, Ordering::Release);
            out.push((Entry::node(node), level));
        }
        result
    }

    /// The first leaf at or after `from` whose entry (or that of a missing node above it) isn't
    /// `skip`: [`Entry::NONE`] or [`Entry::ALL_ZERO`].
    pub(crate) fn next_leaf(&self, from: u64, skip: Entry) -> Option<u64> {
        self.next_below(Entry::load(self.root()?), TOP, 0, from, skip)
    }

    fn next_below(
        &self,
        entry: Entry,
        level: u32,
        base: u64,
        from: u64,
        skip: Entry,
    ) -> Option<u64> {
        if entry == skip || base + leaves_below(level) <= from {
            return None;
        }
        match entry.block() {
            Some(node) if level > LEAF => {
                let step = leaves_below(level - 1);
                let first = from.saturating_sub(base) / step;
                (first..BLOCK_WORDS as u64).find_map(|at| {
                    let word = self.nodes.word(node, usize::try_from(at).ok()?);
                    self.next_below(Entry::load(word), level - 1, base + at * step, from, skip)
                })
            }
            _ => Some(base.max(from)),
        }
    }
}
