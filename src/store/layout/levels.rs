//! The levels of a tree. There are four levels of nodes with 512 entries each. A leaf covers 2 MiB,
//! the node above it 1 GiB, then 512 GiB, and the top more than the largest disk has.

use crate::store::memory::arena::{BLOCK_BYTES, BLOCK_WORDS};

/// Levels: what an entry names.
pub(crate) const PAGE: u32 = 0;
pub(crate) const LEAF: u32 = 1;
/// The node that a root names.
pub(crate) const TOP: u32 = 4;

const FANOUT_BITS: u32 = 9;
/// Sectors of 512 bytes in a page.
pub(crate) const PAGE_SECTORS: u64 = 8;

/// How many leaves lie below an entry of `level`.
pub(crate) fn leaves_below(level: u32) -> u64 {
    1 << (FANOUT_BITS * (level - LEAF))
}

/// How many sectors lie below an entry of `level`.
pub(crate) fn sectors_below(level: u32) -> u64 {
    PAGE_SECTORS << (FANOUT_BITS * level)
}

/// The entry of a node at `level` on the way to `leaf`.
#[allow(clippy::cast_possible_truncation, reason = "below 512")]
#[inline]
pub(crate) fn index(leaf: u64, level: u32) -> usize {
    debug_assert!(level > LEAF && level <= TOP);
    (leaf >> (FANOUT_BITS * (level - LEAF - 1)) & (BLOCK_WORDS as u64 - 1)) as usize
}

/// Entries of a leaf.
pub(crate) const LEAF_PAGES: usize = 512;
/// The bytes that a leaf covers.
pub(crate) const LEAF_BYTES: u64 = (LEAF_PAGES * BLOCK_BYTES) as u64;
