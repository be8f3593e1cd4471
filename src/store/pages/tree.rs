//! The tree of one disk: from its record's root down to leaves, nodes copied when they are shared.
//!
//! Four levels of nodes with 512 entries each: a leaf covers 2 MiB, the one above it 1 GiB, then
//! 512 GiB, and the top as much as any disk may have. A node that is missing costs nothing.
//!
//! Who may do what, by the locks of [`super::map`]:
//!
//! | held | may |
//! |---|---|
//! | a leaf's shard, shared | look up, read that leaf, overwrite pages that are its own |
//! | a leaf's shard | change that leaf; hang it into the tree, or take it out |
//! | all shards (all shards) | copy and remove inner nodes, change the root |
//!
//! So a node is never freed or copied while somebody else walks through it. Every change is
//! published by one store of 8 bytes, after all that it names is in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::mapped::Mapped;
use super::subtree;
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::base::sync::Mutex;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF, TOP, index, leaves_below, sectors_below};
use crate::store::layout::record;
use crate::store::memory::arena::{BLOCK_WORDS, Block};
use crate::store::memory::pool::Pool;

/// Where a leaf hangs.
#[derive(Debug)]
pub(crate) enum Slot<'a> {
    /// A node above it is missing: nothing is mapped.
    Nothing,
    /// A node above it is missing: all is mapped and zero.
    Zero,
    /// Its entry, and whether all nodes above are this disk's own.
    At(&'a AtomicU64, bool),
}

/// Blocks that nothing else names, as a walk from leaf to leaf counts them.
#[derive(Debug, Default)]
pub(crate) struct Unique {
    blocks: u64,
    /// The nodes above the last leaf, so that each counts once.
    path: [Option<Block>; TOP as usize + 1],
}

impl Unique {
    fn node(&mut self, node: Block, level: u32) {
        let last = &mut self.path[level as usize];
        self.blocks += u64::from(*last != Some(node));
        *last = Some(node);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.blocks * crate::store::base::range::PAGE_BYTES
    }
}

/// The tree of one disk.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) pool: Arc<Pool>,
    pub(crate) account: AtomicU16,
    /// The block of the record; 0 once the disk is gone.
    record: AtomicU32,
    /// Serialises the making of inner nodes.
    growing: Mutex<()>,
    pub(crate) mapped: Mapped,
}

impl Tree {
    pub(crate) fn new(pool: Arc<Pool>, account: u16, record: Block, mapped: Mapped) -> Self {
        Self {
            pool,
            account: AtomicU16::new(account),
            record: AtomicU32::new(record.0),
            growing: Mutex::new(()),
            mapped,
        }
    }

    /// The record, while the disk lives.
    pub(crate) fn record(&self) -> Option<Block> {
        match self.record.load(Ordering::Acquire) {
            0 => None,
            block => Some(Block(block)),
        }
    }

    /// Another record took its place, or none. Under all shards.
    pub(crate) fn set_record(&self, record: Option<Block>) {
        self.record
            .store(record.map_or(0, |block| block.0), Ordering::Release);
    }

    pub(crate) fn word(&self, block: Block, index: usize) -> &AtomicU64 {
        self.pool.arena().word(block, index)
    }

    pub(crate) fn words(&self, block: Block) -> &[AtomicU64; BLOCK_WORDS] {
        self.pool.arena().words(block)
    }

    fn root(&self) -> Option<&AtomicU64> {
        Some(record::root(self.pool.arena(), self.record()?))
    }

    /// The root's value.
    pub(crate) fn root_entry(&self) -> Entry {
        self.root().map_or(Entry::NONE, Entry::load)
    }

    /// Find where a leaf hangs.
    pub(crate) fn slot(&self, leaf: u64) -> Slot<'_> {
        let Some(mut word) = self.root() else {
            return Slot::Nothing;
        };
        let mut own = true;
        for level in (LEAF + 1..=TOP).rev() {
            let entry = Entry::load(word);
            let Some(node) = entry.block() else {
                return if entry.is_none() {
                    Slot::Nothing
                } else {
                    Slot::Zero
                };
            };
            own &= !entry.is_shared();
            word = self.word(node, index(leaf, level));
        }
        Slot::At(word, own)
    }

    /// The leaf, if it is there.
    pub(crate) fn leaf_now(&self, leaf: u64) -> Option<Block> {
        match self.slot(leaf) {
            Slot::At(word, _) => Entry::load(word).block(),
            Slot::Nothing | Slot::Zero => None,
        }
    }

    /// The leaf, if it is there and all this disk's own.
    pub(crate) fn own_leaf_now(&self, leaf: u64) -> Option<Block> {
        match self.slot(leaf) {
            Slot::At(word, true) => Some(Entry::load(word))
                .filter(|entry| !entry.is_shared())?
                .block(),
            _ => None,
        }
    }

    /// The leaf as this disk's own, made or copied if need be. `None`: a node above it is shared,
    /// and [`Tree::own_path`] has to come first.
    pub(crate) fn own_leaf(&self, leaf: u64) -> Result<Option<Block>, Error> {
        let word = match self.slot(leaf) {
            Slot::At(word, true) => word,
            Slot::At(_, false) => return Ok(None),
            Slot::Nothing | Slot::Zero => match self.grow(leaf)? {
                Some(word) => word,
                None => return Ok(None),
            },
        };
        self.own_node(word, LEAF).map(Some)
    }

    /// Make the inner nodes above a leaf, where they are missing.
    fn grow(&self, leaf: u64) -> Result<Option<&AtomicU64>, Error> {
        let _growing = self.growing.lock();
        let Some(mut word) = self.root() else {
            return Ok(None);
        };
        for level in (LEAF + 1..=TOP).rev() {
            let entry = Entry::load(word);
            if entry.is_shared() {
                return Ok(None);
            }
            word = self.word(self.own_node(word, level)?, index(leaf, level));
        }
        Ok(Some(word))
    }

    /// Have an own node at every place above a leaf that isn't empty, and at the leaf's own
    /// `with_leaf`: then cutting the tree off there takes no memory. Under all shards.
    pub(crate) fn own_path(&self, leaf: u64, with_leaf: bool) -> Result<(), Error> {
        let Some(mut word) = self.root() else {
            return Ok(());
        };
        for level in (LEAF + 1..=TOP).rev() {
            if Entry::load(word).is_none() {
                return Ok(());
            }
            word = self.word(self.own_node(word, level)?, index(leaf, level));
        }
        if with_leaf && !Entry::load(word).is_none() {
            self.own_node(word, LEAF)?;
        }
        Ok(())
    }

    /// The node of a word as this disk's own: what was there, a copy, or a new one.
    fn own_node(&self, word: &AtomicU64, level: u32) -> Result<Block, Error> {
        let entry = self.settled(word);
        let Some(old) = entry.block() else {
            let node = self.pool.take(self.account())?;
            let fill = match (entry.is_none(), level) {
                (true, _) => Entry::NONE,
                (false, LEAF) => Entry::zeros(crate::store::layout::entry::FULL),
                (false, _) => Entry::ALL_ZERO,
            };
            self.pool.fill(node, fill.0);
            word.store(Entry::node(node).0, Ordering::Release);
            return Ok(node);
        };
        if !entry.is_shared() {
            return Ok(old);
        }
        let node = self.copy_node(old)?;
        let leaf = level == LEAF;
        points::reach(if leaf { "leaf-copied" } else { "inner-copied" });
        word.store(Entry::node(node).0, Ordering::Release);
        points::reach(if leaf {
            "leaf-published"
        } else {
            "inner-published"
        });
        self.drop_entry(entry, level);
        Ok(node)
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

    /// A copy that shares everything below.
    fn copy_node(&self, old: Block) -> Result<Block, Error> {
        let node = self.pool.take(self.account())?;
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

    /// Take a leaf out of the tree, whose path must be this disk's own; whether the node above may
    /// have become empty.
    pub(crate) fn remove_leaf(&self, leaf: u64) -> bool {
        let Slot::At(word, true) = self.slot(leaf) else {
            return false;
        };
        let entry = Entry(word.swap(0, Ordering::AcqRel));
        self.mapped
            .sub(subtree::sectors(self.pool.arena(), entry, LEAF));
        self.drop_entry(entry, LEAF);
        let first = leaf & !(BLOCK_WORDS as u64 - 1);
        let next = self.next_leaf(first, Entry::NONE);
        next.is_none_or(|next| next >= first + BLOCK_WORDS as u64)
    }

    /// Remove inner nodes above a leaf that name nothing. Under all shards.
    pub(crate) fn prune(&self, leaf: u64) {
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
            self.prune_below(self.word(node, index(leaf, level)), level - 1, leaf);
        }
        if self.is_empty(node) {
            word.store(0, Ordering::Release);
            self.drop_entry(entry, level);
        }
    }

    pub(crate) fn is_empty(&self, node: Block) -> bool {
        self.words(node)
            .iter()
            .all(|word| Entry::load(word).is_none())
    }

    /// Set all leaves from `first` up to `end` to `fill` (nothing, or all zero), and collect what
    /// hung there. Under all shards.
    pub(crate) fn set(
        &self,
        first: u64,
        end: u64,
        fill: Entry,
        out: &mut Vec<(Entry, u32)>,
    ) -> Result<(), Error> {
        match self.root() {
            Some(root) => self.set_below(root, TOP, 0, (first, end), fill, out),
            None => Ok(()),
        }
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
        let node = self.own_node(word, level)?;
        let step = leaves_below(level - 1);
        let mut result = Ok(());
        for (at, word) in (0..).zip(self.words(node)) {
            let start = base + at * step;
            if result.is_ok() && start < end && first < start + step {
                result = self.set_below(word, level - 1, start, range, fill, out);
            }
        }
        if fill.is_none() && self.is_empty(node) {
            word.store(0, Ordering::Release);
            out.push((Entry::node(node), level));
        }
        result
    }

    /// An entry is gone: free what only it named.
    pub(crate) fn drop_entry(&self, entry: Entry, level: u32) {
        subtree::drop_entries(&self.pool, [(entry, level)]);
    }

    /// Count what nothing else names at the first leaf at or after `leaf`, and above it; returns
    /// where to go on. Under the shard of `leaf`, and the answer is only as good as that.
    pub(crate) fn unique_at(&self, leaf: u64, unique: &mut Unique) -> Option<u64> {
        let mut entry = self.root_entry();
        for level in (LEAF..=TOP).rev() {
            let below = leaves_below(level);
            let node = entry.block()?;
            if entry.is_shared() && !self.pool.is_exclusive(node) {
                return self.next_leaf((leaf / below + 1) * below, Entry::NONE);
            }
            unique.node(node, level);
            if level > LEAF {
                entry = Entry::load(self.word(node, index(leaf, level)));
                if entry.block().is_none() {
                    return self.next_leaf(
                        (leaf / leaves_below(level - 1) + 1) * leaves_below(level - 1),
                        Entry::NONE,
                    );
                }
                continue;
            }
            let alone = |entry: &Entry| {
                let page = entry.block();
                page.is_some_and(|page| !entry.is_shared() || self.pool.is_exclusive(page))
            };
            unique.blocks += self
                .words(node)
                .iter()
                .map(Entry::load)
                .filter(alone)
                .count() as u64;
        }
        self.next_leaf(leaf + 1, Entry::NONE)
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
                    let word = self.word(node, usize::try_from(at).ok()?);
                    self.next_below(Entry::load(word), level - 1, base + at * step, from, skip)
                })
            }
            _ => Some(base.max(from)),
        }
    }

    /// Another record names the root too from now on. Under all shards.
    pub(crate) fn share_root(&self) -> Entry {
        let Some(root) = self.root() else {
            return Entry::NONE;
        };
        let entry = Entry::load(root);
        let Some(node) = entry.block() else {
            return entry;
        };
        self.pool.share(node);
        root.fetch_or(Entry::SHARED_BIT, Ordering::Release);
        entry.shared()
    }
}
