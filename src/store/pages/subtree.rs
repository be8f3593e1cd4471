//! What lies below entries that nobody can come by any more, or that nobody changes: how much of it
//! is mapped, and its way back into the pool.

use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{PAGE, sectors_below};
use crate::store::memory::arena::{Arena, Block};
use crate::store::memory::pool::Pool;

/// How many freed blocks are collected before they are given back.
const BATCH: usize = 4096;

/// Mapped sectors below an entry that nobody changes.
pub(crate) fn sectors(arena: &Arena, entry: Entry, level: u32) -> u64 {
    if level == PAGE {
        return u64::from(entry.mask().count_ones());
    }
    match entry.block() {
        None if entry.is_none() => 0,
        None => sectors_below(level),
        Some(node) => {
            let below = arena.words(node).iter().map(Entry::load);
            below.map(|entry| sectors(arena, entry, level - 1)).sum()
        }
    }
}

/// Mapped sectors below what [`Tree::set`](super::tree::Tree::set) collected. Needs no lock, as for
/// [`drop_entries`].
pub(crate) fn all_sectors(pool: &Pool, entries: &[(Entry, u32)]) -> u64 {
    let sectors = |&(entry, level): &(Entry, u32)| sectors(pool.arena(), entry, level);
    entries.iter().map(sectors).sum()
}

/// Free what [`Tree::set`](super::tree::Tree::set) collected, or a whole tree. Needs no lock:
/// nobody
/// else can come by these entries any more.
pub(crate) fn drop_entries(pool: &Pool, entries: impl IntoIterator<Item = (Entry, u32)>) {
    let mut blocks = Vec::new();
    for (entry, level) in entries {
        drop_into(pool, entry, level, &mut blocks);
    }
    pool.give_back(&mut blocks);
}

fn drop_into(pool: &Pool, entry: Entry, level: u32, blocks: &mut Vec<Block>) {
    let Some(block) = entry.block() else { return };
    // Without SHARED it is this entry's alone, and its count needs no look.
    if entry.is_shared() && !pool.release(block) {
        return;
    }
    if level > PAGE {
        for word in pool.arena().words(block) {
            drop_into(pool, Entry::load(word), level - 1, blocks);
        }
    }
    blocks.push(block);
    if blocks.len() >= BATCH {
        pool.give_back(blocks);
    }
}
