//! Counting the memory that only one disk names.

use super::tree::Tree;
use crate::store::base::range::PAGE_BYTES;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF, TOP, index, leaves_below};
use crate::store::memory::arena::Block;

/// Counts the blocks that nothing else names, leaf by leaf.
#[derive(Debug, Default)]
pub(crate) struct Unique {
    blocks: u64,
    /// The nodes above the last leaf, so that each counts once.
    path: [Option<Block>; TOP as usize + 1],
}

impl Unique {
    /// The bytes that were counted.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks * PAGE_BYTES
    }

    fn add_node(&mut self, node: Block, level: u32) {
        let last = &mut self.path[level as usize];
        self.blocks += u64::from(*last != Some(node));
        *last = Some(node);
    }

    /// Count the first leaf at or after `leaf`, and the nodes above it. Returns the next leaf. The
    /// caller holds the shard of `leaf`; once that is released, the count may be out of date.
    pub(crate) fn add_leaf(&mut self, tree: &Tree, leaf: u64) -> Option<u64> {
        let nodes = &tree.nodes;
        let is_own = |entry: Entry, block| !entry.is_shared() || nodes.pool().is_exclusive(block);
        let after = |level| {
            let below = leaves_below(level);
            tree.next_leaf((leaf / below + 1) * below, Entry::NONE)
        };
        let mut entry = tree.root_entry();
        for level in (LEAF..=TOP).rev() {
            let Some(node) = entry.block() else {
                return if level == TOP { None } else { after(level) };
            };
            if !is_own(entry, node) {
                return after(level);
            }
            self.add_node(node, level);
            if level > LEAF {
                entry = Entry::load(nodes.word(node, index(leaf, level)));
            } else {
                let pages = nodes.words(node).iter().map(Entry::load);
                let own = pages.filter(|&page| page.block().is_some_and(|at| is_own(page, at)));
                self.blocks += own.count() as u64;
            }
        }
        tree.next_leaf(leaf + 1, Entry::NONE)
    }
}
